//! Log pages (NVMe Base 2.0, 5.16.1). Pure: facts in, bytes out; [`section`] cuts out what a host asked for.

use std::net::{IpAddr, SocketAddr};

use quarry_target::Traffic;

use crate::controller::{ErrorEntry, Kind};
use crate::limits::{ADMIN_ENTRIES_MAX, ANA_GROUPS_MAX, NAMESPACES_MAX, TRANSFER_BYTES_MAX};
use quarry_nvme_wire::Command;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::bytes::Page;
use quarry_nvme_wire::constants::{DISCOVERY_NQN, admin, feature, io, log};

/// Transport type of TCP (Base 2.0, figure 294).
const TCP: u8 = 3;
/// Bytes of an entry of the discovery log, and of its header.
const DISCOVERY_BYTES: usize = 1024;
/// Most addresses of the node in the discovery log.
const ADDRESSES_MAX: usize = 64;

/// What a Get Log Page asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogRequest {
    pub(crate) log: u8,
    /// LSP: what the page defines.
    pub(crate) specific: u8,
    /// Whether the event that named the page stays masked (RAE).
    pub(crate) retain: bool,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

impl LogRequest {
    pub(crate) fn decode(command: &Command) -> Result<Self, Status> {
        let (ten, eleven) = (command.dword(10), command.dword(11));
        let dwords = u64::from(ten >> 16) | u64::from(eleven & 0xFFFF) << 16;
        let (length, offset) = ((dwords + 1) * 4, command.double_dword(12));
        // Offsets count bytes, not entries (OT).
        let by_entry = command.dword(14) & 1 << 23 != 0;
        if length > u64::from(TRANSFER_BYTES_MAX) || !offset.is_multiple_of(4) || by_entry {
            return Err(Status::INVALID_FIELD);
        }
        Ok(Self {
            log: ten as u8,
            specific: (ten >> 8 & 0x7F) as u8,
            retain: ten & 1 << 15 != 0,
            offset,
            length: length as u32,
        })
    }
}

/// The part of a page that was asked for, with zeroes behind the page's end.
pub(crate) fn section(mut page: Vec<u8>, request: &LogRequest) -> Result<Vec<u8>, Status> {
    if request.offset > page.len() as u64 {
        return Err(Status::INVALID_FIELD);
    }
    page.drain(..request.offset as usize);
    page.resize(request.length as usize, 0);
    Ok(page)
}

const IO_LOGS: [u8; 9] = [
    log::SUPPORTED,
    log::ERRORS,
    log::HEALTH,
    log::FIRMWARE,
    log::CHANGED_NAMESPACES,
    log::COMMAND_EFFECTS,
    log::ANA,
    log::FEATURE_EFFECTS,
    log::RESERVATIONS,
];
const DISCOVERY_LOGS: [u8; 5] =
    [log::SUPPORTED, log::ERRORS, log::COMMAND_EFFECTS, log::FEATURE_EFFECTS, log::DISCOVERY];

const RESERVATION_COMMANDS: [u8; 4] =
    [io::RESERVATION_REGISTER, io::RESERVATION_REPORT, io::RESERVATION_ACQUIRE, io::RESERVATION_RELEASE];

/// The log pages of a kind of controller.
pub(crate) fn logs_of(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Io => &IO_LOGS,
        Kind::Discovery => &DISCOVERY_LOGS,
    }
}

/// Supported Log Pages.
pub(crate) fn supported(kind: Kind) -> Vec<u8> {
    let mut page = Page::new(1024);
    logs_of(kind).iter().for_each(|&log| _ = page.u32(usize::from(log) * 4, 1));
    page.into_vec()
}

/// Error Information, newest first.
pub(crate) fn errors(entries: &[ErrorEntry]) -> Vec<u8> {
    let mut page = Page::new(entries.len().max(1) * 64);
    for (index, entry) in entries.iter().enumerate() {
        let at = index * 64;
        page.u64(at, entry.count)
            .u16(at + 8, entry.queue)
            .u16(at + 10, entry.command)
            .u16(at + 12, entry.status.to_field())
            .u16(at + 14, 0xFFFF)
            .u64(at + 16, entry.block)
            .u32(at + 24, entry.namespace)
            .u8(at + 29, TCP);
    }
    page.into_vec()
}

/// SMART / Health Information: what a node can say of itself in these terms.
pub(crate) fn health(traffic: Traffic, errors: u64) -> Vec<u8> {
    // Data is counted in thousands of 512 bytes, rounded up.
    let units = |bytes: u64| u128::from(bytes.div_ceil(512_000));
    let mut page = Page::new(512);
    page.u8(3, 100)
        .u128(32, units(traffic.read_bytes))
        .u128(48, units(traffic.write_bytes))
        .u128(64, traffic.reads.into())
        .u128(80, traffic.writes.into())
        .u128(176, errors.into());
    page.into_vec()
}

/// Firmware Slot Information: one slot, which is active.
pub(crate) fn firmware(revision: &str) -> Vec<u8> {
    let mut page = Page::new(512);
    page.u8(0, 1).text(8, 8, b' ', revision);
    page.into_vec()
}

/// Changed Namespaces; more than fit are told by one word.
pub(crate) fn changed_namespaces(ids: &[u32]) -> Vec<u8> {
    let mut page = Page::new(NAMESPACES_MAX * 4);
    if ids.len() > NAMESPACES_MAX {
        page.u32(0, u32::MAX);
    } else {
        ids.iter().enumerate().for_each(|(index, &id)| _ = page.u32(index * 4, id));
    }
    page.into_vec()
}

/// Commands Supported and Effects.
pub(crate) fn command_effects(kind: Kind) -> Vec<u8> {
    const SUPPORTED: u32 = 1;
    const CHANGES_CONTENT: u32 = 1 << 1;
    let mut page = Page::new(4096);
    let admin = [admin::GET_LOG_PAGE, admin::IDENTIFY, admin::ABORT, admin::SET_FEATURES];
    let more = [admin::GET_FEATURES, admin::ASYNC_EVENT_REQUEST, admin::KEEP_ALIVE];
    for opcode in admin.into_iter().chain(more) {
        page.u32(usize::from(opcode) * 4, SUPPORTED);
    }
    if kind == Kind::Io {
        let reads = [io::FLUSH, io::READ, io::COMPARE, io::VERIFY];
        let changes = [io::WRITE, io::WRITE_ZEROES, io::DATASET_MANAGEMENT, io::COPY];
        for opcode in reads.into_iter().chain(RESERVATION_COMMANDS) {
            page.u32(1024 + usize::from(opcode) * 4, SUPPORTED);
        }
        for opcode in changes {
            page.u32(1024 + usize::from(opcode) * 4, SUPPORTED | CHANGES_CONTENT);
        }
    }
    page.into_vec()
}

/// Feature Identifiers Supported and Effects: of the controller, or of one namespace.
pub(crate) fn feature_effects(kind: Kind) -> Vec<u8> {
    const SUPPORTED: u32 = 1;
    // The scope (FSP), from bit 20 on: namespace, controller.
    const OF_NAMESPACE: u32 = 1 << 20;
    const OF_CONTROLLER: u32 = 1 << 21;
    let mut page = Page::new(1024);
    for &feature in crate::feature::features_of(kind) {
        let scope = match feature {
            feature::RESERVATION_MASK | feature::RESERVATION_PERSISTENCE => OF_NAMESPACE,
            _ => OF_CONTROLLER,
        };
        page.u32(usize::from(feature) * 4, SUPPORTED | scope);
    }
    page.into_vec()
}

/// Bytes of the longest ANA log: a header, every group, every namespace.
const ANA_BYTES: usize = 16 + 32 * ANA_GROUPS_MAX as usize + 4 * NAMESPACES_MAX;

/// Asymmetric Namespace Access: `(group, ids)` in order of groups, all of them optimized. `changes` grows with each change.
pub(crate) fn ana(groups: &[(u32, Vec<u32>)], changes: u64, groups_only: bool) -> Vec<u8> {
    const OPTIMIZED: u8 = 1;
    let ids = |ids: &[u32]| if groups_only { 0 } else { ids.len() };
    // As long as it can get, because hosts read it so, piece by piece.
    let mut page = Page::new(ANA_BYTES);
    page.u64(0, changes).u16(8, groups.len() as u16);
    let mut at = 16;
    for (group, members) in groups {
        let count = ids(members);
        page.u32(at, *group).u32(at + 4, count as u32).u64(at + 8, changes).u8(at + 16, OPTIMIZED);
        at += 32;
        for id in &members[..count] {
            page.u32(at, *id);
            at += 4;
        }
    }
    page.into_vec()
}

/// The Discovery log: where the subsystem `nqn` is, for a host that sees something there, and the discovery subsystem itself.
pub(crate) fn discovery(nqn: Option<&str>, addresses: &[SocketAddr], generation: u64) -> Vec<u8> {
    const NVM: u8 = 2;
    const THIS_DISCOVERY: u8 = 3;
    let addresses = &addresses[..addresses.len().min(ADDRESSES_MAX)];
    let itself = addresses.iter().map(|address| (DISCOVERY_NQN, THIS_DISCOVERY, address));
    let there = nqn.into_iter().flat_map(|nqn| addresses.iter().map(move |address| (nqn, NVM, address)));
    let entries: Vec<_> = itself.chain(there).collect();
    let mut page = Page::new(DISCOVERY_BYTES * (entries.len() + 1));
    page.u64(0, generation).u64(8, entries.len() as u64);
    for (index, (nqn, kind, address)) in entries.into_iter().enumerate() {
        let port = index % addresses.len() + 1;
        discovery_entry(&mut page, DISCOVERY_BYTES * (index + 1), (nqn, kind), address, port as u16);
    }
    page.into_vec()
}

fn discovery_entry(page: &mut Page, at: usize, (nqn, kind): (&str, u8), address: &SocketAddr, port: u16) {
    const IPV4: u8 = 1;
    const IPV6: u8 = 2;
    /// Nothing is said of a secure channel (Linux asks for TLS keys wherever something is, also that none is needed), and
    /// hosts may do without flow control of queues (TREQ).
    const REQUIREMENTS: u8 = 1 << 2;
    /// A host may stay connected to the discovery subsystem (EFLAGS).
    const PERSISTENT: u16 = 1 << 1;
    let ip = address.ip().to_canonical();
    page.u8(at, TCP)
        .u8(at + 1, if matches!(ip, IpAddr::V4(_)) { IPV4 } else { IPV6 })
        .u8(at + 2, kind)
        .u8(at + 3, REQUIREMENTS)
        .u16(at + 4, port)
        .u16(at + 6, crate::connect::ANY_CONTROLLER)
        .u16(at + 8, ADMIN_ENTRIES_MAX)
        .u16(at + 10, PERSISTENT)
        .text(at + 32, 32, 0, &address.port().to_string())
        .text(at + 256, 256, 0, nqn)
        .text(at + 512, 256, 0, &ip.to_string());
}

#[cfg(test)]
mod tests;
