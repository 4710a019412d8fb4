//! What lives in a victim: its pieces with their checksums, from batch headers or from the table of a packed chunk.

use std::rc::Rc;

use quarry_format::batch::{self, Batch};
use quarry_format::crc32c;
use quarry_format::packed::{self, PackedItem};
use quarry_pool::{Chunk, Expected, LogStore, PoolError};
use quarry_types::limits::{BATCH_HEADER_BYTES_MAX, SECTOR_BYTES};
use quarry_types::{LogAddress, SegmentId};

use crate::window::Window;

/// A piece and where it lies in the victim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Survivor {
    pub(crate) item: PackedItem,
    pub(crate) sector: u32,
}

/// Something that tells what is in a chunk, by its first sector.
pub(crate) type Teller = (u32, Expected);
/// What is told, and what tells it.
type Told = (Vec<Survivor>, Vec<Teller>);

/// What lives of one run.
pub(crate) struct LiveRun {
    pub(crate) segment: SegmentId,
    pub(crate) first_sector: u32,
    /// How many sectors of it live.
    live_sectors: u32,
    /// In order.
    pub(crate) survivors: Vec<Survivor>,
}

/// What lives in a chunk, run by run.
pub(crate) async fn survivors(
    store: &LogStore,
    chunk: &Rc<Chunk>,
    segments: &[SegmentId],
) -> Result<Vec<LiveRun>, PoolError> {
    Ok(told(store, chunk, segments).await?.0)
}

/// The same, with what tells of it: batch headers, or the table of a packed chunk.
pub(crate) async fn told(
    store: &LogStore,
    chunk: &Rc<Chunk>,
    segments: &[SegmentId],
) -> Result<(Vec<LiveRun>, Vec<Teller>), PoolError> {
    let (pieces, tellers) = match (chunk.packed_table.get(), segments) {
        ((_, 0), [segment]) => {
            let end = store.table().get(*segment).map_or(0, |entry| entry.end_sector);
            written(store, chunk, (*segment, end)).await?
        }
        (table, _) => packed(store, chunk, table).await?,
    };
    let table = store.table();
    let mut runs = Vec::new();
    for &id in segments {
        let Some(segment) = table.get(id) else { continue };
        let here = segment.live_by_run().filter(|(run, _)| run.chunk.id() == chunk.id());
        runs.extend(here.map(|(run, live_sectors)| LiveRun {
            segment: id,
            first_sector: run.first_sector,
            live_sectors,
            survivors: Vec::new(),
        }));
    }
    for piece in pieces {
        let address = piece.item.address;
        // What was copied in vain, or lies here no more, resolves to another place.
        let Some((run, sector)) = table.resolve_run(address) else { continue };
        let is_live = table.get(address.segment()).is_some_and(|segment| segment.live.get(address.sector()));
        if !is_live || sector != piece.sector || run.chunk.id() != chunk.id() {
            continue;
        }
        let key = (address.segment(), run.first_sector);
        if let Ok(index) = runs.binary_search_by_key(&key, |run| (run.segment, run.first_sector)) {
            runs[index].survivors.push(piece);
        }
    }
    for run in &mut runs {
        run.survivors.sort_unstable_by_key(|survivor| survivor.item.address);
        let found: u32 = run.survivors.iter().map(|survivor| survivor.item.sectors).sum();
        if found != run.live_sectors {
            tracing::error!(
                chunk = %chunk.id(), segment = %run.segment, found, live = run.live_sectors,
                "a chunk does not tell of everything that lives in it"
            );
            let bytes = store.pool.geometry().segment_bytes as usize;
            return Err(PoolError::Corrupt {
                chunk: chunk.id(),
                offset: 0,
                bytes,
                copies: chunk.slots().len(),
            });
        }
    }
    Ok((runs, tellers))
}

/// Every piece of a segment as it was written, up to sector `end`, by its batch headers, and these.
pub(crate) async fn written(
    store: &LogStore,
    chunk: &Chunk,
    (segment, end): (SegmentId, u32),
) -> Result<Told, PoolError> {
    let geometry = store.pool.geometry();
    let mut at = geometry.granule_sectors();
    let (mut all, mut headers) = (Vec::new(), Vec::new());
    let mut window = Window::new(store, chunk);
    while at < end {
        let address = LogAddress::new(segment, at);
        let (batch, header) = match header_in(&mut window, store, address).await {
            Some(found) => found,
            None => read_header(store, chunk, address).await?,
        };
        headers.push((at, header));
        for item in batch.items() {
            let inside = u64::from(at) + u64::from(item.sector) + u64::from(item.sectors) <= u64::from(end);
            if !inside || item.sectors == 0 {
                let (offset, copies) = (address.offset_bytes(), chunk.slots().len());
                let bytes = batch.header_bytes;
                return Err(PoolError::Corrupt { chunk: chunk.id(), offset, bytes, copies });
            }
            let sector = at + item.sector;
            let address = LogAddress::new(segment, sector);
            let item = PackedItem { address, sectors: item.sectors, checksum: item.checksum };
            all.push(Survivor { item, sector });
        }
        at = at.saturating_add(batch.header.sectors);
    }
    Ok((all, headers))
}

/// The batch header at `address`, if the copy that is read in passing has it whole.
async fn header_in(
    window: &mut Window<'_>,
    store: &LogStore,
    address: LogAddress,
) -> Option<(Batch, Expected)> {
    let granule = store.pool.geometry().granule_bytes as usize;
    let offset = address.offset_bytes() as usize;
    let left = store.pool.geometry().segment_bytes as usize - offset;
    let first = window.bytes(offset, granule).await.ok()?;
    let length = batch::header_length(first)?.next_multiple_of(granule).min(left);
    let bytes = window.bytes(offset, length).await.ok()?;
    let batch = batch::decode(bytes).ok().filter(|batch| is_at(batch, address))?;
    let teller = teller(bytes, batch.header_bytes);
    Some((batch, teller))
}

/// Bytes of which the first `told` are as they should be. Behind them are zeroes up to the end of the granule; nothing vouches for those
/// that were read.
pub(crate) fn teller(bytes: &[u8], told: usize) -> Expected {
    let mut written = bytes[..told].to_vec();
    written.resize(bytes.len(), 0);
    Expected { sectors: (bytes.len() / SECTOR_BYTES) as u32, checksum: crc32c(&written) }
}

fn is_at(batch: &Batch, address: LogAddress) -> bool {
    batch.header.address == address && batch.header.sectors > 0
}

/// The batch header at `address`, from the first copy that has it whole, or from what the rest of the chunk's group says.
async fn read_header(
    store: &LogStore,
    chunk: &Chunk,
    address: LogAddress,
) -> Result<(Batch, Expected), PoolError> {
    let granule = store.pool.geometry().granule_bytes as usize;
    let offset = address.offset_bytes();
    let left = store.pool.geometry().segment_bytes as usize - offset as usize;
    let decode = |bytes: &[u8]| {
        let length = batch::header_length(bytes)?.next_multiple_of(granule);
        let bytes = bytes.get(..length)?;
        let batch = batch::decode(bytes).ok().filter(|batch| is_at(batch, address))?;
        let teller = teller(bytes, batch.header_bytes);
        Some((batch, teller))
    };
    // Most headers are short.
    for length in [granule, BATCH_HEADER_BYTES_MAX.min(left)] {
        if let Some(found) = store.pool.find_bytes(chunk, offset, length, decode).await {
            return Ok(found);
        }
    }
    Err(PoolError::Corrupt { chunk: chunk.id(), offset, bytes: granule, copies: chunk.slots().len() })
}

/// Every piece of a packed chunk, by the chunk's table, and this.
pub(crate) async fn packed(
    store: &LogStore,
    chunk: &Chunk,
    (sector, bytes): (u32, u32),
) -> Result<Told, PoolError> {
    let geometry = store.pool.geometry();
    let offset = u64::from(sector) * SECTOR_BYTES as u64;
    let padded = (bytes as usize).next_multiple_of(geometry.granule_bytes as usize);
    let told = bytes as usize;
    let decode = |buffer: &[u8]| Some((packed::decode(&buffer[..told]).ok()?, teller(buffer, told)));
    let Some((items, teller)) = store.pool.find_bytes(chunk, offset, padded, decode).await else {
        return Err(PoolError::Corrupt {
            chunk: chunk.id(),
            offset,
            bytes: padded,
            copies: chunk.slots().len(),
        });
    };
    let mut at = geometry.granule_sectors();
    let mut all = Vec::new();
    for item in items {
        if !item.is_filler() {
            all.push(Survivor { item, sector: at });
        }
        at += item.sectors;
    }
    Ok((all, vec![(sector, teller)]))
}
