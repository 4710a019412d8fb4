//! Why the history cannot be opened or written.

use std::path::PathBuf;

/// The answer of the history's file.
pub type Result<T> = std::result::Result<T, HistoryError>;

/// Why the history cannot be opened or written. Every text names the file.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Another process has it open.
    #[error("the history {} is in use: another quarryd runs with this data directory", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A newer Quarry wrote it.
    #[error(
        "the history {} has version {found}, this quarryd reads up to {supported}: start the newer quarryd again, or move the \
         file away", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u64,
        /// The highest version that can be read.
        supported: u64,
    },
    /// Reading or writing it failed.
    #[error("cannot {operation} the history {}", path.display())]
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
