//! What is written where: the ranges of a disk that must not be written now.
//!
//! One table for all connections of the process to a disk. A range is in it for up to three reasons:
//! - *in flight*: a write or trim of it has been taken and not answered, on this connection or one that has ended;
//! - *unflushed*: it has been written and no flush has covered it, so its owner may have to write it again;
//! - *haunted*: a connection ended while a write or trim of it was on its way, which the server may still carry out.
//!
//! Invariant: ranges do not overlap. A request for a range that overlaps another waits, or takes its place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// A connection's number in the process.
pub type Owner = u32;

#[derive(Clone, Copy, Debug)]
struct Tracked {
    end: u64,
    owner: Owner,
    is_in_flight: bool,
    is_unflushed: bool,
    /// Zero when it is not.
    haunted_until: Duration,
}

impl Tracked {
    fn is_over(&self) -> bool {
        !self.is_in_flight && !self.is_unflushed && self.haunted_until.is_zero()
    }
}

/// Why a range cannot be written now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conflict {
    /// Something is on its way to it.
    InFlight,
    /// Something may be on its way to it until then.
    Haunted(Duration),
    /// The same owner has written it, and would write that again after a failure.
    Unflushed,
}

/// The table.
#[derive(Default, Debug)]
pub struct Ranges(BTreeMap<u64, Tracked>);

impl Ranges {
    fn overlapping(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, &Tracked)> {
        let start = range.start;
        let before = self.0.range(..range.end).rev();
        before.take_while(move |(_, tracked)| tracked.end > start).map(|(&at, tracked)| (at, tracked))
    }

    /// Takes a range for a write or trim. What another owner has not flushed there is given up: a range changes hands only
    /// when its content is not wanted any more.
    pub fn begin(&mut self, range: Range<u64>, owner: Owner, now: Duration) -> Result<(), Conflict> {
        for (_, tracked) in self.overlapping(&range) {
            if tracked.is_in_flight {
                return Err(Conflict::InFlight);
            }
            if tracked.haunted_until > now {
                return Err(Conflict::Haunted(tracked.haunted_until));
            }
            if tracked.is_unflushed && tracked.owner == owner {
                return Err(Conflict::Unflushed);
            }
        }
        let replaced: Vec<u64> = self.overlapping(&range).map(|(at, _)| at).collect();
        for at in replaced {
            self.0.remove(&at);
        }
        let tracked = Tracked {
            end: range.end,
            owner,
            is_in_flight: true,
            is_unflushed: false,
            haunted_until: Duration::ZERO,
        };
        self.0.insert(range.start, tracked);
        Ok(())
    }

    fn change(&mut self, start: u64, owner: Owner, change: impl FnOnce(&mut Tracked)) -> bool {
        let Some(tracked) = self.0.get_mut(&start).filter(|tracked| tracked.owner == owner) else {
            return false;
        };
        change(tracked);
        if tracked.is_over() {
            self.0.remove(&start);
        }
        true
    }

    /// The request for the range at `start` was answered; a write that succeeded is unflushed from now on.
    pub fn finish(&mut self, start: u64, owner: Owner, is_written: bool) {
        self.change(start, owner, |tracked| {
            tracked.is_in_flight = false;
            tracked.is_unflushed = is_written;
        });
    }

    /// Takes an unflushed range to write it again. False when it has changed hands: then it must not be.
    pub fn repeat(&mut self, start: u64, owner: Owner) -> bool {
        self.0.get(&start).is_some_and(|tracked| tracked.is_unflushed)
            && self.change(start, owner, |tracked| tracked.is_in_flight = true)
    }

    /// A flush has covered the range at `start`.
    pub fn flushed(&mut self, start: u64, owner: Owner) {
        self.change(start, owner, |tracked| tracked.is_unflushed = false);
    }

    /// The connection over which a request for the range at `start` was sent has ended, without an answer. Whether it
    /// `is_kept` for another connection or given up, the server may carry it out until then.
    pub fn haunt(&mut self, start: u64, owner: Owner, until: Duration, is_kept: bool) {
        self.change(start, owner, |tracked| {
            tracked.haunted_until = tracked.haunted_until.max(until);
            tracked.is_in_flight = is_kept;
        });
    }

    /// An owner goes away: what it had taken and what it would write again is given up.
    pub fn leave(&mut self, owner: Owner) {
        self.0.retain(|_, tracked| {
            if tracked.owner == owner {
                tracked.is_in_flight = false;
                tracked.is_unflushed = false;
            }
            !tracked.is_over()
        });
    }

    /// Whether something may still be on its way to any range.
    pub fn is_haunted(&self, now: Duration) -> bool {
        self.0.values().any(|tracked| tracked.haunted_until > now)
    }

    /// Forgets what haunts no more.
    pub fn sweep(&mut self, now: Duration) {
        self.0.retain(|_, tracked| {
            if tracked.haunted_until <= now {
                tracked.haunted_until = Duration::ZERO;
            }
            !tracked.is_over()
        });
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const LATER: Duration = Duration::from_secs(160);

    #[test]
    fn overlapping_writes_wait_for_each_other() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.begin(100..200, 1, NOW), Ok(()));
        for range in [0..101, 150..160, 199..300, 0..500] {
            assert_eq!(ranges.begin(range, 2, NOW), Err(Conflict::InFlight));
        }
        assert_eq!((ranges.begin(0..100, 1, NOW), ranges.begin(200..300, 2, NOW)), (Ok(()), Ok(())));
        ranges.finish(100, 1, true);
        assert_eq!(ranges.begin(150..160, 1, NOW), Err(Conflict::Unflushed), "its owner would undo it");
        ranges.flushed(100, 1);
        assert_eq!(ranges.begin(150..160, 1, NOW), Ok(()));
    }

    #[test]
    fn what_has_changed_hands_is_not_repeated() {
        let mut ranges = Ranges::default();
        ranges.begin(0..100, 1, NOW).expect("free");
        ranges.finish(0, 1, true);
        assert_eq!(ranges.begin(50..150, 2, NOW), Ok(()), "the other core's slot now");
        assert!(!ranges.repeat(0, 1));
        ranges.finish(50, 2, true);
        assert!(ranges.repeat(50, 2));
        assert_eq!(ranges.begin(0..60, 1, NOW), Err(Conflict::InFlight));
    }

    #[test]
    fn a_haunted_range_is_left_alone_until_its_time_is_over() {
        let mut ranges = Ranges::default();
        ranges.begin(0..100, 1, NOW).expect("free");
        ranges.haunt(0, 1, LATER, true);
        ranges.finish(0, 1, true);
        ranges.flushed(0, 1);
        ranges.leave(1);
        assert_eq!(ranges.begin(99..100, 2, NOW), Err(Conflict::Haunted(LATER)));
        ranges.sweep(NOW);
        assert!(!ranges.is_empty());
        assert_eq!(ranges.begin(99..100, 2, LATER), Ok(()));
        ranges.finish(99, 2, false);
        assert!(ranges.is_empty(), "it has taken the place of what was there");
    }
}
