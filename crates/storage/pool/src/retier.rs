//! A chunk moves to another tier as a whole: all its copies, or the one that a chunk of a group has.
//!
//! It goes the way of [`crate::rehome`]: what counts is copied and verified, the new copies are flushed, and the old slots are free
//! when an image is durable that does not name them. A crash leaves the chunk in one of the two tiers.

use std::rc::Rc;

use quarry_format::anchor::Slot;
use quarry_types::SegmentId;

use crate::chunk::Slots;
use crate::rehome::Plan;
use crate::{Chunk, Duty, LogStore, Moving};

impl LogStore {
    /// Takes slots in a tier for a chunk in which these segments lie. `None` when it lies there, is not as it should be in its own tier
    /// (that comes first), or when there is no room for all of it.
    pub fn plan_retiering(&self, chunk: &Rc<Chunk>, segments: &[SegmentId], tier: u8) -> Option<Moving> {
        let shared = &self.pool.shared;
        let slots = chunk.slots();
        let is_whole = slots.iter().all(|slot| shared.is_staying(slot.device));
        let beside =
            chunk.group().map(|group| group.index_of(chunk).map(|index| group.devices_beside(index)));
        let (copies, beside) = match beside {
            // A chunk of a group that is to end gets copies first.
            Some(_) if slots.len() != 1 => return None,
            Some(beside) => (1, beside?),
            None if slots.len() != shared.copies_now(self.log) => return None,
            None => (slots.len(), Vec::new()),
        };
        if !is_whole {
            return None;
        }
        let (keep, left): (Slots, Slots) =
            slots.iter().copied().partition(|slot| shared.tier_of(slot.device) == tier);
        if left.is_empty() {
            return None;
        }
        let taken: Vec<u16> = slots.iter().map(|slot| slot.device).chain(beside).collect();
        let fresh: Vec<Slot> = shared.allocate_for_move(self.log, (tier, left.len()), &taken, &left);
        if fresh.is_empty() {
            return None;
        }
        let plan = Plan { duty: Duty::Tier, copies, keep, add: left.len(), until_then: left };
        self.begin_moving(chunk, segments, plan, fresh)
    }
}
