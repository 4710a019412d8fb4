//! A namespace (CNS 00h, 03h, 08h) and lists of them (02h).

use super::IDENTIFY_BYTES;
use crate::identity::{eui64, nguid};
use crate::limits::{COPY_BLOCKS_MAX, COPY_RANGE_BLOCKS_MAX, COPY_RANGES_MAX, LBA_BYTES, PREFERRED_BLOCKS};
use quarry_nvme_wire::bytes::Page;
use quarry_types::VolumeId;

/// What a namespace is beside constants.
#[derive(Clone, Copy)]
pub(crate) struct NamespaceFacts {
    pub(crate) volume: VolumeId,
    pub(crate) blocks: u64,
    pub(crate) blocks_used: u64,
    pub(crate) compare_blocks_max: u32,
    pub(crate) ana_group: u32,
    pub(crate) read_only: bool,
    /// Whether reservations can survive power loss.
    pub(crate) keeps_reservations: bool,
    /// Whether commands find its volume.
    pub(crate) ready: bool,
}

/// Thin, with atomicity of its own, preferred sizes, identifiers that are never used again (NSFEAT).
const FEATURES: u8 = 1 | 1 << 1 | 1 << 3 | 1 << 4;
/// Identifiers that are never used again (NSFEAT of what does not depend on the command set, where the other bits mean other things: bit 4 a
/// disk that rotates; NVMe Base 2.1, figure 320).
const FEATURES_INDEPENDENT: u8 = 1 << 3;
/// More than one controller may have it (NMIC).
const SHARED: u8 = 1;
/// Every type of reservation, and keys that must match (RESCAP).
const RESERVATIONS: u8 = 0xFE;
/// Reservations survive power loss where they are asked to (RESCAP, PTPL).
const RESERVATIONS_KEPT: u8 = 1;
/// Deallocated blocks read as zeroes, and Write Zeroes can deallocate (DLFEAT).
const DEALLOCATED: u8 = 1 | 1 << 3;

fn reservations(facts: &NamespaceFacts) -> u8 {
    RESERVATIONS | if facts.keeps_reservations { RESERVATIONS_KEPT } else { 0 }
}

/// Identify Namespace.
pub(crate) fn namespace(facts: &NamespaceFacts) -> Vec<u8> {
    let preferred = PREFERRED_BLOCKS as u16 - 1;
    let mut page = Page::new(IDENTIFY_BYTES);
    page.u64(0, facts.blocks)
        .u64(8, facts.blocks)
        .u64(16, facts.blocks_used)
        .u8(24, FEATURES)
        .u8(30, SHARED)
        .u8(31, reservations(facts))
        .u8(33, DEALLOCATED)
        // Blocks of 4 KiB are written whole or not at all, also when power fails; across their bounds nothing is promised.
        .u16(34, preferred)
        .u16(36, preferred)
        .u16(38, facts.compare_blocks_max.saturating_sub(1).min(0xFFFF) as u16)
        .u16(40, preferred)
        .u16(44, preferred)
        .u128(48, u128::from(facts.blocks) * u128::from(LBA_BYTES))
        .u16(64, preferred)
        .u16(66, preferred)
        .u16(68, preferred)
        .u16(72, preferred)
        .u16(74, COPY_RANGE_BLOCKS_MAX)
        .u32(76, COPY_BLOCKS_MAX)
        .u8(80, COPY_RANGES_MAX as u8 - 1)
        .u32(92, facts.ana_group)
        .u8(99, facts.read_only.into())
        .bytes(104, &nguid(facts.volume))
        .bytes(120, &eui64(facts.volume))
        .u8(130, LBA_BYTES.ilog2() as u8);
    page.into_vec()
}

/// Identify Namespace, what does not depend on the command set.
pub(crate) fn independent(facts: &NamespaceFacts) -> Vec<u8> {
    let mut page = Page::new(IDENTIFY_BYTES);
    page.u8(0, FEATURES_INDEPENDENT)
        .u8(1, SHARED)
        .u8(2, reservations(facts))
        .u32(4, facts.ana_group)
        .u8(8, facts.read_only.into())
        .u8(14, facts.ready.into());
    page.into_vec()
}

/// The descriptors of a namespace's identity: EUI-64, NGUID, UUID, command set.
pub(crate) fn descriptors(volume: VolumeId) -> Vec<u8> {
    let mut page = Page::new(IDENTIFY_BYTES);
    let entries: [(u8, &[u8]); 4] =
        [(1, &eui64(volume)), (2, &nguid(volume)), (3, &volume.to_bytes()), (4, &[0])];
    let mut at = 0;
    for (kind, value) in entries {
        page.u8(at, kind).u8(at + 1, value.len() as u8).bytes(at + 4, value);
        at += 4 + value.len();
    }
    page.into_vec()
}

/// A list of namespaces: those above `above`, as many as fit.
pub(crate) fn list(ids: impl Iterator<Item = u32>, above: u32) -> Vec<u8> {
    let mut page = Page::new(IDENTIFY_BYTES);
    let above = ids.filter(|&id| id > above).take(IDENTIFY_BYTES / 4);
    above.enumerate().for_each(|(index, id)| _ = page.u32(index * 4, id));
    page.into_vec()
}
