//! An entry before it is written.

use quarry_api_types::{AuditEntry, AuditKind, Name, Role, Timestamp};

use crate::chain::hash_of;

/// An entry to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEntry {
    /// What it tells.
    pub kind: AuditKind,
    /// The user, where one has proved who it is.
    pub user: Option<Name>,
    /// The role in which it asked.
    pub role: Option<Role>,
    /// The tenant to which it is confined.
    pub tenant: Option<Name>,
    /// The id of its token.
    pub token: Option<String>,
    /// The address that the request came from.
    pub from: Option<String>,
    /// The id of the request.
    pub request: Option<String>,
    /// What was asked for.
    pub operation: String,
    /// What it is about.
    pub object: String,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
    /// Why somebody was not let, or what the node has done.
    pub reason: Option<String>,
}

impl NewEntry {
    /// What the node itself has done.
    pub fn of_node(operation: &str, reason: impl Into<String>) -> Self {
        Self {
            kind: AuditKind::Node,
            user: None,
            role: None,
            tenant: None,
            token: None,
            from: None,
            request: None,
            operation: operation.to_owned(),
            object: String::new(),
            status: None,
            reason: Some(reason.into()),
        }
    }

    pub(crate) fn numbered(self, number: u64, time: Timestamp, before: &str) -> AuditEntry {
        let Self { kind, user, role, tenant, token, from, request, operation, object, status, reason } = self;
        let hash = String::new();
        let mut entry = AuditEntry {
            number,
            time,
            kind,
            user,
            role,
            tenant,
            token,
            from,
            request,
            operation,
            object,
            status,
            reason,
            hash,
        };
        entry.hash = hash_of(before, &entry);
        entry
    }
}
