//! On which of its devices each chunk of a group stays, so that no two stay on one.

use std::sync::Arc;

use quarry_format::anchor::Slot;
use quarry_types::LogId;

use crate::PoolShared;
use crate::grouping::Candidate;

/// A slot that nobody else knows of yet; it is given back with this.
pub(crate) struct FreshSlot {
    shared: Arc<PoolShared>,
    log: LogId,
    slot: Option<Slot>,
}

impl FreshSlot {
    pub(crate) fn slot(&self) -> Slot {
        self.slot.expect("it is taken only by who takes all")
    }
}

impl Drop for FreshSlot {
    fn drop(&mut self) {
        self.shared.free(self.log, self.slot.take());
    }
}

/// Where a chunk of a group will lie.
pub(crate) enum Place {
    /// Where one of its copies is.
    Kept(Slot),
    /// On a device on which it is not yet.
    Fresh(FreshSlot),
}

impl Place {
    pub(crate) fn slot(&self) -> Slot {
        match self {
            Self::Kept(slot) => *slot,
            Self::Fresh(fresh) => fresh.slot(),
        }
    }

    /// The copy that stays.
    pub(crate) fn kept(&self) -> Option<Slot> {
        match self {
            Self::Kept(slot) => Some(*slot),
            Self::Fresh(_) => None,
        }
    }

    /// The slot, which somebody else owns from now on.
    pub(crate) fn into_slot(self) -> Slot {
        match self {
            Self::Kept(slot) => slot,
            Self::Fresh(mut fresh) => fresh.slot.take().expect("it is taken once"),
        }
    }
}

/// A place for each chunk, on as many devices as there are chunks. What has no copy on a device that no other one stays on gets a fresh
/// slot. `None` when there is none.
pub(crate) fn places(
    shared: &Arc<PoolShared>,
    (log, tier): (LogId, u8),
    candidates: &[Candidate],
) -> Option<Vec<Place>> {
    // The fullest first: what is given up is then where there is least space, and parity goes where there is most.
    let copies = candidates.iter().map(|candidate| {
        let mut slots: Vec<Slot> =
            candidate.chunk.slots().into_iter().filter(|slot| shared.is_staying(slot.device)).collect();
        slots.sort_by_key(|slot| shared.free_slots(slot.device));
        slots
    });
    let copies: Vec<Vec<Slot>> = copies.collect();
    let kept = match_distinct(&copies);
    let mut taken: Vec<u16> = kept.iter().flatten().map(|slot| slot.device).collect();
    let mut places = Vec::with_capacity(kept.len());
    for slot in kept {
        places.push(match slot {
            Some(slot) => Place::Kept(slot),
            None => {
                let slot = shared.allocate_coded(log, &taken, tier)?;
                taken.push(slot.device);
                Place::Fresh(FreshSlot { shared: shared.clone(), log, slot: Some(slot) })
            }
        });
    }
    Some(places)
}

/// One of the slots of each chunk, for as many chunks as possible, no two on one device: augmenting paths.
fn match_distinct(copies: &[Vec<Slot>]) -> Vec<Option<Slot>> {
    let mut matched: Vec<Option<Slot>> = vec![None; copies.len()];
    for chunk in 0..copies.len() {
        augment(chunk, copies, &mut matched, &mut Vec::new());
    }
    matched
}

fn augment(chunk: usize, copies: &[Vec<Slot>], matched: &mut [Option<Slot>], seen: &mut Vec<u16>) -> bool {
    for &slot in &copies[chunk] {
        if seen.contains(&slot.device) {
            continue;
        }
        seen.push(slot.device);
        let is_there = |other: &Option<Slot>| other.is_some_and(|other| other.device == slot.device);
        let holder = matched.iter().position(is_there);
        if holder.is_none_or(|holder| augment(holder, copies, matched, seen)) {
            matched[chunk] = Some(slot);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(copies: &[&[u16]]) -> Vec<Option<u16>> {
        let slots = |devices: &&[u16]| devices.iter().map(|&device| Slot { device, index: 7 }).collect();
        let copies: Vec<Vec<Slot>> = copies.iter().map(slots).collect();
        match_distinct(&copies).into_iter().map(|slot| slot.map(|slot| slot.device)).collect()
    }

    #[test]
    fn as_many_as_possible_stay_where_they_are() {
        assert_eq!(matched(&[&[0, 1], &[0, 2], &[0]]), [Some(1), Some(2), Some(0)]);
        assert_eq!(matched(&[&[0, 1, 2], &[0, 1, 2], &[3, 4, 5], &[3, 4, 5]]).iter().flatten().count(), 4);
        assert_eq!(matched(&[&[0], &[0], &[0, 1]]), [Some(0), None, Some(1)]);
        assert_eq!(matched(&[&[]]), [None]);
    }
}
