//! The controller (CNS 01h, and 06h for the NVM command set).

use super::IDENTIFY_BYTES;
use crate::controller::Kind;
use crate::events::{DISCOVERY_EVENTS, IO_EVENTS};
use crate::identity::Identity;
use crate::limits::{
    ANA_GROUPS_MAX, ERROR_ENTRIES_MAX, EVENT_REQUESTS_MAX, IO_ENTRIES_MAX, NAMESPACE_ID_MAX, NAMESPACES_MAX,
    TRANSFER_PAGES_LOG2, ZEROES_PAGES_LOG2,
};
use quarry_nvme_wire::CONNECT_DATA_BYTES;
use quarry_nvme_wire::bytes::Page;
use quarry_nvme_wire::constants::VERSION;

/// What a controller says of itself beside constants.
pub(crate) struct ControllerFacts<'a> {
    pub(crate) id: u16,
    pub(crate) kind: Kind,
    pub(crate) identity: &'a Identity,
    /// The name of the subsystem as the host asked for it.
    pub(crate) nqn: &'a str,
    /// Largest data in the capsule of an I/O command.
    pub(crate) capsule_bytes: u32,
    /// Largest compare-and-write that every namespace can do.
    pub(crate) compare_blocks_max: u32,
}

/// Shared by several ports and controllers, with ANA (CMIC).
const SHARED_WITH_ANA: u8 = 1 | 1 << 1 | 1 << 3;
/// Optional I/O commands (ONCS): Compare, Dataset Management, Write Zeroes, reservations, Verify, Copy.
const IO_COMMANDS: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 7 | 1 << 8;
/// A host identifier of 128 bits (CTRATTR).
const HOST_ID_128: u32 = 1;
/// Log pages (LPA): effects, offsets, supported log pages.
const LOG_ATTRIBUTES: u8 = 1 << 1 | 1 << 2 | 1 << 5;
/// A volatile write cache is there; Flush is for one namespace (VWC).
const WRITE_CACHE: u8 = 1 | 2 << 1;
/// SGLs, with offsets into the capsule (SGLS); what hosts send is as long as the command says.
const SGLS: u32 = 1 | 1 << 20;
/// ANA states that are reported: optimized, non-optimized, inaccessible, persistent loss, change; ids of groups are stable.
const ANA_CAPABILITIES: u8 = 0x1F | 1 << 6;
/// How long a change of ANA state takes at most, in seconds.
const ANA_TRANSITION_S: u8 = 10;

/// Temperatures that would be too high (WCTEMP, CCTEMP), in kelvins: 70 and 80 degrees Celsius. They must not be 0 (Base 2.0, figure
/// 275), and no temperature is ever reported.
const WARNING_TEMPERATURE_K: u16 = 343;
const CRITICAL_TEMPERATURE_K: u16 = 353;

/// Identify Controller.
pub(crate) fn controller(facts: &ControllerFacts<'_>) -> Vec<u8> {
    let mut page = Page::new(IDENTIFY_BYTES);
    let is_io = facts.kind == Kind::Io;
    page.text(4, 20, b' ', &facts.identity.serial)
        .text(24, 40, b' ', Identity::MODEL)
        .text(64, 8, b' ', &facts.identity.firmware)
        .u8(77, TRANSFER_PAGES_LOG2)
        .u16(78, facts.id)
        .u32(80, VERSION)
        .u32(92, if is_io { IO_EVENTS } else { DISCOVERY_EVENTS })
        .u32(96, HOST_ID_128)
        .u8(111, if is_io { 1 } else { 2 })
        .u8(258, 3)
        .u8(259, EVENT_REQUESTS_MAX as u8 - 1)
        .u8(260, 1 | 1 << 1)
        .u8(261, LOG_ATTRIBUTES)
        .u8(262, ERROR_ENTRIES_MAX as u8 - 1)
        .u16(320, 1)
        .u16(514, IO_ENTRIES_MAX)
        .u32(536, SGLS)
        .text(768, 256, 0, facts.nqn);
    if is_io {
        page.u8(76, SHARED_WITH_ANA)
            .u16(266, WARNING_TEMPERATURE_K)
            .u16(268, CRITICAL_TEMPERATURE_K)
            .u8(342, ANA_TRANSITION_S)
            .u8(343, ANA_CAPABILITIES)
            .u32(344, ANA_GROUPS_MAX)
            .u32(348, ANA_GROUPS_MAX)
            .u8(512, 6 << 4 | 6)
            .u8(513, 4 << 4 | 4)
            .u32(516, NAMESPACE_ID_MAX)
            .u16(520, IO_COMMANDS)
            .u16(522, 1)
            .u8(525, WRITE_CACHE)
            .u16(532, facts.compare_blocks_max.saturating_sub(1).min(0xFFFF) as u16)
            .u16(534, 1)
            .u32(540, NAMESPACES_MAX as u32);
    }
    fabrics(&mut page, facts.capsule_bytes);
    // One power state, which says nothing of its draw.
    page.into_vec()
}

/// What NVMe over Fabrics adds: sizes of capsules in 16 bytes, no offset of data in them, one SGL descriptor,
/// and Disconnect.
fn fabrics(page: &mut Page, capsule_bytes: u32) {
    page.u32(1792, (64 + capsule_bytes) / 16).u32(1796, 1).u16(1800, 0).u8(1802, 0).u8(1803, 1).u16(1804, 1);
}

/// Identify Controller of the NVM command set: limits of commands that move no data.
pub(crate) fn controller_of_set() -> Vec<u8> {
    let mut page = Page::new(IDENTIFY_BYTES);
    page.u8(1, ZEROES_PAGES_LOG2);
    page.into_vec()
}

const _: () = assert!(CONNECT_DATA_BYTES.is_multiple_of(16));
