//! How much is begun below and has not ended: little enough that what is promised to one volume does not wait behind others, as
//! much as keeps the devices busy.
//!
//! Without a latency target it is a fixed number. With one it follows, one by one, the requests of those who have the target: each that takes
//! longer makes it smaller by a part, each that does not makes it larger by so much less that it stays where it is when one in
//! a hundred takes longer. So it is the percentile that is kept, whether requests are many or few. (A stochastic approximation of a
//! quantile: Robbins and Monro, 1951.) While nobody with a target asks for anything it becomes larger with time.

use std::time::Duration;

use crate::cost::UNIT;

/// Units of cost that are under way at once when there is no target: sixteen requests of 4 KiB.
pub(crate) const WINDOW_DEFAULT: u64 = 20 * UNIT;
const WINDOW_MAX: f64 = 160.0 * UNIT as f64;
const WINDOW_MIN: f64 = 2.0 * UNIT as f64;
/// What is left of the window after one that has taken longer.
const SLOW_FACTOR: f64 = 0.75;
/// What it becomes after one that has not: ninety-nine of these make up for one that has.
const QUICK_FACTOR: f64 = 1.002_910;
/// Others hear of it so often, and at once when it becomes smaller.
const TOLD_EVERY_NS: u64 = 20_000_000;
/// When nobody with a target has asked for anything for so long, it doubles.
const IDLE_NS: u64 = 500_000_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Window {
    units: f64,
    has_target: bool,
    noted_ns: u64,
    told_ns: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { units: WINDOW_DEFAULT as f64, has_target: false, noted_ns: 0, told_ns: 0 }
    }
}

impl Window {
    /// Whether somebody on this core has a latency target.
    pub(crate) fn set_target(&mut self, has_target: bool) {
        if self.has_target != has_target {
            *self = Self { has_target, ..Self::default() };
        }
    }

    pub(crate) fn units(&self) -> u64 {
        self.units as u64
    }

    /// A request of somebody with a target has taken so long. Says how large the window is from now on, when others are to hear of that.
    pub(crate) fn note(&mut self, took: Duration, target: Duration, now_ns: u64) -> Option<u64> {
        let is_slow = took > target;
        self.units *= if is_slow { SLOW_FACTOR } else { QUICK_FACTOR };
        self.units = self.units.clamp(WINDOW_MIN, WINDOW_MAX);
        self.noted_ns = now_ns;
        if !is_slow && now_ns.saturating_sub(self.told_ns) < TOLD_EVERY_NS {
            return None;
        }
        self.told_ns = now_ns;
        Some(self.units())
    }

    /// Time has passed. Nobody holds others up who asks for nothing.
    pub(crate) fn pass(&mut self, now_ns: u64) {
        if self.has_target && now_ns.saturating_sub(self.noted_ns) >= IDLE_NS {
            self.units = (self.units * 2.0).min(WINDOW_MAX);
            self.noted_ns = now_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_micros(500);
    const STEP_NS: u64 = 2_000_000;

    struct Run {
        window: Window,
        now_ns: u64,
    }

    impl Run {
        fn new() -> Self {
            let mut window = Window::default();
            window.set_target(true);
            Self { window, now_ns: 0 }
        }

        fn note(&mut self, took: Duration) -> Option<u64> {
            self.now_ns += STEP_NS;
            self.window.note(took, TARGET, self.now_ns)
        }
    }

    #[test]
    fn it_shrinks_fast_while_a_target_is_missed_and_grows_slowly_while_it_is_met() {
        let mut run = Run::new();
        (0..10).for_each(|_| assert!(run.note(TARGET * 2).is_some(), "others hear of it at once"));
        assert_eq!(run.window.units(), WINDOW_MIN as u64);
        (0..100).for_each(|_| _ = run.note(TARGET));
        assert!((WINDOW_MIN as u64 + 1..WINDOW_MIN as u64 * 2).contains(&run.window.units()));
        (0..3000).for_each(|_| _ = run.note(TARGET));
        assert_eq!(run.window.units(), WINDOW_MAX as u64);
        run.window.set_target(false);
        assert_eq!(run.window.units(), WINDOW_DEFAULT);
    }

    #[test]
    fn it_stays_where_one_in_a_hundred_is_slow() {
        let after = |slow_one_in: u32| {
            let mut run = Run::new();
            (1..=2000).for_each(|number| _ = run.note(TARGET * (1 + u32::from(number % slow_one_in == 0))));
            run.window.units()
        };
        assert!(after(100).abs_diff(WINDOW_DEFAULT) <= 1, "{}", after(100));
        assert_eq!(after(50), WINDOW_MIN as u64);
        assert_eq!(after(200), (WINDOW_MAX * SLOW_FACTOR) as u64, "the last one was slow");
    }

    #[test]
    fn who_asks_for_nothing_holds_nobody_up() {
        let mut run = Run::new();
        (0..10).for_each(|_| _ = run.note(TARGET * 2));
        run.window.pass(run.now_ns + IDLE_NS - 1);
        assert_eq!(run.window.units(), WINDOW_MIN as u64);
        (1..=3).for_each(|half| run.window.pass(run.now_ns + half * IDLE_NS));
        assert_eq!(run.window.units(), WINDOW_MIN as u64 * 8);
        (4..20).for_each(|half| run.window.pass(run.now_ns + half * IDLE_NS));
        assert_eq!(run.window.units(), WINDOW_MAX as u64);
    }
}
