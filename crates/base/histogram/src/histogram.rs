//! Counting on one core.

use std::cell::Cell;
use std::time::Duration;

use crate::Distribution;
use crate::bucket::{BUCKETS, bucket_of};

/// Latencies that were counted on one core.
pub struct Histogram {
    counts: [Cell<u64>; BUCKETS],
    total_us: Cell<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [const { Cell::new(0) }; BUCKETS], total_us: Cell::new(0) }
    }
}

impl Histogram {
    /// Counts one latency, in whole microseconds.
    #[inline]
    pub fn record(&self, latency: Duration) {
        self.record_us(latency.as_secs() * 1_000_000 + u64::from(latency.subsec_micros()));
    }

    /// Counts one latency.
    #[inline]
    pub fn record_us(&self, us: u64) {
        let count = &self.counts[bucket_of(us)];
        count.set(count.get() + 1);
        self.total_us.set(self.total_us.get().wrapping_add(us));
    }

    /// What was counted so far.
    pub fn distribution(&self) -> Distribution {
        Distribution::new(self.counts.iter().map(Cell::get), self.total_us.get())
    }
}
