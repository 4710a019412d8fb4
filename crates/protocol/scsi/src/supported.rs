//! The commands that exist here: what REPORT SUPPORTED OPERATION CODES tells, and what stands in their way.

use crate::cdb::Cdb;
use crate::sanitize;
use crate::sense::{Code, Sense};

/// Operation codes.
pub mod opcode {
    #![expect(missing_docs, reason = "the names are those of SPC-5 and SBC-4")]
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const READ_6: u8 = 0x08;
    pub const WRITE_6: u8 = 0x0A;
    pub const INQUIRY: u8 = 0x12;
    pub const MODE_SELECT_6: u8 = 0x15;
    pub const RESERVE_6: u8 = 0x16;
    pub const RELEASE_6: u8 = 0x17;
    pub const MODE_SENSE_6: u8 = 0x1A;
    pub const START_STOP_UNIT: u8 = 0x1B;
    pub const PREVENT_ALLOW: u8 = 0x1E;
    pub const READ_CAPACITY_10: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const WRITE_10: u8 = 0x2A;
    pub const WRITE_AND_VERIFY_10: u8 = 0x2E;
    pub const VERIFY_10: u8 = 0x2F;
    pub const PREFETCH_10: u8 = 0x34;
    pub const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub const READ_DEFECT_DATA_10: u8 = 0x37;
    pub const WRITE_SAME_10: u8 = 0x41;
    pub const UNMAP: u8 = 0x42;
    pub const SANITIZE: u8 = 0x48;
    pub const MODE_SELECT_10: u8 = 0x55;
    pub const RESERVE_10: u8 = 0x56;
    pub const RELEASE_10: u8 = 0x57;
    pub const MODE_SENSE_10: u8 = 0x5A;
    pub const PERSISTENT_RESERVE_IN: u8 = 0x5E;
    pub const PERSISTENT_RESERVE_OUT: u8 = 0x5F;
    pub const EXTENDED_COPY: u8 = 0x83;
    pub const RECEIVE_COPY_RESULTS: u8 = 0x84;
    pub const READ_16: u8 = 0x88;
    pub const COMPARE_AND_WRITE: u8 = 0x89;
    pub const WRITE_16: u8 = 0x8A;
    pub const ORWRITE_16: u8 = 0x8B;
    pub const WRITE_AND_VERIFY_16: u8 = 0x8E;
    pub const VERIFY_16: u8 = 0x8F;
    pub const PREFETCH_16: u8 = 0x90;
    pub const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub const WRITE_SAME_16: u8 = 0x93;
    pub const WRITE_ATOMIC_16: u8 = 0x9C;
    pub const SERVICE_ACTION_IN_16: u8 = 0x9E;
    pub const REPORT_LUNS: u8 = 0xA0;
    pub const MAINTENANCE_IN: u8 = 0xA3;
    pub const READ_12: u8 = 0xA8;
    pub const WRITE_12: u8 = 0xAA;
    pub const WRITE_AND_VERIFY_12: u8 = 0xAE;
    pub const VERIFY_12: u8 = 0xAF;
    pub const READ_DEFECT_DATA_12: u8 = 0xB7;
}

/// Whose reservation stands in a command's way (SPC-5 table 67, SBC-4 table 14).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Nobody's.
    Always,
    /// That of a RESERVE of another nexus.
    Free,
    /// One that keeps readers out.
    Read,
    /// One that keeps writers out.
    Change,
    /// One that keeps writers out; the command writes to the medium, which may be protected.
    Write,
}

/// A command.
#[derive(Debug)]
pub struct Supported {
    /// Operation code.
    pub opcode: u8,
    /// Service action, of commands that have them.
    pub action: Option<u8>,
    /// Which bits of the descriptor block mean something; its length is that of the block.
    pub usage: &'static [u8],
    /// What stands in its way.
    pub access: Access,
}

const fn plain(opcode: u8, usage: &'static [u8], access: Access) -> Supported {
    Supported { opcode, action: None, usage, access }
}

const fn acting(opcode: u8, action: u8, usage: &'static [u8], access: Access) -> Supported {
    Supported { opcode, action: Some(action), usage, access }
}

const FF: u8 = 0xFF;
/// The control byte: NACA is not supported.
const CTL: u8 = 0x00;
const GROUP: u8 = 0x3F;

use Access::{Always, Change, Free, Read, Write};
use opcode::*;

/// Every command, those of one operation code together.
pub static SUPPORTED: &[Supported] = &[
    plain(TEST_UNIT_READY, &[0x00, 0, 0, 0, 0, CTL], Free),
    plain(REQUEST_SENSE, &[0x03, 0x01, 0, 0, FF, CTL], Always),
    plain(READ_6, &[0x08, 0x1F, FF, FF, FF, CTL], Read),
    plain(WRITE_6, &[0x0A, 0x1F, FF, FF, FF, CTL], Write),
    plain(INQUIRY, &[0x12, 0x01, FF, FF, FF, CTL], Always),
    plain(MODE_SELECT_6, &[0x15, 0x11, 0, 0, FF, CTL], Change),
    plain(RESERVE_6, &[0x16, 0, 0, 0, 0, CTL], Free),
    plain(RELEASE_6, &[0x17, 0, 0, 0, 0, CTL], Always),
    plain(MODE_SENSE_6, &[0x1A, 0x08, FF, FF, FF, CTL], Read),
    plain(START_STOP_UNIT, &[0x1B, 0x01, 0, 0x0F, 0xF7, CTL], Free),
    plain(PREVENT_ALLOW, &[0x1E, 0, 0, 0, 0x03, CTL], Free),
    plain(READ_CAPACITY_10, &[0x25, 0, FF, FF, FF, FF, 0, 0, 0x01, CTL], Free),
    plain(READ_10, &[0x28, 0xF8, FF, FF, FF, FF, GROUP, FF, FF, CTL], Read),
    plain(WRITE_10, &[0x2A, 0xF8, FF, FF, FF, FF, GROUP, FF, FF, CTL], Write),
    plain(WRITE_AND_VERIFY_10, &[0x2E, 0xF6, FF, FF, FF, FF, GROUP, FF, FF, CTL], Write),
    plain(VERIFY_10, &[0x2F, 0xF6, FF, FF, FF, FF, GROUP, FF, FF, CTL], Read),
    plain(PREFETCH_10, &[0x34, 0x02, FF, FF, FF, FF, GROUP, FF, FF, CTL], Read),
    plain(SYNCHRONIZE_CACHE_10, &[0x35, 0x02, FF, FF, FF, FF, GROUP, FF, FF, CTL], Change),
    plain(READ_DEFECT_DATA_10, &[0x37, 0, 0x1F, 0, 0, 0, 0, FF, FF, CTL], Free),
    plain(WRITE_SAME_10, &[0x41, 0xF8, FF, FF, FF, FF, GROUP, FF, FF, CTL], Write),
    plain(UNMAP, &[0x42, 0x01, 0, 0, 0, 0, GROUP, FF, FF, CTL], Write),
    acting(SANITIZE, sanitize::OVERWRITE, &[0x48, 0xA1, 0, 0, 0, 0, 0, FF, FF, CTL], Write),
    acting(SANITIZE, sanitize::BLOCK_ERASE, &[0x48, 0xA2, 0, 0, 0, 0, 0, FF, FF, CTL], Write),
    acting(SANITIZE, sanitize::EXIT_FAILURE_MODE, &[0x48, 0x1F, 0, 0, 0, 0, 0, FF, FF, CTL], Write),
    plain(MODE_SELECT_10, &[0x55, 0x11, 0, 0, 0, 0, 0, FF, FF, CTL], Change),
    plain(RESERVE_10, &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, CTL], Free),
    plain(RELEASE_10, &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, CTL], Always),
    plain(MODE_SENSE_10, &[0x5A, 0x18, FF, FF, 0, 0, 0, FF, FF, CTL], Read),
    acting(PERSISTENT_RESERVE_IN, 0, &[0x5E, 0x00, 0, 0, 0, 0, 0, FF, FF, CTL], Free),
    acting(PERSISTENT_RESERVE_IN, 1, &[0x5E, 0x01, 0, 0, 0, 0, 0, FF, FF, CTL], Free),
    acting(PERSISTENT_RESERVE_IN, 2, &[0x5E, 0x02, 0, 0, 0, 0, 0, FF, FF, CTL], Free),
    acting(PERSISTENT_RESERVE_IN, 3, &[0x5E, 0x03, 0, 0, 0, 0, 0, FF, FF, CTL], Free),
    acting(PERSISTENT_RESERVE_OUT, 0, &[0x5F, 0x00, 0, 0, 0, FF, FF, FF, FF, CTL], Free),
    acting(PERSISTENT_RESERVE_OUT, 1, &[0x5F, 0x01, FF, 0, 0, FF, FF, FF, FF, CTL], Free),
    acting(PERSISTENT_RESERVE_OUT, 2, &[0x5F, 0x02, FF, 0, 0, FF, FF, FF, FF, CTL], Free),
    acting(PERSISTENT_RESERVE_OUT, 3, &[0x5F, 0x03, 0, 0, 0, FF, FF, FF, FF, CTL], Free),
    acting(PERSISTENT_RESERVE_OUT, 4, &[0x5F, 0x04, FF, 0, 0, FF, FF, FF, FF, CTL], Free),
    acting(PERSISTENT_RESERVE_OUT, 5, &[0x5F, 0x05, FF, 0, 0, FF, FF, FF, FF, CTL], Free),
    acting(PERSISTENT_RESERVE_OUT, 6, &[0x5F, 0x06, 0, 0, 0, FF, FF, FF, FF, CTL], Free),
    acting(PERSISTENT_RESERVE_OUT, 7, &[0x5F, 0x07, 0, 0, 0, FF, FF, FF, FF, CTL], Free),
    // Sent to the source as often as to the destination, which alone must not be write-protected.
    acting(EXTENDED_COPY, 0, &[0x83, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, FF, FF, FF, FF, 0, CTL], Change),
    acting(RECEIVE_COPY_RESULTS, 0, &[0x84, 0x00, FF, 0, 0, 0, 0, 0, 0, 0, FF, FF, FF, FF, 0, CTL], Free),
    acting(RECEIVE_COPY_RESULTS, 3, &[0x84, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, FF, FF, FF, FF, 0, CTL], Free),
    plain(READ_16, &[0x88, 0xF8, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL], Read),
    plain(COMPARE_AND_WRITE, &[0x89, 0xF8, FF, FF, FF, FF, FF, FF, FF, FF, 0, 0, 0, FF, GROUP, CTL], Write),
    plain(WRITE_16, &[0x8A, 0xF8, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL], Write),
    plain(ORWRITE_16, &[0x8B, 0xF8, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL], Write),
    plain(
        WRITE_AND_VERIFY_16,
        &[0x8E, 0xF6, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL],
        Write,
    ),
    plain(VERIFY_16, &[0x8F, 0xF6, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL], Read),
    plain(PREFETCH_16, &[0x90, 0x02, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL], Read),
    plain(
        SYNCHRONIZE_CACHE_16,
        &[0x91, 0x02, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL],
        Change,
    ),
    plain(WRITE_SAME_16, &[0x93, 0xF9, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL], Write),
    plain(WRITE_ATOMIC_16, &[0x9C, 0xF8, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL], Write),
    acting(
        SERVICE_ACTION_IN_16,
        0x10,
        &[0x9E, 0x10, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, 0x01, CTL],
        Free,
    ),
    acting(
        SERVICE_ACTION_IN_16,
        0x12,
        &[0x9E, 0x12, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, FF, 0, CTL],
        Read,
    ),
    plain(REPORT_LUNS, &[0xA0, 0, FF, 0, 0, 0, FF, FF, FF, FF, 0, CTL], Always),
    acting(MAINTENANCE_IN, 0x0A, &[0xA3, 0xEA, 0, 0, 0, 0, FF, FF, FF, FF, 0, CTL], Free),
    acting(MAINTENANCE_IN, 0x0C, &[0xA3, 0x0C, 0x87, FF, FF, FF, FF, FF, FF, FF, 0, CTL], Free),
    acting(MAINTENANCE_IN, 0x0D, &[0xA3, 0x0D, 0x80, 0, 0, 0, FF, FF, FF, FF, 0, CTL], Free),
    plain(READ_12, &[0xA8, 0xF8, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL], Read),
    plain(WRITE_12, &[0xAA, 0xF8, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL], Write),
    plain(WRITE_AND_VERIFY_12, &[0xAE, 0xF6, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL], Write),
    plain(VERIFY_12, &[0xAF, 0xF6, FF, FF, FF, FF, FF, FF, FF, FF, GROUP, CTL], Read),
    plain(READ_DEFECT_DATA_12, &[0xB7, 0x1F, 0, 0, 0, 0, FF, FF, FF, FF, 0, CTL], Free),
];

/// Where the commands of each operation code begin in [`SUPPORTED`]; its length where there are none.
static FIRST: [u8; 256] = first();

const fn first() -> [u8; 256] {
    let mut first = [SUPPORTED.len() as u8; 256];
    let mut at = SUPPORTED.len();
    while at > 0 {
        at -= 1;
        first[SUPPORTED[at].opcode as usize] = at as u8;
    }
    first
}

/// The commands of an operation code.
pub fn of(opcode: u8) -> &'static [Supported] {
    let all = &SUPPORTED[usize::from(FIRST[usize::from(opcode)])..];
    let count = all.iter().take_while(|one| one.opcode == opcode).count();
    &all[..count]
}

/// The command that a descriptor block asks for.
pub fn find(cdb: &Cdb) -> Result<&'static Supported, Sense> {
    let opcode = cdb.opcode();
    let Some(first) = SUPPORTED.get(usize::from(FIRST[usize::from(opcode)])) else {
        return Err(Sense::illegal(Code::INVALID_OPCODE));
    };
    if first.action.is_none() {
        return Ok(first);
    }
    let action = cdb.service_action();
    let found = of(opcode).iter().find(|one| one.action == Some(action));
    found.ok_or(Sense::field_in_cdb(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_and_has_the_length_of_its_group() {
        for one in SUPPORTED {
            let mut cdb = Cdb::default();
            cdb.0[0] = one.opcode;
            cdb.0[1] = one.action.unwrap_or(0);
            let found = find(&cdb).expect("it is in the table");
            assert_eq!((found.opcode, found.action), (one.opcode, one.action));
            // SPC-5 4.2.5.1: the upper three bits give the length.
            let bytes = [6, 10, 10, 0, 16, 12][usize::from(one.opcode >> 5)];
            assert_eq!(one.usage.len(), bytes, "{:#x}", one.opcode);
            assert_eq!(one.usage[0], one.opcode);
            let action = one.action.map_or(0, |action| action & one.usage[1]);
            assert_eq!(action, one.action.unwrap_or(0));
        }
        assert!(SUPPORTED.windows(2).all(|two| two[0].opcode <= two[1].opcode), "in order");
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let mut cdb = Cdb::default();
        cdb.0[0] = 0x9D;
        assert_eq!(find(&cdb).expect_err("SERVICE ACTION BIDIRECTIONAL").code, Code::INVALID_OPCODE);
        (cdb.0[0], cdb.0[1]) = (SANITIZE, 3);
        assert_eq!(find(&cdb).expect_err("CRYPTOGRAPHIC ERASE").code, Code::INVALID_FIELD_IN_CDB);
        assert!(of(0x9D).is_empty());
    }
}
