//! What only a snapshot holds, found by comparing its tree with those of what stands on it.

use std::ops::Range;

use quarry_format::node::{Entry, NodeRef, Slots};
use quarry_types::{BlockIndex, SnapshotCounter};

use crate::cache::NodeCache;
use crate::compare::{Comparison, Nodes, compare};
use crate::{NodeReadError, NodeStore};

/// What a step has found.
#[derive(Clone, Debug, Default)]
pub struct Dissolved {
    /// Entries that only the snapshot held.
    pub dead_entries: Vec<Entry>,
    /// Nodes that only the snapshot held.
    pub dead_nodes: Vec<NodeRef>,
    /// The block from which on there is more; `None` when all is done.
    pub cursor: Option<BlockIndex>,
    /// Nodes that were bad on every copy: what the snapshot alone held below them stays used.
    pub lost: Vec<NodeReadError>,
}

/// Collects what the subject alone holds of what was written after the snapshot before it.
struct Unshared {
    /// The number of the snapshot before.
    floor: SnapshotCounter,
    /// What is below a node that is bad on every copy is left out, instead of telling nothing at all.
    past_lost: bool,
    dissolved: Dissolved,
}

impl Comparison for Unshared {
    fn enters(&self, _: &Range<BlockIndex>, nodes: &Nodes) -> bool {
        let Some(subject) = nodes[0] else { return false };
        let is_shared = |other: &Option<NodeRef>| *other == Some(subject);
        subject.birth > self.floor && !nodes[1..].iter().any(is_shared)
    }

    fn leaf(&mut self, _: BlockIndex, leaves: &[Option<Slots<Entry>>]) {
        let Some(subject) = &leaves[0] else { return };
        let unshared = subject.iter().filter(|(slot, entry)| {
            // Two references to one record are told apart by their births.
            let is_same = |other: &Entry| (other.address, other.birth) == (entry.address, entry.birth);
            let others = leaves[1..].iter().flatten();
            entry.birth > self.floor && !others.filter_map(|leaf| leaf.get(*slot)).any(is_same)
        });
        self.dissolved.dead_entries.extend(unshared.map(|(_, entry)| entry));
    }

    fn left(&mut self, node: NodeRef) {
        self.dissolved.dead_nodes.push(node);
    }

    fn lost(&mut self, error: NodeReadError) -> Result<(), NodeReadError> {
        if !self.past_lost {
            return Err(error);
        }
        self.dissolved.lost.push(error);
        Ok(())
    }
}

/// Goes on to dissolve a snapshot of root `root` that at most one thing stands on, of root `child`, from block `cursor`.
/// `floor` is the number of the snapshot before it. What is reported was written after that and is not in the child. Takes the
/// nodes that it reads off the budget.
pub async fn dissolve_step(
    store: &dyn NodeStore,
    cache: &NodeCache,
    (root, child): (Option<NodeRef>, Option<NodeRef>),
    floor: SnapshotCounter,
    cursor: BlockIndex,
    budget_nodes: &mut usize,
) -> Result<Dissolved, NodeReadError> {
    let mut unshared = Unshared { floor, past_lost: true, dissolved: Dissolved::default() };
    let roots = Nodes::from_slice(&[root, child]);
    let cursor = compare(store, cache, roots, cursor, budget_nodes, &mut unshared).await?;
    Ok(Dissolved { cursor, ..unshared.dissolved })
}

/// Entries that are in the tree of `root` alone: not in those of `others`, and written after snapshot `floor`. `None` when more than `budget_nodes` nodes would have to be read to know.
pub async fn unshared_entries(
    store: &dyn NodeStore,
    cache: &NodeCache,
    (root, others): (Option<NodeRef>, &[Option<NodeRef>]),
    floor: SnapshotCounter,
    budget_nodes: &mut usize,
) -> Result<Option<Vec<Entry>>, NodeReadError> {
    let mut unshared = Unshared { floor, past_lost: false, dissolved: Dissolved::default() };
    let roots = std::iter::once(root).chain(others.iter().copied()).collect();
    let rest = compare(store, cache, roots, 0, budget_nodes, &mut unshared).await?;
    Ok(rest.is_none().then_some(unshared.dissolved.dead_entries))
}
