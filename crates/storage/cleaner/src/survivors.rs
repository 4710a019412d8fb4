//! What lives in a victim: its pieces with their checksums, from batch headers or from the table of a packed chunk.

use quarry_format::batch::{self, Batch};
use quarry_format::packed::{self, PackedItem};
use quarry_pool::{Chunk, LogStore, PoolError};
use quarry_types::limits::{BATCH_HEADER_BYTES_MAX, SECTOR_BYTES};
use quarry_types::{LogAddress, SegmentId};

/// A live piece and where it lies in the victim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Survivor {
    pub(crate) item: PackedItem,
    pub(crate) sector: u32,
}

/// The pieces of `segment` that live, in order, and where they lie in `chunk`.
pub(crate) async fn survivors(
    store: &LogStore,
    chunk: &Chunk,
    segment: SegmentId,
) -> Result<Vec<Survivor>, PoolError> {
    let all = match chunk.packed_table.get() {
        (_, 0) => written(store, chunk, segment).await?,
        table => packed_items(store, chunk, segment, table).await?,
    };
    let granule = store.pool.geometry().granule_sectors();
    let table = store.table();
    let Some(entry) = table.get(segment) else { return Ok(Vec::new()) };
    Ok(all.into_iter().filter(|survivor| entry.live.get(survivor.item.address.sector() / granule)).collect())
}

/// Every piece of a segment as it was written, by its batch headers.
async fn written(store: &LogStore, chunk: &Chunk, segment: SegmentId) -> Result<Vec<Survivor>, PoolError> {
    let geometry = store.pool.geometry();
    let end = store.table().get(segment).map_or(0, |entry| entry.end_sector);
    let mut at = geometry.granule_sectors();
    let mut all = Vec::new();
    while at < end {
        let address = LogAddress::new(segment, at);
        let batch = read_header(store, chunk, address).await?;
        for item in batch.items(geometry.granule_bytes as usize) {
            let sector = at + item.sector;
            let address = LogAddress::new(segment, sector);
            let item =
                PackedItem { address, sectors: item.sectors, bytes: item.bytes, checksum: item.checksum };
            all.push(Survivor { item, sector });
        }
        at += batch.header.sectors;
    }
    Ok(all)
}

/// The batch header at `address`, from the first copy that has it whole.
async fn read_header(store: &LogStore, chunk: &Chunk, address: LogAddress) -> Result<Batch, PoolError> {
    let granule = store.pool.geometry().granule_bytes as usize;
    let left = store.pool.geometry().segment_bytes as usize - address.offset_bytes() as usize;
    let slots = chunk.slots();
    for &slot in &slots {
        let offset = address.offset_bytes();
        let Ok(first) = store.pool.read_copy(slot, offset, granule).await else { continue };
        let length = batch::header_length(&first).unwrap_or(0);
        let decoded = if length > granule {
            let whole = length.min(BATCH_HEADER_BYTES_MAX).next_multiple_of(granule).min(left);
            match store.pool.read_copy(slot, offset, whole).await {
                Ok(bytes) => batch::decode(&bytes),
                Err(_) => continue,
            }
        } else {
            batch::decode(&first)
        };
        if let Ok(batch) = decoded
            && batch.header.address == address
            && batch.header.sectors > 0
        {
            return Ok(batch);
        }
    }
    Err(PoolError::Corrupt {
        chunk: chunk.id(),
        offset: address.offset_bytes(),
        bytes: granule,
        copies: slots.len(),
    })
}

/// Every piece of `segment` in a packed chunk, by the chunk's table.
async fn packed_items(
    store: &LogStore,
    chunk: &Chunk,
    segment: SegmentId,
    (sector, bytes): (u32, u32),
) -> Result<Vec<Survivor>, PoolError> {
    let geometry = store.pool.geometry();
    let offset = u64::from(sector) * SECTOR_BYTES as u64;
    let padded = (bytes as usize).next_multiple_of(geometry.granule_bytes as usize);
    let slots = chunk.slots();
    for &slot in &slots {
        let Ok(buffer) = store.pool.read_copy(slot, offset, padded).await else { continue };
        let Ok(items) = packed::decode(&buffer[..bytes as usize]) else { continue };
        let mut at = geometry.granule_sectors();
        let mut all = Vec::new();
        for item in items {
            if item.address.segment() == segment {
                all.push(Survivor { item, sector: at });
            }
            at += item.sectors;
        }
        return Ok(all);
    }
    Err(PoolError::Corrupt { chunk: chunk.id(), offset, bytes: padded, copies: slots.len() })
}
