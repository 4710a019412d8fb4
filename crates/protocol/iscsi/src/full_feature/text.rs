//! Text requests (RFC 7143 sections 6.2, 11.10 and 11.11). A text may be longer than a unit, in both directions: the initiator
//! then goes on by the transfer tag that it was answered with.

use crate::limits::TEXT_BYTES_MAX;
use crate::targets::{self, Asker};
use quarry_iscsi_wire::pdu::{Header, NO_TAG, flags, opcode, reject};

use super::FullFeature;

/// An exchange of texts that is not over. A session has one at most; a new one takes the place of it.
pub(super) struct Exchange {
    task_tag: u32,
    transfer_tag: u32,
    /// What the initiator has said so far, as long as it has not said everything.
    asked: Vec<u8>,
    /// What is still to be told.
    told: Vec<u8>,
}

impl FullFeature<'_> {
    pub(super) fn text(&mut self, header: &Header, data: &[u8]) {
        let (is_final, goes_on) = (header.has(flags::FINAL), header.has(flags::CONTINUE));
        if is_final && goes_on {
            return self.reject(header, reject::PROTOCOL_ERROR);
        }
        let Exchange { mut asked, told, .. } = match self.take_exchange(header) {
            Ok(exchange) => exchange,
            Err(reason) => return self.reject(header, reason),
        };
        if !told.is_empty() {
            // The initiator asks for the rest, and has nothing to say itself.
            return match data {
                [] => self.tell_text(header, told),
                _ => self.reject(header, reject::PROTOCOL_ERROR),
            };
        }
        if asked.len() + data.len() > TEXT_BYTES_MAX {
            return self.reject(header, reject::PROTOCOL_ERROR);
        }
        asked.extend_from_slice(data);
        if goes_on {
            let transfer_tag = self.new_transfer_tag();
            self.exchange =
                Some(Exchange { task_tag: header.task_tag(), transfer_tag, asked, told: Vec::new() });
            return self.text_response(header, transfer_tag, 0, &[]);
        }
        let asker = Asker {
            target: self.surroundings.sees_target.then_some(&*self.surroundings.target),
            portals: &self.surroundings.portals,
            discovery: self.surroundings.discovery,
        };
        match targets::answer(&asked, &asker, &mut self.parameters) {
            Ok(answer) => {
                self.outbox.set_segment_bytes(self.parameters.initiator_segment_bytes);
                self.tell_text(header, answer);
            }
            Err(error) => {
                tracing::debug!(session = %self.session.id(), %error, "a text request is refused");
                self.reject(header, reject::PROTOCOL_ERROR);
            }
        }
    }

    /// The exchange that a request goes on with, or a new one.
    fn take_exchange(&mut self, header: &Header) -> Result<Exchange, u8> {
        let (task_tag, transfer_tag) = (header.task_tag(), header.transfer_tag());
        let former = self.exchange.take();
        if transfer_tag == NO_TAG {
            return Ok(Exchange { task_tag, transfer_tag, asked: Vec::new(), told: Vec::new() });
        }
        let is_meant = |one: &Exchange| (one.task_tag, one.transfer_tag) == (task_tag, transfer_tag);
        former.filter(is_meant).ok_or(reject::INVALID_FIELD)
    }

    /// Tells as much as the initiator takes in one unit, and keeps the rest until it asks for that.
    fn tell_text(&mut self, header: &Header, mut answer: Vec<u8>) {
        let bytes = answer.len().min(self.parameters.initiator_segment_bytes as usize);
        let told = answer.split_off(bytes);
        let is_final = header.has(flags::FINAL);
        if told.is_empty() && is_final {
            return self.text_response(header, NO_TAG, flags::FINAL, &answer);
        }
        // An initiator that has not set F has more to ask (RFC 7143 section 11.11.1).
        let flag = if told.is_empty() { 0 } else { flags::CONTINUE };
        let transfer_tag = self.new_transfer_tag();
        let asked = Vec::new();
        self.exchange = Some(Exchange { task_tag: header.task_tag(), transfer_tag, asked, told });
        self.text_response(header, transfer_tag, flag, &answer);
    }

    fn text_response(&mut self, request: &Header, transfer_tag: u32, flag: u8, text: &[u8]) {
        let mut answer = Header::new(opcode::TEXT_RESPONSE);
        answer.0[1] = flag;
        answer.set_u32(16, request.task_tag());
        answer.set_u32(20, transfer_tag);
        self.numbers.stamp(&mut answer);
        self.outbox.small(&answer, text);
    }
}
