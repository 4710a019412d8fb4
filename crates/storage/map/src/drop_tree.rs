//! Credits subtrees that nothing refers to any more, a few nodes at a time.

use futures::future::join_all;
use quarry_format::detached::Detached;
use quarry_format::node::{Entry, Leaf, NodeRef, NodeSlots};

use crate::cache::{NodeCache, read};
use crate::walk::slot_blocks;
use crate::{NodeReadError, NodeStore};

/// Nodes that are read at once.
const READS_MAX: usize = 16;

/// Visits up to `budget_nodes` nodes of the subtrees in `pending`: reports each node and each entry of it as dead that is above
/// its floor, and puts its children on `pending`, which names what is left. Done when `pending` is empty.
///
/// Lower subtrees come first, so `pending` stays short: it grows by less than 2000 references per level of the tree. Nodes are
/// read past the cache, as nobody will ask for them again.
///
/// # Errors
/// A node that cannot be read stays in `pending`, at its end, and is not reported; those that were read are. A caller that
/// gives a damaged node up takes it out: what is below it is then never credited.
pub async fn drop_step(
    store: &dyn NodeStore,
    cache: &NodeCache,
    pending: &mut Vec<Detached>,
    budget_nodes: usize,
    dead_entries: &mut Vec<Entry>,
    dead_nodes: &mut Vec<NodeRef>,
) -> Result<(), NodeReadError> {
    let mut left = budget_nodes;
    while left > 0 && !pending.is_empty() {
        let count = pending.len().min(left).min(READS_MAX);
        left -= count;
        let batch = &pending[pending.len() - count..];
        let read = join_all(batch.iter().map(|detached| slots(store, cache, detached.node))).await;
        let batch = pending.split_off(pending.len() - count);
        let mut failed = Ok(());
        let mut unread = Vec::new();
        for (detached, slots) in batch.into_iter().zip(read) {
            let Detached { node, first_block, floor } = detached;
            match slots {
                Ok(NodeSlots::Leaf(leaf)) => {
                    let entries = leaf.entries.iter();
                    let gone = entries
                        .filter(|(slot, entry)| floor.is_above(first_block + *slot as u64, entry.birth));
                    dead_entries.extend(gone.map(|(_, entry)| entry));
                }
                Ok(NodeSlots::Interior { level, children }) => {
                    let first_block = |slot: usize| first_block + slot as u64 * slot_blocks(level);
                    let below = children.iter();
                    let below =
                        below.map(|(slot, &node)| Detached { node, first_block: first_block(slot), floor });
                    pending
                        .extend(below.filter(|child| floor.may_be_above(&child.blocks(), child.node.birth)));
                }
                Err(error) => {
                    unread.push(detached);
                    failed = Err(error);
                    continue;
                }
            }
            if !node.is_lone() && floor.is_node_above(&detached.blocks(), node.birth) {
                dead_nodes.push(node);
            }
        }
        pending.append(&mut unread);
        failed?;
    }
    Ok(())
}

/// What a node holds, read past the cache if it has to be read.
pub(crate) async fn slots(
    store: &dyn NodeStore,
    cache: &NodeCache,
    node: NodeRef,
) -> Result<NodeSlots, NodeReadError> {
    if let Some((slot, mapped)) = node.lone() {
        let mut leaf = Leaf::default();
        leaf.insert(slot, mapped);
        return Ok(NodeSlots::Leaf(leaf));
    }
    match cache.get(node.address) {
        Some(cached) => Ok(cached.node.slots.clone()),
        None => Ok(read(node, None, store).await?.slots),
    }
}
