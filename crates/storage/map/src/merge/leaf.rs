//! Merges one leaf.

use std::ops::ControlFlow;

use quarry_format::node::{Leaf, Mapped, Node, NodeRef, NodeSlots};

use super::{Context, Ended, Job, Old, Parent};
use crate::MergeFailure;

/// Reads the old leaf, if there is one, and writes the new one, if it differs.
pub(super) async fn merge(context: &Context<'_>, job: Job) -> Result<Ended, MergeFailure> {
    let mut leaf = Leaf::default();
    if let Old::Node(node) = job.old {
        if let Some((slot, mapped)) = node.lone() {
            leaf.insert(slot, mapped);
        } else if let NodeSlots::Leaf(old) = &context.load(node, job.first_block).await?.node.slots {
            leaf = old.clone();
        }
    }
    context.take_turns().await;
    let unchanged = Ok(Ended::Merged(job.parent, job.old.reference()));
    if context.failed.get() || !apply(context, &job, &mut leaf) {
        return unchanged;
    }
    if let Some(old) = job.old.reference() {
        context.outcome.borrow_mut().node_goes(&context.floor, job.first_block, old);
    }
    if leaf.entries.is_empty() {
        return Ok(Ended::Merged(job.parent, None));
    }
    if matches!(job.parent, Parent::Slot { .. })
        && let Some(lone) = NodeRef::of_lone(&leaf)
    {
        return Ok(Ended::Merged(job.parent, Some(lone)));
    }
    leaf.shrink_to_fit();
    let node = Node { volume: context.volume, first_block: job.first_block, slots: NodeSlots::Leaf(leaf) };
    Ok(Ended::Merged(job.parent, Some(context.append(node).await?)))
}

/// Makes the overlay's changes; returns whether there were any. Entries that go are dead, but for those of snapshots.
fn apply(context: &Context<'_>, job: &Job, leaf: &mut Leaf) -> bool {
    let mut outcome = context.outcome.borrow_mut();
    let mut changed = false;
    let (holes, floor) = (context.overlay.holes(), &context.floor);
    // Holes first: entries of the overlay win over them. A block that gets a new entry dies only once.
    if !leaf.entries.is_empty() && !holes.is_empty() {
        let _ = holes.cut(job.range(), |part, hole| {
            if hole {
                let slots = (part.start - job.first_block) as usize..(part.end - job.first_block) as usize;
                leaf.remove_range(slots, |old| {
                    changed = true;
                    outcome
                        .dead_entries
                        .extend(Some(old).filter(|old| floor.is_above(part.start, old.birth)));
                });
            }
            ControlFlow::<()>::Continue(())
        });
    }
    for (slot, mapped) in context.overlay.leaf_entries(job.first_block) {
        let entry = mapped.entry;
        let old = leaf.insert(slot, Mapped::from(mapped));
        changed |= old != Some(*entry);
        // A block that refers to the same record again: one reference goes, another one came.
        let block = job.first_block + slot as u64;
        let dead = old.filter(|old| floor.is_above(block, old.birth));
        outcome.dead_entries.extend(dead);
    }
    changed
}
