//! How much of a volume is allocated, for NUSE.

use quarry_volume::{ExtentKind, Result, Volume};

use crate::limits::{LBA_BYTES, USAGE_EXTENTS_MAX};

/// Extents that are asked for at once.
const EXTENTS_AT_ONCE: usize = 1024;

/// Allocated blocks, never fewer than there are: what lies behind [`USAGE_EXTENTS_MAX`] extents is taken to be allocated.
pub(crate) async fn blocks_used(volume: &dyn Volume, blocks: u64) -> Result<u64> {
    let end = blocks * LBA_BYTES;
    let (mut at, mut used, mut seen) = (0, 0, 0);
    while at < end && seen < USAGE_EXTENTS_MAX {
        let extents = volume.extents(at, end - at, EXTENTS_AT_ONCE).await?;
        let Some(last) = extents.last() else { break };
        seen += extents.len();
        at = last.range.end;
        let data = extents.iter().filter(|extent| extent.kind == ExtentKind::Data);
        used += data.map(|extent| extent.range.end - extent.range.start).sum::<u64>();
    }
    Ok((used + end.saturating_sub(at)) / LBA_BYTES)
}
