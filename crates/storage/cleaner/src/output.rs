//! A packed chunk while it is being written: header, survivors, table; more survivors, a table of all of them, and so on.

use std::rc::Rc;

use quarry_env::{Buffer, View};
use quarry_format::chunk::{ChunkContent, ChunkHeader};
use quarry_format::packed::{self, PackedItem};
use quarry_pool::{Chunk, LogStore, PoolError, Purpose};
use quarry_types::ChunkId;
use quarry_types::limits::SECTOR_BYTES;

/// Bytes that are written at once.
const PIECE_BYTES: usize = 512 << 10;
/// Items of the next table that are no survivors: the table before it, and what is left of a granule.
const FILLERS: usize = 2;
/// A chunk with less room than this part of it is closed.
pub(crate) const ROOM_SHARE_MIN: u64 = 32;

/// A packed chunk that takes more survivors.
pub(crate) struct Output {
    pub(crate) chunk: Rc<Chunk>,
    /// Everything in it, in order.
    items: Vec<PackedItem>,
    /// Bytes that have been written; behind them come those that have not.
    written_bytes: u64,
    pending: Option<(Buffer, usize)>,
    /// Where the table lies that covers all items, once the chunk was finished: sector and bytes.
    table: Option<(u32, u32)>,
}

impl Output {
    /// An empty one, in `tier` if there is room.
    pub(crate) fn new(store: &LogStore, tier: u8) -> Result<Self, PoolError> {
        let chunk = store.allocate_chunk(store.copies(), Purpose::Packed, tier)?;
        let content = ChunkContent::Packed;
        let header =
            ChunkHeader { pool: store.pool.shared.id, log: store.log, chunk: chunk.id(), content }.encode();
        let granule = store.pool.geometry().granule_bytes as usize;
        let mut buffer = store.pool.env.buffers.allocate(PIECE_BYTES);
        buffer[..header.len()].copy_from_slice(&header);
        buffer[header.len()..granule].fill(0);
        let pending = Some((buffer, granule));
        Ok(Self { chunk, items: Vec::new(), written_bytes: 0, pending, table: None })
    }

    pub(crate) fn id(&self) -> ChunkId {
        self.chunk.id()
    }

    /// Where the next survivor goes: bytes from the start of the chunk.
    pub(crate) fn end_bytes(&self) -> u64 {
        self.written_bytes + self.pending.as_ref().map_or(0, |(_, filled)| *filled as u64)
    }

    /// The same in sectors.
    pub(crate) fn end_sector(&self) -> u32 {
        (self.end_bytes() / SECTOR_BYTES as u64) as u32
    }

    /// Bytes that more survivors may take, with their share of the table.
    pub(crate) fn room_bytes(&self, store: &LogStore) -> u64 {
        room_bytes(store, self.end_bytes(), self.items.len() + FILLERS)
    }

    /// The same of a chunk in which there is nothing yet.
    pub(crate) fn room_bytes_empty(store: &LogStore) -> u64 {
        room_bytes(store, u64::from(store.pool.geometry().granule_bytes), 0)
    }

    /// Whether the chunk is worth writing to once more: it has room, and all its copies are in use.
    pub(crate) fn is_usable(&self, store: &LogStore) -> bool {
        self.room_bytes(store) >= room_bytes_min(store) && self.chunk.staying_copies() >= store.copies_now()
    }

    /// Appends a survivor.
    pub(crate) async fn push(
        &mut self,
        store: &LogStore,
        item: PackedItem,
        bytes: &[u8],
    ) -> Result<(), PoolError> {
        if let Some((_, table)) = self.table.take() {
            let granule = store.pool.geometry().granule_bytes;
            self.items.push(PackedItem::filler(table.next_multiple_of(granule) / SECTOR_BYTES as u32));
        }
        self.items.push(item);
        self.append(store, bytes).await
    }

    async fn append(&mut self, store: &LogStore, mut bytes: &[u8]) -> Result<(), PoolError> {
        while !bytes.is_empty() {
            let (buffer, filled) =
                self.pending.get_or_insert_with(|| (store.pool.env.buffers.allocate(PIECE_BYTES), 0));
            let taken = bytes.len().min(PIECE_BYTES - *filled);
            buffer[*filled..*filled + taken].copy_from_slice(&bytes[..taken]);
            *filled += taken;
            bytes = &bytes[taken..];
            if *filled == PIECE_BYTES {
                self.write_pending(store).await?;
            }
        }
        Ok(())
    }

    /// Writes the table, if anything came since the last one. The chunk is whole afterwards, but not flushed.
    pub(crate) async fn finish(&mut self, store: &LogStore) -> Result<(), PoolError> {
        if self.table.is_some() {
            return Ok(());
        }
        let granule = store.pool.geometry().granule_bytes as usize;
        let padding = (self.end_bytes() as usize).next_multiple_of(granule) - self.end_bytes() as usize;
        if padding > 0 {
            self.items.push(PackedItem::filler((padding / SECTOR_BYTES) as u32));
            self.append(store, &vec![0; padding]).await?;
        }
        let mut table = packed::encode(&self.items);
        let (sector, bytes) = (self.end_sector(), table.len() as u32);
        table.resize(table.len().next_multiple_of(granule), 0);
        self.append(store, &table).await?;
        self.write_pending(store).await?;
        self.table = Some((sector, bytes));
        Ok(())
    }

    /// The chunk's newest table counts: it and what it tells of have been flushed. `now` is the log's count of segments.
    pub(crate) fn publish(&self, now: u64) {
        self.chunk.sealed_at.set(now);
        self.chunk.packed_table.set(self.table.expect("the chunk was finished"));
    }

    async fn write_pending(&mut self, store: &LogStore) -> Result<(), PoolError> {
        let Some((buffer, filled)) = self.pending.take() else { return Ok(()) };
        let view: View = buffer.freeze().slice(0..filled);
        for device in store.pool.write_copies(&self.chunk, self.written_bytes, &[view]).await {
            self.chunk.drop_copy(device);
        }
        self.written_bytes += filled as u64;
        match self.chunk.healthy_copies() {
            0 => Err(PoolError::NoDevice { log: store.log }),
            _ => Ok(()),
        }
    }
}

/// Bytes of survivors, with their share of a table that has `items` items already, that fit behind `end_bytes`.
fn room_bytes(store: &LogStore, end_bytes: u64, items: usize) -> u64 {
    let geometry = store.pool.geometry();
    // The table begins and ends with a granule.
    let table = packed::encoded_bytes(items) as u64 + 2 * u64::from(geometry.granule_bytes);
    geometry.segment_bytes.saturating_sub(end_bytes + table)
}

/// With less room than this no further run begins in a chunk.
pub(crate) fn room_bytes_min(store: &LogStore) -> u64 {
    store.pool.geometry().segment_bytes / ROOM_SHARE_MIN
}

/// What survivors take, with their share of the table.
pub(crate) fn cost_bytes(items: usize, bytes: u64) -> u64 {
    bytes + (packed::encoded_bytes(items) - packed::encoded_bytes(0)) as u64
}
