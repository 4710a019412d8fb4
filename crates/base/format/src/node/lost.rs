//! What stands for a node that was bad on every copy, once something below it changes.

use quarry_types::limits::BLOCK_SECTORS;
use quarry_types::{BlockIndex, KeyId, LogAddress, SnapshotCounter, VolumeId};

use super::{Entry, Leaf, Mapped, Method, NODE_SLOTS, Node, NodeRef, NodeSlots, Slots, span_blocks};

impl Entry {
    /// A block of which nobody knows any more whether it had data, and where.
    pub fn lost(birth: SnapshotCounter) -> Self {
        let (address, key) = (LogAddress::LOST, KeyId(0));
        Self { address, checksum: 0, birth, key, stored_sectors: BLOCK_SECTORS as u8, method: Method::AsIs }
    }
}

impl NodeRef {
    /// A subtree of which nobody knows any more what it held.
    fn lost(level: u8, birth: SnapshotCounter, mapped: u64) -> Self {
        let mapped = mapped.clamp(1, span_blocks(level));
        Self { address: LogAddress::LOST, ..Self::stored(level, 1, birth, mapped) }
    }
}

impl Node {
    /// The node that `node`, at `first_block`, was, as far as that is known: everything below it is lost. It may have mapped fewer blocks.
    pub fn lost(volume: VolumeId, node: NodeRef, first_block: BlockIndex) -> Self {
        let slots = match node.level {
            0 => {
                let mut leaf = Leaf::default();
                for slot in 0..NODE_SLOTS {
                    leaf.insert(slot, Mapped::from(Entry::lost(node.birth)));
                }
                NodeSlots::Leaf(leaf)
            }
            level => {
                let child = NodeRef::lost(level - 1, node.birth, node.mapped() / NODE_SLOTS as u64);
                let mut children = Slots::default();
                for slot in 0..NODE_SLOTS {
                    children.insert(slot, child);
                }
                NodeSlots::Interior { level, children }
            }
        };
        Self { volume, first_block, slots }
    }
}
