//! What time, the server and other people do to a session.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use quarry_env::{Completion, Env};
use quarry_scsi::{Code, FIXED_BYTES, Sense};

use crate::limits::{DISCOVERY_TIME_MAX, LOGOUT_TIME, SILENCE_TIME, SILENCES_MAX, STOP_TIME_MAX};
use crate::sessions::Successor;
use quarry_iscsi_wire::pdu::{Header, NO_TAG, event, opcode};
use quarry_target::limits::STALL_CHECK_TIME;

use super::{Ended, FullFeature};

/// The tag of the question whether somebody is there.
const PING_TAG: u32 = 0;

/// The clocks of a session.
pub(super) struct Timers {
    silence: Completion<()>,
    heard: bool,
    /// Whether anything that the initiator says would be heard.
    receives: bool,
    silences: u32,
    discovery_limit: Option<Completion<()>>,
    stop_limit: Option<Completion<()>>,
    logout_limit: Option<Completion<()>>,
    stall_check: Option<Completion<()>>,
}

impl Timers {
    pub(super) fn new(env: &Env, discovery: bool) -> Self {
        Self {
            silence: env.clock.sleep(SILENCE_TIME),
            heard: true,
            receives: true,
            silences: 0,
            discovery_limit: discovery.then(|| env.clock.sleep(DISCOVERY_TIME_MAX)),
            stop_limit: None,
            logout_limit: None,
            stall_check: None,
        }
    }

    /// Something has come from the initiator.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// The session takes in what comes, or it does not for now.
    pub(super) fn set_receives(&mut self, receives: bool) {
        self.receives = receives;
    }
}

fn is_over(limit: &mut Option<Completion<()>>, context: &mut Context<'_>) -> bool {
    limit.as_mut().is_some_and(|limit| Pin::new(limit).poll(context).is_ready())
}

impl FullFeature<'_> {
    pub(super) fn poll_stop(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        if self.timers.stop_limit.is_none() && Pin::new(&mut self.stopped).poll(context).is_ready() {
            self.timers.stop_limit = Some(self.env.clock.sleep(STOP_TIME_MAX));
            let is_replaced = || self.surroundings.successor.as_ref().is_some_and(Successor::is_there);
            if self.sending.is_some() && is_replaced() {
                // RFC 7143 section 6.3.5: what it has under way ends; answers that it does not take are nobody's.
                self.deaf = true;
                self.stream.shutdown();
            }
            if self.ended.is_none() {
                self.tell(event::DROP, &[]);
                self.drop_collecting(|_| true);
                self.ended = Some(Ended::Stopped);
            }
        }
        match is_over(&mut self.timers.stop_limit, context) {
            true => Poll::Ready(Ended::Abandoned),
            false => Poll::Pending,
        }
    }

    /// Looks whether the initiator is still there, and whether it has gone as it was asked to.
    pub(super) fn poll_timers(&mut self, context: &mut Context<'_>) {
        if is_over(&mut self.timers.discovery_limit, context) {
            self.timers.discovery_limit = None;
            self.session.stop().stop();
        }
        if is_over(&mut self.timers.logout_limit, context) {
            self.timers.logout_limit = None;
            self.ended.get_or_insert(Ended::Barred);
        }
        while Pin::new(&mut self.timers.silence).poll(context).is_ready() {
            self.timers.silence = self.env.clock.sleep(SILENCE_TIME);
            // An initiator that nobody listens to is not silent, unless nobody listens because it does not take its answers.
            let is_up_to_us = !self.timers.receives && self.sending.is_none();
            if std::mem::take(&mut self.timers.heard) || is_up_to_us {
                self.timers.silences = 0;
                continue;
            }
            self.timers.silences += 1;
            if self.timers.silences >= SILENCES_MAX {
                self.deaf = true;
                self.stream.shutdown();
                self.ended.get_or_insert(Ended::Silent);
            } else if self.ended.is_none() {
                self.ping();
            }
        }
    }

    fn ping(&mut self) {
        let mut question = Header::new(opcode::NOP_IN);
        question.set_u32(16, NO_TAG);
        question.set_u32(20, PING_TAG);
        self.numbers.stamp_next(&mut question);
        self.outbox.header(&question);
    }

    /// Waits for memory, and looks from time to time for initiators that hold it for nothing.
    pub(super) fn poll_memory(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.share.wait(context.waker());
        let clock = &self.env.clock;
        let check = self.timers.stall_check.get_or_insert_with(|| clock.sleep(STALL_CHECK_TIME));
        if Pin::new(check).poll(context).is_pending() {
            return Poll::Pending;
        }
        self.timers.stall_check = None;
        // A session whose own initiator takes nothing has no claim on the memory of others.
        if self.sending.is_none() {
            self.share.cut_off_stalled(self.env.clock.now());
        }
        Poll::Ready(())
    }

    /// Follows what the initiator sees.
    pub(super) fn poll_changes(&mut self, context: &mut Context<'_>) {
        while Pin::new(&mut self.changed).poll(context).is_ready() {
            self.nexus.refresh();
            self.changed = self.surroundings.access.changed_since(self.nexus.generation());
        }
        if !self.nexus.take_changed() || self.ended.is_some() {
            return;
        }
        self.end_withdrawn();
        if self.nexus.numbers().is_empty() {
            self.tell(event::LOGOUT, &[]);
            self.timers.logout_limit = Some(self.env.clock.sleep(LOGOUT_TIME));
            return;
        }
        self.timers.logout_limit = None;
        let sense = Sense::attention(Code::LUNS_CHANGED).fixed();
        let mut data = [0; 2 + FIXED_BYTES];
        data[..2].copy_from_slice(&(FIXED_BYTES as u16).to_be_bytes());
        data[2..].copy_from_slice(&sense);
        self.tell(event::SCSI, &data);
    }

    /// An asynchronous message (RFC 7143 section 11.9).
    fn tell(&mut self, event: u8, data: &[u8]) {
        let mut message = Header::new(opcode::ASYNC_MESSAGE);
        message.set_u32(16, NO_TAG);
        message.0[36] = event;
        match event {
            // Parameter 3: seconds in which to log out.
            event::LOGOUT => message.set_u16(42, LOGOUT_TIME.as_secs() as u16),
            // Parameter 1: the connection; 2 and 3: seconds to wait before a new login, and that nothing is kept meanwhile.
            event::DROP => {
                message.set_u16(38, self.surroundings.connection);
                message.set_u16(40, 1);
            }
            _ => {}
        }
        self.numbers.stamp(&mut message);
        self.outbox.small(&message, data);
    }
}
