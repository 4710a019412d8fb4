//! What will happen and when. Ties in time are broken by the seed.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use quarry_env::Completer;

use crate::fault::DiskId;
use crate::network::Side;
use crate::slab::Key;

/// Something that happens at a moment of virtual time.
pub(crate) enum Event {
    /// A task wakes up.
    Timer(Completer<()>),
    /// An operation of a disk goes one step on; `step` tells a cancelled appointment from the current one.
    Operation { disk: DiskId, key: Key, step: u32 },
    /// The cache forgets data whose flush has failed.
    Forget { disk: DiskId, loss: u64 },
    /// A failed disk answers again.
    DiskReturns(DiskId),
    /// A disk that hangs goes on.
    DiskGoesOn(DiskId),
    /// The next segment in transit reaches this end of a connection.
    Deliver { connection: Key, to: Side },
    /// A waiting receive or send of this end looks again.
    Service { connection: Key, side: Side },
    /// A listener hands out connections.
    Accept(Key),
}

struct Appointment {
    at: u64,
    tie: u32,
    sequence: u64,
    event: Event,
}

impl Appointment {
    fn rank(&self) -> (u64, u32, u64) {
        (self.at, self.tie, self.sequence)
    }
}

impl PartialEq for Appointment {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Appointment {}

impl PartialOrd for Appointment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Appointment {
    /// The earliest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        other.rank().cmp(&self.rank())
    }
}

/// Events by time.
#[derive(Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Appointment>,
    sequence: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: u64, tie: u32, event: Event) {
        self.sequence += 1;
        self.heap.push(Appointment { at, tie, sequence: self.sequence, event });
    }

    /// Time of the next event that still matters. A timer that nobody waits for does not: it must not move the time.
    pub(crate) fn next_at(&mut self) -> Option<u64> {
        while let Some(next) = self.heap.peek() {
            match &next.event {
                Event::Timer(completer) if completer.is_abandoned() => self.heap.pop(),
                _ => return Some(next.at),
            };
        }
        None
    }

    /// Takes the next event that still matters if its time is at most `limit`.
    pub(crate) fn pop_until(&mut self, limit: u64) -> Option<(u64, Event)> {
        if self.next_at()? > limit {
            return None;
        }
        self.heap.pop().map(|appointment| (appointment.at, appointment.event))
    }

    /// Gives up everything that is planned, in order of time, for the caller to drop or plan again.
    pub(crate) fn take(&mut self) -> Vec<(u64, Event)> {
        let mut planned = std::mem::take(&mut self.heap).into_vec();
        planned.sort_by_key(Appointment::rank);
        planned.into_iter().map(|appointment| (appointment.at, appointment.event)).collect()
    }
}
