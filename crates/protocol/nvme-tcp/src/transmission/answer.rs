//! Answers: put into the outbox as commands are done, sent many at a time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use quarry_nvme::{Outcome, Transfer};
use quarry_nvme_wire::{Command, CompletionEntry, Status};
use quarry_volume::VolumeError;

use super::{Ended, Sending, Transmission};
use crate::outbox::Batch;
use crate::slots::Done;

impl Transmission<'_> {
    /// The completion of a command.
    pub(super) fn entry(&self, command: u16, status: Status, result: u64) -> CompletionEntry {
        let submission_head = if self.flow_control { self.submission_head } else { 0xFFFF };
        CompletionEntry { result, submission_head, queue: self.queue.number(), command, status }
    }

    /// Puts the answer to a command into the outbox.
    pub(super) fn answer(&mut self, done: Done) {
        let Done { command, transfer, held_bytes, outcome } = done;
        let Outcome { status, result, data, error } = outcome;
        if status != Status::SUCCESS {
            self.note_failure(&command, status, error.as_deref());
        }
        if self.outbox.is_terminated() {
            return self.share.give_back(held_bytes);
        }
        let entry = self.entry(command.id(), status, result);
        let returns =
            matches!(transfer, Transfer::ToHost(_)) && status == Status::SUCCESS && !data.is_empty();
        if !returns {
            self.share.give_back(held_bytes);
            return self.outbox.response(&entry);
        }
        // Without flow control nothing that the host needs is in a completion that says nothing but success.
        let omits_entry = !self.flow_control && result == 0;
        self.outbox.data(command.id(), data, (!omits_entry).then_some(&entry), held_bytes);
    }

    /// Refuses a command.
    pub(super) fn refuse(&mut self, command: &Command, status: Status) {
        self.note_failure(command, status, None);
        let entry = self.entry(command.id(), status, 0);
        self.outbox.response(&entry);
    }

    /// Counts a failure, and logs the first of a session and ever fewer of those that follow: a full pool fails every write.
    fn note_failure(&self, command: &Command, status: Status, error: Option<&VolumeError>) {
        let counters = self.session.counters();
        self.queue.note_failure(command, status, counters);
        let failures = counters.traffic().errors;
        if let Some(error) = error.filter(|_| failures.is_power_of_two()) {
            tracing::warn!(?command, ?status, failures, %error, "command failed");
        }
    }

    /// Ends the send under way, if it is done; whether it is.
    pub(super) fn poll_sending(&mut self, context: &mut Context<'_>) -> bool {
        let Some(sending) = &mut self.sending else { return false };
        let Poll::Ready(result) = Pin::new(&mut sending.completion).poll(context) else { return false };
        let Sending { held_bytes, .. } = self.sending.take().expect("just polled");
        self.share.send_ended();
        self.share.give_back(held_bytes);
        if let Err(error) = result {
            self.deaf = true;
            self.ended.get_or_insert(Ended::Io(error));
        }
        true
    }

    /// Sends what is done, one batch at a time; whether a batch is through already.
    pub(super) fn send(&mut self, context: &mut Context<'_>) -> bool {
        let mut through = false;
        while self.sending.is_none() {
            let Some(Batch { views, answers, held_bytes }) = self.outbox.take() else { break };
            if self.deaf {
                self.share.give_back(held_bytes);
                continue;
            }
            self.share.send_began();
            self.sending = Some(Sending { completion: self.stream.send(views), answers, held_bytes });
            through |= self.poll_sending(context);
        }
        through
    }

    /// How many commands are answered by what was not sent yet.
    pub(super) fn unsent(&self) -> usize {
        self.outbox.answers() + self.sending.as_ref().map_or(0, |sending| sending.answers)
    }
}
