//! What goes with a tree of a map and what snapshots still hold.

use std::ops::Range;

use quarry_types::{BlockIndex, SnapshotCounter};

use crate::node::{NodeRef, span_blocks};

/// What still belongs to a snapshot, and so does not die with whatever else refers to it: blocks before `cursor` with a birth
/// of at most `before`, others with a birth of at most `from`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Floor {
    /// For blocks before the cursor.
    pub before: SnapshotCounter,
    /// Where a snapshot that is being dissolved still counts.
    pub cursor: BlockIndex,
    /// For blocks from the cursor on.
    pub from: SnapshotCounter,
}

impl Floor {
    /// The same for all blocks.
    pub fn at(snapshot: SnapshotCounter) -> Self {
        Self { before: snapshot, cursor: 0, from: snapshot }
    }

    /// Whether the data of `block` goes with the tree that refers to it.
    pub fn is_above(&self, block: BlockIndex, birth: SnapshotCounter) -> bool {
        birth > if block < self.cursor { self.before } else { self.from }
    }

    /// Whether below a node of this birth there may be data that goes with the tree.
    pub fn may_be_above(&self, blocks: &Range<BlockIndex>, birth: SnapshotCounter) -> bool {
        (blocks.start < self.cursor && birth > self.before) || (blocks.end > self.cursor && birth > self.from)
    }

    /// Whether a node goes with the tree that refers to it. A node across the cursor still counts as the snapshot's.
    pub fn is_node_above(&self, blocks: &Range<BlockIndex>, birth: SnapshotCounter) -> bool {
        birth > if blocks.end <= self.cursor { self.before } else { self.from }
    }
}

/// A subtree that nothing refers to any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Detached {
    /// Its root.
    pub node: NodeRef,
    /// The first block that it covers.
    pub first_block: BlockIndex,
    /// What of it snapshots still hold.
    pub floor: Floor,
}

impl Detached {
    /// The blocks that it covers.
    pub fn blocks(&self) -> Range<BlockIndex> {
        self.first_block..self.first_block + span_blocks(self.node.level)
    }
}
