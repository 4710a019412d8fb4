//! A batch from its first record to its acknowledgement.

use std::ops::Range;

use quarry_env::{BufferPool, Completer, View};
use quarry_format::batch::{FIXED_BYTES, RecordTable};
use quarry_format::crc32c;
use quarry_format::node::{Entry as MapEntry, Mapped};
use quarry_format::record::{Record, StoredBlock};
use quarry_types::limits::{BATCH_HEADER_BYTES_MAX, BLOCK_BYTES, SECTOR_BYTES};
use quarry_types::{KeyId, LogAddress, SnapshotCounter, Tag, VolumeNumber};

use crate::payload::{Payload, Place};
use crate::{Applied, Apply, LogError, Seal, StoredPiece};

/// A record of the batch, as it is needed when the batch counts.
enum Entry {
    Write {
        volume: VolumeNumber,
        first_block: u64,
        birth: SnapshotCounter,
        key: KeyId,
        checksums: Range<usize>,
        place: Place,
    },
    Stored {
        volume: VolumeNumber,
        first_block: u64,
        birth: SnapshotCounter,
        key: KeyId,
        blocks: Range<usize>,
    },
    Node {
        place: Place,
        done: Completer<Result<LogAddress, LogError>>,
    },
    Other(Record),
}

/// A block that is compressed or encrypted.
struct Stored {
    block: StoredBlock,
    place: Place,
    /// What is to be encrypted, and where the table has the block.
    clear: Option<(KeyId, View, usize)>,
    mark: Option<u128>,
}

/// Where a batch lies.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    /// Where its payloads of whole granules begin.
    pub(crate) whole: LogAddress,
    /// Where the others begin.
    pub(crate) packed: LogAddress,
}

impl Origin {
    fn address(&self, place: Place) -> LogAddress {
        match place {
            Place::Whole(bytes) => self.whole.plus((bytes / SECTOR_BYTES) as u32),
            Place::Packed(bytes) => self.packed.plus((bytes / SECTOR_BYTES) as u32),
        }
    }
}

/// The records of a batch and who waits for them.
#[derive(Default)]
pub(crate) struct Entries {
    entries: Vec<Entry>,
    checksums: Vec<u32>,
    stored: Vec<Stored>,
    /// Whether some of the stored blocks are encrypted.
    pub(crate) is_encrypted: bool,
    waiters: Vec<Completer<Result<(), LogError>>>,
}

impl Entries {
    /// The batch counts; it lies at `origin`. Applies every record, then tells the writers.
    pub(crate) fn publish(self, origin: Origin, apply: &dyn Apply) {
        for entry in self.entries {
            match entry {
                Entry::Write { volume, first_block, birth, key, checksums, place } => {
                    let checksums = &self.checksums[checksums];
                    let address = origin.address(place);
                    apply.apply(Applied::Write { volume, first_block, address, birth, key, checksums });
                }
                Entry::Stored { volume, first_block, birth, key, blocks } => {
                    let mapped = |stored: &Stored| mapped(origin, stored, birth, key);
                    let blocks = &self.stored[blocks];
                    let mapped: Vec<Mapped> = blocks.iter().map(mapped).collect();
                    let marks: Vec<Option<u128>> = blocks.iter().map(|stored| stored.mark).collect();
                    apply.apply(Applied::Stored { volume, first_block, mapped: &mapped, marks: &marks });
                }
                Entry::Node { place, done } => done.complete(Ok(origin.address(place))),
                Entry::Other(record) => apply.apply(Applied::Other(&record)),
            }
        }
        self.waiters.into_iter().for_each(|waiter| waiter.complete(Ok(())));
    }

    /// The batch never counts.
    pub(crate) fn fail(self, error: &LogError) {
        for entry in self.entries {
            if let Entry::Node { done, .. } = entry {
                done.complete(Err(error.clone()));
            }
        }
        self.waiters.into_iter().for_each(|waiter| waiter.complete(Err(error.clone())));
    }

    /// Encrypts what is to be for the place that the batch has now.
    pub(crate) fn seal(
        &mut self,
        origin: Origin,
        sealer: &dyn Seal,
        table: &mut RecordTable,
        payload: &mut Payload,
    ) {
        let mut sealed = Vec::with_capacity(BLOCK_BYTES);
        for stored in &mut self.stored {
            let Some((key, clear, table_at)) = &stored.clear else { continue };
            sealed.clear();
            sealed.extend_from_slice(clear);
            stored.block.tag = sealer.seal(*key, origin.address(stored.place), &mut sealed);
            stored.block.checksum = crc32c(&sealed);
            payload.overwrite(stored.place, &sealed);
            table.set_stored(*table_at, &stored.block, *key);
        }
    }

    pub(crate) fn wait(&mut self, waiter: Completer<Result<(), LogError>>) {
        self.waiters.push(waiter);
    }
}

fn mapped(origin: Origin, stored: &Stored, birth: SnapshotCounter, key: KeyId) -> Mapped {
    let StoredBlock { method, sectors, checksum, tag } = stored.block;
    let address = origin.address(stored.place);
    Mapped { entry: MapEntry { address, checksum, birth, key, stored_sectors: sectors, method }, tag }
}

/// A batch that takes more records.
pub(crate) struct Builder {
    pub(crate) table: RecordTable,
    pub(crate) payload: Payload,
    pub(crate) entries: Entries,
    payload_bytes_max: usize,
}

impl Builder {
    pub(crate) fn new(granule_bytes: usize, payload_bytes_max: usize) -> Self {
        Self {
            payload_bytes_max,
            table: RecordTable::default(),
            payload: Payload::new(granule_bytes),
            entries: Entries::default(),
        }
    }

    /// How many blocks of one write fit in.
    pub(crate) fn room_blocks(&self) -> usize {
        let payload = self.payload_bytes_max.saturating_sub(self.payload.bytes()) / BLOCK_BYTES;
        let table = BATCH_HEADER_BYTES_MAX.saturating_sub(self.table.len() + RecordTable::write_bytes(0)) / 4;
        payload.min(table)
    }

    /// Whether a record with `payload` bytes and at most `table` bytes of table fits in.
    pub(crate) fn has_room(&self, table: usize, payload: usize) -> bool {
        self.fits(table, payload) || self.table.is_empty()
    }

    /// The same where an empty batch may be too small as well.
    pub(crate) fn fits(&self, table: usize, payload: usize) -> bool {
        let payload_fits = self.payload.bytes() + payload <= self.payload_bytes_max;
        payload_fits && self.table.len() + table <= BATCH_HEADER_BYTES_MAX
    }

    /// Appends whole blocks, at most [`Self::room_blocks`] of them.
    pub(crate) fn push_write(
        &mut self,
        pool: &BufferPool,
        volume: VolumeNumber,
        first_block: u64,
        (birth, key): (SnapshotCounter, KeyId),
        data: &View,
    ) {
        let start = self.entries.checksums.len();
        self.entries.checksums.extend(data.chunks_exact(BLOCK_BYTES).map(crc32c));
        let checksums = start..self.entries.checksums.len();
        self.table.push_write(volume, first_block, birth, key, &self.entries.checksums[checksums.clone()]);
        let place = self.payload.append_view(pool, data);
        self.entries.entries.push(Entry::Write { volume, first_block, birth, key, checksums, place });
    }

    /// How many stored blocks fit in.
    pub(crate) fn room_stored(&self) -> usize {
        let payload = self.payload_bytes_max.saturating_sub(self.payload.bytes()) / BLOCK_BYTES;
        let table =
            BATCH_HEADER_BYTES_MAX.saturating_sub(self.table.len() + RecordTable::stored_bytes_max(0));
        payload.min(table / (RecordTable::stored_bytes_max(1) - RecordTable::stored_bytes_max(0)))
    }

    /// Appends blocks that are compressed or to be encrypted, at most [`Self::room_stored`] of them.
    pub(crate) fn push_stored(
        &mut self,
        pool: &BufferPool,
        volume: VolumeNumber,
        first_block: u64,
        (birth, key): (SnapshotCounter, KeyId),
        blocks: &[StoredPiece],
    ) {
        let table = self.table.push_stored(volume, first_block, birth, key, blocks.len());
        let first = self.entries.stored.len();
        let encrypts = key.0 != 0;
        for (StoredPiece { method, bytes, mark }, table_at) in blocks.iter().zip(table) {
            let checksum = if encrypts { 0 } else { crc32c(bytes) };
            let sectors = (bytes.len() / SECTOR_BYTES) as u8;
            let block = StoredBlock { method: *method, sectors, checksum, tag: Tag::NONE };
            let place = self.payload.append(pool, bytes);
            let clear = encrypts.then(|| (key, bytes.clone(), table_at));
            self.table.set_stored(table_at, &block, key);
            self.entries.stored.push(Stored { block, place, clear, mark: *mark });
        }
        self.entries.is_encrypted |= encrypts;
        let blocks = first..self.entries.stored.len();
        self.entries.entries.push(Entry::Stored { volume, first_block, birth, key, blocks });
    }

    /// Appends a node with its bytes.
    pub(crate) fn push_node(
        &mut self,
        pool: &BufferPool,
        record: &Record,
        bytes: &[u8],
        done: Completer<Result<LogAddress, LogError>>,
    ) {
        self.table.push(record);
        let place = self.payload.append(pool, bytes);
        self.entries.entries.push(Entry::Node { place, done });
    }

    /// Appends a record without payload.
    pub(crate) fn push_record(&mut self, record: Record) {
        self.table.push(&record);
        self.entries.entries.push(Entry::Other(record));
    }

    /// Sectors of header and payload with padding.
    pub(crate) fn sectors(&self, granule_bytes: usize) -> u32 {
        let header = self.table.len().next_multiple_of(granule_bytes);
        ((header + self.payload.bytes()) / SECTOR_BYTES) as u32
    }
}

const _: () = assert!(FIXED_BYTES < BATCH_HEADER_BYTES_MAX);
