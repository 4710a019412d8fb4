//! Nodes of the map: the tree that leads from a block of a volume to the place of its data.
//!
//! The tree is a radix tree of [`NODE_SLOTS`] slots a node. A leaf (level 0) holds an [`Entry`] per mapped block, an
//! interior node a [`NodeRef`] per child that is not empty. Nodes are written once and never changed; a changed tree
//! shares what is the same with the one before it. Absent slots cost nothing: a bitmap says which are present, and
//! these are packed behind it in slot order. Behind the entries of a leaf come
//! the tags of those that are encrypted. A full node of clear blocks fits into one block of 4 KiB.
//!
//! Invariants of a node that decodes:
//! - at least one slot is present, and as many as it says;
//! - its first block is a multiple of what a node of its level covers, and all of that lies below [`MAP_BLOCKS_MAX`];
//! - each entry and reference has an address that is not 0; unknown flags and reserved fields are zero;
//! - each child is one level below, with at least one and at most [`span_blocks`] mapped blocks.
//!
//! In a sparse volume most leaves would have one entry, and each would cost a sector: such a leaf is not written, its entry
//! stands in its parent in the place of the reference.
//!
//! When a node that was bad on every copy has to be written anew, what it held is *lost*: entries and references of
//! [`LogAddress::LOST`] stand for it, and reading them fails until these blocks are written or unmapped.

mod bits;
mod leaf;
mod lone;
mod lost;
mod raw;
mod slots;
#[cfg(test)]
mod tests;

use quarry_types::limits::BLOCK_SECTORS;
use quarry_types::{BlockIndex, KeyId, LogAddress, SnapshotCounter, Tag, VolumeId};

pub use bits::SlotBits;
pub use leaf::{Leaf, Mapped, MappedRef};
pub use raw::{NODE_HEADER_BYTES, NODE_MAGIC, NODE_VERSION};
pub use slots::{Slots, SlotsIter};

/// Binary digits of a block number that one level resolves.
pub const NODE_SLOT_BITS: u32 = 7;
/// Slots of a node.
pub const NODE_SLOTS: usize = 1 << NODE_SLOT_BITS;
/// Level of the highest root.
pub const NODE_LEVEL_MAX: u8 = 5;
/// Blocks that the largest tree covers.
pub const MAP_BLOCKS_MAX: u64 = span_blocks(NODE_LEVEL_MAX);
/// Bytes of a full node, of encrypted blocks, before it is filled up to whole sectors.
pub const NODE_BYTES_MAX: usize = NODE_HEADER_BYTES + NODE_SLOTS * (Entry::BYTES + Tag::BYTES);

const _: () =
    assert!(MAP_BLOCKS_MAX >= quarry_types::limits::VOLUME_BYTES_MAX / quarry_types::BLOCK_BYTES as u64);
const _: () = assert!(size_of::<Entry>() == Entry::BYTES, "an entry costs no more in memory than on disk");

/// Blocks that a node of `level` covers.
pub const fn span_blocks(level: u8) -> u64 {
    1 << (NODE_SLOT_BITS * (level as u32 + 1))
}

/// Where the data of one block is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The record that holds the data; never 0.
    pub address: LogAddress,
    /// CRC-32C of the stored bytes.
    pub checksum: u32,
    /// The log's snapshot counter when the block was written.
    pub birth: SnapshotCounter,
    /// The data key; 0 is clear text.
    pub key: KeyId,
    /// Length of the stored bytes in sectors, 1 to 8.
    pub stored_sectors: u8,
    /// How the block was made smaller.
    pub method: Method,
}

/// How the stored bytes of a block were made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Method {
    /// The block as it is.
    #[default]
    AsIs = 0,
    /// Length in two bytes, an LZ4 block, zeroes to a whole sector.
    Lz4 = 1,
    /// Length in two bytes, a Zstandard frame, zeroes to a whole sector.
    Zstd = 2,
}

impl Method {
    /// The method with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::AsIs, Self::Lz4, Self::Zstd].into_iter().find(|method| *method as u8 == number)
    }

    /// Whether a block may be stored in so many sectors by it.
    pub fn fits(self, sectors: u8) -> bool {
        let whole = BLOCK_SECTORS as u8;
        if self == Self::AsIs { sectors == whole } else { (1..whole).contains(&sectors) }
    }
}

/// Where a node is, and what a tree without it would miss. The default stands for an absent node where bytes need one.
///
/// A leaf that has but one entry, of a clear block, is no node: the reference to it is the entry itself
/// ([`NodeRef::lone`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeRef {
    /// The record that holds the node, or the lone block; never 0.
    pub address: LogAddress,
    /// CRC-32C of the node's bytes, all of its sectors, or of the stored bytes of the lone block.
    pub checksum: u32,
    /// The log's snapshot counter when the node, or the lone block, was written.
    pub birth: SnapshotCounter,
    /// Data blocks mapped below; of a lone block its slot and how it is stored.
    pub(crate) detail: u64,
    /// Length of the node in sectors; 0 for a lone block.
    pub sectors: u8,
    /// Level of the node; 0 is a leaf.
    pub level: u8,
}

/// One node of a volume's tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// The volume for which it was written. Clones of that volume share it.
    pub volume: VolumeId,
    /// First block of the range that it covers.
    pub first_block: BlockIndex,
    /// What it holds.
    pub slots: NodeSlots,
}

/// The present slots of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeSlots {
    /// Of a leaf: slot `i` is block `first_block + i`.
    Leaf(Leaf),
    /// Of an interior node: slot `i` covers the `i`-th part of the range.
    Interior {
        /// Level of the node, 1 to [`NODE_LEVEL_MAX`].
        level: u8,
        /// The children.
        children: Slots<NodeRef>,
    },
}

impl Node {
    /// Its level; 0 is a leaf.
    pub fn level(&self) -> u8 {
        match self.slots {
            NodeSlots::Leaf(_) => 0,
            NodeSlots::Interior { level, .. } => level,
        }
    }

    /// Present slots.
    pub fn count(&self) -> usize {
        match &self.slots {
            NodeSlots::Leaf(leaf) => leaf.entries.len(),
            NodeSlots::Interior { children, .. } => children.len(),
        }
    }

    /// Data blocks mapped in it and below.
    pub fn mapped(&self) -> u64 {
        match &self.slots {
            NodeSlots::Leaf(leaf) => leaf.entries.len() as u64,
            NodeSlots::Interior { children, .. } => children.iter().map(|(_, child)| child.mapped()).sum(),
        }
    }
}
