//! From two looks at counters to what happens in a second, and how long it takes.

use std::time::Duration;

use quarry_api_types::{Latency, NodeStats, OperationStats, Timestamp, VolumeStats};
use quarry_histogram::{Distribution, bucket_of};

/// What has happened between two looks, or since the beginning where there was one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rate {
    /// Requests a second.
    pub per_second: f64,
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// Requests that failed.
    pub errors: u64,
    /// How long they took.
    pub latency: Distribution,
}

impl Rate {
    /// From the earlier to the later look, `seconds` apart.
    pub fn between(before: Option<&OperationStats>, now: &OperationStats, seconds: f64) -> Self {
        let zero = OperationStats::default();
        // What counts anew has counted from nothing.
        let before = before.filter(|before| before.operations <= now.operations).unwrap_or(&zero);
        let seconds = seconds.max(0.001);
        Self {
            per_second: (now.operations - before.operations) as f64 / seconds,
            bytes_per_second: now.bytes.saturating_sub(before.bytes) as f64 / seconds,
            errors: now.errors.saturating_sub(before.errors),
            latency: distribution(&now.latency).since(&distribution(&before.latency)),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.per_second += other.per_second;
        self.bytes_per_second += other.bytes_per_second;
        self.errors += other.errors;
        self.latency += &other.latency;
        self
    }
}

fn distribution(latency: &Latency) -> Distribution {
    let pairs = latency.buckets.iter().map(|(bound_us, count)| (bucket_of(*bound_us), *count));
    Distribution::from_pairs(pairs, Duration::from_micros(latency.total_us))
}

/// Seconds from one look to the next.
pub fn seconds_between(before: Timestamp, now: Timestamp) -> f64 {
    now.unix_ms().saturating_sub(before.unix_ms()) as f64 / 1000.0
}

/// The same volume in an earlier look.
pub fn volume_before<'s>(before: &'s NodeStats, now: &VolumeStats) -> Option<&'s VolumeStats> {
    before.volumes.iter().find(|known| known.volume_id == now.volume_id)
}

/// A latency for people.
pub fn short(latency: Option<Duration>) -> String {
    let Some(latency) = latency else { return "-".to_owned() };
    let us = latency.as_secs_f64() * 1e6;
    match us {
        us if us < 1000.0 => format!("{us:.0} us"),
        us if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

/// So many a second, for people.
pub fn count(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1e6 => format!("{:.2}M", rate / 1e6),
        rate if rate >= 10_000.0 => format!("{:.1}k", rate / 1e3),
        rate if rate > 0.0 && rate < 10.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

/// Bytes a second, for people.
pub fn bytes(per_second: f64) -> String {
    format!("{}/s", quarry_types::ByteSize(rounded(per_second as u64)))
}

/// Three digits of it: nobody reads more, and a rate has no more.
fn rounded(bytes: u64) -> u64 {
    let unit = (bytes.max(1).ilog2() / 10 * 10).min(60);
    let unit_bytes = 1u64 << unit;
    let digit = if bytes / unit_bytes >= 100 { unit_bytes } else { (unit_bytes / 10).max(1) };
    bytes / digit * digit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(operations: u64, bytes: u64) -> OperationStats {
        let latency = Latency { total_us: operations * 100, buckets: vec![(96, operations)] };
        OperationStats { operations, errors: operations / 100, bytes, latency }
    }

    #[test]
    fn two_looks_make_a_rate() {
        let rate = Rate::between(Some(&stats(1000, 4 << 20)), &stats(3000, 12 << 20), 2.0);
        assert_eq!((rate.per_second, rate.bytes_per_second, rate.errors), (1000.0, (4 << 20) as f64, 20));
        assert_eq!(rate.latency.count(), 2000);
        assert_eq!(short(rate.latency.mean()), "100 us");
        let anew = Rate::between(Some(&stats(3000, 1)), &stats(10, 5), 1.0);
        assert_eq!(anew.per_second, 10.0, "counters that begin anew make no negative rate");
    }

    #[test]
    fn rates_and_latencies_are_short() {
        assert_eq!([0.0, 2.5, 999.0, 12_345.0, 2e6].map(count), ["0", "2.5", "999", "12.3k", "2.00M"]);
        let latencies = [90, 2345, 23_456, 2_345_678].map(|us| short(Some(Duration::from_micros(us))));
        assert_eq!(latencies, ["90 us", "2.35 ms", "23 ms", "2.3 s"]);
        assert_eq!(short(None), "-");
    }
}
