//! COMPARE AND WRITE and ORWRITE (SBC-4 5.5, 5.11): writes that depend on what is there, and that nothing comes between.

use std::rc::Rc;

use quarry_env::View;
use quarry_volume::{Comparison, Views, WriteFlags};

use crate::cdb::Cdb;
use crate::command::{Step, Work};
use crate::course::Course;
use crate::limits::{BLOCK_BYTES, ORWRITE_TRIES_MAX};
use crate::read_write::{check_protection, failed, is_forced, transfer, whole_blocks};
use crate::reply::Reply;
use crate::sense::{Code, Key, Sense};
use crate::unit::{Range, Unit};

/// Most blocks of one COMPARE AND WRITE: what the volume compares at once, as far as a byte can say.
pub(crate) fn compare_blocks_max(unit: &Unit) -> u8 {
    (unit.compare_bytes_max() / BLOCK_BYTES).min(u32::from(u8::MAX)) as u8
}

pub(crate) fn compare_and_write(unit: &Unit, cdb: &Cdb, out_bytes: u32) -> Result<Step, Sense> {
    check_protection(cdb)?;
    let count = cdb.u8(13);
    let range = unit.range(cdb.u64(2), u64::from(count))?;
    // What is compared and what is written are of one length, and both must be there.
    let wanted = 2 * range.bytes() as u32;
    if count > compare_blocks_max(unit) || out_bytes != wanted {
        return Err(Sense::field_in_cdb(13));
    }
    if count == 0 {
        return unit.volume().map(|_| Reply::good().into());
    }
    Ok(Step::with_data(Work::CompareAndWrite { range, fua: is_forced(cdb) }, wanted))
}

pub(crate) async fn perform_compare(
    unit: &Rc<Unit>,
    range: Range,
    fua: bool,
    data: Option<View>,
) -> Result<Reply, Sense> {
    let volume = unit.volume()?;
    let bytes = range.bytes() as usize;
    let Some(data) = data.filter(|data| data.len() == 2 * bytes) else {
        return Err(Sense::illegal(Code::INVALID_FIELD_IN_COMMAND_UNIT));
    };
    let (expected, data) = (data.slice(0..bytes), data.slice(bytes..2 * bytes));
    let done = volume.compare_and_write(range.offset(), expected, data, WriteFlags { fua }).await;
    match done.map_err(|error| failed(unit, &error, range.lba))? {
        Comparison::Written => Ok(Reply::good()),
        Comparison::Differs { at } => Err(Sense::new(Key::Miscompare, Code::MISCOMPARE).at(u64::from(at))),
    }
}

pub(crate) fn or_write(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    check_protection(cdb)?;
    let range = transfer(unit, cdb)?;
    if range.blocks == 0 {
        return unit.volume().map(|_| Reply::good().into());
    }
    Ok(Step::in_steps(Work::OrWrite { range, fua: is_forced(cdb) }, range, range.bytes() as u32))
}

pub(crate) async fn perform_or(
    unit: &Rc<Unit>,
    range: Range,
    fua: bool,
    data: Option<View>,
    course: &Course,
) -> Result<Reply, Sense> {
    let Some(data) = whole_blocks(data) else { return Ok(Reply::good()) };
    let step = (unit.compare_bytes_max() / BLOCK_BYTES * BLOCK_BYTES).max(BLOCK_BYTES) as usize;
    let mut at = 0;
    while at < data.len() {
        course.go_on()?;
        let now = step.min(data.len() - at);
        let lba = range.lba + (at / BLOCK_BYTES as usize) as u64;
        or_step(unit, lba, data.slice(at..at + now), fua).await?;
        at += now;
    }
    Ok(Reply::good())
}

/// Reads, and writes what comes of it if nobody has written in between.
async fn or_step(unit: &Unit, lba: u64, data: View, fua: bool) -> Result<(), Sense> {
    let volume = unit.volume()?;
    let offset = lba * u64::from(BLOCK_BYTES);
    for _ in 0..ORWRITE_TRIES_MAX {
        let read = volume.read(offset, data.len() as u32).await;
        let found = joined(unit, read.map_err(|error| failed(unit, &error, lba))?);
        let mut buffer = unit.buffers.allocate(data.len());
        for (byte, (found, data)) in buffer.iter_mut().zip(found.iter().zip(data.iter())) {
            *byte = found | data;
        }
        let flags = WriteFlags { fua };
        let done = volume.compare_and_write(offset, found, buffer.freeze(), flags).await;
        if done.map_err(|error| failed(unit, &error, lba))? == Comparison::Written {
            return Ok(());
        }
    }
    // Others write there all the time: the initiator may try again.
    Err(Sense::new(Key::AbortedCommand, Code::NONE))
}

/// What was read, in one piece.
fn joined(unit: &Unit, views: Views) -> View {
    if let [view] = &views[..] {
        return view.clone();
    }
    let bytes = views.iter().map(|view| view.len()).sum();
    let mut buffer = unit.buffers.allocate(bytes);
    let mut at = 0;
    for view in &views {
        buffer[at..at + view.len()].copy_from_slice(view);
        at += view.len();
    }
    buffer.freeze()
}
