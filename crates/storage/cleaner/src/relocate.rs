//! Moving the survivors of victims into packed chunks and swapping their table entries.

use std::collections::BTreeSet;

use quarry_pool::{Bitmap, Chunk, Expected, LogStore, PoolError};
use quarry_types::SegmentId;
use quarry_types::limits::SECTOR_BYTES;

use crate::Victim;
use crate::output::Output;
use crate::survivors::{Survivor, survivors};

/// Most bytes that are read at once.
const READ_BYTES_MAX: usize = 512 << 10;

/// What a relocation did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Relocated {
    /// Chunks that will be free after the next commit.
    pub victims: usize,
    /// Chunks that were written.
    pub outputs: usize,
    /// Bytes that were moved, counted once whatever the copies.
    pub moved_bytes: u64,
    /// Victims that could not be read, or for which no room was left, and that were left alone.
    pub skipped: usize,
}

/// Moves what lives in `victims` elsewhere, as far as it fits into `outputs_max` new chunks.
pub async fn relocate(
    store: &LogStore,
    victims: &[Victim],
    outputs_max: usize,
) -> Result<Relocated, PoolError> {
    let mut relocated = Relocated::default();
    let mut outputs: Vec<Output> = Vec::new();
    for victim in victims {
        match move_victim(store, victim, outputs_max, &mut outputs).await {
            Ok(Some(bytes)) => {
                relocated.victims += 1;
                relocated.moved_bytes += bytes;
            }
            Ok(None) => relocated.skipped += 1,
            Err(error @ (PoolError::Corrupt { .. } | PoolError::Unreadable { .. })) => {
                tracing::error!(chunk = %victim.chunk.id(), %error, "a chunk cannot be cleaned");
                relocated.skipped += 1;
            }
            Err(error) => return Err(error),
        }
    }
    relocated.outputs = outputs.len();
    let mut devices = BTreeSet::new();
    for output in &mut outputs {
        output.finish(store).await?;
        devices.extend(output.chunk.slots().iter().map(|slot| slot.device));
    }
    let failed = store.pool.flush(&devices).await;
    for output in &outputs {
        failed.iter().for_each(|&device| output.chunk.drop_copy(device));
        if output.chunk.healthy_copies() == 0 {
            return Err(PoolError::NoDevice { log: store.log });
        }
    }
    swap(store, outputs);
    Ok(relocated)
}

/// Copies what lives in one chunk, segment by segment; says how many bytes, or `None` when there is no room for all of it.
async fn move_victim(
    store: &LogStore,
    victim: &Victim,
    outputs_max: usize,
    outputs: &mut Vec<Output>,
) -> Result<Option<u64>, PoolError> {
    // All segments first: a victim that cannot be understood or does not fit is left alone as a whole.
    let mut segments = Vec::new();
    for &segment in &victim.segments {
        segments.push((segment, survivors(store, &victim.chunk, segment).await?));
    }
    let Some(places) = places(store, &segments, outputs_max, outputs) else { return Ok(None) };
    let mut moved = 0;
    for ((segment, survivors), place) in segments.into_iter().zip(places) {
        while outputs.len() <= place {
            outputs.push(Output::new(store)?);
        }
        moved += move_segment(store, &victim.chunk, segment, &survivors, &mut outputs[place]).await?;
    }
    Ok(Some(moved))
}

fn bytes_of(survivors: &[Survivor]) -> u64 {
    survivors.iter().map(|survivor| u64::from(survivor.item.sectors) * SECTOR_BYTES as u64).sum()
}

/// In which output each segment's run goes, the first that has room; `None` when they do not all fit.
fn places(
    store: &LogStore,
    segments: &[(SegmentId, Vec<Survivor>)],
    outputs_max: usize,
    outputs: &[Output],
) -> Option<Vec<usize>> {
    // What each output would hold besides what it holds: items and bytes.
    let mut added = vec![(0, 0); outputs_max.max(outputs.len())];
    let place = |(_, survivors): &(SegmentId, Vec<Survivor>)| {
        let (items, bytes) = (survivors.len(), bytes_of(survivors));
        let fits = |(index, added): (usize, &(usize, u64))| {
            let (items, bytes) = (added.0 + items, added.1 + bytes);
            match outputs.get(index) {
                Some(output) => output.has_room(store, items, bytes),
                None => Output::empty_has_room(store, items, bytes),
            }
        };
        let index = added.iter().enumerate().position(fits)?;
        added[index] = (added[index].0 + items, added[index].1 + bytes);
        Some(index)
    };
    segments.iter().map(place).collect()
}

async fn move_segment(
    store: &LogStore,
    chunk: &Chunk,
    segment: SegmentId,
    survivors: &[Survivor],
    output: &mut Output,
) -> Result<u64, PoolError> {
    let geometry = store.pool.geometry();
    let granule = geometry.granule_sectors();
    let mut kept = Bitmap::new(geometry.segment_granules());
    for Survivor { item, .. } in survivors {
        kept.set(item.address.sector() / granule, item.sectors / granule);
    }
    output.begin_run(segment, kept);
    let copied = copy(store, chunk, survivors, output).await;
    if copied.is_err() {
        // Half a run is no run: the segment stays where it is.
        output.runs.pop();
    }
    copied.map(|()| bytes_of(survivors))
}

async fn copy(
    store: &LogStore,
    chunk: &Chunk,
    survivors: &[Survivor],
    output: &mut Output,
) -> Result<(), PoolError> {
    let mut rest = survivors;
    while !rest.is_empty() {
        let (together, after) = rest.split_at(contiguous(rest));
        let data = read(store, chunk, together).await?;
        output.push(store, together.iter().map(|survivor| survivor.item), &data).await?;
        rest = after;
    }
    Ok(())
}

/// How many of the first survivors lie one behind the other and are read at once.
fn contiguous(survivors: &[Survivor]) -> usize {
    let start = survivors[0].sector;
    let mut end = start;
    survivors
        .iter()
        .take_while(|survivor| {
            let next = survivor.sector == end;
            end = survivor.sector + survivor.item.sectors;
            next && (end - start) as usize * SECTOR_BYTES <= READ_BYTES_MAX
        })
        .count()
        .max(1)
}

/// Verified bytes of pieces that lie one behind the other; damaged ones as they are, to stay recognisably damaged.
async fn read(store: &LogStore, chunk: &Chunk, pieces: &[Survivor]) -> Result<Vec<u8>, PoolError> {
    let expected: Vec<Expected> = pieces
        .iter()
        .map(|Survivor { item, .. }| Expected {
            bytes: item.bytes,
            sectors: item.sectors,
            checksum: item.checksum,
        })
        .collect();
    match store.pool.read_verified(chunk, pieces[0].sector, &expected).await {
        Ok(view) => return Ok(view.to_vec()),
        Err(PoolError::Corrupt { .. }) if pieces.len() == 1 => {}
        Err(PoolError::Corrupt { .. }) => {
            let mut all = Vec::new();
            for piece in pieces {
                all.extend(Box::pin(read(store, chunk, std::slice::from_ref(piece))).await?);
            }
            return Ok(all);
        }
        Err(error) => return Err(error),
    }
    let (offset, bytes) = (u64::from(pieces[0].sector), pieces[0].item.sectors as usize * SECTOR_BYTES);
    for slot in chunk.slots() {
        if let Ok(buffer) = store.pool.read_copy(slot, offset * SECTOR_BYTES as u64, bytes).await {
            tracing::error!(chunk = %chunk.id(), address = ?pieces[0].item.address, "a damaged block was moved as it is");
            return Ok(buffer.to_vec());
        }
    }
    Err(PoolError::Unreadable { chunk: chunk.id(), offset: offset * SECTOR_BYTES as u64, source: None })
}

/// Points the segments at their new runs. Old chunks wait for the next commit; segments that died meanwhile stay dead.
fn swap(store: &LogStore, outputs: Vec<Output>) {
    for output in outputs {
        for (segment, run) in output.runs {
            let old = store.table().get(segment).map(|entry| entry.run.chunk.clone());
            if let Some(old) = old {
                store.table_mut().relocate(segment, run);
                store.retire(old);
            }
        }
    }
}
