//! Events and figures of policies: a volume that is not as it is meant to be is a condition, told when it begins, changes and ends.

use std::collections::BTreeMap;

use quarry_api_types::{ComplianceState, EventKind, EventSeverity, ObjectKind};
use quarry_events::{ConditionChange, NewEvent};
use quarry_planner::{Plan, VolumePlan};
use quarry_types::VolumeId;

use super::DataNode;
use super::events::apply_changes;

/// Before the id of the volume in the key of such a condition.
const KEY_PREFIX: &str = "policy ";

/// Whether a condition is one of these, which `conditions` leaves alone.
pub(super) fn is_of_policy(key: &str) -> bool {
    key.starts_with(KEY_PREFIX)
}

fn key(volume: VolumeId) -> String {
    format!("{KEY_PREFIX}{volume}")
}

/// How the volumes stood at the last look of the reconciler.
#[derive(Default)]
pub(super) struct Compliance {
    /// `None` until the conditions that stood before the start have been read.
    standing: Option<BTreeMap<String, String>>,
    counts: BTreeMap<ComplianceState, u64>,
}

impl DataNode {
    /// Tells what has begun, changed or ended since the last look.
    pub(super) async fn note_compliance(&self, plan: &Plan) {
        let intended = self.intended();
        let (events, changes) = {
            let mut compliance = self.compliance();
            let standing = compliance.standing.get_or_insert_with(|| self.conditions_before(is_of_policy));
            let is_meant = |volume| intended.governing(volume).is_some();
            let (events, changes) = compare(standing, &plan.volumes, is_meant);
            apply_changes(standing, &changes);
            compliance.counts.clear();
            for volume in &plan.volumes {
                *compliance.counts.entry(volume.state).or_default() += 1;
            }
            (events, changes)
        };
        if !changes.is_empty() {
            self.record(events, changes).await;
        }
    }

    fn compliance(&self) -> std::sync::MutexGuard<'_, Compliance> {
        self.compliance.lock().expect("nobody panics with this lock: a panic ends the process")
    }

    /// How many volumes with a policy are in each state.
    pub(super) fn compliance_counts(&self) -> Vec<(ComplianceState, u64)> {
        let counts = &self.compliance().counts;
        let states = ComplianceState::ALL.iter().filter(|state| **state != ComplianceState::Unmanaged);
        states.map(|state| (*state, counts.get(state).copied().unwrap_or(0))).collect()
    }
}

/// What has begun, changed or ended. A volume that is not there now, because its pool is offline, is left as it stood; of one
/// that has no policy any more, or is gone, nothing is to be told.
fn compare(
    standing: &BTreeMap<String, String>,
    volumes: &[VolumePlan],
    is_meant: impl Fn(VolumeId) -> bool,
) -> (Vec<NewEvent>, Vec<ConditionChange>) {
    let (mut events, mut changes) = (Vec::new(), Vec::new());
    for gone in standing.keys() {
        let volume = gone.strip_prefix(KEY_PREFIX).and_then(|id| id.parse().ok()).map(VolumeId);
        if volume.is_none_or(|volume| !is_meant(volume)) {
            changes.push(ConditionChange { key: gone.clone(), state: None });
        }
    }
    for volume in volumes {
        let key = key(volume.volume);
        let before = standing.get(&key);
        let state = (volume.state == ComplianceState::Violated)
            .then(|| volume.reason.clone().unwrap_or_else(|| "no reason is known".to_owned()));
        if before == state.as_ref() || volume.state == ComplianceState::Converging {
            continue;
        }
        events.push(match &state {
            Some(reason) => violated(volume, reason.clone()),
            None => kept(volume),
        });
        changes.push(ConditionChange { key, state });
    }
    (events, changes)
}

fn of_volume(volume: &VolumePlan, severity: EventSeverity, kind: EventKind, message: String) -> NewEvent {
    let object = volume.name.to_string();
    NewEvent {
        severity,
        kind,
        object_kind: ObjectKind::Volume,
        object,
        message,
        cause: None,
        next_step: None,
    }
}

fn violated(volume: &VolumePlan, reason: String) -> NewEvent {
    let message = format!("volume '{}' is not as its policy means it to be", volume.name);
    NewEvent {
        cause: Some(reason),
        next_step: Some(format!("`quarry why volume {}` explains it.", volume.name)),
        ..of_volume(volume, EventSeverity::Warning, EventKind::PolicyViolated, message)
    }
}

fn kept(volume: &VolumePlan) -> NewEvent {
    let message = format!("volume '{}' is as its policy means it to be", volume.name);
    of_volume(volume, EventSeverity::Info, EventKind::PolicyKept, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_changes_and_ends_is_told_once() {
        let volume = |state, reason: &str| VolumePlan {
            volume: VolumeId::from_random(1),
            name: "v".parse().unwrap(),
            state,
            reason: Some(reason.to_owned()),
            lag_s: 0,
        };
        let mut standing = BTreeMap::new();
        let mut kinds = Vec::new();
        for (state, reason) in [
            (ComplianceState::Converging, ""),
            (ComplianceState::Violated, "tier: not yet"),
            (ComplianceState::Violated, "tier: not yet"),
            (ComplianceState::Violated, "quota: the pool is full"),
            (ComplianceState::Converging, ""),
            (ComplianceState::Compliant, ""),
            (ComplianceState::Compliant, ""),
        ] {
            let (events, changes) = compare(&standing, &[volume(state, reason)], |_| true);
            kinds.push(events.first().map(|event| event.kind));
            assert!(changes.iter().all(|change| is_of_policy(&change.key)));
            apply_changes(&mut standing, &changes);
        }
        let (begins, ends) = (Some(EventKind::PolicyViolated), Some(EventKind::PolicyKept));
        assert_eq!(kinds, [None, begins, None, begins, None, ends, None]);
        // Of a volume whose policy was taken away nothing stands any more; of one that is offline it does.
        let key = key(VolumeId::from_random(1));
        let standing = BTreeMap::from([(key.clone(), "tier: not yet".to_owned())]);
        let (events, changes) = compare(&standing, &[], |_| false);
        assert_eq!((events.len(), changes), (0, vec![ConditionChange { key, state: None }]));
        assert_eq!(compare(&standing, &[], |_| true).1, []);
    }
}
