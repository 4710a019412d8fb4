//! Why a device cannot be a volume, and what its errors mean to hosts.

use std::io;

use quarry_types::ByteSize;
use quarry_types::limits::VOLUME_BYTES_MAX;
use quarry_volume::{ErrorKind, VolumeError};

/// Why a device cannot serve as a volume as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImageError {
    /// What is there by now is not what the volume lies on.
    #[error(
        "another disk is there: {} instead of '{expected}', on which the volume lies",
        found.as_ref().map_or_else(|| "one without a name".to_owned(), |found| format!("'{found}'"))
    )]
    AnotherDisk {
        /// What the disk was called.
        expected: String,
        /// What the one that is there is called.
        found: Option<String>,
    },
    /// There is nothing to serve.
    #[error("it is empty")]
    Empty,
    /// Its last bytes could not be reached.
    #[error(
        "its size, {size_bytes} bytes, is not a multiple of its sector size, {sector_bytes} bytes: the last bytes would be out of \
         reach of hosts"
    )]
    Size {
        /// The size of the device.
        size_bytes: u64,
        /// Its unit of I/O.
        sector_bytes: u32,
    },
    /// It has become smaller, or is another one.
    #[error("it has {size_bytes} bytes, and the volume on it has {volume_bytes}")]
    TooSmall {
        /// The size of the device.
        size_bytes: u64,
        /// The size of the volume.
        volume_bytes: u64,
    },
    /// No volume is that large.
    #[error("its size, {}, is more than the largest volume, {}", ByteSize(*size_bytes), ByteSize(VOLUME_BYTES_MAX))]
    TooLarge {
        /// The size of the device.
        size_bytes: u64,
    },
}

/// An error of the device as hosts are told of it.
pub(crate) fn volume_error(operation: &'static str, context: String, error: io::Error) -> VolumeError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        _ => ErrorKind::Unavailable,
    };
    VolumeError::new(kind, operation, context).with_source(error)
}
