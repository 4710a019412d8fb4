//! Eviction, and misses that meet.

use std::rc::Rc;

use proptest::prelude::*;
use quarry_env::Executor;
use quarry_format::crc32c;
use quarry_format::node::{Entry, Method, NodeRef, Slots};
use quarry_types::{KeyId, SnapshotCounter, VolumeId};

use super::*;
use crate::tests::store::TestStore;

fn leaf(number: u64) -> Node {
    let mut entries = Slots::default();
    let address = LogAddress(number + 1);
    let birth = SnapshotCounter(0);
    entries.insert(
        3,
        Entry { address, checksum: 0, birth, key: KeyId(0), stored_sectors: 8, method: Method::AsIs },
    );
    Node {
        volume: VolumeId::from_random(1),
        first_block: number * 128,
        slots: NodeSlots::Leaf(entries.into()),
    }
}

fn interior(number: u64) -> Node {
    let mut children = Slots::default();
    let mut child = NodeRef::stored(0, 1, SnapshotCounter(0), 1);
    child.address = LogAddress(number + 1);
    children.insert(0, child);
    Node {
        volume: VolumeId::from_random(1),
        first_block: number << 14,
        slots: NodeSlots::Interior { level: 1, children },
    }
}

/// What a leaf of these tests costs.
fn leaf_bytes() -> usize {
    let cache = NodeCache::new(1 << 20);
    cache.insert(LogAddress(1), leaf(1));
    cache.used_bytes()
}

#[test]
fn a_scan_does_not_evict_what_is_used() {
    let cache = NodeCache::new(100 * leaf_bytes());
    for number in 0..20 {
        cache.insert(LogAddress(1000 + number), leaf(number));
        cache.insert(LogAddress(2000 + number), interior(number));
    }
    for number in 0..1000 {
        cache.insert(LogAddress(10_000 + number), leaf(number));
        if number % 10 == 0 {
            (0..20)
                .for_each(|used| assert!(cache.get(LogAddress(1000 + used)).is_some(), "{used} at {number}"));
        }
    }
    let interiors = (0..20).filter(|number| cache.get(LogAddress(2000 + number)).is_some()).count();
    assert_eq!(interiors, 20, "interior nodes outlive leaves that nobody used");
}

#[test]
fn a_smaller_budget_holds_at_once() {
    let cache = NodeCache::new(1 << 20);
    (0..1000).for_each(|number| _ = cache.insert(LogAddress(number + 1), interior(number)));
    cache.set_budget(10_000);
    assert!(cache.used_bytes() <= 10_000 && !cache.is_empty());
    cache.set_budget(0);
    assert_eq!((cache.used_bytes(), cache.len()), (0, 0));
}

proptest! {
    #[test]
    fn the_books_hold(steps in prop::collection::vec((0u64..60, 0u8..4), 1..300), room in 0usize..20) {
        let cache = NodeCache::new(room * leaf_bytes());
        for (number, verb) in steps {
            let address = LogAddress(number + 1);
            match verb {
                0 | 1 => prop_assert_eq!(cache.insert(address, leaf(number)).node.first_block, number * 128),
                2 => cache.forget(address),
                _ => {
                    if let Some(found) = cache.get(address) {
                        prop_assert_eq!(&found.node, &leaf(number));
                    }
                }
            }
            prop_assert!(cache.used_bytes() <= room * leaf_bytes());
            prop_assert_eq!(cache.used_bytes(), cache.len() * leaf_bytes());
        }
    }
}

/// A store with one leaf, and the place of that leaf.
fn stored() -> (Rc<TestStore>, Needed) {
    let store = TestStore::new(9, 5);
    let node = leaf(4);
    let mut bytes = vec![0; 512];
    node.encode(&mut bytes);
    let address = store.addresses.next();
    let mut reference = NodeRef::stored(0, 1, SnapshotCounter(0), 1);
    (reference.address, reference.checksum) = (address, crc32c(&bytes));
    store.nodes.borrow_mut().insert(address, bytes);
    (store, Needed { node: reference, first_block: 512 })
}

#[test]
fn misses_of_one_node_share_one_read() {
    let (store, needed) = stored();
    let cache = Rc::new(NodeCache::new(0));
    let mut executor = Executor::new(|| ());
    let loaded = Rc::new(Cell::new(0));
    for _ in 0..10 {
        let (store, cache, loaded) = (store.clone(), cache.clone(), loaded.clone());
        let load = async move {
            assert_eq!(cache.load(needed, &*store).await.map(|cached| cached.node.count()).ok(), Some(1));
            loaded.set(loaded.get() + 1);
        };
        executor.spawner().spawn(load).detach();
    }
    while executor.run(100) > 0 {}
    assert_eq!((loaded.get(), store.reads.get()), (10, 1));
    assert!(cache.loading.borrow().is_empty());
}

#[test]
fn a_dropped_reader_leaves_the_read_to_another() {
    let (store, needed) = stored();
    store.turns_max.set(1000);
    let cache = Rc::new(NodeCache::new(1 << 20));
    let mut executor = Executor::new(|| ());
    let mut loads: Vec<_> = (0..3)
        .map(|_| {
            let (store, cache) = (store.clone(), cache.clone());
            executor.spawner().spawn(async move { cache.load(needed, &*store).await.is_ok() })
        })
        .collect();
    executor.run(5);
    drop(loads.remove(0));
    let done = Rc::new(Cell::new(0));
    for load in loads {
        let done = done.clone();
        let count = async move {
            let loaded = usize::from(load.await);
            done.set(done.get() + loaded);
        };
        executor.spawner().spawn(count).detach();
    }
    while executor.run(100) > 0 {}
    assert_eq!((done.get(), store.reads.get()), (2, 2));
}
