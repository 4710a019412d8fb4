//! Which devices are slow beside their peers. Pure: figures in, verdicts out; `board` keeps the figures.
//!
//! A device is compared with those of its class in the same pool, which get the same writes and a share of the same reads. It must be
//! many times slower in the mean *and* at the 99th percentile: one long pause among thousands of requests moves only the mean, a
//! handful of slow requests among few only the percentile. It becomes suspect when two looks, one after the other, find it so, and is
//! well again after many that do not, at a lower bound: so it does not go to and fro.

use std::time::Duration;

use quarry_device::{DeviceClass, Latencies, Operation};
use quarry_histogram::Distribution;

/// Fewer requests than this in the window say nothing.
pub(crate) const SAMPLES_MIN: u64 = 32;
/// A device is slow when it takes so many times as long as its peers,
const SLOW_FACTOR: u32 = 6;
/// and no longer when it takes less than so many times as long.
const WELL_FACTOR: u32 = 3;
/// Below this mean nothing is slow: on a device that is that quick the differences are those of the machine.
const SLOW_MEAN_MIN: Duration = Duration::from_millis(1);
/// Looks, one after the other, that have to agree.
const LOOKS_TO_SUSPECT: u32 = 2;
const LOOKS_TO_CLEAR: u32 = 6;

/// How much slower a device is than its peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slowness {
    /// At what.
    pub operation: Operation,
    /// What it takes in the mean.
    pub mean: Duration,
    /// What 99 of 100 of its requests do not exceed.
    pub p99: Duration,
    /// What its peers take in the mean.
    pub peers_mean: Duration,
    /// What 99 of 100 of their requests do not exceed.
    pub peers_p99: Duration,
}

/// What is known of a device from the looks before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Record {
    /// How much slower it was when it became suspect; `None` when it is not.
    pub(crate) slow: Option<Slowness>,
    /// Looks, one after the other, that have found the contrary.
    looks: u32,
}

/// What one look compares.
pub(crate) struct Sample {
    pub(crate) class: DeviceClass,
    /// The last half minute.
    pub(crate) latencies: Latencies,
    pub(crate) record: Record,
}

const COMPARED: [Operation; 3] = [Operation::Read, Operation::Write, Operation::Flush];

/// The mean and the 99th percentile of enough requests.
fn figures(latencies: &Distribution) -> Option<(Duration, Duration)> {
    if latencies.count() < SAMPLES_MIN {
        return None;
    }
    Some((latencies.mean()?, latencies.quantile(0.99)?))
}

fn median(mut all: Vec<Duration>) -> Option<Duration> {
    all.sort_unstable();
    // The lower one of two: a device that is as bad as the one in question excuses nothing.
    all.get(all.len().checked_sub(1)? / 2).copied()
}

/// The typical figures of the devices with which one is compared.
fn peers(samples: &[Sample], own: usize, operation: Operation) -> Option<(Duration, Duration)> {
    let is_peer = |(index, sample): &(usize, &Sample)| {
        *index != own && sample.class == samples[own].class && sample.record.slow.is_none()
    };
    let figures: Vec<(Duration, Duration)> = samples
        .iter()
        .enumerate()
        .filter(is_peer)
        .filter_map(|(_, sample)| figures(sample.latencies.of(operation)))
        .collect();
    let (means, percentiles) = figures.into_iter().unzip();
    Some((median(means)?, median(percentiles)?))
}

/// How much slower a device is, if it is so slow that it counts.
fn slowness(samples: &[Sample], own: usize) -> Option<Slowness> {
    COMPARED.into_iter().find_map(|operation| {
        let (mean, p99) = figures(samples[own].latencies.of(operation))?;
        let (peers_mean, peers_p99) = peers(samples, own, operation)?;
        let is_slow =
            mean >= SLOW_MEAN_MIN && mean >= peers_mean * SLOW_FACTOR && p99 >= peers_p99 * SLOW_FACTOR;
        is_slow.then_some(Slowness { operation, mean, p99, peers_mean, peers_p99 })
    })
}

/// Whether a device that was slow is as quick as the others again. `None` when nothing can be said.
fn is_well(samples: &[Sample], own: usize, was: &Slowness) -> Option<bool> {
    let operation = was.operation;
    let (mean, _) = figures(samples[own].latencies.of(operation))?;
    // Without load on the others, what they took when it became suspect.
    let peers_mean =
        peers(samples, own, operation).map_or(was.peers_mean, |(mean, _)| mean.max(was.peers_mean));
    Some(mean < SLOW_MEAN_MIN / 2 || mean < peers_mean * WELL_FACTOR)
}

/// What is known of each device after one more look.
pub(crate) fn judge(samples: &[Sample]) -> Vec<Record> {
    let records = (0..samples.len()).map(|own| {
        let before = samples[own].record;
        let Some(was) = before.slow else {
            return match slowness(samples, own) {
                None => Record::default(),
                Some(now) if before.looks + 1 >= LOOKS_TO_SUSPECT => Record { slow: Some(now), looks: 0 },
                Some(_) => Record { slow: None, looks: before.looks + 1 },
            };
        };
        match is_well(samples, own, &was) {
            None => before,
            Some(false) => Record { looks: 0, ..before },
            Some(true) if before.looks + 1 >= LOOKS_TO_CLEAR => Record::default(),
            Some(true) => Record { looks: before.looks + 1, ..before },
        }
    });
    records.collect()
}

#[cfg(test)]
mod tests {
    use quarry_histogram::Histogram;

    use super::*;

    fn sample(reads: &[(u64, u64)], writes: &[(u64, u64)]) -> Sample {
        let mut latencies = Latencies::default();
        for (operation, groups) in [(Operation::Read, reads), (Operation::Write, writes)] {
            let histogram = Histogram::default();
            for &(count, micros) in groups {
                (0..count).for_each(|_| histogram.record(Duration::from_micros(micros)));
            }
            latencies.add(operation, &histogram.distribution());
        }
        Sample { class: DeviceClass::Ssd, latencies, record: Record::default() }
    }

    /// After so many looks at the same figures.
    fn looked(mut samples: Vec<Sample>, looks: usize) -> Vec<Sample> {
        for _ in 0..looks {
            let records = judge(&samples);
            samples.iter_mut().zip(records).for_each(|(sample, record)| sample.record = record);
        }
        samples
    }

    fn suspects(samples: &[Sample]) -> Vec<usize> {
        (0..samples.len()).filter(|&index| samples[index].record.slow.is_some()).collect()
    }

    #[test]
    fn a_device_far_slower_than_its_peers_is_suspect_after_two_looks() {
        let samples =
            || vec![sample(&[(500, 200)], &[]), sample(&[(60, 20_000)], &[]), sample(&[(500, 250)], &[])];
        assert_eq!(suspects(&looked(samples(), 1)), [0; 0]);
        let after = looked(samples(), 2);
        assert_eq!(suspects(&after), [1]);
        let slow = after[1].record.slow.unwrap();
        assert_eq!((slow.operation, slow.mean), (Operation::Read, Duration::from_millis(20)));
        assert!(slow.peers_mean < Duration::from_micros(260));
    }

    #[test]
    fn it_takes_enough_requests_peers_of_its_class_a_percentile_and_a_mean_and_real_time() {
        let quick = || sample(&[(500, 200)], &[]);
        let other_class = Sample { class: DeviceClass::Nvme, ..quick() };
        for (samples, why) in [
            (vec![quick(), sample(&[(SAMPLES_MIN - 1, 50_000)], &[])], "too few"),
            (vec![other_class, sample(&[(100, 50_000)], &[])], "no peer"),
            (vec![quick(), sample(&[(996, 200), (4, 2_000_000)], &[])], "a pause among many"),
            (vec![quick(), sample(&[(97, 200), (3, 4_000)], &[])], "a few of few"),
            (vec![sample(&[(500, 20)], &[]), sample(&[(500, 900)], &[])], "quick all the same"),
            (vec![quick(), sample(&[], &[(500, 50_000)])], "peers did something else"),
            (vec![sample(&[(99, 40_000)], &[]), sample(&[(99, 50_000)], &[])], "all are slow"),
        ] {
            assert_eq!(suspects(&looked(samples, 5)), [0; 0], "{why}");
        }
        let slow_writes = vec![sample(&[(99, 200)], &[(99, 300)]), sample(&[(99, 200)], &[(99, 9_000)])];
        let after = looked(slow_writes, 2);
        assert_eq!(after[1].record.slow.map(|slow| slow.operation), Some(Operation::Write));
    }

    #[test]
    fn a_suspect_is_well_only_after_many_good_looks_and_at_a_lower_bound() {
        let quick = || sample(&[(500, 1_000)], &[]);
        let mut samples = looked(vec![quick(), sample(&[(100, 20_000)], &[])], 2);
        assert_eq!(suspects(&samples), [1]);
        let mut shows = |groups: &[(u64, u64)], looks: usize| {
            samples[1].latencies = sample(groups, &[]).latencies;
            samples = looked(std::mem::take(&mut samples), looks);
            suspects(&samples).len()
        };
        assert_eq!(shows(&[(100, 5_000)], 20), 1, "better, but not as the others");
        assert_eq!(shows(&[(3, 100)], 20), 1, "too few to say");
        assert_eq!(shows(&[(100, 1_100)], 5), 1, "not for long enough");
        assert_eq!(shows(&[(100, 20_000)], 1), 1, "begins anew");
        assert_eq!(shows(&[(100, 1_100)], 5), 1);
        assert_eq!(shows(&[(100, 1_100)], 1), 0);
    }

    #[test]
    fn without_load_on_its_peers_it_is_compared_with_what_they_were() {
        let mut samples = looked(vec![sample(&[(500, 300)], &[]), sample(&[(100, 20_000)], &[])], 2);
        samples[0].latencies = Latencies::default();
        samples[1].latencies = sample(&[(100, 350)], &[]).latencies;
        assert_eq!(suspects(&looked(samples, 6)), [0; 0]);
    }
}
