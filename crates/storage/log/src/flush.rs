//! Flushes, several waiters by one, and what a failed flush means.

use std::collections::BTreeSet;
use std::rc::Rc;

use quarry_env::completion;
use quarry_types::{BatchNumber, SegmentId};

use crate::log::Unflushed;
use crate::{Log, LogError};

impl Log {
    /// Makes every record that counts now survive power loss.
    pub async fn flush(&self) -> Result<(), LogError> {
        let flushed = {
            let mut state = self.state.borrow_mut();
            if let Some(error) = &state.stopped
                && state.flushed_through < state.published.batch
            {
                return Err(error.clone());
            }
            if state.flushed_through >= state.published.batch {
                return Ok(());
            }
            let (waiter, flushed) = completion();
            state.flush_waiters.push(waiter);
            flushed
        };
        self.flush_work.raise();
        flushed.await
    }

    pub(crate) async fn flush_loop(self: Rc<Self>) {
        while !self.closed.get() {
            let version = self.flush_work.version();
            if self.state.borrow().flush_waiters.is_empty() {
                self.flush_work.after(version).await;
            } else {
                self.flush_once().await;
            }
        }
    }

    async fn flush_once(self: &Rc<Self>) {
        let (waiters, covers, devices, segments) = {
            let mut state = self.state.borrow_mut();
            let waiters = std::mem::take(&mut state.flush_waiters);
            let segments: Vec<SegmentId> =
                state.unflushed.iter().map(|unflushed| unflushed.segment).collect();
            (waiters, state.published.batch, std::mem::take(&mut state.dirty), segments)
        };
        let failed: BTreeSet<u16> = self.store.pool.flush(&devices).await.into_iter().collect();
        let result = self.flushed(covers, &failed, &segments);
        if let Err(LogError::Stopped { reason }) = &result {
            self.halt(reason);
        }
        waiters.into_iter().for_each(|waiter| waiter.complete(result.clone()));
        if !failed.is_empty() {
            self.state.borrow_mut().failing.extend(&failed);
            self.settle_failure();
            self.pump();
        }
    }

    /// Devices have been flushed, but for those in `failed`: what these got since their last flush is a lost copy.
    fn flushed(
        &self,
        covers: BatchNumber,
        failed: &BTreeSet<u16>,
        segments: &[SegmentId],
    ) -> Result<(), LogError> {
        self.lost(failed, segments, covers)?;
        let mut state = self.state.borrow_mut();
        for unflushed in &state.unflushed {
            failed.iter().for_each(|&device| unflushed.chunk.drop_copy(device));
        }
        let open = state.tail.open.as_ref().map(|(segment, _)| *segment);
        let oldest_unpublished = state.in_flight.front().map(|batch| batch.start.segment());
        state.unflushed.retain(|Unflushed { segment, .. }| {
            !segments.contains(segment)
                || Some(*segment) == open
                || oldest_unpublished.is_some_and(|oldest| oldest <= *segment)
        });
        state.flushed_through = state.flushed_through.max(covers);
        Ok(())
    }

    /// An error when batches among those up to `covers` that no flush has covered lie, in one of `segments`, on devices
    /// in `failed` alone.
    pub(crate) fn lost(
        &self,
        failed: &BTreeSet<u16>,
        segments: &[SegmentId],
        covers: BatchNumber,
    ) -> Result<(), LogError> {
        let state = self.state.borrow();
        let lost: Vec<SegmentId> = state
            .unflushed
            .iter()
            .filter(|unflushed| {
                segments.contains(&unflushed.segment) && unflushed.last > state.flushed_through
            })
            .filter(|unflushed| unflushed.chunk.slots().iter().all(|slot| failed.contains(&slot.device)))
            .map(|unflushed| unflushed.segment)
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "{} devices failed and segments {lost:?} have no other copy: writes since the last flush, batches {} to \
             {covers}, may be lost",
            failed.len(),
            state.flushed_through.next()
        );
        Err(LogError::Stopped { reason })
    }
}
