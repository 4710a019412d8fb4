//! Which blocks differ between two versions.

use std::ops::Range;

use quarry_format::node::{Entry, NODE_SLOTS, NodeRef, Slots};
use quarry_types::{BlockIndex, LogAddress};

use crate::cache::NodeCache;
use crate::compare::{Comparison, Nodes, compare};
use crate::{NodeReadError, NodeStore};

/// Blocks that were written or unmapped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The blocks.
    pub blocks: Range<BlockIndex>,
    /// Whether they have data in the newer version.
    pub mapped: bool,
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Comparison for Changes {
    fn enters(&self, _: &Range<BlockIndex>, _: &Nodes) -> bool {
        true
    }

    fn leaf(&mut self, first_block: BlockIndex, leaves: &[Option<Slots<Entry>>]) {
        let at = |leaf: usize, slot: usize| leaves[leaf].as_ref().and_then(|leaf| leaf.get(slot));
        for slot in 0..NODE_SLOTS {
            let (old, new) = (at(0, slot), at(1, slot));
            if old.map(|entry| entry.address) == new.map(|entry| entry.address) {
                continue;
            }
            let (block, mapped) = (first_block + slot as u64, new.is_some());
            match self.0.last_mut() {
                Some(last) if last.blocks.end == block && last.mapped == mapped => last.blocks.end += 1,
                _ => self.0.push(Change { blocks: block..block + 1, mapped }),
            }
        }
    }

    fn left(&mut self, _: NodeRef) {}
}

/// The blocks from `from` on in which the tree of `new` differs from that of `old`, in order, as far as reading
/// `budget_nodes` nodes reaches; and from where on there may be more. Subtrees that both have are not read.
pub async fn changes(
    store: &dyn NodeStore,
    cache: &NodeCache,
    (old, new): (Option<NodeRef>, Option<NodeRef>),
    from: BlockIndex,
    mut budget_nodes: usize,
) -> Result<(Vec<Change>, Option<BlockIndex>), NodeReadError> {
    let mut found = Changes::default();
    let roots = Nodes::from_slice(&[old, new]);
    let rest = compare(store, cache, roots, from, &mut budget_nodes, &mut found).await?;
    let mut changes = found.0;
    // A leaf is looked at as a whole.
    changes.retain_mut(|change| {
        change.blocks.start = change.blocks.start.max(from);
        !change.blocks.is_empty()
    });
    Ok((changes, rest))
}

struct BlocksAt<F> {
    is_wanted: F,
    found: Vec<(BlockIndex, Entry)>,
}

impl<F: Fn(LogAddress) -> bool> Comparison for BlocksAt<F> {
    fn enters(&self, _: &Range<BlockIndex>, _: &Nodes) -> bool {
        true
    }

    fn leaf(&mut self, first_block: BlockIndex, leaves: &[Option<Slots<Entry>>]) {
        let entries = leaves.iter().flatten().flat_map(|leaf| leaf.iter());
        let wanted = entries.filter(|(_, entry)| (self.is_wanted)(entry.address));
        self.found.extend(wanted.map(|(slot, entry)| (first_block + slot as u64, *entry)));
    }

    fn left(&mut self, _: NodeRef) {}
}

/// The blocks from `from` on whose records are wanted, with these, in order, as far as reading `budget_nodes` nodes reaches; and
/// from where on there may be more. Reads the whole tree: only for what is seldom asked.
pub async fn blocks_at(
    store: &dyn NodeStore,
    cache: &NodeCache,
    root: Option<NodeRef>,
    from: BlockIndex,
    mut budget_nodes: usize,
    is_wanted: impl Fn(LogAddress) -> bool,
) -> Result<(Vec<(BlockIndex, Entry)>, Option<BlockIndex>), NodeReadError> {
    let mut blocks = BlocksAt { is_wanted, found: Vec::new() };
    let roots = Nodes::from_slice(&[root]);
    let rest = compare(store, cache, roots, from, &mut budget_nodes, &mut blocks).await?;
    Ok((blocks.found, rest))
}
