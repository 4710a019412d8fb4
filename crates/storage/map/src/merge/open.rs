//! Interior nodes whose children are being merged.

use std::ops::Range;

use quarry_format::node::{NODE_LEVEL_MAX, NODE_SLOTS, Node, NodeRef, NodeSlots, Slots, span_blocks};
use quarry_types::{BlockIndex, VolumeId};

use super::{Job, Old};
use crate::overlay::Overlay;
use crate::walk::{slot_blocks, slot_of};

/// Who waits for a subtree.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parent {
    /// The merge itself: it is the root.
    Root,
    /// A slot of an open node.
    Slot { open: usize, slot: usize },
}

/// An interior node under work.
pub(super) struct Open {
    pub parent: Parent,
    level: u8,
    pub first_block: BlockIndex,
    /// The node that stands in its place.
    pub old: Option<NodeRef>,
    /// Its children as they are so far.
    pub children: Slots<NodeRef>,
    /// Children that were begun and are not finished.
    pub pending: usize,
    /// Whether the children differ from those of the old node.
    pub changed: bool,
    /// Children before this slot were begun or need nothing.
    next_slot: usize,
}

impl Open {
    /// A node that has the children of `old`.
    pub fn new(job: &Job, old: Option<(NodeRef, &Node)>) -> Self {
        let children = match old.map(|(_, node)| &node.slots) {
            Some(NodeSlots::Interior { children, .. }) => children.clone(),
            Some(NodeSlots::Leaf(_)) | None => Slots::default(),
        };
        Self {
            parent: job.parent,
            level: job.level,
            first_block: job.first_block,
            old: old.map(|(node, _)| node),
            children,
            pending: 0,
            changed: false,
            next_slot: 0,
        }
    }

    /// Takes the first slot out of those that are looked at: its child has been begun.
    pub fn reserve_first_slot(&mut self) {
        self.pending += 1;
        self.next_slot = 1;
    }

    /// Sets a child.
    pub fn set(&mut self, slot: usize, child: Option<NodeRef>) {
        let before = match child {
            Some(child) => self.children.insert(slot, child),
            None => self.children.remove(slot),
        };
        self.changed |= before != child;
    }

    fn child_range(&self, slot: usize) -> Range<BlockIndex> {
        let unit = slot_blocks(self.level);
        let start = self.first_block + slot as u64 * unit;
        start..start + unit
    }

    /// The first slot that is not begun and in which the overlay changes something.
    fn next_changed(&self, overlay: &Overlay) -> Option<usize> {
        if self.next_slot == NODE_SLOTS {
            return None;
        }
        let end = self.first_block + span_blocks(self.level);
        let block = overlay.next_block(self.child_range(self.next_slot).start).filter(|&block| block < end);
        let with_entries = block.map_or(NODE_SLOTS, |block| slot_of(block, self.level));
        let mut with_holes = None;
        if !overlay.holes().is_empty() {
            let candidates =
                self.children.present().from(self.next_slot).take_while(|&slot| slot < with_entries);
            with_holes =
                candidates.into_iter().find(|&slot| overlay.holes().overlaps(&self.child_range(slot)));
        }
        with_holes.or(Some(with_entries).filter(|&slot| slot < NODE_SLOTS))
    }

    /// Whether children are left to be begun.
    pub fn has_more(&mut self, overlay: &Overlay) -> bool {
        self.next_slot = self.next_changed(overlay).unwrap_or(NODE_SLOTS);
        self.next_slot < NODE_SLOTS
    }

    /// The node as it is to be written.
    pub fn into_node(self, volume: VolumeId) -> Node {
        let Self { level, first_block, mut children, .. } = self;
        children.shrink_to_fit();
        Node { volume, first_block, slots: NodeSlots::Interior { level, children } }
    }
}

/// The open nodes of a merge.
#[derive(Default)]
pub(super) struct OpenNodes {
    nodes: Vec<Option<Open>>,
    free: Vec<usize>,
    /// By level, the nodes that may have children to be begun; those opened last are looked at first.
    waiting: [Vec<usize>; NODE_LEVEL_MAX as usize + 1],
}

impl OpenNodes {
    pub fn insert(&mut self, open: Open) -> usize {
        let level = usize::from(open.level);
        let index = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            self.nodes.len() - 1
        });
        self.nodes[index] = Some(open);
        self.waiting[level].push(index);
        index
    }

    pub fn get_mut(&mut self, index: usize) -> &mut Open {
        self.nodes[index].as_mut().expect("an open node is named until it is closed")
    }

    pub fn remove(&mut self, index: usize) -> Open {
        let open = self.nodes[index].take().expect("a node is closed once");
        self.waiting[usize::from(open.level)].retain(|&waiting| waiting != index);
        self.free.push(index);
        open
    }

    /// The next subtree to be begun, of the lowest level that has one.
    pub fn next_job(&mut self, overlay: &Overlay) -> Option<Job> {
        for waiting in &mut self.waiting {
            while let Some(&index) = waiting.last() {
                let open = self.nodes[index].as_mut().expect("waiting nodes are open");
                if !open.has_more(overlay) {
                    waiting.pop();
                    continue;
                }
                let slot = open.next_slot;
                open.next_slot += 1;
                open.pending += 1;
                let level = open.level - 1;
                return Some(Job {
                    parent: Parent::Slot { open: index, slot },
                    level,
                    first_block: open.child_range(slot).start,
                    old: open.children.get(slot).map_or(Old::Absent, |&child| Old::Node(child)),
                });
            }
        }
        None
    }
}
