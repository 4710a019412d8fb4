//! An open device of a pool.
//!
//! Life: healthy, until an operation fails; then suspect, with the fault that made it so, until the pool decides that it
//! has failed or is well. A failed device refuses every operation at once. A request that is wrong in itself (outside
//! the device, not aligned) fails without a mark against the device.
//!
//! An operation that gets no answer is waited for until the pool gives it up ([`Device::give_up`]); see `flights`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{AddAssign, Deref};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use futures::FutureExt;
use futures::future::{Either, ready, select};
use quarry_env::{Buffer, BufferPool, Disk, DiskGeometry, Env, View};
use quarry_format::label::{LABEL_BYTES, LABEL_COPY_OFFSETS, Label, LabelError, Member, slot_offset};
use quarry_types::DeviceId;

use crate::error::{DeviceError, Operation};
use crate::figures::Latencies;
use crate::flights::{Flights, Unanswered};
use crate::open::OPEN_TIME_MAX;

/// What went wrong on a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What was tried.
    pub operation: Operation,
    /// Where, in bytes.
    pub offset: u64,
    /// What kind of error it was.
    pub kind: io::ErrorKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} failed: {}", self.operation, self.offset, self.kind)
    }
}

/// How well a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceState {
    /// No operation has failed.
    Healthy,
    /// An operation has failed. It still answers, but nothing new should be placed on it.
    Suspect(Fault),
    /// It is not used any more.
    Failed(Fault),
}

/// What a device has done since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceStats {
    /// Reads that succeeded.
    pub reads: u64,
    /// Writes that succeeded.
    pub writes: u64,
    /// Flushes that succeeded.
    pub flushes: u64,
    /// Discards that succeeded.
    pub discards: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Reads whose bytes did not match their checksum, as told by [`Device::note_corruption`].
    pub corruptions: u64,
}

impl AddAssign for DeviceStats {
    fn add_assign(&mut self, other: Self) {
        let Self { reads, writes, flushes, discards, read_bytes, written_bytes, errors, corruptions } = other;
        self.reads += reads;
        self.writes += writes;
        self.flushes += flushes;
        self.discards += discards;
        self.read_bytes += read_bytes;
        self.written_bytes += written_bytes;
        self.errors += errors;
        self.corruptions += corruptions;
    }
}

/// An open, locked device. Every operation starts when it is called, not when it is first polled, and runs to its end
/// also when its future is dropped; then nobody counts it.
pub struct Device {
    id: DeviceId,
    path: PathBuf,
    disk: Rc<dyn Disk>,
    buffers: BufferPool,
    /// What the I/O path needs of the label. Only growing changes it while the device is open.
    index: u16,
    size_bytes: Cell<u64>,
    slots: Cell<u32>,
    segment_bytes: u64,
    label: RefCell<Rc<Label>>,
    /// The latest label that was to be written, whether that succeeded or not.
    attempt: RefCell<Rc<Label>>,
    /// The copy of the label that may not be valid: it is the next to be written.
    doubtful_copy: Cell<Option<usize>>,
    state: Cell<DeviceState>,
    stats: Cell<DeviceStats>,
    flights: Rc<Flights>,
}

impl Device {
    /// A device over an exclusively opened disk that carries `label`, in both copies or all but one.
    pub(crate) fn new(
        env: &Env,
        path: PathBuf,
        disk: Rc<dyn Disk>,
        label: Label,
        doubtful_copy: Option<usize>,
    ) -> Self {
        let label = Rc::new(label);
        Self {
            id: label.own().device,
            path,
            disk,
            buffers: env.buffers.clone(),
            index: label.device_index,
            size_bytes: Cell::new(label.own().size_bytes),
            slots: Cell::new(label.own().slots),
            segment_bytes: label.segment_bytes,
            attempt: RefCell::new(label.clone()),
            label: RefCell::new(label),
            doubtful_copy: Cell::new(doubtful_copy),
            state: Cell::new(DeviceState::Healthy),
            stats: Cell::default(),
            flights: Flights::new(env),
        }
    }

    /// Its id.
    pub fn id(&self) -> DeviceId {
        self.id
    }

    /// The number by which chunks name it.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its label, which names the whole pool.
    pub fn label(&self) -> Rc<Label> {
        self.label.borrow().clone()
    }

    /// Its entry in the label.
    pub fn member(&self) -> Member {
        self.label.borrow().own().clone()
    }

    /// Facts of the disk below.
    pub fn geometry(&self) -> &DiskGeometry {
        self.disk.geometry()
    }

    /// Unit of I/O in bytes.
    pub fn sector_bytes(&self) -> u32 {
        self.disk.geometry().sector_bytes
    }

    /// Bytes that the pool uses, header included.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.get()
    }

    /// Slots behind the header.
    pub fn slots(&self) -> u32 {
        self.slots.get()
    }

    /// Size of a slot in bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Where a slot begins, in bytes.
    ///
    /// # Panics
    /// When the device has no such slot.
    pub fn slot_offset(&self, slot: u32) -> u64 {
        assert!(slot < self.slots.get(), "device {} has no slot {slot}", self.id);
        slot_offset(slot, self.segment_bytes)
    }

    /// How well it is.
    pub fn state(&self) -> DeviceState {
        self.state.get()
    }

    /// Declares it failed, or well again after a check: the pool's decision, never the device's.
    pub fn set_state(&self, state: DeviceState) {
        self.state.set(state);
    }

    /// What it has done.
    pub fn stats(&self) -> DeviceStats {
        self.stats.get()
    }

    /// The operation of this core that it has not answered for longest, be that waited for or given up.
    pub fn oldest_unanswered(&self) -> Option<Unanswered> {
        self.flights.oldest()
    }

    /// Operations of this core that somebody waits for.
    pub fn waiting(&self) -> usize {
        self.flights.waiting()
    }

    /// Operations of this core that it has answered, well or with an error.
    pub fn answered(&self) -> u64 {
        self.flights.answered()
    }

    /// How long these took.
    pub fn latencies(&self) -> Latencies {
        self.flights.latencies()
    }

    /// Waits no longer for operations that are `meant`: each fails now, with [`io::ErrorKind::TimedOut`], and may be carried out later all
    /// the same, until which it counts in [`Self::late_changes`]. Says how many it were.
    pub fn give_up(&self, meant: impl Fn(&Unanswered) -> bool) -> usize {
        self.flights.give_up(meant)
    }

    /// Does something that uses the device, and gives the device up when that takes too long: `work` sees errors then. For who uses a
    /// device that no pool watches yet.
    pub async fn in_time<T>(&self, work: impl Future<Output = T>) -> T {
        let work = pin!(work);
        match select(work, self.flights.sleep(OPEN_TIME_MAX)).await {
            Either::Left((done, _)) => done,
            Either::Right(((), work)) => {
                self.give_up(|_| true);
                work.await
            }
        }
    }

    /// Writes and discards of this core that nobody waits for and that have not ended. While this is not 0 nothing on the device can be
    /// relied on, and nothing that was written there must be written again.
    pub fn late_changes(&self) -> Arc<AtomicU32> {
        self.flights.late_changes()
    }

    /// Counts bytes that were read well but did not match their checksum. One of them makes no device suspect.
    pub fn note_corruption(&self) {
        self.count(|stats| stats.corruptions += 1);
    }

    /// Fills the whole of `buffer` from `offset`, both in whole sectors.
    pub fn read(
        &self,
        offset: u64,
        buffer: Buffer,
    ) -> impl Future<Output = Result<Buffer, DeviceError>> + use<'_> {
        read(self, offset, buffer)
    }

    /// The same for who does not hold the device until it is done.
    pub fn read_held(
        self: Rc<Self>,
        offset: u64,
        buffer: Buffer,
    ) -> impl Future<Output = Result<Buffer, DeviceError>> + use<> {
        read(self, offset, buffer)
    }

    /// Reads `length` (> 0) bytes at `offset`, of any alignment.
    pub fn read_range(
        &self,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<View, DeviceError>> + use<'_> {
        let sector_bytes = u64::from(self.sector_bytes());
        let start = offset - offset % sector_bytes;
        let skip = (offset - start) as usize;
        let aligned_length = (skip + length).next_multiple_of(sector_bytes as usize);
        let reading = self.read(start, self.buffers.allocate(aligned_length));
        async move { Ok(reading.await?.freeze().slice(skip..skip + length)) }
    }

    /// Writes all of `data`, one view behind the other, at `offset`, both in whole sectors.
    pub fn write(
        &self,
        offset: u64,
        data: Vec<View>,
    ) -> impl Future<Output = Result<(), DeviceError>> + use<'_> {
        let length = data.iter().map(|view| view.len() as u64).sum();
        let started = self
            .admit(Operation::Write, offset, length)
            .map(|()| self.flights.begin((Operation::Write, offset, length), self.disk.write(offset, data)));
        async move { self.finish(Operation::Write, offset, length, started?.await.flatten()) }
    }

    /// Makes every write that completed before this call survive power loss. After a failure nothing is known about
    /// any write since the last flush that succeeded.
    pub fn flush(&self) -> impl Future<Output = Result<(), DeviceError>> + use<'_> {
        let started = self
            .admit(Operation::Flush, 0, 0)
            .map(|()| self.flights.begin((Operation::Flush, 0, 0), self.disk.flush()));
        async move { self.finish(Operation::Flush, 0, 0, started?.await.flatten()) }
    }

    /// Gives the space of a range back; its content is undefined afterwards.
    pub fn discard(
        &self,
        offset: u64,
        length: u64,
    ) -> impl Future<Output = Result<(), DeviceError>> + use<'_> {
        let started = self.admit(Operation::Discard, offset, length).map(|()| {
            self.flights.begin((Operation::Discard, offset, length), self.disk.discard(offset, length))
        });
        async move { self.finish(Operation::Discard, offset, length, started?.await.flatten()) }
    }

    /// Replaces the label durably: at every moment one copy on the device is valid. Not to be called twice at a time.
    /// After an error the device carries either label; the same or a later one can be tried.
    ///
    /// # Panics
    /// When the new label is not a later one of this device, breaks a rule, or moves slots.
    pub async fn write_label(&self, label: Label) -> Result<(), DeviceError> {
        let label = Rc::new(label);
        self.check_shape(&label);
        assert!(label.sequence > self.label.borrow().sequence, "labels only get newer");
        let attempt = self.attempt.replace(label.clone());
        assert!(label.sequence > attempt.sequence || label == attempt, "a sequence names one label");
        let copies = if self.doubtful_copy.get() == Some(0) { [0, 1] } else { [1, 0] };
        for (copy, next) in [(copies[0], Some(copies[1])), (copies[1], None)] {
            self.write_label_copy(&label, copy).await?;
            self.doubtful_copy.set(next);
        }
        self.adopt_label(label);
        Ok(())
    }

    /// Takes note of a label that the device carries since somebody wrote it by another way.
    ///
    /// # Panics
    /// When it is not one of this device, or moves slots.
    pub fn adopt_label(&self, label: Rc<Label>) {
        self.check_shape(&label);
        self.size_bytes.set(label.own().size_bytes);
        self.slots.set(label.own().slots);
        self.attempt.replace(label.clone());
        self.label.replace(label);
    }

    fn check_shape(&self, label: &Label) {
        assert!(label.own().device == self.id, "a device carries its own label");
        let (index, segment_bytes) = (label.device_index, label.segment_bytes);
        assert!((index, segment_bytes) == (self.index, self.segment_bytes), "slots stay in place");
        let Member { size_bytes, slots, .. } = label.own();
        assert!(*size_bytes >= self.size_bytes() && *slots >= self.slots(), "a device only grows");
    }

    /// Rewrites the copy of the label that does not say what the newest says, if there is one.
    pub(crate) async fn repair_label(&self) -> Result<(), DeviceError> {
        let Some(copy) = self.doubtful_copy.get() else { return Ok(()) };
        tracing::warn!(device = %self.id, path = %self.path.display(), copy, "a copy of the label is being repaired");
        self.write_label_copy(&self.label(), copy).await?;
        self.doubtful_copy.set(None);
        Ok(())
    }

    /// Reads both copies of the label and says which cannot be read or are not what the label is by now. A copy that is newer, that of a
    /// newer program, or that of another device is none of ours to judge.
    pub async fn damaged_label_copies(&self) -> Vec<usize> {
        let (label, mut damaged) = (self.label(), Vec::new());
        for (copy, offset) in LABEL_COPY_OFFSETS.into_iter().enumerate() {
            let is_damaged = match self.read_range(offset, LABEL_BYTES).await {
                Err(_) => true,
                Ok(bytes) => match Label::decode(&bytes) {
                    Ok(found) => found.own().device == self.id && found.sequence < label.sequence,
                    Err(LabelError::Version { .. }) => false,
                    Err(_) => true,
                },
            };
            damaged.extend(is_damaged.then_some(copy));
        }
        damaged
    }

    /// Writes the copies of the label again that are damaged, one after the other, and says how many these were. Only where labels are
    /// written, and not while one is.
    pub async fn mend_label(&self) -> Result<u64, DeviceError> {
        let damaged = self.damaged_label_copies().await;
        for &copy in &damaged {
            tracing::warn!(device = %self.id, path = %self.path.display(), copy, "a copy of the label is being repaired");
            self.write_label_copy(&self.label(), copy).await?;
            self.doubtful_copy.set(None);
        }
        Ok(damaged.len() as u64)
    }

    /// Whether its path leads to it still.
    pub async fn is_at_its_path(&self) -> io::Result<bool> {
        self.disk.is_at(&self.path).await
    }

    async fn write_label_copy(&self, label: &Label, copy: usize) -> Result<(), DeviceError> {
        self.doubtful_copy.set(Some(copy));
        let bytes = self.buffers.copy_of(&label.encode());
        self.write(LABEL_COPY_OFFSETS[copy], vec![bytes]).await?;
        self.flush().await
    }

    pub(crate) fn disk(&self) -> &Rc<dyn Disk> {
        &self.disk
    }

    /// Refuses what need not be tried.
    fn admit(&self, operation: Operation, offset: u64, length: u64) -> Result<(), DeviceError> {
        let sector_bytes = u64::from(self.sector_bytes());
        let end = offset.checked_add(length);
        let refusal = if let DeviceState::Failed(fault) = self.state.get() {
            io::Error::other(format!("the device has failed ({fault})"))
        } else if !offset.is_multiple_of(sector_bytes) || !length.is_multiple_of(sector_bytes) {
            io::Error::new(io::ErrorKind::InvalidInput, format!("not in sectors of {sector_bytes} bytes"))
        } else if end.is_none_or(|end| end > self.size_bytes()) {
            io::Error::new(io::ErrorKind::InvalidInput, format!("the device ends at {}", self.size_bytes()))
        } else {
            return Ok(());
        };
        Err(self.error(operation, offset, length, refusal))
    }

    /// Counts an operation that was tried, and turns its error into one that says where.
    pub(crate) fn finish(
        &self,
        operation: Operation,
        offset: u64,
        length: u64,
        result: io::Result<()>,
    ) -> Result<(), DeviceError> {
        if let Err(source) = result {
            self.count(|stats| stats.errors += 1);
            if self.state.get() == DeviceState::Healthy {
                self.state.set(DeviceState::Suspect(Fault { operation, offset, kind: source.kind() }));
            }
            return Err(self.error(operation, offset, length, source));
        }
        self.count(|stats| match operation {
            Operation::Read => (stats.reads, stats.read_bytes) = (stats.reads + 1, stats.read_bytes + length),
            Operation::Write => {
                (stats.writes, stats.written_bytes) = (stats.writes + 1, stats.written_bytes + length);
            }
            Operation::Flush => stats.flushes += 1,
            Operation::Discard => stats.discards += 1,
        });
        Ok(())
    }

    fn count(&self, change: impl FnOnce(&mut DeviceStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    fn error(&self, operation: Operation, offset: u64, length: u64, source: io::Error) -> DeviceError {
        DeviceError { device: self.id, path: self.path.clone(), operation, offset, length, source }
    }
}

fn read<D: Deref<Target = Device>>(
    device: D,
    offset: u64,
    buffer: Buffer,
) -> impl Future<Output = Result<Buffer, DeviceError>> + use<D> {
    let length = buffer.len() as u64;
    match device.admit(Operation::Read, offset, length) {
        Err(error) => Either::Left(ready(Err(error))),
        Ok(()) => {
            let reading = device.disk.read(offset, buffer);
            let flight = device.flights.begin((Operation::Read, offset, length), reading);
            Either::Right(flight.map(move |ended| {
                let (buffer, result) = match ended {
                    Ok((buffer, result)) => (Some(buffer), result),
                    Err(given_up) => (None, Err(given_up)),
                };
                device.finish(Operation::Read, offset, length, result)?;
                Ok(buffer.expect("what is not given up brings its buffer back"))
            }))
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("id", &self.id)
            .field("path", &self.path)
            .field("state", &self.state.get())
            .finish_non_exhaustive()
    }
}
