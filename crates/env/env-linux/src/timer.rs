//! Timers in user space: a heap of deadlines that the driver looks at between completions.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use quarry_env::{Completer, Completion, completion};

/// Abandoned timers are looked for when the heap has grown to this size, and then at each doubling.
const SWEEP_MIN: usize = 1024;

struct Timer {
    deadline: Duration,
    /// Breaks ties in the order of creation.
    sequence: u64,
    completer: Completer<()>,
}

impl Timer {
    fn key(&self) -> (Duration, u64) {
        (self.deadline, self.sequence)
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[derive(Default)]
struct Heap {
    timers: BinaryHeap<Reverse<Timer>>,
    next_sequence: u64,
    sweep_at: usize,
}

/// The timers of one core.
#[derive(Default)]
pub(crate) struct Timers(RefCell<Heap>);

impl Timers {
    /// A completion that is done once [`Self::fire`] is called with a time at or behind `deadline`.
    pub(crate) fn at(&self, deadline: Duration) -> Completion<()> {
        let (completer, completion) = completion();
        let heap = &mut *self.0.borrow_mut();
        if heap.timers.len() >= heap.sweep_at.max(SWEEP_MIN) {
            heap.timers.retain(|Reverse(timer)| !timer.completer.is_abandoned());
            heap.sweep_at = heap.timers.len() * 2;
        }
        let sequence = heap.next_sequence;
        heap.next_sequence += 1;
        heap.timers.push(Reverse(Timer { deadline, sequence, completer }));
        completion
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.0.borrow().timers.peek().map(|Reverse(timer)| timer.deadline)
    }

    /// Completes every timer that is due, by deadline and then by creation.
    pub(crate) fn fire(&self, now: Duration) {
        loop {
            let mut heap = self.0.borrow_mut();
            match heap.timers.peek() {
                Some(Reverse(timer)) if timer.deadline <= now => {}
                _ => return,
            }
            let due = heap.timers.pop();
            drop(heap);
            if let Some(Reverse(timer)) = due {
                timer.completer.complete(());
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.borrow().timers.len()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn timers_fire_when_due_and_not_before() {
        let timers = Timers::default();
        let mut late = timers.at(Duration::from_millis(20));
        let mut early = timers.at(Duration::from_millis(10));
        assert_eq!(timers.next(), Some(Duration::from_millis(10)));
        timers.fire(Duration::from_millis(9));
        assert!((&mut early).now_or_never().is_none());
        timers.fire(Duration::from_millis(10));
        assert!(early.now_or_never().is_some());
        assert!((&mut late).now_or_never().is_none());
        timers.fire(Duration::from_millis(30));
        assert!(late.now_or_never().is_some());
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn abandoned_timers_do_not_pile_up() {
        let timers = Timers::default();
        let kept: Vec<_> = (0..100).map(|_| timers.at(Duration::from_secs(3600))).collect();
        for _ in 0..100_000 {
            drop(timers.at(Duration::from_secs(3600)));
        }
        assert!(timers.len() <= SWEEP_MIN, "{}", timers.len());
        timers.fire(Duration::from_secs(3600));
        assert!(kept.into_iter().all(|timer| timer.now_or_never().is_some()));
    }
}
