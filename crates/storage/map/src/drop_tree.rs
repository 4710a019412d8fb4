//! Credits subtrees that nothing refers to any more, a few nodes at a time.

use futures::future::join_all;
use quarry_format::node::{Entry, NodeRef, NodeSlots};

use crate::cache::{NodeCache, read};
use crate::{NodeReadError, NodeStore};

/// Nodes that are read at once.
const READS_MAX: usize = 16;

/// Visits up to `budget_nodes` nodes of the subtrees in `pending`: reports each node and each entry of it as dead, and puts
/// its children on `pending`, which names what is left. Done when `pending` is empty.
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
    pending: &mut Vec<NodeRef>,
    budget_nodes: usize,
    dead_entries: &mut Vec<Entry>,
    dead_nodes: &mut Vec<NodeRef>,
) -> Result<(), NodeReadError> {
    let mut left = budget_nodes;
    while left > 0 && !pending.is_empty() {
        let count = pending.len().min(left).min(READS_MAX);
        left -= count;
        let batch = &pending[pending.len() - count..];
        let read = join_all(batch.iter().map(|&node| slots(store, cache, node))).await;
        let batch = pending.split_off(pending.len() - count);
        let mut failed = Ok(());
        let mut unread = Vec::new();
        for (node, slots) in batch.into_iter().zip(read) {
            match slots {
                Ok(NodeSlots::Leaf(entries)) => dead_entries.extend_from_slice(entries.values()),
                Ok(NodeSlots::Interior { children, .. }) => pending.extend_from_slice(children.values()),
                Err(error) => {
                    unread.push(node);
                    failed = Err(error);
                    continue;
                }
            }
            dead_nodes.push(node);
        }
        pending.append(&mut unread);
        failed?;
    }
    Ok(())
}

async fn slots(store: &dyn NodeStore, cache: &NodeCache, node: NodeRef) -> Result<NodeSlots, NodeReadError> {
    match cache.get(node.address) {
        Some(cached) => Ok(cached.node.slots.clone()),
        None => Ok(read(node, None, store).await?.slots),
    }
}
