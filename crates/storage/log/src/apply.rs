//! What the log tells its owner, in log order.

use quarry_env::View;
use quarry_format::node::{Mapped, Method};
use quarry_format::record::Record;
use quarry_types::{KeyId, LogAddress, SnapshotCounter, VolumeNumber};

/// A block that is compressed, or to be encrypted, or both, or neither.
#[derive(Clone)]
pub struct StoredPiece {
    /// How it was made smaller.
    pub method: Method,
    /// What it became: whole sectors.
    pub bytes: View,
    /// By what its writer recognises it when it counts. It goes nowhere else.
    pub mark: Option<u128>,
}

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
        /// What its writer has marked each block with, [`None`] for nothing; empty when it was not written just now.
        marks: &'a [Option<u128>],
    },
    /// Any other record that changes something. Never a write or a node.
    Other(&'a Record),
}

/// The owner of a log's records.
pub trait Apply {
    /// A record counts from now on. Called in log order, synchronously, before its writer is told.
    fn apply(&self, applied: Applied<'_>);
}
