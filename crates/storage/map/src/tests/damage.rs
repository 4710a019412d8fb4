//! Damaged nodes are errors with a name; nothing else is concerned.

use std::rc::Rc;

use quarry_format::detached::{Detached, Floor};
use quarry_format::node::{NodeRef, NodeSlots};
use quarry_types::{BlockIndex, LogAddress, SnapshotCounter, VolumeId};

use super::store::Refusal;
use super::world::World;
use crate::{
    MergeError, MergeFailure, MergeOutcome, NodeReadError, Run, Runs, dissolve_step, drop_step,
    unshared_entries,
};

fn world() -> (World, NodeRef) {
    let mut world = World::new(3, 2, 0);
    world.insert_run(0, 1000);
    world.begin_merge();
    world.end_merge(true);
    let root = world.root().expect("something is mapped");
    (world, root)
}

fn resolve(world: &mut World) -> Result<Runs, NodeReadError> {
    let (map, cache, store) = (world.map.clone(), world.cache.clone(), world.store.clone());
    world.run(async move { map.resolve(5..6, &cache, &*store).await })
}

fn change(world: &World, address: LogAddress, change: impl FnOnce(&mut Vec<u8>)) {
    change(world.store.nodes.borrow_mut().get_mut(&address).expect("the node is there"));
}

#[test]
fn rot_is_found_by_the_checksum() {
    let (mut world, root) = world();
    change(&world, root.address, |bytes| bytes[70] ^= 1);
    let error = resolve(&mut world).expect_err("damaged");
    assert!(matches!(error, NodeReadError::Checksum { address, .. } if address == root.address), "{error}");
    assert!(error.is_corrupt());
    change(&world, root.address, |bytes| bytes[70] ^= 1);
    assert!(resolve(&mut world).is_ok(), "an error is not remembered");
}

#[test]
fn short_reads_and_lost_nodes_are_told_apart() {
    let (mut world, root) = world();
    change(&world, root.address, |bytes| bytes.truncate(100));
    assert!(matches!(resolve(&mut world), Err(NodeReadError::Short { available: 100, .. })));
    world.store.nodes.borrow_mut().remove(&root.address);
    assert!(matches!(resolve(&mut world), Err(NodeReadError::Lost { .. })));
}

#[test]
fn a_node_of_another_place_is_refused() {
    let (mut world, root) = world();
    let children = match world.store.node(root.address).slots {
        quarry_format::node::NodeSlots::Interior { children, .. } => children,
        quarry_format::node::NodeSlots::Leaf(_) => panic!("1000 blocks need two levels"),
    };
    let second = children.get(1).copied().expect("1000 blocks have eight leaves");
    world.map = std::rc::Rc::new(crate::VolumeMap::new(crate::Version::merged(Some(second))));
    let error = resolve(&mut world).expect_err("it is not the first leaf");
    assert!(
        matches!(error, NodeReadError::Misplaced { first_block: 0, found_first_block: 128, .. }),
        "{error}"
    );
}

fn try_merge(world: &mut World) -> Result<MergeOutcome, MergeError> {
    let version = world.map.freeze(SnapshotCounter(9)).0;
    let (cache, store) = (world.cache.clone(), world.store.clone());
    let (volume, merging) = (VolumeId::from_random(7), version.clone());
    let outcome = world.run(async move { merging.merge(volume, Floor::default(), &*store, &cache).await })?;
    version.prepare(outcome.root);
    world.run(version.install().release());
    Ok(outcome)
}

#[test]
fn a_merge_over_what_cannot_be_read_now_fails_and_can_be_given_up() {
    let (mut world, _) = world();
    world.insert(7);
    fn source() -> Rc<std::io::Error> {
        Rc::new(std::io::Error::other("away"))
    }
    let refusals: [Refusal; 2] = [
        |address| NodeReadError::Unavailable { address, source: source() },
        |address| NodeReadError::Dangling { address, source: source() },
    ];
    for refusal in refusals {
        world.store.refuses.set(Some(refusal));
        let error = try_merge(&mut world).expect_err("it may be there again");
        assert!(matches!(error.failure, MergeFailure::Read(error) if !error.is_final()));
        assert_eq!(error.wasted, []);
        world.map.thaw(&mut |dead| panic!("{dead:?} is still mapped"));
    }
    world.store.refuses.set(None);
    world.begin_merge();
    world.end_merge(true);
}

/// What a block is: data, lost data, or nothing.
fn look(world: &mut World, block: BlockIndex) -> Option<Run> {
    let (map, cache, store) = (world.map.clone(), world.cache.clone(), world.store.clone());
    match world.run(async move { map.resolve(block..block + 1, &cache, &*store).await }) {
        Ok(runs) => Some(runs[0]),
        Err(error) => {
            assert!(error.is_final(), "{error}");
            None
        }
    }
}

fn is_lost(world: &mut World, block: BlockIndex) -> bool {
    match look(world, block) {
        Some(Run::Data(mapped)) => mapped.entry.address == LogAddress::LOST,
        Some(Run::Hole { .. }) => false,
        None => true,
    }
}

fn is_data(world: &mut World, block: BlockIndex) -> bool {
    let model = world.model.borrow().get(&block).copied();
    matches!(look(world, block), Some(Run::Data(mapped)) if Some(mapped.entry) == model)
}

fn children(world: &World, node: NodeRef) -> Vec<NodeRef> {
    match world.store.node(node.address).slots {
        NodeSlots::Interior { children, .. } => children.values().to_vec(),
        NodeSlots::Leaf(_) => panic!("it is an interior node"),
    }
}

#[test]
fn what_is_written_below_a_bad_leaf_is_kept_and_the_rest_of_it_is_lost() {
    let (mut world, root) = world();
    let leaf = children(&world, root)[0];
    change(&world, leaf.address, |bytes| bytes[70] ^= 1);
    world.insert(7);
    let outcome = try_merge(&mut world).expect("others go on");
    assert!(matches!(outcome.lost[..], [(0, NodeReadError::Checksum { .. })]), "{:?}", outcome.lost);
    let dead: Vec<LogAddress> = outcome.dead_nodes.iter().map(|node| node.address).collect();
    assert_eq!(dead, [leaf.address, root.address], "the bad node itself is of no use any more");
    assert!(is_data(&mut world, 7) && is_data(&mut world, 128) && is_data(&mut world, 999));
    assert!(is_lost(&mut world, 6) && is_lost(&mut world, 127));
    // What is given up or written is lost no more, and no news is made of the rest.
    world.unmap(0..5);
    world.insert(6);
    let outcome = try_merge(&mut world).expect("it goes on");
    assert!(outcome.lost.is_empty());
    assert_eq!(look(&mut world, 4), Some(Run::Hole { blocks: 1 }));
    assert!(
        is_data(&mut world, 6) && is_data(&mut world, 7) && is_lost(&mut world, 5) && is_lost(&mut world, 8)
    );
    world.unmap(8..128);
    world.unmap(5..6);
    try_merge(&mut world).expect("it goes on");
    assert_eq!(world.root().expect("there is more").mapped(), 1000 - 126);
}

#[test]
fn what_is_written_below_a_bad_root_is_kept_and_the_rest_is_lost() {
    let (mut world, root) = world();
    change(&world, root.address, |bytes| bytes[70] ^= 1);
    world.insert(200);
    world.unmap(256..300);
    let outcome = try_merge(&mut world).expect("others go on");
    assert_eq!(outcome.lost.len(), 1);
    assert!(is_data(&mut world, 200) && is_lost(&mut world, 201) && is_lost(&mut world, 5));
    assert!(is_lost(&mut world, 300));
    assert_eq!(look(&mut world, 299), Some(Run::Hole { blocks: 1 }));
    // Further down the same again.
    world.insert(5);
    world.unmap(384..600);
    let outcome = try_merge(&mut world).expect("others go on");
    assert!(outcome.lost.is_empty(), "that is no news");
    assert!(is_data(&mut world, 5) && is_data(&mut world, 200) && is_lost(&mut world, 6));
    assert_eq!(look(&mut world, 599), Some(Run::Hole { blocks: 1 }));
    // All of it is given up.
    world.unmap(0..1 << 20);
    try_merge(&mut world).expect("others go on");
    assert_eq!(world.root(), None);
}

#[test]
fn a_deleted_snapshot_goes_past_its_bad_nodes() {
    let (mut world, before) = world();
    world.insert(7);
    world.insert(500);
    let after = try_merge(&mut world).expect("a merge").root;
    let leaf = children(&world, before)[0];
    let dissolve = |world: &mut World| {
        let (cache, store) = (world.cache.clone(), world.store.clone());
        world.run(async move {
            let roots = (Some(before), after);
            let dissolved = dissolve_step(&*store, &cache, roots, SnapshotCounter(0), 0, &mut 100).await;
            let others = (Some(before), &[after][..]);
            let alone = unshared_entries(&*store, &cache, others, SnapshotCounter(0), &mut 100).await;
            (dissolved.expect("it goes past them"), alone)
        })
    };
    let (whole, alone) = dissolve(&mut world);
    assert_eq!((whole.lost.len(), whole.dead_entries.len(), whole.dead_nodes.len()), (0, 2, 3));
    assert_eq!(alone.expect("sound").map(|entries| entries.len()), Some(2));
    change(&world, leaf.address, |bytes| bytes[70] ^= 1);
    let (past_leaf, alone) = dissolve(&mut world);
    assert_eq!((past_leaf.lost.len(), past_leaf.cursor), (1, None));
    assert_eq!(
        (&past_leaf.dead_entries[..], &past_leaf.dead_nodes),
        (&whole.dead_entries[1..], &whole.dead_nodes)
    );
    assert!(alone.is_err(), "a figure that leaves something out is wrong");
    change(&world, before.address, |bytes| bytes[70] ^= 1);
    let (past_root, _) = dissolve(&mut world);
    assert_eq!(
        (past_root.lost.len(), &past_root.dead_entries[..], &past_root.dead_nodes[..]),
        (1, &[][..], &[before][..])
    );
    // What the other tree holds there is not known: the snapshot may share it.
    change(&world, before.address, |bytes| bytes[70] ^= 1);
    change(&world, leaf.address, |bytes| bytes[70] ^= 1);
    let newer = children(&world, after.expect("a root"))[0];
    change(&world, newer.address, |bytes| bytes[70] ^= 1);
    let (past_other, _) = dissolve(&mut world);
    assert_eq!((past_other.dead_entries, past_other.dead_nodes), (past_leaf.dead_entries, whole.dead_nodes));
}

#[test]
fn a_walk_over_damage_keeps_its_place() {
    let (mut world, root) = world();
    world.map = std::rc::Rc::new(crate::VolumeMap::new(crate::Version::merged(None)));
    let victim = *world.store.nodes.borrow().keys().next().expect("there are nodes");
    change(&world, victim, |bytes| bytes[0] ^= 1);
    let drop = |world: &mut World, mut pending: Vec<Detached>| {
        let (cache, store) = (world.cache.clone(), world.store.clone());
        world.run(async move {
            let (mut entries, mut nodes) = (Vec::new(), Vec::new());
            let result = drop_step(&*store, &cache, &mut pending, 100, &mut entries, &mut nodes).await;
            (result, pending, entries.len(), nodes.len())
        })
    };
    let (result, pending, entries, nodes) =
        drop(&mut world, vec![Detached { node: root, first_block: 0, floor: Floor::default() }]);
    assert!(matches!(result, Err(NodeReadError::Checksum { address, .. }) if address == victim));
    assert_eq!((pending.len(), entries, nodes), (1, 1000 - pending[0].node.mapped() as usize, 8));
    change(&world, victim, |bytes| bytes[0] ^= 1);
    let (result, left, entries, nodes) = drop(&mut world, pending.clone());
    assert!(result.is_ok());
    assert_eq!((left.len(), entries, nodes), (0, pending[0].node.mapped() as usize, 1));
}
