//! The log's state, and appending to the batch that is being filled.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use quarry_env::{Completer, Completion, Env, Signal, View, completion};
use quarry_format::batch::{FIXED_BYTES, RecordTable};
use quarry_format::crc32c;
use quarry_format::image::Position;
use quarry_format::record::{Record, SharedBlock};
use quarry_pool::{Chunk, LogStore};
use quarry_types::limits::{
    ATOMIC_BYTES_MAX, BATCH_HEADER_BYTES_MAX, BATCH_PAYLOAD_BYTES_MAX, BLOCK_BYTES, SECTOR_BYTES,
};
use quarry_types::{BatchNumber, KeyId, LogAddress, SegmentId, SnapshotCounter, VolumeId, VolumeNumber};

use crate::builder::Builder;
use crate::submit::{InFlight, Waiting};
use crate::{Apply, LogError, Seal, StoredPiece};

/// Batches that may wait for their turn before writers are held back.
const WAITING_BATCHES_MAX: usize = 16;

/// A batch is kept small to fit into the rest of a segment if it has room for so much there.
const LAST_PAYLOAD_BYTES_MIN: usize = 32 << 10;

/// Most bytes that one block takes in the table of a batch: as a record of its own, in any form.
const RECORD_BYTES_MAX: usize = RecordTable::write_bytes(0) + SharedBlock::BYTES_MAX;

const _: () = assert!(RECORD_BYTES_MAX >= RecordTable::stored_bytes_max(1));
const _: () = assert!(ATOMIC_BYTES_MAX + BLOCK_BYTES <= BATCH_PAYLOAD_BYTES_MAX);
const _: () = assert!(
    FIXED_BYTES + ATOMIC_BYTES_MAX / BLOCK_BYTES * RECORD_BYTES_MAX <= BATCH_HEADER_BYTES_MAX,
    "the largest atomic write fits into an empty batch, however it is stored"
);

/// Completes when a record counts. Later records of the same log count later.
pub type Appended = Completion<Result<(), LogError>>;

/// Where the next batch goes.
pub(crate) struct Tail {
    /// The open segment and its chunk; none before the first append of an incarnation and after a failure.
    pub(crate) open: Option<(SegmentId, Rc<Chunk>)>,
    /// Behind the last batch that was handed to the devices.
    pub(crate) position: Position,
    pub(crate) next_segment: SegmentId,
}

/// A segment with appends that no flush has covered.
pub(crate) struct Unflushed {
    pub(crate) segment: SegmentId,
    pub(crate) chunk: Rc<Chunk>,
    /// The last batch in it that counts; 0 before there is one.
    pub(crate) last: BatchNumber,
}

pub(crate) struct State {
    pub(crate) building: Option<Builder>,
    /// Full batches, and those to be written again after a failure, in order.
    pub(crate) waiting: VecDeque<Waiting>,
    /// Handed to the devices, in order.
    pub(crate) in_flight: VecDeque<InFlight>,
    pub(crate) tail: Tail,
    /// Where the last batch with encrypted blocks began. Whatever is encrypted later is for a later place.
    pub(crate) sealed: LogAddress,
    /// Behind the last batch that counts.
    pub(crate) published: Position,
    pub(crate) flushed_through: BatchNumber,
    /// Chunks for the segments to come, which the durable image names.
    pub(crate) reserve: VecDeque<Rc<Chunk>>,
    /// Devices with appends that no flush has covered.
    pub(crate) dirty: BTreeSet<u16>,
    /// Segments with appends that no flush has covered, in order.
    pub(crate) unflushed: Vec<Unflushed>,
    /// Devices that failed an append; while there are any, nothing new is submitted.
    pub(crate) failing: BTreeSet<u16>,
    pub(crate) stopped: Option<LogError>,
    pub(crate) flush_waiters: Vec<Completer<Result<(), LogError>>>,
}

/// What a log starts from.
pub struct LogStart {
    /// Behind the last batch that counts, all of it durable.
    pub position: Position,
    /// The first segment to open.
    pub next_segment: SegmentId,
    /// Chunks that the durable image names for the segments to come.
    pub reserve: Vec<Rc<Chunk>>,
}

/// One log on its core.
pub struct Log {
    pub(crate) env: Env,
    /// What the log owns in its pool.
    pub store: Rc<LogStore>,
    pub(crate) apply: Rc<dyn Apply>,
    pub(crate) seal: Rc<dyn Seal>,
    pub(crate) state: RefCell<State>,
    pub(crate) work: Signal,
    pub(crate) flush_work: Signal,
    /// Raised whenever batches have counted.
    pub progress: Signal,
    /// Raised when the reserve of chunks is running low.
    pub reserve_low: Signal,
    /// Bytes appended by this opening, headers and padding included.
    pub appended_bytes: Cell<u64>,
    /// Of these, bytes of map nodes.
    pub node_bytes: Cell<u64>,
    pub(crate) closed: Cell<bool>,
}

impl Log {
    /// Starts the log's tasks on this core; [`Log::close`] ends them.
    pub fn start(
        env: Env,
        store: Rc<LogStore>,
        apply: Rc<dyn Apply>,
        seal: Rc<dyn Seal>,
        start: LogStart,
    ) -> Rc<Self> {
        let tail = Tail { open: None, position: start.position, next_segment: start.next_segment };
        let log = Rc::new(Self {
            env: env.clone(),
            store,
            apply,
            seal,
            state: RefCell::new(State {
                building: None,
                waiting: VecDeque::new(),
                in_flight: VecDeque::new(),
                tail,
                sealed: LogAddress(0),
                published: start.position,
                flushed_through: start.position.batch,
                reserve: start.reserve.into(),
                dirty: BTreeSet::new(),
                unflushed: Vec::new(),
                failing: BTreeSet::new(),
                stopped: None,
                flush_waiters: Vec::new(),
            }),
            work: Signal::default(),
            flush_work: Signal::default(),
            progress: Signal::default(),
            reserve_low: Signal::default(),
            appended_bytes: Cell::new(0),
            node_bytes: Cell::new(0),
            closed: Cell::new(false),
        });
        env.spawner.spawn(Self::submit_loop(log.clone())).detach();
        env.spawner.spawn(Self::flush_loop(log.clone())).detach();
        log
    }

    fn granule(&self) -> usize {
        self.store.pool.geometry().granule_bytes as usize
    }

    /// Waits while so many batches are waiting that one more writer should be held back.
    pub async fn room(&self) {
        loop {
            let version = self.progress.version();
            {
                let state = self.state.borrow();
                let waiting_bytes = u64::from(self.waiting_sectors(&state)) * SECTOR_BYTES as u64;
                let few = state.waiting.len() < WAITING_BATCHES_MAX
                    && waiting_bytes < self.store.pool.geometry().segment_bytes;
                if few || state.stopped.is_some() {
                    return;
                }
            }
            self.progress.after(version).await;
        }
    }

    /// Appends whole blocks of a volume.
    pub fn append_write(
        &self,
        volume: VolumeNumber,
        first_block: u64,
        birth: SnapshotCounter,
        key: KeyId,
        data: &View,
    ) -> Appended {
        self.append(|log, state| {
            let blocks = data.len() / BLOCK_BYTES;
            let mut done = 0;
            while done < blocks {
                let builder = log.builder(state, |builder| builder.room_blocks() > 0);
                let taken = builder.room_blocks().min(blocks - done);
                let piece = data.slice(done * BLOCK_BYTES..(done + taken) * BLOCK_BYTES);
                builder.push_write(&log.env.buffers, volume, first_block + done as u64, (birth, key), &piece);
                done += taken;
            }
        })
    }

    /// Appends blocks of a volume that are compressed, whole sectors each, or to be encrypted, or both.
    pub fn append_stored(
        &self,
        volume: VolumeNumber,
        first_block: u64,
        birth: SnapshotCounter,
        key: KeyId,
        blocks: &[StoredPiece],
    ) -> Appended {
        self.append(|log, state| {
            let mut done = 0;
            while done < blocks.len() {
                let builder = log.builder(state, |builder| builder.room_stored() > 0);
                let taken = builder.room_stored().min(blocks.len() - done);
                let piece = &blocks[done..done + taken];
                builder.push_stored(&log.env.buffers, volume, first_block + done as u64, (birth, key), piece);
                done += taken;
            }
        })
    }

    /// Appends a record without payload.
    pub fn append_record(&self, record: Record) -> Appended {
        self.append(|log, state| {
            let table = record.table_bytes();
            log.builder(state, |builder| builder.has_room(table, 0)).push_record(record);
        })
    }

    /// Appends a node of a map. Its address is known once it counts.
    pub fn append_node(
        &self,
        volume: VolumeId,
        level: u8,
        first_block: u64,
        bytes: &[u8],
    ) -> Completion<Result<LogAddress, LogError>> {
        let mut state = self.state.borrow_mut();
        if let Some(error) = &state.stopped {
            return Completion::ready(Err(error.clone()));
        }
        self.node_bytes.set(self.node_bytes.get() + bytes.len() as u64);
        let sectors = (bytes.len() / SECTOR_BYTES) as u8;
        let record = Record::Node { volume, level, first_block, sectors, checksum: crc32c(bytes) };
        let (done, address) = completion();
        let builder = self.builder(&mut state, |builder| builder.has_room(64, bytes.len()));
        builder.push_node(&self.env.buffers, &record, bytes, done);
        drop(state);
        self.work.raise();
        address
    }

    /// Completes when every record that was appended before this call counts.
    pub fn barrier(&self) -> Appended {
        let mut state = self.state.borrow_mut();
        if let Some(error) = &state.stopped {
            return Completion::ready(Err(error.clone()));
        }
        let (waiter, appended) = completion();
        let state = &mut *state;
        if let Some(builder) = &mut state.building {
            builder.entries.wait(waiter);
        } else if let Some(waiting) = state.waiting.back_mut() {
            match waiting {
                Waiting::New(builder) => builder.entries.wait(waiter),
                Waiting::Again(batch) => batch.entries.wait(waiter),
            }
        } else if let Some(batch) = state.in_flight.back_mut() {
            batch.batch.entries.wait(waiter);
        } else {
            waiter.complete(Ok(()));
        }
        appended
    }

    fn append(&self, push: impl FnOnce(&Self, &mut State)) -> Appended {
        let mut state = self.state.borrow_mut();
        if let Some(error) = &state.stopped {
            return Completion::ready(Err(error.clone()));
        }
        push(self, &mut state);
        let (waiter, appended) = completion();
        state.building.as_mut().expect("a record was just pushed").entries.wait(waiter);
        drop(state);
        self.work.raise();
        appended
    }

    /// Has whatever the caller appends of at most `blocks` blocks, in whatever form, before it waits again go into one batch: recovery
    /// takes that whole or not at all, and it is published at once.
    ///
    /// # Panics
    ///
    /// For more than [`ATOMIC_BYTES_MAX`].
    pub fn keep_together(&self, blocks: usize) {
        assert!(blocks * BLOCK_BYTES <= ATOMIC_BYTES_MAX, "it has to fit into a batch");
        let mut state = self.state.borrow_mut();
        // What is packed by sectors is filled up to a granule.
        let payload = blocks * BLOCK_BYTES + self.granule();
        let table = blocks * RECORD_BYTES_MAX;
        if let Some(full) = state.building.take_if(|builder| !builder.fits(table, payload)) {
            state.waiting.push_back(Waiting::New(full));
        }
        if state.building.is_none() {
            let left_bytes = self.payload_bytes_max(&state);
            let payload_bytes_max = if left_bytes < payload { BATCH_PAYLOAD_BYTES_MAX } else { left_bytes };
            state.building = Some(Builder::new(self.granule(), payload_bytes_max));
        }
    }

    /// The batch being filled, or a new one if that has no room.
    fn builder<'a>(&self, state: &'a mut State, has_room: impl Fn(&Builder) -> bool) -> &'a mut Builder {
        if state.building.as_ref().is_some_and(|builder| !has_room(builder)) {
            let full = state.building.take().expect("checked just now");
            state.waiting.push_back(Waiting::New(full));
        }
        if state.building.is_none() {
            state.building = Some(Builder::new(self.granule(), self.payload_bytes_max(state)));
        }
        state.building.as_mut().expect("there is one now")
    }

    /// Payload that a new batch takes. The one that comes next takes no more than is left in the open segment, if that is worth a
    /// batch: else what does not fit would leave that space empty.
    fn payload_bytes_max(&self, state: &State) -> usize {
        if state.tail.open.is_none() || !state.waiting.is_empty() {
            return BATCH_PAYLOAD_BYTES_MAX;
        }
        let left_bytes =
            self.store.pool.geometry().segment_bytes - state.tail.position.address.offset_bytes();
        // The header, and the granule at the end that stays free.
        match (left_bytes as usize).saturating_sub(2 * self.granule()) {
            left_bytes @ LAST_PAYLOAD_BYTES_MIN..BATCH_PAYLOAD_BYTES_MAX => left_bytes,
            _ => BATCH_PAYLOAD_BYTES_MAX,
        }
    }

    /// Behind the last record that counts.
    pub fn published(&self) -> Position {
        self.state.borrow().published
    }

    /// Every batch up to and including this one survives power loss.
    pub fn flushed_through(&self) -> BatchNumber {
        self.state.borrow().flushed_through
    }

    /// The segment that will be opened next.
    pub fn next_segment(&self) -> SegmentId {
        self.state.borrow().tail.next_segment
    }

    /// Why the log takes no more records, if so.
    pub fn stopped(&self) -> Option<LogError> {
        self.state.borrow().stopped.clone()
    }

    /// The chunks reserved for the segments to come.
    pub fn reserve(&self) -> Vec<Rc<Chunk>> {
        self.state.borrow().reserve.iter().cloned().collect()
    }

    /// How many of them have all the copies that a new chunk would get.
    pub fn reserve_chunks(&self) -> usize {
        let copies = self.store.copies_now();
        self.state.borrow().reserve.iter().filter(|chunk| chunk.staying_copies() >= copies).count()
    }

    /// Bytes that are left in the open segment.
    pub fn open_bytes(&self) -> u64 {
        let state = self.state.borrow();
        match &state.tail.open {
            Some(_) => self.store.pool.geometry().segment_bytes - state.tail.position.address.offset_bytes(),
            None => 0,
        }
    }

    /// Bytes of batches that have no place yet.
    pub fn backlog_bytes(&self) -> u64 {
        let state = self.state.borrow();
        let building = state.building.as_ref().map_or(0, |builder| builder.sectors(self.granule()));
        u64::from(self.waiting_sectors(&state) + building) * SECTOR_BYTES as u64
    }

    fn waiting_sectors(&self, state: &State) -> u32 {
        let sectors = |waiting: &Waiting| match waiting {
            Waiting::New(builder) => builder.sectors(self.granule()),
            Waiting::Again(batch) => batch.sectors,
        };
        state.waiting.iter().map(sectors).sum()
    }

    /// Adds chunks that a durable image now names.
    pub fn add_reserve(&self, chunks: impl IntoIterator<Item = Rc<Chunk>>) {
        self.state.borrow_mut().reserve.extend(chunks);
        self.work.raise();
    }

    /// The open segment.
    pub fn open_segment(&self) -> Option<SegmentId> {
        self.state.borrow().tail.open.as_ref().map(|(segment, _)| *segment)
    }

    /// Waits until everything that was appended counts or has failed.
    pub async fn quiesce(&self) {
        loop {
            let version = self.progress.version();
            {
                let state = self.state.borrow();
                let idle = state.building.is_none() && state.waiting.is_empty() && state.in_flight.is_empty();
                if idle || state.stopped.is_some() {
                    return;
                }
            }
            self.progress.after(version).await;
        }
    }

    /// Whether [`Log::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Takes no more records and ends the log's tasks. What was not waited for with [`Log::quiesce`] fails.
    pub fn close(&self) {
        self.closed.set(true);
        if self.stopped().is_none() {
            self.end("it was closed");
        }
        self.work.raise();
        self.flush_work.raise();
    }
}
