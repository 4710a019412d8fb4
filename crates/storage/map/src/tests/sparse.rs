//! Leaves of one block, which are not written.

use quarry_format::node::span_blocks;

use super::world::World;

fn merge(world: &mut World) {
    world.begin_merge();
    world.end_merge(true);
}

/// Level-1 nodes and a root over blocks that lie far apart.
#[test]
fn a_block_that_is_alone_in_its_leaf_costs_no_node() {
    let mut world = World::new(1, 2, 1 << 20);
    (0..1000).for_each(|number| world.insert(number * 1000 + 77));
    merge(&mut world);
    let level_1 = (999 * 1000 + 78u64).div_ceil(span_blocks(1)) as usize;
    // The tag of an encrypted block has no place but in a leaf.
    let encrypted = world.model.borrow().values().filter(|entry| entry.is_encrypted()).count();
    assert!((300..400).contains(&encrypted));
    assert_eq!(world.store.nodes.borrow().len(), encrypted + level_1 + 1);
    assert_eq!(world.map.mapped_blocks(), 1000);
    world.look_up(0..1_000_000);
    world.extents(0..1 << 20, 5000);
}

#[test]
fn it_becomes_a_leaf_and_alone_again() {
    let mut world = World::new(1, 2, 1 << 20);
    world.insert(5);
    world.insert(1000);
    world.insert(100_000);
    merge(&mut world);
    let alone = world.store.nodes.borrow().len();
    // Written again, with company, alone again, gone: what dies is checked by the world's books.
    world.insert(1000);
    merge(&mut world);
    world.insert(1001);
    merge(&mut world);
    assert!(world.store.nodes.borrow().len() > alone);
    world.unmap(1000..1001);
    merge(&mut world);
    assert_eq!(world.map.mapped_blocks(), 3);
    world.unmap(1001..1002);
    world.unmap(99_999..100_001);
    merge(&mut world);
    assert_eq!(world.map.mapped_blocks(), 1);
    world.look_up(0..200_000);
}

#[test]
fn snapshots_share_it_and_tell_it_apart() {
    let mut world = World::new(1, 2, 1 << 20);
    (0..50).for_each(|number| world.insert(number * 500));
    merge(&mut world);
    world.snapshot();
    (0..25).for_each(|number| world.insert(number * 1000));
    world.unmap(12_000..13_000);
    merge(&mut world);
    world.snapshot();
    world.insert_run(0, 600);
    merge(&mut world);
    world.delete_snapshot(0);
    merge(&mut world);
    world.delete_snapshot(0);
    merge(&mut world);
    world.look_up(0..30_000);
}
