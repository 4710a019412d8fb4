//! How large a unit is, and which of its blocks hold something (SBC-4 5.8, 5.20, 5.21).

use std::rc::Rc;

use quarry_volume::ExtentKind;

use crate::cdb::Cdb;
use crate::command::{Step, Work};
use crate::limits::{BLOCK_BYTES, LBA_STATUS_BYTES_MAX, LBA_STATUS_DESCRIPTORS_MAX, PHYSICAL_BLOCK_EXPONENT};
use crate::read_write::failed;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::unit::{Range, Unit};

const STATUS_HEADER_BYTES: usize = 8;
const STATUS_DESCRIPTOR_BYTES: usize = 16;
/// Logical block provisioning is there (LBPME), and unmapped blocks read as zeroes (LBPRZ).
const THIN: u8 = 0x80 | 0x40;

/// The size as it is now: a volume that grows tells nobody but through its facts.
fn last_block(unit: &Unit) -> Result<u64, Sense> {
    unit.volume()?;
    unit.look();
    Ok(unit.blocks().saturating_sub(1))
}

pub(crate) fn read_capacity_10(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    if !cdb.has(8, 1) && cdb.u32(2) != 0 {
        // PMI, which SBC-3 has made obsolete: an address means something only with it.
        return Err(Sense::field_in_cdb(2));
    }
    let last = u32::try_from(last_block(unit)?).unwrap_or(u32::MAX);
    let data = [last.to_be_bytes(), BLOCK_BYTES.to_be_bytes()].concat();
    Ok(Reply::bytes(&unit.buffers, &data, u32::MAX).into())
}

pub(crate) fn read_capacity_16(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    let mut data = [0; 32];
    data[..8].copy_from_slice(&last_block(unit)?.to_be_bytes());
    data[8..12].copy_from_slice(&BLOCK_BYTES.to_be_bytes());
    data[13] = PHYSICAL_BLOCK_EXPONENT;
    data[14] = THIN;
    Ok(Reply::bytes(&unit.buffers, &data, cdb.u32(10)).into())
}

pub(crate) fn lba_status(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    let lba = cdb.u64(2);
    let allocation = cdb.u32(10);
    unit.range(lba, 1)?;
    let blocks = (unit.blocks() - lba).min(LBA_STATUS_BYTES_MAX / u64::from(BLOCK_BYTES));
    let range = unit.range(lba, blocks)?;
    let in_bytes = (STATUS_HEADER_BYTES + LBA_STATUS_DESCRIPTORS_MAX * STATUS_DESCRIPTOR_BYTES) as u32;
    let work = Work::LbaStatus { range, allocation };
    Ok(Step::Work { work, out_bytes: 0, in_bytes: in_bytes.min(allocation) })
}

pub(crate) async fn perform_lba_status(
    unit: &Rc<Unit>,
    range: Range,
    allocation: u32,
) -> Result<Reply, Sense> {
    let volume = unit.volume()?;
    let room = (allocation as usize).saturating_sub(STATUS_HEADER_BYTES) / STATUS_DESCRIPTOR_BYTES;
    let extents_max = room.clamp(1, LBA_STATUS_DESCRIPTORS_MAX);
    let found = volume.extents(range.offset(), range.bytes(), extents_max).await;
    let extents = found.map_err(|error| failed(unit, &error, range.lba))?;
    let mut data = vec![0; STATUS_HEADER_BYTES];
    for extent in extents {
        let block = u64::from(BLOCK_BYTES);
        let (start, end) = (extent.range.start / block, extent.range.end / block);
        // 1 is deallocated: a hole. An anchored block would be 2.
        let state = u8::from(extent.kind == ExtentKind::Hole);
        data.extend_from_slice(&start.to_be_bytes());
        // A look reaches no further than 32 bits can count.
        data.extend_from_slice(&((end - start) as u32).to_be_bytes());
        data.extend_from_slice(&[state, 0, 0, 0]);
    }
    let length = (data.len() - 4) as u32;
    data[..4].copy_from_slice(&length.to_be_bytes());
    Ok(Reply::bytes(&unit.buffers, &data, allocation))
}

const _: () = assert!(LBA_STATUS_BYTES_MAX / (BLOCK_BYTES as u64) <= u32::MAX as u64);
