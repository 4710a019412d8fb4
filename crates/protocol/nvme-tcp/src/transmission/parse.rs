//! PDUs of the host, one after the other.

use quarry_nvme::Transfer;
use quarry_nvme_wire::{Command, DataPointer, Status};
use quarry_target::Shortage;

use super::{Ended, Halt, Transmission};
use crate::limits::DATA_BYTES_MAX;
use crate::slots::Admitted;
use quarry_nvme_wire::digest::{DIGEST_BYTES, digest};
use quarry_nvme_wire::pdu::{
    COMMAND_HEADER_BYTES, COMMON_BYTES, Common, Fatal, FatalStatus, Layout, check_header_digest, kind,
};

/// A command capsule in front of its data.
struct Capsule {
    command: Command,
    layout: Layout,
}

impl Transmission<'_> {
    /// Begins every command that has arrived and may be begun.
    pub(super) fn parse(&mut self) -> Halt {
        loop {
            if self.ended.is_some() {
                return Halt::Full;
            }
            match self.parse_one() {
                Ok(None) => {}
                Ok(Some(halt)) => return halt,
                Err(ended) => self.ended = Some(ended),
            }
        }
    }

    fn parse_one(&mut self) -> Result<Option<Halt>, Ended> {
        if self.incoming.is_some() {
            return self.parse_incoming();
        }
        // A host has no more commands under way than its queue has entries, answered but unread ones among them.
        if self.slots.used() + self.unsent() >= 2 * usize::from(self.entries) {
            return Ok(Some(Halt::Full));
        }
        let bytes = self.receiver.bytes();
        if bytes.len() < COMMON_BYTES {
            return Ok(Some(Halt::Needs(COMMON_BYTES)));
        }
        let common = Common::decode(bytes);
        let data_max = match common.kind {
            kind::HOST_DATA => DATA_BYTES_MAX,
            _ => self.queue.capsule_bytes_max(),
        };
        let layout = match common.check_from_host(&self.link, data_max) {
            Ok(layout) => layout,
            Err(fatal) => return Err(self.terminate(fatal)),
        };
        if self.receiver.bytes().len() < layout.header {
            return Ok(Some(Halt::Needs(layout.header)));
        }
        if let Err(fatal) = check_header_digest(self.receiver.bytes(), &layout, &self.link) {
            return Err(self.terminate(fatal));
        }
        match common.kind {
            kind::COMMAND => self.parse_command(layout),
            kind::HOST_DATA => self.parse_data(&common, &layout),
            _ => Err(Ended::Terminated),
        }
    }

    /// Tells the host what is wrong with the PDU that begins the received bytes.
    pub(super) fn terminate(&mut self, fatal: Fatal) -> Ended {
        let header = self.receiver.bytes();
        let header = &header[..header.len().min(COMMAND_HEADER_BYTES)];
        self.outbox.termination(&fatal, header);
        Ended::Fatal(fatal)
    }

    fn parse_command(&mut self, layout: Layout) -> Result<Option<Halt>, Ended> {
        if self.slots.used() >= usize::from(self.entries) {
            return Err(self.terminate(Fatal::because(FatalStatus::Sequence)));
        }
        let arrived = self.receiver.bytes();
        if arrived.len() < layout.bytes {
            return Ok(Some(Halt::Needs(layout.bytes)));
        }
        let command = arrived[COMMON_BYTES..COMMAND_HEADER_BYTES].try_into().expect("64 bytes");
        let capsule = Capsule { command: Command::new(command), layout };
        let held_bytes = match capsule.layout.data.len() {
            0 => 0,
            // A small payload keeps the whole receive from being used again; charge for a part of that.
            length => length.max(self.receiver.pinned_bytes() / 8) as u64,
        };
        match self.share.try_take(held_bytes) {
            Ok(()) => {}
            // Data of commands before this one lies behind it: it must pass, or none of them would ever end. Their number
            // bounds what is taken in.
            Err(_) if self.slots.receiving() > 0 => self.share.take(held_bytes),
            Err(Shortage::Session) => return Ok(Some(Halt::Full)),
            Err(Shortage::Core) => return Ok(Some(Halt::NoMemory)),
        }
        self.take_command(capsule, held_bytes)
    }

    /// Takes a capsule that is there in full, for whose data `held_bytes` were taken.
    fn take_command(&mut self, capsule: Capsule, held_bytes: u64) -> Result<Option<Halt>, Ended> {
        let Capsule { command, layout } = capsule;
        self.receiver.advance(layout.data.start);
        let data = (!layout.data.is_empty()).then(|| self.receiver.take(layout.data.len()));
        let intact = !layout.has_data_digest || self.take_digest() == data.as_deref().map(digest);
        self.take_entry();
        let length = layout.data.len();
        let verdict = self.queue.admit(&command, length).and_then(|admitted| match intact {
            true => Ok(admitted),
            false => Err(Status::TRANSIENT_TRANSPORT_ERROR),
        });
        let (transfer, prepared) = match verdict {
            Ok(admitted) => admitted,
            Err(status) => {
                self.share.give_back(held_bytes);
                self.refuse(&command, status);
                return Ok(None);
            }
        };
        let in_capsule = matches!(command.data_pointer(), Ok(DataPointer::Capsule { .. }));
        let payload = data.filter(|_| in_capsule && matches!(transfer, Transfer::FromHost(_)));
        let working_bytes = prepared.working_bytes();
        if payload.is_some() && working_bytes == 0 {
            let slot = self.slots.reserve();
            let admitted = Admitted { command, transfer, prepared, payload: None, held_bytes };
            self.begin(slot, admitted, payload);
        } else {
            self.share.give_back(held_bytes);
            let moved_bytes = match transfer {
                Transfer::None => 0,
                Transfer::ToHost(length) | Transfer::FromHost(length) => u64::from(length),
            };
            let held_bytes = moved_bytes + working_bytes;
            self.admit(Admitted { command, transfer, prepared, payload, held_bytes });
        }
        if self.queue.is_disconnect(&command) {
            return Err(Ended::Disconnected);
        }
        Ok(None)
    }

    /// The digest that comes next, which is there.
    pub(super) fn take_digest(&mut self) -> Option<u32> {
        let found = self.receiver.bytes().first_chunk().copied().map(u32::from_le_bytes);
        self.receiver.advance(DIGEST_BYTES);
        found
    }
}
