//! Copy, format 0: ranges of a namespace put one behind the other somewhere else in it.

use quarry_env::{BufferPool, View};
use quarry_volume::WriteFlags;

use super::request::{COPY_RANGE_BYTES, Verb};
use crate::limits::{COPY_BLOCKS_MAX, COPY_RANGE_BLOCKS_MAX, LBA_BYTES, STEP_BYTES};
use crate::namespaces::OpenVolume;
use crate::outcome::Outcome;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::bytes::{u16_at, u64_at};

/// Copies the source ranges in `data` to `target`, in order. Dword 0 of a failure is the first range that was not copied
/// whole.
pub(super) async fn copy(
    open: &OpenVolume,
    target: u64,
    data: &[u8],
    flags: WriteFlags,
    buffers: &BufferPool,
) -> Outcome {
    let ranges = data.chunks_exact(COPY_RANGE_BYTES as usize);
    let ranges = ranges.map(|range| (u64_at(range, 8), u64::from(u16_at(range, 16)) + 1));
    if let Err(status) = check(open, target, ranges.clone()) {
        return status.into();
    }
    let mut to = target;
    for (index, (first, count)) in ranges.enumerate() {
        let (from, length) = (first * LBA_BYTES, count * LBA_BYTES);
        if let Err(failed) = copy_range(open, (from, to, length), flags, buffers).await {
            return Outcome { result: index as u64, ..failed };
        }
        to += length;
    }
    Outcome::done()
}

fn check(open: &OpenVolume, target: u64, ranges: impl Iterator<Item = (u64, u64)>) -> Result<(), Status> {
    let mut total = 0;
    for (first, count) in ranges {
        if count > u64::from(COPY_RANGE_BLOCKS_MAX) {
            return Err(Status::COPY_LIMIT);
        }
        if first.checked_add(count).is_none_or(|end| end > open.blocks) {
            return Err(Status::LBA_OUT_OF_RANGE);
        }
        total += count;
    }
    if total > u64::from(COPY_BLOCKS_MAX) {
        return Err(Status::COPY_LIMIT);
    }
    let end = (target / LBA_BYTES).checked_add(total);
    if end.is_some_and(|end| end <= open.blocks) { Ok(()) } else { Err(Status::LBA_OUT_OF_RANGE) }
}

async fn copy_range(
    open: &OpenVolume,
    (from, to, length): (u64, u64, u64),
    flags: WriteFlags,
    buffers: &BufferPool,
) -> Result<(), Outcome> {
    let step = u64::from(STEP_BYTES);
    let steps = length.div_ceil(step);
    // Upwards the target would overwrite what is still to be read.
    let downwards = (from + 1..from + length).contains(&to);
    for index in 0..steps {
        let done = if downwards { steps - 1 - index } else { index } * step;
        // It may take long, and somebody may take away the right meanwhile.
        Verb::Copy.may_begin(open)?;
        let now = (length - done).min(step) as u32;
        let views = open.volume.read(from + done, now).await?;
        open.volume.write(to + done, joined(&views, now as usize, buffers), flags).await?;
    }
    Ok(())
}

/// The views as one.
fn joined(views: &[View], length: usize, buffers: &BufferPool) -> View {
    if let [view] = views {
        return view.clone();
    }
    let mut buffer = buffers.allocate(length);
    let mut at = 0;
    for view in views {
        buffer[at..at + view.len()].copy_from_slice(view);
        at += view.len();
    }
    buffer.freeze()
}
