//! Group commit: when a batch is closed, where it goes, and handing it to the devices.

use std::rc::Rc;

use quarry_env::{View, yield_now};
use quarry_format::batch::{BatchHeader, RecordTable};
use quarry_format::chunk::{CHUNK_HEADER_BYTES, ChunkContent, ChunkHeader, SegmentStart};
use quarry_format::image::Position;
use quarry_pool::{Chunk, Segment};
use quarry_types::limits::{BATCH_HEADER_BYTES_MAX, BATCHES_IN_FLIGHT_MAX, SECTOR_BYTES};
use quarry_types::{BatchNumber, LogAddress, SegmentId};

use crate::Log;
use crate::builder::{Builder, Entries, Origin};
use crate::log::{State, Unflushed};
use crate::payload::{Payload, PayloadViews};

/// While batches are on their way, another follows only when it has gathered so much for each of them; a smaller one waits
/// for company. So few large writes go out at once, and many share the cost of a device write.
const EAGER_BYTES: usize = 96 << 10;
/// From so few reserved chunks on, more are asked for.
const RESERVE_LOW: usize = 4;

/// A batch whose turn has not come.
pub(crate) enum Waiting {
    /// Full, never submitted.
    New(Builder),
    /// Submitted to a segment that failed; to be written again elsewhere.
    Again(Unpublished),
}

/// A batch that was laid out once and does not count yet.
pub(crate) struct Unpublished {
    pub(crate) table: RecordTable,
    pub(crate) payload: PayloadViews,
    pub(crate) entries: Entries,
    pub(crate) sectors: u32,
    pub(crate) layout: Sections,
}

/// The sections of a batch, in sectors from its start.
#[derive(Clone, Copy)]
pub(crate) struct Sections {
    whole: u32,
    packed: u32,
}

impl Sections {
    fn of(table: &RecordTable, whole_bytes: usize, granule: usize) -> Self {
        let whole = (table.len().next_multiple_of(granule) / SECTOR_BYTES) as u32;
        Self { whole, packed: whole + (whole_bytes / SECTOR_BYTES) as u32 }
    }

    /// Where the payloads of a batch at `start` begin.
    pub(crate) fn origin(self, start: LogAddress) -> Origin {
        Origin { whole: start.plus(self.whole), packed: start.plus(self.packed) }
    }
}

/// A payload that can be written over, or one that was handed to the devices.
enum Content {
    Open(Payload),
    Frozen(PayloadViews),
}

/// A batch on its way to the devices.
pub(crate) struct InFlight {
    pub(crate) batch: Unpublished,
    pub(crate) start: LogAddress,
    /// Behind it, once it counts.
    pub(crate) end: Position,
    pub(crate) chunk: Rc<Chunk>,
    pub(crate) written: bool,
}

impl Log {
    pub(crate) async fn submit_loop(self: Rc<Self>) {
        let mut seen = 0;
        while !self.closed.get() {
            self.work.after(seen).await;
            // Everything that is ready in this pass of the executor joins the batch.
            yield_now().await;
            seen = self.work.version();
            self.pump();
        }
    }

    /// Submits whatever may be submitted now.
    pub(crate) fn pump(self: &Rc<Self>) {
        loop {
            let mut state = self.state.borrow_mut();
            if !state.failing.is_empty() || state.stopped.is_some() {
                return;
            }
            let Some(sectors) = self.next_batch_sectors(&state) else { return };
            let Some((segment, chunk)) = self.place(&mut state, sectors) else {
                drop(state);
                self.reserve_low.raise();
                return;
            };
            let waiting = state.waiting.pop_front();
            let next = match waiting {
                Some(waiting) => waiting,
                None => Waiting::New(state.building.take().expect("next_batch_sectors saw it")),
            };
            let views = self.lay_out(&mut state, segment, chunk.clone(), next);
            let in_flight = state.in_flight.back().expect("just laid out");
            let (number, offset) = (in_flight.end.batch, in_flight.start.offset_bytes());
            let starts_segment = in_flight.start.sector() == self.store.pool.geometry().granule_sectors();
            drop(state);
            let offset = if starts_segment { 0 } else { offset };
            let log = self.clone();
            self.env
                .spawner
                .spawn(async move {
                    let failed = log.store.pool.write_copies(&chunk, offset, &views).await;
                    log.written(number, &failed);
                })
                .detach();
        }
    }

    /// Sectors of the batch whose turn it is, if it may go now.
    fn next_batch_sectors(&self, state: &State) -> Option<u32> {
        if state.in_flight.len() >= BATCHES_IN_FLIGHT_MAX {
            return None;
        }
        let granule = self.store.pool.geometry().granule_bytes as usize;
        match (state.waiting.front(), &state.building) {
            (Some(Waiting::New(builder)), _) => Some(builder.sectors(granule)),
            (Some(Waiting::Again(batch)), _) => Some(batch.sectors),
            (None, Some(builder)) => {
                let go = builder.payload.bytes() >= EAGER_BYTES * state.in_flight.len();
                go.then(|| builder.sectors(granule))
            }
            (None, None) => None,
        }
    }

    /// The segment for a batch of `sectors` sectors: the open one if it has room, else the next; `None` when no chunk is
    /// reserved for it.
    fn place(&self, state: &mut State, sectors: u32) -> Option<(SegmentId, Rc<Chunk>)> {
        let geometry = self.store.pool.geometry();
        let wanted = self.store.copies_now().max(1);
        if let Some((segment, chunk)) = &state.tail.open {
            // One granule stays free, so that the end of a segment is an address inside it.
            let fits = state.tail.position.address.sector() + sectors < geometry.segment_sectors();
            if fits && (chunk.staying_copies() >= wanted || state.reserve.is_empty()) {
                return Some((*segment, chunk.clone()));
            }
            self.seal_open(state);
        }
        while let Some(chunk) = state.reserve.pop_front() {
            if chunk.staying_copies() < wanted {
                self.store.retire(chunk);
                continue;
            }
            let segment = state.tail.next_segment;
            state.tail.next_segment = segment.next();
            self.store.table_mut().insert(segment, Segment::open(chunk.clone(), geometry));
            state.tail.open = Some((segment, chunk.clone()));
            state.unflushed.push(Unflushed { segment, chunk: chunk.clone(), last: BatchNumber(0) });
            if state.reserve.len() <= RESERVE_LOW {
                self.reserve_low.raise();
            }
            return Some((segment, chunk));
        }
        None
    }

    /// Appends nothing more to the open segment.
    pub(crate) fn seal_open(&self, state: &mut State) {
        if let Some((segment, _)) = state.tail.open.take() {
            // Nothing is in it before the first batch has its place.
            let end = state.tail.position.address;
            if end.segment() == segment {
                self.store.table_mut().seal(segment, end.sector());
            }
        }
    }

    /// Gives a batch its number and place, encodes it, and puts it among those in flight.
    fn lay_out(&self, state: &mut State, segment: SegmentId, chunk: Rc<Chunk>, next: Waiting) -> Vec<View> {
        let geometry = self.store.pool.geometry();
        let granule = geometry.granule_bytes as usize;
        let before = state.tail.position;
        let begins = before.address.segment() != segment || before.address.sector() == 0;
        let start =
            if begins { LogAddress::new(segment, geometry.granule_sectors()) } else { before.address };
        let pool = &self.env.buffers;
        let (mut table, mut content, mut entries, sections, sectors) = match next {
            Waiting::New(builder) => {
                let sectors = builder.sectors(granule);
                let Builder { table, payload, entries, .. } = builder;
                let sections = Sections::of(&table, payload.whole_bytes(), granule);
                (table, Content::Open(payload), entries, sections, sectors)
            }
            Waiting::Again(Unpublished { table, payload, entries, sectors, layout }) => {
                let content = match entries.is_encrypted {
                    true => Content::Open(payload.copy(pool, granule)),
                    false => Content::Frozen(payload),
                };
                (table, content, entries, layout, sectors)
            }
        };
        if let Content::Open(payload) = &mut content
            && entries.is_encrypted
        {
            assert!(start > state.sealed, "nothing is encrypted twice for one place");
            state.sealed = start;
            entries.seal(sections.origin(start), &*self.seal, &mut table, payload);
        }
        let header = BatchHeader {
            pool: self.store.pool.shared.id,
            log: self.store.log,
            incarnation: self.store.incarnation,
            number: before.batch.next(),
            address: start,
            sectors,
            previous_checksum: before.checksum,
            flushed_through: state.flushed_through,
        };
        let (bytes, checksum) = table.encode(&header);
        assert!(bytes.len() <= BATCH_HEADER_BYTES_MAX, "recovery refuses longer headers");
        let (mut views, payload) = match content {
            Content::Open(payload) => payload.with_header(pool, &bytes),
            Content::Frozen(payload) => (payload.with_header(pool, &bytes, granule), payload),
        };
        let batch = Unpublished { table, payload, entries, sectors, layout: sections };
        if begins {
            views.insert(0, self.segment_header(segment, &chunk, before, state));
        }
        let end = Position { address: start.plus(sectors), batch: header.number, checksum };
        state.tail.position = end;
        self.appended_bytes.set(self.appended_bytes.get() + u64::from(sectors) * SECTOR_BYTES as u64);
        state.in_flight.push_back(InFlight { batch, start, end, chunk, written: false });
        views
    }

    fn segment_header(&self, segment: SegmentId, chunk: &Chunk, before: Position, state: &State) -> View {
        let start = SegmentStart {
            segment,
            incarnation: self.store.incarnation,
            first_batch: before.batch.next(),
            previous_end: before.address,
            previous_checksum: before.checksum,
            flushed_through: state.flushed_through,
        };
        let header = ChunkHeader {
            pool: self.store.pool.shared.id,
            log: self.store.log,
            chunk: chunk.id(),
            content: ChunkContent::Segment(start),
        };
        let mut buffer = self.env.buffers.allocate_zeroed(self.store.pool.geometry().granule_bytes as usize);
        buffer[..CHUNK_HEADER_BYTES].copy_from_slice(&header.encode());
        buffer.freeze()
    }
}
