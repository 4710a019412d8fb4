//! READ and WRITE in all their lengths (SBC-4 5.15 to 5.18, 5.40 to 5.43), WRITE ATOMIC.

use std::rc::Rc;

use quarry_env::View;
use quarry_volume::{ErrorKind, VolumeError, WriteFlags};

use crate::cdb::Cdb;
use crate::command::{Step, Work};
use crate::limits::{BLOCK_BYTES, PHYSICAL_BLOCKS, TRANSFER_BYTES_MAX};
use crate::reply::Reply;
use crate::sense::{Code, Sense};
use crate::status::sense_of;
use crate::supported::opcode;
use crate::unit::{Range, Unit};

/// RDPROTECT, WRPROTECT and VRPROTECT: no unit has protection information.
const PROTECT: u8 = 0xE0;
const FUA: u8 = 0x08;

/// The blocks that a command of the usual form names: its logical block address, how many, and where the number stands.
pub(crate) fn blocks(cdb: &Cdb) -> (u64, u64, u16) {
    match cdb.opcode() >> 5 {
        0 => {
            let lba = cdb.u32(0) & 0x1F_FFFF;
            // SBC-4 5.15: no number means the largest.
            let count = if cdb.u8(4) == 0 { 256 } else { u64::from(cdb.u8(4)) };
            (u64::from(lba), count, 4)
        }
        1 | 2 => (u64::from(cdb.u32(2)), u64::from(cdb.u16(7)), 7),
        4 => (cdb.u64(2), u64::from(cdb.u32(10)), 10),
        _ => (u64::from(cdb.u32(2)), u64::from(cdb.u32(6)), 6),
    }
}

/// Refuses protection information.
pub(crate) fn check_protection(cdb: &Cdb) -> Result<(), Sense> {
    if cdb.has(1, PROTECT) { Err(Sense::field_in_cdb(1)) } else { Ok(()) }
}

/// The range of a command that transfers all of it.
pub(crate) fn transfer(unit: &Unit, cdb: &Cdb) -> Result<Range, Sense> {
    let (lba, count, place) = blocks(cdb);
    let range = unit.range(lba, count)?;
    if range.bytes() > u64::from(TRANSFER_BYTES_MAX) {
        return Err(Sense::field_in_cdb(place));
    }
    Ok(range)
}

/// Whether a write is to be safe before it is answered.
pub(crate) fn is_forced(cdb: &Cdb) -> bool {
    cdb.has(1, FUA)
}

pub(crate) fn read(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    let short = cdb.opcode() == opcode::READ_6;
    if !short {
        check_protection(cdb)?;
    }
    let range = transfer(unit, cdb)?;
    let fua = !short && is_forced(cdb);
    if range.blocks == 0 {
        return unit.volume().map(|_| Reply::good().into());
    }
    Ok(Step::Work { work: Work::Read { range, fua }, out_bytes: 0, in_bytes: range.bytes() as u32 })
}

pub(crate) fn write(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    let short = cdb.opcode() == opcode::WRITE_6;
    if !short {
        check_protection(cdb)?;
    }
    let range = transfer(unit, cdb)?;
    let fua = !short && is_forced(cdb);
    if range.blocks == 0 {
        return unit.volume().map(|_| Reply::good().into());
    }
    Ok(Step::with_data(Work::Write { range, fua }, range.bytes() as u32))
}

/// WRITE ATOMIC(16) (SBC-4 5.48): whole physical blocks, as many as the volume writes whole or not at all.
pub(crate) fn write_atomic(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    check_protection(cdb)?;
    let range = unit.range(cdb.u64(2), u64::from(cdb.u16(12)))?;
    if cdb.u16(10) != 0 {
        // ATOMIC BOUNDARY: writes are whole over any.
        return Err(Sense::field_in_cdb(10));
    }
    if range.blocks == 0 {
        return unit.volume().map(|_| Reply::good().into());
    }
    if !range.lba.is_multiple_of(u64::from(PHYSICAL_BLOCKS)) {
        return Err(Sense::field_in_cdb(2));
    }
    let is_whole = range.blocks.is_multiple_of(u64::from(PHYSICAL_BLOCKS));
    if !is_whole || range.blocks > u64::from(atomic_blocks_max(unit)) {
        return Err(Sense::field_in_cdb(12));
    }
    Ok(Step::with_data(Work::WriteAtomic { range, fua: is_forced(cdb) }, range.bytes() as u32))
}

/// Most blocks of one WRITE ATOMIC.
pub(crate) fn atomic_blocks_max(unit: &Unit) -> u32 {
    (unit.atomic_bytes_max() / BLOCK_BYTES).min(u32::from(u16::MAX))
}

/// The answer to a failure of the volume. Logged here: nobody above sees more than the sense data.
pub(crate) fn failed(unit: &Unit, error: &VolumeError, lba: u64) -> Sense {
    tracing::warn!(volume = %unit.id(), lba, %error, "a command failed");
    if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Fenced) {
        // Its pool may be opened anew, which makes it another volume.
        unit.disconnect();
    }
    sense_of(error.kind, lba)
}

pub(crate) async fn perform_read(unit: Rc<Unit>, range: Range, fua: bool) -> Reply {
    let volume = match unit.volume() {
        Ok(volume) => volume,
        Err(sense) => return sense.into(),
    };
    // SBC-4 5.16: what a forced read returns is on the medium.
    if fua && let Err(error) = volume.flush().await {
        return failed(&unit, &error, range.lba).into();
    }
    match volume.read(range.offset(), range.bytes() as u32).await {
        Ok(data) => Reply::data(data),
        Err(error) => failed(&unit, &error, range.lba).into(),
    }
}

/// The whole blocks of `data`: initiators may send less than their command says, and only that is written.
pub(crate) fn whole_blocks(data: Option<View>) -> Option<View> {
    let data = data?;
    let bytes = data.len() - data.len() % BLOCK_BYTES as usize;
    (bytes > 0).then(|| if bytes == data.len() { data } else { data.slice(0..bytes) })
}

pub(crate) async fn perform_write(unit: Rc<Unit>, range: Range, fua: bool, data: Option<View>) -> Reply {
    let Some(data) = whole_blocks(data) else { return Reply::good() };
    let volume = match unit.volume() {
        Ok(volume) => volume,
        Err(sense) => return sense.into(),
    };
    match volume.write(range.offset(), data, WriteFlags { fua }).await {
        Ok(()) => Reply::good(),
        Err(error) => failed(&unit, &error, range.lba).into(),
    }
}

pub(crate) async fn perform_atomic(
    unit: &Rc<Unit>,
    range: Range,
    fua: bool,
    data: Option<View>,
) -> Result<Reply, Sense> {
    let volume = unit.volume()?;
    // A part of the data would be a part of the write.
    let Some(data) = data.filter(|data| data.len() as u64 == range.bytes()) else {
        return Err(Sense::illegal(Code::INVALID_FIELD_IN_COMMAND_UNIT));
    };
    let written = volume.write_atomic(range.offset(), data, WriteFlags { fua }).await;
    written.map_err(|error| failed(unit, &error, range.lba))?;
    Ok(Reply::good())
}
