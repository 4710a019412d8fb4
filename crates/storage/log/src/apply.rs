//! What the log tells its owner, in log order.

use quarry_format::node::Mapped;
use quarry_format::record::Record;
use quarry_types::{KeyId, LogAddress, SnapshotCounter, VolumeNumber};

/// A record that now counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied<'a> {
    /// Blocks lie at `address` and following.
    Write {
        /// The volume.
        volume: VolumeNumber,
        /// The first block.
        first_block: u64,
        /// Where its bytes lie; the others follow.
        address: LogAddress,
        /// Snapshots taken before.
        birth: SnapshotCounter,
        /// The data key.
        key: KeyId,
        /// CRC-32C of each block.
        checksums: &'a [u32],
    },
    /// Blocks that are compressed or encrypted, each where its entry says.
    Stored {
        /// The volume.
        volume: VolumeNumber,
        /// The first block.
        first_block: u64,
        /// Each block.
        mapped: &'a [Mapped],
    },
    /// Any other record that changes something. Never a write or a node.
    Other(&'a Record),
}

/// The owner of a log's records.
pub trait Apply {
    /// A record counts from now on. Called in log order, synchronously, before its writer is told.
    fn apply(&self, applied: Applied<'_>);
}
