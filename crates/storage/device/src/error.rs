//! What can go wrong, by family of operations: on a path, on an open device, making, opening and ending a pool.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use quarry_types::{ByteSize, DeviceId, PoolId, Protection};

use crate::labels::CopyError;

/// An operation of a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Operation {
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// Making writes durable.
    Flush,
    /// Giving space back.
    Discard,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Flush, Self::Discard];

    /// Its name for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Flush => "flush",
            Operation::Discard => "discard",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed operation on an open device.
#[derive(Debug, thiserror::Error)]
#[error("{operation} of {length} bytes at {offset} of device {device} ({}) failed: {source}", path.display())]
pub struct DeviceError {
    /// The device.
    pub device: DeviceId,
    /// Where it is.
    pub path: PathBuf,
    /// What was tried.
    pub operation: Operation,
    /// Where on the device, in bytes; 0 for a flush.
    pub offset: u64,
    /// How many bytes; 0 for a flush.
    pub length: u64,
    /// What the system said. `InvalidInput` is a request outside the device or its alignment.
    pub source: io::Error,
}

/// A failed operation on a path that is not, or not yet, an open device.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {operation}: {source}", path.display())]
pub struct PathError {
    /// The path.
    pub path: PathBuf,
    /// What was tried, as a verb: `open`, `read`.
    pub operation: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// Why devices were not made into a pool.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// See [`quarry_types::limits::DEVICES_MAX`].
    #[error("a pool has 1 to {max} devices, and {count} are given")]
    DeviceCount {
        /// Devices given.
        count: usize,
        /// Most devices of a pool.
        max: usize,
    },
    /// Every copy needs a device of its own.
    #[error("{protection} needs {} distinct devices, and {devices} are given", protection.devices())]
    Protection {
        /// Protection wanted.
        protection: Protection,
        /// Devices given.
        devices: usize,
    },
    /// See [`quarry_types::limits::NAME_BYTES_MAX`].
    #[error("'{name}' cannot name a pool: a name has 1 to {max} bytes")]
    Name {
        /// The name.
        name: String,
        /// Longest name in bytes.
        max: usize,
    },
    /// Nothing is there.
    #[error(
        "{} does not exist: to use a new file, make it first (truncate -s 10G {}), or name an existing directory \
         and let Quarry make a file in it", path.display(), path.display()
    )]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// One device under two paths.
    #[error("{} and {} are the same device", first.display(), second.display())]
    Same {
        /// A path.
        first: PathBuf,
        /// The other path.
        second: PathBuf,
    },
    /// See [`quarry_types::limits::DEVICE_BYTES_MIN`].
    #[error("{} has {}, and a device needs {} or more", path.display(), ByteSize(*size_bytes), ByteSize(*min_bytes))]
    TooSmall {
        /// The path.
        path: PathBuf,
        /// Its size in bytes; for a directory, that of the file to be made.
        size_bytes: u64,
        /// Smallest size of a device, in bytes.
        min_bytes: u64,
    },
    /// The root directory, which is hardly meant: a file in it would take most of what is free of the system's own file system.
    #[error("{} is the root directory: name a directory in it, a file or a block device", path.display())]
    Root {
        /// The path.
        path: PathBuf,
    },
    /// The directory's file system has not the space.
    #[error("{} has {} free, too little for a file of {}", path.display(), ByteSize(*free_bytes), ByteSize(*size_bytes))]
    DirectoryFull {
        /// The directory.
        path: PathBuf,
        /// Free bytes of its file system.
        free_bytes: u64,
        /// Size of the file wanted, in bytes.
        size_bytes: u64,
    },
    /// Its sectors do not divide the granule.
    #[error("{} has sectors of {sector_bytes} bytes, and Quarry needs 512, 1024, 2048 or 4096", path.display())]
    SectorSize {
        /// The path.
        path: PathBuf,
        /// Size of its sectors in bytes.
        sector_bytes: u32,
    },
    /// Something is on it.
    #[error("{} holds {what}: use --force to overwrite it, which destroys that", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The system uses it.
    #[error("{} is in use ({reason}): release it first; --force does not help", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
        /// By what.
        reason: String,
    },
    /// A pool that is open on this node uses it.
    #[error("{} is device {device} of a pool that is open here: remove or replace that device first; --force does not help", path.display())]
    InOpenPool {
        /// The path.
        path: PathBuf,
        /// The device.
        device: DeviceId,
    },
    /// Somebody wrote to it between the look and the lock.
    #[error("{} was changed by somebody else just now: look at it again", path.display())]
    Changed {
        /// The path.
        path: PathBuf,
    },
    /// The system failed.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// Why a device or pool was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is there.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// It is no device of any pool.
    #[error("{} is no Quarry device: it holds {what}", path.display())]
    NotQuarry {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// Both copies of its label are unusable.
    #[error("{}: both copies of the label are damaged (first: {first}; second: {second})", path.display())]
    DamagedLabel {
        /// The path.
        path: PathBuf,
        /// What is wrong with the first copy.
        first: CopyError,
        /// What is wrong with the second copy.
        second: CopyError,
    },
    /// A newer program wrote it.
    #[error("{} has a label of version {found}: it needs a newer Quarry than this", path.display())]
    Version {
        /// The path.
        path: PathBuf,
        /// Version of the label.
        found: u32,
    },
    /// It belongs to another pool.
    #[error("{} belongs to pool '{found_name}' ({found}), not to pool {expected}", path.display())]
    OtherPool {
        /// The path.
        path: PathBuf,
        /// The pool wanted.
        expected: PoolId,
        /// Its pool.
        found: PoolId,
        /// Name of its pool.
        found_name: String,
    },
    /// It is another device.
    #[error("{} is device {found}, not device {expected}", path.display())]
    OtherDevice {
        /// The path.
        path: PathBuf,
        /// The device wanted.
        expected: DeviceId,
        /// The device found.
        found: DeviceId,
    },
    /// It has lost space.
    #[error(
        "{} has {} only, and its label says {}: give it its old size again",
        path.display(), ByteSize(*size_bytes), ByteSize(*label_bytes)
    )]
    Shrunk {
        /// The path.
        path: PathBuf,
        /// Size in the label, in bytes.
        label_bytes: u64,
        /// Size now, in bytes.
        size_bytes: u64,
    },
    /// Its sectors have become larger than the granule.
    #[error("{} has sectors of {sector_bytes} bytes, and Quarry needs 512, 1024, 2048 or 4096", path.display())]
    SectorSize {
        /// The path.
        path: PathBuf,
        /// Size of its sectors in bytes.
        sector_bytes: u32,
    },
    /// Nothing says that the making of its pool was completed.
    #[error(
        "{}: the creation of pool '{pool_name}' was interrupted, nothing was ever stored in it; \
         create it again with --force", path.display()
    )]
    Forming {
        /// The path.
        path: PathBuf,
        /// Name of its pool.
        pool_name: String,
    },
    /// Its pool was deleted.
    #[error("{}: pool '{pool_name}' was deleted; its devices can be used again with --force", path.display())]
    Ended {
        /// The path.
        path: PathBuf,
        /// Name of its pool.
        pool_name: String,
    },
    /// The newest state of the pool is on devices that are not there.
    #[error("{reason}")]
    Older {
        /// How that is known.
        reason: String,
    },
    /// The other devices do not count it as a member any more.
    #[error("{} is no longer a member of pool '{pool_name}'", path.display())]
    Removed {
        /// The path.
        path: PathBuf,
        /// Name of its pool.
        pool_name: String,
    },
    /// Two paths lead to one device, or one is a copy of the other.
    #[error("{} and {} carry the label of the same device", first.display(), second.display())]
    Duplicate {
        /// The path that is open.
        first: PathBuf,
        /// The path that is left alone.
        second: PathBuf,
    },
    /// None of the pool's devices could be opened.
    #[error("no device of pool {pool} could be opened{}", reasons(failures))]
    NoDevice {
        /// The pool.
        pool: PoolId,
        /// What each path said.
        failures: Vec<OpenError>,
    },
    /// The system failed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The opened device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

fn reasons(failures: &[OpenError]) -> String {
    let reasons: Vec<String> = failures.iter().map(ToString::to_string).collect();
    if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) }
}

impl OpenError {
    /// The path that was not opened; none where it is about all of them.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Missing { path }
            | Self::NotQuarry { path, .. }
            | Self::DamagedLabel { path, .. }
            | Self::Version { path, .. }
            | Self::OtherPool { path, .. }
            | Self::OtherDevice { path, .. }
            | Self::Shrunk { path, .. }
            | Self::SectorSize { path, .. }
            | Self::Forming { path, .. }
            | Self::Ended { path, .. }
            | Self::Removed { path, .. }
            | Self::Duplicate { second: path, .. }
            | Self::Path(PathError { path, .. })
            | Self::Device(DeviceError { path, .. }) => Some(path),
            Self::NoDevice { .. } | Self::Older { .. } => None,
        }
    }
}

/// What was left undone when a pool ended.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// It still carries its label, or part of its header.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Its file is still there.
    #[error(transparent)]
    Path(#[from] PathError),
    /// It cannot be opened, or is something else now.
    #[error(transparent)]
    Open(#[from] OpenError),
}
