//! All of a chunk that counts, for who copies the chunk as it is.

use std::rc::Rc;

use quarry_format::chunk::ChunkHeader;
use quarry_format::packed::PackedItem;
use quarry_pool::{Chunk, Contents, Expected, LogStore, PoolError};
use quarry_types::SegmentId;

use crate::survivors::{teller, told, written};

/// What lives in a chunk that holds (runs of) these segments, and what tells of it: the chunk's header, and headers of batches or the
/// table of a packed chunk. Of segments from `first_kept` on the table does not know what lives before the next checkpoint, and a
/// recovery may look at everything: so all of them counts.
///
/// # Errors
/// As [`crate::live_pieces`], and when no copy has its header.
pub async fn contents(
    store: &LogStore,
    chunk: &Rc<Chunk>,
    segments: &[SegmentId],
    first_kept: SegmentId,
) -> Result<Contents, PoolError> {
    let (survivors, tellers) = match segments {
        [segment] if *segment >= first_kept => written(store, chunk, *segment).await?,
        _ => {
            let (runs, tellers) = told(store, chunk, segments).await?;
            (runs.into_iter().flat_map(|run| run.survivors).collect(), tellers)
        }
    };
    let expected = |item: &PackedItem| Expected { sectors: item.sectors, checksum: item.checksum };
    let mut pieces: Vec<_> =
        survivors.iter().map(|survivor| (survivor.sector, expected(&survivor.item))).collect();
    pieces.extend(tellers);
    pieces.push((0, header(store, chunk).await?));
    pieces.sort_unstable_by_key(|(sector, _)| *sector);
    let whole_to_sector = segments
        .iter()
        .filter(|&&id| id >= first_kept)
        .map(|&id| store.table().get(id).map_or(0, |segment| segment.end_sector));
    Ok(Contents { whole_to_sector: whole_to_sector.max(), pieces })
}

/// The first granule of a chunk, from the first copy that has it whole.
async fn header(store: &LogStore, chunk: &Chunk) -> Result<Expected, PoolError> {
    let granule = store.pool.geometry().granule_bytes as usize;
    let slots = chunk.slots();
    for &slot in &slots {
        if let Ok(bytes) = store.pool.read_copy(slot, 0, granule).await
            && ChunkHeader::decode(&bytes).is_ok_and(|header| header.chunk == chunk.id())
        {
            return Ok(teller(&bytes));
        }
    }
    Err(PoolError::Corrupt { chunk: chunk.id(), offset: 0, bytes: granule, copies: slots.len() })
}
