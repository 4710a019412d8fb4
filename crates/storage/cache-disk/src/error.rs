//! Why a cache disk cannot be used.

use std::io;
use std::path::PathBuf;

use quarry_device::PathError;

/// Why a cache disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheDiskError {
    /// There is nothing.
    #[error("there is no file or device {}; a file can be made by `fallocate -l 100G {}`", .0.display(), .0.display())]
    Missing(PathBuf),
    /// It is a directory.
    #[error("{} is a directory; name a block device, or a file of fixed size", .0.display())]
    Directory(PathBuf),
    /// There is something else on it.
    #[error("{} holds {what}; if nobody needs that, `wipefs --all {}` makes it free", .path.display(), .path.display())]
    Foreign {
        /// The disk.
        path: PathBuf,
        /// What is on it.
        what: String,
    },
    /// It has no room for two regions.
    #[error("{} has {size_bytes} bytes; a cache disk has 3 MiB at least", .path.display())]
    Small {
        /// The disk.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
    },
    /// It cannot be looked at.
    #[error(transparent)]
    Path(#[from] PathError),
    /// It cannot be opened, read or written.
    #[error("{} cannot be {done}", .path.display())]
    Io {
        /// The disk.
        path: PathBuf,
        /// What was tried.
        done: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}
