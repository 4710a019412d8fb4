//! All of a chunk that counts, for who copies the chunk as it is.

use std::rc::Rc;

use quarry_format::chunk::{CHUNK_HEADER_BYTES, ChunkContent, ChunkHeader};
use quarry_format::packed::PackedItem;
use quarry_pool::{Chunk, Contents, Expected, LogStore, PoolError};
use quarry_types::limits::SECTOR_BYTES;
use quarry_types::{LogAddress, SegmentId};

use crate::survivors::{Survivor, Teller, packed, teller, told, written};

/// What lives in a chunk that holds (runs of) these segments, and what tells of it: the chunk's header, and headers of batches or the
/// table of a packed chunk. Of segments from `first_kept` on the table does not know what lives before the next checkpoint, and a
/// recovery may look at everything: so all of them counts.
///
/// # Errors
/// When what the chunk tells of its content can be read from no copy, or tells of less than lives there, and when no copy has its header.
pub async fn contents(
    store: &LogStore,
    chunk: &Rc<Chunk>,
    segments: &[SegmentId],
    first_kept: SegmentId,
) -> Result<Contents, PoolError> {
    let (survivors, tellers) = match segments {
        [segment] if *segment >= first_kept => {
            let end = store.table().get(*segment).map_or(0, |entry| entry.end_sector);
            written(store, chunk, (*segment, end)).await?
        }
        _ => {
            let (runs, tellers) = told(store, chunk, segments).await?;
            (runs.into_iter().flat_map(|run| run.survivors).collect(), tellers)
        }
    };
    let pieces = pieces(&survivors, tellers, header(store, chunk).await?.1);
    let whole_to_sector = segments
        .iter()
        .filter(|&&id| id >= first_kept)
        .map(|&id| store.table().get(id).map_or(0, |segment| segment.end_sector));
    Ok(Contents { whole_to_sector: whole_to_sector.max(), pieces })
}

/// A piece of a chunk, where it lies there, and its record if it is not one of those that tell of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LivePiece {
    /// The first sector.
    pub sector: u32,
    /// What is to be there.
    pub expected: Expected,
    /// The record.
    pub address: Option<LogAddress>,
}

/// What lives in a chunk that holds (runs of) these segments, and what tells of it, in order of sectors. A header that no copy has is left
/// out.
///
/// # Errors
/// As [`contents`], but for the header.
pub async fn live_pieces(
    store: &LogStore,
    chunk: &Rc<Chunk>,
    segments: &[SegmentId],
) -> Result<Vec<LivePiece>, PoolError> {
    let (runs, mut tellers) = told(store, chunk, segments).await?;
    match header(store, chunk).await {
        Ok((_, expected)) => tellers.push((0, expected)),
        Err(error) => tracing::error!(chunk = %chunk.id(), %error, "the header of a chunk is lost"),
    }
    let telling = tellers.into_iter().map(|(sector, expected)| LivePiece { sector, expected, address: None });
    let records = runs.into_iter().flat_map(|run| run.survivors).map(|Survivor { item, sector }| LivePiece {
        sector,
        expected: Expected { sectors: item.sectors, checksum: item.checksum },
        address: Some(item.address),
    });
    let mut pieces: Vec<LivePiece> = telling.chain(records).collect();
    pieces.sort_unstable_by_key(|piece| piece.sector);
    Ok(pieces)
}

/// All that a chunk tells of that is full, whether it lives or not: what a code counts on.
///
/// # Errors
/// As [`contents`].
pub async fn whole_contents(store: &LogStore, chunk: &Chunk) -> Result<Contents, PoolError> {
    let (header, first) = header(store, chunk).await?;
    let (survivors, tellers) = match (chunk.packed_table.get(), header.content) {
        ((_, 0), ChunkContent::Segment(start)) => {
            let end = match chunk.group().and_then(|group| group.end_of(chunk)) {
                Some(bytes) => (bytes / SECTOR_BYTES) as u32,
                None => store.table().get(start.segment).map_or(0, |entry| entry.end_sector),
            };
            written(store, chunk, (start.segment, end)).await?
        }
        (table, _) => packed(store, chunk, table).await?,
    };
    Ok(Contents { pieces: pieces(&survivors, tellers, first), whole_to_sector: None })
}

/// Everything that is told of and what tells of it, in order of sectors.
fn pieces(survivors: &[Survivor], tellers: Vec<Teller>, header: Expected) -> Vec<(u32, Expected)> {
    let expected = |item: &PackedItem| Expected { sectors: item.sectors, checksum: item.checksum };
    let mut pieces: Vec<_> =
        survivors.iter().map(|survivor| (survivor.sector, expected(&survivor.item))).collect();
    pieces.extend(tellers);
    pieces.push((0, header));
    pieces.sort_unstable_by_key(|(sector, _)| *sector);
    pieces
}

/// The first granule of a chunk, from the first copy that has it whole, or as the rest of its group says.
async fn header(store: &LogStore, chunk: &Chunk) -> Result<(ChunkHeader, Expected), PoolError> {
    let granule = store.pool.geometry().granule_bytes as usize;
    let decode = |bytes: &[u8]| {
        let header = ChunkHeader::decode(bytes).ok().filter(|header| header.chunk == chunk.id())?;
        Some((header, teller(bytes, CHUNK_HEADER_BYTES)))
    };
    let copies = chunk.slots().len();
    let found = store.pool.find_bytes(chunk, 0, granule, decode).await;
    found.ok_or(PoolError::Corrupt { chunk: chunk.id(), offset: 0, bytes: granule, copies })
}
