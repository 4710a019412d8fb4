//! One queue in guest memory: what the driver has made available, and what was used of it.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::GuestAddress;

use crate::chain::Chain;
use crate::error::QueueError;
use crate::in_flight::{InFlightLog, Unfinished};
use crate::limits::QUEUE_SIZE_MAX;
use crate::memory::GuestMap;

/// Where a queue is and what was agreed on with its driver.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// How many descriptors it has.
    pub size: u16,
    /// The table of descriptors.
    pub descriptors: GuestAddress,
    /// The available ring.
    pub available: GuestAddress,
    /// The used ring.
    pub used: GuestAddress,
    /// Whether the driver uses event indices.
    pub event_index: bool,
    /// The available ring's index of the next request; what the log of requests in flight says comes before it.
    pub base: u16,
}

/// A queue.
pub struct Virtqueue {
    queue: Queue,
    log: Option<InFlightLog>,
    /// What was taken by a process before this one.
    again: VecDeque<u16>,
}

fn ring(_: virtio_queue::Error) -> QueueError {
    QueueError::Ring
}

impl Virtqueue {
    /// The queue as it is in memory. With a log, what is unfinished in it comes first.
    pub fn new(layout: Layout, log: Option<InFlightLog>, memory: &GuestMap) -> Result<Self, QueueError> {
        let mut queue = Queue::new(QUEUE_SIZE_MAX).map_err(ring)?;
        queue.try_set_size(layout.size).map_err(ring)?;
        queue.try_set_desc_table_address(layout.descriptors).map_err(ring)?;
        queue.try_set_avail_ring_address(layout.available).map_err(ring)?;
        queue.try_set_used_ring_address(layout.used).map_err(ring)?;
        queue.set_event_idx(layout.event_index);
        queue.set_ready(true);
        if !queue.is_valid(memory) {
            return Err(QueueError::Ring);
        }
        let used = queue.used_idx(memory, Ordering::Acquire).map_err(ring)?.0;
        queue.set_next_used(used);
        let mut this = Self { queue, log, again: VecDeque::new() };
        let base = match &mut this.log {
            None => layout.base,
            Some(log) => {
                let Unfinished { heads } = log.recover(used);
                this.again = heads;
                // Every request was taken in order, and was answered or is unfinished.
                used.wrapping_add(this.again.len() as u16)
            }
        };
        this.queue.set_next_avail(base);
        Ok(this)
    }

    /// The available ring's index of the next request.
    pub fn base(&self) -> u16 {
        self.queue.next_avail()
    }

    /// How many requests can be under way at once.
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// The next request, if there is one.
    pub fn take(&mut self, memory: &Rc<GuestMap>) -> Result<Option<Chain>, QueueError> {
        let head = match self.again.pop_front() {
            Some(head) => head,
            None => {
                // Looked at first: behind it the driver may put more into the ring at any time.
                if self.is_empty(memory)? {
                    return Ok(None);
                }
                let mut available = self.queue.iter(memory.as_ref()).map_err(ring)?;
                let chain = available.next().ok_or(QueueError::Ring)?;
                let head = chain.head_index();
                if head >= self.queue.size() {
                    return Err(QueueError::NoDescriptor);
                }
                if let Some(log) = &mut self.log {
                    log.taken(head);
                }
                head
            }
        };
        let table = GuestAddress(self.queue.desc_table());
        Chain::walk(memory, table, self.queue.size(), head).map(Some)
    }

    fn is_empty(&self, memory: &GuestMap) -> Result<bool, QueueError> {
        let index = self.queue.avail_idx(memory, Ordering::Acquire).map_err(ring)?;
        Ok(index.0 == self.queue.next_avail())
    }

    /// Answers a request, of which `written` bytes were written to guest memory.
    pub fn answer(&mut self, memory: &GuestMap, head: u16, written: u32) -> Result<(), QueueError> {
        if let Some(log) = &self.log {
            log.answering(head);
        }
        self.queue.add_used(memory, head, written).map_err(ring)?;
        if let Some(log) = &self.log {
            log.answered(head, self.queue.next_used());
        }
        Ok(())
    }

    /// Whether the driver wants to be told of the answers since the last call.
    pub fn wants_call(&mut self, memory: &GuestMap) -> Result<bool, QueueError> {
        self.queue.needs_notification(memory).map_err(ring)
    }

    /// The driver need not say that requests are there.
    pub fn ignore_kicks(&mut self, memory: &GuestMap) -> Result<(), QueueError> {
        self.queue.disable_notification(memory).map_err(ring)
    }

    /// The driver is to say so from now on. Whether requests have come meanwhile.
    pub fn want_kicks(&mut self, memory: &GuestMap) -> Result<bool, QueueError> {
        self.queue.enable_notification(memory).map_err(ring)
    }

    /// Whether the front end has taken away the memory for requests in flight.
    pub fn is_lost(&self) -> bool {
        self.log.as_ref().is_some_and(InFlightLog::is_lost)
    }
}
