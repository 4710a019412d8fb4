//! Records of a simulated pool: in any order, with damage and faults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use quarry_device::{FormatRequest, format_devices};
use quarry_env_sim::{Config, DiskId, DiskSpec, FaultKind, Process, Verb, World};
use quarry_format::anchor::Slot;
use quarry_format::crc32c;
use quarry_types::{LogId, PoolId, Protection, SegmentId};

use super::*;

use crate::{Chunk, Purpose, Segment};

const BLOCK: usize = 4096;
/// Blocks with which each segment of a bench begins.
const BLOCKS: u32 = 200;

/// A pool with some segments full of blocks that tell their place.
struct Bench {
    world: World,
    disks: Vec<DiskId>,
    process: Process,
    store: Rc<LogStore>,
    chunks: Vec<Rc<Chunk>>,
}

fn path(index: usize) -> PathBuf {
    PathBuf::from(format!("/dev/{index}"))
}

fn block(segment: u64, index: u32) -> Vec<u8> {
    let word = |at: u32| (segment << 40 | u64::from(index) << 16 | u64::from(at)).wrapping_mul(0x9e37_79b9);
    (0..BLOCK as u32 / 8).flat_map(|at| word(at).to_le_bytes()).collect()
}

fn wanted((segment, index): (u64, u32)) -> Wanted {
    let address = LogAddress::new(SegmentId::new(LogId(0), segment), index * 8);
    let checksum = crc32c(&block(segment, index));
    Wanted { address, expected: Expected { sectors: 8, checksum } }
}

impl Bench {
    fn new(seed: u64, copies: u8, segments: u64) -> Self {
        let world = World::new(seed, Config::default());
        let disks: Vec<DiskId> = (0..usize::from(copies))
            .map(|index| world.add_disk(path(index), DiskSpec::of_size(64 << 20)))
            .collect();
        let process = world.process(1);
        let request = FormatRequest {
            pool: PoolId::from_random(3),
            pool_name: "tank".to_owned(),
            protection: Protection::Copies(copies),
            paths: (0..disks.len()).map(path).collect(),
            directory_file_bytes: None,
            force: false,
            in_use: BTreeMap::new(),
        };
        let env = process.env(0);
        let main = async move {
            let devices = format_devices(&env, &request).await.expect("disks are empty");
            let store = LogStore::create(crate::from_devices(&env, devices), LogId(0));
            let mut chunks = Vec::new();
            for segment in 0..segments {
                let chunk = store
                    .allocate_chunk(usize::from(copies), Purpose::ReadySegment { freed_soon: 0 }, 0)
                    .expect("there is room");
                let data = (0..BLOCKS).flat_map(|index| block(segment, index)).collect::<Vec<u8>>();
                let failed = store.pool.write_copies(&chunk, 0, &[env.buffers.copy_of(&data)]).await;
                assert!(failed.is_empty());
                let id = SegmentId::new(LogId(0), segment);
                store.table_mut().insert(id, Segment::open(chunk.clone(), store.pool.geometry()));
                chunks.push(chunk);
            }
            (store, chunks)
        };
        let limit = Duration::from_secs(60);
        let (store, chunks) = world.block_on(&process, 0, main, limit).expect("it comes to an end");
        Self { world, disks, process, store, chunks }
    }

    fn read(&self, places: &[(u64, u32)]) -> Result<Vec<Vec<u8>>, PoolError> {
        let records: Vec<Wanted> = places.iter().copied().map(wanted).collect();
        let store = self.store.clone();
        let main = async move {
            let views = store.read_records(&records).await?;
            Ok(views.iter().map(|view| view.to_vec()).collect())
        };
        self.world.block_on(&self.process, 0, main, Duration::from_secs(60)).expect("it comes to an end")
    }

    /// Reads, checks every byte, and says how many views there were and how many device reads.
    fn check(&self, places: &[(u64, u32)]) -> (usize, u64) {
        let before = self.device_reads();
        let views = self.read(places).expect("read");
        let expected: Vec<u8> = places.iter().flat_map(|&(segment, index)| block(segment, index)).collect();
        assert!(views.concat() == expected, "{places:?}");
        (views.len(), self.device_reads() - before)
    }

    fn device_reads(&self) -> u64 {
        self.store.pool.healthy_devices().into_iter().map(|(_, device)| device.stats().reads).sum()
    }

    /// Where a block is on the disk of `slot`, in bytes.
    fn position(&self, slot: Slot, index: u32) -> u64 {
        let device = self.store.pool.device(slot.device).expect("it is there");
        device.slot_offset(slot.index) + u64::from(index) * BLOCK as u64
    }

    /// Damages a block of segment 0 on one copy.
    fn rot(&self, copy: usize, index: u32) {
        let slot = self.chunks[0].slots()[copy];
        self.world.rot(self.disks[usize::from(slot.device)], self.position(slot, index) + 5, 3);
    }

    /// Whether a block of segment 0 is on one copy as it should be.
    fn is_whole(&self, copy: usize, index: u32) -> bool {
        let slot = self.chunks[0].slots()[copy];
        let mut found = vec![0; BLOCK];
        self.world.peek(self.disks[usize::from(slot.device)], self.position(slot, index), &mut found);
        found == block(0, index)
    }
}

#[test]
fn what_lies_together_is_one_read_and_one_view() {
    let bench = Bench::new(1, 1, 2);
    let blocks: Vec<(u64, u32)> = (3..35).map(|index| (0, index)).collect();
    assert_eq!(bench.check(&blocks), (1, 1));
}

#[test]
fn blocks_in_any_order_with_small_gaps_are_one_read() {
    let bench = Bench::new(2, 1, 2);
    assert_eq!(bench.check(&[(0, 9), (0, 4), (0, 5), (0, 1), (0, 2)]), (3, 1));
    assert_eq!(bench.check(&[(0, 1), (0, 2), (0, 7), (0, 3), (0, 4)]), (3, 1));
    assert_eq!(bench.check(&[(0, 1), (0, 1)]), (2, 1), "a record twice");
    assert_eq!(bench.check(&[(0, 1), (1, 2), (0, 3), (0, 100)]), (4, 3), "apart, and in another segment");
}

#[test]
fn any_choice_of_blocks_comes_in_the_order_asked_for() {
    let bench = Bench::new(3, 2, 3);
    let mut state = 7u64;
    let mut below = |count: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % count
    };
    for _ in 0..100 {
        let count = 1 + below(60);
        let spread = 1 + below(u64::from(BLOCKS));
        let blocks: Vec<(u64, u32)> = (0..count).map(|_| (below(3), below(spread) as u32)).collect();
        let (_, reads) = bench.check(&blocks);
        assert!(reads <= count);
    }
}

/// A part of a block, in sectors.
fn part(index: u32, first: u32, sectors: u32) -> (Wanted, Vec<u8>) {
    let bytes = block(0, index)[first as usize * 512..(first + sectors) as usize * 512].to_vec();
    let address = LogAddress::new(SegmentId::new(LogId(0), 0), index * 8 + first);
    (Wanted { address, expected: Expected { sectors, checksum: crc32c(&bytes) } }, bytes)
}

#[test]
fn parts_of_granules_are_read_and_mended_and_their_neighbours_stay_as_they_are() {
    let bench = Bench::new(4, 2, 1);
    let (parts, bytes): (Vec<Wanted>, Vec<Vec<u8>>) =
        [part(2, 0, 3), part(3, 0, 1), part(5, 7, 1), part(4, 2, 3)].into_iter().unzip();
    let read = |parts: &[Wanted]| {
        let (store, parts) = (bench.store.clone(), parts.to_vec());
        let main = async move {
            let views = store.read_records(&parts).await?;
            Ok::<_, PoolError>(views.iter().flat_map(|view| view.to_vec()).collect::<Vec<u8>>())
        };
        bench.world.block_on(&bench.process, 0, main, Duration::from_secs(60)).expect("ends")
    };
    assert!(read(&parts).expect("read") == bytes.concat());
    bench.rot(0, 2);
    bench.rot(1, 3);
    assert!(read(&parts).expect("read") == bytes.concat());
    assert!(bench.is_whole(0, 2) || bench.is_whole(1, 3), "whichever copy was read was mended");
    assert!(bench.is_whole(0, 3) && bench.is_whole(1, 2), "the good ones are as they were");
    assert!(matches!(
        read(&[Wanted { expected: Expected { sectors: 2, checksum: 1 }, ..parts[0] }]),
        Err(PoolError::Corrupt { .. })
    ));
}

#[test]
fn a_bad_block_of_a_bridged_read_is_repaired_and_no_other_is_touched() {
    let bench = Bench::new(5, 2, 1);
    let blocks = [(0, 12), (0, 2), (0, 3), (0, 7)];
    for copy in [0, 1] {
        bench.rot(copy, if copy == 0 { 3 } else { 7 });
        bench.rot(copy, 5);
    }
    bench.check(&blocks);
    bench.world.run_for(Duration::from_secs(1)).expect("the repair ends");
    assert_eq!(
        [bench.is_whole(0, 3), bench.is_whole(1, 7)].iter().filter(|whole| **whole).count(),
        1,
        "the copy that was read"
    );
    assert!(!bench.is_whole(0, 5) && !bench.is_whole(1, 5), "nobody asked for what lies in the gap");
    assert!([2, 12].iter().all(|&index| bench.is_whole(0, index) && bench.is_whole(1, index)));
}

#[test]
fn a_block_that_is_bad_everywhere_is_an_error_and_its_neighbours_are_not() {
    let bench = Bench::new(6, 2, 1);
    (0..2).for_each(|copy| bench.rot(copy, 4));
    let error = bench.read(&[(0, 4), (0, 2), (0, 6)]).expect_err("bad on both copies");
    assert!(matches!(error, PoolError::Corrupt { offset: 16384, copies: 2, .. }), "{error}");
    bench.check(&[(0, 6), (0, 2), (0, 5)]);
}

#[test]
fn a_gap_that_cannot_be_read_fails_nobody() {
    let bench = Bench::new(7, 1, 1);
    let slot = bench.chunks[0].slots()[0];
    let gap = bench.position(slot, 4);
    bench.world.script_fault(bench.disks[0], FaultKind::ReadError, Verb::Read, gap..gap + 512, 0);
    assert_eq!(bench.check(&[(0, 5), (0, 2)]), (2, 2));
    assert_eq!(bench.world.faults().len(), 1, "the read over the gap failed");
}

#[test]
fn a_gap_that_cannot_be_read_does_not_hide_the_only_good_copy() {
    for good in [0, 1] {
        let bench = Bench::new(11, 2, 1);
        let slot = bench.chunks[0].slots()[good];
        let (disk, gap) = (bench.disks[usize::from(slot.device)], bench.position(slot, 4));
        bench.world.script_fault(disk, FaultKind::ReadError, Verb::Read, gap..gap + 512, 0);
        bench.rot(1 - good, 5);
        bench.check(&[(0, 5), (0, 2)]);
    }
}

/// Who gives up what is lost for good must not take this for it.
#[test]
fn a_block_of_which_one_copy_was_not_read_is_not_lost() {
    for good in [0, 1] {
        let bench = Bench::new(12, 2, 1);
        let slot = bench.chunks[0].slots()[good];
        let (disk, at) = (bench.disks[usize::from(slot.device)], bench.position(slot, 5));
        for _ in 0..8 {
            bench.world.script_fault(disk, FaultKind::ReadError, Verb::Read, at..at + 512, 0);
        }
        bench.rot(1 - good, 5);
        let error = bench.read(&[(0, 5)]).expect_err("the good copy is not read now");
        assert!(matches!(error, PoolError::Unreadable { source: Some(_), .. }), "{good}: {error}");
        (0..8).for_each(|_| drop(bench.read(&[(0, 5)])));
        bench.check(&[(0, 5)]);
    }
}

#[test]
fn a_device_that_is_gone_is_replaced_by_another() {
    let bench = Bench::new(8, 2, 2);
    bench.world.fail_disk(bench.disks[1]);
    for _ in 0..4 {
        bench.check(&[(0, 5), (0, 2), (1, 9), (1, 100)]);
    }
}

#[test]
fn a_record_that_has_moved_away_is_told() {
    let bench = Bench::new(9, 1, 1);
    let error = bench.read(&[(0, 1), (7, 1)]).expect_err("no such segment");
    assert!(matches!(error, PoolError::Dangling { .. }), "{error}");
}

#[test]
fn a_read_that_is_given_up_does_not_count_for_ever() {
    let bench = Bench::new(10, 1, 1);
    let store = bench.store.clone();
    let main = async move {
        let records = [wanted((0, 1)), wanted((0, 100))];
        let mut reading = Box::pin(store.read_records(&records));
        assert!(futures::poll!(&mut reading).is_pending());
        assert_eq!(store.pool.reads_in_flight(0), 2);
        drop(reading);
        store.pool.reads_in_flight(0)
    };
    let left = bench.world.block_on(&bench.process, 0, main, Duration::from_secs(60)).expect("ends");
    assert_eq!(left, 0);
}

/// The second of two reads of a lost chunk is decoded when the first has come: its group must be there still.
#[test]
fn a_group_that_ends_is_there_for_who_reads_its_chunks() {
    let bench = Bench::new(11, 1, 2);
    let store = &bench.store;
    let parity = store.allocate_chunk(1, Purpose::ReadySegment { freed_soon: 0 }, 0).expect("there is room");
    let members = [&bench.chunks[..], &[parity]].concat();
    let shape = quarry_ec::Shape::new(2, 1).expect("a code");
    store.add_group(crate::Group::new(shape, members, vec![BLOCKS as usize * BLOCK; 2]));
    let reading = store.locate(&[wanted((0, 1)), wanted((0, 100))]).expect("both are there");
    (0..2).for_each(|segment| _ = store.table_mut().remove(SegmentId::new(LogId(0), segment)));
    assert_eq!(store.end_groups(), 1, "nothing lives in it");
    let chunk = &bench.chunks[0];
    assert!(chunk.group().is_some_and(|group| group.members().len() == 3), "a read of it has begun");
    drop(reading);
    assert!(chunk.group().is_none());
}
