//! One core's way to the devices of a pool.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use futures::future::join_all;
use futures::lock::Mutex;
use quarry_device::{Device, DeviceFigures};
use quarry_env::{Env, Passed, Turns, View, Work};
use quarry_types::limits::DEVICES_MAX;

use crate::watch::Watch;
use crate::{Chunk, Geometry, PoolShared};

/// One core's way to the devices of a pool.
pub struct Pool {
    /// The core's world.
    pub env: Env,
    /// What all cores know.
    pub shared: Arc<PoolShared>,
    devices: RefCell<Vec<Option<Rc<Device>>>>,
    reads_in_flight: Vec<Cell<u32>>,
    /// Held by who writes labels.
    pub(crate) labels: Mutex<()>,
    /// Who says when background work may go on.
    turns: RefCell<Option<Rc<dyn Turns>>>,
    pub(crate) watch: Watch,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.board.forget_way(self.watch.way);
    }
}

impl Pool {
    /// The pool on this core; `None` for a device that is not there.
    pub fn new(env: Env, shared: Arc<PoolShared>, mut devices: Vec<Option<Rc<Device>>>) -> Self {
        devices.resize(DEVICES_MAX, None);
        let reads_in_flight = devices.iter().map(|_| Cell::new(0)).collect();
        devices
            .iter()
            .flatten()
            .for_each(|device| shared.board.count_late(device.id(), device.late_changes()));
        let watch = Watch::new(&shared);
        let (labels, turns) = (Mutex::new(()), RefCell::default());
        Self { env, shared, devices: RefCell::new(devices), reads_in_flight, labels, turns, watch }
    }

    /// Background work on the pool takes turns from now on.
    pub fn set_turns(&self, turns: Rc<dyn Turns>) {
        *self.turns.borrow_mut() = Some(turns);
    }

    /// Waits until background work that moves so many bytes may go on. The answer is to be kept until it has.
    pub async fn turn(&self, work: Work, bytes: u64) -> Option<Passed> {
        let turn = self.turns.borrow().as_ref()?.turn(work, bytes)?;
        Some(turn.await)
    }

    /// Hosts wait for what background work gains, or holds.
    pub fn hurry(&self) {
        if let Some(turns) = &*self.turns.borrow() {
            turns.hurry();
        }
    }

    /// Puts a device there that has joined or come back, or takes it away.
    pub(crate) fn set_device(&self, index: u16, device: Option<Rc<Device>>) {
        if let Some(device) = &device {
            self.shared.board.count_late(device.id(), device.late_changes());
        }
        self.devices.borrow_mut()[usize::from(index)] = device;
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
    pub fn device(&self, index: u16) -> Option<Rc<Device>> {
        self.devices.borrow().get(usize::from(index))?.clone()
    }

    /// The devices that are there, in use or not, with their indexes.
    pub(crate) fn devices(&self) -> Vec<(u16, Rc<Device>)> {
        let devices = self.devices.borrow();
        let there = (0..).zip(devices.iter()).filter_map(|(index, device)| Some((index, device.clone()?)));
        there.collect()
    }

    /// The devices that are in use, with their indexes.
    pub fn healthy_devices(&self) -> Vec<(u16, Rc<Device>)> {
        (0..DEVICES_MAX as u16).filter_map(|index| Some((index, self.usable(index)?))).collect()
    }

    /// What this core has done with each device, by index.
    pub fn device_figures(&self) -> Vec<(u16, DeviceFigures)> {
        (0..DEVICES_MAX as u16).filter_map(|index| Some((index, self.device(index)?.figures()))).collect()
    }

    /// The sizes by which the pool is cut.
    pub fn geometry(&self) -> Geometry {
        self.shared.geometry
    }

    /// The device, unless it is out of use.
    fn usable(&self, index: u16) -> Option<Rc<Device>> {
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
            let failures = self.shared.failures_of(index);
            let result = match self.usable(index) {
                Some(device) => device.flush().await,
                None => return Some(index),
            };
            if let Err(error) = result {
                self.shared.fail_device(index, format!("flush failed: {error}"));
            }
            // It may be back already.
            (self.shared.failures_of(index) != failures).then_some(index)
        });
        join_all(flushes).await.into_iter().flatten().collect()
    }
}
