//! The cache disk: what is read again from slow devices comes from there, also in later lives; whatever happens to it, hosts get what
//! they have written.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quarry_cache_disk::{CacheDisk, CacheDiskStatus};
use quarry_device::DeviceClass;
use quarry_engine::Limits;
use quarry_env_sim::{DiskId, DiskSpec};
use quarry_volume::Volume;

use crate::node::{BLOCK, Chance, LIMITS, Node, content};

const SIZE: u64 = 16 << 20;
const CACHE: &str = "/dev/cache";
/// Blocks that are read and written.
const BLOCKS: u64 = 1500;

/// A node with a slow device, and a cache disk.
struct Cached {
    node: Node,
    cache: DiskId,
    disk: RefCell<Option<Arc<CacheDisk>>>,
    index_bytes: usize,
    /// The version of each block.
    written: RefCell<Vec<u64>>,
}

impl Cached {
    fn new(seed: u64, cache_mib: u64) -> Self {
        let node = Node::new(seed, 1, &[64], SIZE);
        let engine = node.engine();
        node.run(|_| async move { engine.pool().set_class(0, DeviceClass::Hdd).await.expect("a label") });
        let cache = node.world.add_disk(CACHE, DiskSpec::of_size(cache_mib << 20));
        let written = RefCell::new(vec![0; BLOCKS as usize]);
        let cached = Self { node, cache, disk: RefCell::default(), index_bytes: 1 << 20, written };
        cached.use_cache();
        cached
    }

    fn use_cache(&self) {
        let engine = self.node.engine();
        engine.set_limits(Limits { cache_index_bytes: self.index_bytes, ..LIMITS });
        let disk = self.node.run(move |env| async move {
            let disk = CacheDisk::open(&env, Path::new(CACHE)).await.expect("it is empty, or one");
            engine.use_cache_disk(&disk).await.expect("it opens");
            disk
        });
        *self.disk.borrow_mut() = Some(disk);
        // It finds again what was there.
        self.wait(2);
    }

    fn wait(&self, seconds: u64) {
        self.node.run(move |env| async move { env.clock.sleep(Duration::from_secs(seconds)).await });
    }

    fn status(&self) -> CacheDiskStatus {
        self.disk.borrow().as_ref().expect("it is open").status()
    }

    fn write(&self, block: u64, version: u64) {
        let offset = block * BLOCK as u64;
        self.node.write(offset, content(version, offset, BLOCK)).expect("write");
        self.written.borrow_mut()[block as usize] = version;
    }

    fn write_all(&self, version: u64) {
        self.node.write(0, content(version, 0, BLOCKS as usize * BLOCK)).expect("write");
        self.written.borrow_mut().fill(version);
        self.checkpoint();
    }

    fn checkpoint(&self) {
        let engine = self.node.engine();
        self.node.run(|_| async move { engine.checkpoint().await.expect("checkpoint") });
    }

    fn read(&self, block: u64) {
        let offset = block * BLOCK as u64;
        let version = self.written.borrow()[block as usize];
        assert!(self.node.read(offset, BLOCK) == content(version, offset, BLOCK), "block {block}");
    }

    fn read_all(&self) {
        (0..BLOCKS).for_each(|block| self.read(block));
    }

    /// Ends without a farewell, and begins again.
    fn again(&mut self, end: impl FnOnce(&Node)) {
        self.disk.take();
        end(&self.node);
        self.node.reopen();
        self.use_cache();
    }
}

#[test]
fn what_is_read_again_from_a_slow_device_comes_from_the_cache_disk() {
    let cached = Cached::new(70, 64);
    cached.write_all(1);
    (0..3).for_each(|_| cached.read_all());
    cached.wait(2);
    let before = cached.status();
    assert!(before.records >= BLOCKS * 9 / 10, "{before:?}");
    cached.node.world.fail_disk(cached.node.disks[0]);
    let answered = (0..BLOCKS).filter(|block| {
        let offset = block * BLOCK as u64;
        cached.node.with(move |_, volume| async move { volume.read(offset, BLOCK as u32).await.is_ok() })
    });
    let answered = answered.count() as u64;
    assert_eq!(answered, cached.status().hits - before.hits, "the device answers nothing");
    assert!(answered >= BLOCKS * 9 / 10, "{answered}");
}

#[test]
fn what_lies_on_fast_devices_is_not_kept() {
    let cached = Cached::new(71, 64);
    let engine = cached.node.engine();
    cached.node.run(|_| async move { engine.pool().set_class(0, DeviceClass::Ssd).await.expect("a label") });
    cached.write_all(1);
    (0..3).for_each(|_| cached.read_all());
    cached.wait(2);
    let status = cached.status();
    assert_eq!((status.records, status.hits, status.misses, status.written_bytes), (0, 0, 0, 0));
}

#[test]
fn it_is_warm_after_a_restart_and_after_a_crash() {
    let mut cached = Cached::new(72, 64);
    cached.write_all(1);
    (0..3).for_each(|_| cached.read_all());
    cached.wait(2);
    let records = cached.status().records;
    cached.again(Node::close);
    assert_eq!(cached.status().records, records, "all of it was found again");
    let before = cached.status();
    cached.read_all();
    assert_eq!(cached.status().hits - before.hits, records);
    // The region that was being filled is lost by a crash, and those that were full are not.
    cached.again(Node::kill);
    let after = cached.status();
    assert!(after.records >= records / 2, "{after:?}");
    cached.read_all();
    assert_eq!(cached.status().hits, after.records);
    assert_eq!(cached.status().errors, 0);
}

#[test]
fn what_is_written_meanwhile_is_what_is_read_whenever_power_fails() {
    for seed in 0..12 {
        let chance = Chance::new(seed + 1);
        let mut cached = Cached::new(7300 + seed, 5);
        let mut version = 1;
        cached.write_all(version);
        for _ in 0..6 {
            for _ in 0..1 + chance.below(600) {
                let block = chance.below(BLOCKS / 3);
                match chance.below(10) {
                    0 => {
                        version += 1;
                        cached.write(block, version);
                    }
                    1 if chance.below(20) == 0 => cached.checkpoint(),
                    _ => (0..3).for_each(|_| cached.read(block)),
                }
            }
            cached.node.flush().expect("flush");
            cached.again(match chance.below(3) {
                0 => Node::kill,
                1 => Node::close,
                _ => Node::power_fail,
            });
            cached.read_all();
            // No table speaks of what is not there: everything was what the map says.
            assert_eq!(cached.status().errors, 0, "seed {seed}");
        }
        cached.node.verify();
    }
}

#[test]
fn bytes_that_have_changed_on_it_are_noticed_and_then_it_is_used_no_more() {
    let cached = Cached::new(74, 64);
    cached.write_all(1);
    (0..3).for_each(|_| cached.read_all());
    cached.wait(2);
    for block in 0..8192 {
        cached.node.world.rot(cached.cache, (1 << 20) + block * BLOCK as u64 + 17, 3);
    }
    cached.read_all();
    let status = cached.status();
    assert!(
        status.failure.as_ref().is_some_and(|failure| failure.contains("not what was written")),
        "{status:?}"
    );
    (0..3).for_each(|_| cached.read_all());
    cached.node.verify();
}

#[test]
fn a_cache_disk_that_hangs_delays_a_few_reads_and_nothing_else() {
    let mut cached = Cached::new(75, 64);
    cached.write_all(1);
    (0..3).for_each(|_| cached.read_all());
    cached.wait(2);
    cached.node.world.hang_disk(cached.cache);
    let before = cached.node.world.now();
    cached.read_all();
    let took = cached.node.world.now() - before;
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(cached.status().failure.is_some());
    let before = cached.node.world.now();
    cached.disk.take();
    cached.node.close();
    let took = cached.node.world.now() - before;
    assert!(took < Duration::from_secs(30), "{took:?}");
    cached.node.world.release_disk(cached.cache);
    cached.node.reopen();
    cached.use_cache();
    cached.read_all();
}

#[test]
fn it_stays_within_its_disk_and_its_memory_and_keeps_what_is_read_often() {
    // Three regions of a mebibyte, less than what is read.
    let mut cached = Cached::new(76, 4);
    cached.write_all(1);
    let often = 100;
    for round in 0..40 {
        (0..often).for_each(|block| cached.read(block));
        let others = often + round * 35 % (BLOCKS - often - 35);
        (others..others + 35).for_each(|block| (0..2).for_each(|_| cached.read(block)));
        cached.wait(1);
    }
    let before = cached.status();
    assert!(before.used_bytes <= before.size_bytes && before.size_bytes == 3 << 20, "{before:?}");
    assert!(before.records <= 3 * 252, "{before:?}");
    (0..often).for_each(|block| cached.read(block));
    let hits = cached.status().hits - before.hits;
    assert!(hits >= often * 9 / 10, "{hits}");
    // With less memory fewer records are found, and no more than that.
    cached.index_bytes = 400 * 48;
    cached.again(Node::close);
    (0..4).for_each(|_| cached.read_all());
    cached.wait(2);
    assert!(cached.status().records <= 400, "{:?}", cached.status());
}

#[test]
fn a_pool_that_was_copied_back_finds_nothing_of_its_later_life() {
    let mut cached = Cached::new(77, 64);
    cached.write_all(1);
    cached.again(Node::close);
    cached.disk.take();
    cached.node.close();
    let old = cached.node.world.image(cached.node.disks[0]);
    cached.node.reopen();
    cached.use_cache();
    cached.write_all(2);
    (0..3).for_each(|_| cached.read_all());
    cached.again(Node::close);
    assert!(cached.status().records > 0);
    cached.disk.take();
    cached.node.close();
    cached.node.world.set_image(cached.node.disks[0], &old);
    cached.node.reopen();
    cached.written.borrow_mut().fill(1);
    cached.use_cache();
    assert_eq!(cached.status().records, 0);
    cached.write_all(3);
    (0..3).for_each(|_| cached.read_all());
    assert_eq!(cached.status().errors, 0);
}

#[test]
fn a_disk_with_something_on_it_is_left_alone() {
    let cached = Cached::new(78, 64);
    let open = |path: &'static str| {
        let opened = cached.node.run(move |env| async move { CacheDisk::open(&env, Path::new(path)).await });
        opened.map(|_| ()).expect_err("it is of no use").to_string()
    };
    assert!(open("/dev/nothing").contains("there is no file or device"));
    assert!(open("/dev/0").contains("a device of Quarry pool 'tank'"), "{}", open("/dev/0"));
    let other = cached.node.world.add_disk("/dev/other", DiskSpec::of_size(64 << 20));
    cached.node.world.poke(other, 0, b"XFSB");
    assert!(open("/dev/other").contains("XFS"), "{}", open("/dev/other"));
    cached.node.world.add_disk("/dev/small", DiskSpec::of_size(2 << 20));
    assert!(open("/dev/small").contains("3 MiB at least"));
}
