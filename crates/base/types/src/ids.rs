//! Newtypes for every identifier. Random 128-bit ids for what people name, counters for what the log numbers.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// An id from 128 random bits (RFC 9562 version 4); the caller brings the randomness.
            pub fn from_random(bits: u128) -> Self {
                Self(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
            }

            /// The 16 bytes that are stored.
            pub fn to_bytes(self) -> [u8; 16] {
                *self.0.as_bytes()
            }

            /// The id that [`Self::to_bytes`] gave.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

macro_rules! counter_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number after this one.
            ///
            /// # Panics
            /// When the counter is used up, which no device lives long enough to see.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a counter id ran out"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

random_id!(
    /// A pool: the set of devices that hold one body of data.
    PoolId
);
random_id!(
    /// One device of a pool.
    DeviceId
);
random_id!(
    /// One volume.
    VolumeId
);
random_id!(
    /// One snapshot of one volume.
    SnapshotId
);
random_id!(
    /// Snapshots of several volumes that were taken at one point in time.
    SnapshotSetId
);

counter_id!(
    /// A log of a pool: one ordered stream of records with one owner. At most [`crate::limits::LOGS_MAX`] a pool.
    LogId(u16)
);
counter_id!(
    /// A volume inside its log, where 16 bytes of [`VolumeId`] would be too many. Never reused.
    VolumeNumber(u32)
);
counter_id!(
    /// A chunk: one slot on each of `copies` devices that hold the same bytes. Never reused, so it is also the
    /// generation of the slots: a slot header that names another chunk is stale. Made by [`ChunkId::new`].
    ChunkId(u64)
);

impl ChunkId {
    /// The `count`-th chunk that `log` allocates in `incarnation`. As an incarnation is durable before its first chunk is
    /// allocated, no crash can make an id come twice.
    ///
    /// # Panics
    /// After 2^24 openings of one log, or 2^28 chunks in one opening.
    pub fn new(log: LogId, incarnation: Incarnation, count: u64) -> Self {
        assert!(incarnation.0 < 1 << 24 && count < 1 << 28, "chunk ids of {log}/{incarnation} ran out");
        Self(u64::from(log.0) << 52 | incarnation.0 << 28 | count)
    }
}

counter_id!(
    /// One opening of a log. Durable before the first append of that opening.
    Incarnation(u64)
);
counter_id!(
    /// The position of a batch in its log, without gaps.
    BatchNumber(u64)
);
counter_id!(
    /// A log's count of snapshots, from 1. A snapshot's *number* is the count when it was taken, which it raises; the *birth* of
    /// a block or node is the count when it was written. So what a snapshot holds has a birth of at most its number, and what
    /// came later a higher one. 0 stands for no snapshot.
    SnapshotCounter(u32)
);
counter_id!(
    /// The data key under which a block is encrypted; 0 is clear text.
    KeyId(u16)
);
