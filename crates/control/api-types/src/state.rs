//! The whole intended state of a node as one document: tenants, pools, policies, volumes, groups, hosts and exports.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pool::one_of;
use crate::{
    Compression, Deduplication, Durability, InitiatorName, InvalidRequest, Name, Network, OwnProtection,
    OwnTier, PolicySettings, PoolShare, Protection, Protocol, QualityOfService, ReadCache, VolumePath,
};

/// What is meant to be. Of a thing that exists, what is absent is left as it is; of a new one it is the default. What a list names
/// is all of it. What the document does not name is left alone.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Tenants, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<StatedTenant>,
    /// Pools, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<StatedPool>,
    /// Policies, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<StatedPolicy>,
    /// Volumes, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<StatedVolume>,
    /// Consistency groups, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<StatedGroup>,
    /// Hosts, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<StatedHost>,
    /// Host groups, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_groups: Vec<StatedHostGroup>,
    /// Exports, by what they serve, protocol and audience.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<StatedExport>,
}

/// A tenant. What belongs to it is stated under its name and a dot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatedTenant {
    /// Its name: at most 31 bytes, without a dot.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,30}$")]
    pub name: Name,
    /// The pools in which it may make volumes: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 64)]
    pub pools: Option<Vec<Name>>,
    /// The policies of the node that it sees and may attach, beside its own: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 64)]
    pub policies: Option<Vec<Name>>,
    /// The most that its volumes in one of these pools may be large together: all such bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 64)]
    pub shares: Option<Vec<PoolShare>>,
    /// The most that its volumes together may be large, in bytes; 0 for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// The most volumes that it may have; 0 for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<u32>,
    /// What its volumes together are to get of the node's performance: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
    /// What it was when the document was made: when it has changed since, nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatedPool {
    /// Its name.
    pub name: Name,
    /// Its devices; more of them join. None is taken out in this way.
    pub devices: Vec<String>,
    /// On how many devices everything is kept: the same as `protection` of `copies:N`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4)]
    pub copies: Option<u8>,
    /// How everything is kept; one copy when it is new and neither this nor `copies` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Its warning level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning_percent: Option<u8>,
    /// Its critical level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical_percent: Option<u8>,
    /// How often it may be promised; 0 for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overcommit_limit_percent: Option<u32>,
    /// What is copied in a second at most when devices fail, join or leave; 0 for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild_rate_bytes_per_s: Option<u64>,
    /// What it was when the document was made: when it has changed since, nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl StatedPool {
    /// How everything is to be kept, if that is said.
    pub fn wanted_protection(&self) -> Result<Option<Protection>, InvalidRequest> {
        one_of(self.copies, self.protection)
    }
}

/// A policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatedPolicy {
    /// Its name.
    pub name: Name,
    /// All that it says.
    #[serde(default)]
    pub settings: PolicySettings,
    /// What it was when the document was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatedVolume {
    /// Its name.
    pub name: Name,
    /// Its pool, in which it stays.
    pub pool: Name,
    /// Its size in bytes, which may grow.
    pub size_bytes: u64,
    /// When its writes are safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// How its blocks are made smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Whether blocks that are there already are stored again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    /// Whether what is read again is answered from memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_cache: Option<ReadCache>,
    /// Whether it is encrypted, which cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// For how many seconds back it can be had as it was at any second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_s: Option<u32>,
    /// The most that it may map; 0 for its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// What its pool keeps for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_bytes: Option<u64>,
    /// How it is kept: `pool` for as its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<OwnProtection>,
    /// Where it lies among the tiers of its pool: `pool` for as its pool's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<OwnTier>,
    /// What it is to get of the node's performance: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
    /// Its own policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Name>,
    /// What is meant for it whatever its policy says: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<PolicySettings>,
    /// What it was when the document was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A consistency group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatedGroup {
    /// Its name.
    pub name: Name,
    /// Its volumes: all of them.
    pub volumes: Vec<Name>,
    /// What its volumes together are to get of the node's performance: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
    /// Its policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Name>,
    /// What it was when the document was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A host. Its secrets are in no document; they stay as they are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatedHost {
    /// Its name.
    pub name: Name,
    /// Its initiators: all of them.
    #[serde(default)]
    pub initiators: Vec<InitiatorName>,
    /// Its networks: all of them.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// What it was when the document was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A host group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatedHostGroup {
    /// Its name.
    pub name: Name,
    /// Its hosts: all of them.
    pub hosts: Vec<Name>,
    /// What it was when the document was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// An export. One that differs from what is stated in its number, or in whether it is read-only, is not changed but refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatedExport {
    /// The volume, or `VOLUME@SNAPSHOT`.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}(@[A-Za-z0-9][A-Za-z0-9._-]{0,62})?$")]
    pub volume: VolumePath,
    /// How hosts reach it.
    pub protocol: Protocol,
    /// The host that sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Name>,
    /// The host group that sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_group: Option<Name>,
    /// LUN or namespace id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Whether its clients may only read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// What it was when the document was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

words! {
    /// A part of the document. Ordered as things are made.
    pub enum StatedKind {
        /// A tenant.
        Tenant = "tenant",
        /// A pool.
        Pool = "pool",
        /// A policy.
        Policy = "policy",
        /// A volume.
        Volume = "volume",
        /// A consistency group.
        Group = "group",
        /// A host.
        Host = "host",
        /// A host group.
        HostGroup = "host-group",
        /// An export.
        Export = "export",
    }
}

impl StatedKind {
    /// The list of the document that has such things.
    pub fn list(self) -> &'static str {
        match self {
            Self::Tenant => "tenants",
            Self::Pool => "pools",
            Self::Policy => "policies",
            Self::Volume => "volumes",
            Self::Group => "groups",
            Self::Host => "hosts",
            Self::HostGroup => "host_groups",
            Self::Export => "exports",
        }
    }
}

/// A thing of the document: which list, and which entry of it from 0.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
pub struct StatedPlace {
    /// What sort of thing.
    pub kind: StatedKind,
    /// Its place in its list, from 0.
    pub index: usize,
    /// Its name; of an export what it serves, the protocol and the audience.
    pub name: String,
    /// The field, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl fmt::Display for StatedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.kind, self.name)?;
        match &self.field {
            Some(field) => write!(f, ", {field}"),
            None => Ok(()),
        }
    }
}

words! {
    /// What is done to a thing.
    pub enum StatedAction {
        /// It is made.
        Create = "create",
        /// It is changed.
        Change = "change",
    }
}

/// What is done to make one thing so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StatedChange {
    /// The thing.
    pub place: StatedPlace,
    /// What is done.
    pub action: StatedAction,
    /// In words, with what was and what will be.
    pub what: Vec<String>,
}

/// Why the document cannot be made so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StatedProblem {
    /// The thing.
    pub place: StatedPlace,
    /// What is wrong.
    pub message: String,
    /// It has changed since the document was made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_conflict: bool,
}

/// What applying a document would do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct StatePlan {
    /// What would be done, in this order. Empty: everything is so.
    pub changes: Vec<StatedChange>,
    /// Why it cannot be done; nothing is begun while there is one.
    pub problems: Vec<StatedProblem>,
}

impl State {
    /// Checks all that can be judged without asking the node: that nothing is stated twice.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        fn once<'a>(list: &'static str, names: impl Iterator<Item = &'a Name>) -> Result<(), InvalidRequest> {
            let mut names: Vec<&Name> = names.collect();
            names.sort_unstable();
            match names.windows(2).find(|pair| pair[0] == pair[1]) {
                Some(pair) => {
                    Err(InvalidRequest::contradiction(list, format!("'{}' is stated twice", pair[0])))
                }
                None => Ok(()),
            }
        }
        once("tenants", self.tenants.iter().map(|one| &one.name))?;
        once("pools", self.pools.iter().map(|one| &one.name))?;
        once("policies", self.policies.iter().map(|one| &one.name))?;
        once("volumes", self.volumes.iter().map(|one| &one.name))?;
        once("groups", self.groups.iter().map(|one| &one.name))?;
        once("hosts", self.hosts.iter().map(|one| &one.name))?;
        once("host_groups", self.host_groups.iter().map(|one| &one.name))
    }

    /// How many things are stated.
    pub fn count(&self) -> usize {
        self.tenants.len()
            + self.pools.len()
            + self.policies.len()
            + self.volumes.len()
            + self.groups.len()
            + self.hosts.len()
            + self.host_groups.len()
            + self.exports.len()
    }

    /// The same without versions: what is still to be done of a document that was accepted once.
    #[must_use]
    pub fn without_versions(mut self) -> Self {
        self.tenants.iter_mut().for_each(|one| one.version = None);
        self.pools.iter_mut().for_each(|one| one.version = None);
        self.policies.iter_mut().for_each(|one| one.version = None);
        self.volumes.iter_mut().for_each(|one| one.version = None);
        self.groups.iter_mut().for_each(|one| one.version = None);
        self.hosts.iter_mut().for_each(|one| one.version = None);
        self.host_groups.iter_mut().for_each(|one| one.version = None);
        self.exports.iter_mut().for_each(|one| one.version = None);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_stated_twice() {
        let state: State = serde_json::from_str(
            r#"{"pools":[{"name":"p","devices":["/a"]}],
            "volumes":[{"name":"v","pool":"p","size_bytes":512},{"name":"v","pool":"p","size_bytes":1024}]}"#,
        )
        .unwrap();
        assert_eq!(state.check().unwrap_err().to_string(), "volumes: 'v' is stated twice");
        assert_eq!(state.count(), 3);
        assert!(serde_json::from_str::<State>(r#"{"volume":[]}"#).is_err());
    }

    #[test]
    fn every_kind_names_a_list_of_the_document() {
        let schema = serde_json::to_value(State {
            pools: vec![],
            ..serde_json::from_str(r#"{"policies":[{"name":"g"}]}"#).unwrap()
        })
        .unwrap();
        assert!(schema["policies"].is_array());
        for &kind in StatedKind::ALL {
            let json = format!(r#"{{"{}":[]}}"#, kind.list());
            assert!(serde_json::from_str::<State>(&json).is_ok(), "{kind}");
        }
    }
}
