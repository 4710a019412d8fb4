//! INQUIRY without pages, REPORT LUNS and REQUEST SENSE (SPC-5 6.6, 6.33, 6.39): what initiators ask first.

use crate::cdb::Cdb;
use crate::command::Step;
use crate::lun::Lun;
use crate::nexus::Nexus;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::unit::Unit;

/// T10 vendor identification.
pub(crate) const VENDOR: &[u8; 8] = b"QUARRY  ";
const PRODUCT: &[u8; 16] = b"VOLUME          ";
/// Product revision: the version of the program, as far as it fits.
const REVISION: [u8; 4] = revision(env!("CARGO_PKG_VERSION").as_bytes());

const fn revision(version: &[u8]) -> [u8; 4] {
    let mut revision = [b' '; 4];
    let mut at = 0;
    while at < 4 && at < version.len() {
        revision[at] = version[at];
        at += 1;
    }
    revision
}

/// Bytes of the standard data: up to the version descriptors.
const STANDARD_BYTES: usize = 96;
/// SPC-4, which SPC-5 initiators understand as well.
const VERSION: u8 = 0x06;
/// HISUP, and the response data format of SPC-2 and later.
const FORMAT: u8 = 0x12;
/// Implicit asymmetric access (TPGS), and third-party copy.
const FLAGS_5: u8 = 0x10 | 0x08;
const COMMAND_QUEUE: u8 = 0x02;
/// SAM-5, SPC-4, SBC-3, iSCSI: without a claim to a revision.
const VERSIONS: [u16; 4] = [0x00A0, 0x0460, 0x04C0, 0x0960];

/// What there is at the number of a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Qualifier {
    /// A disk.
    Connected = 0x00,
    /// Nothing, and nothing can be there.
    Absent = 0x7F,
}

pub(crate) fn inquiry(nexus: &Nexus, cdb: &Cdb, qualifier: Qualifier) -> Result<Step, Sense> {
    if cdb.u8(2) != 0 {
        // A page without EVPD.
        return Err(Sense::field_in_cdb(2));
    }
    let mut data = [0; STANDARD_BYTES];
    data[0] = qualifier as u8;
    data[2] = VERSION;
    data[3] = FORMAT;
    data[4] = (STANDARD_BYTES - 5) as u8;
    data[5] = FLAGS_5;
    data[7] = COMMAND_QUEUE;
    data[8..16].copy_from_slice(VENDOR);
    data[16..32].copy_from_slice(PRODUCT);
    data[32..36].copy_from_slice(&REVISION);
    for (index, version) in VERSIONS.iter().enumerate() {
        data[58 + 2 * index..60 + 2 * index].copy_from_slice(&version.to_be_bytes());
    }
    Ok(Reply::bytes(nexus.buffers(), &data, u32::from(cdb.u16(3))).into())
}

pub(crate) fn report_luns(nexus: &Nexus, cdb: &Cdb) -> Result<Step, Sense> {
    let (select, allocation) = (cdb.u8(2), cdb.u32(6));
    let numbers = match select {
        0 | 2 => nexus.numbers(),
        // Well-known units only: there are none. The administrative ones of 0x10 to 0x12: neither.
        1 | 0x10..=0x12 => Vec::new(),
        _ => return Err(Sense::field_in_cdb(2)),
    };
    if allocation < 16 {
        return Err(Sense::field_in_cdb(6));
    }
    nexus.forget_luns_changed();
    let mut data = vec![0; 8];
    numbers.iter().for_each(|&number| data.extend_from_slice(&Lun::of(number).0));
    let length = (data.len() - 8) as u32;
    data[..4].copy_from_slice(&length.to_be_bytes());
    Ok(Reply::bytes(nexus.buffers(), &data, allocation).into())
}

/// REQUEST SENSE tells a unit attention, which is told by that, and then what keeps commands out.
pub(crate) fn request_sense(nexus: &Nexus, unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    let hindrance = || unit.shared.sanitizing.hindrance().err().unwrap_or(Sense::NONE);
    let sense = nexus.take_attention(unit).unwrap_or_else(hindrance);
    Ok(sense_data(&unit.buffers, &sense, cdb))
}

/// Sense data as data, in the format that was asked for.
pub(crate) fn sense_data(buffers: &quarry_env::BufferPool, sense: &Sense, cdb: &Cdb) -> Step {
    let bytes = if cdb.has(1, 1) { sense.descriptors() } else { sense.fixed().to_vec() };
    Reply::bytes(buffers, &bytes, u32::from(cdb.u8(4))).into()
}
