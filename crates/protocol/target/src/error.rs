//! Why the table refuses.

use crate::limits::{EXPORT_NAME_BYTES_MAX, EXPORTS_MAX, SESSIONS_MAX};

/// Why an export could not be added, found or removed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExportError {
    /// The name is taken.
    #[error("an export named '{name}' exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// No export has the name.
    #[error("no export is named '{name}'")]
    NotFound {
        /// The name.
        name: String,
    },
    /// Clients are connected to it.
    #[error("export '{name}' has {sessions} connected client(s); disconnect them first")]
    InUse {
        /// The name.
        name: String,
        /// How many.
        sessions: usize,
    },
    /// The name is empty or too long.
    #[error("the name of an export has 1 to {EXPORT_NAME_BYTES_MAX} bytes, this one has {bytes}")]
    BadName {
        /// Its length.
        bytes: usize,
    },
    /// The table is full.
    #[error("a node has at most {EXPORTS_MAX} exports")]
    TooMany,
}

/// Why a connection is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdmitError {
    /// As many are connected as may be.
    #[error("{SESSIONS_MAX} clients are connected, which is the limit")]
    TooMany,
    /// The node is going down.
    #[error("the node is stopping")]
    Stopping,
}
