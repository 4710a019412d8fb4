//! What can go wrong in a pool.

use quarry_device::DeviceError;
use quarry_format::FormatError;
use quarry_types::{ChunkId, LogAddress, LogId};

/// Why one copy could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The device is not there.
    #[error("device {device} of the pool is missing")]
    Gone {
        /// Its index.
        device: u16,
    },
    /// The device is out of use and does not answer.
    #[error("device {device} of the pool does not answer")]
    Silent {
        /// Its index.
        device: u16,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// An error of a running pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// No slot is free.
    #[error("the pool is full: no device has a free slot")]
    NoSpace,
    /// Every copy of these bytes fails its checksum.
    #[error("chunk {chunk}: {bytes} bytes at offset {offset} fail their checksum on all {copies} copies")]
    Corrupt {
        /// The chunk.
        chunk: ChunkId,
        /// Offset in the chunk.
        offset: u64,
        /// Length.
        bytes: usize,
        /// Copies tried.
        copies: usize,
    },
    /// No copy could be read.
    #[error("chunk {chunk}: no copy of the bytes at offset {offset} can be read")]
    Unreadable {
        /// The chunk.
        chunk: ChunkId,
        /// Offset in the chunk.
        offset: u64,
        /// Why the last copy tried could not.
        source: Option<CopyError>,
    },
    /// The part of a map that led to these bytes was bad on every copy.
    #[error("the part of the map that led there was damaged on all copies")]
    Lost,
    /// A map refers to a record that the segment table does not know.
    #[error("log address {address:?} is not in the segment table")]
    Dangling {
        /// The address.
        address: LogAddress,
    },
    /// The devices to which a chunk was being copied have failed; it is where it was.
    #[error("the device to which data was being copied has failed; the data is where it was")]
    TargetFailed,
    /// Too few devices took the bytes of an image or an anchor.
    #[error("log {log}: a checkpoint could not be written: no device took it")]
    NoDevice {
        /// The log.
        log: LogId,
    },
}

impl PoolError {
    /// Of a record that is in no segment.
    pub(crate) fn nowhere(address: LogAddress) -> Self {
        if address == LogAddress::LOST { PoolError::Lost } else { PoolError::Dangling { address } }
    }

    /// Whether these bytes are lost, and reading them again is of no use.
    pub fn is_loss(&self) -> bool {
        matches!(self, PoolError::Corrupt { .. } | PoolError::Lost)
    }
}

/// Why a pool does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// So many devices are missing that data is missing.
    #[error(
        "without {missing} {chunks} pieces of the data of pool {pool} have no copy left; \
         bring at least one of these devices back"
    )]
    TooFewDevices {
        /// Name of the pool.
        pool: String,
        /// The paths of the devices that are missing, and why.
        missing: String,
        /// Chunks without a copy.
        chunks: usize,
    },
    /// A log was there, and nothing says any more where.
    #[error(
        "log {log} of pool {pool}: its anchors, which say where it begins, cannot be read on any device: {reason}; \
         the pool is not touched, and quarry-extract reads what can still be found of others"
    )]
    Anchors {
        /// Name of the pool.
        pool: String,
        /// The log.
        log: LogId,
        /// What is wrong with one of them.
        reason: String,
    },
    /// An image that an anchor names cannot be read.
    #[error(
        "log {log} of pool {pool}: its checkpoint image {sequence} cannot be read on any device: {reason}"
    )]
    Image {
        /// Name of the pool.
        pool: String,
        /// The log.
        log: LogId,
        /// Number of the image.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The structures contradict each other.
    #[error("log {log} of pool {pool}: {what}; the pool is not touched")]
    Contradiction {
        /// Name of the pool.
        pool: String,
        /// The log.
        log: LogId,
        /// What contradicts what.
        what: String,
    },
    /// A structure was written by another version, or is damaged.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A device could not be opened.
    #[error(transparent)]
    Device(#[from] quarry_device::OpenError),
    /// The pool failed while it was being opened.
    #[error(transparent)]
    Pool(#[from] PoolError),
}
