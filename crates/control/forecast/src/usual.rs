//! What is too much for a series, judged by its own past.

use augurs::outlier::{MADDetector, OutlierDetector};

/// Points of the past that are needed to judge.
pub const PAST_MIN: usize = 48;
/// How long the past must reach back.
const PAST_MIN_S: u64 = 24 * 60 * 60;
/// So many deviations above the median something is an outlier.
const DEVIATIONS: f64 = 8.0;
const DAY_S: u64 = 24 * 60 * 60;
/// What was this long before or after the time of day counts as having been at it.
const AROUND_S: u64 = 60 * 60;
/// So much above what was there at this time on a day before is too much.
const ABOVE_BEFORE: f64 = 1.25;
/// At the end of too much, this share of the bound.
const END_SHARE: f64 = 0.8;

/// Below what nothing is too much, whatever the past was: one that hardly moves must not make every tremble an event.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Floor {
    /// At least so many times the median.
    pub times: f64,
    /// At least so much above the median.
    pub above: f64,
}

/// What is usual, and what is not.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Usual {
    /// The median of the past.
    pub median: f64,
    /// What is too much.
    pub bound: f64,
}

impl Usual {
    /// Below this too much is over.
    pub fn end(&self) -> f64 {
        (self.bound * END_SHARE).max(self.median)
    }
}

/// Of points of the past in order of time. What was there at the same time on a day before is never too much: a backup at night is no
/// event each night. `None` when there is too little to judge by.
pub fn usual(past: &[(u64, f64)], now_s: u64, floor: Floor) -> Option<Usual> {
    let past: Vec<(u64, f64)> = past.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    let values: Vec<f64> = past.iter().map(|(_, value)| *value).collect();
    let reach_s = now_s.saturating_sub(past.first()?.0);
    if values.len() < PAST_MIN || reach_s < PAST_MIN_S {
        return None;
    }
    let median = median(&values);
    // It cannot judge what never moves; the floor can.
    let outlier = outlier_bound(&values).unwrap_or(median);
    let before = past
        .iter()
        .filter(|(time_s, _)| is_at_this_time_before(*time_s, now_s))
        .map(|(_, value)| value * ABOVE_BEFORE);
    let bounds = [outlier, median * floor.times, median + floor.above].into_iter().chain(before);
    Some(Usual { median, bound: bounds.fold(0.0, f64::max) })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn outlier_bound(values: &[f64]) -> Option<f64> {
    let detector = MADDetector::with_threshold(DEVIATIONS);
    let prepared = detector.preprocess(&[values]).ok()?;
    let found = detector.detect(&prepared).ok()?;
    found.cluster_band?.max.first().copied().filter(|bound| bound.is_finite())
}

fn is_at_this_time_before(time_s: u64, now_s: u64) -> bool {
    let age_s = now_s.saturating_sub(time_s);
    let off_s = (age_s + AROUND_S) % DAY_S;
    age_s + AROUND_S >= DAY_S && off_s <= 2 * AROUND_S
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const LATENCY: Floor = Floor { times: 2.0, above: 1000.0 };
    const QUARTER_S: u64 = 900;

    /// So many days of quarters, ending just before the second answer.
    fn past(days: u64, value: impl Fn(u64, &mut ChaCha8Rng) -> f64) -> (Vec<(u64, f64)>, u64) {
        let mut random = ChaCha8Rng::seed_from_u64(days);
        let begin_s = 20_000 * DAY_S;
        let points = (0..days * 96).map(|at| begin_s + at * QUARTER_S);
        (points.map(|time_s| (time_s, value(time_s, &mut random))).collect(), begin_s + days * DAY_S)
    }

    #[test]
    fn a_series_is_judged_by_its_own_past() {
        let (past, now_s) = past(4, |_, random| 5000.0 * random.random_range(0.7..1.4));
        let usual = usual(&past, now_s, LATENCY).unwrap();
        assert!((4500.0..5500.0).contains(&usual.median), "{usual:?}");
        assert!((10_000.0..20_000.0).contains(&usual.bound), "{usual:?}");
        assert!(past.iter().all(|(_, value)| *value < usual.end()), "{usual:?}");
    }

    #[test]
    fn what_hardly_moves_has_a_floor() {
        let (past, now_s) = past(2, |_, _| 100.0);
        let found = usual(&past, now_s, LATENCY).unwrap();
        assert_eq!(found, Usual { median: 100.0, bound: 1100.0 });
        let (never, now_s) = self::past(2, |_, _| 0.0);
        assert_eq!(usual(&never, now_s, Floor { times: 2.0, above: 5.0 }).unwrap().bound, 5.0);
    }

    #[test]
    fn what_comes_every_night_is_usual_at_night_alone() {
        let is_night = |time_s: u64| time_s % DAY_S < 2 * 3600;
        let slow = |time_s, random: &mut ChaCha8Rng| if is_night(time_s) { 9e4 } else { 2e3 } * random.random_range(0.9..1.1);
        let (past, midnight_s) = past(4, slow);
        let night = usual(&past, midnight_s + 3600, LATENCY).unwrap();
        assert!(night.bound > 1e5, "{night:?}");
        let noon = usual(&past, midnight_s - DAY_S / 2, LATENCY).unwrap();
        assert!(noon.bound < 1e4, "{noon:?}");
    }

    #[test]
    fn little_is_not_judged_by() {
        let (points, now_s) = past(4, |_, _| 1.0);
        assert_eq!(usual(&[], now_s, LATENCY), None);
        assert_eq!(usual(&points[..PAST_MIN - 1], now_s, LATENCY), None);
        assert_eq!(usual(&points[points.len() - 60..], now_s, LATENCY), None, "fifteen hours are no day");
        assert!(usual(&points[points.len() - 96..], now_s, LATENCY).is_some());
    }

    proptest::proptest! {
        #[test]
        fn nothing_breaks_it(values in proptest::collection::vec(proptest::num::f64::ANY, 0..120), now_s in 0..u64::MAX / 2) {
            let past: Vec<_> = values.iter().enumerate().map(|(at, value)| (at as u64 * QUARTER_S, *value)).collect();
            if let Some(usual) = usual(&past, now_s, LATENCY) {
                proptest::prop_assert!(!usual.bound.is_nan() && usual.bound >= 0.0);
            }
        }
    }
}
