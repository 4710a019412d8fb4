//! Random histories: the map shows what the model shows, and every address dies once.

use proptest::prelude::*;
use quarry_format::node::MAP_BLOCKS_MAX;
use quarry_types::BlockIndex;

use super::world::World;

#[derive(Clone, Debug)]
enum Step {
    Insert(BlockIndex),
    InsertRun(BlockIndex, u64),
    Unmap(BlockIndex, u64),
    LookUp(BlockIndex, u64),
    Extents(BlockIndex, u64, usize),
    BeginMerge,
    /// Lets tasks run for a while.
    Turns(usize),
    EndMerge {
        install: bool,
    },
    /// The store takes so many more nodes.
    Full(usize),
    Snapshot,
    DeleteSnapshot(usize),
    Clone(usize, BlockIndex, u64),
    SwapWithClone(usize),
    DeleteClone(usize),
    RollBack(usize),
}

/// Blocks that meet often, with gaps of every size between.
fn block() -> impl Strategy<Value = BlockIndex> {
    prop_oneof![
        6 => 0u64..400,
        3 => (0u64..40).prop_map(|leaf| leaf * 128 + leaf % 3),
        3 => 16_300u64..16_600,
        2 => (0u64..10).prop_map(|region| region * 16_384 + 77),
        1 => (0u32..42, 0u64..3).prop_map(|(bits, more)| ((1u64 << bits) + more).min(MAP_BLOCKS_MAX - 1)),
    ]
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![5 => 1u64..5, 4 => 1u64..300, 2 => 16_000u64..40_000, 1 => (0u32..42).prop_map(|bits| 1 << bits)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => block().prop_map(Step::Insert),
        6 => (block(), 1u64..300).prop_map(|(block, count)| Step::InsertRun(block, count)),
        6 => (block(), length()).prop_map(|(block, count)| Step::Unmap(block, count)),
        6 => (block(), 1u64..200).prop_map(|(block, count)| Step::LookUp(block, count)),
        2 => block().prop_map(|block| Step::LookUp(block, 1)),
        3 => (block(), length(), 1usize..20).prop_map(|(block, count, most)| Step::Extents(block, count, most)),
        4 => Just(Step::BeginMerge),
        6 => (0usize..40).prop_map(Step::Turns),
        4 => prop::bool::weighted(0.8).prop_map(|install| Step::EndMerge { install }),
        1 => (0usize..6).prop_map(Step::Full),
        3 => Just(Step::Snapshot),
        2 => any::<usize>().prop_map(Step::DeleteSnapshot),
        1 => (any::<usize>(), block(), length()).prop_map(|(pick, block, count)| Step::Clone(pick, block, count)),
        1 => any::<usize>().prop_map(Step::SwapWithClone),
        1 => any::<usize>().prop_map(Step::DeleteClone),
        1 => any::<usize>().prop_map(Step::RollBack),
    ]
}

fn clipped(block: BlockIndex, count: u64) -> std::ops::Range<BlockIndex> {
    block..(block + count).min(MAP_BLOCKS_MAX)
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Insert(block) => world.insert(block),
        Step::InsertRun(block, count) => {
            let blocks = clipped(block, count);
            world.insert_run(block, blocks.end - blocks.start);
        }
        Step::Unmap(block, count) => world.unmap(clipped(block, count)),
        Step::LookUp(block, count) => world.look_up(clipped(block, count)),
        Step::Extents(block, count, extents_max) => world.extents(clipped(block, count), extents_max),
        Step::BeginMerge if world.is_merging() => (),
        Step::BeginMerge => world.begin_merge(),
        Step::Turns(turns) => _ = world.executor.run(turns),
        Step::EndMerge { install } => {
            world.end_merge(install);
            world.store.appends_left.set(None);
        }
        Step::Full(appends) if world.is_merging() => world.store.appends_left.set(Some(appends)),
        Step::Full(_) => (),
        Step::Snapshot => _ = world.snapshot(),
        Step::DeleteSnapshot(pick) => world.delete_snapshot(pick),
        Step::Clone(pick, block, count) => world.clone_snapshot(pick, clipped(block, count)),
        Step::SwapWithClone(pick) => world.swap_with_clone(pick),
        Step::DeleteClone(pick) => world.delete_clone(pick),
        Step::RollBack(pick) => world.roll_back(pick),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_map_is_a_btree_map(
        steps in prop::collection::vec(step(), 1..80),
        seed in any::<u64>(),
        turns_max in 0u64..6,
        cache_bytes in prop_oneof![Just(0usize), Just(5_000), Just(1 << 20)],
    ) {
        let mut world = World::new(seed, turns_max, cache_bytes);
        for step in steps {
            take(&mut world, step);
            prop_assert!(world.cache.used_bytes() <= cache_bytes);
        }
        world.end_merge(true);
        world.store.appends_left.set(None);
        world.finish();
        // Everything into the trees, then everything out of them.
        checkpoint(&mut world);
        world.extents(0..MAP_BLOCKS_MAX, 10_000);
        world.check_snapshots();
        world.unmap(0..MAP_BLOCKS_MAX);
        for _ in 0..100 {
            world.delete_snapshot(0);
            world.delete_clone(0);
        }
        for _ in 0..400 {
            checkpoint(&mut world);
        }
        prop_assert_eq!(world.root(), None);
        prop_assert_eq!(world.pending_bytes(), 0);
        world.check_empty();
    }
}

fn checkpoint(world: &mut World) {
    world.begin_merge();
    world.end_merge(true);
}
