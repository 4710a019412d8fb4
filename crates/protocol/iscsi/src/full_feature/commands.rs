//! What each unit asks for, and SCSI commands in particular.

use quarry_scsi::{Accepted, Cdb, Code, Kind, Reply, Sense, Status, Task};
use quarry_target::Shortage;

use crate::collect::{Collecting, Segment};
use crate::numbers::Arrival;
use crate::request::{Request, Work};
use quarry_iscsi_wire::pdu::{Header, NO_TAG, flags, opcode, reject};

use super::parse::Shape;
use super::{Ended, FullFeature, Halt};

/// A command that was accepted, and that waits for memory or for the rest of its data segment. Its unit is the next one in the
/// receiver still.
pub(super) struct Held {
    header: Header,
    shape: Shape,
    request: Request,
    task: Task,
    /// Whether the digest of its data has been looked at, which it can be when all of the unit is there.
    is_checked: bool,
}

impl Held {
    pub(super) fn request(&self) -> &Request {
        &self.request
    }
}

impl FullFeature<'_> {
    /// Deals with a unit whose header is there, and all of it if `is_here`.
    pub(super) fn dispatch(
        &mut self,
        header: &Header,
        shape: Shape,
        is_here: bool,
    ) -> Result<Option<Halt>, Ended> {
        if header.opcode() == opcode::DATA_OUT {
            return self.data_out(header, shape, is_here);
        }
        // A SNACK has no number among the commands (RFC 7143 section 11.16).
        let is_numbered = !header.is_immediate() && header.opcode() != opcode::SNACK;
        if is_numbered {
            match self.numbers.arrive(header.command_number()) {
                Arrival::Next => {}
                Arrival::Ignored => {
                    self.drop_unit(&shape);
                    return Ok(None);
                }
                Arrival::Gap => {
                    return Err(Ended::Protocol("commands are missing in front of one that came"));
                }
            }
        }
        if let Some(reason) = self.refusal(header) {
            if is_numbered {
                self.numbers.close();
            }
            self.drop_unit(&shape);
            self.reject(header, reason);
            return Ok(None);
        }
        let is_task = matches!(header.opcode(), opcode::SCSI_COMMAND | opcode::TASK_MANAGEMENT);
        // Other commands wait for a place.
        if header.opcode() == opcode::TASK_MANAGEMENT && self.has_no_place_for_management() {
            if is_numbered {
                self.numbers.close();
            }
            self.drop_unit(&shape);
            self.reject(header, reject::TOO_MANY_IMMEDIATE);
            return Ok(None);
        }
        if is_task && self.is_in_use(header.task_tag()) {
            return Err(Ended::Protocol("a task tag that another task still has"));
        }
        if header.opcode() == opcode::SCSI_COMMAND {
            return self.scsi_command(header, shape, is_here);
        }
        if is_numbered {
            // Answered below, at once or, of task management, in its own time.
            self.numbers.close();
        }
        let data = self.receiver.bytes()[shape.data_at..shape.data_at + shape.data].to_vec();
        self.receiver.advance(shape.total());
        match header.opcode() {
            opcode::NOP_OUT => self.nop_out(header, &data),
            opcode::TASK_MANAGEMENT => self.task_management(header),
            opcode::TEXT => self.text(header, &data),
            opcode::LOGOUT => self.logout(header),
            // RFC 7143 section 11.16: not at error recovery level 0.
            opcode::SNACK => self.reject(header, reject::SNACK),
            opcode::LOGIN => return Err(Ended::Protocol("a login after the login")),
            _ => self.reject(header, reject::NOT_SUPPORTED),
        }
        Ok(None)
    }

    /// Why a unit is rejected whatever it asks for, if it is.
    fn refusal(&self, header: &Header) -> Option<u8> {
        /// Task attributes up to ACA (RFC 7143 section 11.3.1); those above are reserved.
        const ATTRIBUTE_MAX: u8 = 4;
        let code = header.opcode();
        let is_nameless = header.task_tag() == NO_TAG;
        // A NOP-Out without a tag is the answer to ours.
        let is_answer = code == opcode::NOP_OUT && is_nameless;
        let is_discovery = is_answer || matches!(code, opcode::TEXT | opcode::LOGOUT | opcode::LOGIN);
        // RFC 7143 section 4.3: whoever came to discover asks for targets, and goes.
        if self.surroundings.discovery && !is_discovery {
            return Some(reject::NOT_SUPPORTED);
        }
        let is_wrong = match code {
            opcode::SCSI_COMMAND => is_nameless || header.0[1] & 7 > ATTRIBUTE_MAX,
            opcode::TASK_MANAGEMENT | opcode::TEXT | opcode::LOGOUT => is_nameless,
            _ => false,
        };
        is_wrong.then_some(reject::INVALID_FIELD)
    }

    /// Whether a task that is still to be answered has this tag: data and answers of the two could not be told apart (RFC 7143
    /// section 11.2.1.8).
    fn is_in_use(&mut self, tag: u32) -> bool {
        self.collecting.iter().any(|one| one.request().task_tag == tag)
            || self.in_flight.requests_mut().any(|request| request.task_tag == tag && !request.aborted)
    }

    /// Passes over a unit with its data, which may not all be there.
    pub(super) fn drop_unit(&mut self, shape: &Shape) {
        self.receiver.advance(shape.data_at);
        self.skip = shape.data + shape.tail;
    }

    fn scsi_command(&mut self, header: &Header, shape: Shape, is_here: bool) -> Result<Option<Halt>, Ended> {
        let mut request = Request::new(header);
        self.check_unasked(header, &request, &shape)?;
        let out_bytes = if request.writes { request.expected_bytes } else { 0 };
        match self.nexus.accept(request.lun, &Cdb(header.cdb()), out_bytes) {
            Accepted::Answered(reply) => {
                self.drop_unit(&shape);
                self.session.counters().other();
                self.reply(request, reply);
                Ok(None)
            }
            // Data would go the wrong way, of which no residual tells.
            Accepted::Task(task) if task.out_bytes() > 0 && request.reads && !request.writes => {
                self.drop_unit(&shape);
                self.reply(request, Reply::check(Sense::illegal(Code::INVALID_FIELD_IN_COMMAND_UNIT)));
                Ok(None)
            }
            Accepted::Task(task) => {
                request.unit = Some(task.unit().clone());
                request.course = task.course();
                request.wanted_bytes = task.out_bytes();
                match task.kind() {
                    Kind::Read(bytes) => self.session.counters().read(bytes),
                    Kind::Write(bytes) => self.session.counters().write(bytes),
                    Kind::Other => self.session.counters().other(),
                }
                self.admit(Held { header: *header, shape, request, task, is_checked: is_here })
            }
        }
    }

    /// Data that comes without being asked for must have been agreed on (RFC 7143 sections 13.10, 13.11, 13.14).
    fn check_unasked(&self, header: &Header, request: &Request, shape: &Shape) -> Result<(), Ended> {
        let goes_on = request.writes && !header.has(flags::FINAL);
        if goes_on && self.parameters.initial_r2t {
            return Err(Ended::Protocol("data is announced that nobody asked for"));
        }
        if shape.data == 0 {
            return Ok(());
        }
        let most = self.parameters.first_burst_bytes.min(request.expected_bytes);
        if !self.parameters.immediate_data || shape.data > most as usize {
            return Err(Ended::Protocol("more data came with a command than was agreed on"));
        }
        Ok(())
    }

    pub(super) fn reply(&mut self, request: Request, reply: Reply) {
        if !request.immediate {
            self.numbers.close();
        }
        if reply.status != Status::Good {
            self.session.counters().error();
        }
        self.outbox.reply(&mut self.numbers, &request, reply);
    }

    /// Goes on with a command that was held, unless something has come in its way meanwhile.
    pub(super) fn resume(&mut self, mut held: Held) -> Result<Option<Halt>, Ended> {
        if !held.is_checked && self.receiver.bytes().len() >= held.shape.total() {
            self.check_data(&held.shape)?;
            held.is_checked = true;
        }
        match held.task.hindrance() {
            None => self.admit(held),
            Some(reply) => {
                self.drop_unit(&held.shape);
                self.reply(held.request, reply);
                Ok(None)
            }
        }
    }

    /// Gives up the command that is held, if it is meant: its data is passed over.
    pub(super) fn drop_held(&mut self, which: impl Fn(&Request) -> bool) {
        let Some(held) = self.held.take_if(|held| which(&held.request)) else { return };
        self.drop_unit(&held.shape);
        if !held.request.immediate {
            self.numbers.close();
        }
    }

    /// Gives a command its memory, and begins it or the collection of its data.
    fn admit(&mut self, held: Held) -> Result<Option<Halt>, Ended> {
        if self.is_crowded() {
            return Ok(self.wait_for_memory(held, Shortage::Session));
        }
        let Held { header, shape, .. } = held;
        let wanted = match held.request.writes {
            true => held.request.wanted_bytes.min(held.request.expected_bytes) as usize,
            false => 0,
        };
        let is_here = self.receiver.bytes().len() >= shape.total();
        let is_excess = shape.data > wanted && wanted > 0;
        if !is_here && is_excess {
            // It cannot be received to where it stays.
            self.held = Some(held);
            return Ok(Some(Halt::Needs(shape.total())));
        }
        let is_whole = is_here && shape.data >= wanted;
        let mut held_bytes = u64::from(held.task.in_bytes());
        if wanted > 0 {
            // A small payload keeps the whole receive from being used again; charge for a part of that.
            let pinned = if is_whole { self.receiver.pinned_bytes() / 8 } else { 0 };
            held_bytes += wanted.max(pinned) as u64;
        }
        if let Err(shortage) = self.share.try_take(held_bytes) {
            return Ok(self.wait_for_memory(held, shortage));
        }
        let Held { mut request, task, .. } = held;
        request.held_bytes = held_bytes;
        if wanted == 0 || is_whole {
            let data = self.take_whole(&shape, wanted);
            self.start(request, Work::Command(task.perform(data)));
            return Ok(None);
        }
        self.collect(&header, shape, request, task, wanted, is_here)
    }

    /// The data of a unit of which nothing else is wanted.
    fn take_whole(&mut self, shape: &Shape, wanted: usize) -> Option<quarry_env::View> {
        if wanted == 0 {
            self.drop_unit(shape);
            return None;
        }
        self.receiver.advance(shape.data_at);
        let data = self.receiver.take(wanted);
        self.receiver.advance(shape.data - wanted + shape.tail);
        Some(data)
    }

    fn collect(
        &mut self,
        header: &Header,
        shape: Shape,
        request: Request,
        task: Task,
        wanted: usize,
        is_here: bool,
    ) -> Result<Option<Halt>, Ended> {
        let is_final = header.has(flags::FINAL);
        let buffer = self.env.buffers.allocate(wanted);
        let serial = self.next_serial;
        self.next_serial += 1;
        let wanted = wanted as u32;
        let mut collecting =
            Collecting::new(serial, request, task, buffer, wanted, !is_final, &self.parameters);
        let place = self.collecting.len();
        if is_here {
            let data = &self.receiver.bytes()[shape.data_at..shape.data_at + shape.data];
            collecting.take(data);
            self.collecting.push(collecting);
            self.receiver.advance(shape.total());
            self.segment_ended(place, is_final);
            return Ok(None);
        }
        let segment = Segment { serial, bytes: shape.data, is_final };
        let (buffer, filled) = collecting.lend(shape.data);
        self.collecting.push(collecting);
        self.receive_segment(&shape, segment, buffer, filled);
        Ok(None)
    }

    /// Holds a command until there is memory, or a place among those under way. Where there will be none before the data of other commands has been taken in, it
    /// is turned away, and comes again.
    fn wait_for_memory(&mut self, held: Held, shortage: Shortage) -> Option<Halt> {
        let frees = !self.in_flight.is_empty() || !self.outbox.is_empty() || self.sending.is_some();
        if frees || self.collecting.is_empty() {
            self.held = Some(held);
            return Some(if shortage == Shortage::Session { Halt::Full } else { Halt::NoMemory });
        }
        self.drop_unit(&held.shape);
        let full = Reply { status: Status::TaskSetFull, ..Reply::good() };
        self.reply(held.request, full);
        None
    }

    fn nop_out(&mut self, header: &Header, data: &[u8]) {
        if header.task_tag() == NO_TAG {
            // The answer to our question whether somebody is there, which having heard it answers.
            return;
        }
        let mut answer = Header::new(opcode::NOP_IN);
        answer.set_lun(header.lun());
        answer.set_u32(16, header.task_tag());
        answer.set_u32(20, NO_TAG);
        self.numbers.stamp(&mut answer);
        let length = data.len().min(self.parameters.initiator_segment_bytes as usize);
        self.outbox.small(&answer, &data[..length]);
    }

    fn logout(&mut self, header: &Header) {
        /// There is no such connection, and connection recovery is not supported (RFC 7143 section 11.15.1).
        const NO_CONNECTION: u8 = 1;
        const NO_RECOVERY: u8 = 2;
        match header.0[1] & 0x7F {
            1 if header.u16(20) != self.surroundings.connection => {
                return self.answer_logout(header.task_tag(), NO_CONNECTION);
            }
            // Closing the session and closing its only connection are the same.
            0 | 1 => {}
            2 => return self.answer_logout(header.task_tag(), NO_RECOVERY),
            _ => return self.reject(header, reject::INVALID_FIELD),
        }
        self.drop_collecting(|_| true);
        self.logout = Some(header.task_tag());
    }

    /// Answers a logout when nothing is in flight any more.
    pub(super) fn finish_logout(&mut self) {
        if self.ended.is_some() || !self.in_flight.is_empty() {
            return;
        }
        if self.cold_reset {
            self.ended = Some(Ended::Reset);
        } else if let Some(task_tag) = self.logout.take() {
            self.answer_logout(task_tag, 0);
            self.ended = Some(Ended::LoggedOut);
        }
    }

    fn answer_logout(&mut self, task_tag: u32, response: u8) {
        let mut answer = Header::new(opcode::LOGOUT_RESPONSE);
        answer.0[2] = response;
        answer.set_u32(16, task_tag);
        self.numbers.stamp(&mut answer);
        self.outbox.header(&answer);
    }

    pub(super) fn reject(&mut self, header: &Header, reason: u8) {
        let mut answer = Header::new(opcode::REJECT);
        answer.0[2] = reason;
        answer.set_u32(16, NO_TAG);
        self.numbers.stamp(&mut answer);
        self.outbox.small(&answer, &header.0);
    }
}
