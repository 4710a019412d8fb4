//! Whether a volume is as its policy means it to be, and what is done about it where it is not.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, PolicySetting, PolicySettings, Timestamp};

words! {
    /// Whether a volume is as it is meant to be. Ordered from good to bad.
    pub enum ComplianceState {
        /// Nobody has said how it is meant to be.
        Unmanaged = "unmanaged",
        /// It is as it is meant to be.
        Compliant = "compliant",
        /// It is not yet, and the node is about to make it so.
        Converging = "converging",
        /// It is not, and the node cannot make it so; the reasons say why.
        Violated = "violated",
    }
}

words! {
    /// From where a setting of a volume comes.
    pub enum SettingSource {
        /// Meant for this volume alone.
        Override = "override",
        /// Its own policy.
        Policy = "policy",
        /// The policy of its group.
        GroupPolicy = "group-policy",
    }
}

/// One setting of a volume: how it is meant to be, and how it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SettingCompliance {
    /// Which one.
    pub setting: PolicySetting,
    /// Who says how it is meant to be.
    pub source: SettingSource,
    /// How it is meant to be, for people.
    pub intended: String,
    /// How it is, for people.
    pub actual: String,
    /// Whether it is so.
    pub state: ComplianceState,
    /// Why it is not so, or is not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How the snapshots by the calendar of a volume stand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ScheduleStatus {
    /// The time for which the last one was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// The time for which the next one will be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// For how long one has been due, in seconds; 0 when none is.
    pub lag_s: u64,
    /// Snapshots that the schedule has taken and keeps, and why.
    pub kept: Vec<KeptSnapshot>,
}

/// A snapshot that a schedule has taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeptSnapshot {
    /// Its name.
    pub name: Name,
    /// What keeps it: rules with its rank in each, a lock, an export. Nothing: it is about to be deleted.
    pub kept_by: Vec<String>,
}

/// What is meant for a volume, whether it is so, and what happens next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VolumePolicy {
    /// The volume.
    pub volume: Name,
    /// Its policy: its own or, without one, that of its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Name>,
    /// The version of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The group through which it has that policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through_group: Option<Name>,
    /// What is meant for this volume whatever its policy says.
    #[serde(default, skip_serializing_if = "PolicySettings::is_empty")]
    pub overrides: PolicySettings,
    /// The worst of its settings.
    pub state: ComplianceState,
    /// Each setting of which something is said.
    pub settings: Vec<SettingCompliance>,
    /// What the node is about to do, for people.
    pub plan: Vec<String>,
    /// Why that did not work when it was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Its snapshots by the calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleStatus>,
}

impl VolumePolicy {
    /// That of a volume of which nobody has said how it is meant to be.
    pub fn unmanaged(volume: Name) -> Self {
        Self {
            volume,
            policy: None,
            version: None,
            through_group: None,
            overrides: PolicySettings::default(),
            state: ComplianceState::Unmanaged,
            settings: Vec::new(),
            plan: Vec::new(),
            failure: None,
            schedule: None,
        }
    }
}

/// The policy of a consistency group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GroupPolicy {
    /// The group.
    pub group: Name,
    /// The policy that is attached to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Name>,
    /// The version of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}
