//! The requests of a session that are worked on, as futures in slots that one task polls.
//!
//! A request costs no task and no allocation of its own beside its future: the waker of a slot is made once and
//! sets a bit; the session's task looks at the bits. A future that is ready at its first poll never waits in its slot.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::Woken;

struct Slot<R, W> {
    waker: Waker,
    busy: Option<(R, W)>,
}

/// Requests of type `R` with their work, futures of type `W`.
pub struct InFlight<R, W> {
    slots: Vec<Slot<R, W>>,
    free: Vec<usize>,
    slots_max: usize,
    woken: Woken,
}

impl<R, W: Future + Unpin> InFlight<R, W> {
    /// Room for `slots_max` requests.
    pub fn new(slots_max: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), slots_max, woken: Woken::new(slots_max) }
    }

    /// Whether nothing is worked on.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// How many requests are worked on.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The requests that are worked on.
    pub fn requests_mut(&mut self) -> impl Iterator<Item = &mut R> {
        self.slots.iter_mut().filter_map(|slot| slot.busy.as_mut().map(|(request, _)| request))
    }

    fn take_slot(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            let slot = self.slots.len();
            assert!(slot < self.slots_max, "a session admits no more requests than it has slots");
            let waker = self.woken.waker(slot);
            self.slots.push(Slot { waker, busy: None });
            slot
        })
    }

    /// Begins `work`; its result with the request, if it has one at once.
    pub fn start(&mut self, request: R, mut work: W) -> Option<(R, W::Output)> {
        let index = self.take_slot();
        let slot = &mut self.slots[index];
        match Pin::new(&mut work).poll(&mut Context::from_waker(&slot.waker)) {
            Poll::Ready(result) => {
                self.free.push(index);
                Some((request, result))
            }
            Poll::Pending => {
                slot.busy = Some((request, work));
                None
            }
        }
    }

    /// Polls every request that was woken, and passes on what is done. `context` is woken for the others.
    pub fn poll(&mut self, context: &mut Context<'_>, mut done: impl FnMut(R, W::Output)) {
        let Self { slots, free, woken, .. } = self;
        woken.take(context, |index| {
            let slot = &mut slots[index];
            // The waker may outlive the request that it was for.
            let Some((_, work)) = &mut slot.busy else { return };
            if let Poll::Ready(result) = Pin::new(work).poll(&mut Context::from_waker(&slot.waker)) {
                let (request, _) = slot.busy.take().expect("it was just looked at");
                free.push(index);
                done(request, result);
            }
        });
    }
}
