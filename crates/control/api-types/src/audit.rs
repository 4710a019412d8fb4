//! The audit log: who has changed what, and who was not let.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Name, Role, Timestamp};

words! {
    /// What an entry tells.
    pub enum AuditKind {
        /// A change was asked for and allowed; it may have happened, whatever follows.
        Begun = "begun",
        /// That change has ended, as the status says.
        Ended = "ended",
        /// Somebody was not let.
        Refused = "refused",
        /// The node itself has done something to users or the log.
        Node = "node",
    }
}

/// One entry. Each carries a hash over itself and the hash of the one before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// One more than that of the entry before.
    pub number: u64,
    /// When it was written.
    pub time: Timestamp,
    /// What it tells.
    pub kind: AuditKind,
    /// The user, where one has proved who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Name>,
    /// The role in which it asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The tenant to which it is confined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    /// The id of its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The address that the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The id of the request, which its answer carries as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What was asked for: the id of an operation of the API.
    pub operation: String,
    /// What it is about: the names in the request, separated by blanks. No secrets.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// The HTTP status of the answer, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why somebody was not let, or what the node has done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// BLAKE3 over the hash of the entry before and this one without its hash, in hexadecimal digits.
    pub hash: String,
}

/// Which entries are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Those with a greater number.
    #[serde(default)]
    #[param(required = false, default = 0)]
    pub since: u64,
    /// Those of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Name>,
    /// Those of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub kind: Option<AuditKind>,
    /// So many entries at most, 1 to 1000; a part may have fewer. The header `Link` has the address of the next part as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u16>,
}

impl AuditQuery {
    /// Whether an entry is wanted.
    pub fn selects(&self, entry: &AuditEntry) -> bool {
        entry.number > self.since
            && self.user.as_ref().is_none_or(|user| entry.user.as_ref() == Some(user))
            && self.kind.is_none_or(|kind| entry.kind == kind)
    }
}

/// A part of the audit log, the oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AuditEntries {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Where to go on: `since` of the next query. Absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What a look at every entry has found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditVerification {
    /// Whether every entry is what was written, in its place, and none is missing between the first and the last.
    pub intact: bool,
    /// The number of the first entry that is kept; older ones were dropped to keep the log bounded.
    pub first: u64,
    /// The number of the last entry.
    pub last: u64,
    /// The hash of the last entry. Who keeps it elsewhere can tell later whether the log up to it was written anew.
    pub hash: String,
    /// What is wrong, the first thing that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What is known of the log from before.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VerifyAudit {
    /// The number of an entry whose hash was kept elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// The hash that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}
