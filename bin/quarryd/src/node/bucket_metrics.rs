//! Figures of buckets that are devices of pools: what was asked of their servers.

use quarry_object_disk::{BucketStats, Buckets};

use super::exposition::{Family, labels, put};

const REQUESTS: Family = (
    "quarry_bucket_requests_total",
    "counter",
    "Requests to the server of a bucket that is a device: get, put, delete; those that were sent again included.",
);
const FAILED: Family = (
    "quarry_bucket_failed_attempts_total",
    "counter",
    "Of these, those that were not answered or answered with an error that may pass.",
);
const BYTES: Family = ("quarry_bucket_bytes_total", "counter", "Bytes read from and written to a bucket.");

/// One of the figures.
type Value = fn(&BucketStats) -> u64;

pub(super) fn put_buckets(text: &mut String, buckets: &Buckets) {
    let stats = buckets.stats();
    let samples = |kinds: &[(&str, Value)]| {
        let mut samples = Vec::new();
        for (place, stats) in &stats {
            let by_kind = kinds
                .iter()
                .map(|(kind, value)| (labels(&[("device", place), ("operation", kind)]), value(stats)));
            samples.extend(by_kind);
        }
        samples.into_iter()
    };
    let requests: &[(&str, Value)] =
        &[("get", |stats| stats.gets), ("put", |stats| stats.puts), ("delete", |stats| stats.deletes)];
    put(text, REQUESTS, samples(requests));
    put(text, BYTES, samples(&[("read", |stats| stats.read_bytes), ("write", |stats| stats.written_bytes)]));
    put(
        text,
        FAILED,
        stats.iter().map(|(place, stats)| (labels(&[("device", place)]), stats.failed_attempts)),
    );
}
