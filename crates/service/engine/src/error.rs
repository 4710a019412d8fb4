//! Why a log could not be opened, or a volume not be managed.

use quarry_log::{LogError, RecoverError};
use quarry_map::{MergeError, NodeReadError};
use quarry_pool::{OpenError, PoolError};
use quarry_types::VolumeId;

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
    /// The pool is full.
    #[error("the pool is full; delete something or add devices")]
    NoSpace,
}
