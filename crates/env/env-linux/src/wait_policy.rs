//! When to let completions gather before waking up: many small requests become cheaper by half when they are handled
//! in batches, but a lone request, or large ones, would only become slower.

use std::time::Duration;

/// Wait until `completions` have arrived; after `wait_us` one is enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Batch {
    pub completions: u32,
    pub wait_us: u32,
}

impl Batch {
    /// [`Self::wait_us`] as a duration.
    pub(crate) fn wait(self) -> Duration {
        Duration::from_micros(self.wait_us.into())
    }
}

/// Fewer disk operations in flight than this never wait for each other.
const IN_FLIGHT_MIN: usize = 8;
/// Operations that move more than this on average are large, and do not wait.
const BYTES_PER_OPERATION_MAX: u64 = 16 << 10;
/// Most completions to wait for; more do not become cheaper, only later.
const COMPLETIONS_MAX: u32 = 32;
/// Longest wait for a batch.
const WAIT_US: u32 = 30;
/// Weight of the past against one wake-up: 7 to 1.
const DECAY_SHIFT: u32 = 3;
/// Fixed point of the averages.
const SCALE_SHIFT: u32 = 8;

/// Remembers what recent wake-ups brought. Averages are exponential and in fixed point.
#[derive(Default)]
pub(crate) struct WaitPolicy {
    operations_scaled: u64,
    bytes_scaled: u64,
}

impl WaitPolicy {
    /// Learns what one wake-up brought.
    pub(crate) fn observe(&mut self, operations: u32, bytes: u64) {
        if operations > 0 {
            self.operations_scaled = mix(self.operations_scaled, u64::from(operations));
            self.bytes_scaled = mix(self.bytes_scaled, bytes);
        }
    }

    /// Whether and how to gather completions, with `in_flight` disk operations under way.
    pub(crate) fn decide(&self, in_flight: usize) -> Option<Batch> {
        let small = self.bytes_scaled <= self.operations_scaled * BYTES_PER_OPERATION_MAX;
        if in_flight < IN_FLIGHT_MIN || self.operations_scaled == 0 || !small {
            return None;
        }
        let half = u32::try_from(in_flight / 2).unwrap_or(u32::MAX);
        Some(Batch { completions: half.min(COMPLETIONS_MAX), wait_us: WAIT_US })
    }
}

fn mix(average_scaled: u64, value: u64) -> u64 {
    average_scaled - (average_scaled >> DECAY_SHIFT) + ((value << SCALE_SHIFT) >> DECAY_SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(wakeups: &[(u32, u64)]) -> WaitPolicy {
        let mut policy = WaitPolicy::default();
        for &(operations, bytes) in wakeups {
            policy.observe(operations, bytes);
        }
        policy
    }

    #[test]
    fn only_many_small_operations_wait_for_each_other() {
        let small = [(4, 4 * 4096); 100];
        let large = [(2, 2 * 131_072); 100];
        for (name, wakeups, in_flight, expected) in [
            ("nothing is known", &[][..], 64, None),
            ("one request at a time", &small[..], 1, None),
            ("few in flight", &small[..], 7, None),
            ("small and many", &small[..], 8, Some(4)),
            ("small and very many", &small[..], 1000, Some(COMPLETIONS_MAX)),
            ("large and many", &large[..], 64, None),
        ] {
            let batch = after(wakeups).decide(in_flight);
            assert_eq!(batch.map(|batch| batch.completions), expected, "{name}");
        }
    }

    #[test]
    fn a_change_of_load_is_noticed_within_a_few_wakeups() {
        let mut policy = after(&[(4, 4 * 4096); 100]);
        let wakeups = (1..100).find(|_| {
            policy.observe(4, 4 * 131_072);
            policy.decide(32).is_none()
        });
        assert!(wakeups.is_some_and(|wakeups| wakeups <= 4), "{wakeups:?}");
        let wakeups = (1..100).find(|_| {
            policy.observe(4, 4 * 4096);
            policy.decide(32).is_some()
        });
        assert!(wakeups.is_some_and(|wakeups| wakeups <= 20), "{wakeups:?}");
    }

    #[test]
    fn wakeups_without_operations_teach_nothing() {
        let mut policy = after(&[(4, 4 * 4096); 10]);
        (0..1000).for_each(|_| policy.observe(0, 0));
        assert!(policy.decide(32).is_some());
    }
}
