//! iSCSI: an initiator of RFC 7143 for one unit, with one session of one connection for each open disk.
//!
//! ErrorRecoveryLevel 0: whatever goes wrong ends the session, and the next one begins anew, which by its number ends what is
//! left of the one before. No authentication, no digests, no discovery.

mod address;
mod cdb;
mod connect;
mod login;
mod sense;
mod stream;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use quarry_env::View;
use quarry_iscsi_wire::pdu::{Header, NO_TAG, event, flags, opcode, padding};

pub use address::UnitAddress;
pub use connect::connect;

use crate::arrival::{claim_is_over, finish, note_error, receive_data};
use crate::error::{ConnectionError, wrong};
use crate::inbox::Inbox;
use crate::outgoing::{Outgoing, part_of};
use crate::request::{Request, Verb};
use crate::session::Session;
use crate::slots::Slots;
use sense::Ending;
use stream::{Numbers, command, next_header, pong, put, take_data};

/// Pings of the target that are not answered yet.
const PINGS_MAX: usize = 16;

/// What was agreed upon when the connection began.
struct Limits {
    lun: [u8; 8],
    block_log2: u32,
    /// Most data that goes along with a command.
    immediate_bytes_max: u32,
    /// Most data of one PDU.
    send_bytes_max: u32,
    /// The command that makes writes durable.
    flush: [u8; 16],
}

/// What the target has asked for and not been sent.
enum Owed {
    /// Data of a request.
    Data { cookie: u64, wanted: Header },
    /// The answer to a ping.
    Pong(Header),
}

/// A session with a unit.
pub struct Nexus {
    limits: Limits,
    numbers: RefCell<Numbers>,
    slots: RefCell<Slots>,
    owed: RefCell<VecDeque<Owed>>,
}

impl Nexus {
    fn new(limits: Limits, numbers: Numbers) -> Self {
        let numbers = RefCell::new(numbers);
        Self { limits, numbers, slots: RefCell::default(), owed: RefCell::default() }
    }

    /// Whether the target's window is open.
    pub fn has_room(&self) -> bool {
        self.numbers.borrow().has_room()
    }

    /// Sends a request as a command.
    pub fn put(&self, cookie: u64, request: &Request, out: &mut Outgoing) {
        let tag = self.slots.borrow_mut().take(cookie);
        let first = request.offset >> self.limits.block_log2;
        let blocks = request.length >> self.limits.block_log2;
        let (block, direction, expected) = match request.verb() {
            Verb::Read => (cdb::read(first, blocks), flags::READ, request.length),
            Verb::Write => (cdb::write(first, blocks), flags::WRITE, request.length),
            Verb::Flush => (self.limits.flush, 0, 0),
            Verb::Trim => (cdb::unmap(), flags::WRITE, cdb::UNMAP_BYTES as u32),
        };
        let mut header = command(tag.into(), self.limits.lun, &block, direction, expected);
        self.numbers.borrow_mut().stamp(&mut header);
        match request.verb() {
            Verb::Trim if expected <= self.limits.immediate_bytes_max => {
                put(out, header, &cdb::unmap_list(first, blocks));
            }
            Verb::Write => {
                let length = expected.min(self.limits.immediate_bytes_max) as usize;
                put_data(out, header, part_of(request.payload(), 0, length), length);
            }
            _ => put(out, header, &[]),
        }
    }

    /// Sends what the target has asked for.
    pub fn put_owed(&self, session: &Session, out: &mut Outgoing) -> Result<(), ConnectionError> {
        for owed in self.owed.borrow_mut().drain(..) {
            match owed {
                Owed::Pong(ping) => put(out, pong(&ping, &mut self.numbers.borrow_mut()), &[]),
                Owed::Data { cookie, .. } if !session.may_send_data(cookie) => return Err(claim_is_over()),
                Owed::Data { cookie, wanted } => {
                    let data = session.with_request(cookie, |request| match request.verb() {
                        Verb::Trim => vec![session.env.buffers.copy_of(&self.unmap_list(request))],
                        _ => request.payload().to_vec(),
                    });
                    // An answer may have come meanwhile: then nobody waits for it.
                    if let Some(data) = data {
                        self.put_pieces(&data, &wanted, out);
                    }
                }
            }
        }
        Ok(())
    }

    fn unmap_list(&self, request: &Request) -> [u8; cdb::UNMAP_BYTES] {
        let log2 = self.limits.block_log2;
        cdb::unmap_list(request.offset >> log2, request.length >> log2)
    }

    /// The data that an R2T asks for, in as many Data-Outs as it takes (RFC 7143 section 11.7).
    fn put_pieces(&self, data: &[View], wanted: &Header, out: &mut Outgoing) {
        let (mut at, end) = (wanted.u32(40), wanted.u32(40) + wanted.u32(44));
        let mut number = 0;
        while at < end {
            let length = self.limits.send_bytes_max.min(end - at);
            let mut header = Header::new(opcode::DATA_OUT);
            header.0[1] = if at + length == end { flags::FINAL } else { 0 };
            header.set_lun(self.limits.lun);
            header.set_u32(16, wanted.task_tag());
            header.set_u32(20, wanted.transfer_tag());
            self.numbers.borrow().stamp_status(&mut header);
            header.set_u32(36, number);
            header.set_u32(40, at);
            put_data(out, header, part_of(data, at as usize, length as usize), length as usize);
            at += length;
            number += 1;
        }
    }

    /// Says that no more comes.
    pub fn put_goodbye(&self, out: &mut Outgoing) {
        let mut header = Header::new(opcode::LOGOUT);
        header.0[0] |= 0x40;
        header.set_u32(16, NO_TAG - 1);
        self.numbers.borrow_mut().stamp(&mut header);
        put(out, header, &[]);
    }

    /// Receives the next PDU and does what it says.
    pub async fn receive(&self, session: &Rc<Session>, inbox: &mut Inbox) -> Result<(), ConnectionError> {
        let header = next_header(inbox).await?;
        match header.opcode() {
            opcode::DATA_IN => return self.receive_data(session, inbox, &header).await,
            opcode::SCSI_RESPONSE => {
                let data = take_data(inbox, &header).await?;
                self.take_in(session, &header, true);
                self.complete(session, &header, &data)?;
            }
            opcode::R2T => {
                take_data(inbox, &header).await?;
                self.take_in(session, &header, false);
                self.owe_data(session, &header)?;
            }
            opcode::NOP_IN => {
                take_data(inbox, &header).await?;
                // What the target says of itself does not count as an answer (RFC 7143 section 11.19).
                self.take_in(session, &header, header.task_tag() != NO_TAG);
                if header.transfer_tag() != NO_TAG {
                    let mut owed = self.owed.borrow_mut();
                    if owed.iter().filter(|owed| matches!(owed, Owed::Pong(_))).count() >= PINGS_MAX {
                        return Err(wrong("pings without end"));
                    }
                    owed.push_back(Owed::Pong(header));
                    session.changed.raise();
                }
            }
            opcode::ASYNC_MESSAGE => {
                take_data(inbox, &header).await?;
                self.take_in(session, &header, true);
                if header.0[36] != event::SCSI {
                    return Err(ConnectionError::Transient {
                        what: "it wants the session to end".to_owned(),
                    });
                }
            }
            opcode::REJECT => return Err(wrong("a reject of something of ours")),
            _ => return Err(wrong("a PDU that no target sends")),
        }
        Ok(())
    }

    /// The window may be open again.
    fn take_in(&self, session: &Session, header: &Header, has_status: bool) {
        let mut numbers = self.numbers.borrow_mut();
        let was_closed = !numbers.has_room();
        numbers.take_in(header, has_status);
        if was_closed && numbers.has_room() {
            session.changed.raise();
        }
    }

    async fn receive_data(
        &self,
        session: &Rc<Session>,
        inbox: &mut Inbox,
        header: &Header,
    ) -> Result<(), ConnectionError> {
        let cookie = self.slots.borrow().get(header.task_tag()).ok_or(wrong("data that nobody waits for"))?;
        let length = header.data_bytes();
        receive_data(session, inbox, cookie, header.u32(40), length as u32).await?;
        inbox.take_vec(padding(length)).await?;
        let has_status = header.has(flags::STATUS);
        self.take_in(session, header, has_status);
        if has_status { self.complete(session, header, &[]) } else { Ok(()) }
    }

    fn complete(&self, session: &Rc<Session>, header: &Header, data: &[u8]) -> Result<(), ConnectionError> {
        let cookie = self.slots.borrow_mut().give_back(header.task_tag());
        let cookie = cookie.ok_or(wrong("an answer that nobody waits for"))?;
        // Byte 2 of a SCSI Response: whether the target has brought it to the unit and back.
        if header.opcode() == opcode::SCSI_RESPONSE && header.0[2] != 0 {
            return Err(ConnectionError::Transient { what: "it could not carry out a command".to_owned() });
        }
        let ending = Ending::new(header.0[3], data);
        let moved_less = header.has(flags::UNDERFLOW | flags::OVERFLOW) && header.u32(44) != 0;
        let is_read = session.with_request(cookie, |request| request.verb()) == Some(Verb::Read);
        if !ending.is_good() {
            note_error(session, cookie, ending.failure()?);
        } else if moved_less && !is_read {
            let what = "the iSCSI unit has taken only a part of the data";
            note_error(session, cookie, std::io::Error::other(what));
        }
        finish(session, cookie)
    }

    fn owe_data(&self, session: &Session, header: &Header) -> Result<(), ConnectionError> {
        let cookie = self.slots.borrow().get(header.task_tag());
        let cookie = cookie.ok_or(wrong("a demand of data for a command that nobody has sent"))?;
        let length = session.with_request(cookie, |request| match request.verb() {
            Verb::Write => request.length,
            Verb::Trim => cdb::UNMAP_BYTES as u32,
            Verb::Read | Verb::Flush => 0,
        });
        let (offset, wanted) = (header.u32(40), header.u32(44));
        if wanted == 0 || offset.checked_add(wanted).is_none_or(|end| end > length.unwrap_or(0)) {
            return Err(wrong("a demand of more data than there is"));
        }
        let mut owed = self.owed.borrow_mut();
        if owed.iter().any(|owed| matches!(owed, Owed::Data { cookie: other, .. } if *other == cookie)) {
            return Err(wrong("a demand of data while another one of the same command is open"));
        }
        owed.push_back(Owed::Data { cookie, wanted: *header });
        session.changed.raise();
        Ok(())
    }
}

/// Sends a header with data as it is.
fn put_data(out: &mut Outgoing, mut header: Header, data: Vec<View>, length: usize) {
    header.set_data_bytes(length);
    out.put(&header.0);
    out.put_payload(data);
    out.put(&[0; 3][..padding(length)]);
}
