//! The requests of a session that the volume works on, as futures in slots that one task polls.
//!
//! A request costs no task and no allocation of its own beside the volume's future: the waker of a slot is made once and
//! sets a bit; the session's task looks at the bits. A future that is ready at its first poll never waits in its slot.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::future::LocalBoxFuture;
use quarry_target::Woken;
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

struct Slot<'v> {
    waker: Waker,
    busy: Option<(Admitted, Work<'v>)>,
}

/// At most [`REQUESTS_MAX`] requests.
pub(crate) struct InFlight<'v> {
    slots: Vec<Slot<'v>>,
    free: Vec<usize>,
    woken: Woken<WORDS>,
}

impl<'v> InFlight<'v> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), woken: Woken::default() }
    }

    /// Whether nothing is worked on.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    fn take_slot(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            let slot = self.slots.len();
            assert!(slot < REQUESTS_MAX, "a session admits no more requests than it has slots");
            let waker = self.woken.waker(slot);
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
        let Self { slots, free, woken } = self;
        woken.take(context, |index| poll_slot(slots, free, index, &mut done));
    }
}

fn poll_slot(
    slots: &mut [Slot<'_>],
    free: &mut Vec<usize>,
    index: usize,
    done: &mut impl FnMut(Admitted, Result<Outcome>),
) {
    let slot = &mut slots[index];
    // The waker may outlive the request that it was for.
    let Some((request, work)) = &mut slot.busy else { return };
    let request = *request;
    if let Poll::Ready(result) = work.poll(&mut Context::from_waker(&slot.waker)) {
        slot.busy = None;
        free.push(index);
        done(request, result);
    }
}
