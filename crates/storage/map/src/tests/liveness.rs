//! Who dies when, in the cases that random histories meet seldom.

use quarry_format::detached::Floor;
use quarry_format::node::{MAP_BLOCKS_MAX, span_blocks};
use quarry_types::{SnapshotCounter, VolumeId};

use super::world::{World, mapped};

fn merge(world: &mut World) {
    world.begin_merge();
    world.end_merge(true);
}

#[test]
fn a_merge_without_changes_writes_nothing() {
    let mut world = World::new(1, 3, 1 << 20);
    world.insert_run(100, 5000);
    merge(&mut world);
    let (root, nodes) = (world.root(), world.store.nodes.borrow().len());
    merge(&mut world);
    world.unmap(1 << 20..1 << 30);
    world.unmap(5100..6000);
    merge(&mut world);
    assert_eq!(world.root(), root);
    assert_eq!(world.store.nodes.borrow().len(), nodes);
}

#[test]
fn a_block_that_refers_to_the_same_record_again_loses_a_reference() {
    let mut world = World::new(1, 0, 1 << 20);
    world.insert_run(0, 300);
    let entries: Vec<_> = world.model.borrow().values().copied().collect();
    let mut died = 0;
    world.map.insert_run(0, entries.iter().map(|&entry| mapped(entry)), |_| died += 1);
    assert_eq!(died, 300, "in the overlay");
    merge(&mut world);
    world.map.insert_run(0, entries.iter().map(|&entry| mapped(entry)), |dead| panic!("{dead:?}"));
    let (version, _) = world.map.freeze(SnapshotCounter(0));
    let (store, cache) = (world.store.clone(), world.cache.clone());
    let id = VolumeId::from_bytes([1; 16]);
    let outcome = world.run(async move { version.merge(id, Floor::default(), &*store, &cache).await });
    let outcome = outcome.expect("the store takes everything");
    assert_eq!(outcome.dead_entries, entries, "in the tree");
    assert!(outcome.new_nodes.is_empty(), "what is mapped is the same");
}

#[test]
fn a_hole_detaches_whole_subtrees_without_reading_them() {
    let mut world = World::new(1, 2, 0);
    // Two level-1 subtrees, full.
    world.insert_run(0, 2 * span_blocks(1));
    merge(&mut world);
    let reads = world.store.reads.get();
    world.unmap(100..span_blocks(1) + 128);
    world.begin_merge();
    world.finish();
    // The root, the two below it, and the leaf at the beginning: its 127 neighbours and the one behind go unread.
    assert_eq!(world.store.reads.get() - reads, 4);
    world.end_merge(true);
    assert_eq!(world.map.mapped_blocks(), 100 + span_blocks(1) - 128);
}

#[test]
fn a_tree_grows_and_loses_what_it_stood_on() {
    let mut world = World::new(1, 2, 1 << 20);
    world.insert(3);
    merge(&mut world);
    assert_eq!(world.root().map(|root| root.level), Some(0));
    world.insert(MAP_BLOCKS_MAX - 1);
    merge(&mut world);
    assert_eq!(world.root().map(|root| (root.level, root.mapped())), Some((5, 2)));
    world.unmap(MAP_BLOCKS_MAX - 1..MAP_BLOCKS_MAX);
    merge(&mut world);
    // Growing while the old root is cut off: at its own level, and below a new one.
    let mut world = World::new(1, 2, 1 << 20);
    world.insert(3);
    merge(&mut world);
    world.unmap(0..span_blocks(1));
    world.insert(span_blocks(4));
    merge(&mut world);
    assert_eq!(world.root().map(|root| (root.level, root.mapped())), Some((5, 1)));
}

#[test]
fn a_failed_merge_leaves_everything_as_it_was() {
    for appends in [0, 1, 30, 90] {
        let mut world = World::new(appends as u64, 4, 1 << 16);
        (0..200).for_each(|number| world.insert(number * 1000));
        merge(&mut world);
        let root = world.root();
        (0..100).for_each(|number| world.insert(number * 2000 + 1));
        world.begin_merge();
        world.store.appends_left.set(Some(appends));
        world.insert(2001);
        world.unmap(4000..4100);
        world.end_merge(true);
        assert_eq!(world.root(), root);
        assert!(!world.is_merging());
        world.extents(0..1 << 20, 1000);
        world.store.appends_left.set(None);
        merge(&mut world);
        world.extents(0..1 << 20, 1000);
    }
}

#[test]
fn nodes_and_entries_carry_their_birth() {
    let mut world = World::new(1, 0, 1 << 20);
    world.insert(1);
    merge(&mut world);
    assert_eq!(world.root().map(|root| root.birth.0), Some(1));
    assert_eq!(world.snapshot(), 1);
    world.insert(2);
    merge(&mut world);
    assert_eq!(world.root().map(|root| root.birth.0), Some(2));
}
