//! Reads a range through all layers: the active overlay, those that wait for a merge, the tree.

use std::cell::Ref;
use std::ops::{ControlFlow, Range};
use std::rc::Rc;

use quarry_format::node::{Mapped, MappedRef, Node, NodeRef, NodeSlots, Slots, span_blocks};
use quarry_types::{BlockIndex, LogAddress};

use crate::cache::{Cached, Needed, NodeCache, Nodes};
use crate::overlay::{Overlay, Piece};
use crate::version::{Content, Version};
use crate::volume_map::State;

/// Gets what a walk finds, in order of blocks and without gaps. `Break` ends the walk.
pub(crate) trait Sink {
    /// One block has data.
    fn data(&mut self, block: BlockIndex, mapped: MappedRef<'_>) -> ControlFlow<()>;
    /// Blocks have none.
    fn hole(&mut self, blocks: Range<BlockIndex>) -> ControlFlow<()>;
    /// All blocks have data, by a subtree that is full: `Some` when the sink does not want their entries.
    fn full(&mut self, blocks: Range<BlockIndex>) -> Option<ControlFlow<()>>;
    /// A node is not in memory.
    fn missing(&mut self, needed: Needed, blocks: Range<BlockIndex>) -> ControlFlow<()>;
    /// A node is visited.
    fn visiting(&mut self) -> ControlFlow<()>;
}

/// The nodes that are in memory: those of the cache, and those that an operation holds itself, so that it gets on however
/// small the cache is.
pub(crate) struct InMemory<'a> {
    cached: Ref<'a, Nodes>,
    held: &'a [(LogAddress, Rc<Cached>)],
}

impl<'a> InMemory<'a> {
    pub fn new(cache: &'a NodeCache, held: &'a [(LogAddress, Rc<Cached>)]) -> Self {
        Self { cached: cache.nodes(), held }
    }

    /// The node at `address`.
    pub fn find(&self, address: LogAddress) -> Option<&Node> {
        self.cached
            .find(address)
            .or_else(|| self.held.iter().find(|(held, _)| *held == address).map(|(_, cached)| &cached.node))
    }
}

/// The slot of `block` in a node of `level`.
pub(crate) fn slot_of(block: BlockIndex, level: u8) -> usize {
    let bits = quarry_format::node::NODE_SLOT_BITS;
    (block >> (bits * u32::from(level)) & ((1 << bits) - 1)) as usize
}

/// Blocks that one slot of a node of `level` stands for.
pub(crate) fn slot_blocks(level: u8) -> u64 {
    if level == 0 { 1 } else { span_blocks(level - 1) }
}

/// Walks all layers of a volume over `range`.
pub(crate) fn walk(
    state: &State,
    range: Range<BlockIndex>,
    nodes: &InMemory<'_>,
    sink: &mut impl Sink,
) -> ControlFlow<()> {
    layer(&state.active, range, sink, |range, sink| walk_version(&state.below, range, nodes, sink))
}

fn walk_version<S: Sink>(
    version: &Version,
    range: Range<BlockIndex>,
    nodes: &InMemory<'_>,
    sink: &mut S,
) -> ControlFlow<()> {
    match &*version.content() {
        Content::Merged(root) => walk_root(*root, range, nodes, sink),
        Content::Pending(pending) => layer(&pending.overlay, range, sink, |range, sink: &mut S| {
            walk_version(&pending.below, range, nodes, sink)
        }),
    }
}

fn layer<S: Sink>(
    overlay: &Overlay,
    range: Range<BlockIndex>,
    sink: &mut S,
    mut below: impl FnMut(Range<BlockIndex>, &mut S) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if overlay.is_empty() {
        return below(range, sink);
    }
    overlay.pieces(range, |piece| match piece {
        Piece::Data(block, mapped) => sink.data(block, mapped),
        Piece::Hole(blocks) => sink.hole(blocks),
        Piece::Unknown(blocks) => below(blocks, sink),
    })
}

fn walk_root<S: Sink>(
    root: Option<NodeRef>,
    range: Range<BlockIndex>,
    nodes: &InMemory<'_>,
    sink: &mut S,
) -> ControlFlow<()> {
    let Some(root) = root else { return sink.hole(range) };
    let end = range.end.min(span_blocks(root.level));
    if range.start < end {
        walk_node(Needed { node: root, first_block: 0 }, range.start..end, nodes, sink)?;
    }
    if end < range.end { sink.hole(end.max(range.start)..range.end) } else { ControlFlow::Continue(()) }
}

/// Walks the node over `range` (not empty), which lies inside what the node covers.
fn walk_node<S: Sink>(
    needed: Needed,
    range: Range<BlockIndex>,
    nodes: &InMemory<'_>,
    sink: &mut S,
) -> ControlFlow<()> {
    if let Some((slot, mapped)) = needed.node.lone() {
        let block = needed.first_block + slot as u64;
        return walk_lone(block, &mapped, range, sink);
    }
    if needed.node.mapped() == span_blocks(needed.node.level)
        && let Some(flow) = sink.full(range.clone())
    {
        return flow;
    }
    sink.visiting()?;
    let Some(node) = nodes.find(needed.node.address) else { return sink.missing(needed, range) };
    match &node.slots {
        NodeSlots::Leaf(leaf) => {
            each_slot(&leaf.entries, 0, needed.first_block, range, sink, |block, entry, sink| {
                let tag = leaf.tag(slot_of(block.start, 0), entry);
                sink.data(block.start, MappedRef { entry, tag })
            })
        }
        NodeSlots::Interior { level, children } => {
            each_slot(children, *level, needed.first_block, range, sink, |blocks, &child, sink| {
                let first_block = blocks.start & !(slot_blocks(*level) - 1);
                walk_node(Needed { node: child, first_block }, blocks, nodes, sink)
            })
        }
    }
}

/// Walks a leaf of which one block is all.
fn walk_lone<S: Sink>(
    block: BlockIndex,
    mapped: &Mapped,
    range: Range<BlockIndex>,
    sink: &mut S,
) -> ControlFlow<()> {
    if !range.contains(&block) {
        return sink.hole(range);
    }
    if range.start < block {
        sink.hole(range.start..block)?;
    }
    sink.data(block, MappedRef { entry: &mapped.entry, tag: &mapped.tag })?;
    if block + 1 < range.end { sink.hole(block + 1..range.end) } else { ControlFlow::Continue(()) }
}

/// Visits the present slots of a node over `range` with the part of the range that each covers, and the gaps as holes.
fn each_slot<T, S: Sink>(
    slots: &Slots<T>,
    level: u8,
    first_block: BlockIndex,
    range: Range<BlockIndex>,
    sink: &mut S,
    mut visit: impl FnMut(Range<BlockIndex>, &T, &mut S) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let unit = slot_blocks(level);
    let mut position = range.start;
    for (slot, value) in slots.iter_from(slot_of(range.start, level)) {
        let start = first_block + slot as u64 * unit;
        if start >= range.end {
            break;
        }
        if position < start {
            sink.hole(position..start)?;
        }
        let end = (start + unit).min(range.end);
        visit(start.max(position)..end, value, sink)?;
        position = end;
    }
    if position < range.end { sink.hole(position..range.end) } else { ControlFlow::Continue(()) }
}
