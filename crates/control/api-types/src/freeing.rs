//! What deletions have left behind and the node still gives up, in the background.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What deleted snapshots and volumes, rollbacks and large discards have left, as of the last checkpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Freeing {
    /// Deleted snapshots that are being given up, or wait for it.
    pub snapshots: u64,
    /// Bytes of data that these refer to and that are not done, shared or not: at most so much becomes free.
    pub snapshot_bytes: u64,
    /// Of the snapshots that are being given up now, bytes from their beginning that are done, mapped or not.
    pub dissolved_bytes: u64,
    /// Sizes of the snapshots that are being given up now; 0 when none is.
    pub dissolving_bytes: u64,
    /// Parts of the maps of volumes that nothing refers to any more, since a volume was deleted, rolled back or discarded.
    pub trees: u64,
    /// Bytes of data that these refer to, those included that snapshots still hold: at most so much becomes free.
    pub tree_bytes: u64,
    /// Deleted snapshots that stay, because two clones or snapshots or more stand on them. They go when at most one does.
    pub shared_snapshots: u64,
}

impl Freeing {
    /// Whether nothing is left that can be given up now.
    pub fn is_done(&self) -> bool {
        self.snapshots == 0 && self.trees == 0
    }

    /// Bytes of data that are still to be looked at.
    pub fn left_bytes(&self) -> u64 {
        self.snapshot_bytes + self.tree_bytes
    }
}

impl std::ops::AddAssign for Freeing {
    fn add_assign(&mut self, other: Self) {
        self.snapshots += other.snapshots;
        self.snapshot_bytes += other.snapshot_bytes;
        self.dissolved_bytes += other.dissolved_bytes;
        self.dissolving_bytes += other.dissolving_bytes;
        self.trees += other.trees;
        self.tree_bytes += other.tree_bytes;
        self.shared_snapshots += other.shared_snapshots;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_not_waited_for() {
        let mut freeing = Freeing { shared_snapshots: 2, ..Freeing::default() };
        assert!(freeing.is_done());
        freeing += Freeing { trees: 1, tree_bytes: 4096, snapshot_bytes: 8192, ..Freeing::default() };
        assert!(!freeing.is_done());
        assert_eq!((freeing.left_bytes(), freeing.shared_snapshots), (12288, 2));
    }
}
