//! Which hosts and host groups there are, and what must not be: an initiator of two hosts, a host that sees two volumes under
//! one number. The catalog keeps them, `quarry_target::Access` shows them to sessions; here stands what both are made from.

use std::collections::BTreeMap;

use quarry_api_types::{HostGroupId, HostId, InitiatorName, Name, Network, Protocol};
use quarry_catalog::{AudienceRecord, ChapRecord, ExportRecord, HostGroupRecord, HostRecord};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_target::{Audience, Fabric, same_initiator};

/// As in the catalog.
#[derive(Clone, Default, Debug)]
pub(super) struct HostTable {
    pub(super) hosts: BTreeMap<HostId, HostRecord>,
    pub(super) groups: BTreeMap<HostGroupId, HostGroupRecord>,
}

/// Why an export cannot be for whom it is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Clash<'e> {
    /// Somebody sees the same volume already.
    Volume(&'e ExportRecord),
    /// Somebody sees another volume under the number.
    Number(&'e ExportRecord),
}

impl HostTable {
    pub(super) fn new(hosts: Vec<HostRecord>, groups: Vec<HostGroupRecord>) -> Self {
        Self {
            hosts: hosts.into_iter().map(|host| (host.id, host)).collect(),
            groups: groups.into_iter().map(|group| (group.id, group)).collect(),
        }
    }

    pub(super) fn host(&self, name: &Name) -> Result<&HostRecord> {
        let found = self.hosts.values().find(|host| host.name == *name);
        found.ok_or_else(|| NodeError::not_found("host", name))
    }

    pub(super) fn group(&self, name: &Name) -> Result<&HostGroupRecord> {
        let found = self.groups.values().find(|group| group.name == *name);
        found.ok_or_else(|| NodeError::not_found("host group", name))
    }

    /// The groups that a host is in.
    pub(super) fn groups_of(&self, host: HostId) -> impl Iterator<Item = &HostGroupRecord> {
        self.groups.values().filter(move |group| group.hosts.contains(&host))
    }

    /// The names of the hosts of a group.
    pub(super) fn names(&self, hosts: &[HostId]) -> Vec<Name> {
        hosts.iter().filter_map(|id| self.hosts.get(id)).map(|host| host.name.clone()).collect()
    }

    /// Who sees an export.
    pub(super) fn audience(&self, record: &ExportRecord) -> Audience {
        let named =
            |hosts: &[HostId]| Audience::Hosts(self.names(hosts).into_iter().map(String::from).collect());
        match record.audience {
            None => Audience::Everyone,
            Some(AudienceRecord::Host(id)) => named(&[id]),
            Some(AudienceRecord::HostGroup(id)) => {
                self.groups.get(&id).map_or(Audience::Hosts(Vec::new()), |group| named(&group.hosts))
            }
        }
    }

    /// Whether an export names a host, or a group that it is in.
    pub(super) fn is_for(&self, record: &ExportRecord, host: HostId) -> bool {
        match record.audience {
            None => false,
            Some(AudienceRecord::Host(id)) => id == host,
            Some(AudienceRecord::HostGroup(id)) => {
                self.groups.get(&id).is_some_and(|group| group.hosts.contains(&host))
            }
        }
    }

    /// Fails when initiators of a host are another one's, or it could not be told from another one.
    pub(super) fn check_host(&self, host: &HostRecord) -> Result<()> {
        for other in self.hosts.values().filter(|other| other.id != host.id) {
            let same = |name: &&InitiatorName| {
                other.initiators.iter().any(|theirs| same_initiator(theirs.as_str(), name.as_str()))
            };
            if let Some(name) = host.initiators.iter().find(same) {
                let what = format!("initiator '{name}' belongs to host '{}'", other.name);
                return Err(NodeError::new(ErrorKind::Conflict, what).with_next_step(format!(
                    "A name belongs to one host at most: `quarry host update {} --remove-initiator {name}`.",
                    other.name
                )));
            }
            let meet = |ours: &Network| other.networks.iter().find(|theirs| ours.meets(**theirs)).copied();
            let both_nameless = host.initiators.is_empty() && other.initiators.is_empty();
            let overlap = host.networks.iter().find_map(|&ours| Some((ours, meet(&ours)?)));
            if let Some((ours, theirs)) = overlap.filter(|_| both_nameless) {
                let what = format!("network {ours} overlaps with {theirs} of host '{}'", other.name);
                return Err(NodeError::new(ErrorKind::Conflict, what).with_next_step(
                    "Hosts without initiators are known by their networks alone: name initiators, or other networks.",
                ));
            }
        }
        Ok(())
    }

    /// What stands in the way of an export, among all others.
    pub(super) fn clash<'e>(&self, export: &ExportRecord, all: &'e [ExportRecord]) -> Option<Clash<'e>> {
        let others: Vec<&ExportRecord> = self.meeting(export, all).collect();
        let serves_same = |other: &&&ExportRecord| {
            (other.volume_id, &other.snapshot) == (export.volume_id, &export.snapshot)
        };
        let has_same = |other: &&&ExportRecord| export.number.is_some() && other.number == export.number;
        let same = others.iter().find(serves_same).map(|other| Clash::Volume(other));
        same.or_else(|| others.iter().find(has_same).map(|other| Clash::Number(other)))
    }

    /// A number under which nobody of an export's audience is meant to see a volume, be it there now or not: over iSCSI the lowest.
    /// Of namespace ids the next one behind `last_namespace_id`, round and round: hosts repeat what they have queued for an id when
    /// they connect again, before they look what it stands for, so an id that was given is not given again for long.
    pub(super) fn free_number(
        &self,
        export: &ExportRecord,
        all: &[ExportRecord],
        last_namespace_id: u32,
    ) -> Option<u32> {
        let mut taken: Vec<u32> = self.meeting(export, all).filter_map(|other| other.number).collect();
        taken.sort_unstable();
        let fabric = fabric_of(export.protocol)?;
        let first = match fabric {
            Fabric::Iscsi => *fabric.numbers().start(),
            Fabric::NvmeTcp => last_namespace_id + 1,
        };
        let is_free = |number: &u32| taken.binary_search(number).is_err();
        (first..=*fabric.numbers().end()).find(is_free).or_else(|| fabric.numbers().find(is_free))
    }

    /// The other exports over the same protocol that somebody sees who sees this one.
    fn meeting<'e>(
        &self,
        export: &ExportRecord,
        all: &'e [ExportRecord],
    ) -> impl Iterator<Item = &'e ExportRecord> {
        let audience = self.audience(export);
        let (id, protocol) = (export.id, export.protocol);
        all.iter().filter(move |other| {
            other.protocol == protocol && other.id != id && self.audience(other).meets(&audience)
        })
    }
}

/// By which fabric a protocol shows volumes; NBD and vhost-user show each by itself.
pub(super) fn fabric_of(protocol: Protocol) -> Option<Fabric> {
    match protocol {
        Protocol::Nbd | Protocol::VhostUser => None,
        Protocol::Iscsi => Some(Fabric::Iscsi),
        Protocol::NvmeTcp => Some(Fabric::NvmeTcp),
    }
}

/// A host as sessions see it.
pub(super) fn to_target(record: &HostRecord) -> quarry_target::Host {
    let network = |network: &Network| quarry_target::Network {
        address: network.address(),
        prefix_bits: network.prefix_bits(),
    };
    let chap = |chap: &ChapRecord| quarry_target::Chap {
        user: chap.initiator.user.clone(),
        secret: chap.initiator.secret.clone(),
        mutual: chap.mutual.as_ref().map(|proof| (proof.user.clone(), proof.secret.clone())),
    };
    quarry_target::Host {
        name: record.name.to_string(),
        initiators: record.initiators.iter().map(ToString::to_string).collect(),
        networks: record.networks.iter().map(network).collect(),
        chap: record.chap.as_ref().map(chap),
    }
}

#[cfg(test)]
mod tests;
