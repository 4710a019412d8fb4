//! Vital product data (SPC-5 7.7, SBC-4 6.6): what a unit is, in pages.

use crate::cdb::Cdb;
use crate::command::Step;
use crate::compare::compare_blocks_max;
use crate::copy;
use crate::identify::VENDOR;
use crate::limits::{
    BLOCK_BYTES, PHYSICAL_BLOCKS, TRANSFER_BYTES_MAX, TRANSFER_BYTES_OPTIMAL, UNMAP_DESCRIPTORS_MAX,
    WRITE_SAME_BLOCKS_MAX,
};
use crate::nexus::{Nexus, Port};
use crate::read_write::atomic_blocks_max;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::threshold::SET_EXPONENT;
use crate::unit::Unit;

use quarry_types::VolumeId;

/// Supported pages, in ascending order as SPC-5 7.7.16 wants them.
const PAGES: [u8; 8] = [0x00, 0x80, 0x83, 0x86, 0x8F, 0xB0, 0xB1, 0xB2];

/// The company of our NAA identifiers. It has the bit of locally administered addresses (IEEE 802) set, because no company has
/// registered it; the letters are "QY".
const COMPANY: u128 = 0x02_51_59;
const NAA_REGISTERED_EXTENDED: u128 = 6;
/// Bits of an NAA identifier behind the company: 36 of the vendor and 64 of extension.
const NAA_OWN_BITS: u32 = 100;

/// The NAA identifier of a volume (SPC-5 7.7.6.6.5): the last 100 bits of its id. Never changes, and is the same on every node.
pub fn naa(volume: VolumeId) -> [u8; 16] {
    let own = u128::from_be_bytes(volume.to_bytes()) & ((1 << NAA_OWN_BITS) - 1);
    (NAA_REGISTERED_EXTENDED << 124 | COMPANY << NAA_OWN_BITS | own).to_be_bytes()
}

/// The serial number of a volume: its id in hexadecimal digits.
pub fn serial(volume: VolumeId) -> String {
    volume.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn inquiry(nexus: &Nexus, unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    let page = cdb.u8(2);
    let body = match page {
        0x00 => PAGES.to_vec(),
        0x80 => serial(unit.id()).into_bytes(),
        0x83 => identification(unit.id(), nexus.port()),
        0x86 => extended_inquiry(),
        0x8F => copy::third_party_page(),
        0xB0 => block_limits(unit),
        0xB1 => characteristics(),
        0xB2 => provisioning(),
        _ => return Err(Sense::field_in_cdb(2)),
    };
    let mut data = vec![0, page];
    data.extend_from_slice(&(body.len() as u16).to_be_bytes());
    data.extend_from_slice(&body);
    Ok(Reply::bytes(&unit.buffers, &data, u32::from(cdb.u16(3))).into())
}

/// Code sets and associations of designators (SPC-5 7.7.6.1).
const BINARY: u8 = 1;
const ASCII: u8 = 2;
const UTF8: u8 = 3;
const OF_UNIT: u8 = 0x00;
const OF_PORT: u8 = 0x10;
const OF_DEVICE: u8 = 0x20;
/// The designator says how a port is reached, over iSCSI.
const ISCSI: u8 = 0x50;
const PIV: u8 = 0x80;

fn designator(page: &mut Vec<u8>, set: u8, kind: u8, bytes: &[u8]) {
    page.extend_from_slice(&[set, kind, 0, bytes.len() as u8]);
    page.extend_from_slice(bytes);
}

/// A SCSI name string ends with a zero and is filled up to a multiple of four (SPC-5 7.7.6.11).
fn name_string(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn identification(volume: VolumeId, port: &Port) -> Vec<u8> {
    let mut page = Vec::with_capacity(256);
    let t10 = [&VENDOR[..], serial(volume).as_bytes()].concat();
    designator(&mut page, BINARY, OF_UNIT | 3, &naa(volume));
    designator(&mut page, ASCII, OF_UNIT | 1, &t10);
    let wide = |number: u16| u32::from(number).to_be_bytes();
    designator(&mut page, ISCSI | BINARY, PIV | OF_PORT | 4, &wide(port.relative_id));
    designator(&mut page, ISCSI | BINARY, PIV | OF_PORT | 5, &wide(port.group));
    designator(&mut page, ISCSI | UTF8, PIV | OF_PORT | 8, &name_string(&port.name));
    designator(&mut page, ISCSI | UTF8, PIV | OF_DEVICE | 8, &name_string(&port.device_name));
    page
}

fn extended_inquiry() -> Vec<u8> {
    let mut page = vec![0; 60];
    // SIMPSUP alone: commands are carried out in any order, ORDERED and HEAD OF QUEUE (ORDSUP, HEADSUP) among them.
    page[1] = 0x01;
    // V_SUP: a volatile cache may be there (until a flush). LUICLR: attentions of all nexuses are cleared as SAM-5 says.
    page[2] = 0x01;
    page[3] = 0x01;
    page
}

fn block_limits(unit: &Unit) -> Vec<u8> {
    let mut page = vec![0; 60];
    let mut put = |at: usize, bytes: &[u8]| page[at - 4..at - 4 + bytes.len()].copy_from_slice(bytes);
    put(5, &[compare_blocks_max(unit)]);
    put(6, &(PHYSICAL_BLOCKS as u16).to_be_bytes());
    put(8, &(TRANSFER_BYTES_MAX / BLOCK_BYTES).to_be_bytes());
    put(12, &(TRANSFER_BYTES_OPTIMAL / BLOCK_BYTES).to_be_bytes());
    // An UNMAP has any number of blocks, in so many ranges; what is freed are physical blocks.
    put(20, &u32::MAX.to_be_bytes());
    put(24, &UNMAP_DESCRIPTORS_MAX.to_be_bytes());
    put(28, &PHYSICAL_BLOCKS.to_be_bytes());
    // UGAVALID: they begin at 0.
    put(32, &(1u32 << 31).to_be_bytes());
    put(36, &u64::from(WRITE_SAME_BLOCKS_MAX).to_be_bytes());
    // Atomic writes: the most, where they begin and what they are multiples of. No boundaries.
    put(44, &atomic_blocks_max(unit).to_be_bytes());
    put(48, &PHYSICAL_BLOCKS.to_be_bytes());
    put(52, &PHYSICAL_BLOCKS.to_be_bytes());
    page
}

fn characteristics() -> Vec<u8> {
    let mut page = vec![0; 60];
    // It does not rotate.
    page[..2].copy_from_slice(&1u16.to_be_bytes());
    // WABEREQ: blocks can be read after a block erase. WACEREQ is 0: there is no cryptographic erase.
    page[3] = 0x40;
    // FUAB: SYNCHRONIZE CACHE is honoured.
    page[4] = 0x02;
    page
}

fn provisioning() -> Vec<u8> {
    // The exponent of threshold sets; LBPU, LBPWS, LBPWS10, LBPRZ = 1; thin.
    vec![SET_EXPONENT, 0x80 | 0x40 | 0x20 | 0x04, 0x02, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_come_from_the_id_alone() {
        let volume =
            VolumeId::from_bytes(*b"\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01");
        assert_eq!(serial(volume), "112233445566778899aabbccddeeff01");
        let expected = *b"\x60\x25\x15\x94\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01";
        assert_eq!(naa(volume), expected);
    }

    #[test]
    fn names_are_filled_up() {
        assert_eq!(name_string("iqn"), b"iqn\0");
        assert_eq!(name_string("iqn."), b"iqn.\0\0\0\0");
    }
}
