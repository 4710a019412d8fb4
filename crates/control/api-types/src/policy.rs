//! Policies: how volumes are meant to be, under a name.

use quarry_types::ByteSize;
use quarry_types::limits::HISTORY_S_MAX;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Compression, Deduplication, Durability, InvalidRequest, Name, PolicyId, Protection, QualityOfService,
    ReadCache, Replication, SnapshotSchedule, Tier, Timestamp,
};

words! {
    /// One thing that a policy may say of volumes.
    pub enum PolicySetting {
        /// When an acknowledged write is safe.
        Durability = "durability",
        /// How blocks are made smaller.
        Compression = "compression",
        /// Whether blocks that are there already are stored again.
        Deduplication = "deduplication",
        /// Whether what is read again is answered from memory.
        ReadCache = "read-cache",
        /// Whether blocks are encrypted.
        Encryption = "encryption",
        /// For how long back it can be had as it was at any second.
        History = "history",
        /// The most that it may map.
        Quota = "quota",
        /// What its pool keeps for it.
        Reservation = "reservation",
        /// How far its pool may be over-committed.
        Overcommit = "overcommit",
        /// Snapshots by the calendar.
        Snapshots = "snapshots",
        /// How its data survives failures.
        Protection = "protection",
        /// Where its data lies.
        Tier = "tier",
        /// What it gets of the node's performance.
        Qos = "qos",
        /// Where it is replicated to. Stored, not carried out by this version.
        Replication = "replication",
    }
}

/// How volumes are meant to be. What is absent is left as it is on each volume.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct PolicySettings {
    /// When an acknowledged write is safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// How blocks are made smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Whether blocks that their core has stored since the start are stored again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    /// Whether what is read again is answered from memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_cache: Option<ReadCache>,
    /// Whether blocks are encrypted. Carried out when a volume is made; it cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// For how many seconds back a volume is to be had as it was at any second; 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 3600)]
    pub history_s: Option<u32>,
    /// The most that each volume may map, in bytes; 0 for its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// What its pool is to keep for each volume, in bytes; 0 for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_bytes: Option<u64>,
    /// How large all volumes of its pool together may be, in percent of what that holds; 0 for no bound but the pool's own. Beyond it no
    /// volume is made, enlarged or moved there under the policy, and those that are there are not as they are meant to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overcommit_limit_percent: Option<u32>,
    /// Snapshots by the calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<SnapshotSchedule>,
    /// How data survives failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^(copies:[1-4]|ec:[2-8]\\+[1-3])$", example = "copies:2")]
    pub protection: Option<Protection>,
    /// Where data lies among the tiers of its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// What a volume gets of the node's performance: all of it, what is absent in it is neither bounded nor promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
    /// Where a volume is replicated to. Stored, not carried out by this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
}

crate::request::only_as_object!(PolicySettings);

impl PolicySettings {
    /// Checks all that can be judged without looking at a volume.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if let Some(history_s) = self.history_s.filter(|&history_s| history_s > HISTORY_S_MAX) {
            let message = format!("{history_s} seconds are more than the longest history, {HISTORY_S_MAX}");
            return Err(InvalidRequest::new("history_s", message));
        }
        if let (Some(quota @ 1..), Some(reserved)) = (self.quota_bytes, self.reserved_bytes)
            && reserved > quota
        {
            let message = format!("{} is more than the quota, {}", ByteSize(reserved), ByteSize(quota));
            return Err(InvalidRequest::contradiction("reserved_bytes", message));
        }
        self.snapshots.as_ref().map_or(Ok(()), SnapshotSchedule::check)?;
        self.qos.as_ref().map_or(Ok(()), QualityOfService::check)?;
        self.replication.as_ref().map_or(Ok(()), Replication::check)
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These where they say something, `below` for the rest.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        let Self { snapshots, qos, replication, .. } = self;
        Self {
            durability: self.durability.or(below.durability),
            compression: self.compression.or(below.compression),
            deduplication: self.deduplication.or(below.deduplication),
            read_cache: self.read_cache.or(below.read_cache),
            encrypted: self.encrypted.or(below.encrypted),
            history_s: self.history_s.or(below.history_s),
            quota_bytes: self.quota_bytes.or(below.quota_bytes),
            reserved_bytes: self.reserved_bytes.or(below.reserved_bytes),
            overcommit_limit_percent: self.overcommit_limit_percent.or(below.overcommit_limit_percent),
            snapshots: snapshots.as_ref().or(below.snapshots.as_ref()).cloned(),
            protection: self.protection.or(below.protection),
            tier: self.tier.or(below.tier),
            qos: qos.as_ref().or(below.qos.as_ref()).cloned(),
            replication: replication.as_ref().or(below.replication.as_ref()).cloned(),
        }
    }

    /// Says nothing of one setting any more.
    pub fn unset(&mut self, setting: PolicySetting) {
        match setting {
            PolicySetting::Durability => self.durability = None,
            PolicySetting::Compression => self.compression = None,
            PolicySetting::Deduplication => self.deduplication = None,
            PolicySetting::ReadCache => self.read_cache = None,
            PolicySetting::Encryption => self.encrypted = None,
            PolicySetting::History => self.history_s = None,
            PolicySetting::Quota => self.quota_bytes = None,
            PolicySetting::Reservation => self.reserved_bytes = None,
            PolicySetting::Overcommit => self.overcommit_limit_percent = None,
            PolicySetting::Snapshots => self.snapshots = None,
            PolicySetting::Protection => self.protection = None,
            PolicySetting::Tier => self.tier = None,
            PolicySetting::Qos => self.qos = None,
            PolicySetting::Replication => self.replication = None,
        }
    }

    /// What is said of one setting, for people. `None` when nothing is.
    pub fn describe(&self, setting: PolicySetting) -> Option<String> {
        match setting {
            PolicySetting::Durability => self.durability.map(|word| word.to_string()),
            PolicySetting::Compression => self.compression.map(|word| word.to_string()),
            PolicySetting::Deduplication => self.deduplication.map(|word| word.to_string()),
            PolicySetting::ReadCache => self.read_cache.map(|word| word.to_string()),
            PolicySetting::Encryption => self.encrypted.map(|is_on| on_or_off(is_on).to_owned()),
            PolicySetting::History => {
                self.history_s.map(|seconds| none_or(u64::from(seconds), |s| format!("{s} s")))
            }
            PolicySetting::Quota => {
                self.quota_bytes.map(|bytes| none_or(bytes, |bytes| ByteSize(bytes).to_string()))
            }
            PolicySetting::Reservation => {
                self.reserved_bytes.map(|bytes| none_or(bytes, |bytes| ByteSize(bytes).to_string()))
            }
            PolicySetting::Overcommit => self
                .overcommit_limit_percent
                .map(|percent| none_or(u64::from(percent), |percent| format!("at most {}", ratio(percent)))),
            PolicySetting::Snapshots => self.snapshots.as_ref().map(SnapshotSchedule::to_string),
            PolicySetting::Protection => self.protection.map(|protection| protection.to_string()),
            PolicySetting::Tier => self.tier.map(|word| word.to_string()),
            PolicySetting::Qos => self.qos.as_ref().map(QualityOfService::to_string),
            PolicySetting::Replication => self.replication.as_ref().map(Replication::to_string),
        }
    }

    /// Which settings are not the same as in `other`.
    pub fn differences(&self, other: &Self) -> Vec<PolicySetting> {
        let differs = |setting: &PolicySetting| self.describe(*setting) != other.describe(*setting);
        PolicySetting::ALL.iter().copied().filter(differs).collect()
    }
}

/// A percentage as a factor, for people: 250 is 2.50.
pub fn ratio(percent: u64) -> String {
    format!("{}.{:02}", percent / 100, percent % 100)
}

/// A switch, for people.
pub(crate) fn on_or_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn none_or(value: u64, text: impl FnOnce(u64) -> String) -> String {
    if value == 0 { "none".to_owned() } else { text(value) }
}

/// A policy as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Its id, for ever.
    pub id: PolicyId,
    /// Its name, unique among the policies of the node.
    pub name: Name,
    /// How often it was made or changed: 1 when it is new. A change that names another version is refused.
    pub version: u64,
    /// How volumes are meant to be.
    pub settings: PolicySettings,
    /// Volumes to which it is attached themselves, by name; those that are offline included.
    pub volumes: Vec<Name>,
    /// Consistency groups to which it is attached.
    pub groups: Vec<Name>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub changed: Timestamp,
}

/// A request for a new policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePolicy {
    /// Its name, unique among the policies of the node.
    pub name: Name,
    /// How volumes are meant to be.
    #[serde(default)]
    pub settings: PolicySettings,
}

impl CreatePolicy {
    /// Checks all that can be judged without asking the node.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        self.settings.check()
    }
}

/// A request for other settings of a policy: all of them at once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePolicy {
    /// The version that the requester has seen. When the policy has another one, nothing is changed. Absent: whatever it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// How volumes are meant to be from now on.
    pub settings: PolicySettings,
}

impl ChangePolicy {
    /// Checks all that can be judged without asking the node.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        self.settings.check()
    }
}

/// A request to attach a policy to a volume or a group, in the place of the one that it has.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachPolicy {
    /// The policy. Absent: a volume goes on with that of its group, if there is one, and the overrides alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Name>,
    /// What is meant for this volume whatever its policy says. A group has none.
    #[serde(default, skip_serializing_if = "PolicySettings::is_empty")]
    pub overrides: PolicySettings,
}

impl AttachPolicy {
    /// Checks all that can be judged without asking the node.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if self.policy.is_none() && self.overrides.is_empty() {
            return Err(InvalidRequest::contradiction("policy", "neither a policy nor an override is given"));
        }
        self.overrides.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> PolicySettings {
        serde_json::from_str(json).unwrap()
    }

    fn full() -> PolicySettings {
        settings(
            r#"{"durability":"always","compression":"lz4","deduplication":"off","encrypted":true,"history_s":60,
            "quota_bytes":2048,"reserved_bytes":1024,"read_cache":"off","overcommit_limit_percent":250,"snapshots":{"time_zone":"Europe/Berlin",
            "rules":[{"every":"1d","keep":7,"at":"02:30"}]},"protection":"ec:4+2","tier":"nvme",
            "qos":{"iops_max":100},"replication":{"target":"b","rpo_s":30}}"#,
        )
    }

    #[test]
    fn every_setting_can_be_described_overridden_and_unset() {
        let full = full();
        assert_eq!(full.check(), Ok(()));
        let empty = PolicySettings::default();
        assert_eq!((full.over(&empty), empty.over(&full)), (full.clone(), full.clone()));
        assert_eq!(full.differences(&empty), PolicySetting::ALL);
        for &setting in PolicySetting::ALL {
            assert!(full.describe(setting).is_some() && empty.describe(setting).is_none(), "{setting}");
            let mut without = full.clone();
            without.unset(setting);
            assert_eq!(without.differences(&full), [setting]);
        }
        let schedule = full.describe(PolicySetting::Snapshots);
        assert_eq!(schedule.as_deref(), Some("1d at 02:30 keep 7 (Europe/Berlin)"));
        let json = serde_json::to_string(&full).unwrap();
        assert_eq!(settings(&json), full);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (json, part) in [
            (r#"{"history_s":3601}"#, "history_s: "),
            (r#"{"quota_bytes":1,"reserved_bytes":2}"#, "reserved_bytes: 2 B is more than the quota"),
            (r#"{"snapshots":{"rules":[{"every":"1h","keep":0}]}}"#, "snapshots: "),
            (r#"{"qos":{"weight":0}}"#, "qos: "),
            (r#"{"replication":{"target":"","rpo_s":1}}"#, "replication: "),
        ] {
            let error = settings(json).check().unwrap_err().to_string();
            assert!(error.starts_with(part), "{error}");
        }
        assert_eq!(settings(r#"{"quota_bytes":0,"reserved_bytes":2}"#).check(), Ok(()));
        assert!(serde_json::from_str::<PolicySettings>(r#"{"compresion":"lz4"}"#).is_err());
        assert!(AttachPolicy::default().check().is_err());
    }
}
