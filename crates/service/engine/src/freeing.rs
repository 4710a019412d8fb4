//! What deletions have left behind, for those who watch it go: checkpoints give it up part by part.

use quarry_types::BlockIndex;
use quarry_types::limits::BLOCK_BYTES;

use crate::Engine;
use crate::snapshot::SnapshotState;

/// What deleted snapshots and volumes, rollbacks and large discards have left in the log, as of the last checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Freeing {
    /// Deleted snapshots that can be given up, the one under way included.
    pub snapshots: u64,
    /// Blocks that these map and that are not done, shared or not: at most so many become free.
    pub snapshot_blocks: u64,
    /// How far the one under way is.
    pub dissolving: Option<Dissolving>,
    /// Deleted snapshots that stay for now, because two things or more stand on them.
    pub shared_snapshots: u64,
    /// Trees that nothing refers to any more.
    pub trees: u64,
    /// Blocks that these map, those included that snapshots still hold: at most so many become free.
    pub tree_blocks: u64,
}

/// The deleted snapshot that is being given up, from its first block to its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dissolving {
    /// Its first blocks, which are done.
    pub blocks_done: BlockIndex,
    /// All of its blocks, mapped or not.
    pub blocks: BlockIndex,
}

impl Engine {
    /// What is still to be given up.
    pub fn freeing(&self) -> Freeing {
        let mut freeing = Freeing::default();
        let detached = &self.durable.borrow().detached;
        let dropped = self.volumes.dropped_blocks();
        freeing.trees = (detached.len() + dropped.len()) as u64;
        freeing.tree_blocks = detached.iter().map(|tree| tree.node.mapped()).chain(dropped).sum();
        let under_way = self.volumes.dissolving.get();
        let standing = self.volumes.standing_on_hidden();
        for (snapshot, standing) in standing {
            if self.goes_anyway(&snapshot) {
                continue;
            }
            match under_way.filter(|(number, _)| *number == snapshot.number) {
                Some((_, cursor)) => {
                    let dissolving = dissolving(&snapshot, cursor);
                    freeing.snapshots += 1;
                    freeing.snapshot_blocks += left_blocks(mapped_blocks(&snapshot), dissolving);
                    freeing.dissolving = Some(dissolving);
                }
                None if standing < 2 => {
                    freeing.snapshots += 1;
                    freeing.snapshot_blocks += mapped_blocks(&snapshot);
                }
                None => freeing.shared_snapshots += 1,
            }
        }
        freeing
    }

    /// Whether it is a moment that the window of its volume has passed: one goes every second, and nobody has asked for it.
    fn goes_anyway(&self, snapshot: &SnapshotState) -> bool {
        let head = snapshot.head.borrow();
        head.moment && self.volumes.get(head.volume).is_some()
    }
}

fn dissolving(snapshot: &SnapshotState, cursor: BlockIndex) -> Dissolving {
    let blocks = snapshot.head.borrow().size_bytes.div_ceil(BLOCK_BYTES as u64);
    Dissolving { blocks_done: cursor.min(blocks), blocks }
}

/// Of the mapped blocks, the share that lies behind the cursor, as if they were spread evenly.
fn left_blocks(mapped: u64, Dissolving { blocks_done, blocks }: Dissolving) -> u64 {
    let left = u128::from(mapped) * u128::from(blocks - blocks_done) / u128::from(blocks.max(1));
    left as u64
}

fn mapped_blocks(snapshot: &SnapshotState) -> u64 {
    snapshot.version.mapped_blocks() + snapshot.version.pending_entries() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_shrinks_with_the_cursor() {
        for (blocks_done, left) in [(0, 1000), (50, 500), (100, 0)] {
            assert_eq!(left_blocks(1000, Dissolving { blocks_done, blocks: 100 }), left);
        }
        assert_eq!(left_blocks(0, Dissolving { blocks_done: 0, blocks: 0 }), 0);
    }
}
