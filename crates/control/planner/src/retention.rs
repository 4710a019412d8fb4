//! Which snapshots of a schedule are kept.
//!
//! The snapshots stand in the order in which they were taken, whatever their slots say. Each rule cuts them into stretches that
//! belong to one of its own slots (a daily rule: to one day) and is represented by the first of each stretch; of these it keeps the
//! newest so many. What no rule keeps can go, but never the newest of all.
//!
//! A clock that goes back begins new stretches; one that jumps forward adds one. Neither makes anything older than it is.

use quarry_api_types::SnapshotSchedule;

use crate::calendar::slot_until;
use crate::mark::Slot;

/// Why a snapshot is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptBy {
    /// Index of the rule in the schedule.
    pub rule: usize,
    /// The newest that the rule keeps is 1.
    pub rank: u32,
}

/// Of snapshots with these slots, the oldest first, what keeps each. Empty: no rule does.
pub fn kept_by(schedule: &SnapshotSchedule, taken: &[Slot]) -> Vec<Vec<KeptBy>> {
    let zone = schedule.time_zone.zone();
    let mut kept = vec![Vec::new(); taken.len()];
    for (rule_index, rule) in schedule.rules.iter().enumerate() {
        let own = |slot: &Slot| slot_until(rule, &zone, slot.time());
        let mut before = None;
        let mut first_of_stretches = Vec::new();
        for (index, slot) in taken.iter().enumerate() {
            let stretch = own(slot);
            if index == 0 || stretch != before {
                first_of_stretches.push(index);
            }
            before = stretch;
        }
        for (index, rank) in first_of_stretches.into_iter().rev().zip(1..=rule.keep) {
            kept[index].push(KeptBy { rule: rule_index, rank });
        }
    }
    kept
}

/// Indices of the snapshots that can go, the oldest first.
pub fn expired(schedule: &SnapshotSchedule, taken: &[Slot]) -> Vec<usize> {
    if schedule.rules.is_empty() {
        return Vec::new();
    }
    let newest = taken.len().saturating_sub(1);
    let kept = kept_by(schedule, taken);
    (0..newest).filter(|&index| kept[index].is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(rules: &str) -> SnapshotSchedule {
        serde_json::from_str(&format!(r#"{{"time_zone":"Europe/Berlin","rules":[{rules}]}}"#)).unwrap()
    }

    fn slot(text: &str) -> Slot {
        Slot::at(text.parse().unwrap())
    }

    #[test]
    fn each_rule_keeps_the_first_of_each_of_its_stretches() {
        let schedule = schedule(r#"{"every":"15m","keep":2},{"every":"1h","keep":2}"#);
        let taken: Vec<Slot> = ["10:45", "11:00", "11:15", "11:30", "11:45", "12:00", "12:15"]
            .iter()
            .map(|time| slot(&format!("2026-11-21T{time}:00Z")))
            .collect();
        // The hours keep 11:00 and 12:00, the quarters 12:00 and 12:15.
        assert_eq!(expired(&schedule, &taken), [0, 2, 3, 4]);
        assert_eq!(kept_by(&schedule, &taken)[5], [KeptBy { rule: 0, rank: 2 }, KeptBy { rule: 1, rank: 1 }]);
    }

    #[test]
    fn a_clock_that_jumps_forward_costs_one_snapshot_of_each_rule() {
        let schedule = schedule(r#"{"every":"1h","keep":5}"#);
        let mut taken: Vec<Slot> = (0..5).map(|hour| Slot(hour * 3600)).collect();
        taken.push(slot("2090-01-01T00:00:00Z"));
        assert_eq!(expired(&schedule, &taken), [0]);
    }

    #[test]
    fn after_a_clock_went_back_new_snapshots_count_beside_the_old_ones() {
        let schedule = schedule(r#"{"every":"1h","keep":4}"#);
        let hour = |hour: i64| Slot(hour * 3600);
        assert_eq!(expired(&schedule, &[hour(9), hour(10), hour(11), hour(9), hour(10)]), [0]);
    }

    proptest! {
        #[test]
        fn no_more_than_the_rules_keep_and_never_without_the_newest(
            slots in prop::collection::vec(0_i64..4_000_000, 0..80),
            (quarters, days) in (1_u32..10, 1_u32..5),
        ) {
            let rules = format!(r#"{{"every":"15m","keep":{quarters}}},{{"every":"1d","keep":{days}}}"#);
            let schedule = schedule(&rules);
            let mut taken: Vec<Slot> = slots.into_iter().map(Slot).collect();
            for _ in 0..3 {
                let gone = expired(&schedule, &taken);
                prop_assert!(taken.is_empty() || !gone.contains(&(taken.len() - 1)));
                let before = taken.len();
                let mut index = 0;
                taken.retain(|_| { index += 1; !gone.contains(&(index - 1)) });
                prop_assert_eq!(taken.len(), before - gone.len());
                prop_assert!(taken.len() as u32 <= quarters + days + 1);
            }
        }
    }
}
