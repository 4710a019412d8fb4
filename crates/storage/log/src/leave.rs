//! Leaving devices on which nothing is to stay, and forgetting those that have failed.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use quarry_pool::{Chunk, Duty};
use quarry_types::SegmentId;

use crate::{Log, LogError};

impl Log {
    /// Begins another segment with the next batch, if the open one lies where new ones would not: on a device that is to be removed,
    /// or on fewer or more devices than it should.
    pub fn leave_devices(&self) {
        let mut state = self.state.borrow_mut();
        let is_idle = state.in_flight.is_empty() && state.waiting.is_empty() && state.building.is_none();
        let is_elsewhere = |chunk: &Chunk| self.is_elsewhere(chunk);
        let state = &mut *state;
        if is_idle && state.failing.is_empty() {
            if state.tail.open.as_ref().is_some_and(|(_, chunk)| is_elsewhere(chunk)) {
                self.seal_open(state);
            }
            // What was sealed after the last flush of it holds its chunk no more.
            let (open, flushed_through) =
                (state.tail.open.as_ref().map(|(segment, _)| *segment), state.flushed_through);
            state
                .unflushed
                .retain(|unflushed| unflushed.last > flushed_through || Some(unflushed.segment) == open);
        }
        let (kept, left) =
            std::mem::take(&mut state.reserve).into_iter().partition(|chunk| !is_elsewhere(chunk));
        state.reserve = kept;
        let left: VecDeque<Rc<Chunk>> = left;
        left.into_iter().for_each(|chunk| self.store.retire(chunk));
    }

    /// Relies no more on what `device`, which has failed, was sent since its last flush. It may be used again afterwards. Where it had
    /// the only copy of something that counts the log ends, as after a flush that has failed.
    pub fn forget_device(&self, device: u16) {
        let (segments, published) = {
            let state = self.state.borrow();
            let segments: Vec<SegmentId> =
                state.unflushed.iter().map(|unflushed| unflushed.segment).collect();
            (segments, state.published.batch)
        };
        if let Err(LogError::Stopped { reason }) = self.lost(&BTreeSet::from([device]), &segments, published)
        {
            self.halt(&reason);
        }
        let mut state = self.state.borrow_mut();
        state.unflushed.iter().for_each(|unflushed| unflushed.chunk.drop_copy(device));
        state.reserve.iter().for_each(|chunk| chunk.drop_copy(device));
        state.dirty.remove(&device);
    }

    /// The segments from here on are open, or no flush has covered all of them.
    pub fn first_unflushed(&self) -> SegmentId {
        let state = self.state.borrow();
        let open = state.tail.open.iter().map(|(segment, _)| *segment);
        let in_flight = state.in_flight.front().map(|batch| batch.start.segment());
        let unflushed = state.unflushed.iter().filter(|unflushed| unflushed.last > state.flushed_through);
        let unflushed = unflushed.map(|unflushed| unflushed.segment);
        open.chain(in_flight).chain(unflushed).min().unwrap_or(state.tail.next_segment)
    }

    fn is_elsewhere(&self, chunk: &Chunk) -> bool {
        chunk.duty(&self.store.pool.shared).is_some_and(|duty| duty != Duty::Balance)
    }

    /// Whether the open segment, or what is reserved, lies where new chunks would not.
    pub fn is_on_left_devices(&self) -> bool {
        let state = self.state.borrow();
        let open = state.tail.open.iter().map(|(_, chunk)| chunk);
        open.chain(&state.reserve).any(|chunk| self.is_elsewhere(chunk))
    }
}
