//! Why the audit log cannot be opened, read or written.

use std::io;
use std::path::PathBuf;

/// The answer of the audit log.
pub type Result<T> = std::result::Result<T, AuditError>;

/// Why the audit log cannot be opened, read or written. Every text names the file.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Another process has it open.
    #[error("the audit log {} is in use: another quarryd runs with this data directory", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A newer Quarry wrote it.
    #[error("the audit log {} has version '{found}', this quarryd reads '{supported}': start the newer quarryd again", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: String,
        /// The version that can be read.
        supported: &'static str,
    },
    /// The file cannot be made.
    #[error("cannot make the audit log {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An entry is none.
    #[error("the audit log {} holds what is no entry, behind number {number}: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The number before it.
        number: u64,
        /// What is wrong.
        detail: String,
    },
    /// Reading or writing it failed.
    #[error("cannot {operation} the audit log {}", path.display())]
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
