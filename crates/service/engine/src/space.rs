//! Space for hosts: how much must stay free for a checkpoint and the cleaner, and who waits when it is short.
//!
//! A checkpoint may write one node for each block of the tail, but no node twice. So as much as the tail may grow, or as all
//! maps take, is kept free, besides what the cleaner writes before it frees anything, and two images. A host's write is charged before it is appended, with
//! everything that waits for a place in the log; below the reserve hosts wait. When cleaning finds nothing more to gain
//! they are told that the pool is full, until something is freed.

use std::cell::{Cell, RefCell};
use std::error::Error;

use quarry_env::Signal;
use quarry_pool::{Need, PoolError};
use quarry_types::limits::{BATCH_HEADER_BYTES_MAX, BATCH_PAYLOAD_BYTES_MAX, BLOCK_BYTES, SECTOR_BYTES};
use quarry_volume::{ErrorKind, Result, VolumeError};

use crate::{Engine, EngineError};

/// Chunks that the hosts of one of several logs are granted at once.
const SHARE_CHUNKS_MAX: u64 = 8;
/// Most chunks that are kept free for bursts.
const BURST_CHUNKS_MAX: u64 = 64;
/// Longest tail: what a recovery reads.
const TAIL_BYTES_MAX: u64 = 768 << 20;
/// Chunks of each log from which overwrites go on when the pool is full, besides those that fill with garbage which is spread so
/// thin that it cannot be gained.
const WORKING_CHUNKS_MIN: u64 = 2;
/// What the cleaner needs to move everything out of a group, besides as many chunks as the group has with data: one that is not full, and the
/// parity of the group that comes next.
const GROUP_CHUNKS_BESIDE: u64 = 3;
/// After so many failures of maintenance in a row hosts that wait for it are told.
const FAILURES_MAX: u32 = 6;
/// A write is charged and appended in pieces of this size, or smaller where segments are small.
const PIECE_BYTES_MAX: u64 = 1 << 20;
/// What may be lost at the end of a segment, because the next batch does not fit, and to its header.
const SEGMENT_WASTE_BYTES: u64 = (BATCH_PAYLOAD_BYTES_MAX + BATCH_HEADER_BYTES_MAX + 2 * BLOCK_BYTES) as u64;

/// What hosts may still take.
pub(crate) struct Space {
    /// Bytes that hosts may still append before somebody has to look again.
    credit_bytes: Cell<i64>,
    /// Charged, but not yet in a batch.
    outstanding_bytes: Cell<u64>,
    /// When the last attempt to gain space found nothing, if it did.
    full: Cell<Option<Full>>,
    /// Bytes that writes below what hosts may have were charged: most of them free as much.
    owed_bytes: Cell<u64>,
    /// Whether hosts have written since somebody asked.
    wanted: Cell<bool>,
    /// Hosts' writes that wait for space or for the tail.
    waiting: Cell<usize>,
    /// Attempts to maintain that failed one after the other.
    failures: Cell<u32>,
    /// Why the last one did.
    failure: RefCell<Option<String>>,
    /// Raised when hosts may have more than before, or will get no more.
    pub(crate) changed: Signal,
    /// [`quarry_log::Log::appended_bytes`] when the last checkpoint began.
    pub(crate) appended_at_checkpoint: Cell<u64>,
    /// [`crate::volumes::Volumes::merge_bytes`] then.
    pub(crate) merge_at_checkpoint: Cell<u64>,
    tail_bytes_max: u64,
    usable_bytes: u64,
    /// Chunks that the pool holds; devices join and leave.
    total_chunks: Cell<u64>,
    /// [`Need::working`] when somebody looked.
    working_chunks: Cell<u64>,
}

/// What storing so many bytes of volume data takes, with nodes of the map, headers, and the garbage that cannot be gained: a
/// twelfth more.
pub fn with_overhead(bytes: u64) -> u64 {
    bytes + bytes / 12
}

/// What a write has been charged until it is in a batch.
pub(crate) struct Charge<'a> {
    space: &'a Space,
    bytes: u64,
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        let outstanding = &self.space.outstanding_bytes;
        outstanding.set(outstanding.get() - self.bytes);
    }
}

/// The moment before an attempt to gain space that found nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Full {
    /// Version of [`crate::volumes::Volumes::freed`].
    freed: u64,
    owed_bytes: u64,
}

/// A host's write that waits.
pub(crate) struct Waiting<'a>(&'a Space);

impl<'a> Waiting<'a> {
    pub(crate) fn begin(space: &'a Space) -> Self {
        space.waiting.set(space.waiting.get() + 1);
        Self(space)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

impl Space {
    pub(crate) fn new(total_chunks: u64, segment_bytes: u64, logs: u16) -> Self {
        let share = total_chunks * segment_bytes / u64::from(logs.max(1));
        Self {
            credit_bytes: Cell::new(0),
            outstanding_bytes: Cell::new(0),
            full: Cell::new(None),
            owed_bytes: Cell::new(0),
            wanted: Cell::new(false),
            waiting: Cell::new(0),
            failures: Cell::new(0),
            failure: RefCell::default(),
            changed: Signal::default(),
            appended_at_checkpoint: Cell::new(0),
            merge_at_checkpoint: Cell::new(0),
            tail_bytes_max: (share / 32).clamp(segment_bytes, TAIL_BYTES_MAX.max(segment_bytes)),
            usable_bytes: segment_bytes - SEGMENT_WASTE_BYTES,
            total_chunks: Cell::new(total_chunks),
            working_chunks: Cell::new(WORKING_CHUNKS_MIN),
        }
    }

    /// A checkpoint is due when the tail has so many bytes; hosts wait when it has twice as many.
    pub(crate) fn tail_bytes_max(&self) -> u64 {
        self.tail_bytes_max
    }

    /// Bytes, in whole blocks, that are charged and appended at once.
    pub(crate) fn piece_bytes(&self) -> u64 {
        PIECE_BYTES_MAX.min(self.usable_bytes / 2) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64
    }

    /// Chunks that the cleaner may write before it frees any.
    pub(crate) fn cleaner_chunks(&self, engine: &Engine) -> u64 {
        let shape = engine.store.pool.shared.shape_of(engine.store.log);
        // A group becomes free as a whole, and what lived in it takes copies until it is grouped in its turn.
        let of_group = shape.map_or(0, |shape| shape.data() as u64 + GROUP_CHUNKS_BESIDE);
        engine.policy.get().chunks_wanted(self.total_chunks.get()).max(of_group)
    }

    /// What this log needs besides what hosts write.
    pub(crate) fn need(&self, engine: &Engine) -> Need {
        let nodes = engine.volumes.map_bytes_max().min(2 * self.tail_bytes_max);
        let (segments, image) = (nodes.div_ceil(self.usable_bytes), engine.store.image_need_chunks());
        let protection = engine.store.pool.shared.protection_of(engine.store.log);
        let kept = protection.open_chunks(engine.volumes.kept_bytes().div_ceil(self.usable_bytes));
        self.working_chunks.set(WORKING_CHUNKS_MIN + protection.open_chunks(spread_chunks(engine)));
        Need {
            segments,
            packed: self.cleaner_chunks(engine),
            image,
            working: self.working_chunks.get(),
            kept,
        }
    }

    /// What overwrites may take when the pool is full, until what they free has been gained.
    pub(crate) fn working_bytes(&self) -> u64 {
        self.working_chunks.get() * self.usable_bytes
    }

    /// From so few free chunks on the cleaner works. What it keeps free beyond what is needed takes bursts of writes, and makes all
    /// other chunks fuller.
    pub(crate) fn low_chunks(&self, engine: &Engine) -> u64 {
        engine.store.pool.shared.needed_chunks(engine.store.log)
            + (self.total_chunks.get() / 64).clamp(2, BURST_CHUNKS_MAX)
    }

    /// Whether the last attempt to gain space found nothing, and nothing has been freed since; for who may go below what
    /// hosts may have: nor been overwritten.
    pub(crate) fn is_full(&self, engine: &Engine, below: bool) -> bool {
        let is_so = |full: Full| {
            full.freed == engine.volumes.freed.version()
                && (!below || full.owed_bytes == self.owed_bytes.get())
        };
        self.full.get().is_some_and(is_so)
    }

    /// The moment before an attempt to gain space.
    pub(crate) fn before_attempt(&self, engine: &Engine) -> Full {
        Full { freed: engine.volumes.freed.version(), owed_bytes: self.owed_bytes.get() }
    }

    /// Whether hosts wait for space, as far as was known when somebody looked.
    pub(crate) fn is_held(&self) -> bool {
        self.credit_bytes.get() < self.cost(self.piece_bytes()) as i64
    }

    /// An attempt to gain space that began at that moment has found nothing.
    pub(crate) fn set_full(&self, before: Full) {
        self.full.set(Some(before));
        self.changed.raise();
    }

    /// How often maintenance has failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.get()
    }

    /// Why it fails, where it has failed so often that hosts are told.
    pub(crate) fn standing_failure(&self) -> Option<String> {
        self.failure.borrow().clone().filter(|_| self.failures.get() >= FAILURES_MAX)
    }

    /// Checkpoint and cleaning have gone well or failed. Hosts that wait for them must not wait for ever.
    pub(crate) fn note_maintenance(&self, done: &std::result::Result<(), EngineError>) {
        self.failures.set(if done.is_ok() { 0 } else { self.failures.get().saturating_add(1) });
        // A pool that is full is said to be so.
        let failure =
            done.as_ref().err().filter(|error| !matches!(error, EngineError::Pool(PoolError::NoSpace)));
        self.failure.replace(failure.map(|error| with_causes(error)));
        if self.failures.get() >= FAILURES_MAX {
            self.changed.raise();
        }
    }

    /// What a write of so many bytes takes at most, with the header of a batch.
    fn cost(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(BLOCK_BYTES as u64) + BLOCK_BYTES as u64
    }

    /// Chunks that hosts may be granted at once, where other logs have hosts too.
    fn share_max(&self, logs: u16) -> Option<u64> {
        (logs > 1).then_some(if self.wanted.get() || self.has_waiting() { SHARE_CHUNKS_MAX } else { 0 })
    }

    /// Whether hosts wait for space or for the tail.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.get() > 0
    }

    /// From now on hosts count as wanting nothing until they write, but for those that wait.
    pub(crate) fn look_for_idleness(&self) {
        self.wanted.set(false);
    }

    /// Looks at the free space again.
    pub(crate) fn update(&self, engine: &Engine) {
        self.total_chunks.set(engine.store.pool.shared.capacity_for(engine.store.log).total_chunks);
        let (need, ready) = (self.need(engine), engine.log.reserve_chunks() as u64);
        let share_max = self.share_max(engine.limits.get().logs);
        let chunks = engine.store.pool.shared.renew_stake(engine.store.log, need, ready, share_max);
        let open = engine.log.open_bytes().saturating_sub(SEGMENT_WASTE_BYTES);
        let taken = engine.log.backlog_bytes() + self.outstanding_bytes.get();
        let credit = chunks * self.usable_bytes as i64 + open as i64 - taken as i64;
        let before = self.credit_bytes.replace(credit);
        if !self.is_held() {
            self.full.set(None);
        }
        if credit > before {
            self.changed.raise();
        }
    }

    /// Charges a write of so many bytes, which may leave a debt of so many where one is given.
    pub(crate) fn charge(&self, bytes: u64, debt_bytes: Option<u64>) -> Option<Charge<'_>> {
        self.wanted.set(true);
        let bytes = self.cost(bytes);
        let credit = self.credit_bytes.get() - bytes as i64;
        if credit < -(debt_bytes.unwrap_or(0) as i64) {
            return None;
        }
        if credit < 0 {
            self.owed_bytes.set(self.owed_bytes.get() + bytes);
        }
        self.credit_bytes.set(credit);
        self.outstanding_bytes.set(self.outstanding_bytes.get() + bytes);
        Some(Charge { space: self, bytes })
    }
}

/// Chunks that the log may still need for what lives, before there is so much garbage that one of its chunks has enough of it to
/// be cleaned, however evenly it is spread. Garbage that is there already counts.
fn spread_chunks(engine: &Engine) -> u64 {
    let live_bytes =
        engine.store.table().live_sectors() * SECTOR_BYTES as u64 + engine.volumes.tail_live_bytes();
    let chunks = live_bytes.div_ceil(quarry_cleaner::live_bytes_max(engine.store.pool.geometry()));
    chunks.saturating_sub(engine.store.data_chunks())
}

impl Engine {
    /// Chunks that nothing lives in: free ones, and those that the log holds ready.
    pub(crate) fn spare_chunks(&self) -> u64 {
        self.free_chunks() + self.log.reserve_chunks() as u64
    }

    fn free_chunks(&self) -> u64 {
        self.store.pool.shared.capacity_for(self.store.log).free_chunks
    }

    /// Charges a host's write where there is space for it and the tail is not too long.
    pub(crate) fn charge_at_once(&self, bytes: u64) -> Option<Charge<'_>> {
        if self.closing.get() || !self.has_room_in_tail() {
            return None;
        }
        self.space.charge(bytes, None)
    }

    /// Whether the tail may grow.
    pub(crate) fn has_room_in_tail(&self) -> bool {
        self.tail_cost_bytes() < 2 * self.space.tail_bytes_max()
    }

    /// Fails when the engine is being closed.
    pub(crate) fn check_open(&self, operation: &'static str) -> Result<()> {
        match self.closing.get() {
            true => Err(VolumeError::new(ErrorKind::Unavailable, operation, "the pool is being closed")),
            false => Ok(()),
        }
    }

    /// Fails when waiting for space would be in vain.
    pub(crate) fn check_progress(&self, operation: &'static str) -> Result<()> {
        if let Some(error) = self.log.stopped() {
            return Err(crate::flush::log_error(operation, error));
        }
        if self.space.failures.get() >= FAILURES_MAX {
            let what = "checkpoint or cleaning keep failing, and there is no space without them";
            return Err(VolumeError::new(ErrorKind::Unavailable, operation, what));
        }
        Ok(())
    }

    /// The pool is full.
    pub(crate) fn no_space(&self, operation: &'static str) -> VolumeError {
        self.statistics.refused_writes.set(self.statistics.refused_writes.get() + 1);
        let name = &self.store.pool.shared.name;
        let what = format!("pool {name} is full; free space by discards or by deleting volumes");
        VolumeError::new(ErrorKind::NoSpace, operation, what)
    }

    /// After an append: a long tail is for the maintenance task.
    pub(crate) fn note_append(&self) {
        if self.tail_cost_bytes() >= self.space.tail_bytes_max() {
            self.wake.raise();
        }
    }
}

/// An error with what is below it.
fn with_causes(error: &dyn Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(below) => format!("{error}: {}", with_causes(below)),
    }
}
