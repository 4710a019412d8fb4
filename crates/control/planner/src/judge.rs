//! Whether a volume is as it is meant to be.

use jiff::Timestamp;
use quarry_api_types::{
    ComplianceState, KeptSnapshot, MigrationState, PolicySetting, ScheduleStatus, SettingCompliance,
    SnapshotSchedule, VolumePolicy, ratio,
};

use crate::calendar;
use crate::intent::{Governing, Intended};
use crate::plan::{Observed, ObservedVolume, Step, StepKind};
use crate::retention::{self, KeptBy};
use crate::settings::{self, Remedy};
use crate::snapshots;

/// What is meant for a volume, whether it is so, and what `steps` do about it.
pub fn judge(
    intended: &Intended,
    observed: &Observed,
    volume: &ObservedVolume,
    steps: &[Step],
    now: Timestamp,
) -> VolumePolicy {
    let mut judged = VolumePolicy {
        plan: steps.iter().filter(|step| step.concerns(volume.volume.id)).map(Step::to_string).collect(),
        ..VolumePolicy::unmanaged(volume.volume.name.clone())
    };
    let Some(governing) = intended.governing(volume.volume.id) else { return judged };
    judged.policy = governing.policy.map(|policy| policy.name.clone());
    judged.version = governing.policy.map(|policy| policy.version);
    judged.through_group = governing.through_group.map(|(_, group)| group.name.clone());
    judged.failure = volume.failures.values().next().cloned();
    judged.schedule = schedule_status(intended, observed, volume, &governing, now);
    judged.settings = PolicySetting::ALL
        .iter()
        .filter_map(|&setting| one(setting, &governing, volume, judged.schedule.as_ref()))
        .collect();
    let worst = judged.settings.iter().map(|setting| setting.state).max();
    judged.state = worst.unwrap_or(ComplianceState::Compliant);
    judged.overrides = governing.overrides;
    judged
}

fn one(
    setting: PolicySetting,
    governing: &Governing<'_>,
    volume: &ObservedVolume,
    schedule: Option<&ScheduleStatus>,
) -> Option<SettingCompliance> {
    let intended = governing.settings.describe(setting)?;
    let actual = settings::actual(&volume.volume);
    let failed = |kind: StepKind| volume.failures.get(&kind).cloned();
    let migration = volume.volume.migration.as_ref();
    let stopped = migration.filter(|migration| migration.state == MigrationState::Stopped);
    let pending = |kind: StepKind| match (failed(kind), stopped) {
        (_, Some(stopped)) => {
            let reason = stopped.reason.clone().unwrap_or_default();
            (ComplianceState::Violated, Some(format!("its migration has stopped: {reason}")))
        }
        (Some(failure), None) if migration.is_none() => (ComplianceState::Violated, Some(failure)),
        _ => (ComplianceState::Converging, None),
    };
    let (state, reason) = match (setting, schedule) {
        (PolicySetting::Snapshots, Some(schedule)) if schedule.lag_s > 0 => pending(StepKind::Take),
        _ => match settings::remedy(setting, &governing.settings, &actual, &volume.pool) {
            None => (ComplianceState::Compliant, None),
            Some(Remedy::Change) => pending(StepKind::Change),
            Some(Remedy::None(reason)) => (ComplianceState::Violated, Some(reason)),
        },
    };
    let actual = match (setting, schedule) {
        (PolicySetting::Snapshots, Some(schedule)) => in_words(schedule),
        (PolicySetting::Overcommit, _) => ratio(volume.pool.committed_percent),
        _ => actual.describe(setting).unwrap_or_else(|| "-".to_owned()),
    };
    Some(SettingCompliance { setting, source: governing.source(setting), intended, actual, state, reason })
}

fn in_words(schedule: &ScheduleStatus) -> String {
    let last = schedule.last.map_or_else(|| "none yet".to_owned(), |last| last.to_string());
    match schedule.lag_s {
        0 => format!("{} kept, last {last}", schedule.kept.len()),
        lag_s => format!("{} kept, last {last}, one due for {lag_s} s", schedule.kept.len()),
    }
}

fn schedule_status(
    intended: &Intended,
    observed: &Observed,
    volume: &ObservedVolume,
    governing: &Governing<'_>,
    now: Timestamp,
) -> Option<ScheduleStatus> {
    let schedule = governing.settings.snapshots.as_ref().filter(|schedule| !schedule.rules.is_empty())?;
    let unit = crate::plan::unit_of(intended, observed, volume, governing);
    let last = snapshots::last_of(unit.into_iter(), now);
    let due = snapshots::due(schedule, last, governing.since, now);
    Some(ScheduleStatus {
        last: last.map(|slot| shown(slot.time())),
        next: calendar::next(schedule, now).map(|slot| shown(slot.time())),
        lag_s: snapshots::lag_s(schedule, last, due, now),
        kept: kept(schedule, volume),
    })
}

fn shown(time: Timestamp) -> quarry_api_types::Timestamp {
    quarry_api_types::Timestamp::from_unix_ms(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

fn kept(schedule: &SnapshotSchedule, volume: &ObservedVolume) -> Vec<KeptSnapshot> {
    let (indices, slots) = snapshots::taken(volume);
    let kept = retention::kept_by(schedule, &slots);
    let newest = indices.last().copied();
    let by_rule = |by: &KeptBy| {
        let rule = &schedule.rules[by.rule];
        format!("every {}, {} of {}", rule.every, by.rank, rule.keep)
    };
    let of = |(index, by): (usize, &Vec<KeptBy>)| {
        let snapshot = &volume.snapshots[index];
        let mut kept_by: Vec<String> = by.iter().map(by_rule).collect();
        for (is_so, what) in [
            (newest == Some(index), "the newest"),
            (snapshot.is_locked, "a lock"),
            (snapshot.is_exported, "an export"),
        ] {
            if is_so && (kept_by.is_empty() || what != "the newest") {
                kept_by.push(what.to_owned());
            }
        }
        KeptSnapshot { name: snapshot.name.clone(), kept_by }
    };
    indices.into_iter().zip(&kept).map(of).collect()
}
