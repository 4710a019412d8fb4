//! Commands that are asked one after the other: those of the admin queue, and Connect of every queue.

use quarry_env::BufferPool;
use quarry_nvme_wire::constants::{admin, fabrics};
use quarry_nvme_wire::pdu::{DataHeader, kind};
use quarry_nvme_wire::{CommandBuilder, DataPointer, Status, connect_data};

use super::stream::{capsule, next_pdu, send};
use crate::error::{ConnectionError, wrong};
use crate::host::Host;
use crate::inbox::Inbox;

/// Bytes of what Identify returns.
pub const IDENTIFY_BYTES: usize = 4096;
/// The one command that is on its way.
const COMMAND_ID: u16 = 1;

/// A queue with nothing else on its way.
pub struct Asking {
    inbox: Inbox,
    buffers: BufferPool,
}

/// What a command returns.
pub struct Answer {
    pub status: Status,
    pub result: u64,
    pub data: Vec<u8>,
}

/// What a queue is to be.
pub struct Wanted<'a> {
    pub host: &'a Host,
    pub subsystem: &'a str,
    pub queue: u16,
    /// Commands that may be on their way.
    pub entries: u16,
    pub controller: u16,
    pub keep_alive_ms: u32,
}

impl Asking {
    /// Over a connection that is initialized.
    pub fn new(inbox: Inbox, buffers: BufferPool) -> Self {
        Self { inbox, buffers }
    }

    /// The connection, for other commands.
    pub fn into_inbox(self) -> Inbox {
        self.inbox
    }

    /// Sends a command with `data` in its capsule, or a buffer for `expected` bytes; its answer, whatever it says.
    pub async fn ask(
        &mut self,
        command: CommandBuilder,
        data: &[u8],
        expected: usize,
    ) -> Result<Answer, ConnectionError> {
        let pointer = match data.len() {
            0 => DataPointer::Host { length: expected as u32 },
            length => DataPointer::Capsule { length: length as u32 },
        };
        let mut bytes = capsule(&command.data(pointer).build(), data.len()).to_vec();
        bytes.extend_from_slice(data);
        let stream = self.inbox.stream().clone();
        send(&stream, &self.buffers, &bytes).await?;
        let mut received = Vec::new();
        loop {
            let pdu = next_pdu(&mut self.inbox).await?;
            match pdu.common.kind {
                kind::RESPONSE => {
                    let entry = pdu.completion();
                    if entry.command != COMMAND_ID {
                        return Err(wrong("an answer to another command"));
                    }
                    return Ok(Answer { status: entry.status, result: entry.result, data: received });
                }
                kind::CONTROLLER_DATA => {
                    let header = DataHeader::decode(&pdu.header);
                    let length = pdu.layout.data.len();
                    if header.command != COMMAND_ID
                        || header.offset as usize != received.len()
                        || received.len() + length > expected
                    {
                        return Err(wrong("data that nobody asked for"));
                    }
                    received.extend(self.inbox.take_vec(length).await?);
                    if pdu.common.flags & quarry_nvme_wire::pdu::flag::SUCCESS != 0 {
                        return Ok(Answer { status: Status::SUCCESS, result: 0, data: received });
                    }
                }
                _ => return Err(wrong("a PDU that does not belong to the command")),
            }
        }
    }

    /// The same, which must succeed. `what` says what was asked for.
    pub async fn require(
        &mut self,
        command: CommandBuilder,
        expected: usize,
        what: &str,
    ) -> Result<Answer, ConnectionError> {
        let answer = self.ask(command, &[], expected).await?;
        if answer.status != Status::SUCCESS {
            let reason = format!("{what} fails with {:?}", answer.status);
            return Err(ConnectionError::Refused { what: "to be set up".to_owned(), reason });
        }
        if answer.data.len() != expected {
            return Err(wrong("an answer that is too short"));
        }
        Ok(answer)
    }

    /// Makes the connection a queue (Base 2.0, 6.3). Gives the controller's id.
    pub async fn connect_queue(&mut self, wanted: &Wanted<'_>) -> Result<u16, ConnectionError> {
        let data = connect_data(wanted.host.id, wanted.controller, wanted.subsystem, &wanted.host.nqn);
        let command = CommandBuilder::fabrics(fabrics::CONNECT, COMMAND_ID)
            .dword(10, u32::from(wanted.queue) << 16)
            .dword(11, u32::from(wanted.entries - 1))
            .dword(12, wanted.keep_alive_ms);
        let answer = self.ask(command, &data, 0).await?;
        if answer.status != Status::SUCCESS {
            return Err(refusal(wanted, &answer));
        }
        // AUTHREQ (Base 2.0, figure 382): in-band authentication, by ASCR or ATR.
        if answer.result >> 16 & 3 != 0 {
            return Err(ConnectionError::Refused {
                what: format!("the host '{}'", wanted.host.nqn),
                reason: "it demands authentication, which this client does not speak".to_owned(),
            });
        }
        Ok(answer.result as u16)
    }

    /// Reads a property.
    pub async fn property(&mut self, offset: u32, is_wide: bool) -> Result<u64, ConnectionError> {
        let command = CommandBuilder::fabrics(fabrics::PROPERTY_GET, COMMAND_ID)
            .byte(40, u8::from(is_wide))
            .dword(11, offset);
        Ok(self.require(command, 0, "reading a property").await?.result)
    }

    /// Writes a property.
    pub async fn set_property(&mut self, offset: u32, value: u32) -> Result<(), ConnectionError> {
        let command = CommandBuilder::fabrics(fabrics::PROPERTY_SET, COMMAND_ID)
            .dword(11, offset)
            .double_dword(12, value.into());
        self.require(command, 0, "setting a property").await.map(drop)
    }

    /// What the controller says of itself or of a namespace.
    pub async fn identify(&mut self, what: u8, namespace: u32) -> Result<Answer, ConnectionError> {
        let command =
            CommandBuilder::new(admin::IDENTIFY, COMMAND_ID).namespace(namespace).dword(10, what.into());
        self.ask(command, &[], IDENTIFY_BYTES).await
    }

    /// A command of the admin queue without data.
    pub fn command(opcode: u8) -> CommandBuilder {
        CommandBuilder::new(opcode, COMMAND_ID)
    }
}

/// Why Connect was refused, in words that say what to do.
fn refusal(wanted: &Wanted<'_>, answer: &Answer) -> ConnectionError {
    let (host, subsystem) = (&wanted.host.nqn, wanted.subsystem);
    let reason = if answer.status.code() == Status::CONNECT_HOST.code() {
        format!("it does not allow the host '{host}'; let it, or give that host access")
    } else if answer.status.code() == Status::CONNECT_PARAMETERS.code() {
        format!("there is none of that name here, or not for the host '{host}'")
    } else if answer.status.code() == Status::CONNECT_BUSY.code() {
        return ConnectionError::Transient { what: "it has as many controllers as it can".to_owned() };
    } else {
        format!("{:?}", answer.status)
    };
    ConnectionError::Refused { what: format!("the subsystem '{subsystem}'"), reason }
}
