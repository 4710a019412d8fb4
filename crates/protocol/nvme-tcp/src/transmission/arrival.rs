//! Data that the host was asked for, as it comes.
//!
//! What comes in one PDU and is small is a view of the receive that it came with; everything else is received to where it
//! stays.

use quarry_env::View;
use quarry_nvme::Transfer;
use quarry_nvme_wire::Status;

use super::{Ended, Halt, Transmission};
use crate::limits::DATA_BYTES_DIRECT;
use crate::slots::{Admitted, Arrival, State};
use quarry_nvme_wire::digest::{DIGEST_BYTES, digest};
use quarry_nvme_wire::pdu::{Common, DataHeader, Fatal, FatalStatus, Layout, flag};

/// Offsets of the fields of H2CData, which a termination points to.
mod field {
    pub const FLAGS: u32 = 1;
    pub const COMMAND: u32 = 8;
    pub const TAG: u32 = 10;
    pub const LENGTH: u32 = 16;
}

/// An H2CData whose data is received into the memory of its command.
pub(super) struct Incoming {
    slot: usize,
    at: usize,
    length: usize,
    has_digest: bool,
}

impl Transmission<'_> {
    /// An H2CData, of which the header is there.
    pub(super) fn parse_data(&mut self, common: &Common, layout: &Layout) -> Result<Option<Halt>, Ended> {
        let header = DataHeader::decode(self.receiver.bytes());
        let total = match self.check_data(common, &header, layout) {
            Ok(total) => total,
            Err(fatal) => return Err(self.terminate(fatal)),
        };
        let slot = usize::from(header.tag);
        if header.length == total && layout.data.len() < DATA_BYTES_DIRECT {
            if self.receiver.bytes().len() < layout.bytes {
                return Ok(Some(Halt::Needs(layout.bytes)));
            }
            self.receiver.advance(layout.data.start);
            let data = self.receiver.take(layout.data.len());
            let intact = !layout.has_data_digest || self.take_digest() == Some(digest(&data));
            self.arrived(slot, data, intact);
            return Ok(None);
        }
        if self.receiver.bytes().len() < layout.data.start {
            return Ok(Some(Halt::Needs(layout.data.start)));
        }
        self.receiver.advance(layout.data.start);
        let Some(State::Receives(_, arrival)) = self.slots.state(slot) else {
            unreachable!("the header was checked against it")
        };
        let buffer = arrival.buffer.take();
        let buffer = buffer.unwrap_or_else(|| self.env.buffers.allocate(total as usize));
        let (at, length) = (header.offset as usize, header.length as usize);
        self.receiver.begin_payload(buffer, at, at + length);
        self.incoming = Some(Incoming { slot, at, length, has_digest: layout.has_data_digest });
        Ok(None)
    }

    /// Whether data is what was asked for; how much that is in all.
    fn check_data(&mut self, common: &Common, header: &DataHeader, layout: &Layout) -> Result<u32, Fatal> {
        if header.length as usize != layout.data.len() {
            return Err(Fatal::field(field::LENGTH));
        }
        let Some(State::Receives(admitted, arrival)) = self.slots.state(usize::from(header.tag)) else {
            return Err(Fatal::field(field::TAG));
        };
        let Transfer::FromHost(total) = admitted.transfer else { unreachable!("its data was asked for") };
        if admitted.command.id() != header.command {
            return Err(Fatal::field(field::COMMAND));
        }
        // Everything is asked for at once, and comes in order.
        let end = header.offset.checked_add(header.length).filter(|&end| end <= total);
        let Some(end) = end.filter(|_| header.offset == arrival.received) else {
            return Err(Fatal::because(FatalStatus::DataOutOfRange));
        };
        if (common.flags & flag::LAST != 0) != (end == total) {
            return Err(Fatal::field(field::FLAGS));
        }
        Ok(total)
    }

    /// Goes on with the data of an H2CData, and with the digest behind it.
    pub(super) fn parse_incoming(&mut self) -> Result<Option<Halt>, Ended> {
        let Some(incoming) = self.incoming.take() else { return Ok(None) };
        let Incoming { slot, at, length, has_digest } = incoming;
        if self.receiver.awaits_payload() {
            let Some(buffer) = self.receiver.take_payload() else {
                self.incoming = Some(incoming);
                return Ok(Some(Halt::Needs(1)));
            };
            let Some(State::Receives(_, arrival)) = self.slots.state(slot) else {
                unreachable!("a command waits until its data is there")
            };
            arrival.buffer = Some(buffer);
        }
        if has_digest && self.receiver.bytes().len() < DIGEST_BYTES {
            self.incoming = Some(incoming);
            return Ok(Some(Halt::Needs(DIGEST_BYTES)));
        }
        let found = if has_digest { self.take_digest() } else { None };
        let Some(State::Receives(admitted, arrival)) = self.slots.state(slot) else {
            unreachable!("a command waits until its data is there")
        };
        let buffer = arrival.buffer.as_ref().expect("it was put there");
        arrival.damaged |= has_digest && found != Some(digest(&buffer[at..at + length]));
        arrival.received += length as u32;
        let complete = Transfer::FromHost(arrival.received) == admitted.transfer;
        if complete {
            let intact = !arrival.damaged;
            let data = arrival.buffer.take().expect("it was put there").freeze();
            self.arrived(slot, data, intact);
        }
        Ok(None)
    }

    /// All data of a command is there.
    fn arrived(&mut self, slot: usize, data: View, intact: bool) {
        self.share.arrived();
        let State::Receives(admitted, Arrival { .. }) = self.slots.take(slot) else {
            unreachable!("a command waits until its data is there")
        };
        if intact {
            return self.begin(slot, admitted, Some(data));
        }
        self.slots.put(slot, State::Free);
        let Admitted { command, held_bytes, .. } = admitted;
        self.share.give_back(held_bytes);
        self.refuse(&command, Status::TRANSIENT_TRANSPORT_ERROR);
    }
}
