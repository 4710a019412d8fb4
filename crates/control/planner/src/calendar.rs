//! When a rule wants a snapshot: its slots.
//!
//! Rules of up to an hour count in real time, so that they go on evenly through the hour that comes twice a year or not at all.
//! Longer ones count in the local time of their zone. A local time that does not exist (clocks are put forward) is taken as many
//! minutes later as are left out; one that comes twice (clocks are put back) is taken the first time. So a daily rule has exactly
//! one slot on each day.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use quarry_api_types::{Every, SnapshotRule, SnapshotSchedule, TimeOfDay, Weekday};

use crate::mark::Slot;

/// The latest slot of a rule that is not after `time`.
pub fn slot_until(rule: &SnapshotRule, zone: &TimeZone, time: Timestamp) -> Option<Slot> {
    around(rule, zone, time).into_iter().filter(|&slot| slot <= Slot::at(time)).max()
}

/// The first slot of a rule after `time`.
pub fn slot_after(rule: &SnapshotRule, zone: &TimeZone, time: Timestamp) -> Option<Slot> {
    around(rule, zone, time).into_iter().filter(|&slot| slot > Slot::at(time)).min()
}

/// The latest slot of any rule of a schedule that is not after `time`.
pub fn latest(schedule: &SnapshotSchedule, time: Timestamp) -> Option<Slot> {
    let zone = schedule.time_zone.zone();
    schedule.rules.iter().filter_map(|rule| slot_until(rule, &zone, time)).max()
}

/// The first slot of any rule of a schedule after `time`.
pub fn next(schedule: &SnapshotSchedule, time: Timestamp) -> Option<Slot> {
    let zone = schedule.time_zone.zone();
    schedule.rules.iter().filter_map(|rule| slot_after(rule, &zone, time)).min()
}

/// Slots of a rule near a point in time: at least one on each side of it, in no order.
fn around(rule: &SnapshotRule, zone: &TimeZone, time: Timestamp) -> Vec<Slot> {
    match rule.every {
        Every::Minutes(minutes) => evenly(i64::from(minutes) * 60, time),
        Every::Hours(1) => evenly(3600, time),
        every => {
            let at = rule.at.unwrap_or_default();
            let day = zone.to_datetime(time).date();
            let local = local_times(every, at, rule.on.unwrap_or_default(), day);
            local.into_iter().filter_map(|local| in_zone(zone, local)).collect()
        }
    }
}

fn evenly(seconds: i64, time: Timestamp) -> Vec<Slot> {
    let before = time.as_second().div_euclid(seconds) * seconds;
    vec![Slot(before), Slot(before + seconds)]
}

/// `Compatible` is what the head of this file says of local times that do not exist or come twice.
fn in_zone(zone: &TimeZone, local: DateTime) -> Option<Slot> {
    zone.to_ambiguous_timestamp(local).compatible().ok().map(Slot::at)
}

/// Local times of a rule, from before `day` until after it.
fn local_times(every: Every, at: TimeOfDay, on: Weekday, day: Date) -> Vec<DateTime> {
    let at_time = |days: Vec<Date>| days.into_iter().map(|day| day.to_datetime(at.to_civil())).collect();
    match every {
        Every::Minutes(_) | Every::Hours(_) => {
            let hours = i8::try_from(every.seconds() / 3600).unwrap_or(24).clamp(1, 24);
            let times = (0..24).step_by(hours as usize);
            days_near(day, -1..=1)
                .into_iter()
                .flat_map(|day| times.clone().map(move |hour| day.at(hour, 0, 0, 0)))
                .collect()
        }
        Every::Day => at_time(days_near(day, -2..=2)),
        Every::Week => {
            let is_right = |day: &Date| day.weekday() == to_civil(on);
            at_time(days_near(day, -8..=8).into_iter().filter(is_right).collect())
        }
        Every::Month => {
            let month = day.first_of_month();
            at_time((-1..=2).filter_map(|months| month.checked_add(months.months()).ok()).collect())
        }
        Every::Year => {
            let year = day.first_of_year();
            at_time((-1..=2).filter_map(|years| year.checked_add(years.years()).ok()).collect())
        }
    }
}

fn days_near(day: Date, days: std::ops::RangeInclusive<i64>) -> Vec<Date> {
    days.filter_map(|days| day.checked_add(SignedDuration::from_hours(24 * days)).ok()).collect()
}

fn to_civil(day: Weekday) -> jiff::civil::Weekday {
    match day {
        Weekday::Monday => jiff::civil::Weekday::Monday,
        Weekday::Tuesday => jiff::civil::Weekday::Tuesday,
        Weekday::Wednesday => jiff::civil::Weekday::Wednesday,
        Weekday::Thursday => jiff::civil::Weekday::Thursday,
        Weekday::Friday => jiff::civil::Weekday::Friday,
        Weekday::Saturday => jiff::civil::Weekday::Saturday,
        Weekday::Sunday => jiff::civil::Weekday::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> SnapshotRule {
        serde_json::from_str(json).unwrap()
    }

    /// The slots of a rule in `zone` after `from`, until `to`.
    fn slots(rule_json: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
        let (rule, zone) = (rule(rule_json), TimeZone::get(zone).unwrap());
        let (mut time, end): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
        let mut all = Vec::new();
        while let Some(slot) = slot_after(&rule, &zone, time).filter(|slot| slot.time() <= end) {
            assert_eq!(slot_until(&rule, &zone, slot.time()), Some(slot), "a slot is its own");
            time = slot.time();
            all.push(time.to_string());
        }
        all
    }

    #[test]
    fn a_daily_rule_has_one_slot_a_day_when_clocks_are_put_forward_and_back() {
        // Forward on 29 March 2026, 02:00 to 03:00; 02:30 does not exist and is taken at 03:30 summer time.
        let daily = r#"{"every":"1d","keep":1,"at":"02:30"}"#;
        assert_eq!(
            slots(daily, "Europe/Berlin", "2026-03-27T12:00:00Z", "2026-03-31T12:00:00Z"),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]
        );
        // Back on 25 October 2026, 03:00 to 02:00; 02:30 comes twice and is taken the first time.
        assert_eq!(
            slots(daily, "Europe/Berlin", "2026-10-23T12:00:00Z", "2026-10-27T12:00:00Z"),
            ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"]
        );
    }

    #[test]
    fn rules_up_to_an_hour_go_on_evenly_through_daylight_saving() {
        for (every, seconds) in [("15m", 900), ("1h", 3600)] {
            let json = format!(r#"{{"every":"{every}","keep":1}}"#);
            for (from, to) in [
                ("2026-10-24T22:00:00Z", "2026-10-25T04:00:00Z"),
                ("2026-03-28T22:00:00Z", "2026-03-29T04:00:00Z"),
            ] {
                assert_eq!(
                    slots(&json, "Europe/Berlin", from, to).len(),
                    6 * 3600 / seconds,
                    "{every} {from}"
                );
            }
        }
    }

    #[test]
    fn hours_count_from_midnight_of_their_zone() {
        let json = r#"{"every":"6h","keep":1}"#;
        assert_eq!(
            slots(json, "Europe/Berlin", "2026-03-28T20:00:00Z", "2026-03-29T23:00:00Z"),
            // 00:00 winter time, then 06:00, 12:00, 18:00 and 00:00 summer time.
            [
                "2026-03-28T23:00:00Z",
                "2026-03-29T04:00:00Z",
                "2026-03-29T10:00:00Z",
                "2026-03-29T16:00:00Z",
                "2026-03-29T22:00:00Z"
            ]
        );
    }

    #[test]
    fn weeks_months_and_years() {
        let weekly = r#"{"every":"1w","keep":1,"at":"23:15","on":"sunday"}"#;
        assert_eq!(
            slots(weekly, "America/New_York", "2026-11-01T00:00:00Z", "2026-11-16T12:00:00Z"),
            ["2026-11-02T04:15:00Z", "2026-11-09T04:15:00Z", "2026-11-16T04:15:00Z"]
        );
        assert_eq!(
            slots(r#"{"every":"1mo","keep":1}"#, "UTC", "2026-12-15T00:00:00Z", "2027-03-01T00:00:00Z"),
            ["2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"]
        );
        let yearly = r#"{"every":"1y","keep":1,"at":"12:00"}"#;
        assert_eq!(
            slots(yearly, "Asia/Tokyo", "2026-12-15T00:00:00Z", "2029-01-01T00:00:00Z"),
            ["2027-01-01T03:00:00Z", "2028-01-01T03:00:00Z"]
        );
    }

    #[test]
    fn a_day_that_a_zone_has_left_out_does_no_harm() {
        // Samoa has left out 30 December 2011; its time is taken on the day after, which has it already.
        let daily = r#"{"every":"1d","keep":1,"at":"02:00"}"#;
        let found = slots(daily, "Pacific/Apia", "2011-12-28T00:00:00Z", "2012-01-02T00:00:00Z");
        assert_eq!(
            found,
            [
                "2011-12-28T12:00:00Z",
                "2011-12-29T12:00:00Z",
                "2011-12-30T12:00:00Z",
                "2011-12-31T12:00:00Z",
                "2012-01-01T12:00:00Z"
            ]
        );
    }

    #[test]
    fn an_absurd_clock_has_slots_or_none_and_does_not_panic() {
        for json in [r#"{"every":"1d","keep":1}"#, r#"{"every":"1y","keep":1}"#, r#"{"every":"1h","keep":1}"#]
        {
            let rule = rule(json);
            for time in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
                for zone in ["UTC", "Asia/Tokyo"] {
                    let zone = TimeZone::get(zone).unwrap();
                    let (until, after) = (slot_until(&rule, &zone, time), slot_after(&rule, &zone, time));
                    assert!(until <= Some(Slot::at(time)) && after.is_none_or(|slot| slot > Slot::at(time)));
                }
            }
        }
    }
}
