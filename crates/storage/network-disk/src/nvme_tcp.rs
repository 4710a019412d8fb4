//! NVMe/TCP: a host of NVM Express Base 2.0 over the NVMe TCP transport 1.0, with one I/O queue for each connection.
//!
//! Each connection is a controller of its own: an admin queue, which is kept alive, and the queue of the requests. Flush is
//! taken to cover what other controllers of the subsystem have answered, as it is one namespace with one cache.
//! In-band authentication and TLS are not spoken.

mod address;
mod admin;
mod connect;
mod stream;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use quarry_env::{Env, View};
use quarry_nvme_wire::constants::{admin as admin_command, io as io_command};
use quarry_nvme_wire::pdu::{DataHeader, HEADER_BYTES, flag, kind, put_h2c_data};
use quarry_nvme_wire::{CommandBuilder, CompletionEntry, DataPointer, Status};

pub use address::NamespaceAddress;
pub use connect::connect;

use crate::arrival::{claim_is_over, finish, note_error, receive_data};
use crate::error::{ConnectionError, wrong};
use crate::inbox::Inbox;
use crate::limits::RESPONSE_TIME_MAX;
use crate::outgoing::{Outgoing, part_of};
use crate::request::{Request, Verb};
use crate::session::Session;
use crate::slots::Slots;
use admin::Asking;
use stream::{LINK, capsule, next_pdu};

/// How long the controller bears silence on the admin queue. It is broken three times as often.
const KEEP_ALIVE_MS: u32 = 15_000;
/// Bytes of one range of Dataset Management.
const RANGE_BYTES: usize = 16;
/// Dataset Management: deallocate (AD).
const DEALLOCATE: u32 = 1 << 2;

/// What was agreed upon when the connection began.
struct Limits {
    namespace: u32,
    block_log2: u32,
    /// Most data in the capsule of a command.
    capsule_data_bytes: u32,
    /// Most data of one H2CData.
    data_bytes_max: u32,
    /// Commands that may be on their way.
    commands_max: usize,
    /// Whether the controller wants to be kept alive.
    keeps_alive: bool,
}

/// Data that the controller has asked for and not been sent.
struct Owed {
    cookie: u64,
    wanted: DataHeader,
}

/// The queue of the requests, and the admin queue beside it.
pub struct Queue {
    limits: Limits,
    admin: RefCell<Option<Asking>>,
    slots: RefCell<Slots>,
    owed: RefCell<VecDeque<Owed>>,
}

impl Queue {
    fn new(limits: Limits, admin: Asking) -> Self {
        let admin = RefCell::new(Some(admin));
        Self { limits, admin, slots: RefCell::default(), owed: RefCell::default() }
    }

    /// Whether the queue takes another command.
    pub fn has_room(&self) -> bool {
        self.slots.borrow().taken() < self.limits.commands_max
    }

    /// Sends a request as a command.
    pub fn put(&self, cookie: u64, request: &Request, out: &mut Outgoing) {
        let id = self.slots.borrow_mut().take(cookie);
        let first = request.offset >> self.limits.block_log2;
        let blocks = request.length >> self.limits.block_log2;
        let command = |opcode| CommandBuilder::new(opcode, id).namespace(self.limits.namespace);
        let of_blocks = |opcode| command(opcode).double_dword(10, first).dword(12, blocks - 1);
        let host = |length| DataPointer::Host { length };
        match request.verb() {
            Verb::Read => {
                out.put(&capsule(&of_blocks(io_command::READ).data(host(request.length)).build(), 0))
            }
            Verb::Write if request.length <= self.limits.capsule_data_bytes => {
                let pointer = DataPointer::Capsule { length: request.length };
                let command = of_blocks(io_command::WRITE).data(pointer).build();
                out.put(&capsule(&command, request.length as usize));
                out.put_payload(request.payload().to_vec());
            }
            // The controller asks for the data.
            Verb::Write => {
                out.put(&capsule(&of_blocks(io_command::WRITE).data(host(request.length)).build(), 0));
            }
            Verb::Flush => out.put(&capsule(&command(io_command::FLUSH).build(), 0)),
            Verb::Trim => {
                let command = command(io_command::DATASET_MANAGEMENT).dword(11, DEALLOCATE);
                if RANGE_BYTES as u32 <= self.limits.capsule_data_bytes {
                    let pointer = DataPointer::Capsule { length: RANGE_BYTES as u32 };
                    out.put(&capsule(&command.data(pointer).build(), RANGE_BYTES));
                    out.put(&self.range(request));
                } else {
                    out.put(&capsule(&command.data(host(RANGE_BYTES as u32)).build(), 0));
                }
            }
        }
    }

    /// The range of a trim, as Dataset Management has it.
    fn range(&self, request: &Request) -> [u8; RANGE_BYTES] {
        let mut range = [0; RANGE_BYTES];
        range[4..8].copy_from_slice(&(request.length >> self.limits.block_log2).to_le_bytes());
        range[8..].copy_from_slice(&(request.offset >> self.limits.block_log2).to_le_bytes());
        range
    }

    /// Sends the data that the controller has asked for.
    pub fn put_owed(&self, session: &Session, out: &mut Outgoing) -> Result<(), ConnectionError> {
        for Owed { cookie, wanted } in self.owed.borrow_mut().drain(..) {
            if !session.may_send_data(cookie) {
                return Err(claim_is_over());
            }
            let data = session.with_request(cookie, |request| match request.verb() {
                Verb::Trim => vec![session.env.buffers.copy_of(&self.range(request))],
                _ => request.payload().to_vec(),
            });
            // An answer may have come meanwhile: then nobody waits for it.
            let Some(data) = data else { continue };
            self.put_pieces(&data, wanted, out);
        }
        Ok(())
    }

    fn put_pieces(&self, data: &[View], wanted: DataHeader, out: &mut Outgoing) {
        let (mut at, end) = (wanted.offset, wanted.offset + wanted.length);
        while at < end {
            let length = self.limits.data_bytes_max.min(end - at);
            let mut header = [0; HEADER_BYTES];
            let piece = DataHeader { offset: at, length, ..wanted };
            put_h2c_data(&mut header, &piece, at + length == end, &LINK);
            out.put(&header);
            out.put_payload(part_of(data, at as usize, length as usize));
            at += length;
        }
    }

    /// Receives the next PDU and does what it says.
    pub async fn receive(&self, session: &Rc<Session>, inbox: &mut Inbox) -> Result<(), ConnectionError> {
        let pdu = next_pdu(inbox).await?;
        match pdu.common.kind {
            kind::RESPONSE => self.complete(session, &pdu.completion()),
            kind::READY_TO_TRANSFER => self.owe(session, DataHeader::decode(&pdu.header)),
            kind::CONTROLLER_DATA => {
                let header = DataHeader::decode(&pdu.header);
                let cookie = self.slots.borrow().get(header.command.into());
                let cookie = cookie.ok_or(wrong("data that nobody waits for"))?;
                let length = pdu.layout.data.len() as u32;
                if header.length != length {
                    return Err(wrong("data of another length than its header says"));
                }
                receive_data(session, inbox, cookie, header.offset, length).await?;
                if pdu.common.flags & flag::SUCCESS != 0 {
                    self.slots.borrow_mut().give_back(header.command.into());
                    finish(session, cookie)?;
                }
                Ok(())
            }
            _ => Err(wrong("a PDU that no controller sends")),
        }
    }

    fn owe(&self, session: &Session, wanted: DataHeader) -> Result<(), ConnectionError> {
        let cookie = self.slots.borrow().get(wanted.command.into());
        let cookie = cookie.ok_or(wrong("a demand of data for a command that nobody has sent"))?;
        let length = session.with_request(cookie, |request| match request.verb() {
            Verb::Write => request.length,
            Verb::Trim => RANGE_BYTES as u32,
            Verb::Read | Verb::Flush => 0,
        });
        let end = wanted.offset.checked_add(wanted.length);
        if wanted.length == 0 || end.is_none_or(|end| end > length.unwrap_or(0)) {
            return Err(wrong("a demand of more data than there is"));
        }
        let mut owed = self.owed.borrow_mut();
        if owed.iter().any(|other| other.cookie == cookie) {
            return Err(wrong("a demand of data while another one of the same command is open"));
        }
        owed.push_back(Owed { cookie, wanted });
        session.changed.raise();
        Ok(())
    }

    fn complete(&self, session: &Rc<Session>, entry: &CompletionEntry) -> Result<(), ConnectionError> {
        let cookie = self.slots.borrow_mut().give_back(entry.command.into());
        let cookie = cookie.ok_or(wrong("an answer that nobody waits for"))?;
        if entry.status != Status::SUCCESS {
            note_error(session, cookie, failure(entry.status)?);
        }
        finish(session, cookie)
    }

    /// Breaks the silence of the admin queue until the controller does not answer.
    pub async fn keep_alive(&self, env: &Env) -> ConnectionError {
        // The controller ends with its admin queue, so that has to be there as long as this runs.
        let Some(mut asking) = self.admin.borrow_mut().take() else { return pending().await };
        if !self.limits.keeps_alive {
            return pending().await;
        }
        loop {
            env.clock.sleep(Duration::from_millis(u64::from(KEEP_ALIVE_MS) / 3)).await;
            let asked = asking.require(Asking::command(admin_command::KEEP_ALIVE), 0, "keeping alive");
            match select(Box::pin(asked), env.clock.sleep(RESPONSE_TIME_MAX)).await {
                Either::Left((Ok(_), _)) => {}
                Either::Left((Err(error), _)) => return error,
                Either::Right(_) => {
                    return ConnectionError::Silent { seconds: RESPONSE_TIME_MAX.as_secs() };
                }
            }
        }
    }
}

/// What a status is here: an error of the request, or of the connection when another one may do better (Base 2.0, 3.3.3.2).
fn failure(status: Status) -> Result<io::Error, ConnectionError> {
    let is = |other: Status| status.code() == other.code();
    let (kind, what) = if is(Status::CAPACITY_EXCEEDED) {
        (io::ErrorKind::StorageFull, "it has no space left")
    } else if is(Status::WRITE_PROTECTED) {
        (io::ErrorKind::ReadOnlyFilesystem, "it is write-protected")
    } else if is(Status::RESERVATION_CONFLICT) {
        (io::ErrorKind::PermissionDenied, "another host has reserved it")
    } else if is(Status::READ_ERROR) {
        (io::ErrorKind::Other, "it cannot read it any more")
    } else if is(Status::INVALID_FIELD) || is(Status::LBA_OUT_OF_RANGE) {
        (io::ErrorKind::InvalidInput, "it does not take the command")
    } else if status.may_retry() {
        return Err(ConnectionError::Transient { what: format!("{status:?}") });
    } else {
        (io::ErrorKind::Other, "it cannot do it")
    };
    Ok(io::Error::new(kind, format!("the NVMe controller answers {status:?}: {what}")))
}
