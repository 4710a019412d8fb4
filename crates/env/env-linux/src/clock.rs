//! The machine's clocks.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Clock, Completion};

use crate::timer::Timers;

/// `CLOCK_MONOTONIC` and `CLOCK_REALTIME`, with the timers of one core.
pub(crate) struct SystemClock {
    pub timers: Rc<Timers>,
    turn: Cell<Duration>,
}

impl SystemClock {
    pub fn new(timers: Rc<Timers>) -> Self {
        Self { timers, turn: Cell::new(monotonic()) }
    }

    /// A turn of the loop begins; says when.
    pub fn begin_turn(&self) -> Duration {
        let now = monotonic();
        self.turn.set(now);
        now
    }
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "both clocks exist on every Linux");
    // A wall clock before 1970 reads as 1970.
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec as u32)
}

/// Time since the machine's start; the same on every core.
pub(crate) fn monotonic() -> Duration {
    read(libc::CLOCK_MONOTONIC)
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        monotonic()
    }

    fn turn(&self) -> Duration {
        self.turn.get()
    }

    fn wall(&self) -> Duration {
        read(libc::CLOCK_REALTIME)
    }

    fn sleep(&self, duration: Duration) -> Completion<()> {
        self.timers.at(monotonic().saturating_add(duration))
    }
}
