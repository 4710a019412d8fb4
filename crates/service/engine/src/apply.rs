//! What a record does when it counts: to the map of its volume, and to what lives.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use quarry_env::Signal;
use quarry_format::batch::VolumeHead;
use quarry_format::node::{Entry, NODE_SLOTS};
use quarry_log::{Applied, Apply};
use quarry_map::VolumeMap;
use quarry_types::limits::{BLOCK_BYTES, BLOCK_SECTORS, SECTOR_BYTES};
use quarry_types::{LogAddress, VolumeId, VolumeNumber};
use rustc_hash::FxBuildHasher;

use crate::volume::VolumeState;

/// The volumes of one log, and what the tail has done to liveness since the last checkpoint began.
#[derive(Default)]
pub(crate) struct Volumes {
    by_number: RefCell<HashMap<VolumeNumber, Rc<VolumeState>, FxBuildHasher>>,
    /// Deleted since the last checkpoint began: their maps are still to be given up.
    deleted: RefCell<Vec<Rc<VolumeState>>>,
    /// Records that live, in the order in which they counted; not in the segment table yet.
    tail_live: RefCell<Vec<(LogAddress, u32)>>,
    tail_live_sectors: Cell<u64>,
    /// Records that died in an overlay; still live in the segment table.
    dead: RefCell<Vec<(LogAddress, u32)>>,
    /// What the nodes of all maps take at most.
    map_bytes_max: Cell<u64>,
    pub(crate) next_number: Cell<u32>,
    /// Raised when something died or a volume went, so that space may be gained.
    pub(crate) freed: Signal,
}

impl Volumes {
    /// Every volume, by number.
    pub(crate) fn all(&self) -> Vec<Rc<VolumeState>> {
        let mut all: Vec<_> = self.by_number.borrow().values().cloned().collect();
        all.sort_by_key(|volume| volume.number);
        all
    }

    pub(crate) fn get(&self, number: VolumeNumber) -> Option<Rc<VolumeState>> {
        self.by_number.borrow().get(&number).cloned()
    }

    pub(crate) fn find(&self, id: VolumeId) -> Option<Rc<VolumeState>> {
        self.by_number.borrow().values().find(|volume| volume.id == id).cloned()
    }

    pub(crate) fn insert(&self, head: VolumeHead, map: VolumeMap) {
        self.next_number.set(self.next_number.get().max(head.number.0 + 1));
        self.map_bytes_max.set(self.map_bytes_max.get() + map_bytes_max(head.size_bytes));
        let volume = Rc::new(VolumeState::new(head, map));
        self.by_number.borrow_mut().insert(volume.number, volume);
    }

    pub(crate) fn overlay_bytes(&self) -> usize {
        let overlays: usize = self.by_number.borrow().values().map(|volume| volume.map.overlay_bytes()).sum();
        let lists = self.tail_live.borrow().len() + self.dead.borrow().len();
        overlays + lists * size_of::<(LogAddress, u32)>()
    }

    /// Bytes that the nodes of all maps take at most, with the headers of their batches: what one checkpoint can write.
    pub(crate) fn map_bytes_max(&self) -> u64 {
        self.map_bytes_max.get()
    }

    pub(crate) fn tail_live_bytes(&self) -> u64 {
        self.tail_live_sectors.get() * SECTOR_BYTES as u64
    }

    /// What a checkpoint that begins now takes over.
    pub(crate) fn take_tail(&self) -> Tail {
        self.tail_live_sectors.set(0);
        Tail { live: self.tail_live.take(), dead: self.dead.take(), deleted: self.deleted.take() }
    }

    /// Gives back what a checkpoint that failed had taken.
    pub(crate) fn put_back_tail(&self, tail: Tail) {
        let sectors: u64 = tail.live.iter().map(|(_, sectors)| u64::from(*sectors)).sum();
        self.tail_live_sectors.set(self.tail_live_sectors.get() + sectors);
        prepend(&self.tail_live, tail.live);
        prepend(&self.dead, tail.dead);
        prepend(&self.deleted, tail.deleted);
    }

    fn record_live(&self, address: LogAddress, sectors: u32) {
        let mut live = self.tail_live.borrow_mut();
        self.tail_live_sectors.set(self.tail_live_sectors.get() + u64::from(sectors));
        if let Some((start, length)) = live.last_mut()
            && start.0 + u64::from(*length) == address.0
            && start.segment() == address.segment()
        {
            *length += sectors;
        } else {
            live.push((address, sectors));
        }
    }

    fn write(&self, volume: VolumeNumber, first_block: u64, entry: Entry, checksums: &[u32]) {
        let Some(volume) = self.get(volume) else { return };
        self.record_live(entry.address, BLOCK_SECTORS * checksums.len() as u32);
        let entries = checksums.iter().zip(0..).map(|(&checksum, index)| Entry {
            address: entry.address.plus(BLOCK_SECTORS * index),
            checksum,
            ..entry
        });
        let mut dead = self.dead.borrow_mut();
        let died = |old: Entry| dead.push((old.address, u32::from(old.stored_sectors)));
        volume.map.insert_run(first_block, entries, died);
    }

    fn zero(&self, volume: VolumeNumber, first_block: u64, blocks: u64) {
        let Some(volume) = self.get(volume) else { return };
        let mut dead = self.dead.borrow_mut();
        volume.map.unmap(first_block..first_block + blocks, &mut |old: Entry| {
            dead.push((old.address, u32::from(old.stored_sectors)));
        });
        self.freed.raise();
    }
}

/// Bytes that the nodes of a map over so many bytes take at most: a leaf for each group of blocks, a node for each group
/// of nodes, and a sixteenth for the headers of the batches.
fn map_bytes_max(size_bytes: u64) -> u64 {
    let mut nodes = 0;
    let mut below = size_bytes.div_ceil(BLOCK_BYTES as u64);
    while below > 1 || nodes == 0 {
        below = below.div_ceil(NODE_SLOTS as u64).max(1);
        nodes += below;
    }
    nodes * BLOCK_BYTES as u64 / 16 * 17
}

/// What the tail has done since the checkpoint before.
pub(crate) struct Tail {
    pub(crate) live: Vec<(LogAddress, u32)>,
    pub(crate) dead: Vec<(LogAddress, u32)>,
    pub(crate) deleted: Vec<Rc<VolumeState>>,
}

fn prepend<T>(list: &RefCell<Vec<T>>, mut first: Vec<T>) {
    let mut list = list.borrow_mut();
    first.append(&mut list);
    *list = first;
}

impl Apply for Volumes {
    fn apply(&self, applied: Applied<'_>) {
        match applied {
            Applied::Write { volume, first_block, address, birth, key, checksums } => {
                let stored_sectors = (BLOCK_BYTES / SECTOR_BYTES) as u8;
                let entry = Entry { address, checksum: 0, birth, key, stored_sectors, flags: 0 };
                self.write(volume, first_block, entry, checksums);
            }
            Applied::Zero { volume, first_block, blocks } => self.zero(volume, first_block, blocks),
            Applied::VolumeCreate(head) => {
                if self.get(head.number).is_none() {
                    self.insert(head.clone(), VolumeMap::new(head.id, None));
                }
            }
            Applied::VolumeResize { volume, size_bytes } => {
                if let Some(volume) = self.get(volume) {
                    let before = std::mem::replace(&mut volume.head.borrow_mut().size_bytes, size_bytes);
                    let others = self.map_bytes_max.get() - map_bytes_max(before);
                    self.map_bytes_max.set(others + map_bytes_max(size_bytes));
                }
            }
            Applied::VolumeDelete { volume } => {
                let removed = self.by_number.borrow_mut().remove(&volume);
                if let Some(volume) = removed {
                    let bytes = map_bytes_max(volume.head.borrow().size_bytes);
                    self.map_bytes_max.set(self.map_bytes_max.get() - bytes);
                    volume.deleted.set(true);
                    self.deleted.borrow_mut().push(volume);
                    self.freed.raise();
                }
            }
        }
    }
}
