//! Walks several trees side by side, in order of blocks, past everything that they share.

use std::ops::Range;

use futures::future::join_all;
use quarry_format::node::{Entry, NodeRef, NodeSlots, Slots, span_blocks};
use quarry_types::BlockIndex;
use smallvec::SmallVec;

use crate::cache::NodeCache;
use crate::drop_tree::slots;
use crate::walk::slot_blocks;
use crate::{NodeReadError, NodeStore};

/// Leaves of one tree that are read at once.
const READS_MAX: usize = 16;

/// The nodes of all trees at one place; the first is that of the *subject*.
pub(crate) type Nodes = SmallVec<[Option<NodeRef>; 2]>;

/// Who wants to know in what trees differ.
pub(crate) trait Comparison {
    /// Whether to look below a place at which not all trees have the same node.
    fn enters(&self, blocks: &Range<BlockIndex>, nodes: &Nodes) -> bool;
    /// What the trees hold in the blocks of one leaf.
    fn leaf(&mut self, first_block: BlockIndex, leaves: &[Option<Slots<Entry>>]);
    /// Everything below a node of the subject, which is written somewhere, was compared.
    fn left(&mut self, node: NodeRef);
    /// Nodes at a place are bad on every copy; without an error nothing is told of what is below that place.
    fn lost(&mut self, error: NodeReadError) -> Result<(), NodeReadError> {
        Err(error)
    }
}

enum Item {
    Place { level: u8, first_block: BlockIndex, nodes: Nodes },
    Left(NodeRef),
}

struct Walk<'a> {
    store: &'a dyn NodeStore,
    cache: &'a NodeCache,
    from: BlockIndex,
    stack: Vec<Item>,
}

/// Compares the trees of `roots` (at least one) from block `from` on, until about `budget_nodes` nodes were read; takes what was
/// read off the budget. Returns the block from which on there is more to do: a multiple of the blocks of a leaf.
///
/// What the subject's nodes hold is looked at exactly once when the walk goes on from the block that it returned. A call gets
/// on by at least one place if its budget exceeds the nodes above a leaf of all trees.
pub(crate) async fn compare(
    store: &dyn NodeStore,
    cache: &NodeCache,
    roots: Nodes,
    from: BlockIndex,
    budget_nodes: &mut usize,
    comparison: &mut impl Comparison,
) -> Result<Option<BlockIndex>, NodeReadError> {
    let Some(level) = roots.iter().flatten().map(|root| root.level).max() else { return Ok(None) };
    let mut walk = Walk { store, cache, from, stack: Vec::new() };
    walk.stack.push(Item::Place { level, first_block: 0, nodes: roots });
    while let Some(item) = walk.stack.pop() {
        let (level, first_block, nodes) = match item {
            Item::Left(node) => {
                comparison.left(node);
                continue;
            }
            Item::Place { level, first_block, nodes } => (level, first_block, nodes),
        };
        if !walk.is_wanted(level, first_block, &nodes, comparison) {
            continue;
        }
        if *budget_nodes == 0 {
            return Ok(Some(first_block.max(from)));
        }
        let read = match level {
            0 => walk.leaves((first_block, nodes), comparison).await?,
            _ => walk.interior(level, first_block, nodes, comparison).await?,
        };
        *budget_nodes = budget_nodes.saturating_sub(read);
    }
    Ok(None)
}

impl Walk<'_> {
    fn is_wanted(
        &self,
        level: u8,
        first_block: BlockIndex,
        nodes: &Nodes,
        comparison: &impl Comparison,
    ) -> bool {
        let blocks = first_block..first_block + span_blocks(level);
        let differ = nodes.iter().any(|node| *node != nodes[0]);
        blocks.end > self.from && (differ || nodes.len() == 1) && comparison.enters(&blocks, nodes)
    }

    /// Compares this leaf and those that follow it, as far as they lie together.
    async fn leaves(
        &mut self,
        first: (BlockIndex, Nodes),
        comparison: &mut impl Comparison,
    ) -> Result<usize, NodeReadError> {
        let mut places = vec![first];
        while places.len() < READS_MAX
            && let Some(Item::Place { level: 0, .. }) = self.stack.last()
            && let Some(Item::Place { first_block, nodes, .. }) = self.stack.pop()
        {
            if self.is_wanted(0, first_block, &nodes, comparison) {
                places.push((first_block, nodes));
            }
        }
        let (store, cache) = (self.store, self.cache);
        let load = async |node: &Option<NodeRef>| match node {
            None => Ok::<_, NodeReadError>(None),
            Some(node) => match slots(store, cache, *node).await? {
                NodeSlots::Leaf(leaf) => Ok(Some(leaf.entries)),
                NodeSlots::Interior { .. } => unreachable!("a node of level 0 that decodes is a leaf"),
            },
        };
        let all = places.iter().flat_map(|(_, nodes)| nodes);
        let read = all.clone().flatten().filter(|node| !node.is_lone()).count();
        let mut loaded = join_all(all.map(load)).await.into_iter();
        for (first_block, nodes) in &places {
            match loaded
                .by_ref()
                .take(nodes.len())
                .collect::<Vec<_>>()
                .into_iter()
                .collect::<Result<Vec<_>, _>>()
            {
                Ok(leaves) => comparison.leaf(*first_block, &leaves),
                Err(error) => not_compared(comparison, error)?,
            }
            nodes[0].into_iter().filter(|node| !node.is_lone()).for_each(|node| comparison.left(node));
        }
        Ok(read)
    }

    /// Puts the places below a node on the stack.
    async fn interior(
        &mut self,
        level: u8,
        first_block: BlockIndex,
        nodes: Nodes,
        comparison: &mut impl Comparison,
    ) -> Result<usize, NodeReadError> {
        let mut read = 0;
        let subject = nodes[0].filter(|node| node.level == level);
        let mut children: Vec<Slots<NodeRef>> = Vec::with_capacity(nodes.len());
        for node in &nodes {
            let mut below = Slots::default();
            match node {
                None => {}
                // A lower tree covers the beginning of this place.
                Some(node) if node.level < level => _ = below.insert(0, *node),
                Some(node) => {
                    read += 1;
                    match slots(self.store, self.cache, *node).await {
                        Ok(NodeSlots::Interior { children, .. }) => below = children,
                        Ok(NodeSlots::Leaf(_)) => {}
                        Err(error) => {
                            not_compared(comparison, error)?;
                            subject.iter().for_each(|subject| comparison.left(*subject));
                            return Ok(read);
                        }
                    }
                }
            }
            children.push(below);
        }
        self.stack.extend(subject.map(Item::Left));
        let mut present: Vec<usize> =
            children.iter().flat_map(|children| children.iter().map(|(slot, _)| slot)).collect();
        present.sort_unstable();
        present.dedup();
        for slot in present.into_iter().rev() {
            let nodes = children.iter().map(|children| children.get(slot).copied()).collect();
            let first_block = first_block + slot as u64 * slot_blocks(level);
            self.stack.push(Item::Place { level: level - 1, first_block, nodes });
        }
        Ok(read)
    }
}

/// A place that was not compared because nodes could not be read.
fn not_compared(comparison: &mut impl Comparison, error: NodeReadError) -> Result<(), NodeReadError> {
    if error.is_final() { comparison.lost(error) } else { Err(error) }
}
