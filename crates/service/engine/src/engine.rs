//! One log with its volumes on one core.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use quarry_cache::{RecordCache, RecordCacheStatus};
use quarry_cache_disk::LogCache;
use quarry_cleaner::{Cleaner, Policy};
use quarry_env::{Env, JoinHandle, Signal, View};
use quarry_format::detached::Detached;
use quarry_format::image::{ImageSnapshot, ImageVolume, Position};
use quarry_format::record::KeyRecord;
use quarry_log::Log;
use quarry_map::NodeCache;
use quarry_pool::{LogStore, Pool};
use quarry_reduce::Reducer;
use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};
use quarry_types::{
    BlockIndex, KeyId, LogId, SegmentId, SnapshotCounter, VolumeId, VolumeNumber, VolumeSettings,
};

use crate::course::Courses;
use crate::damage::Damage;
use crate::deduplicate::TABLE_PART;
use crate::fair_lock::FairLock;
use crate::freeing::Freeing;
use crate::history::History;
use crate::node_store::EngineNodeStore;
use crate::rehome::Rehomer;
use crate::scrub::Scrub;
use crate::space::Space;
use crate::tiering::Tierer;
use crate::volume::VolumeState;
use crate::volumes::{Extent, Volumes};

/// What an engine may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes for map nodes in memory.
    pub node_cache_bytes: usize,
    /// Bytes for records that are read again.
    pub read_cache_bytes: usize,
    /// Bytes for finding records on the cache disk, where there is one.
    pub cache_index_bytes: usize,
    /// Bytes for entries that no checkpoint has merged yet.
    pub overlay_bytes: usize,
    /// Logs of the pool: they share its reserve of space.
    pub logs: u16,
}

/// The part of the durable state that is not in the segment table. Changed only together with it.
#[derive(Clone)]
pub(crate) struct Durable {
    pub(crate) replay_from: Position,
    pub(crate) volumes: Vec<ImageVolume>,
    pub(crate) snapshots: Vec<ImageSnapshot>,
    pub(crate) next_volume: u32,
    pub(crate) next_snapshot: SnapshotCounter,
    pub(crate) dissolving: Option<(SnapshotCounter, BlockIndex)>,
    pub(crate) detached: Vec<Detached>,
    pub(crate) keys: Vec<KeyRecord>,
    /// Ends of references that count with the next checkpoint.
    pub(crate) owed: Vec<Extent>,
}

/// One log of a pool and the volumes in it.
pub struct Engine {
    pub(crate) env: Env,
    pub(crate) store: Rc<LogStore>,
    pub(crate) log: Rc<Log>,
    pub(crate) volumes: Rc<Volumes>,
    pub(crate) cache: Rc<NodeCache>,
    pub(crate) records: RecordCache,
    /// What it has on the node's cache disk.
    pub(crate) cache_disk: OnceCell<Rc<LogCache>>,
    /// The first segment that it may write since it was opened.
    pub(crate) first_segment: SegmentId,
    pub(crate) nodes: EngineNodeStore,
    pub(crate) limits: Cell<Limits>,
    pub(crate) space: Space,
    /// Used under [`Self::maintaining`].
    pub(crate) cleaner: RefCell<Cleaner>,
    /// The default, but in the benchmark that compares policies.
    pub(crate) policy: Cell<Policy>,
    pub(crate) durable: RefCell<Durable>,
    /// The birth of what is appended next. Ahead of [`Volumes::next_snapshot`] while a snapshot's record is on its way.
    pub(crate) birth: Cell<SnapshotCounter>,
    /// Held by whoever changes volumes or snapshots, from the check to the record that counts.
    pub(crate) managing: futures::lock::Mutex<()>,
    /// The key of a volume that is being created.
    pub(crate) adding_key: Cell<Option<KeyId>>,
    /// The last second whose turn has ended: whatever was due then was taken or is known to be missing.
    pub(crate) turned_s: Cell<u64>,
    /// Seconds of history that are kept.
    pub(crate) moments: Cell<usize>,
    /// Since when there are some to be given up.
    pub(crate) moments_gone_since: Cell<Option<Duration>>,
    /// What the wall clock was ahead of the other one at the last turn of a second.
    pub(crate) history_offset: Cell<Option<Duration>>,
    /// No moment is old before that, by the other clock.
    pub(crate) expire_after: Cell<Duration>,
    /// A volume has so many versions on top of its tree that a checkpoint is due, or much is to be given up.
    pub(crate) layered: Cell<bool>,
    /// Held while an image is written.
    pub(crate) committing: futures::lock::Mutex<()>,
    /// Held while a checkpoint or a cleaning is under way.
    pub(crate) maintaining: Rc<FairLock>,
    /// Something for the maintenance task to look at.
    pub(crate) wake: Signal,
    /// When a checkpoint was made for somebody who looks at snapshots.
    pub(crate) merged_for_counting: Cell<Option<Duration>>,
    pub(crate) scrub: Scrub,
    pub(crate) rehomer: Rehomer,
    pub(crate) tierer: Tierer,
    pub(crate) reducer: RefCell<Reducer>,
    pub(crate) damage: Damage,
    pub(crate) zeroes: View,
    /// No host's write is admitted any more, and the tasks end.
    pub(crate) closing: Cell<bool>,
    pub(crate) tasks: RefCell<Option<Tasks>>,
    pub(crate) statistics: Statistics,
    pub(crate) courses: Courses,
}

/// The engine's own tasks. They are waited for, never cancelled: a commit or a merge that is cut off in the middle would
/// lose count of what it has taken.
pub(crate) struct Tasks {
    pub(crate) maintain: JoinHandle<()>,
    pub(crate) keep_reserve: JoinHandle<()>,
    pub(crate) keep_rehoming: JoinHandle<()>,
}

/// Counters since the engine was opened.
#[derive(Default)]
pub(crate) struct Statistics {
    pub(crate) checkpoints: Cell<u64>,
    pub(crate) cleaned_chunks: Cell<u64>,
    /// Snapshots that were given up as a whole.
    pub(crate) dissolved: Cell<u64>,
    pub(crate) cleaned_by_tenth: Cell<[u64; 10]>,
    pub(crate) moved_bytes: Cell<u64>,
    pub(crate) written_bytes: Cell<u64>,
    pub(crate) read_bytes: Cell<u64>,
    pub(crate) replayed_batches: Cell<u64>,
    pub(crate) refused_writes: Cell<u64>,
    /// Bytes of blocks of volumes that compress or deduplicate.
    pub(crate) reduced_from_bytes: Cell<u64>,
    /// Of these, bytes of blocks that became holes because they were zero.
    pub(crate) reduced_zero_bytes: Cell<u64>,
    /// What the others became.
    pub(crate) reduced_to_bytes: Cell<u64>,
    /// Bytes of blocks that were there already.
    pub(crate) deduplicated_bytes: Cell<u64>,
}

impl Statistics {
    pub(crate) fn note_reduced(&self, bytes: usize, reduced: Reduced) {
        let add = |to: &Cell<u64>, bytes: usize| to.set(to.get() + bytes as u64);
        add(&self.reduced_from_bytes, bytes);
        match reduced {
            Reduced::Zero => add(&self.reduced_zero_bytes, bytes),
            Reduced::Shared => add(&self.deduplicated_bytes, bytes),
            Reduced::To(stored_bytes) => add(&self.reduced_to_bytes, stored_bytes),
        }
    }
}

/// What has become of a block that was to be made smaller.
#[derive(Clone, Copy)]
pub(crate) enum Reduced {
    /// A hole: it was all zeroes.
    Zero,
    /// A reference to one that was there already.
    Shared,
    /// So many bytes.
    To(usize),
}

impl EngineStatus {
    /// What the log holds in the end, one copy: what lives, and what is kept for volumes.
    pub fn held_bytes(&self) -> u64 {
        self.live_bytes + self.kept_bytes
    }
}

/// An engine as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineStatus {
    /// The log.
    pub log: LogId,
    /// Bytes that live.
    pub live_bytes: u64,
    /// Bytes that a checkpoint and the cleaner need and hosts cannot have.
    pub reserved_bytes: u64,
    /// Bytes that are kept for volumes with a reservation and not used yet, with what storing them takes besides.
    pub kept_bytes: u64,
    /// The chunks that are set aside for that, in bytes: where segments are small many more, because the end of each may stay empty.
    pub set_aside_bytes: u64,
    /// Groups of chunks that are coded.
    pub groups: u64,
    /// Chunks with data in them.
    pub grouped_chunks: u64,
    /// Chunks of segments that are in none.
    pub ungrouped_chunks: u64,
    /// Chunks that have joined groups since it was opened.
    pub grouped_since: u64,
    /// Segments in the table.
    pub segments: usize,
    /// Checkpoints since it was opened.
    pub checkpoints: u64,
    /// Chunks cleaned since it was opened.
    pub cleaned_chunks: u64,
    /// The same by the share of the chunk that lived, in tenths.
    pub cleaned_by_tenth: [u64; 10],
    /// Bytes that the cleaner has moved.
    pub moved_bytes: u64,
    /// Bytes of blocks of volumes that compress or deduplicate.
    pub reduced_from_bytes: u64,
    /// Of these, bytes of blocks that became holes because they were zero.
    pub reduced_zero_bytes: u64,
    /// What the others became.
    pub reduced_to_bytes: u64,
    /// Bytes of blocks that were there already.
    pub deduplicated_bytes: u64,
    /// Records that more than one block refers to.
    pub shared_records: usize,
    /// Bytes that hosts have written.
    pub written_bytes: u64,
    /// Bytes that hosts have read.
    pub read_bytes: u64,
    /// Bytes appended to the log, headers and map nodes included.
    pub appended_bytes: u64,
    /// Of these, bytes of map nodes.
    pub node_bytes: u64,
    /// Batches that recovery replayed.
    pub replayed_batches: u64,
    /// What is kept in memory of what hosts read, and how often that was of use.
    pub read_cache: RecordCacheStatus,
    /// Bytes of memory in overlays, map nodes, records and the segment table.
    pub memory_bytes: usize,
    /// Why the log takes no more writes, if so.
    pub stopped: Option<String>,
    /// Whether the last attempt to gain space found nothing.
    pub full: bool,
    /// Writes that were refused for want of space since it was opened.
    pub refused_writes: u64,
    /// What deletions have left behind.
    pub freeing: Freeing,
}

/// A volume as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeStatus {
    /// Its id.
    pub id: VolumeId,
    /// Its name.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// When its writes are safe.
    pub settings: VolumeSettings,
    /// The data key under which it is encrypted.
    pub key: Option<KeyId>,
    /// It is encrypted and its key is not open.
    pub locked: bool,
    /// Seconds since 1970 at which it was created.
    pub created_s: u64,
    /// Bytes that are mapped, as of the last checkpoint and the overlay; exact where it has a quota or a reservation.
    pub mapped_bytes: u64,
    /// Writes that were refused because of its quota, since the engine was opened.
    pub quota_refusals: u64,
    /// Its snapshots.
    pub snapshots: usize,
    /// What can be had of its past.
    pub history: Option<History>,
    /// The volume and, if it is not hidden, the snapshot on which it stands as a clone, by name.
    pub origin: Option<(String, Option<String>)>,
}

impl Engine {
    /// The log that it owns.
    pub fn log_id(&self) -> LogId {
        self.store.log
    }

    /// The pool on this core.
    pub fn pool(&self) -> &Rc<Pool> {
        &self.store.pool
    }

    /// What it may take.
    pub fn limits(&self) -> Limits {
        self.limits.get()
    }

    /// Changes what it may take, because the node has more or fewer engines now.
    pub fn set_limits(&self, limits: Limits) {
        let mut table_bytes = 0;
        if let Some(duplicates) = self.volumes.duplicates.borrow_mut().as_mut() {
            table_bytes = limits.node_cache_bytes / TABLE_PART;
            duplicates.set_budget(table_bytes);
        }
        self.cache.set_budget(limits.node_cache_bytes - table_bytes);
        self.records.set_budget(limits.read_cache_bytes);
        if let Some(cache) = self.cache_disk.get() {
            cache.set_budget(limits.cache_index_bytes);
        }
        self.limits.set(limits);
        self.wake.raise();
    }

    /// Cleans by another policy from now on. A node never does: this is for the benchmark that compares policies.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.set(policy);
    }

    /// Its volumes, by name.
    pub fn volumes(&self) -> Vec<VolumeStatus> {
        let mut counts: BTreeMap<VolumeNumber, usize> = BTreeMap::new();
        let mut histories: BTreeMap<VolumeNumber, History> = BTreeMap::new();
        for snapshot in self.volumes.snapshots() {
            let head = snapshot.head.borrow();
            match head.hidden {
                true => {}
                false if head.moment => History::add(histories.entry(head.volume), &head),
                false => *counts.entry(head.volume).or_default() += 1,
            }
        }
        let status = |volume: &Rc<VolumeState>| VolumeStatus {
            snapshots: counts.get(&volume.number).copied().unwrap_or(0),
            history: histories
                .get(&volume.number)
                .map(|history| history.with_missing(self.missing_from_s(volume))),
            origin: self.origin(volume),
            locked: !self.volumes.keys.is_open(volume.head.borrow().key),
            ..volume.status()
        };
        let mut all: Vec<VolumeStatus> = self.volumes.all().iter().map(status).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// On what a clone stands.
    fn origin(&self, volume: &VolumeState) -> Option<(String, Option<String>)> {
        let base = self.volumes.base_of(volume)?;
        let head = base.head.borrow();
        let owner = self.volumes.get(head.volume)?;
        let name = (!head.hidden && !head.moment).then(|| head.name.clone());
        Some((owner.head.borrow().name.clone(), name))
    }

    /// Figures of this engine.
    pub fn status(&self) -> EngineStatus {
        let geometry = self.store.pool.geometry();
        let table = self.store.table();
        let (groups, grouped_chunks, ungrouped_chunks) = self.chunks_in_groups();
        let need = self.space.need(self);
        EngineStatus {
            groups,
            grouped_chunks,
            ungrouped_chunks,
            grouped_since: self.rehomer.grouped.get(),
            log: self.store.log,
            live_bytes: table.live_sectors() * SECTOR_BYTES as u64 + self.volumes.tail_live_bytes(),
            reserved_bytes: need.total() * geometry.segment_bytes,
            kept_bytes: self.volumes.kept_bytes(),
            set_aside_bytes: need.kept * geometry.segment_bytes,
            segments: table.len(),
            checkpoints: self.statistics.checkpoints.get(),
            cleaned_chunks: self.statistics.cleaned_chunks.get(),
            cleaned_by_tenth: self.statistics.cleaned_by_tenth.get(),
            moved_bytes: self.statistics.moved_bytes.get(),
            reduced_from_bytes: self.statistics.reduced_from_bytes.get(),
            reduced_zero_bytes: self.statistics.reduced_zero_bytes.get(),
            reduced_to_bytes: self.statistics.reduced_to_bytes.get(),
            deduplicated_bytes: self.statistics.deduplicated_bytes.get(),
            shared_records: self.volumes.references.records(),
            written_bytes: self.statistics.written_bytes.get(),
            read_bytes: self.statistics.read_bytes.get(),
            appended_bytes: self.log.appended_bytes.get(),
            node_bytes: self.log.node_bytes.get(),
            replayed_batches: self.statistics.replayed_batches.get(),
            read_cache: self.records.status(),
            memory_bytes: self.cache.used_bytes()
                + self.records.status().used_bytes
                + self.cache_disk.get().map_or(0, |cache| cache.used_bytes())
                + self.volumes.overlay_bytes()
                + table.memory_bytes()
                + self.volumes.deduplication_bytes(),
            stopped: self.why_stopped(),
            full: self.space.is_full(self, false),
            refused_writes: self.statistics.refused_writes.get(),
            freeing: self.freeing(),
        }
    }

    /// Why the log takes no more writes.
    fn why_stopped(&self) -> Option<String> {
        let failing = || {
            let why = self.space.standing_failure()?;
            Some(format!(
                "log {}: checkpoint or cleaning keep failing, and writes with them: {why}",
                self.store.log
            ))
        };
        self.log.stopped().map(|error| error.to_string()).or_else(failing)
    }

    /// Bytes appended since the replay position: what a recovery would have to read.
    pub(crate) fn tail_bytes(&self) -> u64 {
        self.log.appended_bytes.get() - self.space.appended_at_checkpoint.get()
    }

    /// What the tail costs: to be read by a recovery, or to be merged, whichever is more. A checkpoint keeps space for as much.
    pub(crate) fn tail_cost_bytes(&self) -> u64 {
        self.tail_bytes().max(self.volumes.merge_bytes.get() - self.space.merge_at_checkpoint.get())
    }

    /// Writes a checkpoint and ends the engine's tasks. Volumes fail from then on, and what the log owns in the pool stays
    /// taken: a pool is closed as a whole, it does not go on with fewer logs.
    pub async fn close(&self) -> Result<(), crate::EngineError> {
        self.closing.set(true);
        self.wake.raise();
        self.space.changed.raise();
        let tasks = self.tasks.take();
        self.rehomer.wake.raise();
        let mut keep_reserve = None;
        if let Some(tasks) = tasks {
            keep_reserve = Some(tasks.keep_reserve);
            tasks.maintain.await;
            tasks.keep_rehoming.await;
        }
        self.log.quiesce().await;
        let result = if self.log.stopped().is_none() { self.checkpoint().await } else { Ok(()) };
        if let Some(cache) = self.cache_disk.get() {
            cache.close().await;
        }
        self.store.pool.shared.begin_closing();
        self.log.close();
        // The log may have needed segments until now.
        self.log.reserve_low.raise();
        if let Some(keep_reserve) = keep_reserve {
            keep_reserve.await;
        }
        self.store.pool.remove_store(&self.store);
        result
    }

    /// A view of zeroes of one block, or less.
    pub(crate) fn zeroes(&self, bytes: usize) -> View {
        self.zeroes.slice(0..bytes.min(ZERO_BYTES))
    }
}

/// Bytes of zeroes that are kept ready for holes.
pub(crate) const ZERO_BYTES: usize = 64 * BLOCK_BYTES;
