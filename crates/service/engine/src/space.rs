//! Space for hosts: how much must stay free for a checkpoint and the cleaner, and who waits when it is short.
//!
//! A checkpoint may write one node for each block of the tail in the worst case, so as much as the tail may grow is kept
//! free, besides what the cleaner writes before it frees anything, and two images. Hosts wait below that; when cleaning
//! finds nothing more to gain they are told that the pool is full, until something is freed.

use std::cell::Cell;

use quarry_env::Signal;
use quarry_volume::{ErrorKind, Result, VolumeError};

use crate::Engine;

/// Chunks that the cleaner may write before it frees any.
pub(crate) const CLEANER_CHUNKS: u64 = 4;
/// Longest tail: what a recovery reads.
const TAIL_BYTES_MAX: u64 = 768 << 20;

/// What hosts may still take.
pub(crate) struct Space {
    /// Space is short: hosts' writes wait.
    held: Cell<bool>,
    /// The last attempt to gain space found nothing, and nothing had been freed since this version of
    /// [`crate::apply::Volumes::freed`].
    full: Cell<Option<u64>>,
    /// Raised when either changes.
    pub(crate) changed: Signal,
    /// [`quarry_log::Log::appended_bytes`] when the last checkpoint began.
    pub(crate) appended_at_checkpoint: Cell<u64>,
    tail_bytes_max: u64,
    total_chunks: u64,
    logs: u64,
}

impl Space {
    pub(crate) fn new(total_chunks: u64, segment_bytes: u64, logs: u16) -> Self {
        let logs = u64::from(logs.max(1));
        let share = total_chunks * segment_bytes / logs;
        Self {
            held: Cell::new(false),
            full: Cell::new(None),
            changed: Signal::default(),
            appended_at_checkpoint: Cell::new(0),
            tail_bytes_max: (share / 16).clamp(2 * segment_bytes, TAIL_BYTES_MAX.max(2 * segment_bytes)),
            total_chunks,
            logs,
        }
    }

    /// A checkpoint is due when the tail has so many bytes; hosts wait when it has twice as many.
    pub(crate) fn tail_bytes_max(&self) -> u64 {
        self.tail_bytes_max
    }

    /// Chunks that hosts of this pool cannot have.
    pub(crate) fn reserved_chunks(&self, engine: &Engine) -> u64 {
        let tail = self.tail_bytes_max.div_ceil(engine.store.pool.geometry().segment_bytes);
        let images = 2 * engine.store.image_chunks().max(1) as u64;
        (tail + images + CLEANER_CHUNKS) * self.logs
    }

    /// From so few free chunks on the cleaner works.
    pub(crate) fn low_chunks(&self, engine: &Engine) -> u64 {
        self.reserved_chunks(engine) + (self.total_chunks / 16).max(2)
    }

    /// Whether the last attempt to gain space found nothing, and nothing has been freed since.
    pub(crate) fn is_full(&self, engine: &Engine) -> bool {
        self.full.get() == Some(engine.volumes.freed.version())
    }

    /// Whether hosts wait for space.
    pub(crate) fn is_held(&self) -> bool {
        self.held.get()
    }

    /// An attempt to gain space has found nothing; `freed` is the version of the signal of the same name before it.
    pub(crate) fn set_full(&self, freed: u64) {
        self.full.set(Some(freed));
        self.changed.raise();
    }

    /// Looks at the free space again.
    pub(crate) fn update(&self, engine: &Engine) {
        let free = engine.store.pool.shared.capacity().free_chunks;
        let held = free < self.reserved_chunks(engine);
        if !held {
            self.full.set(None);
        }
        if self.held.replace(held) != held {
            self.changed.raise();
        }
    }
}

impl Engine {
    /// Lets a host's write pass, holds it while space or the tail is being dealt with, or says that the pool is full.
    pub(crate) async fn admit(&self, operation: &'static str) -> Result<()> {
        loop {
            let version = self.space.changed.version();
            if !self.space.is_held() && self.tail_bytes() < 2 * self.space.tail_bytes_max() {
                return Ok(());
            }
            if self.closing.get() {
                return Err(VolumeError::new(ErrorKind::Unavailable, operation, "the pool is being closed"));
            }
            if let Some(error) = self.log.stopped() {
                return Err(crate::flush::log_error(operation, error));
            }
            if self.space.is_held() && self.space.is_full(self) {
                let what = format!(
                    "pool {} is full; free space by discards or by deleting volumes",
                    self.store.pool.shared.name
                );
                return Err(VolumeError::new(ErrorKind::NoSpace, operation, what));
            }
            self.wake.raise();
            self.space.changed.after(version).await;
        }
    }

    /// After an append: a long tail is for the maintenance task.
    pub(crate) fn note_append(&self) {
        if self.tail_bytes() >= self.space.tail_bytes_max() {
            self.wake.raise();
        }
    }
}
