//! Reading a chunk from front to back: one large read instead of one for each header and each survivor.

use quarry_env::{Buffer, Work};
use quarry_pool::{Chunk, CopyError, LogStore};
use quarry_types::limits::{BATCH_HEADER_BYTES_MAX, BLOCK_BYTES};

/// Bytes that are read at once, where the chunk has them.
const WINDOW_BYTES: usize = 256 << 10;

const _: () =
    assert!(WINDOW_BYTES >= 2 * (BATCH_HEADER_BYTES_MAX + BLOCK_BYTES), "the longest piece fits in");

/// A part of a chunk, as one of its copies has it: nothing here is verified.
pub(crate) struct Window<'a> {
    store: &'a LogStore,
    chunk: &'a Chunk,
    start: usize,
    held: Option<Buffer>,
    /// What is read is also written, in turns of the cleaner.
    is_moved: bool,
}

impl<'a> Window<'a> {
    pub(crate) fn new(store: &'a LogStore, chunk: &'a Chunk) -> Self {
        Self { store, chunk, start: 0, held: None, is_moved: false }
    }

    /// Of a chunk whose survivors are moved.
    pub(crate) fn of_victim(store: &'a LogStore, chunk: &'a Chunk) -> Self {
        Self { is_moved: true, ..Self::new(store, chunk) }
    }

    /// The `length` bytes at `offset`, which must lie in the chunk and begin at a sector.
    pub(crate) async fn bytes(&mut self, offset: usize, length: usize) -> Result<&[u8], CopyError> {
        let end = self.held.as_ref().map_or(0, |held| self.start + held.len());
        if offset < self.start || offset + length > end {
            let granule = self.store.pool.geometry().granule_bytes as usize;
            let start = offset - offset % granule;
            let rest = self.store.pool.geometry().segment_bytes as usize - start;
            let wanted = (offset + length - start).next_multiple_of(granule);
            self.held = None;
            self.held = Some(self.read(start, WINDOW_BYTES.max(wanted).min(rest)).await?);
            self.start = start;
        }
        Ok(self.held(offset, length))
    }

    /// Bytes that [`Self::bytes`] gave before and that are still there.
    pub(crate) fn held(&self, offset: usize, length: usize) -> &[u8] {
        let held = self.held.as_ref().expect("they were read before");
        &held[offset - self.start..offset - self.start + length]
    }

    /// Reads the first copy that can be read, or what the rest of its group says.
    async fn read(&self, offset: usize, length: usize) -> Result<Buffer, CopyError> {
        let slots = self.chunk.slots();
        let (pool, last) = (&self.store.pool, slots.last().expect("a chunk has at least one copy"));
        let _passed = match self.is_moved {
            true => pool.turn(Work::Cleaning, 2 * length as u64).await,
            false => None,
        };
        for slot in slots.iter().filter(|slot| !pool.shared.is_failed(slot.device)) {
            if let Ok(buffer) = pool.read_copy(*slot, offset as u64, length).await {
                return Ok(buffer);
            }
        }
        if let Some(buffer) = pool.decode_unverified(self.chunk, offset as u64, length).await {
            return Ok(buffer);
        }
        pool.read_copy(*last, offset as u64, length).await
    }
}
