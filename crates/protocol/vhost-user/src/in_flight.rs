//! Which requests of a queue were taken and not answered, in memory that outlives us (vhost-user.rst, "Inflight I/O tracking").
//!
//! The front end holds the memory and gives it to whoever serves the device next: after a restart of the daemon, what was taken
//! and not answered is done again, in the order in which it was taken. What is written here is read by a later process, so each
//! step is one store, and the steps are in the order of the protocol.
//!
//! The memory is the front end's: nothing in it is believed, only bounded.

use std::collections::VecDeque;
use std::num::Wrapping;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use quarry_env::SharedMemory;
use vm_memory::{AtomicAccess, Bytes, VolatileSlice};

use crate::error::ControlError;
use crate::limits::{QUEUE_SIZE_MAX, QUEUES_MAX};
use crate::message::InFlightMemory;

/// Version of the layout.
const VERSION: u16 = 1;
/// Each queue's part begins at a multiple of this.
const ALIGNMENT: usize = 64;

/// `struct QueueRegionSplit`, by offsets.
const VERSION_AT: usize = 8;
const DESCRIPTORS_AT: usize = 10;
const LAST_BATCH_HEAD_AT: usize = 12;
const USED_INDEX_AT: usize = 14;
const STATES_AT: usize = 16;
/// `struct DescStateSplit`, by offsets.
const STATE_BYTES: usize = 16;
const IN_FLIGHT_AT: usize = 0;
const NEXT_AT: usize = 6;
const COUNTER_AT: usize = 8;

/// Bytes of one queue's part.
pub(crate) fn queue_bytes(queue_size: u16) -> usize {
    (STATES_AT + usize::from(queue_size) * STATE_BYTES).next_multiple_of(ALIGNMENT)
}

/// Checks what a front end says of the memory; returns how many bytes it needs.
pub(crate) fn check(memory: &InFlightMemory) -> Result<usize, ControlError> {
    let InFlightMemory { queues, queue_size, .. } = *memory;
    if !(1..=QUEUES_MAX).contains(&usize::from(queues)) || !(1..=QUEUE_SIZE_MAX).contains(&queue_size) {
        return Err(ControlError::InFlight("no such number or size of queues"));
    }
    Ok(queue_bytes(queue_size) * usize::from(queues))
}

/// The memory of a device.
#[derive(Clone)]
pub(crate) struct DeviceInFlight {
    pub(crate) memory: Rc<dyn SharedMemory>,
    pub(crate) queues: u16,
    pub(crate) queue_size: u16,
}

/// The part of a queue.
pub struct InFlightLog {
    memory: Rc<dyn SharedMemory>,
    start: usize,
    queue_size: u16,
    /// The next request's place in the order.
    counter: u64,
}

/// What a queue has to do again.
#[derive(PartialEq, Eq, Debug)]
pub struct Unfinished {
    /// First descriptors, in the order in which they were taken.
    pub heads: VecDeque<u16>,
}

impl DeviceInFlight {
    /// The part of queue `index`, which has `queue_size` descriptors; `None` when the memory has none for it.
    pub(crate) fn of_queue(&self, index: usize, queue_size: u16) -> Option<InFlightLog> {
        let fits = index < usize::from(self.queues) && queue_size <= self.queue_size;
        fits.then(|| InFlightLog::new(self.memory.clone(), index * queue_bytes(self.queue_size), queue_size))
    }
}

impl InFlightLog {
    /// The log of a queue with `queue_size` descriptors at `start` of `memory`.
    pub fn new(memory: Rc<dyn SharedMemory>, start: usize, queue_size: u16) -> Self {
        assert!(start + queue_bytes(queue_size) <= memory.length(), "the memory was checked for its size");
        Self { memory, start, queue_size, counter: 0 }
    }

    fn slice(&self) -> VolatileSlice<'_, ()> {
        // SAFETY: the memory lives as long as `self` and is used as volatile memory only.
        unsafe { VolatileSlice::new(self.memory.start().as_ptr(), self.memory.length()) }
    }

    fn load<T: AtomicAccess>(&self, at: usize) -> T {
        self.slice()
            .load(self.start + at, Ordering::Acquire)
            .expect("it is inside of the memory, and aligned")
    }

    fn store<T: AtomicAccess>(&self, at: usize, value: T) {
        let stored = self.slice().store(value, self.start + at, Ordering::Release);
        stored.expect("it is inside of the memory, and aligned");
    }

    fn state_at(&self, head: u16, field: usize) -> usize {
        assert!(head < self.queue_size, "heads are checked where they come from");
        STATES_AT + usize::from(head) * STATE_BYTES + field
    }

    /// Whether the front end has taken the memory away.
    pub(crate) fn is_lost(&self) -> bool {
        self.memory.is_lost()
    }

    /// Brings the log in order with the used index of the ring; returns what was taken and not answered.
    pub fn recover(&mut self, used_index: u16) -> Unfinished {
        if self.load::<u16>(VERSION_AT) != VERSION {
            (0..self.queue_size).for_each(|head| self.store(self.state_at(head, IN_FLIGHT_AT), 0u8));
            self.store(DESCRIPTORS_AT, self.queue_size);
            self.store(USED_INDEX_AT, used_index);
            self.store(VERSION_AT, VERSION);
            return Unfinished { heads: VecDeque::new() };
        }
        self.finish_batch(used_index);
        let taken = |head: &u16| self.load::<u8>(self.state_at(*head, IN_FLIGHT_AT)) != 0;
        let counted = |head: u16| (self.load::<u64>(self.state_at(head, COUNTER_AT)), head);
        let mut unfinished: Vec<(u64, u16)> = (0..self.queue_size).filter(taken).map(counted).collect();
        unfinished.sort_unstable();
        self.counter = unfinished.last().map_or(0, |(counter, _)| counter.wrapping_add(1));
        Unfinished { heads: unfinished.into_iter().map(|(_, head)| head).collect() }
    }

    /// The last answers may be in the used ring, and not here.
    fn finish_batch(&self, used_index: u16) {
        let batch = (Wrapping(used_index) - Wrapping(self.load::<u16>(USED_INDEX_AT))).0;
        let mut head = self.load::<u16>(LAST_BATCH_HEAD_AT);
        for _ in 0..batch.min(self.queue_size) {
            if head >= self.queue_size {
                break;
            }
            self.store(self.state_at(head, IN_FLIGHT_AT), 0u8);
            head = self.load(self.state_at(head, NEXT_AT));
        }
        self.store(USED_INDEX_AT, used_index);
    }

    /// A request was taken from the available ring.
    pub fn taken(&mut self, head: u16) {
        self.store(self.state_at(head, COUNTER_AT), self.counter);
        self.counter = self.counter.wrapping_add(1);
        self.store(self.state_at(head, IN_FLIGHT_AT), 1u8);
    }

    /// Its answer is about to go into the used ring.
    pub fn answering(&self, head: u16) {
        let last: u16 = self.load(LAST_BATCH_HEAD_AT);
        self.store(self.state_at(head, NEXT_AT), last);
        self.store(LAST_BATCH_HEAD_AT, head);
    }

    /// It is there, and the ring's index is `used_index`.
    pub fn answered(&self, head: u16, used_index: u16) {
        self.store(self.state_at(head, IN_FLIGHT_AT), 0u8);
        self.store(USED_INDEX_AT, used_index);
    }
}

#[cfg(test)]
mod tests;
