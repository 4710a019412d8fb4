//! What a command asks of its volume, checked against what the volume is (NVM command set 1.0, 3.2).

use std::rc::Rc;

use quarry_env::BufferPool;
use quarry_target::{Counters, Member};
use quarry_volume::{Volume, WriteFlags, ZeroMode};

use super::fused::{Fused, Half, Part};
use super::reservation::Reserve;
use crate::limits::{COPY_RANGES_MAX, DATASET_RANGES_MAX, LBA_BYTES, STEP_BYTES, TRANSFER_BYTES_MAX};
use crate::namespaces::{Namespaces, OpenVolume, is_every};
use crate::subsystem::Subsystem;
use crate::transfer::Transfer;
use quarry_nvme_wire::Command;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::io;

/// Bytes of a range of Dataset Management.
pub(super) const DATASET_RANGE_BYTES: u32 = 16;
/// Bytes of a source range of Copy, in format 0.
pub(super) const COPY_RANGE_BYTES: u32 = 32;

/// Bytes of the longest list of ranges.
const LIST_BYTES_MAX: u32 = DATASET_RANGE_BYTES * DATASET_RANGES_MAX as u32;

const _: () = assert!(COPY_RANGE_BYTES as usize * COPY_RANGES_MAX <= LIST_BYTES_MAX as usize);

/// Dword 12 of commands with a range of blocks.
mod flag {
    pub const FUA: u32 = 1 << 30;
    /// Of Write Zeroes: the blocks may be deallocated.
    pub const DEALLOCATE: u32 = 1 << 25;
}
/// Dword 11 of Dataset Management: deallocate.
const DATASET_DEALLOCATE: u32 = 1 << 2;

/// What is asked for.
#[derive(Clone)]
pub(super) enum Verb {
    Nothing,
    Flush,
    Read,
    Write,
    Compare,
    WriteZeroes(ZeroMode),
    Deallocate,
    Verify,
    Copy,
    Fused(Part),
    Reserve(Reserve),
}

impl Verb {
    /// Whether the reservations of the volume let the queue do it now (Base 2.0, figure 475).
    pub(super) fn is_allowed(&self, member: &Member) -> bool {
        match self {
            Verb::Nothing | Verb::Reserve(_) => true,
            Verb::Read | Verb::Compare | Verb::Verify => member.may_read(),
            Verb::Copy => member.may_read() && member.may_write(),
            Verb::Flush | Verb::Write | Verb::WriteZeroes(_) | Verb::Deallocate | Verb::Fused(_) => {
                member.may_write()
            }
        }
    }

    /// Whether the namespace is still the host's to use so, and its reservations allow it.
    pub(super) fn may_begin(&self, open: &OpenVolume) -> Result<(), Status> {
        match open.permit.check() {
            // Who may only read by now may go on reading.
            Err(Status::WRITE_PROTECTED) if !self.changes() => {}
            checked => checked?,
        }
        if self.is_allowed(&open.member) { Ok(()) } else { Err(Status::RESERVATION_CONFLICT) }
    }

    fn changes(&self) -> bool {
        match self {
            Verb::Nothing | Verb::Flush | Verb::Read | Verb::Compare | Verb::Verify | Verb::Reserve(_) => {
                false
            }
            Verb::Write | Verb::WriteZeroes(_) | Verb::Deallocate | Verb::Copy | Verb::Fused(_) => true,
        }
    }
}

/// What few commands need beside their volume.
pub(super) struct Means {
    pub(super) buffers: BufferPool,
    pub(super) subsystem: Subsystem,
}

/// A valid command: its volume and what it asks of it.
#[derive(Clone)]
pub struct Request {
    pub(super) verb: Verb,
    pub(super) volume: Option<OpenVolume>,
    /// First byte.
    pub(super) offset: u64,
    /// Bytes of the range, or number of ranges.
    pub(super) length: u64,
    pub(super) flags: WriteFlags,
    pub(super) means: Option<Rc<Means>>,
}

/// A command that was understood.
pub(super) struct Decoded {
    pub(super) transfer: Transfer,
    pub(super) request: Request,
}

/// A range of blocks, as most commands name it in dwords 10 to 12.
struct Range {
    offset: u64,
    length: u64,
}

impl Range {
    fn of(command: &Command) -> Self {
        let (first, count) = (command.double_dword(10), u64::from(command.dword(12) & 0xFFFF) + 1);
        // A first block so high that it has no byte offset lies behind the end of every volume.
        Self { offset: first.saturating_mul(LBA_BYTES), length: count * LBA_BYTES }
    }

    fn fits(&self, volume: &OpenVolume) -> bool {
        let end = self.offset.checked_add(self.length);
        end.is_some_and(|end| end <= volume.blocks * LBA_BYTES)
    }
}

impl Request {
    /// A request that is done as soon as it begins.
    pub(super) fn nothing() -> Self {
        let flags = WriteFlags::default();
        Self { verb: Verb::Nothing, volume: None, offset: 0, length: 0, flags, means: None }
    }

    pub(super) fn with_means(mut self, means: &Rc<Means>) -> Self {
        self.means = matches!(self.verb, Verb::Copy | Verb::Reserve(_)).then(|| means.clone());
        self
    }

    /// What `command` asks of the namespace that it names; `cached` says whether writes may stay in a volatile cache.
    pub(super) fn decode(
        command: &Command,
        namespaces: &mut Namespaces,
        cached: bool,
    ) -> Result<Decoded, Status> {
        let (id, opcode) = (command.namespace(), command.opcode());
        if !is_known(opcode) {
            return Err(Status::INVALID_OPCODE);
        }
        if id == 0 || is_every(id) {
            return Err(Status::INVALID_NAMESPACE);
        }
        if is_reservation(opcode) {
            if !namespaces.host_has_id() {
                return Err(Status::HOST_ID_NOT_INITIALIZED);
            }
            let (verb, transfer) = Reserve::decode(command)?;
            let volume = Some(namespaces.volume(id)?.clone());
            let request = Request { verb: Verb::Reserve(verb), volume, ..Request::nothing() };
            return Ok(Decoded { transfer, request });
        }
        let volume = namespaces.volume(id)?;
        if changes(opcode) && volume.read_only {
            return Err(Status::WRITE_PROTECTED);
        }
        let fua = !cached || command.dword(12) & flag::FUA != 0;
        if !has_range(opcode) {
            return without_range(command, volume, WriteFlags { fua: !cached });
        }
        let range = Range::of(command);
        // It may have grown, of which this queue has not heard yet.
        let volume = if range.fits(volume) { volume } else { namespaces.reread(id)? };
        if !range.fits(volume) {
            return Err(Status::LBA_OUT_OF_RANGE);
        }
        let moves_data = matches!(opcode, io::READ | io::WRITE | io::COMPARE);
        if moves_data && range.length > u64::from(TRANSFER_BYTES_MAX) {
            return Err(Status::INVALID_FIELD);
        }
        let bytes = range.length as u32;
        let (verb, transfer) = match opcode {
            io::READ => (Verb::Read, Transfer::ToHost(bytes)),
            io::WRITE => (Verb::Write, Transfer::FromHost(bytes)),
            io::COMPARE => (Verb::Compare, Transfer::FromHost(bytes)),
            io::WRITE_ZEROES => (Verb::WriteZeroes(zero_mode(command)), Transfer::None),
            _ => (Verb::Verify, Transfer::None),
        };
        let fua = fua && (opcode != io::READ || command.dword(12) & flag::FUA != 0);
        let request = Self {
            verb,
            volume: Some(volume.clone()),
            offset: range.offset,
            length: range.length,
            flags: WriteFlags { fua },
            means: None,
        };
        Ok(Decoded { transfer, request })
    }

    pub(super) fn volume(&self) -> Option<&Rc<dyn Volume>> {
        self.volume.as_ref().map(|open| &open.volume)
    }

    /// Whether the reservations of the volume let the queue do it now.
    pub(super) fn is_allowed(&self) -> bool {
        self.volume.as_ref().is_none_or(|open| self.verb.is_allowed(&open.member))
    }

    /// Whether the range can be compared and written as one.
    pub(super) fn fits_exchange(&self) -> bool {
        self.volume.as_ref().is_some_and(|volume| self.length <= u64::from(volume.compare_bytes_max))
    }

    /// Whether both are for the same blocks of the same volume.
    pub(super) fn is_for_range_of(&self, other: &Self) -> bool {
        let same = |one: &Rc<dyn Volume>, other: &Rc<dyn Volume>| Rc::ptr_eq(one, other);
        (self.offset, self.length) == (other.offset, other.length)
            && self.volume().zip(other.volume()).is_some_and(|(one, other)| same(one, other))
    }

    /// The same as one half of a fused operation.
    pub(super) fn clone_as_half(&self, fused: &Rc<Fused>, half: Half) -> Self {
        Self { verb: Verb::Fused(Part::new(fused, half)), ..self.clone() }
    }

    /// Bytes that it reads on its own behalf while it is carried out, beside the data that it moves; at most
    /// [`WORKING_BYTES_MAX`](crate::limits::WORKING_BYTES_MAX).
    pub fn working_bytes(&self) -> u64 {
        let step = u64::from(STEP_BYTES);
        match self.verb {
            Verb::Verify | Verb::Compare => self.length.min(step),
            // What was read is put into one piece before it is written.
            Verb::Copy => 2 * step,
            _ => 0,
        }
    }

    /// Counts it, before it is carried out.
    pub fn count(&self, counters: &Counters) {
        match &self.verb {
            Verb::Read | Verb::Compare => counters.read(self.length),
            Verb::Write => counters.write(self.length),
            Verb::Fused(part) if part.half() == Half::Second => counters.write(self.length),
            Verb::Fused(_) => counters.read(self.length),
            _ => counters.other(),
        }
    }
}

fn is_reservation(opcode: u8) -> bool {
    matches!(
        opcode,
        io::RESERVATION_REGISTER | io::RESERVATION_REPORT | io::RESERVATION_ACQUIRE | io::RESERVATION_RELEASE
    )
}

fn is_known(opcode: u8) -> bool {
    has_range(opcode)
        || is_reservation(opcode)
        || matches!(opcode, io::FLUSH | io::DATASET_MANAGEMENT | io::COPY)
}

fn has_range(opcode: u8) -> bool {
    matches!(opcode, io::READ | io::WRITE | io::COMPARE | io::WRITE_ZEROES | io::VERIFY)
}

fn changes(opcode: u8) -> bool {
    matches!(opcode, io::WRITE | io::WRITE_ZEROES | io::DATASET_MANAGEMENT | io::COPY)
}

fn zero_mode(command: &Command) -> ZeroMode {
    match command.dword(12) & flag::DEALLOCATE {
        0 => ZeroMode::KeepAllocated,
        _ => ZeroMode::MayUnmap,
    }
}

/// Commands that name no range, or many of them in their data.
fn without_range(command: &Command, volume: &OpenVolume, flags: WriteFlags) -> Result<Decoded, Status> {
    let mut request = Request { volume: Some(volume.clone()), flags, ..Request::nothing() };
    let transfer = match command.opcode() {
        io::FLUSH => {
            request.verb = Verb::Flush;
            Transfer::None
        }
        io::DATASET_MANAGEMENT => {
            let deallocates = command.dword(11) & DATASET_DEALLOCATE != 0;
            request.verb = if deallocates { Verb::Deallocate } else { Verb::Nothing };
            request.length = u64::from(command.dword(10) & 0xFF) + 1;
            list_transfer(command, request.length as u32 * DATASET_RANGE_BYTES)?
        }
        _ => {
            let ranges = (command.dword(12) & 0xFF) + 1;
            let format = command.dword(12) >> 8 & 0xF;
            if format != 0 {
                return Err(Status::INVALID_FIELD);
            }
            if ranges as usize > COPY_RANGES_MAX {
                return Err(Status::COPY_LIMIT);
            }
            request.verb = Verb::Copy;
            request.offset = command.double_dword(10).saturating_mul(LBA_BYTES);
            request.length = u64::from(ranges);
            request.flags.fua |= command.dword(12) & flag::FUA != 0;
            list_transfer(command, ranges * COPY_RANGE_BYTES)?
        }
    };
    Ok(Decoded { transfer, request })
}

/// A list of `bytes` bytes. Linux always sends as much as the longest list has.
fn list_transfer(command: &Command, bytes: u32) -> Result<Transfer, Status> {
    match command.data_pointer()?.length() {
        length if (bytes..=LIST_BYTES_MAX).contains(&length) => Ok(Transfer::FromHost(length)),
        _ => Err(Status::SGL_LENGTH),
    }
}
