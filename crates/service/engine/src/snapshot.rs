//! A snapshot: its place in the tree of snapshots, and what protocols serve of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use quarry_format::record::{SnapshotHead, VolumeHead};
use quarry_map::{Version, VolumeMap};
use quarry_types::limits::BLOCK_BYTES;
use quarry_types::{SnapshotCounter, SnapshotId, VolumeId, VolumeSettings};

use crate::volume::VolumeState;

/// A snapshot of one volume of a log.
pub(crate) struct SnapshotState {
    pub(crate) number: SnapshotCounter,
    pub(crate) id: SnapshotId,
    pub(crate) head: RefCell<SnapshotHead>,
    /// The snapshot before it in its line, 0 for none.
    pub(crate) parent: Cell<SnapshotCounter>,
    pub(crate) version: Rc<Version>,
    /// It as a volume that nobody writes to.
    pub(crate) reader: Rc<VolumeState>,
}

impl SnapshotState {
    pub(crate) fn new(
        head: SnapshotHead,
        owner: &str,
        version: Rc<Version>,
        parent: SnapshotCounter,
    ) -> Self {
        let as_volume = VolumeHead {
            number: head.volume,
            id: VolumeId(head.id.0),
            name: format!("{owner}@{}", head.name),
            size_bytes: head.size_bytes,
            settings: VolumeSettings::default(),
            key: head.key,
            created_s: head.created_s,
        };
        let reader = VolumeState::read_only(as_volume, VolumeMap::new(version.clone()), parent);
        reader.deleted.set(head.hidden);
        Self {
            number: head.number,
            id: head.id,
            head: RefCell::new(head),
            parent: Cell::new(parent),
            version,
            reader: Rc::new(reader),
        }
    }

    /// Its owner does not have it any more, and nobody reads it.
    pub(crate) fn hide(&self) {
        self.head.borrow_mut().hidden = true;
        self.reader.deleted.set(true);
    }

    pub(crate) fn referenced_bytes(&self) -> u64 {
        (self.version.mapped_blocks() + self.version.pending_entries() as u64) * BLOCK_BYTES as u64
    }
}
