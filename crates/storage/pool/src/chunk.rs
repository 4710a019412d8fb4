//! A chunk: the same bytes in one slot on each of several devices.
//!
//! When a chunk is to lie on other devices, a successor with the same id takes its place in the tables. It owns the slots that both
//! have; the old one keeps the others until its last reader is gone, and its successor alive as long.
//!
//! A chunk of a [`Group`] has one copy; the rest of what keeps it are the other chunks of its group.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use quarry_format::anchor::{Placement, Slot};
use quarry_format::image::ImageChunk;
use quarry_types::{ChunkId, LogId};
use smallvec::SmallVec;

use crate::{Group, Heat, Pool, PoolShared, Purpose};

/// Copies of nearly every chunk, at most: more of them lie on the heap, to keep what every read carries small.
const SLOTS_INLINE: usize = 3;
/// The places of a chunk's copies.
pub type Slots = SmallVec<[Slot; SLOTS_INLINE]>;

/// A chunk of a pool. Dropping the last reference gives its slots back.
pub struct Chunk {
    log: LogId,
    id: ChunkId,
    slots: RefCell<Slots>,
    /// Sector and bytes of the table of a packed chunk; zeroes for a segment as it was written.
    pub packed_table: Cell<(u32, u32)>,
    /// The log's count of segments when it was filled; 0 before.
    pub sealed_at: Cell<u64>,
    /// [`Self::packed_table`] as the durable image has it.
    pub(crate) durable_table: Cell<Option<(u32, u32)>>,
    /// The group to which it belongs.
    group: RefCell<Weak<Group>>,
    /// How much it is read.
    pub heat: Heat,
    /// Who has taken its place, and the slots that it has left.
    successor: OnceCell<(Rc<Chunk>, Slots)>,
    shared: Arc<PoolShared>,
}

impl Chunk {
    /// A new chunk of `copies` copies, or `None` when the pool is full.
    pub(crate) fn allocate(
        shared: &Arc<PoolShared>,
        log: LogId,
        id: ChunkId,
        (copies, purpose, tier): (usize, Purpose, u8),
    ) -> Option<Self> {
        let slots = shared.allocate(log, (purpose, tier), copies);
        (!slots.is_empty()).then(|| Self::with_slots(shared, (log, id), &slots))
    }

    /// The chunk that an image names and whose slots were claimed when the pool was opened.
    pub(crate) fn adopt(shared: &Arc<PoolShared>, log: LogId, placement: &Placement) -> Self {
        Self::with_slots(shared, (log, placement.chunk), &placement.slots)
    }

    pub(crate) fn with_slots(shared: &Arc<PoolShared>, (log, id): (LogId, ChunkId), slots: &[Slot]) -> Self {
        Self {
            log,
            id,
            slots: RefCell::new(Slots::from_slice(slots)),
            packed_table: Cell::default(),
            sealed_at: Cell::default(),
            durable_table: Cell::default(),
            group: RefCell::default(),
            heat: Heat::default(),
            successor: OnceCell::new(),
            shared: shared.clone(),
        }
    }

    pub(crate) fn log(&self) -> LogId {
        self.log
    }

    /// Its id, never used again.
    pub fn id(&self) -> ChunkId {
        self.id
    }

    /// Whether the durable image names it as it is, with its table.
    pub fn is_recorded(&self) -> bool {
        self.durable_table.get() == Some(self.packed_table.get())
    }

    /// The group to which it belongs, if it is coded.
    pub fn group(&self) -> Option<Rc<Group>> {
        self.group.borrow().upgrade()
    }

    /// Whether it is coded.
    pub fn is_coded(&self) -> bool {
        self.group.borrow().strong_count() > 0
    }

    pub(crate) fn set_group(&self, group: &Rc<Group>) {
        self.group.replace(Rc::downgrade(group));
    }

    /// It has copies again.
    pub(crate) fn leave_group(&self) {
        self.group.take();
    }

    /// Where its copies are.
    pub fn slots(&self) -> Slots {
        self.slots.borrow().clone()
    }

    /// Whether a copy is on this device.
    pub fn is_on(&self, device: u16) -> bool {
        self.slots.borrow().iter().any(|slot| slot.device == device)
    }

    /// The slots that are free when it is dropped.
    pub(crate) fn owned_slots(&self) -> Slots {
        self.successor.get().map_or_else(|| self.slots(), |(_, left)| left.clone())
    }

    /// Copies on devices that are in use.
    pub fn healthy_copies(&self) -> usize {
        self.slots.borrow().iter().filter(|slot| !self.shared.is_failed(slot.device)).count()
    }

    /// Copies on devices that new chunks are placed on, too.
    pub fn staying_copies(&self) -> usize {
        self.slots.borrow().iter().filter(|slot| self.shared.is_staying(slot.device)).count()
    }

    /// The same chunk on the devices of `slots`, some of which it has already, to take its place. What it has besides is free when it
    /// is dropped.
    pub(crate) fn succeed(self: &Rc<Self>, slots: &[Slot]) -> Rc<Self> {
        let next = Rc::new(Self::with_slots(&self.shared, (self.log, self.id), slots));
        next.packed_table.set(self.packed_table.get());
        next.sealed_at.set(self.sealed_at.get());
        next.durable_table.set(self.durable_table.get());
        next.group.replace(self.group.borrow().clone());
        next.heat.take_over(&self.heat);
        let left = self.slots().into_iter().filter(|slot| !slots.contains(slot)).collect();
        assert!(self.successor.set((next.clone(), left)).is_ok(), "a chunk is succeeded once");
        next
    }

    /// Gives up the copy on `device`, whose content cannot be relied on. The last copy is kept, such as it is. The slot is free when
    /// the log has committed next.
    pub fn drop_copy(&self, device: u16) {
        if let Some((next, _)) = self.successor.get() {
            return next.drop_copy(device);
        }
        let mut slots = self.slots.borrow_mut();
        if slots.len() > 1
            && let Some(index) = slots.iter().position(|slot| slot.device == device)
        {
            let slot = slots.remove(index);
            self.shared.give_up(self.log, slot);
        }
    }

    /// What an image or an anchor says of it.
    pub fn placement(&self) -> Placement {
        Placement { chunk: self.id, slots: self.slots().into_vec() }
    }

    pub(crate) fn image(&self) -> ImageChunk {
        let (packed_table, sealed_at) = (self.packed_table.get(), self.sealed_at.get());
        ImageChunk { placement: self.placement(), packed_table, sealed_at }
    }

    /// The slot to read first: on a device in use, and for many chunks spread over all of them.
    pub(crate) fn read_order(&self, pool: &Pool) -> Slots {
        let slots = self.slots.borrow();
        let mut order = slots.clone();
        if order.len() == 1 {
            return order;
        }
        order.sort_by_key(|slot| {
            let busy = pool.reads_in_flight(slot.device);
            let failed = pool.shared.is_failed(slot.device);
            let avoided = pool.shared.is_avoided(slot.device);
            (failed, avoided, busy, (self.id.0 + u64::from(slot.device)) % slots.len() as u64)
        });
        order
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let slots = match self.successor.take() {
            Some((_, left)) => left,
            None => std::mem::take(self.slots.get_mut()),
        };
        self.shared.free(self.log, slots);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use quarry_format::label::DeviceClass;
    use quarry_types::{DeviceId, Incarnation, PoolId, Protection};

    use super::*;
    use crate::policies::Policies;
    use crate::{DeviceStatus, Geometry};

    #[test]
    fn the_slot_of_a_copy_that_was_given_up_is_taken_until_the_next_commit() {
        let device = |index: u16| {
            let (id, path) = (DeviceId::from_random(u128::from(index)), PathBuf::from("/dev/x"));
            DeviceStatus { index, id, path, slots: 4, class: DeviceClass::Ssd, leaving: false, failure: None }
        };
        let geometry = Geometry { granule_bytes: 4096, segment_bytes: 1 << 20 };
        let devices = vec![device(0), device(1)];
        let shared = Arc::new(PoolShared::new(
            PoolId::from_random(1),
            "tank".to_owned(),
            Policies::new(Protection::Copies(2)),
            geometry,
            devices,
        ));
        let (log, other) = (LogId(1), LogId(2));
        let chunk = |slots: &[Slot]| {
            let id = ChunkId::new(log, Incarnation(1), 0);
            Chunk::with_slots(&shared, (log, id), slots)
        };
        let slots = [0, 1].map(|device| Slot { device, index: 2 });
        assert!(slots.iter().all(|&slot| shared.allocator().claim(slot)));
        let chunk = chunk(&slots);
        chunk.drop_copy(0);
        assert_eq!((chunk.slots().len(), shared.used_slots(0)), (1, 1), "an image may name it");
        assert_eq!((shared.given_up_by(log), shared.given_up_by(other)), (vec![slots[0]], vec![]));
        chunk.drop_copy(1);
        assert_eq!(chunk.slots().len(), 1, "the last copy is kept");
        shared.free(log, shared.take_given_up(log));
        assert_eq!((shared.used_slots(0), shared.used_slots(1)), (0, 1));
    }
}
