//! What is there, and how it would be stated.

use std::collections::{BTreeMap, BTreeSet};

use quarry_api_types::{
    Export, Group, Host, HostGroup, Name, OwnProtection, OwnTier, Policy, PolicySetting, Pool, Protocol,
    SnapshotPath, State, StatedExport, StatedGroup, StatedHost, StatedHostGroup, StatedPolicy, StatedPool,
    StatedVolume, Volume, VolumePolicy,
};
use serde::Serialize;

/// All that a document can state, as the node shows it.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "they are the lists of the node")]
pub struct Present {
    pub pools: Vec<Pool>,
    pub policies: Vec<Policy>,
    pub volumes: Vec<Volume>,
    pub volume_policies: BTreeMap<Name, VolumePolicy>,
    pub groups: Vec<Group>,
    pub group_policies: BTreeMap<Name, Name>,
    pub hosts: Vec<Host>,
    pub host_groups: Vec<HostGroup>,
    pub exports: Vec<Export>,
    /// Those of the snapshots that the document exports which are there.
    pub snapshots: BTreeSet<SnapshotPath>,
    /// Protocols that the node was not told to serve.
    pub unserved: Vec<Protocol>,
}

/// A short text that is another one whenever what it is made of is.
pub(super) fn version_of(stated: &impl Serialize) -> Option<String> {
    let json = serde_json::to_vec(stated).ok()?;
    Some(blake3::hash(&json).to_hex()[..16].to_owned())
}

impl Present {
    /// The document that states all of this, with versions.
    pub fn stated(&self) -> State {
        let versioned = |mut state: State| {
            macro_rules! version {
                ($($list:ident),+) => { $(state.$list.iter_mut().for_each(|one| one.version = version_of(one));)+ };
            }
            version!(pools, policies, volumes, groups, hosts, host_groups, exports);
            state
        };
        versioned(State {
            // They are not the node's: the API states them beside.
            tenants: Vec::new(),
            pools: self.pools.iter().map(pool).collect(),
            policies: self.policies.iter().map(policy).collect(),
            volumes: self.volumes.iter().filter_map(|one| self.volume(one)).collect(),
            groups: self.groups.iter().map(|one| self.group(one)).collect(),
            hosts: self.hosts.iter().map(host).collect(),
            host_groups: self.host_groups.iter().map(host_group).collect(),
            exports: self.exports.iter().map(export).collect(),
        })
    }

    /// A volume of a pool. One in image mode is no part of a document.
    pub(super) fn volume(&self, volume: &Volume) -> Option<StatedVolume> {
        let pool = volume.pool.clone()?;
        let policy = self.volume_policies.get(&volume.name);
        let is_meant = |setting: PolicySetting| {
            policy.is_some_and(|policy| policy.settings.iter().any(|one| one.setting == setting))
        };
        // What a policy says is said there, and here it would be said twice.
        fn free<T>(is_meant: bool, value: T) -> Option<T> {
            Some(value).filter(|_| !is_meant)
        }
        Some(StatedVolume {
            name: volume.name.clone(),
            pool,
            size_bytes: volume.size_bytes,
            durability: free(is_meant(PolicySetting::Durability), volume.durability),
            compression: free(is_meant(PolicySetting::Compression), volume.compression),
            deduplication: free(is_meant(PolicySetting::Deduplication), volume.deduplication),
            read_cache: free(is_meant(PolicySetting::ReadCache), volume.read_cache),
            encrypted: free(is_meant(PolicySetting::Encryption), volume.encrypted),
            history_s: free(is_meant(PolicySetting::History), volume.history_s),
            quota_bytes: free(is_meant(PolicySetting::Quota), volume.quota_bytes.unwrap_or(0)),
            reserved_bytes: free(is_meant(PolicySetting::Reservation), volume.reserved_bytes),
            protection: volume
                .protection
                .filter(|_| volume.own_protection && !is_meant(PolicySetting::Protection))
                .map(|own| OwnProtection(Some(own))),
            tier: volume
                .tier
                .filter(|_| volume.own_tier && !is_meant(PolicySetting::Tier))
                .map(|own| OwnTier(Some(own))),
            qos: volume.qos.clone().filter(|_| !is_meant(PolicySetting::Qos)),
            policy: self.own_policy(&volume.name).cloned(),
            overrides: policy
                .map(|policy| policy.overrides.clone())
                .filter(|overrides| !overrides.is_empty()),
            version: None,
        })
    }

    /// The policy that is attached to the volume itself.
    pub(super) fn own_policy(&self, volume: &Name) -> Option<&Name> {
        let policy = self.volume_policies.get(volume).filter(|policy| policy.through_group.is_none())?;
        policy.policy.as_ref()
    }

    pub(super) fn group(&self, group: &Group) -> StatedGroup {
        StatedGroup {
            name: group.name.clone(),
            volumes: group.volumes.clone(),
            qos: group.qos.clone(),
            policy: self.group_policies.get(&group.name).cloned(),
            version: None,
        }
    }
}

pub(super) fn pool(pool: &Pool) -> StatedPool {
    StatedPool {
        name: pool.name.clone(),
        devices: pool.devices.iter().map(|device| device.path.clone()).collect(),
        copies: None,
        protection: Some(pool.protection),
        warning_percent: Some(pool.levels.warning_percent),
        critical_percent: Some(pool.levels.critical_percent),
        overcommit_limit_percent: Some(pool.commitment.limit_percent.unwrap_or(0)),
        rebuild_rate_bytes_per_s: Some(pool.rebuild_rate_bytes_per_s.unwrap_or(0)),
        version: None,
    }
}

pub(super) fn policy(policy: &Policy) -> StatedPolicy {
    StatedPolicy { name: policy.name.clone(), settings: policy.settings.clone(), version: None }
}

pub(super) fn host(host: &Host) -> StatedHost {
    StatedHost {
        name: host.name.clone(),
        initiators: host.initiators.clone(),
        networks: host.networks.clone(),
        version: None,
    }
}

pub(super) fn host_group(group: &HostGroup) -> StatedHostGroup {
    StatedHostGroup { name: group.name.clone(), hosts: group.hosts.clone(), version: None }
}

pub(super) fn export(export: &Export) -> StatedExport {
    StatedExport {
        volume: export.path(),
        protocol: export.protocol,
        host: export.host.clone(),
        host_group: export.host_group.clone(),
        number: export.number,
        // A snapshot is read-only whatever is said.
        read_only: export.read_only && export.snapshot.is_none(),
        version: None,
    }
}
