//! How much is begun below and has not ended: little enough that what is promised to one volume does not wait behind others, as
//! much as keeps the devices busy.
//!
//! Without a latency target it is a fixed number. With one it becomes less quickly while too many of the target's requests take longer, and
//! more slowly while they do not.

use std::time::Duration;

use crate::cost::UNIT;

/// Units of cost that are under way at once when there is no target: sixteen requests of 4 KiB.
pub(crate) const WINDOW_DEFAULT: u64 = 20 * UNIT;
const WINDOW_MAX: u64 = 160 * UNIT;
const WINDOW_MIN: u64 = 2 * UNIT;
/// How often it is judged.
const JUDGED_EVERY_NS: u64 = 20_000_000;
/// Fewer samples than this say nothing.
const SAMPLES_MIN: u32 = 4;
/// One in so many may take longer than the target: a tail of its own every device has.
const SLOW_ONE_IN: u32 = 50;

/// See the module.
#[derive(Debug)]
pub(crate) struct Window {
    units: u64,
    has_target: bool,
    judged_ns: u64,
    samples: u32,
    slow: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { units: WINDOW_DEFAULT, has_target: false, judged_ns: 0, samples: 0, slow: 0 }
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
        self.units
    }

    /// A request of somebody with a target has taken so long. Says how large the window is from now on, when that was judged.
    pub(crate) fn note(&mut self, took: Duration, target: Duration, now_ns: u64) -> Option<u64> {
        self.samples += 1;
        self.slow += u32::from(took > target);
        if now_ns.saturating_sub(self.judged_ns) < JUDGED_EVERY_NS || self.samples < SAMPLES_MIN {
            return None;
        }
        let before = self.units;
        self.units = if self.slow * SLOW_ONE_IN > self.samples {
            (before / 4 * 3).max(WINDOW_MIN)
        } else {
            (before + UNIT / 2).min(WINDOW_MAX)
        };
        (self.judged_ns, self.samples, self.slow) = (now_ns, 0, 0);
        Some(self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shrinks_fast_while_a_target_is_missed_and_grows_slowly_while_it_is_met() {
        let mut window = Window::default();
        window.set_target(true);
        let target = Duration::from_micros(500);
        let mut now_ns = 0;
        let mut run = |window: &mut Window, took: Duration, rounds: u64| {
            for _ in 0..rounds * 10 {
                now_ns += JUDGED_EVERY_NS / 10;
                window.note(took, target, now_ns);
            }
        };
        run(&mut window, target * 2, 30);
        assert_eq!(window.units(), WINDOW_MIN);
        run(&mut window, target / 2, 5);
        assert!((WINDOW_MIN + 1..WINDOW_MIN + 4 * UNIT).contains(&window.units()));
        run(&mut window, target / 2, 1000);
        assert_eq!(window.units(), WINDOW_MAX);
        window.set_target(false);
        assert_eq!(window.units(), WINDOW_DEFAULT);
    }
}
