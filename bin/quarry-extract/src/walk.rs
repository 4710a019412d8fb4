//! What a volume maps, from its first block to its last: its tree with the changes of the tail over it, leaf by leaf.

use std::ops::{ControlFlow, Range};

use quarry_format::node::{Mapped, NODE_SLOTS, Node, NodeRef, NodeSlots, span_blocks};

use crate::layers::Changes;
use crate::log::Log;
use crate::pool::Pool;

/// Blocks of a leaf.
const LEAF_BLOCKS: u64 = NODE_SLOTS as u64;

/// What the walk meets.
pub enum Found {
    /// Blocks that are mapped.
    Leaf(Vec<(u64, Mapped)>),
    /// Blocks of which nobody knows what they hold: a part of the tree cannot be read.
    Lost(Range<u64>, String),
}

/// See the module.
pub struct Walk<'a> {
    pub pool: &'a Pool,
    pub log: &'a Log,
    pub changes: &'a Changes,
    /// Blocks of the volume.
    pub blocks: u64,
    /// The first block that has not been met.
    next: u64,
}

impl<'a> Walk<'a> {
    pub fn new(pool: &'a Pool, log: &'a Log, changes: &'a Changes, blocks: u64) -> Self {
        Self { pool, log, changes, blocks, next: 0 }
    }

    /// Calls `found` with everything in order, until it breaks.
    pub fn run<B>(
        mut self,
        root: Option<NodeRef>,
        mut found: impl FnMut(Found) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if let Some(root) = root {
            self.node(&root, 0, &mut found)?;
        }
        self.changes_up_to(self.blocks, &mut found)
    }

    fn node<B>(
        &mut self,
        node: &NodeRef,
        first: u64,
        found: &mut impl FnMut(Found) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let range = first..(first + span_blocks(node.level)).min(self.blocks);
        if range.is_empty() || self.changes.is_hole(range.clone()) {
            return ControlFlow::Continue(());
        }
        self.changes_up_to(first, found)?;
        if let Some((slot, mapped)) = node.lone() {
            let mut blocks = [None; NODE_SLOTS];
            blocks[slot] = Some(mapped);
            return self.leaf(range, blocks, found);
        }
        match self.read(node, first) {
            Err(reason) => self.lost(range, &reason, found),
            Ok(Node { slots: NodeSlots::Leaf(leaf), .. }) => {
                let mut blocks = [None; NODE_SLOTS];
                leaf.entries.iter().for_each(|(slot, _)| blocks[slot] = leaf.get(slot).map(Mapped::from));
                self.leaf(range, blocks, found)
            }
            Ok(Node { slots: NodeSlots::Interior { level, children }, .. }) => {
                for (slot, child) in children.iter() {
                    self.node(child, first + slot as u64 * span_blocks(level - 1), found)?;
                }
                ControlFlow::Continue(())
            }
        }
    }

    fn read(&self, node: &NodeRef, first: u64) -> Result<Node, String> {
        let bytes = self.log.record(self.pool, node.address, node.sectors, node.checksum)?;
        let read = Node::decode(&bytes).map_err(|error| error.to_string())?;
        let is_it = read.level() == node.level && read.first_block == first;
        if is_it { Ok(read) } else { Err("another part of a map lies there".to_owned()) }
    }

    /// A part of the tree is gone. What the tail says of its blocks still holds.
    fn lost<B>(
        &mut self,
        range: Range<u64>,
        reason: &str,
        found: &mut impl FnMut(Found) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut at = range.start;
        let changes = self.changes;
        for (part, mapped) in changes.within(range.clone()) {
            if part.start > at {
                found(Found::Lost(at..part.start, format!("a part of the map: {reason}")))?;
            }
            if let Some(mapped) = mapped {
                found(Found::Leaf(vec![(part.start, mapped)]))?;
            }
            at = part.end;
        }
        if at < range.end {
            found(Found::Lost(at..range.end, format!("a part of the map: {reason}")))?;
        }
        self.next = self.next.max(range.end);
        ControlFlow::Continue(())
    }

    /// What has changed before `end` and has no leaf in the tree.
    fn changes_up_to<B>(
        &mut self,
        end: u64,
        found: &mut impl FnMut(Found) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        while let Some(block) = self.changes.next_mapped(self.next).filter(|&block| block < end) {
            let first = block / LEAF_BLOCKS * LEAF_BLOCKS;
            let range = first.max(self.next)..(first + LEAF_BLOCKS).min(self.blocks);
            self.leaf(range, [None; NODE_SLOTS], found)?;
        }
        ControlFlow::Continue(())
    }

    /// One leaf with the changes over it. `range` begins in it.
    fn leaf<B>(
        &mut self,
        range: Range<u64>,
        mut blocks: [Option<Mapped>; NODE_SLOTS],
        found: &mut impl FnMut(Found) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        for (part, mapped) in self.changes.within(range.clone()) {
            part.for_each(|block| blocks[(block % LEAF_BLOCKS) as usize] = mapped);
        }
        self.next = range.end;
        let mapped = |block: u64| Some((block, blocks[(block % LEAF_BLOCKS) as usize]?));
        let mapped: Vec<(u64, Mapped)> = range.filter_map(mapped).collect();
        if mapped.is_empty() { ControlFlow::Continue(()) } else { found(Found::Leaf(mapped)) }
    }
}
