//! What happens when a device fails an append.
//!
//! The open segment is never repaired. Once everything in flight has been answered, it is sealed behind the last batch
//! that counts; what does not count yet is written again to a segment on healthy devices, whose header says where the
//! old one ended, so that recovery never counts what lies beyond. Records keep their order; their writers see a delay.

use std::rc::Rc;

use quarry_types::SegmentId;

use crate::log::Unflushed;
use crate::submit::{InFlight, Waiting};
use crate::{Log, LogError};

impl Log {
    /// After a failed append, once nothing is on its way any more: goes on in another segment.
    pub(crate) fn settle_failure(self: &Rc<Self>) {
        {
            let state = self.state.borrow();
            if state.failing.is_empty() || state.in_flight.iter().any(|batch| !batch.written) {
                return;
            }
        }
        let lost = self.lost_by_failure();
        {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let unpublished: Vec<InFlight> = state.in_flight.drain(..).collect();
            for batch in unpublished.into_iter().rev() {
                state.waiting.push_front(Waiting::Again(batch.batch));
            }
            self.seal_at_published(state);
            for unflushed in &state.unflushed {
                // What a failed device was sent since its last flush cannot be relied on.
                state.failing.iter().for_each(|&device| unflushed.chunk.drop_copy(device));
            }
            state.dirty.retain(|device| !state.failing.contains(device));
            state.failing.clear();
        }
        if let Err(LogError::Stopped { reason }) = lost {
            self.halt(&reason);
        }
        self.check_devices();
        // The image that names fewer copies, and perhaps chunks on healthy devices, is wanted soon.
        self.reserve_low.raise();
    }

    /// An error when the devices that failed had the only copy of something that counts and that no flush has covered.
    fn lost_by_failure(&self) -> Result<(), LogError> {
        let (failing, segments, published) = {
            let state = self.state.borrow();
            let segments: Vec<SegmentId> =
                state.unflushed.iter().map(|unflushed| unflushed.segment).collect();
            (state.failing.clone(), segments, state.published.batch)
        };
        self.lost(&failing, &segments, published)
    }

    /// Ends all appending when no device is left that could take it: nobody should wait for what cannot come.
    pub fn check_devices(&self) {
        if self.stopped().is_none() && self.store.pool.healthy_devices().is_empty() {
            self.halt("no device of the pool takes writes");
        }
    }

    /// Seals the segment of the last batch that counts there, and forgets segments that hold none.
    fn seal_at_published(&self, state: &mut crate::log::State) {
        let end = state.published.address;
        let mut table = self.store.table_mut();
        if table
            .get(end.segment())
            .is_some_and(|segment| segment.end_sector == 0 || segment.end_sector > end.sector())
        {
            table.seal(end.segment(), end.sector());
        }
        state.unflushed.retain(|Unflushed { segment, .. }| {
            let counts = *segment <= end.segment();
            if !counts && let Some(empty) = table.remove(*segment) {
                empty.chunks().for_each(|chunk| self.store.retire(chunk.clone()));
            }
            counts
        });
        state.tail.open = None;
        state.tail.position = state.published;
    }

    /// Ends all appending after a fault, and says so.
    pub(crate) fn halt(&self, reason: &str) {
        tracing::error!(log = %self.store.log, reason, "the log takes no more writes");
        self.end(reason);
    }

    /// Ends all appending: everything that waits fails, reads go on.
    pub(crate) fn end(&self, reason: &str) {
        let error = LogError::Stopped { reason: reason.to_owned() };
        let (building, waiting, flushes) = {
            let mut state = self.state.borrow_mut();
            state.stopped = Some(error.clone());
            let waiting: Vec<_> = state.waiting.drain(..).collect();
            (state.building.take(), waiting, std::mem::take(&mut state.flush_waiters))
        };
        for batch in waiting {
            match batch {
                Waiting::New(builder) => builder.entries.fail(&error),
                Waiting::Again(batch) => batch.entries.fail(&error),
            }
        }
        if let Some(builder) = building {
            builder.entries.fail(&error);
        }
        flushes.into_iter().for_each(|waiter| waiter.complete(Err(error.clone())));
        self.progress.raise();
    }
}
