//! The requests of a session that the volume works on, as futures in slots that one task polls.
//!
//! A request costs no task and no allocation of its own beside the volume's future: the waker of a slot is made once and
//! sets a bit; the session's task looks at the bits. A future that is ready at its first poll never waits in its slot.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::LocalBoxFuture;
use futures::task::AtomicWaker;
use quarry_volume::{Extent, Result, Views};

use crate::limits::REQUESTS_MAX;
use crate::wire::RequestHeader;

const WORDS: usize = REQUESTS_MAX / 64;

/// A request that was admitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    pub(crate) header: RequestHeader,
    /// Bytes that it holds until its reply has been sent.
    pub(crate) held_bytes: u64,
}

/// What the volume does for a request.
pub(crate) enum Work<'v> {
    Read(LocalBoxFuture<'v, Result<Views>>),
    Change(LocalBoxFuture<'v, Result<()>>),
    Status(LocalBoxFuture<'v, Result<Vec<Extent>>>),
}

/// What came of it.
pub(crate) enum Outcome {
    Read(Views),
    Changed,
    Status(Vec<Extent>),
}

impl Work<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Outcome>> {
        match self {
            Work::Read(future) => Pin::new(future).poll(context).map_ok(Outcome::Read),
            Work::Change(future) => Pin::new(future).poll(context).map_ok(|()| Outcome::Changed),
            Work::Status(future) => Pin::new(future).poll(context).map_ok(Outcome::Status),
        }
    }
}

/// Which slots were woken, and the task that is to look at them.
#[derive(Default)]
struct Woken {
    slots: [AtomicU64; WORDS],
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

struct Slot<'v> {
    waker: Waker,
    busy: Option<(Admitted, Work<'v>)>,
}

/// At most [`REQUESTS_MAX`] requests.
pub(crate) struct InFlight<'v> {
    slots: Vec<Slot<'v>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
}

impl<'v> InFlight<'v> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), woken: Arc::default() }
    }

    /// Whether nothing is worked on.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    fn take_slot(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            let slot = self.slots.len();
            assert!(slot < REQUESTS_MAX, "a session admits no more requests than it has slots");
            let waker = Waker::from(Arc::new(SlotWaker { woken: self.woken.clone(), slot }));
            self.slots.push(Slot { waker, busy: None });
            slot
        })
    }

    /// Begins `work`; its result, if it has one at once.
    pub(crate) fn start(&mut self, request: Admitted, mut work: Work<'v>) -> Option<Result<Outcome>> {
        let index = self.take_slot();
        let slot = &mut self.slots[index];
        match work.poll(&mut Context::from_waker(&slot.waker)) {
            Poll::Ready(result) => {
                self.free.push(index);
                Some(result)
            }
            Poll::Pending => {
                slot.busy = Some((request, work));
                None
            }
        }
    }

    /// Polls every request that was woken, and passes on what is done. `context` is woken for the others.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut done: impl FnMut(Admitted, Result<Outcome>),
    ) {
        // Before the look at the bits, so that a bit that is set after it wakes the task again.
        self.woken.task.register(context.waker());
        for word in 0..WORDS {
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

    fn poll_slot(&mut self, index: usize, done: &mut impl FnMut(Admitted, Result<Outcome>)) {
        let slot = &mut self.slots[index];
        // The waker may outlive the request that it was for.
        let Some((request, work)) = &mut slot.busy else { return };
        let request = *request;
        if let Poll::Ready(result) = work.poll(&mut Context::from_waker(&slot.waker)) {
            slot.busy = None;
            self.free.push(index);
            done(request, result);
        }
    }
}
