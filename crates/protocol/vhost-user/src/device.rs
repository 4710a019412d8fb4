//! What the queues of one connection share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use quarry_env::{Env, PeerEvent, Signal};
use quarry_target::{Member, Session, Share};
use quarry_volume::{Volume, WriteFlags};

use crate::config::{self, SERIAL_BYTES};
use crate::memory::{GuestMap, MemoryTable};

/// A device, as long as its front end is connected.
pub(crate) struct Device {
    pub(crate) env: Env,
    pub(crate) volume: Rc<dyn Volume>,
    pub(crate) session: Session,
    /// Its place among those who reserve the volume.
    pub(crate) member: Member,
    pub(crate) share: Share,
    pub(crate) read_only: bool,
    pub(crate) serial: [u8; SERIAL_BYTES],
    pub(crate) memory: RefCell<MemoryTable>,
    /// The size of the volume when it was last looked at; it only grows.
    pub(crate) size_bytes: Cell<u64>,
    /// What the driver has acknowledged.
    pub(crate) features: Cell<u64>,
    /// Whether the driver lets writes be held back until a flush.
    pub(crate) writeback: Cell<bool>,
}

impl Device {
    pub(crate) fn map(&self) -> Rc<GuestMap> {
        self.memory.borrow().map.clone()
    }

    /// Whether the volume reaches as far as `end`.
    pub(crate) fn reaches(&self, end: u64) -> bool {
        if end > self.size_bytes.get() {
            self.size_bytes.set(self.volume.info().size_bytes);
        }
        end <= self.size_bytes.get()
    }

    /// How writes are to be done: a driver that does not flush, or does not want writes held back, finds each one safe.
    pub(crate) fn write_flags(&self) -> WriteFlags {
        WriteFlags { fua: !self.writeback.get() || !config::has_flush(self.features.get()) }
    }
}

/// What the control socket tells a queue that runs.
pub(crate) struct Handle {
    /// The driver's signal that requests are there.
    pub(crate) kick: Rc<dyn PeerEvent>,
    /// Our signal that answers are there.
    pub(crate) call: RefCell<Option<Rc<dyn PeerEvent>>>,
    /// Our signal that the queue is broken.
    pub(crate) error: RefCell<Option<Rc<dyn PeerEvent>>>,
    /// Whether requests may be taken.
    pub(crate) is_enabled: Cell<bool>,
    /// Set when the queue is to end what it has begun and stop.
    pub(crate) is_stopping: Cell<bool>,
    /// Raised with each change of the two.
    pub(crate) changed: Signal,
}
