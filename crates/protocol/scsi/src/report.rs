//! MAINTENANCE IN (SPC-5 6.34 to 6.37): what the target can do, and how its ports are.

use crate::cdb::Cdb;
use crate::command::Step;
use crate::nexus::Nexus;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::supported::{self, SUPPORTED, Supported};
use crate::unit::Unit;

/// A descriptor of command timeouts that says nothing, but says it in full.
const TIMEOUTS: [u8; 12] = [0, 0x0A, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const RCTD: u8 = 0x80;

pub(crate) fn maintenance_in(nexus: &Nexus, unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    let data = match cdb.service_action() {
        0x0A => target_port_groups(nexus, cdb)?,
        0x0C => supported_opcodes(cdb)?,
        _ => supported_task_management(cdb),
    };
    Ok(Reply::bytes(&unit.buffers, &data, cdb.u32(6)).into())
}

/// One group with one port, active and optimized: the ways that the ports of other nodes will be are not here.
fn target_port_groups(nexus: &Nexus, cdb: &Cdb) -> Result<Vec<u8>, Sense> {
    let port = nexus.port();
    let extended = match cdb.u8(1) >> 5 {
        0 => false,
        1 => true,
        _ => return Err(Sense::field_in_cdb(1)),
    };
    let mut data = vec![0; 4];
    if extended {
        // The format, and no time that a transition would take.
        data.extend_from_slice(&[0x10, 0, 0, 0]);
    }
    // Of the states, only the present one is supported (AO_SUP).
    data.extend_from_slice(&[0x00, 0x01]);
    data.extend_from_slice(&port.group.to_be_bytes());
    data.extend_from_slice(&[0, 0, 0, 1, 0, 0]);
    data.extend_from_slice(&port.relative_id.to_be_bytes());
    let length = (data.len() - 4) as u32;
    data[..4].copy_from_slice(&length.to_be_bytes());
    Ok(data)
}

fn supported_opcodes(cdb: &Cdb) -> Result<Vec<u8>, Sense> {
    let timeouts = cdb.has(2, RCTD);
    let (opcode, action) = (cdb.u8(3), cdb.u16(4));
    let acts = supported::of(opcode).iter().any(|one| one.action.is_some());
    let found = |action: Option<u8>| supported::of(opcode).iter().find(|one| one.action == action);
    let with_action = || u8::try_from(action).ok().and_then(|action| found(Some(action)));
    match cdb.u8(2) & 7 {
        0 => Ok(all_commands(timeouts)),
        1 if acts => Err(Sense::field_in_cdb(3)),
        1 => Ok(one_command(found(None), timeouts)),
        2 if !acts => Err(Sense::field_in_cdb(3)),
        2 => Ok(one_command(with_action(), timeouts)),
        3 => {
            Ok(one_command(if acts { with_action() } else { found(None).filter(|_| action == 0) }, timeouts))
        }
        _ => Err(Sense::field_in_cdb(2)),
    }
}

fn all_commands(timeouts: bool) -> Vec<u8> {
    let mut data = vec![0; 4];
    for one in SUPPORTED {
        let action = u16::from(one.action.unwrap_or(0)).to_be_bytes();
        let flags = u8::from(timeouts) << 1 | u8::from(one.action.is_some());
        data.extend_from_slice(&[one.opcode, 0, action[0], action[1], 0, flags, 0, one.usage.len() as u8]);
        if timeouts {
            data.extend_from_slice(&TIMEOUTS);
        }
    }
    let length = (data.len() - 4) as u32;
    data[..4].copy_from_slice(&length.to_be_bytes());
    data
}

fn one_command(found: Option<&Supported>, timeouts: bool) -> Vec<u8> {
    const NOT_SUPPORTED: u8 = 1;
    const AS_THE_STANDARD_SAYS: u8 = 3;
    let Some(one) = found else { return vec![0, NOT_SUPPORTED, 0, 0] };
    let mut data = vec![0, u8::from(timeouts) << 7 | AS_THE_STANDARD_SAYS];
    data.extend_from_slice(&(one.usage.len() as u16).to_be_bytes());
    data.extend_from_slice(one.usage);
    if timeouts {
        data.extend_from_slice(&TIMEOUTS);
    }
    data
}

/// Those that iSCSI has names for: of its level 2 (RFC 7144) the queries and the reset of a nexus.
fn supported_task_management(cdb: &Cdb) -> Vec<u8> {
    const ATS: u8 = 0x80;
    const ATSS: u8 = 0x40;
    const LURS: u8 = 0x08;
    const QTS: u8 = 0x04;
    const TRS: u8 = 0x02;
    // In the second byte.
    const QAES: u8 = 0x04;
    const QTSS: u8 = 0x02;
    const ITNRS: u8 = 0x01;
    let mut data = vec![ATS | ATSS | LURS | QTS | TRS, QAES | QTSS | ITNRS, 0, 0];
    // REPD asks for the extended data.
    if cdb.has(2, 0x80) {
        data[3] = 12;
        data.resize(16, 0);
    }
    data
}
