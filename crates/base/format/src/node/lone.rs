//! References to nodes, and leaves of one entry that are nothing but a reference.

use quarry_types::{KeyId, LogAddress, SnapshotCounter, Tag};

use super::{Entry, Leaf, Mapped, Method, NodeRef};

/// Where [`NodeRef::detail`] of a lone block has its parts; 0 is the slot.
pub(super) const STORED_SECTORS_SHIFT: u32 = 8;
pub(super) const METHOD_SHIFT: u32 = 16;
/// What it has of them in all.
pub(super) const LONE_BITS: u32 = 24;

impl NodeRef {
    /// A node that was written as a record. Its checksum and address come later.
    pub fn stored(level: u8, sectors: u8, birth: SnapshotCounter, mapped: u64) -> Self {
        debug_assert!(sectors > 0);
        Self { address: LogAddress(0), checksum: 0, birth, detail: mapped, sectors, level }
    }

    /// What stands for a leaf if its only entry is of a clear block.
    pub fn of_lone(leaf: &Leaf) -> Option<Self> {
        let (slot, entry) = leaf.entries.iter().next().filter(|_| leaf.entries.len() == 1)?;
        let how = u64::from(entry.stored_sectors) << STORED_SECTORS_SHIFT
            | u64::from(entry.method as u8) << METHOD_SHIFT;
        let Entry { address, checksum, birth, .. } = *entry;
        let lone = Self { address, checksum, birth, detail: slot as u64 | how, sectors: 0, level: 0 };
        (!entry.is_encrypted()).then_some(lone)
    }

    /// Whether it is a leaf of one entry, which is not written as a node.
    pub fn is_lone(&self) -> bool {
        self.sectors == 0
    }

    /// Slot and entry of a leaf that is not written as a node.
    pub fn lone(&self) -> Option<(usize, Mapped)> {
        if !self.is_lone() {
            return None;
        }
        let byte = |shift: u32| (self.detail >> shift) as u8;
        let entry = Entry {
            address: self.address,
            checksum: self.checksum,
            birth: self.birth,
            key: KeyId(0),
            stored_sectors: byte(STORED_SECTORS_SHIFT),
            method: Method::from_number(byte(METHOD_SHIFT)).expect("it is of an entry"),
        };
        Some((usize::from(byte(0)), Mapped { entry, tag: Tag::NONE }))
    }

    /// Data blocks mapped below it, 1 to [`super::span_blocks`] of its level.
    pub fn mapped(&self) -> u64 {
        if self.is_lone() { 1 } else { self.detail }
    }
}
