use proptest::prelude::*;

use super::*;

/// 2026-11-22T00:00:00Z.
const START_S: u64 = 1_795_305_600;

fn key(object: u128) -> SeriesKey {
    SeriesKey { kind: ObjectKind::Volume, object: Uuid::from_u128(object), series: Series::Used }
}

fn put(history: &mut History, time_s: u64, value: f64) -> Recorded {
    history.record(time_s, &[(key(1), Sample::of(value))]).0
}

fn means(history: &History, resolution: Resolution) -> Vec<(u64, f64)> {
    history.points(&key(1), resolution, 0).map(|(begin, point)| (begin - START_S, point.mean())).collect()
}

#[test]
fn what_grows_older_becomes_coarser() {
    let mut history = History::default();
    for minute in 0..=2 * 24 * 60 {
        put(&mut history, START_S + minute * 60 + 7, minute as f64);
    }
    let minutes = means(&history, Resolution::Minute);
    assert_eq!((minutes.len(), minutes[239]), (240, (2 * 86400, 2880.0)));
    let quarters = means(&history, Resolution::QuarterHour);
    assert_eq!((quarters.len(), quarters[0], quarters[1]), (192, (0, 7.0), (900, 22.0)));
    assert_eq!(means(&history, Resolution::Hour)[1], (3600, 89.5));
    assert_eq!(means(&history, Resolution::Day), [(0, 719.5), (86400, 2159.5)]);
    let (_, day) = history.points(&key(1), Resolution::Day, 0).next().unwrap();
    assert_eq!((day.count(), day.min(), day.max()), (1440, 0.0, 1439.0));
    // What has not ended before a time is what is asked for from it on.
    let from = history.points(&key(1), Resolution::Day, START_S + 86400).count();
    assert_eq!(from, 1);
    for (back_s, resolution) in
        [(3600, Resolution::Minute), (86400, Resolution::QuarterHour), (2 * 86400, Resolution::QuarterHour)]
    {
        assert_eq!(history.resolution_since(START_S + 2 * 86400 - back_s), resolution);
    }
}

#[test]
fn a_mean_counts_each_request() {
    let mut history = History::default();
    for (value, count) in [(100.0, 1), (10.0, 9), (f64::NAN, 5), (77.0, 0)] {
        history.record(START_S, &[(key(1), Sample { value, count })]);
    }
    let (_, point) = history.points(&key(1), Resolution::Minute, 0).next().unwrap();
    assert_eq!((point.count(), point.mean()), (10, 19.0));
}

#[test]
fn a_clock_that_was_never_set_costs_nothing() {
    let mut history = History::default();
    for minute in 0..100 {
        put(&mut history, START_S + minute * 60, 1.0);
    }
    let before = means(&history, Resolution::Minute);
    for minute in 0..500 {
        assert_eq!(put(&mut history, minute * 60, 9.0), Recorded::ClockUnset);
    }
    assert_eq!(means(&history, Resolution::Minute), before);
}

#[test]
fn a_clock_that_goes_back_is_believed_after_an_hour() {
    let mut history = History::default();
    for minute in 0..300 {
        put(&mut history, START_S + minute * 60, 1.0);
    }
    // A little is set right without a word, and counts as the newest minute.
    assert_eq!(put(&mut history, START_S + 298 * 60, 3.0), Recorded::Kept);
    assert_eq!(means(&history, Resolution::Minute).last(), Some(&(299 * 60, 2.0)));
    // A clock that is wrong for a while costs nothing but that while.
    for minute in 0..59 {
        let behind_s = (299 - 100 - minute) * 60;
        assert_eq!(put(&mut history, START_S + (100 + minute) * 60, 9.0), Recorded::Behind(behind_s));
    }
    assert_eq!(put(&mut history, START_S + 300 * 60, 1.0), Recorded::Kept);
    assert_eq!(means(&history, Resolution::Hour).len(), 5);
    // One that stays is right.
    for minute in 0..59 {
        assert!(matches!(put(&mut history, START_S + (100 + minute) * 60, 9.0), Recorded::Behind(_)));
    }
    assert_eq!(put(&mut history, START_S + 159 * 60, 9.0), Recorded::WentBack(141 * 60));
    let minutes = means(&history, Resolution::Minute);
    assert_eq!(minutes.last(), Some(&(159 * 60, 9.0)));
    assert!(minutes.windows(2).all(|pair| pair[0].0 < pair[1].0));
    for minute in 160..260 {
        put(&mut history, START_S + minute * 60, 9.0);
    }
    let hours = means(&history, Resolution::Hour);
    assert_eq!(hours.iter().map(|(begin, _)| begin / 3600).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(hours[3].1, 9.0, "what was there of the time after it is gone");
    assert!(hours[2].1 > 1.0 && hours[2].1 < 9.0, "the hour in between has something of both");
}

#[test]
fn a_leap_forward_is_a_gap() {
    let mut history = History::default();
    for minute in 0..30 {
        put(&mut history, START_S + minute * 60, 1.0);
    }
    assert_eq!(put(&mut history, START_S + 100 * 366 * 86400, 5.0), Recorded::Kept);
    assert_eq!(put(&mut history, u64::MAX, 6.0), Recorded::Kept);
    assert_eq!(means(&history, Resolution::Minute).len(), 32);
    assert_eq!(means(&history, Resolution::Day).len(), 2);
}

#[test]
fn a_series_that_is_silent_makes_room_for_another() {
    let mut history = History::default();
    let all: Vec<_> = (0..SERIES_MAX as u128).map(|one| (key(one), Sample::of(1.0))).collect();
    history.record(START_S, &all);
    let new = [(key(1 << 64), Sample::of(1.0))];
    assert!(history.record(START_S + 60, &new).1.begun.is_empty(), "all of them are fed");
    assert_eq!(history.refused_samples(), 1);
    history.record(START_S + 2 * 86400, &all[1..]);
    let (_, changes) = history.record(START_S + 2 * 86400, &new);
    assert_eq!((changes.ended.len(), changes.begun.len(), history.series_count()), (1, 1, SERIES_MAX));
    assert_eq!(history.points(&key(0), Resolution::Minute, 0).count(), 0);
}

/// How far time goes between two samples, in minutes, and what is seen.
fn steps() -> impl Strategy<Value = Vec<(u64, u32, u64)>> {
    let gap = prop_oneof![20 => Just(1u64), 3 => 0..3u64, 2 => 3..100u64, 1 => 100..5000u64];
    prop::collection::vec((gap, 0..1000u32, 1..50u64), 1..1500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn coarser_points_say_what_the_samples_said(steps in steps()) {
        let mut history = History::default();
        let (mut time_s, mut all) = (START_S, Vec::new());
        for (gap, value, count) in steps {
            time_s += gap * 60;
            all.push((time_s, f64::from(value), count));
            history.record(time_s, &[(key(1), Sample { value: f64::from(value), count })]);
        }
        for &resolution in Resolution::ALL {
            let width = width_s(resolution);
            let points: Vec<_> = history.points(&key(1), resolution, 0).collect();
            prop_assert!(points.len() <= points_max(resolution));
            let is_open = |begin: u64| resolution != Resolution::Minute && begin + width > time_s / 60 * 60;
            let oldest = points.first().map_or(u64::MAX, |(begin, _)| *begin);
            let mut expected: BTreeMap<u64, (u64, f64, f64, f64)> = BTreeMap::new();
            for &(time_s, value, count) in &all {
                let begin = time_s / width * width;
                if begin >= oldest && !is_open(begin) {
                    let sum = expected.entry(begin).or_insert((0, 0.0, value, value));
                    *sum = (sum.0 + count, sum.1 + value * count as f64, sum.2.min(value), sum.3.max(value));
                }
            }
            prop_assert_eq!(points.len(), expected.len());
            for ((begin, point), (expected_begin, (count, total, min, max))) in points.iter().zip(expected) {
                prop_assert_eq!((*begin, point.count()), (expected_begin, count));
                prop_assert_eq!((point.min(), point.max()), (min, max));
                let mean = total / count as f64;
                prop_assert!((point.mean() - mean).abs() <= 1e-9 * mean.max(1.0));
            }
        }
    }

    #[test]
    fn no_clock_breaks_a_bound(
        times in prop::collection::vec(
            prop_oneof![
                4 => (START_S..START_S + 86400).boxed(),
                1 => (0..u64::MAX).boxed(),
                1 => (1_700_000_000..1_900_000_000u64).boxed()
            ],
            1..60,
        ),
        repeats in 1..70u64,
    ) {
        let mut history = History::default();
        for time_s in times {
            for minute in 0..repeats {
                history.record(time_s.saturating_add(minute * 60), &[(key(1), Sample::of(1.0))]);
            }
            for &resolution in Resolution::ALL {
                let points: Vec<_> = history.points(&key(1), resolution, 0).collect();
                prop_assert!(points.len() <= points_max(resolution));
                prop_assert!(history.rows[resolution as usize].len() <= points_max(resolution));
                prop_assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
                prop_assert!(points.iter().all(|(_, point)| point.mean() == 1.0 && point.count() > 0));
            }
        }
    }
}
