//! What is intended: policies, and to what they are attached.

use std::collections::BTreeMap;

use quarry_api_types::{GroupId, Name, PolicyId, PolicySetting, PolicySettings, SettingSource, Timestamp};
use quarry_types::VolumeId;

/// A policy, as far as planning goes.
#[derive(Clone, Debug)]
pub struct IntendedPolicy {
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: u64,
    /// What it says.
    pub settings: PolicySettings,
    /// When it was changed last.
    pub changed: Timestamp,
}

/// To what a policy is attached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AttachmentTarget {
    /// A volume.
    Volume(VolumeId),
    /// The volumes of a group that have no policy of their own.
    Group(GroupId),
}

/// A policy at a target, or overrides alone.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The policy.
    pub policy: Option<PolicyId>,
    /// What is meant whatever it says.
    pub overrides: PolicySettings,
    /// Since when it is attached: no snapshot is taken for a time before it.
    pub since: Timestamp,
}

/// A consistency group.
#[derive(Clone, Debug)]
pub struct IntendedGroup {
    /// Its name.
    pub name: Name,
    /// Its volumes.
    pub volumes: Vec<VolumeId>,
}

/// All that is intended.
#[derive(Clone, Debug, Default)]
pub struct Intended {
    policies: BTreeMap<PolicyId, IntendedPolicy>,
    attachments: BTreeMap<AttachmentTarget, Attachment>,
    groups: BTreeMap<GroupId, IntendedGroup>,
    group_of: BTreeMap<VolumeId, GroupId>,
}

/// What is meant for a volume.
#[derive(Clone, Debug)]
pub struct Governing<'a> {
    /// Its policy.
    pub policy: Option<&'a IntendedPolicy>,
    /// The group through which it has that.
    pub through_group: Option<(GroupId, &'a IntendedGroup)>,
    /// What is meant for it alone.
    pub overrides: PolicySettings,
    /// All taken together.
    pub settings: PolicySettings,
    /// Since when this is so.
    pub since: Timestamp,
}

impl Intended {
    /// Of its parts. An attachment to what is not there does no harm.
    pub fn new(
        policies: BTreeMap<PolicyId, IntendedPolicy>,
        attachments: BTreeMap<AttachmentTarget, Attachment>,
        groups: BTreeMap<GroupId, IntendedGroup>,
    ) -> Self {
        let members = groups.iter().flat_map(|(id, group)| group.volumes.iter().map(|volume| (*volume, *id)));
        let group_of = members.collect();
        Self { policies, attachments, groups, group_of }
    }

    /// What is meant for a volume. `None` when nothing is.
    pub fn governing(&self, volume: VolumeId) -> Option<Governing<'_>> {
        let own = self.attachments.get(&AttachmentTarget::Volume(volume));
        let group = self.group_of.get(&volume);
        let of_group = group.and_then(|group| self.attachments.get(&AttachmentTarget::Group(*group)));
        let (attachment, through_group) = match own.filter(|own| own.policy.is_some()) {
            Some(own) => (Some(own), None),
            None => (of_group, group.filter(|_| of_group.is_some())),
        };
        let policy = attachment.and_then(|attachment| self.policies.get(&attachment.policy?));
        let overrides = own.map(|own| own.overrides.clone()).unwrap_or_default();
        if policy.is_none() && overrides.is_empty() {
            return None;
        }
        let settings = policy.map_or_else(|| overrides.clone(), |policy| overrides.over(&policy.settings));
        let times = [own.map(|own| own.since), attachment.map(|of| of.since), policy.map(|of| of.changed)];
        Some(Governing {
            policy,
            through_group: through_group.and_then(|id| Some((*id, self.groups.get(id)?))),
            overrides,
            settings,
            since: times.into_iter().flatten().max().unwrap_or(Timestamp::from_unix_ms(0)),
        })
    }
}

impl Governing<'_> {
    /// Who says how a setting is meant to be.
    pub fn source(&self, setting: PolicySetting) -> SettingSource {
        if self.overrides.describe(setting).is_some() {
            SettingSource::Override
        } else if self.through_group.is_some() {
            SettingSource::GroupPolicy
        } else {
            SettingSource::Policy
        }
    }
}

#[cfg(test)]
mod tests {
    use quarry_api_types::{Compression, Durability};

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    #[test]
    fn overrides_come_before_the_own_policy_and_that_before_the_groups() {
        let (gold, silver) = (PolicyId::from_random(1), PolicyId::from_random(2));
        let group = GroupId::from_random(3);
        let [a, b, c, d] = [4, 5, 6, 7].map(VolumeId::from_random);
        let policy = |text: &str, compression, changed| IntendedPolicy {
            name: name(text),
            version: 1,
            settings: PolicySettings { compression: Some(compression), ..Default::default() },
            changed: at(changed),
        };
        let attachment =
            |policy, overrides: PolicySettings, since| Attachment { policy, overrides, since: at(since) };
        let always = PolicySettings { durability: Some(Durability::Always), ..Default::default() };
        let intended = Intended::new(
            [(gold, policy("gold", Compression::Zstd, 10)), (silver, policy("silver", Compression::Lz4, 20))]
                .into(),
            [
                (AttachmentTarget::Group(group), attachment(Some(silver), Default::default(), 5)),
                (AttachmentTarget::Volume(b), attachment(Some(gold), always.clone(), 30)),
                (AttachmentTarget::Volume(c), attachment(None, always.clone(), 40)),
            ]
            .into(),
            [(group, IntendedGroup { name: name("shop"), volumes: vec![a, b, c] })].into(),
        );
        let of = |volume| intended.governing(volume).unwrap();
        assert_eq!((of(a).settings.compression, of(a).since), (Some(Compression::Lz4), at(20)));
        assert_eq!(of(a).source(PolicySetting::Compression), SettingSource::GroupPolicy);
        assert_eq!((of(b).settings.compression, of(b).since), (Some(Compression::Zstd), at(30)));
        assert!(of(b).through_group.is_none() && of(b).settings.durability == always.durability);
        assert_eq!(of(b).source(PolicySetting::Compression), SettingSource::Policy);
        assert_eq!(
            (of(c).settings.compression, of(c).settings.durability),
            (Some(Compression::Lz4), always.durability)
        );
        assert_eq!(of(c).source(PolicySetting::Durability), SettingSource::Override);
        assert_eq!(of(c).through_group.unwrap().1.name, name("shop"));
        assert!(intended.governing(d).is_none());
    }
}
