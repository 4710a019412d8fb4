//! PDUs of a target, as they come, and their numbers (RFC 7143). Nothing here has digests: the pool's checksums say more.

use quarry_iscsi_wire::pdu::{HEADER_BYTES, Header, NO_TAG, flags, opcode, padding};

use crate::error::ConnectionError;
use crate::inbox::Inbox;
use crate::outgoing::Outgoing;

/// The numbers of a session, from the initiator's side (RFC 7143 section 4.2.2).
pub struct Numbers {
    /// Of the next command (CmdSN).
    command: u32,
    /// Of the last command that the target takes now (MaxCmdSN).
    command_max: u32,
    /// Of the next answer (ExpStatSN).
    status: u32,
}

impl Numbers {
    /// As a login begins with them.
    pub fn new() -> Self {
        Self { command: 1, command_max: 1, status: 0 }
    }

    /// Whether the target takes another command.
    pub fn has_room(&self) -> bool {
        self.command_max.wrapping_sub(self.command) as i32 >= 0
    }

    /// Puts the numbers into a header, whose command counts unless it is immediate.
    pub fn stamp(&mut self, header: &mut Header) {
        header.set_u32(24, self.command);
        header.set_u32(28, self.status);
        if !header.is_immediate() {
            self.command = self.command.wrapping_add(1);
        }
    }

    /// Puts the number of answers alone, for Data-Out.
    pub fn stamp_status(&self, header: &mut Header) {
        header.set_u32(28, self.status);
    }

    /// Takes in what a header of the target says. `has_status` says that it counts as an answer.
    pub fn take_in(&mut self, header: &Header, has_status: bool) {
        if has_status {
            self.status = header.u32(24).wrapping_add(1);
        }
        let command_max = header.u32(32);
        // It never goes back (RFC 7143 section 4.2.2.1).
        if command_max.wrapping_sub(self.command_max) as i32 > 0 {
            self.command_max = command_max;
        }
    }
}

/// The next header. Its data, if there is any, is next in the inbox, with its padding.
pub async fn next_header(inbox: &mut Inbox) -> Result<Header, ConnectionError> {
    let bytes: [u8; HEADER_BYTES] = inbox.take_array().await?;
    let header = Header(bytes);
    inbox.take_vec(header.additional_bytes()).await?;
    Ok(header)
}

/// All data of a PDU that is short.
pub async fn take_data(inbox: &mut Inbox, header: &Header) -> Result<Vec<u8>, ConnectionError> {
    const SHORT_BYTES_MAX: usize = 32 << 10;
    let length = header.data_bytes();
    if length > SHORT_BYTES_MAX {
        return Err(crate::error::wrong("a PDU with more data than was asked for"));
    }
    let mut data = inbox.take_vec(length + padding(length)).await?;
    data.truncate(length);
    Ok(data)
}

/// Sends a header with a little data.
pub fn put(out: &mut Outgoing, mut header: Header, data: &[u8]) {
    header.set_data_bytes(data.len());
    out.put(&header.0);
    if !data.is_empty() {
        out.put(data);
        out.put(&[0; 3][..padding(data.len())]);
    }
}

/// What answers a ping of the target (NOP-In with a transfer tag).
pub fn pong(ping: &Header, numbers: &mut Numbers) -> Header {
    let mut header = Header::new(opcode::NOP_OUT);
    header.0[0] |= 0x40;
    header.set_lun(ping.lun());
    header.set_u32(16, NO_TAG);
    header.set_u32(20, ping.transfer_tag());
    numbers.stamp(&mut header);
    header
}

/// The header of a SCSI command (RFC 7143 section 11.3). `expected` is what it moves, in bytes.
pub fn command(tag: u32, lun: [u8; 8], cdb: &[u8; 16], direction: u8, expected: u32) -> Header {
    /// Simple task attribute.
    const SIMPLE: u8 = 1;
    let mut header = Header::new(opcode::SCSI_COMMAND);
    header.0[1] = flags::FINAL | direction | SIMPLE;
    header.set_lun(lun);
    header.set_u32(16, tag);
    header.set_u32(20, expected);
    header.0[32..48].copy_from_slice(cdb);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_opens_and_closes() {
        let mut numbers = Numbers::new();
        let mut command = Header::new(opcode::SCSI_COMMAND);
        assert!(numbers.has_room());
        numbers.stamp(&mut command);
        assert!(!numbers.has_room(), "one was allowed");
        let mut answer = Header::new(opcode::SCSI_RESPONSE);
        answer.set_u32(24, 9);
        answer.set_u32(32, 3);
        numbers.take_in(&answer, true);
        answer.set_u32(32, 2);
        numbers.take_in(&answer, false);
        assert!(numbers.has_room());
        numbers.stamp(&mut command);
        assert_eq!((command.u32(24), command.u32(28)), (2, 10));
        let mut ping = Header::new(opcode::NOP_IN);
        ping.set_u32(20, 77);
        let pong = pong(&ping, &mut numbers);
        assert_eq!((pong.u32(24), pong.transfer_tag(), pong.is_immediate()), (3, 77, true));
        assert!(numbers.has_room(), "an immediate command does not count");
    }
}
