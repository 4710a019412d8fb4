//! The plan: what is to be done now, and when there will be something to do next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use quarry_api_types::{
    ChangeVolume, ComplianceState, GroupId, Name, PolicySetting, SettingSource, SnapshotPath,
    SnapshotSchedule, Tier, Volume,
};
use quarry_types::{ByteSize, SnapshotId, VolumeId};

use crate::calendar;
use crate::intent::{Governing, Intended};
use crate::judge::judge;
use crate::mark::Slot;
use crate::retention;
use crate::settings;
use crate::snapshots;

/// A snapshot as it is observed.
#[derive(Clone, Debug)]
pub struct ObservedSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its name.
    pub name: Name,
    /// Whether nobody may delete it now.
    pub is_locked: bool,
    /// Whether an export serves it.
    pub is_exported: bool,
}

/// What of a volume's pool decides whether the volume is as it is meant to be.
#[derive(Clone, Debug, Default)]
pub struct ObservedPool {
    /// The tiers that it has now.
    pub tiers: Vec<Tier>,
    /// How large its volumes are together, in percent of what it holds.
    pub committed_percent: u64,
}

/// A volume as it is observed.
#[derive(Clone, Debug)]
pub struct ObservedVolume {
    /// The volume.
    pub volume: Volume,
    /// Its pool.
    pub pool: ObservedPool,
    /// All of its snapshots in the order in which they were taken, if there is a schedule for it.
    pub snapshots: Vec<ObservedSnapshot>,
    /// Why steps of a kind did not work when they were tried last.
    pub failures: BTreeMap<StepKind, String>,
}

/// All that is observed; volumes of pools that are offline are not.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The volumes.
    pub volumes: BTreeMap<VolumeId, ObservedVolume>,
}

/// What sort of step it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StepKind {
    /// Settings of a volume are changed.
    Change,
    /// Snapshots are taken.
    Take,
    /// A snapshot is deleted.
    Expire,
}

/// A snapshot to take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TakenSnapshot {
    /// The volume.
    pub volume: VolumeId,
    /// Its name now.
    pub volume_name: Name,
    /// The id that the snapshot gets.
    pub id: SnapshotId,
}

/// One thing to do. Doing it twice is doing it once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Change settings of a volume.
    Change {
        /// The volume.
        volume: VolumeId,
        /// Its name now.
        name: Name,
        /// Only what differs.
        change: ChangeVolume,
    },
    /// Take snapshots of one name, of several volumes at one point in time.
    Take {
        /// For which time.
        slot: Slot,
        /// The name of each.
        name: Name,
        /// The group whose volumes these are; they are a set even when it is one volume.
        group: Option<GroupId>,
        /// What to take.
        snapshots: Vec<TakenSnapshot>,
    },
    /// Delete a snapshot that a schedule has taken and no rule keeps.
    Expire {
        /// Its volume.
        volume: VolumeId,
        /// Its id.
        id: SnapshotId,
        /// How it is named.
        path: SnapshotPath,
    },
}

impl Step {
    /// Its kind.
    pub fn kind(&self) -> StepKind {
        match self {
            Self::Change { .. } => StepKind::Change,
            Self::Take { .. } => StepKind::Take,
            Self::Expire { .. } => StepKind::Expire,
        }
    }

    /// The volumes that it is about.
    pub fn volumes(&self) -> Vec<VolumeId> {
        match self {
            Self::Change { volume, .. } | Self::Expire { volume, .. } => vec![*volume],
            Self::Take { snapshots, .. } => snapshots.iter().map(|snapshot| snapshot.volume).collect(),
        }
    }

    /// Whether it is about a volume.
    pub fn concerns(&self, volume: VolumeId) -> bool {
        self.volumes().contains(&volume)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change { name, change, .. } => write!(f, "set {} of volume {name}", changed(change)),
            Self::Take { name, snapshots, .. } => {
                let volumes: Vec<&str> = snapshots.iter().map(|one| one.volume_name.as_str()).collect();
                write!(f, "take snapshot {name} of {}", volumes.join(", "))
            }
            Self::Expire { path, .. } => write!(f, "delete snapshot {path}, which no rule keeps any more"),
        }
    }
}

fn changed(change: &ChangeVolume) -> String {
    let size = |bytes: u64| if bytes == 0 { "none".to_owned() } else { ByteSize(bytes).to_string() };
    let parts = [
        change.durability.map(|to| format!("durability to {to}")),
        change.compression.map(|to| format!("compression to {to}")),
        change.deduplication.map(|to| format!("deduplication to {to}")),
        change.read_cache.map(|to| format!("read cache to {to}")),
        change.history_s.map(|to| format!("history to {to} s")),
        change.quota_bytes.map(|to| format!("quota to {}", size(to))),
        change.reserved_bytes.map(|to| format!("reservation to {}", size(to))),
        change.protection.map(|to| format!("protection to {to}")),
        change.tier.map(|to| format!("tier to {to}")),
        change.qos.as_ref().map(|to| format!("quality of service to {to}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How a volume with a policy stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumePlan {
    /// The volume.
    pub volume: VolumeId,
    /// Its name now.
    pub name: Name,
    /// Whether it is as it is meant to be.
    pub state: ComplianceState,
    /// Why it is not: the first reason that is known.
    pub reason: Option<String>,
    /// For how long a snapshot has been due, in seconds.
    pub lag_s: u64,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Steps, in the order in which to do them. They do not depend on each other.
    pub steps: Vec<Step>,
    /// How every volume with a policy stands.
    pub volumes: Vec<VolumePlan>,
    /// When the next snapshot is due.
    pub next: Option<Timestamp>,
}

/// Plans. Snapshots that can go come first, because they may be what a full pool needs; then what is due; then settings.
pub fn plan(intended: &Intended, observed: &Observed, now: Timestamp) -> Plan {
    let governed: Vec<(&ObservedVolume, Governing<'_>)> = observed
        .volumes
        .values()
        .filter_map(|volume| Some((volume, intended.governing(volume.volume.id)?)))
        .collect();
    let mut plan = Plan::default();
    for (volume, governing) in &governed {
        if let Some(schedule) = &governing.settings.snapshots {
            plan.steps.extend(expiring(volume, schedule));
        }
    }
    let mut seen = BTreeSet::new();
    for (volume, governing) in &governed {
        let Some(schedule) = governing.settings.snapshots.as_ref() else { continue };
        if let Some(next) = calendar::next(schedule, now) {
            plan.next = Some(plan.next.map_or(next.time(), |known| known.min(next.time())));
        }
        let unit = unit_of(intended, observed, volume, governing);
        if unit.iter().all(|member| seen.insert(member.volume.id)) {
            plan.steps.extend(taking(&unit, schedule, governing, now));
        }
    }
    for (volume, governing) in &governed {
        let actual = settings::actual(&volume.volume);
        let change = settings::change(&governing.settings, &actual);
        if let Some(change) =
            change.and_then(|change| settings::now(change, volume.volume.migration.as_ref()))
        {
            let name = volume.volume.name.clone();
            plan.steps.push(Step::Change { volume: volume.volume.id, name, change });
        }
    }
    plan.volumes = governed.iter().map(|(volume, _)| stand(intended, observed, volume, now)).collect();
    plan
}

fn stand(intended: &Intended, observed: &Observed, volume: &ObservedVolume, now: Timestamp) -> VolumePlan {
    let judged = judge(intended, observed, volume, &[], now);
    let worst = judged.settings.iter().find(|setting| setting.state == judged.state);
    VolumePlan {
        volume: volume.volume.id,
        name: judged.volume,
        state: judged.state,
        reason: worst.and_then(|setting| Some(format!("{}: {}", setting.setting, setting.reason.as_ref()?))),
        lag_s: judged.schedule.map_or(0, |schedule| schedule.lag_s),
    }
}

/// The group whose policy snapshots a volume, when it is not snapshotted alone.
fn group_of(governing: &Governing<'_>) -> Option<GroupId> {
    let is_groups = governing.source(PolicySetting::Snapshots) == SettingSource::GroupPolicy;
    governing.through_group.filter(|_| is_groups).map(|(id, _)| id)
}

/// The volumes that are snapshotted together with one: those of its group that have their schedule from it, or itself.
pub(crate) fn unit_of<'a>(
    intended: &Intended,
    observed: &'a Observed,
    volume: &'a ObservedVolume,
    governing: &Governing<'_>,
) -> Vec<&'a ObservedVolume> {
    let (Some(group), Some((_, members))) = (group_of(governing), governing.through_group) else {
        return vec![volume];
    };
    let is_in = |member: &&'a ObservedVolume| {
        intended.governing(member.volume.id).is_some_and(|other| group_of(&other) == Some(group))
    };
    members.volumes.iter().filter_map(|id| observed.volumes.get(id)).filter(is_in).collect()
}

fn taking(
    unit: &[&ObservedVolume],
    schedule: &SnapshotSchedule,
    governing: &Governing<'_>,
    now: Timestamp,
) -> Option<Step> {
    let last = snapshots::last_of(unit.iter().copied(), now);
    let slot = snapshots::due(schedule, last, governing.since, now)?;
    let (attempt, snapshots) = snapshots::attempt(unit, slot)?;
    Some(Step::Take { slot, name: slot.name(attempt), group: group_of(governing), snapshots })
}

fn expiring<'a>(
    volume: &'a ObservedVolume,
    schedule: &SnapshotSchedule,
) -> impl Iterator<Item = Step> + use<'a> {
    let (indices, slots) = snapshots::taken(volume);
    let expired = retention::expired(schedule, &slots).into_iter().map(move |index| indices[index]);
    let can_go = |index: &usize| {
        let snapshot: &ObservedSnapshot = &volume.snapshots[*index];
        !snapshot.is_locked && !snapshot.is_exported
    };
    expired.filter(can_go).map(|index| {
        let snapshot = &volume.snapshots[index];
        let path = SnapshotPath { volume: volume.volume.name.clone(), snapshot: snapshot.name.clone() };
        Step::Expire { volume: volume.volume.id, id: snapshot.id, path }
    })
}

#[cfg(test)]
mod tests;
