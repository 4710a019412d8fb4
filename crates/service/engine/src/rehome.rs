//! What lies on the wrong devices goes where it should be: copies that a failed device had, everything on a device that is to be
//! removed, more or fewer copies when their number changes, some of everything when a device has joined.
//!
//! Nothing about it is kept: what is to be done follows from the segment table and the labels, so that after a crash it goes on.
//! A pass leaves devices where the log, the cleaner and the image write; then it copies sealed chunks, those with the fewest copies
//! first, and commits after each few.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use quarry_env::Signal;
use quarry_pool::{Chunk, Duty, Moving};
use quarry_types::{ChunkId, SegmentId};

use crate::{Engine, EngineError};

/// How often somebody looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOK_AGAIN_WHEN_STUCK: Duration = Duration::from_secs(2);
/// A device that is away is waited for so long before its copies are made elsewhere.
const ABSENCE_TOLERATED: Duration = Duration::from_secs(10);
/// Free chunks that the cleaner gains for what waits for them, beyond those that the logs need.
const CHUNKS_WANTED: u64 = 16;
/// How long chunks are copied between two commits, at least one chunk: checkpoints and cleaning wait meanwhile, and hosts for them.
const STEP_TIME: Duration = Duration::from_millis(200);
/// The same while no host reads or writes, and the most where what ends a step, flushes and a commit, takes longer than that: on slow
/// devices little else would be done.
const LONG_STEP_TIME: Duration = Duration::from_secs(1);
/// Chunks that are copied at once, and while hosts read and write. Each holds two windows in memory at most.
const IDLE_COPIES_IN_FLIGHT: usize = 8;
const COPIES_IN_FLIGHT: usize = 2;
/// Hosts that have done nothing for so long are idle.
const HOSTS_IDLE_AFTER: Duration = Duration::from_secs(1);
/// While hosts read and write, so many times as long as copying has taken is left to them.
const PAUSE_FACTOR: u32 = 2;

/// How often a pause looks whether the rate has changed.
const RATE_LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is still to be moved, as of the last look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rehoming {
    /// Chunks that do not lie where they should.
    pub chunks: u64,
    /// Of these, chunks with fewer good copies than they could have.
    pub exposed_chunks: u64,
    /// Chunks that lie where they can, with fewer good copies than they should have: no device is left for more.
    pub short_chunks: u64,
    /// Chunks of which no copy can be read.
    pub lost_chunks: u64,
    /// What is left to be copied at most, in bytes.
    pub bytes: u64,
    /// Bytes that were copied since the log was opened.
    pub copied_bytes: u64,
    /// Bytes a second, as of the last step.
    pub bytes_per_s: u64,
    /// There is no space to copy to, or what is there cannot be read.
    pub stuck: bool,
}

/// What a chunk is waiting for.
pub(crate) struct Errand {
    pub(crate) duty: Duty,
    pub(crate) id: ChunkId,
    /// The tier to which it is to move, where that is why.
    pub(crate) tier: Option<u8>,
}

/// The state of the task.
#[derive(Default)]
pub(crate) struct Rehomer {
    status: Cell<Rehoming>,
    /// The layout of the pool at the last look.
    looked: Cell<u64>,
    /// What there was to be grouped at the last look.
    pub(crate) grouping_looked: Cell<(u64, u64)>,
    /// What hosts had done, and how many chunks had been allocated, at the last look at the tail.
    pub(crate) tail_looked: Cell<(u64, u64)>,
    /// The chunks that had been allocated when the tail was found not to be worth a checkpoint.
    pub(crate) tail_refused: Cell<Option<u64>>,
    /// Chunks that have joined groups.
    pub(crate) grouped: Cell<u64>,
    /// There was no space for a group.
    pub(crate) is_grouping_stuck: Cell<bool>,
    /// Chunks that do not tell what is in them. They are not tried again before the log is opened again.
    pub(crate) ungroupable: RefCell<BTreeSet<ChunkId>>,
    /// Most bytes to be copied in a second, if there is a bound.
    rate_bytes: Cell<Option<u64>>,
    /// What hosts had read and written at the last look, and when that had last grown, by the clock.
    hosts: Cell<(u64, Option<Duration>)>,
    /// How long it took to end the last step.
    ending_took: Cell<Duration>,
    /// Raised when the engine is being closed.
    pub(crate) wake: Signal,
}

impl Engine {
    /// Whether chunks wait for slots that the cleaner could gain.
    pub(crate) fn is_short_of_slots(&self) -> bool {
        let shared = &self.store.pool.shared;
        let wanted = shared.needed_chunks(self.store.log) + CHUNKS_WANTED;
        self.rehomer.status.get().stuck && shared.capacity_for(self.store.log).free_chunks <= wanted
    }

    /// What is still to be moved.
    pub fn rehoming(&self) -> Rehoming {
        if self.rehomer.looked.get() != self.store.pool.shared.layout() {
            self.errands(true);
        }
        self.rehomer.status.get()
    }

    /// Bounds how many bytes are copied in a second.
    pub fn set_rehoming_rate(&self, bytes_per_s: Option<u64>) {
        self.rehomer.rate_bytes.set(bytes_per_s);
    }

    /// Relies no more on what a device that has failed was sent before, durably: it may be used again afterwards.
    pub async fn forget_device(&self, device: u16) -> Result<(), EngineError> {
        let _maintaining = self.maintaining.lock().await;
        self.store.pool.give_up_changes(device);
        self.log.forget_device(device);
        self.cleaner.borrow_mut().close_left(&self.store);
        self.commit().await
    }

    /// Looks at what is to be done, and does a step of it. Says whether it got on.
    async fn rehome_step(&self, with_absent: bool) -> Result<bool, EngineError> {
        self.leave_devices().await?;
        let errands = self.errands(with_absent);
        let groupable = self.grouped_soon();
        if errands.is_empty() && groupable.is_empty() {
            self.rehomer.status.set(Rehoming { stuck: false, ..self.rehomer.status.get() });
            return Ok(false);
        }
        let began = self.env.clock.now();
        let (mut moved, mut copied_bytes) = self.move_some(&errands).await?;
        let is_urgent = |errand: &Errand| matches!(errand.duty, Duty::Missing { .. });
        if moved == 0 || !errands.first().is_some_and(is_urgent) {
            let _maintaining = self.maintaining.lock().await;
            let time = self.step_time();
            let grouped = self.group_some(time, false).await?;
            moved += grouped.chunks;
            copied_bytes += grouped.bytes;
        }
        let took = self.env.clock.now() - began;
        self.pause(took, copied_bytes).await;
        let mut status = self.rehomer.status.get();
        status.copied_bytes += copied_bytes;
        let seconds = (self.env.clock.now() - began).as_secs_f64();
        if copied_bytes > 0 && seconds > 0.0 {
            status.bytes_per_s = (copied_bytes as f64 / seconds) as u64;
        }
        status.stuck = moved == 0;
        self.rehomer.status.set(status);
        // What was taken the cleaner may have to gain again, and what is missing it may find.
        self.wake.raise();
        Ok(moved > 0)
    }

    /// Whether hosts have read or written anything lately.
    fn has_busy_hosts(&self) -> bool {
        let now = self.env.clock.now();
        let (bytes, grown_at) = self.rehomer.hosts.get();
        let bytes_now = self.statistics.read_bytes.get() + self.statistics.written_bytes.get();
        let grown_at = if bytes_now == bytes { grown_at } else { Some(now) };
        self.rehomer.hosts.set((bytes_now, grown_at));
        grown_at.is_some_and(|at| now < at + HOSTS_IDLE_AFTER)
    }

    pub(crate) fn host_bytes(&self) -> u64 {
        self.statistics.read_bytes.get() + self.statistics.written_bytes.get()
    }

    /// Leaves time to hosts, and keeps to the rate.
    pub(crate) async fn pause(&self, took: Duration, bytes: u64) {
        let began = self.env.clock.now();
        let for_hosts = if self.has_busy_hosts() { took * PAUSE_FACTOR } else { Duration::ZERO };
        loop {
            if self.closing.get() {
                return;
            }
            // It may be another one by now.
            let for_rate = self.rehomer.rate_bytes.get().map_or(Duration::ZERO, |rate| {
                Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64).saturating_sub(took)
            });
            let left = for_hosts.max(for_rate).saturating_sub(self.env.clock.now() - began);
            futures::select_biased! {
                () = self.rehomer.wake.after(0).fuse() => return,
                () = self.env.clock.sleep(left.min(RATE_LOOK_EVERY)).fuse() => {}
            }
            if left <= RATE_LOOK_EVERY {
                return;
            }
        }
    }

    /// Writes nothing more where nothing is to stay: the open segment, what is reserved, the cleaner's chunks, the image.
    async fn leave_devices(&self) -> Result<(), EngineError> {
        let _maintaining = self.maintaining.lock().await;
        self.log.leave_devices();
        self.cleaner.borrow_mut().close_left(&self.store);
        if self.store.is_image_elsewhere() || self.store.has_retired() {
            self.commit().await?;
        }
        // Sealed chunks can be copied when a flush has covered them.
        let unflushed = self.store.table().iter().any(|(id, segment)| {
            id >= self.log.first_unflushed()
                && segment.end_sector > 0
                && self.duty_of(segment.chunks().next()).is_some()
        });
        if unflushed && self.log.stopped().is_none() {
            self.log.flush().await?;
        }
        Ok(())
    }

    /// Whether something besides sealed chunks lies where it should not.
    fn is_on_wrong_devices(&self) -> bool {
        let store = &self.store;
        store.is_image_elsewhere() || store.is_on_leaving_device() || self.log.is_on_left_devices()
    }

    fn duty_of(&self, chunk: Option<&Rc<Chunk>>) -> Option<Duty> {
        chunk?.duty(&self.store.pool.shared)
    }

    /// The chunks that should lie elsewhere, the most urgent first. What devices had that are away is left out for a while.
    fn errands(&self, with_absent: bool) -> Vec<Errand> {
        let shared = &self.store.pool.shared;
        self.rehomer.looked.set(shared.layout());
        let Rehoming { copied_bytes, bytes_per_s, stuck, .. } = self.rehomer.status.get();
        let mut status = Rehoming { copied_bytes, bytes_per_s, stuck, ..Rehoming::default() };
        let mut errands = Vec::new();
        let groupable = self.grouped_soon();
        for (id, (chunk, segments)) in self.all_chunks() {
            // Of what belongs to a group and is in no segment nothing lives.
            let is_lost = chunk.is_lost(shared);
            if !segments.is_empty() && is_lost {
                status.lost_chunks += 1;
            }
            let is_short = || u64::from(!segments.is_empty() && !is_lost && chunk.is_short(shared));
            if groupable.contains(&id) {
                // It lies where it should, unless it has fewer copies than it should have until then.
                let exposed = u64::from(chunk.is_exposed(shared));
                status.short_chunks += if exposed == 0 { is_short() } else { 0 };
                status.chunks += exposed;
                status.exposed_chunks += exposed;
                status.bytes += exposed * self.bytes_of(&chunk, &segments);
                continue;
            }
            let Some(duty) = chunk.duty(shared) else {
                status.short_chunks += is_short();
                continue;
            };
            // Nothing lives in it: it goes with its group.
            if duty == Duty::Ungroup && segments.is_empty() {
                continue;
            }
            // What is being written stays where it is until it is complete: it is in nobody's way.
            if duty == Duty::Balance && self.is_being_written(id, &segments) {
                continue;
            }
            status.chunks += 1;
            let is_exposed =
                matches!(duty, Duty::Missing { .. }) || duty == Duty::Ungroup && chunk.is_exposed(shared);
            status.exposed_chunks += u64::from(is_exposed);
            status.bytes += self.bytes_of(&chunk, &segments);
            if with_absent || !matches!(duty, Duty::Missing { .. }) || self.is_left_for_good(&chunk) {
                errands.push(Errand { duty, id, tier: None });
            }
        }
        errands.sort_by_key(|errand| (errand.duty, errand.id));
        self.rehomer.status.set(status);
        errands
    }

    /// All chunks and what lies in them: those of segments, and what belongs to their groups besides.
    pub(crate) fn all_chunks(&self) -> BTreeMap<ChunkId, (Rc<Chunk>, Vec<SegmentId>)> {
        let mut chunks = self.store.table().by_chunk();
        let others = self.store.chunks_without_segments();
        chunks.extend(others.into_iter().map(|(id, chunk)| (id, (chunk, Vec::new()))));
        chunks
    }

    /// Whether nobody waits for the devices that a chunk misses.
    fn is_left_for_good(&self, chunk: &Chunk) -> bool {
        let shared = &self.store.pool.shared;
        let slots = chunk.slots();
        let mut failed = slots.iter().filter(|slot| shared.is_failed(slot.device)).peekable();
        failed.peek().is_none() || failed.all(|slot| shared.is_leaving(slot.device))
    }

    /// What copying a chunk takes at most.
    pub(crate) fn bytes_of(&self, chunk: &Chunk, segments: &[SegmentId]) -> u64 {
        let sector_bytes = quarry_types::SECTOR_BYTES as u64;
        if let Some(bytes) = chunk.group().and_then(|group| group.end_of(chunk)) {
            return bytes as u64;
        }
        match (chunk.packed_table.get(), segments) {
            ((_, 0), [segment]) => self
                .store
                .table()
                .get(*segment)
                .map_or(0, |segment| u64::from(segment.end_sector) * sector_bytes),
            ((sector, bytes), _) => u64::from(sector) * sector_bytes + u64::from(bytes),
        }
    }

    /// Copies the first few of them, and commits. Says how many have moved, and how many bytes were copied.
    pub(crate) async fn move_some(&self, errands: &[Errand]) -> Result<(usize, u64), EngineError> {
        let _maintaining = self.maintaining.lock().await;
        let (mut moving, mut copied_bytes) = (Vec::new(), 0);
        let (began, chunks) = (self.env.clock.now(), self.all_chunks());
        let mut groups = BTreeSet::new();
        let (mut errands, mut copies) = (errands.iter(), FuturesUnordered::new());
        loop {
            let in_flight = if self.has_busy_hosts() { COPIES_IN_FLIGHT } else { IDLE_COPIES_IN_FLIGHT };
            let is_time_up = self.env.clock.now() - began >= self.step_time() && !moving.is_empty();
            if copies.len() < in_flight
                && !is_time_up
                && !self.closing.get()
                && let Some(errand) = errands.next()
            {
                // It may have been cleaned since somebody looked.
                let Some((chunk, segments)) = chunks.get(&errand.id) else { continue };
                // Two chunks of a group at once might choose the same device. One that finds no place is in nobody's way: the others
                // may be what it waits for.
                let group = chunk.group().map(|group| group.id());
                if group.is_some_and(|group| groups.contains(&group)) {
                    continue;
                }
                let Some(begun) = self.begin_copy(chunk, segments, errand.tier) else { continue };
                groups.extend(group);
                copies.push(async move { (errand.id, self.copy_one(begun, chunk, segments).await) });
                continue;
            }
            match copies.next().await {
                Some((_, Ok((one, bytes)))) => {
                    moving.push(one);
                    copied_bytes += bytes;
                }
                Some((chunk, Err(error))) => {
                    tracing::error!(%chunk, %error, "a chunk cannot be copied; it stays where it is");
                }
                None => break,
            }
        }
        drop(copies);
        drop(chunks);
        let copied_at = self.env.clock.now();
        let moved = self.store.finish_rehoming(moving).await;
        let flushed_at = self.env.clock.now();
        if moved > 0 {
            self.commit().await?;
        }
        let ended_at = self.env.clock.now();
        self.rehomer.ending_took.set(ended_at - copied_at);
        tracing::debug!(
            log = %self.store.log, moved, copied_bytes, copy = ?(copied_at - began),
            flush = ?(flushed_at - copied_at), commit = ?(ended_at - flushed_at),
            "a step of moving chunks"
        );
        Ok((moved, copied_bytes))
    }

    /// How long chunks are copied between two commits now.
    fn step_time(&self) -> Duration {
        match self.has_busy_hosts() {
            true => self.rehomer.ending_took.get().clamp(STEP_TIME, LONG_STEP_TIME),
            false => LONG_STEP_TIME,
        }
    }

    /// Whether the log or the cleaner writes to a chunk, or no flush has covered all of it.
    pub(crate) fn is_being_written(&self, id: ChunkId, segments: &[SegmentId]) -> bool {
        let first_open = self.log.first_unflushed();
        let is_open = |&segment: &SegmentId| {
            segment >= first_open
                || self.store.table().get(segment).is_none_or(|segment| segment.end_sector == 0)
        };
        segments.iter().any(is_open) || self.cleaner.borrow().is_filling(id)
    }

    /// Takes what is needed to copy a chunk, to a tier if it is to change it, if nobody writes to it and there is space.
    fn begin_copy(&self, chunk: &Rc<Chunk>, segments: &[SegmentId], tier: Option<u8>) -> Option<Moving> {
        if self.is_being_written(chunk.id(), segments) {
            return None;
        }
        match tier {
            Some(tier) => self.store.plan_retiering(chunk, segments, tier),
            None => self.store.plan_rehoming(chunk, segments),
        }
    }

    /// Copies a chunk.
    async fn copy_one(
        &self,
        begun: Moving,
        chunk: &Rc<Chunk>,
        segments: &[SegmentId],
    ) -> Result<(Moving, u64), EngineError> {
        if !begun.reads() {
            return Ok((begun, 0));
        }
        let contents = self.contents_of(chunk, segments).await?;
        let copied = self.store.copy_rehomed(&begun, &contents).await?;
        Ok((begun, copied.copied_bytes))
    }
}

/// The task.
pub(crate) async fn keep_rehoming(engine: Weak<Engine>) {
    let (mut seen, mut changed_at) = (0, None);
    loop {
        let Some(this) = engine.upgrade().filter(|this| !this.closing.get()) else { return };
        let layout = this.store.pool.shared.layout();
        let now = this.env.clock.now();
        if layout != seen {
            // What is found when the log is opened was so before, perhaps for long: all the same somebody may be about to mend it.
            (seen, changed_at) = (layout, Some(now));
        }
        // What other logs move on the same devices may ask for more, and is no change of the layout.
        if changed_at.is_none() && this.rehoming().chunks > 0 {
            changed_at = Some(now);
        }
        let with_absent = changed_at.is_some_and(|at| now >= at + ABSENCE_TOLERATED);
        let mut more = false;
        let is_due = changed_at.is_some() || this.is_grouping_due();
        if is_due && this.log.stopped().is_none() {
            match this.rehome_step(with_absent).await {
                Ok(again) => more = again,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(log = %this.store.log, error, "moving data to other devices has failed for now");
                }
            }
            let is_settled = with_absent && this.rehoming().chunks == 0 && !this.is_on_wrong_devices();
            if is_settled && this.store.pool.shared.layout() == seen {
                changed_at = None;
            }
        }
        // Copies that are missing come first.
        if !more && this.log.stopped().is_none() && this.rehoming().exposed_chunks == 0 {
            match this.tier_step().await {
                Ok(again) => more = again,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(log = %this.store.log, error, "moving data between tiers has failed for now");
                }
            }
        }
        if let Err(error) = this.release_tail().await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(log = %this.store.log, error, "a checkpoint that lets chunks be grouped has failed");
        }
        if !more {
            let pause = if this.rehoming().stuck { LOOK_AGAIN_WHEN_STUCK } else { LOOK_EVERY };
            futures::select_biased! {
                () = this.rehomer.wake.after(0).fuse() => {}
                () = this.env.clock.sleep(pause).fuse() => {}
            }
        }
    }
}
