//! A packed chunk while it is being written: header, survivors, table.

use std::rc::Rc;

use quarry_env::View;
use quarry_format::chunk::{ChunkContent, ChunkHeader};
use quarry_format::packed::{self, PackedItem};
use quarry_pool::{Bitmap, Chunk, LogStore, PoolError, Run};
use quarry_types::limits::SECTOR_BYTES;
use quarry_types::{LogId, SegmentId};

/// Bytes that are written at once.
const PIECE_BYTES: usize = 1 << 20;

/// A packed chunk that takes more runs.
pub(crate) struct Output {
    pub(crate) chunk: Rc<Chunk>,
    items: Vec<PackedItem>,
    /// Bytes that are not written yet, and where they go.
    pending: Vec<u8>,
    pending_offset: u64,
    /// The runs that it holds, for the segment table.
    pub(crate) runs: Vec<(SegmentId, Run)>,
}

/// Whether a chunk holds so many bytes, its header among them, and a table of `items`.
fn fits(store: &LogStore, items: usize, bytes: u64) -> bool {
    let geometry = store.pool.geometry();
    let table = packed::encoded_bytes(items) as u64;
    bytes + table.next_multiple_of(u64::from(geometry.granule_bytes)) <= geometry.segment_bytes
}

impl Output {
    pub(crate) fn new(store: &LogStore) -> Result<Self, PoolError> {
        let chunk = store.allocate_chunk(store.pool.shared.copies)?;
        let granule = store.pool.geometry().granule_bytes as usize;
        let log: LogId = store.log;
        let content = ChunkContent::Packed;
        let header = ChunkHeader { pool: store.pool.shared.id, log, chunk: chunk.id(), content }.encode();
        let mut pending = Vec::with_capacity(PIECE_BYTES);
        pending.extend_from_slice(&header);
        pending.resize(granule, 0);
        Ok(Self { chunk, items: Vec::new(), pending, pending_offset: 0, runs: Vec::new() })
    }

    fn written_bytes(&self) -> u64 {
        self.pending_offset + self.pending.len() as u64
    }

    /// Whether runs of `items` with so many bytes fit in, with their share of the table.
    pub(crate) fn has_room(&self, store: &LogStore, items: usize, bytes: u64) -> bool {
        fits(store, self.items.len() + items, self.written_bytes() + bytes)
    }

    /// The same of a chunk in which there is nothing yet.
    pub(crate) fn empty_has_room(store: &LogStore, items: usize, bytes: u64) -> bool {
        fits(store, items, u64::from(store.pool.geometry().granule_bytes) + bytes)
    }

    /// Begins the run of a segment that will keep `kept`.
    pub(crate) fn begin_run(&mut self, segment: SegmentId, kept: Bitmap) {
        let start_sector = (self.written_bytes() / SECTOR_BYTES as u64) as u32;
        let run = Run { chunk: self.chunk.clone(), start_sector, kept: Some(Rc::new(kept)) };
        self.runs.push((segment, run));
    }

    /// Appends pieces that lie one behind the other in `data`.
    pub(crate) async fn push(
        &mut self,
        store: &LogStore,
        items: impl Iterator<Item = PackedItem>,
        data: &[u8],
    ) -> Result<(), PoolError> {
        self.items.extend(items);
        self.pending.extend_from_slice(data);
        while self.pending.len() >= PIECE_BYTES {
            self.write_pending(store, PIECE_BYTES).await?;
        }
        Ok(())
    }

    /// Writes the table. The chunk is whole afterwards, but not flushed.
    pub(crate) async fn finish(&mut self, store: &LogStore) -> Result<(), PoolError> {
        let granule = store.pool.geometry().granule_bytes as usize;
        let table = packed::encode(&self.items);
        let sector = (self.written_bytes() / SECTOR_BYTES as u64) as u32;
        self.chunk.packed_table.set((sector, table.len() as u32));
        self.pending.extend_from_slice(&table);
        self.pending.resize(self.pending.len().next_multiple_of(granule), 0);
        while !self.pending.is_empty() {
            self.write_pending(store, self.pending.len().min(PIECE_BYTES)).await?;
        }
        Ok(())
    }

    async fn write_pending(&mut self, store: &LogStore, bytes: usize) -> Result<(), PoolError> {
        let view: View = store.pool.env.buffers.copy_of(&self.pending[..bytes]);
        self.pending.drain(..bytes);
        for device in store.pool.write_copies(&self.chunk, self.pending_offset, &[view]).await {
            self.chunk.drop_copy(device);
        }
        self.pending_offset += bytes as u64;
        match self.chunk.healthy_copies() {
            0 => Err(PoolError::NoDevice { log: store.log }),
            _ => Ok(()),
        }
    }
}
