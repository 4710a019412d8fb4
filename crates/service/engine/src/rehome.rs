//! What lies on the wrong devices goes where it should be: copies that a failed device had, everything on a device that is to be
//! removed, more or fewer copies when their number changes, some of everything when a device has joined.
//!
//! Nothing about it is kept: what is to be done follows from the segment table and the labels, so that after a crash it goes on.
//! A pass leaves devices where the log, the cleaner and the image write; then it copies sealed chunks, those with the fewest copies
//! first, and commits after each few.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures::FutureExt;
use quarry_env::Signal;
use quarry_pool::{Chunk, Duty, Moving};
use quarry_types::{ChunkId, SegmentId};

use crate::{Engine, EngineError};

/// How often somebody looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_AGAIN_WHEN_STUCK: Duration = Duration::from_secs(2);
/// A device that is away is waited for so long before its copies are made elsewhere.
const ABSENCE_TOLERATED: Duration = Duration::from_secs(10);
/// Free chunks that the cleaner gains for what waits for them, beyond those that the logs need.
const CHUNKS_WANTED: u64 = 16;
/// How long chunks are copied between two commits, at least one chunk: checkpoints and cleaning wait meanwhile, and hosts for them.
const STEP_TIME: Duration = Duration::from_millis(200);
/// While hosts read and write, so many times as long as copying has taken is left to them.
const PAUSE_FACTOR: u32 = 2;

/// What is still to be moved, as of the last look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rehoming {
    /// Chunks that do not lie where they should.
    pub chunks: u64,
    /// Of these, chunks with fewer good copies than they could have.
    pub exposed_chunks: u64,
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
struct Errand {
    duty: Duty,
    id: ChunkId,
}

/// The state of the task.
#[derive(Default)]
pub(crate) struct Rehomer {
    status: Cell<Rehoming>,
    /// The layout of the pool at the last look.
    looked: Cell<u64>,
    /// Most bytes to be copied in a second, if there is a bound.
    rate_bytes: Cell<Option<u64>>,
    /// Raised when the engine is being closed.
    pub(crate) wake: Signal,
}

impl Engine {
    /// Whether chunks wait for slots that the cleaner could gain.
    pub(crate) fn is_short_of_slots(&self) -> bool {
        let shared = &self.store.pool.shared;
        let wanted = shared.needed_chunks() + CHUNKS_WANTED;
        self.rehomer.status.get().stuck && shared.capacity().free_chunks <= wanted
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
        self.log.forget_device(device);
        self.cleaner.borrow_mut().close_left(&self.store);
        self.commit().await
    }

    /// Looks at what is to be done, and does a step of it. Says whether it got on.
    async fn rehome_step(&self, with_absent: bool) -> Result<bool, EngineError> {
        self.leave_devices().await?;
        let errands = self.errands(with_absent);
        if errands.is_empty() {
            self.rehomer.status.set(Rehoming { stuck: false, ..self.rehomer.status.get() });
            return Ok(false);
        }
        let began = self.env.clock.now();
        let hosts_before = self.host_bytes();
        let (moved, copied_bytes) = self.move_some(&errands).await?;
        let took = self.env.clock.now() - began;
        self.pause(took, copied_bytes, self.host_bytes() != hosts_before).await;
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

    fn host_bytes(&self) -> u64 {
        self.statistics.read_bytes.get() + self.statistics.written_bytes.get()
    }

    /// Leaves time to hosts, and keeps to the rate.
    async fn pause(&self, took: Duration, bytes: u64, has_hosts: bool) {
        if self.closing.get() {
            return;
        }
        let for_hosts = if has_hosts { took * PAUSE_FACTOR } else { Duration::ZERO };
        let for_rate = self.rehomer.rate_bytes.get().map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64).saturating_sub(took)
        });
        let pause = for_hosts.max(for_rate);
        futures::select_biased! {
            () = self.rehomer.wake.after(0).fuse() => {}
            () = self.env.clock.sleep(pause).fuse() => {}
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
        let mut status =
            Rehoming { chunks: 0, exposed_chunks: 0, lost_chunks: 0, bytes: 0, ..self.rehomer.status.get() };
        let mut errands = Vec::new();
        for (id, (chunk, segments)) in self.store.table().by_chunk() {
            if chunk.is_lost(shared) {
                status.lost_chunks += 1;
            }
            let Some(duty) = chunk.duty(shared) else { continue };
            // What is being written stays where it is until it is complete: it is in nobody's way.
            if duty == Duty::Balance && self.is_being_written(id, &segments) {
                continue;
            }
            status.chunks += 1;
            status.exposed_chunks += u64::from(matches!(duty, Duty::Missing { .. }));
            status.bytes += self.bytes_of(&chunk, &segments);
            if with_absent || !matches!(duty, Duty::Missing { .. }) || self.is_left_for_good(&chunk) {
                errands.push(Errand { duty, id });
            }
        }
        errands.sort_by_key(|errand| (errand.duty, errand.id));
        self.rehomer.status.set(status);
        errands
    }

    /// Whether nobody waits for the devices that a chunk misses.
    fn is_left_for_good(&self, chunk: &Chunk) -> bool {
        let shared = &self.store.pool.shared;
        let slots = chunk.slots();
        let mut failed = slots.iter().filter(|slot| shared.is_failed(slot.device)).peekable();
        failed.peek().is_none() || failed.all(|slot| shared.is_leaving(slot.device))
    }

    /// What copying a chunk takes at most.
    fn bytes_of(&self, chunk: &Chunk, segments: &[SegmentId]) -> u64 {
        let sector_bytes = quarry_types::SECTOR_BYTES as u64;
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
    async fn move_some(&self, errands: &[Errand]) -> Result<(usize, u64), EngineError> {
        let _maintaining = self.maintaining.lock().await;
        let (mut moving, mut copied_bytes) = (Vec::new(), 0);
        let (began, chunks) = (self.env.clock.now(), self.store.table().by_chunk());
        for errand in errands {
            let is_time_up = self.env.clock.now() - began >= STEP_TIME && !moving.is_empty();
            if is_time_up || self.closing.get() {
                break;
            }
            // It may have been cleaned since somebody looked.
            let Some((chunk, segments)) = chunks.get(&errand.id) else { continue };
            match self.copy_one(chunk, segments).await {
                Ok(Some((one, bytes))) => {
                    moving.push(one);
                    copied_bytes += bytes;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(chunk = %errand.id, %error, "a chunk cannot be copied; it stays where it is");
                }
            }
        }
        drop(chunks);
        let moved = self.store.finish_rehoming(moving).await;
        if moved > 0 {
            self.commit().await?;
        }
        Ok((moved, copied_bytes))
    }

    /// Whether the log or the cleaner writes to a chunk, or no flush has covered all of it.
    fn is_being_written(&self, id: ChunkId, segments: &[SegmentId]) -> bool {
        let first_open = self.log.first_unflushed();
        let is_open = |&segment: &SegmentId| {
            segment >= first_open
                || self.store.table().get(segment).is_none_or(|segment| segment.end_sector == 0)
        };
        segments.iter().any(is_open) || self.cleaner.borrow().is_filling(id)
    }

    /// Copies a chunk, if nobody writes to it and there is space.
    async fn copy_one(
        &self,
        chunk: &Rc<Chunk>,
        segments: &[SegmentId],
    ) -> Result<Option<(Moving, u64)>, EngineError> {
        if self.is_being_written(chunk.id(), segments) {
            return Ok(None);
        }
        let Some(begun) = self.store.plan_rehoming(chunk, segments) else { return Ok(None) };
        if !begun.reads() {
            return Ok(Some((begun, 0)));
        }
        let first_kept = self.durable.borrow().replay_from.address.segment();
        let contents = quarry_cleaner::contents(&self.store, chunk, segments, first_kept).await?;
        let copied = self.store.copy_rehomed(&begun, &contents).await?;
        Ok(Some((begun, copied.copied_bytes)))
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
        let with_absent = changed_at.is_some_and(|at| now >= at + ABSENCE_TOLERATED);
        let mut more = false;
        if changed_at.is_some() && this.log.stopped().is_none() {
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
        if !more {
            let pause = if this.rehoming().stuck { LOOK_AGAIN_WHEN_STUCK } else { LOOK_EVERY };
            futures::select_biased! {
                () = this.rehomer.wake.after(0).fuse() => {}
                () = this.env.clock.sleep(pause).fuse() => {}
            }
        }
    }
}
