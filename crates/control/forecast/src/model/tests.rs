use proptest::prelude::*;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::crossing::crossing;

const GIB: f64 = (1u64 << 30) as f64;

fn hours(values: Vec<f64>) -> Even {
    Even { first_s: 1_795_305_600, step_s: 3600, values }
}

/// Something like noise of a normal distribution, of deviation one.
fn noise(random: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| random.random_range(0.0..1.0)).sum::<f64>() - 6.0
}

/// A pool that fills by `growth` an hour, more by day than at night, with noise.
fn filling(count: usize, growth: f64, noise_of: f64, seed: u64) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let value = |hour: usize, random: &mut ChaCha8Rng| {
        let day = (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
        100.0 * GIB + growth * hour as f64 + 3.0 * GIB * day + noise_of * noise(random)
    };
    (0..count).map(|hour| value(hour, &mut random)).collect()
}

#[test]
fn the_true_time_lies_in_the_interval() {
    let (growth, runs) = (0.25 * GIB, 40);
    for days in [4, 14, 30] {
        let (mut inside, mut near) = (0, 0);
        for seed in 0..runs {
            let history = hours(filling(days * 24, growth, GIB, seed));
            let count = history.values.len();
            let expected = expect(&history, Seasons::OfHours, count * 4).unwrap();
            // 300 hours from the end of the history; the season of that hour is in it too.
            let level = 100.0 * GIB + growth * (count + 300) as f64;
            let truth = filling(count + 400, growth, 0.0, 0);
            let truth = truth[count..].iter().position(|value| *value >= level).unwrap();
            let found = crossing(&expected, level);
            // A level that the season makes it touch is reached within a day of the line.
            let holds = found.earliest.is_none_or(|earliest| earliest <= truth + 12)
                && found.latest.is_none_or(|latest| truth <= latest + 12);
            inside += u32::from(holds && found.earliest.is_some());
            near += u32::from(found.expected.is_some_and(|likeliest| likeliest.abs_diff(truth) < 75));
        }
        assert!(inside >= 38, "{days} days: {inside} of {runs} intervals hold the truth");
        assert!(near >= 36, "{days} days: {near} of {runs} are near it");
    }
}

#[test]
fn more_history_makes_the_interval_narrower() {
    let width = |days: usize| {
        let expected = expect(&hours(filling(days * 24, 0.25 * GIB, GIB, 7)), Seasons::OfHours, 200).unwrap();
        expected.high[199] - expected.low[199]
    };
    assert!(width(30) < width(4), "{} {}", width(30), width(4));
}

#[test]
fn what_does_not_grow_never_fills() {
    for seed in 0..20 {
        let expected = expect(&hours(filling(336, 0.0, 0.1 * GIB, seed)), Seasons::OfHours, 1344).unwrap();
        let found = crossing(&expected, 200.0 * GIB);
        assert_eq!((found.expected, found.latest), (None, None), "seed {seed}");
        let growth = expected.slope * 24.0 / GIB;
        assert!(growth.abs() < 0.2, "seed {seed}: {growth} GiB a day");
    }
    let flat = expect(&hours(vec![5.0; 100]), Seasons::OfHours, 10).unwrap();
    assert_eq!(flat, Expected { mean: vec![5.0; 10], low: vec![5.0; 10], high: vec![5.0; 10], slope: 0.0 });
    // What shrinks stops at nothing.
    let falling = (0..100).map(|hour| 100.0 - hour as f64).collect();
    let expected = expect(&hours(falling), Seasons::OfHours, 50).unwrap();
    assert!(expected.slope < 0.0 && expected.mean[49] == 0.0 && expected.low[49] == 0.0);
}

#[test]
fn a_load_comes_again_at_its_hour() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let load = |hour: usize, random: &mut ChaCha8Rng| {
        let is_work = (8..18).contains(&(hour % 24)) && hour / 24 % 7 < 5;
        let base = if is_work { 4000.0 } else { 500.0 };
        base + 50.0 * noise(random)
    };
    let history: Vec<f64> = (0..28 * 24).map(|hour| load(hour, &mut random)).collect();
    let expected = expect(&hours(history), Seasons::OfHours, 168).unwrap();
    for (hour, range) in [(12, 3000.0..5000.0), (3, 0.0..1500.0), (5 * 24 + 12, 0.0..1500.0)] {
        assert!(range.contains(&expected.mean[hour]), "hour {hour}: {}", expected.mean[hour]);
    }
}

#[test]
fn little_says_nothing() {
    assert_eq!(expect(&hours(vec![1.0; HISTORY_MIN - 1]), Seasons::OfHours, 10), None);
    let mut bad = vec![1.0; 100];
    bad[50] = f64::INFINITY;
    assert_eq!(expect(&hours(bad), Seasons::OfHours, 10), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_was_the_answer_is_in_order(
        kind in 0..5,
        count in HISTORY_MIN..400,
        steps in 1..400usize,
        seed: u64,
    ) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut walk = 0.0;
        let values: Vec<f64> = (0..count)
            .map(|at| {
                walk += random.random_range(-1.0..1.0);
                match kind {
                    0 => walk,
                    1 => if at == count / 2 { 1e15 } else { 0.0 },
                    2 => f64::from(random.random_range(0..3u8)) * 1e-300,
                    3 => if at > count / 3 { 1e300 } else { -1e300 },
                    _ => (at / 50) as f64 * 1e12,
                }
            })
            .collect();
        if let Some(expected) = expect(&hours(values), Seasons::OfDays, steps) {
            prop_assert_eq!(expected.mean.len(), steps);
            for step in 0..steps {
                let (low, mean, high) = (expected.low[step], expected.mean[step], expected.high[step]);
                prop_assert!(0.0 <= low && low <= mean && mean <= high, "{low} {mean} {high}");
            }
        }
    }
}
