//! What the catalog remembers of hosts, their secrets among it.

use std::fmt;

use quarry_api_types::{HostGroupId, HostId, InitiatorName, Name, Network, Timestamp};
use serde::{Deserialize, Serialize};

use crate::codec::Record;

/// A host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: Name,
    /// How its initiators name themselves.
    pub initiators: Vec<InitiatorName>,
    /// Where its connections come from; empty for anywhere.
    pub networks: Vec<Network>,
    /// What it must prove at a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chap: Option<ChapRecord>,
    /// When it was made.
    pub created: Timestamp,
}

/// What both sides of a login prove to each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChapRecord {
    /// The initiator's.
    pub initiator: ProofRecord,
    /// The node's, if it proves itself in return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutual: Option<ProofRecord>,
}

/// A name and the secret behind it. CHAP needs the secret itself, so it stands here as it is; the catalog's file is its
/// owner's alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofRecord {
    /// The name.
    pub user: String,
    /// The secret.
    pub secret: String,
}

impl fmt::Debug for ProofRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofRecord").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A host group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HostGroupRecord {
    /// Its id.
    pub id: HostGroupId,
    /// Its name.
    pub name: Name,
    /// Its hosts, in the order in which they joined.
    pub hosts: Vec<HostId>,
    /// When it was made.
    pub created: Timestamp,
}

impl Record for HostRecord {}
impl Record for HostGroupRecord {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let proof = |user: &str| ProofRecord { user: user.to_owned(), secret: "horse-battery".to_owned() };
        let chap = ChapRecord { initiator: proof("web"), mutual: Some(proof("node")) };
        let printed = format!("{chap:?}");
        assert!(
            printed.contains("web") && printed.contains("node") && !printed.contains("horse"),
            "{printed}"
        );
    }
}
