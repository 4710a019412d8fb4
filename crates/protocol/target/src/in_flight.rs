//! The requests of a session that are worked on, as futures in slots that one task polls.
//!
//! A request costs no task and no allocation of its own beside its future: the waker of a slot is made once and
//! sets a bit; the session's task looks at the bits. A future that is ready at its first poll never waits in its slot.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Which slots were woken, and the task that is to look at them.
struct Woken {
    slots: Box<[AtomicU64]>,
    task: AtomicWaker,
}

struct SlotWaker {
    woken: Arc<Woken>,
    slot: usize,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let bit = 1 << (self.slot % 64);
        // A bit that is set already has woken the task, which has not looked yet.
        if self.woken.slots[self.slot / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.woken.task.wake();
        }
    }
}

struct Slot<R, W> {
    waker: Waker,
    busy: Option<(R, W)>,
}

/// Requests of type `R` with their work, futures of type `W`.
pub struct InFlight<R, W> {
    slots: Vec<Slot<R, W>>,
    free: Vec<usize>,
    slots_max: usize,
    woken: Arc<Woken>,
}

impl<R, W: Future + Unpin> InFlight<R, W> {
    /// Room for `slots_max` requests.
    pub fn new(slots_max: usize) -> Self {
        let words = (0..slots_max.div_ceil(64)).map(|_| AtomicU64::new(0));
        let woken = Arc::new(Woken { slots: words.collect(), task: AtomicWaker::new() });
        Self { slots: Vec::new(), free: Vec::new(), slots_max, woken }
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
            let waker = Waker::from(Arc::new(SlotWaker { woken: self.woken.clone(), slot }));
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
        // Before the look at the bits, so that a bit that is set after it wakes the task again.
        self.woken.task.register(context.waker());
        for word in 0..self.woken.slots.len() {
            if self.woken.slots[word].load(Ordering::Acquire) == 0 {
                continue;
            }
            let mut bits = self.woken.slots[word].swap(0, Ordering::AcqRel);
            while bits != 0 {
                let index = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                self.poll_slot(index, &mut done);
            }
        }
    }

    fn poll_slot(&mut self, index: usize, done: &mut impl FnMut(R, W::Output)) {
        let slot = &mut self.slots[index];
        // The waker may outlive the request that it was for.
        let Some((_, work)) = &mut slot.busy else { return };
        if let Poll::Ready(result) = Pin::new(work).poll(&mut Context::from_waker(&slot.waker)) {
            let (request, _) = slot.busy.take().expect("it was just looked at");
            self.free.push(index);
            done(request, result);
        }
    }
}
