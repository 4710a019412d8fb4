//! Which parts of a volume have data.

use std::ops::{ControlFlow, Range};
use std::rc::Rc;

use quarry_env::yield_now;
use quarry_format::node::{MappedRef, NODE_LEVEL_MAX};
use quarry_types::{BlockIndex, LogAddress};

use crate::cache::{Cached, Needed, NodeCache};
use crate::walk::{InMemory, Sink, walk};
use crate::{NodeReadError, NodeStore, VolumeMap};

/// Nodes and blocks that are looked at before other tasks get their turn.
const STEPS_MAX: usize = 2048;
/// What visiting a node costs, in blocks.
const NODE_STEPS: usize = 16;

/// Blocks that all have data or all have none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapExtent {
    /// The blocks.
    pub blocks: Range<BlockIndex>,
    /// Whether they have data.
    pub mapped: bool,
}

/// Why a walk stopped early.
enum Stop {
    /// There are as many extents as were asked for.
    Enough,
    /// A node has to be read.
    Missing(Needed),
    /// Other tasks have waited long enough.
    Pause,
}

struct Collector {
    extents: Vec<MapExtent>,
    extents_max: usize,
    steps: usize,
    stop: Option<Stop>,
}

impl Collector {
    fn stop(&mut self, stop: Stop) -> ControlFlow<()> {
        self.stop = Some(stop);
        ControlFlow::Break(())
    }

    fn add(&mut self, blocks: Range<BlockIndex>, mapped: bool) -> ControlFlow<()> {
        let full = self.extents.len() == self.extents_max;
        match self.extents.last_mut() {
            Some(last) if last.mapped == mapped => last.blocks.end = blocks.end,
            _ if full => return self.stop(Stop::Enough),
            _ => self.extents.push(MapExtent { blocks, mapped }),
        }
        self.spend(1)
    }

    fn spend(&mut self, steps: usize) -> ControlFlow<()> {
        self.steps += steps;
        if self.steps < STEPS_MAX { ControlFlow::Continue(()) } else { self.stop(Stop::Pause) }
    }
}

impl Sink for Collector {
    fn data(&mut self, block: BlockIndex, _: MappedRef<'_>) -> ControlFlow<()> {
        self.add(block..block + 1, true)
    }

    fn hole(&mut self, blocks: Range<BlockIndex>) -> ControlFlow<()> {
        self.add(blocks, false)
    }

    fn full(&mut self, blocks: Range<BlockIndex>) -> Option<ControlFlow<()>> {
        Some(self.add(blocks, true))
    }

    fn missing(&mut self, needed: Needed, _: Range<BlockIndex>) -> ControlFlow<()> {
        self.stop(Stop::Missing(needed))
    }

    fn visiting(&mut self) -> ControlFlow<()> {
        self.steps += NODE_STEPS;
        ControlFlow::Continue(())
    }
}

impl VolumeMap {
    /// The extents of `range` (not empty) in order, without gaps, neighbours of different kinds; at most `extents_max`
    /// (> 0) of them, so they may end before the range does.
    ///
    /// Absent and full subtrees cost one step each, whatever their size. Changes made while this runs may be in the
    /// answer or not, each block for itself.
    pub async fn extents(
        &self,
        range: Range<BlockIndex>,
        extents_max: usize,
        cache: &NodeCache,
        store: &dyn NodeStore,
    ) -> Result<Vec<MapExtent>, NodeReadError> {
        let mut collector = Collector { extents: Vec::new(), extents_max, steps: 0, stop: None };
        // The node read last, of each level: with these the walk gets past the place where it stopped.
        let mut held: Vec<(LogAddress, Rc<Cached>)> = Vec::with_capacity(usize::from(NODE_LEVEL_MAX) + 1);
        loop {
            let position = collector.extents.last().map_or(range.start, |extent| extent.blocks.end);
            if position == range.end {
                return Ok(collector.extents);
            }
            let _ = walk(&self.state(), position..range.end, &InMemory::new(cache, &held), &mut collector);
            collector.steps = 0;
            match collector.stop.take() {
                None | Some(Stop::Enough) => return Ok(collector.extents),
                Some(Stop::Pause) => yield_now().await,
                Some(Stop::Missing(needed)) => {
                    let loaded = cache.load(needed, store).await?;
                    held.retain(|(_, cached)| cached.node.level() != needed.node.level);
                    held.push((needed.node.address, loaded));
                }
            }
        }
    }
}
