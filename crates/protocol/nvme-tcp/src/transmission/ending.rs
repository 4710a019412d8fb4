//! How a session ends: who wants it, what still has to be done, and how long that may take.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Ended, Transmission};
use crate::limits::{STOP_TIME_MAX, TRANSFER_TIME_MAX};

impl Transmission<'_> {
    /// Whether somebody wants the session to end.
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        if self.ended.is_none() {
            let queue = self.queue_stopped.as_mut();
            if queue.is_some_and(|stopped| Pin::new(stopped).poll(context).is_ready()) {
                self.ended = Some(Ended::Reset);
            } else if Pin::new(&mut self.stopped).poll(context).is_ready() {
                self.ended = Some(Ended::Stopped);
            } else if self.poll_deadline(context).is_ready() {
                self.ended = Some(Ended::Silent);
            }
        }
        self.poll_stop_limit(context)
    }

    /// Ready when a stop has taken too long. Where only the connection ends, the host alone has run out of time: what was
    /// begun is finished all the same, so that a controller that says that it is quiet is.
    fn poll_stop_limit(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        let limit = self.stop_limit.as_mut().filter(|_| !self.out_of_time);
        if limit.is_none_or(|limit| Pin::new(limit).poll(context).is_pending()) {
            return Poll::Pending;
        }
        self.out_of_time = true;
        if matches!(self.ended, Some(Ended::Stopped)) {
            return Poll::Ready(Ended::Abandoned);
        }
        self.deaf = true;
        self.stream.shutdown();
        Poll::Pending
    }

    /// Ready when the host has been silent for too long.
    pub(super) fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some(at) = self.queue.deadline() {
            let now = self.env.clock.now();
            // A timer that ends too early is looked at again; one that ends too late is of no use.
            self.deadline.take_if(|(_, until)| *until > at);
            let begin = || (self.env.clock.sleep(at.saturating_sub(now)), at);
            let (timer, _) = self.deadline.get_or_insert_with(begin);
            if Pin::new(timer).poll(context).is_pending() {
                return Poll::Pending;
            }
            self.deadline = None;
            if now >= at {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Ready when data is awaited and nothing at all has come for too long. Where others wait for the memory that it holds, its
    /// data itself has to come: see `Share::cut_off_stalled`.
    pub(super) fn poll_transfers(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.share.set_awaits(self.slots.receiving() > 0);
        loop {
            if self.slots.receiving() == 0 {
                self.transfer_check = None;
                return Poll::Pending;
            }
            let clock = &self.env.clock;
            let begin = || (clock.sleep(TRANSFER_TIME_MAX), self.receives);
            let (timer, receives) = self.transfer_check.get_or_insert_with(begin);
            if Pin::new(timer).poll(context).is_pending() {
                return Poll::Pending;
            }
            if *receives == self.receives {
                return Poll::Ready(());
            }
            self.transfer_check = None;
        }
    }

    /// No further command is taken; what was not begun never will be.
    pub(super) fn wind_down(&mut self) {
        if self.stop_limit.is_some() {
            return;
        }
        self.stop_limit = Some(self.env.clock.sleep(STOP_TIME_MAX));
        self.queue.close();
        self.waiting.clear();
        self.incoming = None;
        let held = self.slots.drop_unbegun();
        self.share.give_back(held);
    }

    pub(super) fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        // Closing has ended commands that only waited; the time limit has not been polled yet.
        self.poll_slots(context);
        self.send(context);
        let quiet = self.slots.working() == 0 && self.outbox.is_empty() && self.sending.is_none();
        if quiet {
            return Poll::Ready(self.ended.take().expect("it is set when no further command is taken"));
        }
        self.poll_stop_limit(context)
    }
}
