//! What was counted, wherever it is looked at.

use std::ops::AddAssign;
use std::time::Duration;

use crate::bucket::{BUCKETS, lower_bound_us};

/// How many latencies were in which bucket. Takes no memory as long as nothing was counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Distribution {
    /// Up to the last bucket with something in it.
    counts: Vec<u64>,
    total_us: u64,
}

impl Distribution {
    pub(crate) fn new(counts: impl Iterator<Item = u64>, total_us: u64) -> Self {
        let mut counts: Vec<u64> = counts.collect();
        while counts.last() == Some(&0) {
            counts.pop();
        }
        Self { counts, total_us }
    }

    /// From pairs of a bucket and its count; those of buckets that there are not are left out.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (usize, u64)>, total: Duration) -> Self {
        let mut counts = vec![0; BUCKETS];
        for (bucket, count) in pairs {
            if let Some(known) = counts.get_mut(bucket) {
                *known += count;
            }
        }
        Self::new(counts.into_iter(), total.as_micros() as u64)
    }

    /// Buckets with something in them, and how much.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// How many latencies were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.total_us)
    }

    /// Their mean; `None` of nothing.
    pub fn mean(&self) -> Option<Duration> {
        let count = self.count();
        (count > 0).then(|| Duration::from_nanos((self.total_us as u128 * 1000 / u128::from(count)) as u64))
    }

    /// How many were shorter than a power of two of microseconds: exact.
    pub fn below_power(&self, exponent: u32) -> u64 {
        let bound = 1 << exponent;
        self.pairs().filter(|(bucket, _)| lower_bound_us(*bucket) < bound).map(|(_, count)| count).sum()
    }

    /// The latency that a share `quantile` of all is not above, as if those of a bucket were spread evenly over it. `None` of nothing.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let wanted = (self.count() as f64 * quantile.clamp(0.0, 1.0)).max(1.0);
        let mut before = 0;
        for (bucket, count) in self.pairs() {
            if (before + count) as f64 >= wanted {
                let (lower, upper) = (lower_bound_us(bucket), lower_bound_us(bucket + 1));
                let within = (wanted - before as f64) / count as f64;
                let us = lower as f64 + (upper - lower) as f64 * within;
                return Some(Duration::from_nanos((us * 1000.0) as u64));
            }
            before += count;
        }
        None
    }

    /// What was counted since `earlier`, a former look at the same; everything when that is no former look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bucket: usize| earlier.counts.get(bucket).copied().unwrap_or(0);
        let is_later = earlier.counts.len() <= self.counts.len()
            && self.counts.iter().enumerate().all(|(bucket, count)| *count >= before(bucket));
        if !is_later {
            return self.clone();
        }
        let counts = self.counts.iter().enumerate().map(|(bucket, count)| count - before(bucket));
        Self::new(counts, self.total_us.wrapping_sub(earlier.total_us))
    }
}

impl AddAssign<&Distribution> for Distribution {
    fn add_assign(&mut self, other: &Distribution) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total_us = self.total_us.wrapping_add(other.total_us);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Histogram;

    fn of(latencies: &[u64]) -> Distribution {
        let histogram = Histogram::default();
        latencies.iter().for_each(|us| histogram.record(Duration::from_micros(*us)));
        histogram.distribution()
    }

    #[test]
    fn nothing_has_no_quantile_and_no_mean() {
        let nothing = of(&[]);
        assert_eq!((nothing.count(), nothing.mean(), nothing.quantile(0.5)), (0, None, None));
        assert_eq!(nothing, Distribution::default());
    }

    #[test]
    fn what_is_below_a_power_of_two_is_exact() {
        let some = of(&[0, 15, 16, 17, 1023, 1024, 70_000_000]);
        assert_eq!([some.below_power(4), some.below_power(10), some.below_power(11)], [2, 5, 6]);
        assert_eq!(some.below_power(26), 7, "what is beyond the last bound is in the last bucket");
    }

    proptest! {
        #[test]
        fn quantiles_are_as_near_as_a_bucket_is_wide(
            mut latencies in prop::collection::vec(0u64..60_000_000, 1..300), quantile in 0.0f64..=1.0
        ) {
            let found = of(&latencies).quantile(quantile).unwrap().as_nanos() as f64 / 1000.0;
            latencies.sort_unstable();
            let rank = ((latencies.len() as f64 * quantile).max(1.0).ceil() as usize).min(latencies.len());
            let exact = latencies[rank - 1] as f64;
            prop_assert!(found >= exact * 0.8 - 1.0 && found <= exact * 1.25 + 1.0, "{found} for {exact}");
        }

        #[test]
        fn sums_and_differences_are_exact(
            first in prop::collection::vec(0u64..1 << 30, 0..50), second in prop::collection::vec(0u64..1 << 30, 0..50)
        ) {
            let (before, more) = (of(&first), of(&second));
            let all = of(&[first, second].concat());
            let mut sum = before.clone();
            sum += &more;
            prop_assert_eq!(&sum, &all);
            prop_assert_eq!(all.since(&before), more);
            prop_assert_eq!(&Distribution::from_pairs(all.pairs(), all.total()), &all);
        }
    }
}
