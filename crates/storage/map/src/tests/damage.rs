//! Damaged nodes are errors with a name; nothing else is concerned.

use quarry_format::detached::{Detached, Floor};
use quarry_format::node::NodeRef;
use quarry_types::LogAddress;

use super::world::World;
use crate::{MergeFailure, NodeReadError, Runs, drop_step};

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

#[test]
fn a_merge_over_damage_fails_and_can_be_given_up() {
    let (mut world, root) = world();
    change(&world, root.address, |bytes| bytes[0] ^= 1);
    world.insert(7);
    let version = world.map.freeze(quarry_types::SnapshotCounter(9)).0;
    let (cache, store) = (world.cache.clone(), world.store.clone());
    let volume = quarry_types::VolumeId::from_random(7);
    let merge = async move { version.merge(volume, Floor::default(), &*store, &cache).await };
    let error = world.run(merge).expect_err("damaged");
    assert!(matches!(error.failure, MergeFailure::Read(NodeReadError::Checksum { .. })));
    assert_eq!(error.wasted, []);
    world.map.thaw(&mut |dead| panic!("{dead:?} is still mapped"));
    change(&world, root.address, |bytes| bytes[0] ^= 1);
    world.begin_merge();
    world.end_merge(true);
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
