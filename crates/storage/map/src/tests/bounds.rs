//! What must be cheap is cheap, and what must be bounded is bounded.

use std::cell::Cell;
use std::rc::Rc;

use quarry_env::yield_now;
use quarry_format::node::MAP_BLOCKS_MAX;

use super::world::World;
use crate::MERGE_TASKS_MAX;

#[test]
fn merges_keep_many_appends_in_flight() {
    // Appends that take far longer than beginning all tasks does, turns for others included.
    let mut world = World::new(5, 2000, 1 << 20);
    (0..2000).for_each(|number| world.insert(number * 7919));
    world.begin_merge();
    world.finish();
    assert_eq!(world.store.in_flight_max.get(), MERGE_TASKS_MAX);
    world.end_merge(true);
    // Far from each other as well: every entry has a path of its own.
    (0..500).for_each(|number| world.insert(number << 30));
    world.store.in_flight_max.set(0);
    world.begin_merge();
    world.finish();
    assert_eq!(world.store.in_flight_max.get(), MERGE_TASKS_MAX);
    world.end_merge(true);
}

#[test]
fn a_merge_lets_other_tasks_run() {
    let mut world = World::new(5, 0, 64 << 20);
    world.insert_run(0, 128 * 2000);
    let turns = Rc::new(Cell::new(0));
    let counter = turns.clone();
    let map = world.map.clone();
    world.begin_merge();
    let count = async move {
        while !map.is_clean() && counter.get() < 10_000 {
            counter.set(counter.get() + 1);
            yield_now().await;
        }
    };
    world.executor.spawner().spawn(count).detach();
    while world.store.nodes.borrow().len() < 2000 {
        world.executor.run(1);
    }
    assert!(turns.get() >= 2000 / 32, "{} turns", turns.get());
    world.end_merge(true);
}

#[test]
fn an_empty_petabyte_is_one_extent() {
    let mut world = World::new(1, 0, 0);
    world.extents(0..MAP_BLOCKS_MAX, 10);
    world.insert(MAP_BLOCKS_MAX / 2);
    world.begin_merge();
    world.end_merge(true);
    let reads = world.store.reads.get();
    world.extents(0..MAP_BLOCKS_MAX, 10);
    assert_eq!(world.store.reads.get() - reads, 5, "one path, to a block that needs no leaf");
}

#[test]
fn full_subtrees_are_not_read_for_extents() {
    let mut world = World::new(1, 0, 0);
    world.insert_run(0, 128 * 128 * 3 + 5);
    world.begin_merge();
    world.end_merge(true);
    let reads = world.store.reads.get();
    world.extents(0..1 << 30, 10);
    // The root, the last of its children, and the leaf with five entries.
    assert_eq!(world.store.reads.get() - reads, 3);
}

#[test]
fn the_overlay_accounts_for_its_memory() {
    let mut world = World::new(1, 0, 1 << 20);
    assert_eq!(world.pending_bytes(), 0);
    world.insert_run(0, 100_000);
    let dense = world.pending_bytes();
    // Entries of 24 bytes, and pages of tags, because some of them are encrypted.
    assert!((4_000_000..5_600_000).contains(&dense), "{dense}");
    world.unmap(0..100_000);
    assert!(world.pending_bytes() < 4_800_000, "{}", world.pending_bytes());
    world.insert_run(0, 100_000);
    assert!(world.pending_bytes() < dense + dense / 4, "freed memory is used again");
    (0..1000).for_each(|number| world.unmap(number << 20..(number << 20) + 5));
    assert!(world.pending_bytes() > dense + 30_000);
}
