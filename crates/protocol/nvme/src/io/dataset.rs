//! Dataset Management: ranges that the host needs no more.

use quarry_volume::WriteFlags;

use super::request::DATASET_RANGE_BYTES;
use crate::limits::LBA_BYTES;
use crate::namespaces::OpenVolume;
use crate::outcome::Outcome;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::bytes::{u32_at, u64_at};

/// Deallocates the ranges in `data`. Nothing is deallocated if one of them leaves the volume.
pub(super) async fn deallocate(open: &OpenVolume, data: &[u8], flags: WriteFlags) -> Outcome {
    let ranges = data.chunks_exact(DATASET_RANGE_BYTES as usize);
    let ranges = ranges.map(|range| (u64_at(range, 8), u64::from(u32_at(range, 4))));
    let inside = |(first, count): (u64, u64)| first.checked_add(count).is_some_and(|end| end <= open.blocks);
    if !ranges.clone().all(inside) {
        return Status::LBA_OUT_OF_RANGE.into();
    }
    for (first, count) in ranges.filter(|&(_, count)| count > 0) {
        if let Err(error) = open.volume.discard(first * LBA_BYTES, count * LBA_BYTES, flags).await {
            return error.into();
        }
    }
    Outcome::done()
}
