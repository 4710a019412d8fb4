//! Volumes on simulated disks.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Buffer, Completion, Disk, DiskGeometry, DiskKind, Env, OpenMode, View};
use quarry_env_sim::{Config, DiskId, DiskSpec, FaultKind, Process, Verb, World};
use quarry_types::{Durability, VolumeId};
use quarry_volume::{Comparison, ErrorKind, Volume, VolumeError, WriteFlags, ZeroMode};

use crate::{ImageError, ImageOptions, ImageVolume};

const PATH: &str = "/dev/foreign";
const SIZE_BYTES: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(300);
const PLAIN: WriteFlags = WriteFlags { fua: false };

struct Bench {
    world: World,
    process: Process,
    disk: DiskId,
}

impl Bench {
    fn new(spec: DiskSpec) -> Self {
        let world = World::new(7, Config::default());
        let disk = world.add_disk(PATH, spec);
        let before: Vec<u8> = (0..SIZE_BYTES).map(|byte| (byte / 512 + byte % 251) as u8).collect();
        world.poke(disk, 0, &before);
        let process = world.process(1);
        Self { world, process, disk }
    }

    fn env(&self) -> Env {
        self.process.env(0)
    }

    fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.world.block_on(&self.process, 0, future, LIMIT).expect("it ends")
    }

    fn open(&self, options: ImageOptions) -> Result<ImageVolume, ImageError> {
        let env = self.env();
        self.run(async move {
            let disk = env.disks.open(Path::new(PATH), OpenMode::Exclusive).await.expect("it opens");
            ImageVolume::new(env, disk, options)
        })
    }

    fn peek(&self) -> Vec<u8> {
        let mut found = vec![0; SIZE_BYTES as usize];
        self.world.peek(self.disk, 0, &mut found);
        found
    }
}

fn spec(sector_bytes: u32, kind: DiskKind) -> DiskSpec {
    DiskSpec { size_bytes: SIZE_BYTES, sector_bytes, kind, ..DiskSpec::default() }
}

fn options() -> ImageOptions {
    ImageOptions {
        id: VolumeId::from_random(1),
        name: "erp".to_owned(),
        size_bytes: None,
        identity: None,
        durability: Durability::Flush,
        read_only: false,
        changes_after: Duration::ZERO,
    }
}

async fn read(volume: &ImageVolume, offset: u64, length: u32) -> Vec<u8> {
    let views = volume.read(offset, length).await.expect("a read");
    views.iter().flat_map(|view| view.iter().copied()).collect()
}

#[test]
fn byte_n_of_the_volume_is_byte_n_of_the_device_at_any_alignment() {
    for sector_bytes in [512, 4096] {
        let bench = Bench::new(spec(sector_bytes, DiskKind::Block));
        let volume = bench.open(options()).expect("it fits");
        assert_eq!(volume.info().size_bytes, SIZE_BYTES);
        let mut expected = bench.peek();
        let env = bench.env();
        for (number, (offset, length)) in
            [(0, 512), (512, 4096), (3584, 1024), (4096, 8192), (10_752, 512), (SIZE_BYTES - 512, 512)]
                .into_iter()
                .enumerate()
        {
            let data = vec![0x80 + number as u8; length as usize];
            expected[offset as usize..][..data.len()].copy_from_slice(&data);
            let (volume, env) = (volume.clone(), env.clone());
            bench.run(async move {
                // A host's data may begin anywhere in memory.
                let mut shifted = vec![0; 7];
                shifted.extend(&data);
                let view = env.buffers.copy_of(&shifted).slice(7..7 + data.len());
                volume.write(offset, view, PLAIN).await.expect("a write");
                assert_eq!(read(&volume, offset, length).await, data);
            });
        }
        assert_eq!(bench.peek(), expected, "sectors of {sector_bytes}: and nothing else was written");
        let volume = volume.clone();
        assert_eq!(bench.run(async move { read(&volume, 512, 9 * 512).await }), expected[512..10 * 512]);
    }
}

#[test]
fn small_writes_of_one_sector_at_once_lose_nothing() {
    let bench = Bench::new(spec(4096, DiskKind::Block));
    let volume = bench.open(options()).expect("it fits");
    let env = bench.env();
    bench.run(async move {
        let parts = (0..8u64).map(|number| {
            volume.write(8192 + number * 512, env.buffers.copy_of(&[number as u8; 512]), PLAIN)
        });
        for written in futures::future::join_all(parts).await {
            written.expect("a write");
        }
    });
    for (number, part) in bench.peek()[8192..12_288].chunks(512).enumerate() {
        assert!(part.iter().all(|&byte| byte == number as u8), "part {number}");
    }
}

#[test]
fn what_is_discarded_or_zeroed_reads_as_zeroes_and_nothing_else_does() {
    for kind in [DiskKind::Block, DiskKind::Network] {
        let bench = Bench::new(spec(512, kind));
        let volume = bench.open(options()).expect("it fits");
        let mut expected = bench.peek();
        expected[4096..12_288].fill(0);
        expected[20_480 + 512..40_960].fill(0);
        bench.run(async move {
            // The parts of blocks at the ends of a discard stay.
            volume.discard(4096 - 512, 8192 + 1024, PLAIN).await.expect("a discard");
            let length = 20_480 - 512;
            volume.write_zeroes(20_480 + 512, length, ZeroMode::MayUnmap, PLAIN).await.expect("zeroes");
        });
        assert_eq!(bench.peek(), expected);
    }
}

#[test]
fn a_comparison_and_its_write_are_one() {
    let bench = Bench::new(spec(4096, DiskKind::Block));
    let volume = bench.open(options()).expect("it fits");
    let env = bench.env();
    let before = bench.peek();
    bench.run(async move {
        let view = |bytes: &[u8]| env.buffers.copy_of(bytes);
        let same = view(&before[1024..1536]);
        let done = volume.compare_and_write(1024, same.clone(), view(&[9; 512]), PLAIN).await;
        assert_eq!(done.expect("it compares"), Comparison::Written);
        let again = volume.compare_and_write(1024, same, view(&[8; 512]), PLAIN).await;
        assert!(matches!(again, Ok(Comparison::Differs { at: 0 })), "{again:?}");
        assert_eq!(read(&volume, 1024, 512).await, [9; 512]);
    });
}

#[test]
fn after_a_flush_that_failed_no_change_is_taken_and_reads_go_on() {
    let bench = Bench::new(spec(512, DiskKind::Block));
    let volume = bench.open(options()).expect("it fits");
    bench.world.script_fault(bench.disk, FaultKind::FlushError, Verb::Flush, 0..SIZE_BYTES, 0);
    let env = bench.env();
    bench.run(async move {
        let write = |flags| volume.write(0, env.buffers.copy_of(&[1; 512]), flags);
        write(PLAIN).await.expect("a write");
        let failed = |result: Result<(), VolumeError>| result.expect_err("it fails").kind;
        assert_eq!(failed(write(WriteFlags { fua: true }).await), ErrorKind::Unavailable);
        assert_eq!(failed(volume.flush().await), ErrorKind::Unavailable);
        assert_eq!(failed(write(PLAIN).await), ErrorKind::Unavailable);
        assert!(volume.failure().is_some_and(|reason| reason.contains("flush")));
        assert_eq!(read(&volume, 0, 512).await, [1; 512]);
    });
}

#[test]
fn changes_are_held_back_until_their_time_and_reads_are_not() {
    let bench = Bench::new(spec(512, DiskKind::Network));
    let changes_after = bench.env().clock.now() + Duration::from_secs(20);
    let volume = bench.open(ImageOptions { changes_after, ..options() }).expect("it fits");
    let env = bench.env();
    let (read_at, written_at) = bench.run(async move {
        read(&volume, 0, 512).await;
        let read_at = env.clock.now();
        volume.write(0, env.buffers.copy_of(&[1; 512]), PLAIN).await.expect("a write");
        (read_at, env.clock.now())
    });
    assert!(read_at < changes_after && written_at >= changes_after, "{read_at:?} {written_at:?}");
}

/// A disk that is nothing but a size.
struct Sized(DiskGeometry);

impl Sized {
    fn disk(size_bytes: u64, identity: Option<&str>) -> Rc<dyn Disk> {
        Rc::new(Self(DiskGeometry {
            kind: DiskKind::File,
            size_bytes,
            sector_bytes: 4096,
            preferred_bytes: 4096,
            rotational: None,
            direct: true,
            identity: identity.map(str::to_owned),
        }))
    }
}

impl Disk for Sized {
    fn geometry(&self) -> &DiskGeometry {
        &self.0
    }

    fn read(&self, _: u64, _: Buffer) -> Completion<(Buffer, io::Result<()>)> {
        unreachable!("nobody reads it")
    }

    fn write(&self, _: u64, _: Vec<View>) -> Completion<io::Result<()>> {
        unreachable!("nobody writes to it")
    }

    fn flush(&self) -> Completion<io::Result<()>> {
        unreachable!("nobody flushes it")
    }

    fn discard(&self, _: u64, _: u64) -> Completion<io::Result<()>> {
        unreachable!("nobody discards it")
    }
}

#[test]
fn another_disk_at_the_same_path_is_refused() {
    let bench = Bench::new(spec(512, DiskKind::File));
    let open = |identity: Option<&str>, expected: Option<&str>| {
        let options = ImageOptions { identity: expected.map(str::to_owned), ..options() };
        ImageVolume::new(bench.env(), Sized::disk(SIZE_BYTES, identity), options)
            .map(|volume| volume.identity())
    };
    let named = Some("naa.1".to_owned());
    assert_eq!(open(Some("naa.1"), None), Ok(named.clone()), "seen for the first time");
    assert_eq!(open(Some("naa.1"), Some("naa.1")), Ok(named));
    for found in [Some("naa.2"), None] {
        let refused = open(found, Some("naa.1"));
        let another =
            ImageError::AnotherDisk { expected: "naa.1".to_owned(), found: found.map(str::to_owned) };
        assert_eq!(refused, Err(another));
    }
}

#[test]
fn a_device_that_hosts_could_not_reach_whole_is_refused() {
    let bench = Bench::new(spec(512, DiskKind::File));
    let open = |device_bytes: u64, size_bytes: Option<u64>| {
        let options = ImageOptions { size_bytes, ..options() };
        ImageVolume::new(bench.env(), Sized::disk(device_bytes, None), options).err()
    };
    let odd = SIZE_BYTES + 512;
    assert_eq!(open(odd, None), Some(ImageError::Size { size_bytes: odd, sector_bytes: 4096 }));
    assert_eq!(open(odd, Some(odd)), Some(ImageError::Size { size_bytes: odd, sector_bytes: 4096 }));
    // A volume that ends before the odd sector is not concerned.
    assert_eq!(open(odd, Some(SIZE_BYTES - 512)), None);
    assert_eq!(
        open(SIZE_BYTES + 100, None).map(|error| matches!(error, ImageError::Size { .. })),
        Some(true)
    );
    let small = ImageError::TooSmall { size_bytes: SIZE_BYTES, volume_bytes: 2 * SIZE_BYTES };
    assert_eq!(open(SIZE_BYTES, Some(2 * SIZE_BYTES)), Some(small));
    assert_eq!(open(0, None), Some(ImageError::Empty));
    assert_eq!(open(1 << 60, None), Some(ImageError::TooLarge { size_bytes: 1 << 60 }));
}

#[test]
fn who_may_only_read_and_who_asks_outside_is_refused() {
    let bench = Bench::new(spec(512, DiskKind::Block));
    let volume = bench.open(ImageOptions { read_only: true, ..options() }).expect("it fits");
    let writable = bench.open(options()).expect("it fits");
    let env = bench.env();
    let before = bench.peek();
    bench.run(async move {
        let data = || env.buffers.copy_of(&[1; 512]);
        let kind = |result: Result<(), VolumeError>| result.expect_err("it is refused").kind;
        assert_eq!(kind(volume.write(0, data(), PLAIN).await), ErrorKind::ReadOnly);
        assert_eq!(kind(volume.discard(0, 4096, PLAIN).await), ErrorKind::ReadOnly);
        assert_eq!(kind(writable.write(SIZE_BYTES, data(), PLAIN).await), ErrorKind::Invalid);
        assert_eq!(kind(writable.write(100, data(), PLAIN).await), ErrorKind::Invalid);
        assert!(writable.read(u64::MAX - 511, 512).await.is_err());
        writable.close();
        assert_eq!(kind(writable.write(0, data(), PLAIN).await), ErrorKind::Unavailable);
    });
    assert_eq!(bench.peek(), before);
}

#[test]
fn a_write_that_was_given_up_ends_before_a_later_one_begins() {
    for seed in 0..20 {
        let world = World::new(seed, Config::default());
        let disk = world.add_disk(PATH, spec(4096, DiskKind::Block));
        let process = world.process(1);
        let env = process.env(0);
        let writing = async move {
            let opened = env.disks.open(Path::new(PATH), OpenMode::Exclusive).await.expect("it opens");
            let volume: Rc<dyn Volume> =
                Rc::new(ImageVolume::new(env.clone(), opened, options()).expect("it fits"));
            drop(volume.write(512, env.buffers.copy_of(&[1; 1024]), PLAIN));
            volume.write(1024, env.buffers.copy_of(&[2; 512]), PLAIN).await.expect("a write");
        };
        world.block_on(&process, 0, writing, LIMIT).expect("it ends");
        world.run_for(Duration::from_secs(1)).expect("whatever is late lands");
        let mut found = vec![0; 512];
        world.peek(disk, 1024, &mut found);
        assert_eq!(found, [2; 512], "seed {seed}");
    }
}
