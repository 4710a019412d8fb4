//! What hosts do with a volume, counted where it is done.
//!
//! Invariants:
//! - Counting takes no lock and, but for the first request of a sort, no memory: a volume that nobody uses costs a few words.
//! - A request is counted when it ends. One that its host gives up is not, and is no longer in flight.
//! - Times are those of the turns of the core's loop ([`quarry_env::Clock::turn`]).

use std::cell::{Cell, OnceCell};
use std::ops::AddAssign;
use std::time::Duration;

use quarry_histogram::{Distribution, Histogram};

/// What hosts ask a volume for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verb {
    /// Reads.
    Read,
    /// Writes, atomic ones and those after a comparison included.
    Write,
    /// Writes of zeroes that carry no data.
    Zero,
    /// Discards.
    Discard,
    /// Flushes.
    Flush,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Zero, Self::Discard, Self::Flush];

    /// Its name for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Zero => "zero",
            Self::Discard => "discard",
            Self::Flush => "flush",
        }
    }
}

/// The requests of one verb.
#[derive(Default)]
struct Counted {
    latency: Histogram,
    bytes: Cell<u64>,
    errors: Cell<u64>,
}

/// What hosts have done with a volume since it was opened.
#[derive(Default)]
pub struct Figures {
    verbs: [OnceCell<Box<Counted>>; Verb::ALL.len()],
    in_flight: Cell<u32>,
}

/// A request that is in flight until this is dropped.
pub struct InFlight<'a>(&'a Figures);

impl Figures {
    /// A request begins.
    pub fn begin(&self) -> InFlight<'_> {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(self)
    }

    /// What was counted so far.
    pub fn look(&self) -> FiguresSeen {
        let seen = |verb: &OnceCell<Box<Counted>>| {
            verb.get().map_or_else(VerbFigures::default, |counted| VerbFigures {
                latency: counted.latency.distribution(),
                bytes: counted.bytes.get(),
                errors: counted.errors.get(),
            })
        };
        FiguresSeen { verbs: self.verbs.each_ref().map(seen), in_flight: self.in_flight.get() }
    }
}

impl InFlight<'_> {
    /// It has ended after `latency`; `bytes` of data went to or from the host, or became holes.
    pub fn end(self, verb: Verb, latency: Duration, bytes: u64, is_done: bool) {
        let counted = self.0.verbs[verb as usize].get_or_init(Box::default);
        counted.latency.record(latency);
        if is_done {
            counted.bytes.set(counted.bytes.get() + bytes);
        } else {
            counted.errors.set(counted.errors.get() + 1);
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

/// [`Figures`] as they were at one moment; can be sent and added up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FiguresSeen {
    verbs: [VerbFigures; Verb::ALL.len()],
    /// Requests that had not ended.
    pub in_flight: u32,
}

/// The requests of one verb that have ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerbFigures {
    /// How long they took, those that failed included.
    pub latency: Distribution,
    /// Bytes of those that were done.
    pub bytes: u64,
    /// How many failed.
    pub errors: u64,
}

impl FiguresSeen {
    /// Those of a verb.
    pub fn of(&self, verb: Verb) -> &VerbFigures {
        &self.verbs[verb as usize]
    }

    /// Requests that have ended.
    pub fn operations(&self) -> u64 {
        self.verbs.iter().map(|verb| verb.latency.count()).sum()
    }
}

impl AddAssign<&FiguresSeen> for FiguresSeen {
    fn add_assign(&mut self, other: &FiguresSeen) {
        for (sum, more) in self.verbs.iter_mut().zip(&other.verbs) {
            sum.latency += &more.latency;
            sum.bytes += more.bytes;
            sum.errors += more.errors;
        }
        self.in_flight += other.in_flight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_count_when_they_end_and_are_in_flight_before() {
        let figures = Figures::default();
        let (done, failed, given_up) = (figures.begin(), figures.begin(), figures.begin());
        assert_eq!((figures.look().in_flight, figures.look().operations()), (3, 0));
        done.end(Verb::Write, Duration::from_micros(100), 4096, true);
        failed.end(Verb::Write, Duration::from_millis(9), 4096, false);
        drop(given_up);
        let seen = figures.look();
        let written = seen.of(Verb::Write);
        assert_eq!((seen.in_flight, written.latency.count(), written.bytes, written.errors), (0, 2, 4096, 1));
        assert_eq!(seen.of(Verb::Read), &VerbFigures::default());
        let mut twice = seen.clone();
        twice += &seen;
        assert_eq!((twice.operations(), twice.of(Verb::Write).bytes), (4, 8192));
    }

    #[test]
    fn the_order_of_the_verbs_is_that_of_their_places() {
        for (place, verb) in Verb::ALL.into_iter().enumerate() {
            assert_eq!(verb as usize, place);
        }
    }
}
