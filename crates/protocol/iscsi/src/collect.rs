//! Commands whose data is still on its way (RFC 7143 section 4.2.5.2): what came with the command, what comes without being asked
//! for, and what comes because it was asked for, one burst after the other.

use quarry_env::{Buffer, View};
use quarry_scsi::Task;

use crate::parameters::Parameters;
use crate::request::Request;
use quarry_iscsi_wire::pdu::{Header, NO_TAG, flags, opcode};

/// Data that breaks the rules; the command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DataError {
    /// A number out of order.
    #[error("data unit {found} came where {expected} was next")]
    Number {
        /// What came.
        found: u32,
        /// What should have come.
        expected: u32,
    },
    /// Not where the last data ended.
    #[error("data for offset {found} came where {expected} was next")]
    Offset {
        /// What came.
        found: u32,
        /// What should have come.
        expected: u32,
    },
    /// More than was agreed on or asked for.
    #[error("{bytes} bytes of data came, which are more than were asked for")]
    TooMuch {
        /// How much.
        bytes: usize,
    },
    /// A burst ended early.
    #[error("a burst ended {missing} bytes before its end")]
    Short {
        /// How much did not come.
        missing: u32,
    },
    /// Data when nobody has asked for any.
    #[error("data came that nobody asked for")]
    Unsolicited,
}

/// A command that waits for data.
pub(crate) struct Collecting {
    /// Its number in the session, which no other command has.
    serial: u64,
    request: Request,
    task: Task,
    /// Where the data is gathered. Away while data is received into it.
    buffer: Option<Buffer>,
    /// Bytes of data that the command will get: what it wants and the initiator has.
    wanted: u32,
    /// Bytes that have come, those among them that nobody wants.
    received: u32,
    /// Where the present burst ends at the latest.
    burst_end: u32,
    /// The tag of the present burst; none while data comes that nobody asked for.
    transfer_tag: u32,
    next_number: u32,
    next_r2t: u32,
}

/// Where a data segment belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    /// The command, by its serial: its task tag may name another command by the time that all of the segment is here.
    pub(crate) serial: u64,
    /// Bytes of data.
    pub(crate) bytes: usize,
    /// Whether the burst ends with it.
    pub(crate) is_final: bool,
}

impl Collecting {
    /// Begins with what came with the command. `goes_on` says that more comes without being asked for.
    pub(crate) fn new(
        serial: u64,
        request: Request,
        task: Task,
        buffer: Buffer,
        wanted: u32,
        goes_on: bool,
        parameters: &Parameters,
    ) -> Self {
        let unasked = parameters.first_burst_bytes.min(request.expected_bytes);
        let burst_end = if goes_on { unasked } else { 0 };
        Self {
            serial,
            request,
            task,
            buffer: Some(buffer),
            wanted,
            received: 0,
            burst_end,
            transfer_tag: NO_TAG,
            next_number: 0,
            next_r2t: 0,
        }
    }

    /// What is known of it.
    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    /// The command itself.
    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    /// Its number in the session.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether a burst is under way.
    pub(crate) fn is_in_burst(&self) -> bool {
        self.received < self.burst_end
    }

    /// Whether a Data-Out with this tag is for this command's present burst.
    pub(crate) fn is_for(&self, header: &Header) -> bool {
        header.task_tag() == self.request.task_tag && header.transfer_tag() == self.transfer_tag
    }

    /// Checks a Data-Out against what is to come.
    pub(crate) fn check(&mut self, header: &Header) -> Result<Segment, DataError> {
        let (number, offset, bytes) = (header.u32(36), header.u32(40), header.data_bytes());
        if !self.is_in_burst() {
            return Err(DataError::Unsolicited);
        }
        if number != self.next_number {
            return Err(DataError::Number { found: number, expected: self.next_number });
        }
        if offset != self.received {
            return Err(DataError::Offset { found: offset, expected: self.received });
        }
        if bytes > (self.burst_end - self.received) as usize {
            return Err(DataError::TooMuch { bytes });
        }
        self.next_number += 1;
        let is_final = header.has(flags::FINAL);
        Ok(Segment { serial: self.serial, bytes, is_final })
    }

    /// Whether the next `bytes` are all wanted, so that they can be received to where they stay.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.received as usize + bytes <= self.wanted as usize
    }

    /// Takes data that has arrived.
    pub(crate) fn take(&mut self, data: &[u8]) {
        let at = self.received as usize;
        let kept = data.len().min((self.wanted as usize).saturating_sub(at));
        if kept > 0 {
            let buffer = self.buffer.as_mut().expect("no data is being received into it");
            buffer[at..at + kept].copy_from_slice(&data[..kept]);
        }
        self.received += data.len() as u32;
    }

    /// Gives the buffer away, for the next `bytes` to be received into it; and how much of it is filled.
    pub(crate) fn lend(&mut self, bytes: usize) -> (Buffer, usize) {
        let mut buffer = self.buffer.take().expect("no data is being received into it");
        let filled = self.received as usize;
        buffer.set_length(filled + bytes);
        (buffer, filled)
    }

    /// Takes the buffer back, with the data in it.
    pub(crate) fn take_back(&mut self, mut buffer: Buffer) {
        self.received = buffer.len() as u32;
        buffer.set_length(self.wanted as usize);
        self.buffer = Some(buffer);
    }

    /// The last `bytes` that were received.
    pub(crate) fn last(&self, bytes: usize) -> &[u8] {
        let end = self.received as usize;
        let buffer = self.buffer.as_ref().expect("no data is being received into it");
        &buffer[end - bytes..end]
    }

    /// A burst has ended, or one begins: what is to be asked for next, or nothing when all is there.
    pub(crate) fn next_burst(&mut self, transfer_tag: u32, parameters: &Parameters) -> Option<Header> {
        if self.received >= self.wanted {
            return None;
        }
        let bytes = parameters.burst_bytes.min(self.wanted - self.received);
        let mut header = Header::new(opcode::R2T);
        header.set_lun(self.request.lun.0);
        header.set_u32(16, self.request.task_tag);
        header.set_u32(20, transfer_tag);
        header.set_u32(36, self.next_r2t);
        header.set_u32(40, self.received);
        header.set_u32(44, bytes);
        self.next_r2t += 1;
        self.next_number = 0;
        self.transfer_tag = transfer_tag;
        self.burst_end = self.received + bytes;
        Some(header)
    }

    /// Ends a burst: one that was asked for must be complete.
    pub(crate) fn end_burst(&mut self) -> Result<(), DataError> {
        if self.transfer_tag != NO_TAG && self.is_in_burst() {
            return Err(DataError::Short { missing: self.burst_end - self.received });
        }
        self.burst_end = self.received;
        Ok(())
    }

    /// The command, which will not get its data.
    pub(crate) fn into_request(self) -> Request {
        self.request
    }

    /// The command with its data, all of which is there.
    pub(crate) fn finish(self) -> (Request, Task, Option<View>) {
        let mut buffer = self.buffer.expect("no data is being received into it");
        buffer.set_length(self.wanted as usize);
        (self.request, self.task, Some(buffer.freeze()))
    }
}
