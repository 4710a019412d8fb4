//! Why a log could not be opened, or a volume not be managed.

use quarry_log::{LogError, RecoverError};
use quarry_map::{MergeError, NodeReadError};
use quarry_pool::{OpenError, PoolError};
use quarry_types::{KeyId, SnapshotId, VolumeId};
use quarry_volume::{ErrorKind, VolumeError};

/// An error of an operation on the engine itself; those on a volume's data are
/// [`VolumeError`](quarry_volume::VolumeError)s.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The log's tail could not be recovered.
    #[error("recovery failed")]
    Recover(#[from] RecoverError),
    /// The pool's structures could not be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The pool failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The log takes no more records.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A checkpoint failed.
    #[error("checkpoint failed")]
    Merge(#[from] MergeError),
    /// A map could not be read.
    #[error(transparent)]
    Map(#[from] NodeReadError),
    /// There is no such volume in this log.
    #[error("no volume {volume} in this log")]
    NoVolume {
        /// The volume.
        volume: VolumeId,
    },
    /// There is no such snapshot in this log.
    #[error("no snapshot {snapshot} in this log")]
    NoSnapshot {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// The volume has a snapshot of that name.
    #[error("volume {volume} already has a snapshot named {name}")]
    SnapshotExists {
        /// The volume's name.
        volume: String,
        /// The name.
        name: String,
    },
    /// Nobody deletes a locked snapshot, and nobody shortens its lock.
    #[error("snapshot {name} is locked until {until_s} s after 1970")]
    Locked {
        /// The snapshot's name.
        name: String,
        /// When the lock ends.
        until_s: u64,
    },
    /// A volume goes together with its snapshots or not at all.
    #[error("volume {volume} has {snapshots} snapshots")]
    HasSnapshots {
        /// The volume's name.
        volume: String,
        /// How many.
        snapshots: usize,
    },
    /// The volume stands on no other volume's snapshot.
    #[error("volume {volume} is no clone, or has its snapshots already")]
    NoClone {
        /// The volume's name.
        volume: String,
    },
    /// A volume can only grow.
    #[error("a volume can only grow: it has {size_bytes} bytes, {wanted_bytes} were asked for")]
    Shrink {
        /// Its size.
        size_bytes: u64,
        /// The size asked for.
        wanted_bytes: u64,
    },
    /// A size that no volume can have.
    #[error("a volume has between 512 bytes and 1 PiB, a multiple of 512; {size_bytes} were asked for")]
    Size {
        /// The size asked for.
        size_bytes: u64,
    },
    /// There is no such data key in this log.
    #[error("no data key {key} in this log")]
    NoKey {
        /// The key.
        key: KeyId,
    },
    /// A key store makes more of a key than is kept.
    #[error("a wrapped data key of {bytes} bytes is too long")]
    WrappedKey {
        /// Its length.
        bytes: usize,
    },
    /// Every number for a snapshot is taken.
    #[error("this log has taken 2^32 snapshots and can take no more; copy its volumes to another pool")]
    TooManySnapshots,
    /// A second of volumes' history cannot be kept.
    #[error(
        "{moments} seconds of history are kept, {layers} of one volume wait for a checkpoint, {number} snapshots \
         were taken by this log: no more seconds now"
    )]
    NoMoment {
        /// Moments that the log keeps.
        moments: usize,
        /// Those of a volume that no checkpoint has merged.
        layers: usize,
        /// The number of the next snapshot.
        number: u32,
    },
    /// The checkpoint before is not done, so the log may not grow.
    #[error("the log waits for a checkpoint")]
    LongTail,
    /// A volume had changed by that second, and what it held then was not kept.
    #[error(
        "what the volume held at second {from_s} after 1970, and until the next second that was kept, is not known"
    )]
    Missed {
        /// The first second that was missed, since 1970.
        from_s: u64,
        /// The first one after it that was kept; `None` while there is none.
        until_s: Option<u64>,
    },
    /// Every number for a data key is taken.
    #[error("this log has 65535 encrypted volumes with keys of their own, and can have no more")]
    TooManyKeys,
    /// The pool is full.
    #[error("the pool is full; delete something or add devices")]
    NoSpace,
    /// Something below cannot serve now.
    #[error(transparent)]
    Volume(VolumeError),
}

impl From<VolumeError> for EngineError {
    fn from(error: VolumeError) -> Self {
        match error.kind {
            ErrorKind::NoSpace => EngineError::NoSpace,
            _ => EngineError::Volume(error),
        }
    }
}
