//! Why the catalog cannot be opened, read or written.

use std::io;
use std::path::PathBuf;

/// The answer of a catalog.
pub type Result<T> = std::result::Result<T, CatalogError>;

/// Why the catalog cannot be opened, read or written. Every text names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Another process has it open.
    #[error("the catalog {} is in use: another quarryd runs with this data directory", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Its bytes are not a catalog, or a damaged one.
    #[error(
        "the catalog {} is damaged ({detail}): move it away and create the exports again; the data is on the \
         pools' devices and is not touched", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was wrong, and where.
        detail: String,
    },
    /// A newer Quarry wrote it.
    #[error(
        "the catalog {} has version {found}, this quarryd reads up to {supported}: start the newer quarryd again",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The highest version that can be read.
        supported: u32,
    },
    /// The directory or the file cannot be opened or made.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is open, but reading or writing it failed.
    #[error("cannot {operation} the catalog {}", path.display())]
    Storage {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<redb::Error>,
    },
}

impl CatalogError {
    /// Sorts an error of redb: what it says about the file's bytes is damage, the rest are failures to work on it.
    pub(crate) fn from_redb(operation: &'static str, path: PathBuf, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path },
            redb::Error::Corrupted(detail) => Self::Corrupt { path, detail },
            redb::Error::Io(source)
                if matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Self::Corrupt { path, detail: source.to_string() }
            }
            redb::Error::Io(source) => Self::Io { operation, path, source },
            error @ (redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::UpgradeRequired(_)) => Self::Corrupt { path, detail: error.to_string() },
            error => Self::Storage { operation, path, source: Box::new(error) },
        }
    }
}
