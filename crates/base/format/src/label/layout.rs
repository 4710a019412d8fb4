//! Where things lie on a device: label, label copy, anchors, slots.

use crate::claim::CLAIM_BYTES;
use quarry_types::LogId;
use quarry_types::limits::{
    BLOCK_BYTES, DEVICE_HEADER_BYTES, LOGS_MAX, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MIN, SLOTS_WANTED_MIN,
};

use super::LABEL_BYTES;

/// Unit of placement: every structure of a device begins and ends at a multiple of this, whatever its sector size.
pub const GRANULE_BYTES: u32 = BLOCK_BYTES as u32;
/// The same in sectors.
pub const GRANULE_SECTORS: u32 = GRANULE_BYTES / quarry_types::SECTOR_BYTES as u32;
/// Where the two copies of the label begin. The second is written first.
pub const LABEL_COPY_OFFSETS: [u64; 2] = [0, 64 << 10];
/// Size of one anchor of a log.
pub const ANCHOR_BYTES: usize = 4096;
/// A log writes its anchors by turns, so that a torn one leaves the other.
pub const ANCHORS_PER_LOG: usize = 2;

const ANCHORS_OFFSET: u64 = 128 << 10;
const ANCHORS_BYTES: u64 = LOGS_MAX as u64 * ANCHORS_PER_LOG as u64 * ANCHOR_BYTES as u64;

/// Where the claim of a device behind a network lies.
pub const CLAIM_OFFSET: u64 = ANCHORS_OFFSET + ANCHORS_BYTES;

const _: () = assert!(CLAIM_OFFSET + CLAIM_BYTES as u64 <= DEVICE_HEADER_BYTES);
const _: () = assert!(LABEL_COPY_OFFSETS[0] + LABEL_BYTES as u64 <= LABEL_COPY_OFFSETS[1]);
const _: () = assert!(LABEL_COPY_OFFSETS[1] + LABEL_BYTES as u64 <= ANCHORS_OFFSET);
const _: () = assert!(ANCHORS_BYTES == 512 << 10);
const _: () = assert!(ANCHORS_OFFSET + ANCHORS_BYTES <= DEVICE_HEADER_BYTES);
const _: () = assert!(LABEL_BYTES.is_multiple_of(BLOCK_BYTES) && ANCHOR_BYTES.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(DEVICE_HEADER_BYTES.is_multiple_of(BLOCK_BYTES as u64));
const _: () = assert!(SEGMENT_BYTES_DEFAULT.is_power_of_two() && SEGMENT_BYTES_MIN.is_power_of_two());

/// Where anchor `which` (0 or 1) of `log` lies on every device, in bytes.
///
/// # Panics
/// When the log or the anchor is out of range.
pub fn anchor_offset(log: LogId, which: usize) -> u64 {
    assert!(log.0 < LOGS_MAX && which < ANCHORS_PER_LOG, "anchor {which} of log {log} out of range");
    ANCHORS_OFFSET + (u64::from(log.0) * ANCHORS_PER_LOG as u64 + which as u64) * ANCHOR_BYTES as u64
}

/// Where slot `slot` begins on a device of `segment_bytes`-sized slots, in bytes.
pub fn slot_offset(slot: u32, segment_bytes: u64) -> u64 {
    DEVICE_HEADER_BYTES + u64::from(slot) * segment_bytes
}

/// How many whole slots a device of `size_bytes` has.
pub fn slots_for(size_bytes: u64, segment_bytes: u64) -> u32 {
    let slots = size_bytes.saturating_sub(DEVICE_HEADER_BYTES) / segment_bytes;
    u32::try_from(slots).unwrap_or(u32::MAX)
}

/// The segment size of a pool over devices of these sizes: the default, halved until the smallest device has
/// [`SLOTS_WANTED_MIN`] slots or the smallest segment size is reached.
pub fn segment_bytes_for(sizes_bytes: impl IntoIterator<Item = u64>) -> u64 {
    let smallest = sizes_bytes.into_iter().min().unwrap_or(0);
    let mut segment_bytes = SEGMENT_BYTES_DEFAULT;
    while segment_bytes > SEGMENT_BYTES_MIN
        && u64::from(slots_for(smallest, segment_bytes)) < SLOTS_WANTED_MIN
    {
        segment_bytes /= 2;
    }
    segment_bytes
}
