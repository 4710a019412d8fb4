//! Why the table refuses.

use crate::Fabric;
use crate::limits::{EXPORT_NAME_BYTES_MAX, EXPORTS_MAX, HOSTS_MAX, SESSIONS_MAX, UNIT_NUMBER_MAX};

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

/// Why the table of hosts refuses.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AccessError {
    /// No host has the name.
    #[error("no host is named '{name}'")]
    NoHost {
        /// The name.
        name: String,
    },
    /// No export has the name.
    #[error("no export is named '{export}'")]
    NoMapping {
        /// The name.
        export: String,
    },
    /// An export with the name is there.
    #[error("an export named '{export}' is mapped already")]
    Mapped {
        /// The name.
        export: String,
    },
    /// Somebody of the audience sees another volume under the number.
    #[error("number {number} is taken by volume '{volume}'")]
    NumberTaken {
        /// LUN or namespace id.
        number: u32,
        /// Who has it.
        volume: String,
    },
    /// The protocol has no such number.
    #[error("{number} is no number of a volume; they run from {} to {UNIT_NUMBER_MAX}", .fabric.numbers().start())]
    BadNumber {
        /// What was asked for.
        number: u32,
        /// The protocol.
        fabric: Fabric,
    },
    /// The table is full.
    #[error("a node has at most {HOSTS_MAX} hosts")]
    TooManyHosts,
    /// The table is full.
    #[error("a node has at most {EXPORTS_MAX} exports")]
    TooManyMappings,
}
