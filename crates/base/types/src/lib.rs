//! Identifiers, units and limits that every other crate shares.
//!
//! What it is: newtypes for every id and unit, the named bounds of every queue, buffer and cache, and the
//! assertions on how those bounds relate. What it is not: no I/O, no encoding of on-disk bytes (that is
//! `quarry-format`), no behaviour.
//!
//! Invariants:
//! - Ids are never reused. A [`SegmentId`] names its log in its upper bits, so it is unique in the pool.
//! - A [`LogAddress`] never changes its meaning as long as the record that it names lives.

mod address;
mod ids;
pub mod limits;
mod protection;
mod settings;
mod size;
mod tag;

pub use address::{LogAddress, SegmentId};
pub use ids::{
    BatchNumber, ChunkId, DeviceId, Incarnation, KeyId, LogId, PoolId, SnapshotCounter, SnapshotId,
    SnapshotSetId, VolumeId, VolumeNumber,
};
pub use limits::{BLOCK_BYTES, SECTOR_BYTES};
pub use protection::{Protection, ProtectionError};
pub use settings::{Compression, Deduplication, Durability, ReadCache, VolumeSettings};
pub use size::{ByteSize, ParseByteSizeError};
pub use tag::Tag;

/// How many bytes a block number counts: the granule of the map.
pub type BlockIndex = u64;
