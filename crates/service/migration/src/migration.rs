//! The volume over two volumes: its state, and what goes where.

use std::cell::{Cell, OnceCell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use quarry_env::{Env, Passed, Signal, Turns, View, Work};
use quarry_volume::{
    Comparison, Extent, RangeQueue, Result, Views, Volume, VolumeInfo, WriteFlags, ZeroMode,
};

use crate::MigrationError;

/// How a migration goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Below this byte another life of it has copied everything, as far as it was written down.
    pub copied_bytes: u64,
    /// Whether the destination is known to be all zeroes but for what was copied: then zeroes need not be written.
    pub destination_is_blank: bool,
    /// The most that is read from the source in a second.
    pub rate_bytes_per_s: Option<u64>,
}

/// How far it is. Lasts as long as the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Below this byte changes are made on both sides.
    pub copied_bytes: u64,
    /// Below this byte both sides were compared and are equal.
    pub verified_bytes: u64,
    /// Bytes that the comparison found unequal and copied again.
    pub repaired_bytes: u64,
    /// Bytes that were read from the source, copying and comparing, and the time that this took, pauses included.
    pub read_bytes: u64,
    /// See above.
    pub time: Duration,
}

/// What its operations share.
pub(crate) struct Sides {
    pub(crate) env: Env,
    pub(crate) source: Rc<dyn Volume>,
    /// The source for what the node itself wants of it, which is not what hosts want.
    copied: OnceCell<Rc<dyn Volume>>,
    pub(crate) destination: Rc<dyn Volume>,
    pub(crate) size_bytes: u64,
    pub(crate) options: Options,
    pub(crate) queue: Rc<RangeQueue>,
    pub(crate) progress: Cell<Progress>,
    /// Why the destination does not follow the source any more.
    pub(crate) failure: RefCell<Option<MigrationError>>,
    pub(crate) stopped: Cell<bool>,
    /// Operations of hosts since the beginning, from which the copy sees that there are some.
    pub(crate) host_operations: Cell<u64>,
    /// Operations that are on their way at the source.
    pub(crate) reads: Cell<usize>,
    pub(crate) read_ended: Signal,
    /// Where everything goes once this is over.
    pub(crate) next: OnceCell<Rc<dyn Volume>>,
    /// Who says when the copy may go on.
    turns: RefCell<Option<Rc<dyn Turns>>>,
}

/// A volume that is on its way from one place to another. Clones are the same one.
#[derive(Clone)]
pub struct Migration(pub(crate) Rc<Sides>);

impl Migration {
    /// Begins to serve `source` and to keep `destination`, which is as large, equal to it where it was copied. Every change of the source
    /// that did not come this way must have ended before [`Self::run`].
    pub fn new(env: Env, source: Rc<dyn Volume>, destination: Rc<dyn Volume>, options: Options) -> Self {
        let size_bytes = source.info().size_bytes;
        let copied_bytes = options.copied_bytes.min(size_bytes);
        let progress = Progress { copied_bytes, ..Progress::default() };
        Self(Rc::new(Sides {
            env,
            source,
            copied: OnceCell::new(),
            destination,
            size_bytes,
            options,
            queue: Rc::default(),
            progress: Cell::new(progress),
            failure: RefCell::default(),
            stopped: Cell::new(false),
            host_operations: Cell::new(0),
            reads: Cell::new(0),
            read_ended: Signal::default(),
            next: OnceCell::new(),
            turns: RefCell::default(),
        }))
    }

    /// The copy and the comparison read the source by this handle from now on, so that whoever counts what hosts do can leave them out.
    /// Once, before [`Self::run`].
    #[must_use]
    pub fn copying_by(self, source: Rc<dyn Volume>) -> Self {
        let _ = self.0.copied.set(source);
        self
    }

    /// The copy takes turns from now on.
    pub fn set_turns(&self, turns: Rc<dyn Turns>) {
        *self.0.turns.borrow_mut() = Some(turns);
    }

    /// Where the data is until the switch.
    pub fn source(&self) -> Rc<dyn Volume> {
        self.0.source.clone()
    }

    /// Where it is going.
    pub fn destination(&self) -> Rc<dyn Volume> {
        self.0.destination.clone()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.0.progress.get()
    }

    /// Ends [`Self::run`] at its next step, for good.
    pub fn stop(&self) {
        self.0.stopped.set(true);
    }

    /// Whether somebody has stopped it.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.get()
    }

    /// Waits until nothing is on its way at the source that was asked for before it was left behind.
    pub async fn reads_end(&self) {
        loop {
            let version = self.0.read_ended.version();
            if self.0.reads.get() == 0 {
                return;
            }
            self.0.read_ended.after(version).await;
        }
    }
}

/// Counts an operation at the source until it is dropped.
struct Reading<'a>(&'a Sides);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.reads.set(self.0.reads.get() - 1);
        self.0.read_ended.raise();
    }
}

impl Sides {
    /// The source, for the copy.
    pub(crate) fn copied(&self) -> &dyn Volume {
        &**self.copied.get().unwrap_or(&self.source)
    }

    /// Waits until so many bytes may be copied or compared. The answer is to be kept until they are.
    pub(crate) async fn turn(&self, bytes: u64) -> Option<Passed> {
        let turn = self.turns.borrow().as_ref()?.turn(Work::Migration, bytes)?;
        Some(turn.await)
    }

    fn begin_reading(&self) -> Reading<'_> {
        self.reads.set(self.reads.get() + 1);
        self.host_operations.set(self.host_operations.get() + 1);
        Reading(self)
    }

    /// Where changes go without a turn here: not before those that have waited have been sent there, which may overlap.
    fn next_for_changes(&self) -> Option<&Rc<dyn Volume>> {
        self.next.get().filter(|_| self.queue.is_empty())
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Progress)) {
        let mut progress = self.progress.get();
        change(&mut progress);
        self.progress.set(progress);
    }

    /// Whatever was compared in this range, and behind it, is compared again.
    pub(crate) fn distrust(&self, range: &Range<u64>) {
        self.update(|progress| progress.verified_bytes = progress.verified_bytes.min(range.start));
    }

    /// The destination does not have what the source has. The first reason counts.
    pub(crate) fn fail(&self, error: MigrationError) {
        self.failure.borrow_mut().get_or_insert(error);
    }

    pub(crate) fn check(&self) -> std::result::Result<(), MigrationError> {
        match &*self.failure.borrow() {
            Some(error) => Err(error.clone()),
            None if self.stopped.get() => Err(MigrationError::Stopped),
            None => Ok(()),
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }
}

impl Volume for Migration {
    fn info(&self) -> VolumeInfo {
        let Some(next) = self.0.next.get() else {
            let (source, destination) = (self.0.source.info(), self.0.destination.info());
            // Both have to have such a write whole.
            let atomic_bytes_max = source.atomic_bytes_max.min(destination.atomic_bytes_max);
            return VolumeInfo { atomic_bytes_max, ..source };
        };
        next.info()
    }

    fn read(&self, offset: u64, length: u32) -> LocalBoxFuture<'_, Result<Views>> {
        if let Some(next) = self.0.next.get() {
            return next.read(offset, length);
        }
        let reading = self.0.begin_reading();
        Box::pin(async move {
            let _reading = reading;
            self.0.source.read(offset, length).await
        })
    }

    fn write(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        match self.0.next_for_changes() {
            Some(next) => next.write(offset, data, flags),
            None => self.write_both(offset, data, flags),
        }
    }

    fn write_atomic(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        match self.0.next_for_changes() {
            Some(next) => next.write_atomic(offset, data, flags),
            None => self.write_atomic_both(offset, data, flags),
        }
    }

    fn compare_and_write(
        &self,
        offset: u64,
        expected: View,
        data: View,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<Comparison>> {
        match self.0.next_for_changes() {
            Some(next) => next.compare_and_write(offset, expected, data, flags),
            None => self.compare_and_write_both(offset, expected, data, flags),
        }
    }

    fn write_zeroes(
        &self,
        offset: u64,
        length: u64,
        mode: ZeroMode,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<()>> {
        match self.0.next_for_changes() {
            Some(next) => next.write_zeroes(offset, length, mode, flags),
            None => self.write_zeroes_both(offset, length, mode, flags),
        }
    }

    fn discard(&self, offset: u64, length: u64, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        match self.0.next_for_changes() {
            Some(next) => next.discard(offset, length, flags),
            None => self.discard_both(offset, length, flags),
        }
    }

    fn flush(&self) -> LocalBoxFuture<'_, Result<()>> {
        if let Some(next) = self.0.next.get() {
            return next.flush();
        }
        let reading = self.0.begin_reading();
        Box::pin(async move {
            let _reading = reading;
            self.0.source.flush().await
        })
    }

    fn extents(
        &self,
        offset: u64,
        length: u64,
        extents_max: usize,
    ) -> LocalBoxFuture<'_, Result<Vec<Extent>>> {
        if let Some(next) = self.0.next.get() {
            return next.extents(offset, length, extents_max);
        }
        let reading = self.0.begin_reading();
        Box::pin(async move {
            let _reading = reading;
            self.0.source.extents(offset, length, extents_max).await
        })
    }
}
