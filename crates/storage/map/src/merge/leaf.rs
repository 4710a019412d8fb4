//! Merges one leaf.

use std::ops::ControlFlow;

use quarry_format::node::{Entry, Node, NodeSlots, Slots};

use super::{Context, Ended, Job, Old};
use crate::MergeFailure;

/// Reads the old leaf, if there is one, and writes the new one, if it differs.
pub(super) async fn merge(context: &Context<'_>, job: Job) -> Result<Ended, MergeFailure> {
    let mut entries = Slots::default();
    if let Old::Node(node) = job.old {
        let cached = context.load(node, job.first_block).await?;
        if let NodeSlots::Leaf(old) = &cached.node.slots {
            entries = old.clone();
        }
    }
    context.take_turns().await;
    let unchanged = Ok(Ended::Merged(job.parent, job.old.reference()));
    if context.failed.get() || !apply(context, &job, &mut entries) {
        return unchanged;
    }
    context.outcome.borrow_mut().dead_nodes.extend(job.old.reference());
    if entries.is_empty() {
        return Ok(Ended::Merged(job.parent, None));
    }
    entries.shrink_to_fit();
    let node = Node { volume: context.volume, first_block: job.first_block, slots: NodeSlots::Leaf(entries) };
    Ok(Ended::Merged(job.parent, Some(context.append(node).await?)))
}

/// Makes the overlay's changes; returns whether there were any. Entries that go are dead.
fn apply(context: &Context<'_>, job: &Job, entries: &mut Slots<Entry>) -> bool {
    let mut outcome = context.outcome.borrow_mut();
    let mut changed = false;
    let holes = context.overlay.holes();
    // Holes first: entries of the overlay win over them. A block that gets a new entry dies only once.
    if !entries.is_empty() && !holes.is_empty() {
        let _ = holes.cut(job.range(), |part, hole| {
            if hole {
                let slots = (part.start - job.first_block) as usize..(part.end - job.first_block) as usize;
                entries.remove_range(slots, |dead| {
                    changed = true;
                    outcome.dead_entries.push(dead);
                });
            }
            ControlFlow::<()>::Continue(())
        });
    }
    for (slot, entry) in context.overlay.leaf_entries(job.first_block) {
        let old = entries.insert(slot, *entry);
        changed |= old != Some(*entry);
        // Replay may bring an entry that the tree holds already: the same data does not die.
        outcome.dead_entries.extend(old.filter(|old| old.address != entry.address));
    }
    changed
}
