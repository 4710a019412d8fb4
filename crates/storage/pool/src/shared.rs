//! What all cores know of a pool, and one core's way to its devices.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::future::join_all;
use quarry_device::Device;
use quarry_env::{Env, View};
use quarry_format::anchor::Slot;
use quarry_types::limits::SECTOR_BYTES;
use quarry_types::{DeviceId, LogId, PoolId};

use crate::stakes::{Need, Purpose, Stakes};
use crate::{Allocator, Chunk};

/// A device that fails this many reads in a row, without a good one between them, is taken out of use.
const READ_ERRORS_MAX: u32 = 32;

/// The sizes by which a pool is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Batches and chunks are padded to this many bytes, and device reads and writes are multiples of it.
    pub granule_bytes: u32,
    /// Bytes of a segment, of a chunk and of a slot.
    pub segment_bytes: u64,
}

impl Geometry {
    /// Sectors of a granule.
    pub fn granule_sectors(&self) -> u32 {
        self.granule_bytes / SECTOR_BYTES as u32
    }

    /// Sectors of a segment.
    pub fn segment_sectors(&self) -> u32 {
        (self.segment_bytes / SECTOR_BYTES as u64) as u32
    }
}

/// A device as the pool sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceStatus {
    /// Index in the pool.
    pub index: u16,
    /// Its id.
    pub id: DeviceId,
    /// Where it was opened, or was last seen.
    pub path: PathBuf,
    /// Slots that it has.
    pub slots: u32,
    /// Why it is out of use, if it is.
    pub failure: Option<String>,
}

struct DeviceShared {
    status: Mutex<DeviceStatus>,
    failed: AtomicBool,
    read_errors: AtomicU32,
}

/// What all cores know of a pool.
pub struct PoolShared {
    /// Its id.
    pub id: PoolId,
    /// Its name.
    pub name: String,
    /// Copies of each chunk.
    pub copies: usize,
    /// Its sizes.
    pub geometry: Geometry,
    allocator: Mutex<Allocator>,
    devices: Vec<DeviceShared>,
    stakes: Mutex<Stakes>,
    closing: AtomicBool,
}

/// Space of a pool in chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Chunks that fit on the usable devices.
    pub total_chunks: u64,
    /// Chunks that can still be allocated.
    pub free_chunks: u64,
}

impl PoolShared {
    pub(crate) fn new(
        id: PoolId,
        name: String,
        copies: usize,
        geometry: Geometry,
        devices: Vec<DeviceStatus>,
    ) -> Self {
        let slots = devices.iter().map(|device| device.failure.is_none().then_some(device.slots));
        let allocator = Mutex::new(Allocator::new(slots));
        let devices = devices
            .into_iter()
            .map(|status| DeviceShared {
                failed: AtomicBool::new(status.failure.is_some()),
                status: Mutex::new(status),
                read_errors: AtomicU32::new(0),
            })
            .collect();
        Self {
            id,
            name,
            copies,
            geometry,
            allocator,
            devices,
            stakes: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    pub(crate) fn allocator(&self) -> MutexGuard<'_, Allocator> {
        self.allocator.lock().expect("the allocator's assertions end the process")
    }

    /// Space in chunks.
    pub fn capacity(&self) -> Capacity {
        let allocator = self.allocator();
        Capacity {
            total_chunks: allocator.total_chunks(self.copies),
            free_chunks: allocator.free_chunks(self.copies),
        }
    }

    fn stakes(&self) -> MutexGuard<'_, Stakes> {
        self.stakes.lock().expect("no panic under it")
    }

    /// How many chunks the hosts of `log` may take, which needs `need` itself and holds `ready` chunks; other logs count
    /// on the rest. 0 or less when they may take none. A log that is not alone gets `share_max` at most.
    pub fn renew_stake(&self, log: LogId, need: Need, ready: u64, share_max: Option<u64>) -> i64 {
        let mut stakes = self.stakes();
        stakes.renew(log, need, (self.capacity().free_chunks, ready), share_max)
    }

    /// Chunks that `log` may take for `purpose` now.
    pub fn spare_chunks(&self, log: LogId, purpose: Purpose) -> u64 {
        self.stakes().spare(log, purpose, self.capacity().free_chunks)
    }

    /// Slots for a chunk, if `log` may have one for `purpose`; none otherwise. Logs that ask at the same time do not both
    /// get what is there for one of them.
    pub(crate) fn allocate(&self, log: LogId, purpose: Purpose, copies: usize) -> Vec<Slot> {
        let mut stakes = self.stakes();
        let before = self.capacity().free_chunks;
        if stakes.spare(log, purpose, before) == 0 {
            return Vec::new();
        }
        let slots = self.allocator().allocate(copies);
        stakes.take(log, before as i64 - self.capacity().free_chunks as i64);
        slots
    }

    /// Gives the slots of a chunk of `log` back.
    pub(crate) fn free(&self, log: LogId, slots: impl IntoIterator<Item = Slot>) {
        let mut stakes = self.stakes();
        let before = self.capacity().free_chunks;
        slots.into_iter().for_each(|slot| self.release(slot));
        stakes.take(log, before as i64 - self.capacity().free_chunks as i64);
    }

    /// Free chunks that no log counts on.
    pub fn unclaimed_chunks(&self) -> u64 {
        self.stakes().unclaimed(self.capacity().free_chunks)
    }

    /// Asks the other logs to look for space, because hosts of this one wait. The answer is the number of the request.
    pub fn want_space(&self) -> u64 {
        self.stakes().want()
    }

    /// The number of the newest [`Self::want_space`].
    pub fn wanted_space(&self) -> u64 {
        self.stakes().wanted()
    }

    /// `log` has looked for space since a request and found no more.
    pub fn note_looked(&self, log: LogId, request: u64) {
        self.stakes().note_looked(log, request);
    }

    /// Whether every log but `log` has looked for space since a request.
    pub fn have_others_looked(&self, log: LogId, request: u64) -> bool {
        self.stakes().have_others_looked(log, request)
    }

    /// How many logs have told what they count on.
    pub fn staked_logs(&self) -> usize {
        self.stakes().logs()
    }

    /// Chunks that the checkpoints and the cleaners of all logs need at most.
    pub fn needed_chunks(&self) -> u64 {
        self.stakes().need()
    }

    /// Copies that a new chunk gets: those asked for, or as many as there are usable devices.
    pub fn copies_now(&self) -> usize {
        self.placed_copies(self.copies)
    }

    /// How many of so many copies a new chunk gets.
    pub(crate) fn placed_copies(&self, copies: usize) -> usize {
        copies.min(self.allocator().usable_devices())
    }

    /// The pool is being closed, log by log: from now on a chunk whose owner goes away keeps its slots, because the
    /// owner's durable image still names it and another log may be about to allocate.
    pub fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Gives a slot back.
    pub(crate) fn release(&self, slot: Slot) {
        if !self.closing.load(Ordering::Acquire) {
            self.allocator().release(slot);
        }
    }

    /// Slots of a device that are taken.
    pub fn used_slots(&self, device: u16) -> u64 {
        self.allocator().used_slots(usize::from(device))
    }

    /// What it means for new data that devices are out of use; `None` when it means nothing.
    pub fn degraded_reason(&self) -> Option<String> {
        let copies = self.copies_now();
        (copies < self.copies)
            .then(|| format!("new data gets {copies} of {} copies, for want of devices in use", self.copies))
    }

    /// Its devices and what is wrong with them.
    pub fn devices(&self) -> Vec<DeviceStatus> {
        self.devices.iter().map(|device| device.status.lock().expect("no panic under it").clone()).collect()
    }

    /// Whether a device is out of use.
    pub fn is_failed(&self, device: u16) -> bool {
        self.devices[usize::from(device)].failed.load(Ordering::Relaxed)
    }

    /// Takes a device out of use; says it once.
    pub fn fail_device(&self, device: u16, reason: String) {
        let shared = &self.devices[usize::from(device)];
        if shared.failed.swap(true, Ordering::Relaxed) {
            return;
        }
        self.allocator().retire_device(usize::from(device));
        let mut status = shared.status.lock().expect("no panic under it");
        tracing::error!(
            pool = %self.name, device = %status.id, path = %status.path.display(), reason,
            "device taken out of use; the pool goes on without it"
        );
        status.failure = Some(reason);
    }

    /// Counts the outcome of a read; many failures in a row take the device out of use.
    pub(crate) fn note_read(&self, device: u16, error: Option<&dyn std::error::Error>) {
        let errors = &self.devices[usize::from(device)].read_errors;
        match error {
            None => {
                if errors.load(Ordering::Relaxed) != 0 {
                    errors.store(0, Ordering::Relaxed);
                }
            }
            Some(error) => {
                if errors.fetch_add(1, Ordering::Relaxed) + 1 >= READ_ERRORS_MAX {
                    self.fail_device(device, format!("{READ_ERRORS_MAX} reads in a row failed: {error}"));
                }
            }
        }
    }
}

/// One core's way to the devices of a pool.
pub struct Pool {
    /// The core's world.
    pub env: Env,
    /// What all cores know.
    pub shared: Arc<PoolShared>,
    devices: Vec<Option<Rc<Device>>>,
    reads_in_flight: Vec<Cell<u32>>,
}

impl Pool {
    /// The pool on this core; `None` for a device that is not there.
    pub fn new(env: Env, shared: Arc<PoolShared>, devices: Vec<Option<Rc<Device>>>) -> Self {
        let reads_in_flight = devices.iter().map(|_| Cell::new(0)).collect();
        Self { env, shared, devices, reads_in_flight }
    }

    /// Reads of this core that a device has not answered yet.
    pub(crate) fn reads_in_flight(&self, device: u16) -> u32 {
        self.reads_in_flight[usize::from(device)].get()
    }

    pub(crate) fn count_read(&self, device: u16, begun: bool) {
        let count = &self.reads_in_flight[usize::from(device)];
        count.set(if begun { count.get() + 1 } else { count.get() - 1 });
    }

    /// A device, if it is there; it may have failed.
    pub fn device(&self, index: u16) -> Option<&Rc<Device>> {
        self.devices.get(usize::from(index))?.as_ref()
    }

    /// The devices that are in use, with their indexes.
    pub fn healthy_devices(&self) -> impl Iterator<Item = (u16, &Rc<Device>)> {
        self.devices.iter().enumerate().filter_map(|(index, device)| {
            let index = index as u16;
            device.as_ref().filter(|_| !self.shared.is_failed(index)).map(|device| (index, device))
        })
    }

    /// The sizes by which the pool is cut.
    pub fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    /// The device, unless it is out of use.
    fn usable(&self, index: u16) -> Option<&Rc<Device>> {
        self.device(index).filter(|_| !self.shared.is_failed(index))
    }

    /// Writes `data` at `offset` bytes of every copy. Devices that fail are out of use afterwards and are returned, as
    /// are those that were out of use before; the write counts as done on the others.
    pub async fn write_copies(&self, chunk: &Chunk, offset: u64, data: &[View]) -> Vec<u16> {
        let writes = chunk.slots().into_iter().map(async |slot| {
            let result = match self.usable(slot.device) {
                Some(device) => device.write(device.slot_offset(slot.index) + offset, data.to_vec()).await,
                None => return Some(slot.device),
            };
            let error = result.err()?;
            self.shared.fail_device(slot.device, format!("write failed: {error}"));
            Some(slot.device)
        });
        join_all(writes).await.into_iter().flatten().collect()
    }

    /// Flushes the devices in `devices`. Those that fail are out of use afterwards and are returned, as are those that
    /// were out of use before or have become so meanwhile: an error that another log's flush was told of is not told
    /// again, and a flush that succeeds after it covers nothing that was written before it.
    pub async fn flush(&self, devices: &BTreeSet<u16>) -> Vec<u16> {
        let flushes = devices.iter().map(async |&index| {
            let result = match self.usable(index) {
                Some(device) => device.flush().await,
                None => return Some(index),
            };
            if let Err(error) = result {
                self.shared.fail_device(index, format!("flush failed: {error}"));
            }
            self.shared.is_failed(index).then_some(index)
        });
        join_all(flushes).await.into_iter().flatten().collect()
    }
}
