//! A batch from its first record to its acknowledgement.

use std::ops::Range;

use quarry_env::{BufferPool, Completer, View};
use quarry_format::batch::{FIXED_BYTES, RecordTable};
use quarry_format::crc32c;
use quarry_format::record::Record;
use quarry_types::limits::{BATCH_HEADER_BYTES_MAX, BATCH_PAYLOAD_BYTES_MAX, BLOCK_BYTES, SECTOR_BYTES};
use quarry_types::{KeyId, LogAddress, SnapshotCounter, VolumeNumber};

use crate::payload::{Payload, Place};
use crate::{Applied, Apply, LogError};

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
    Node {
        place: Place,
        done: Completer<Result<LogAddress, LogError>>,
    },
    Other(Record),
}

/// The records of a batch and who waits for them.
#[derive(Default)]
pub(crate) struct Entries {
    entries: Vec<Entry>,
    checksums: Vec<u32>,
    waiters: Vec<Completer<Result<(), LogError>>>,
}

impl Entries {
    /// The batch counts; its payloads of whole granules begin at `whole`, the others at `packed`. Applies every record, then
    /// tells the writers.
    pub(crate) fn publish(self, whole: LogAddress, packed: LogAddress, apply: &dyn Apply) {
        let at = |place: Place| match place {
            Place::Whole(bytes) => whole.plus((bytes / SECTOR_BYTES) as u32),
            Place::Packed(bytes) => packed.plus((bytes / SECTOR_BYTES) as u32),
        };
        for entry in self.entries {
            match entry {
                Entry::Write { volume, first_block, birth, key, checksums, place } => {
                    let checksums = &self.checksums[checksums];
                    let address = at(place);
                    apply.apply(Applied::Write { volume, first_block, address, birth, key, checksums });
                }
                Entry::Node { place, done } => done.complete(Ok(at(place))),
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

    pub(crate) fn wait(&mut self, waiter: Completer<Result<(), LogError>>) {
        self.waiters.push(waiter);
    }
}

/// A batch that takes more records.
pub(crate) struct Builder {
    pub(crate) table: RecordTable,
    pub(crate) payload: Payload,
    pub(crate) entries: Entries,
}

impl Builder {
    pub(crate) fn new(granule_bytes: usize) -> Self {
        Self {
            table: RecordTable::default(),
            payload: Payload::new(granule_bytes),
            entries: Entries::default(),
        }
    }

    /// How many blocks of one write fit in.
    pub(crate) fn room_blocks(&self) -> usize {
        let payload = BATCH_PAYLOAD_BYTES_MAX.saturating_sub(self.payload.bytes()) / BLOCK_BYTES;
        let table = BATCH_HEADER_BYTES_MAX.saturating_sub(self.table.len() + RecordTable::write_bytes(0)) / 4;
        payload.min(table)
    }

    /// Whether a record with `payload` bytes and at most `table` bytes of table fits in.
    pub(crate) fn has_room(&self, table: usize, payload: usize) -> bool {
        let payload_fits = self.payload.bytes() + payload <= BATCH_PAYLOAD_BYTES_MAX;
        (payload_fits && self.table.len() + table <= BATCH_HEADER_BYTES_MAX) || self.table.is_empty()
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
