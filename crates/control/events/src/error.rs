//! Why the event log cannot be opened, read or written.

use std::path::PathBuf;

/// The answer of the event log.
pub type Result<T> = std::result::Result<T, EventLogError>;

/// Why the event log cannot be opened, read or written. Every text names the file.
#[derive(Debug, thiserror::Error)]
pub enum EventLogError {
    /// Another process has it open.
    #[error("the event log {} is in use: another quarryd runs with this data directory", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A newer Quarry wrote it.
    #[error(
        "the event log {} has version {found}, this quarryd reads up to {supported}: start the newer quarryd again, or \
         move the file away", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u64,
        /// The highest version that can be read.
        supported: u64,
    },
    /// A record is none.
    #[error("the event log {} holds what is no event: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Reading or writing it failed.
    #[error("cannot {operation} the event log {}", path.display())]
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
