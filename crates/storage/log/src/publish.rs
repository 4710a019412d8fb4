//! Batches count in log order, once they are on all copies.

use std::collections::VecDeque;
use std::rc::Rc;

use quarry_types::BatchNumber;

use crate::submit::InFlight;
use crate::{Log, LogError};

impl Log {
    /// The devices have answered for batch `number`; those in `failed` did not take it.
    pub(crate) fn written(self: &Rc<Self>, number: BatchNumber, failed: &[u16]) {
        {
            let mut state = self.state.borrow_mut();
            state.failing.extend(failed);
            let batch = state.in_flight.iter_mut().find(|batch| batch.end.batch == number);
            if let Some(batch) = batch {
                batch.written = true;
            }
        }
        if let Some(error) = self.stopped() {
            self.fail_written(&error);
            return;
        }
        self.publish_ready();
        self.settle_failure();
        self.pump();
    }

    /// The log has stopped: what the devices have answered for is not acknowledged any more.
    fn fail_written(&self, error: &LogError) {
        let (written, rest) =
            self.state.borrow_mut().in_flight.drain(..).partition::<VecDeque<_>, _>(|batch| batch.written);
        self.state.borrow_mut().in_flight = rest;
        written.into_iter().for_each(|batch| batch.batch.entries.fail(error));
        self.progress.raise();
    }

    fn publish_ready(&self) {
        let mut published = false;
        while let Some(batch) = self.take_publishable() {
            let InFlight { batch, start, .. } = batch;
            batch.entries.publish(batch.layout.origin(start), &*self.apply);
            published = true;
        }
        if published {
            self.progress.raise();
        }
    }

    /// The oldest batch in flight, if it is on all copies of its segment.
    fn take_publishable(&self) -> Option<InFlight> {
        let mut state = self.state.borrow_mut();
        let front = state.in_flight.front()?;
        let complete = front.written && state.failing.iter().all(|&device| !front.chunk.is_on(device));
        if !complete {
            return None;
        }
        let batch = state.in_flight.pop_front()?;
        state.published = batch.end;
        let segment = batch.start.segment();
        if let Some(unflushed) = state.unflushed.iter_mut().rfind(|unflushed| unflushed.segment == segment) {
            unflushed.last = batch.end.batch;
        }
        state.dirty.extend(batch.chunk.slots().iter().map(|slot| slot.device));
        Some(batch)
    }
}
