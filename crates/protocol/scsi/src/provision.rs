//! UNMAP and WRITE SAME (SBC-4 5.35, 5.51, 5.52): blocks that hold nothing, and blocks that hold the same.

use std::rc::Rc;

use quarry_env::View;
use quarry_volume::{ErrorKind, Volume, WriteFlags, ZeroMode};

use crate::cdb::{Cdb, u16_at, u32_at, u64_at};
use crate::command::{Step, Work};
use crate::course::Course;
use crate::limits::{BLOCK_BYTES, STEP_BYTES, UNMAP_DESCRIPTORS_MAX, WRITE_SAME_BLOCKS_MAX};
use crate::read_write::{blocks, check_protection, failed};
use crate::reply::Reply;
use crate::sense::{Code, Sense};
use crate::supported::opcode;
use crate::unit::{Range, Unit};

const ANCHOR: u8 = 0x10;
const UNMAP: u8 = 0x08;
/// PBDATA and LBDATA, which SBC-3 has made obsolete.
const NUMBERED: u8 = 0x06;
/// No data-out buffer: the blocks are zeroed.
const NDOB: u8 = 0x01;

const UNMAP_HEADER_BYTES: usize = 8;
const UNMAP_DESCRIPTOR_BYTES: usize = 16;

pub(crate) fn unmap(cdb: &Cdb) -> Result<Step, Sense> {
    if cdb.has(1, 1) {
        // Anchored blocks would have to keep space.
        return Err(Sense::field_in_cdb(1));
    }
    let length = cdb.u16(7);
    match usize::from(length) {
        0 => Ok(Reply::good().into()),
        1..UNMAP_HEADER_BYTES => Err(Sense::illegal(Code::PARAMETER_LIST_LENGTH)),
        _ => Ok(Step::with_data(Work::Unmap, u32::from(length))),
    }
}

/// The ranges of a list of descriptors, all inside the unit.
fn unmap_ranges(unit: &Unit, list: &[u8]) -> Result<Vec<Range>, Sense> {
    if list.len() < UNMAP_HEADER_BYTES {
        return Err(Sense::illegal(Code::PARAMETER_LIST_LENGTH));
    }
    let length = usize::from(u16_at(list, 2)).min(list.len() - UNMAP_HEADER_BYTES);
    let descriptors =
        list[UNMAP_HEADER_BYTES..UNMAP_HEADER_BYTES + length].chunks_exact(UNMAP_DESCRIPTOR_BYTES);
    if descriptors.len() > UNMAP_DESCRIPTORS_MAX as usize {
        return Err(Sense::field_in_parameters(2));
    }
    let range = |descriptor: &[u8]| unit.range(u64_at(descriptor, 0), u64::from(u32_at(descriptor, 8)));
    descriptors.map(range).collect()
}

pub(crate) async fn perform_unmap(
    unit: &Rc<Unit>,
    data: Option<View>,
    course: &Course,
) -> Result<Reply, Sense> {
    let ranges = unmap_ranges(unit, data.as_deref().unwrap_or_default())?;
    let volume = unit.volume()?;
    for range in ranges.into_iter().filter(|range| range.blocks > 0) {
        course.go_on()?;
        let freed = free(volume.as_ref(), range).await;
        freed.map_err(|error| failed(unit, &error, range.lba))?;
    }
    Ok(Reply::good())
}

/// Frees a range, all of which reads as zeroes afterwards: what is freed are physical blocks, and parts of those at its ends are
/// zeroed. A full pool has no room for that, and an UNMAP is what may make some, so there they stay as they are, which SBC-4
/// 4.7.3.4 allows.
async fn free(volume: &dyn Volume, range: Range) -> quarry_volume::Result<()> {
    let (offset, bytes, flags) = (range.offset(), range.bytes(), WriteFlags::default());
    match volume.write_zeroes(offset, bytes, ZeroMode::MayUnmap, flags).await {
        Err(error) if error.kind == ErrorKind::NoSpace => volume.discard(offset, bytes, flags).await,
        done => done,
    }
}

pub(crate) fn write_same(unit: &Unit, cdb: &Cdb, out_bytes: u32) -> Result<Step, Sense> {
    check_protection(cdb)?;
    let long = cdb.opcode() == opcode::WRITE_SAME_16;
    let zeroes = long && cdb.has(1, NDOB);
    if cdb.has(1, ANCHOR) || (cdb.has(1, NUMBERED)) {
        return Err(Sense::field_in_cdb(1));
    }
    let (lba, count, place) = blocks(cdb);
    // No number means everything up to the end.
    let range = match count {
        0 => unit.range(lba, unit.blocks().saturating_sub(lba))?,
        count => unit.range(lba, count)?,
    };
    if range.blocks > u64::from(WRITE_SAME_BLOCKS_MAX) {
        return Err(Sense::field_in_cdb(place));
    }
    let wanted = if zeroes { 0 } else { BLOCK_BYTES };
    if out_bytes != wanted {
        return Err(Sense::illegal(Code::INVALID_FIELD_IN_COMMAND_UNIT));
    }
    if range.blocks == 0 {
        return unit.volume().map(|_| Reply::good().into());
    }
    Ok(Step::in_steps(Work::WriteSame { range, unmap: cdb.has(1, UNMAP), zeroes }, range, wanted))
}

pub(crate) async fn perform_write_same(
    unit: &Rc<Unit>,
    range: Range,
    unmap: bool,
    data: Option<View>,
    course: &Course,
) -> Result<Reply, Sense> {
    let volume = unit.volume()?;
    let pattern = data.filter(|data| data.iter().any(|&byte| byte != 0));
    match pattern {
        // Unmapped blocks read as zeroes (LBPRZ): only where that is the pattern may they be unmapped (SBC-4 5.52).
        Some(pattern) => fill(unit, volume.as_ref(), range, &pattern, course).await?,
        None => {
            let mode = if unmap { ZeroMode::MayUnmap } else { ZeroMode::KeepAllocated };
            let done = volume.write_zeroes(range.offset(), range.bytes(), mode, WriteFlags::default()).await;
            done.map_err(|error| failed(unit, &error, range.lba))?;
        }
    }
    Ok(Reply::good())
}

/// Writes `pattern` to every block.
async fn fill(
    unit: &Unit,
    volume: &dyn Volume,
    range: Range,
    pattern: &[u8],
    course: &Course,
) -> Result<(), Sense> {
    let step = range.bytes().min(u64::from(STEP_BYTES));
    let mut buffer = unit.buffers.allocate(step as usize);
    buffer.chunks_exact_mut(pattern.len()).for_each(|block| block.copy_from_slice(pattern));
    let filled = buffer.freeze();
    let mut done = 0;
    while done < range.bytes() {
        course.go_on()?;
        let now = (range.bytes() - done).min(step) as usize;
        let at = range.offset() + done;
        let written = volume.write(at, filled.slice(0..now), WriteFlags::default()).await;
        written.map_err(|error| failed(unit, &error, at / u64::from(BLOCK_BYTES)))?;
        done += now as u64;
    }
    Ok(())
}
