//! Commands for media that wear, spin or are taken out. Volumes do none of that; what is left are flushes.

use std::rc::Rc;

use crate::cdb::Cdb;
use crate::command::{Step, Work};
use crate::read_write::{blocks, failed};
use crate::reply::Reply;
use crate::sense::Sense;
use crate::supported::opcode;
use crate::unit::Unit;

/// SYNCHRONIZE CACHE (SBC-4 5.33). The whole volume is flushed, whatever the range: that costs no more.
pub(crate) fn synchronize(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    let (lba, count, _) = blocks(cdb);
    unit.range(lba, count)?;
    // An answer before the end (IMMED) would say nothing, so it waits in any case.
    Ok(Step::work(Work::Synchronize))
}

pub(crate) async fn perform_synchronize(unit: &Rc<Unit>) -> Result<Reply, Sense> {
    let flushed = unit.volume()?.flush().await;
    flushed.map_err(|error| failed(unit, &error, 0))?;
    Ok(Reply::good())
}

/// PRE-FETCH (SBC-4 5.12). There is no cache to fetch into, which GOOD says: CONDITION MET would promise that all is there.
pub(crate) fn prefetch(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    let (lba, count, _) = blocks(cdb);
    unit.range(lba, count)?;
    unit.volume().map(|_| Reply::good().into())
}

/// START STOP UNIT (SBC-4 5.32). A volume that others use is not stopped by one of them; nothing is loaded or ejected.
pub(crate) fn start_stop(cdb: &Cdb) -> Result<Step, Sense> {
    const LOEJ: u8 = 0x02;
    let power_condition = cdb.u8(4) >> 4;
    if power_condition == 0 && cdb.has(4, LOEJ) {
        return Err(Sense::field_in_cdb(4));
    }
    Ok(Reply::good().into())
}

/// READ DEFECT DATA (SBC-4 5.19, 5.20): there are no defects to tell of.
pub(crate) fn defects(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    // The lists that were asked for (PLIST, GLIST) are valid and empty, in the format that was asked for.
    let (format, bytes, allocation) = match cdb.opcode() {
        opcode::READ_DEFECT_DATA_10 => (cdb.u8(2) & 0x1F, 4, u32::from(cdb.u16(7))),
        _ => (cdb.u8(1) & 0x1F, 8, cdb.u32(6)),
    };
    let mut header = [0; 8];
    header[1] = format;
    Ok(Reply::bytes(&unit.buffers, &header[..bytes], allocation).into())
}
