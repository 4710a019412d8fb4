//! What a look at the figures adds to the history: counters that only rise become rates and latencies of the time between two looks.

use std::time::Duration;

use quarry_api_types::{ObjectKind, Pool, Series};
use quarry_device::{DeviceFigures, Operation};
use quarry_histogram::Distribution;
use quarry_history::{Sample, SeriesKey};
use quarry_volume::{FiguresSeen, Verb};
use uuid::Uuid;

/// A thing of which samples are taken.
#[derive(Clone, Copy)]
pub(super) struct Thing {
    pub(super) kind: ObjectKind,
    pub(super) id: Uuid,
}

impl Thing {
    fn sample(self, series: Series, sample: Sample) -> (SeriesKey, Sample) {
        (SeriesKey { kind: self.kind, object: self.id, series }, sample)
    }

    fn is(self, series: Series, value: f64) -> (SeriesKey, Sample) {
        self.sample(series, Sample::of(value))
    }

    fn mean(self, series: Series, latencies: &Distribution) -> (SeriesKey, Sample) {
        let value = latencies.mean().map_or(0.0, micros);
        self.sample(series, Sample { value, count: latencies.count() })
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Bytes of a pool: what is used of what hosts can use, and what its slots take.
pub(super) fn of_space(pool: &Pool) -> [(SeriesKey, Sample); 3] {
    let thing = Thing { kind: ObjectKind::Pool, id: pool.id.0 };
    let stored: u64 = pool.devices.iter().map(|device| device.used_bytes).sum();
    [
        thing.is(Series::Used, used_bytes(pool) as f64),
        thing.is(Series::Stored, stored as f64),
        thing.is(Series::Total, usable_bytes(pool) as f64),
    ]
}

/// What counts as used where a pool is compared with its levels.
pub(super) fn used_bytes(pool: &Pool) -> u64 {
    pool.capacity.used_bytes + pool.capacity.kept_bytes
}

/// What hosts can use of a pool.
pub(super) fn usable_bytes(pool: &Pool) -> u64 {
    pool.capacity.total_bytes.saturating_sub(pool.capacity.reserved_bytes)
}

/// What hosts have asked of a volume, or of all volumes of a pool, between two looks. Counters that have begun anew say nothing.
pub(super) fn of_requests(
    thing: Thing,
    before: &FiguresSeen,
    now: &FiguresSeen,
    elapsed: Duration,
) -> Vec<(SeriesKey, Sample)> {
    let (mut operations, mut bytes, mut errors) = (0, 0, 0);
    let (mut both, mut latencies) = (Distribution::default(), Vec::new());
    for verb in Verb::ALL {
        let (before, now) = (before.of(verb), now.of(verb));
        if now.latency.count() < before.latency.count()
            || now.errors < before.errors
            || now.bytes < before.bytes
        {
            return Vec::new();
        }
        let taken = now.latency.since(&before.latency);
        operations += taken.count();
        bytes += now.bytes - before.bytes;
        errors += now.errors - before.errors;
        let series = match verb {
            Verb::Read => Series::ReadLatency,
            Verb::Write => Series::WriteLatency,
            _ => continue,
        };
        both += &taken;
        latencies.push(thing.mean(series, &taken));
    }
    let mut all = rates(thing, operations, bytes, errors, elapsed);
    if thing.kind == ObjectKind::Volume {
        let p99 = both.quantile(0.99).map_or(0.0, micros);
        latencies.push(thing.sample(Series::LatencyP99, Sample { value: p99, count: both.count() }));
        all.extend(latencies);
    }
    all
}

/// What a device has done between two looks.
pub(super) fn of_device(
    id: Uuid,
    before: &DeviceFigures,
    now: &DeviceFigures,
    elapsed: Duration,
) -> Vec<(SeriesKey, Sample)> {
    let thing = Thing { kind: ObjectKind::Device, id };
    let counted = |figures: &DeviceFigures| {
        let all =
            Operation::ALL.iter().map(|operation| figures.latencies.of(*operation).count()).sum::<u64>();
        (all, figures.stats.read_bytes + figures.stats.written_bytes, figures.stats.errors)
    };
    let ((operations, bytes, errors), (operations_before, bytes_before, errors_before)) =
        (counted(now), counted(before));
    if operations < operations_before || bytes < bytes_before || errors < errors_before {
        return Vec::new();
    }
    let taken = now.latencies.since(&before.latencies);
    let mut all =
        rates(thing, operations - operations_before, bytes - bytes_before, errors - errors_before, elapsed);
    all.push(thing.mean(Series::ReadLatency, taken.of(Operation::Read)));
    all.push(thing.mean(Series::WriteLatency, taken.of(Operation::Write)));
    all
}

fn rates(
    thing: Thing,
    operations: u64,
    bytes: u64,
    errors: u64,
    elapsed: Duration,
) -> Vec<(SeriesKey, Sample)> {
    let seconds = elapsed.as_secs_f64();
    if seconds <= 0.0 {
        return Vec::new();
    }
    vec![
        thing.is(Series::Operations, operations as f64 / seconds),
        thing.is(Series::Throughput, bytes as f64 / seconds),
        thing.is(Series::Errors, errors as f64 / seconds * 60.0),
    ]
}

#[cfg(test)]
mod tests {
    use quarry_histogram::Histogram;

    use super::*;

    fn latencies(all: &[(u64, u64)]) -> Distribution {
        let histogram = Histogram::default();
        for &(us, count) in all {
            (0..count).for_each(|_| histogram.record(Duration::from_micros(us)));
        }
        histogram.distribution()
    }

    fn device(reads: &[(u64, u64)], bytes: u64) -> DeviceFigures {
        let mut figures = DeviceFigures::default();
        figures.latencies.add(Operation::Read, &latencies(reads));
        figures.stats.read_bytes = bytes;
        figures
    }

    #[test]
    fn counters_become_rates_of_the_time_between() {
        let id = Uuid::from_u128(1);
        let (before, now) = (device(&[(100, 5)], 5000), device(&[(100, 5), (300, 60)], 65000));
        let found = of_device(id, &before, &now, Duration::from_secs(30));
        let value = |series| {
            let found = found.iter().find(|(key, _)| key.series == series);
            found.map(|(_, sample)| (sample.value, sample.count))
        };
        assert_eq!(value(Series::Operations), Some((2.0, 1)));
        assert_eq!(value(Series::Throughput), Some((2000.0, 1)));
        assert_eq!(value(Series::ReadLatency), Some((300.0, 60)));
        assert_eq!(value(Series::WriteLatency), Some((0.0, 0)), "which is no sample");
        assert!(of_device(id, &now, &before, Duration::from_secs(30)).is_empty(), "it was opened anew");
        let at_once = of_device(id, &before, &now, Duration::ZERO);
        assert!(at_once.iter().all(|(_, sample)| sample.value.is_finite()));
    }
}
