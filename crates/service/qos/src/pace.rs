//! A rate, kept by everybody who shares it: a clock that runs ahead by what was taken.
//!
//! Who wants to take something *books* it, before it is due: then each has its place, also between cores, and a core that looks more
//! often gets no more. The clock lags behind the time by the allowance at most, so that what was not used is not saved for ever.

use std::sync::atomic::{AtomicU64, Ordering};

const NS_PER_S: u128 = 1_000_000_000;

/// So many a second, and so much at once after a pause. One atomic number: cores that share it take no lock.
#[derive(Debug)]
pub struct Pace {
    per_s: u64,
    allowance_ns: u64,
    /// When what is booked next may be taken.
    next_ns: AtomicU64,
}

impl Pace {
    /// A rate of `per_s` (> 0) from `now_ns` on. What `allowance_ns` gives may be taken at once after a pause; nothing is saved up yet.
    ///
    /// # Panics
    /// When the rate is 0.
    pub fn new(per_s: u64, allowance_ns: u64, now_ns: u64) -> Self {
        assert!(per_s > 0, "nothing would ever go on");
        Self { per_s, allowance_ns, next_ns: AtomicU64::new(now_ns) }
    }

    /// How many a second.
    pub fn per_s(&self) -> u64 {
        self.per_s
    }

    /// How long `amount` takes at this rate.
    fn time_ns(&self, amount: u64) -> u64 {
        (u128::from(amount) * NS_PER_S / u128::from(self.per_s)) as u64
    }

    /// Takes a place for `amount`; says when it is due.
    pub fn book(&self, amount: u64, now_ns: u64) -> u64 {
        let (time_ns, oldest_ns) = (self.time_ns(amount), now_ns.saturating_sub(self.allowance_ns));
        let mut next_ns = self.next_ns.load(Ordering::Relaxed);
        loop {
            let due_ns = next_ns.max(oldest_ns);
            let after_ns = due_ns.saturating_add(time_ns);
            let exchanged =
                self.next_ns.compare_exchange_weak(next_ns, after_ns, Ordering::Relaxed, Ordering::Relaxed);
            match exchanged {
                Ok(_) => return due_ns,
                Err(other_ns) => next_ns = other_ns,
            }
        }
    }

    /// Gives a place for `amount` back that is not needed.
    pub fn give_back(&self, amount: u64) {
        self.next_ns.fetch_sub(self.time_ns(amount), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_as_far_apart_as_the_rate_says_and_a_pause_gives_the_allowance() {
        let pace = Pace::new(1000, 3_000_000, 0);
        let booked: Vec<u64> = (0..3).map(|_| pace.book(1, 0)).collect();
        assert_eq!(booked, [0, 1_000_000, 2_000_000]);
        // After a long pause four are due at once, not a hundred.
        let now = 100_000_000;
        let due = (0..10).map(|_| pace.book(1, now)).filter(|&due| due <= now).count();
        assert_eq!(due, 4);
        let before = pace.book(5, now);
        pace.give_back(5);
        assert_eq!(pace.book(1, now), before);
    }

    #[test]
    fn cores_that_share_a_pace_get_no_more_than_it_gives() {
        let pace = std::sync::Arc::new(Pace::new(1_000_000, 0, 0));
        #[expect(clippy::disallowed_methods, reason = "a test of what threads share needs threads")]
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let pace = pace.clone();
                std::thread::spawn(move || (0..10_000).map(|_| pace.book(1, 0)).collect::<Vec<u64>>())
            })
            .collect();
        let mut all: Vec<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        all.sort_unstable();
        assert!(all.iter().enumerate().all(|(index, due)| *due == index as u64 * 1000));
    }

    proptest! {
        /// Whatever is taken when, as soon as it is due or later: no window holds more than rate, allowance and one request.
        #[test]
        fn no_stretch_of_time_holds_more_than_rate_and_allowance(
            per_s in 1u64..100_000,
            allowance_ms in 0u64..2000,
            takes in prop::collection::vec((1u64..64, 0u64..50_000_000), 1..100),
        ) {
            let pace = Pace::new(per_s, allowance_ms * 1_000_000, 0);
            let (mut now, mut taken) = (0u64, Vec::new());
            for (amount, pause) in takes {
                now += pause;
                now = now.max(pace.book(amount, now));
                taken.push((now, amount));
            }
            for (first, &(from, _)) in taken.iter().enumerate() {
                let mut sum = 0u64;
                for &(until, amount) in &taken[first..] {
                    let allowed = (u128::from(until - from) + u128::from(allowance_ms) * 1_000_000)
                        * u128::from(per_s) / NS_PER_S;
                    // What was taken before the last one; nanoseconds are rounded.
                    prop_assert!(u128::from(sum) <= allowed + 2, "{sum} > {allowed}");
                    sum += amount;
                }
            }
        }
    }
}
