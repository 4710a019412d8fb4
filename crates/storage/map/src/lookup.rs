//! Where the data of a range is.

use std::ops::{ControlFlow, Range};
use std::rc::Rc;

use futures::future::join_all;
use quarry_format::node::{Mapped, MappedRef, NodeRef, NodeSlots, span_blocks};
use quarry_types::{BlockIndex, LogAddress};
use smallvec::SmallVec;

use crate::cache::{Cached, Needed, NodeCache};
use crate::overlay::Piece;
use crate::version::{Content, Version};
use crate::volume_map::State;
use crate::walk::{InMemory, Sink, slot_of, walk};
use crate::{NodeReadError, NodeStore, VolumeMap};

/// Nodes that one lookup reads at once.
const READS_MAX: usize = 64;

/// Runs for which a lookup has room from the start: as many as the blocks of most requests.
const RUNS_RESERVED_MAX: usize = 64;

/// A part of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run {
    /// One block with data.
    Data(Mapped),
    /// Blocks that read as zeroes. Neighbouring holes are one run.
    Hole {
        /// How many, at least one.
        blocks: u64,
    },
}

/// The parts of a range, in order.
pub type Runs = SmallVec<[Run; 2]>;

/// What is known without I/O.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// The whole answer.
    Ready(Runs),
    /// A node has to be read first; [`VolumeMap::resolve`] does that.
    NeedNode(Needed),
}

#[derive(Default)]
struct Found {
    runs: Runs,
    missing: SmallVec<[Needed; 1]>,
    missing_max: usize,
}

impl Sink for Found {
    fn data(&mut self, _: BlockIndex, mapped: MappedRef<'_>) -> ControlFlow<()> {
        self.runs.push(Run::Data(mapped.into()));
        ControlFlow::Continue(())
    }

    fn hole(&mut self, range: Range<BlockIndex>) -> ControlFlow<()> {
        let more = range.end - range.start;
        match self.runs.last_mut() {
            Some(Run::Hole { blocks }) => *blocks += more,
            _ => self.runs.push(Run::Hole { blocks: more }),
        }
        ControlFlow::Continue(())
    }

    fn full(&mut self, _: Range<BlockIndex>) -> Option<ControlFlow<()>> {
        None
    }

    fn missing(&mut self, needed: Needed, _: Range<BlockIndex>) -> ControlFlow<()> {
        // The overlays may cut a node's range into several parts.
        if self.missing.last() != Some(&needed) {
            self.missing.push(needed);
        }
        if self.missing.len() < self.missing_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn visiting(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl VolumeMap {
    /// What `range` (not empty) holds, as far as that is known without I/O.
    pub fn lookup(&self, range: Range<BlockIndex>, cache: &NodeCache) -> Lookup {
        let state = self.state();
        let nodes = InMemory::new(cache, &[]);
        if range.end - range.start == 1 {
            return match find(&state, range.start, &nodes) {
                Ok(run) => Lookup::Ready(Runs::from_buf_and_len([run; 2], 1)),
                Err(needed) => Lookup::NeedNode(needed),
            };
        }
        let blocks = (range.end - range.start).min(RUNS_RESERVED_MAX as u64) as usize;
        let mut found = Found { runs: Runs::with_capacity(blocks), missing_max: 1, ..Found::default() };
        let _ = walk(&state, range, &nodes, &mut found);
        match found.missing.first() {
            Some(&needed) => Lookup::NeedNode(needed),
            None => Lookup::Ready(found.runs),
        }
    }

    /// What `range` (not empty) holds when this completes; reads the nodes that it needs. For ranges of the size of a
    /// request: it holds every node that it had to read until it completes.
    pub async fn resolve(
        &self,
        range: Range<BlockIndex>,
        cache: &NodeCache,
        store: &dyn NodeStore,
    ) -> Result<Runs, NodeReadError> {
        let mut held: Vec<(LogAddress, Rc<Cached>)> = Vec::new();
        loop {
            let mut found = Found { missing_max: READS_MAX, ..Found::default() };
            let _ = walk(&self.state(), range.clone(), &InMemory::new(cache, &held), &mut found);
            if found.missing.is_empty() {
                return Ok(found.runs);
            }
            for (needed, loaded) in found
                .missing
                .iter()
                .zip(join_all(found.missing.iter().map(|&needed| cache.load(needed, store))).await)
            {
                held.push((needed.node.address, loaded?));
            }
        }
    }
}

/// What one block holds, or the node that would tell.
fn find(state: &State, block: BlockIndex, nodes: &InMemory<'_>) -> Result<Run, Needed> {
    match state.active.find(block) {
        Piece::Data(_, mapped) => Ok(Run::Data(mapped.into())),
        Piece::Hole(_) => Ok(Run::Hole { blocks: 1 }),
        Piece::Unknown(_) => find_below(&state.below, block, nodes),
    }
}

fn find_below(version: &Version, block: BlockIndex, nodes: &InMemory<'_>) -> Result<Run, Needed> {
    match &*version.content() {
        Content::Merged(root) => find_in_tree(*root, block, nodes),
        Content::Pending(pending) => match pending.overlay.find(block) {
            Piece::Data(_, mapped) => Ok(Run::Data(mapped.into())),
            Piece::Hole(_) => Ok(Run::Hole { blocks: 1 }),
            Piece::Unknown(_) => find_below(&pending.below, block, nodes),
        },
    }
}

fn find_in_tree(root: Option<NodeRef>, block: BlockIndex, nodes: &InMemory<'_>) -> Result<Run, Needed> {
    let hole = Run::Hole { blocks: 1 };
    let Some(mut child) = root else { return Ok(hole) };
    if block >= span_blocks(child.level) {
        return Ok(hole);
    }
    loop {
        if let Some((slot, mapped)) = child.lone() {
            return Ok(if slot == slot_of(block, 0) { Run::Data(mapped) } else { hole });
        }
        let Some(node) = nodes.find(child.address) else {
            let first_block = block & !(span_blocks(child.level) - 1);
            return Err(Needed { node: child, first_block });
        };
        match &node.slots {
            NodeSlots::Leaf(leaf) => {
                let mapped = leaf.get(slot_of(block, 0)).map(Mapped::from);
                return Ok(mapped.map_or(hole, Run::Data));
            }
            NodeSlots::Interior { level, children } => match children.get(slot_of(block, *level)) {
                Some(&next) => child = next,
                None => return Ok(hole),
            },
        }
    }
}
