//! Which chunks move to which tier: a pure function of how much they are read and of the room that there is.
//!
//! The units of one log are chunks, or groups of coded chunks. What other logs have is known by the [`HeatMap`] of the pool, so that
//! the hottest of all logs share the fastest tier.
//!
//! What is hottest goes to the fastest tier as long as more than the watermark is free there. Where it is not, what is colder by
//! [`GAP_LEVELS`] makes room for it. Below the watermark, which is kept for what hosts write, the coldest leave in any case.
//!
//! So that nothing goes to and fro: a swap needs a ratio of heats, nothing is brought in below the watermark, what is hardly read is never
//! brought in, and what has just moved stays for a while unless room for writes is short.

use quarry_pool::{HEAT_LEVELS, HeatMap, TierSlots};

/// What leaves to make room is colder by so many levels: 1.7 times.
const GAP_LEVELS: usize = 3;
/// Such a part of a tier that is not the slowest is kept free for what hosts write.
const KEPT_PART: u64 = 16;
/// So many slots, or a quarter if that is less, of one from which the way leads to buckets: hosts that fill it write there, which is slow.
const KEPT_SLOTS_ABOVE_BUCKETS: u64 = 2048;
const KEPT_SLOTS_MIN: u64 = 2;

/// Why something moves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TierReason {
    /// It is read enough, and there was room in the faster tier, or what was read less made some.
    Hot,
    /// Something that is read more waits for its place.
    Cold,
    /// It is the coldest where room for writes is short.
    Room,
    /// A part of it lies in another tier.
    Split,
    /// The pool is pinned to the tier.
    Pinned,
}

/// Something that moves as a whole: a chunk with its copies, or a group.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Unit {
    /// The tiers in which it lies: one, unless it was cut off on its way.
    pub(crate) fastest: u8,
    pub(crate) slowest: u8,
    pub(crate) slots: u64,
    /// The level of its heat for each slot.
    pub(crate) level: usize,
    /// It has not moved lately.
    pub(crate) rested: bool,
    /// To which tier it was moved last.
    pub(crate) bound_for: Option<u8>,
}

/// What is given besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Terms {
    /// Where everything is to lie.
    pub(crate) pinned: Option<u8>,
    /// Below that a move to a faster tier costs more reads than it saves.
    pub(crate) level_min: usize,
    /// Slots that may move at once.
    pub(crate) budget_slots: u64,
    /// Logs that plan at the same time.
    pub(crate) logs: u64,
}

/// A unit and where it is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) unit: usize,
    pub(crate) to: u8,
    pub(crate) reason: TierReason,
    /// The level with which its own was compared: of what waits for its place, or the least that is worth a move.
    pub(crate) other_level: usize,
    /// Free slots of the faster of the two tiers, and those of units that wait for it.
    pub(crate) free_slots: u64,
    pub(crate) waiting_slots: u64,
}

/// What of these units other logs have to know: those that can move. For what cannot come nothing needs to make room.
pub(crate) fn heat_map(units: &[Unit]) -> HeatMap {
    let mut heat = HeatMap::default();
    for unit in units.iter().filter(|unit| unit.rested && unit.fastest == unit.slowest) {
        heat.0[usize::from(unit.slowest)][unit.level] += unit.slots;
    }
    heat
}

/// Slots of a tier that is not the slowest that are kept free.
pub fn kept_slots(tier: TierSlots) -> u64 {
    let kept = (tier.total / KEPT_PART).max(KEPT_SLOTS_MIN).min(tier.total / 4);
    if tier.is_above_buckets { kept.max((tier.total / 4).min(KEPT_SLOTS_ABOVE_BUCKETS)) } else { kept }
}

/// What moves now. The most urgent first, for the time of a step may be over before all of it is done: room for writes, then what is hot,
/// hottest first, as long as there is room for it, then what makes room for more of that.
pub(crate) fn plan(tiers: &[TierSlots], heat: &HeatMap, units: &[Unit], terms: Terms) -> Vec<Step> {
    if tiers.len() < 2 {
        return Vec::new();
    }
    let mut planning =
        Planning { tiers: tiers.to_vec(), units, terms, left: terms.budget_slots, steps: Vec::new() };
    if let Some(pinned) = terms.pinned {
        planning.pin(pinned);
        return planning.steps;
    }
    planning.complete();
    let waiting: Vec<Waiting> =
        (1..tiers.len()).map(|slower| Waiting::behind(&heat.0[slower..], terms.level_min)).collect();
    for (tier, waiting) in waiting.iter().enumerate() {
        planning.make_room_for_writes(tier, waiting);
    }
    for (tier, waiting) in waiting.iter().enumerate() {
        let brought = planning.bring_in(tier, waiting);
        planning.make_room_for_hotter(tier, waiting, brought);
    }
    planning.steps
}

/// The tiers in which what is hot would find a place if there were more room, or everything of a pool that is pinned.
pub(crate) fn wanted_tiers(tiers: &[TierSlots], heat: &HeatMap, terms: Terms) -> Vec<u8> {
    let is_wanted = |tier: usize| {
        let (free, kept) = (tiers[tier].free, kept_slots(tiers[tier]));
        match terms.pinned.map(usize::from) {
            Some(pinned) => {
                let elsewhere = (0..tiers.len()).filter(|&other| other != pinned);
                tier == pinned && free < elsewhere.flat_map(|other| heat.0[other]).sum()
            }
            None => {
                let is_slowest = tier + 1 == tiers.len();
                !is_slowest && free < kept + Waiting::behind(&heat.0[tier + 1..], terms.level_min).slots()
            }
        }
    };
    (0..tiers.len()).filter(|&tier| is_wanted(tier)).map(|tier| tier as u8).collect()
}

/// What of all logs is hot enough for a tier and lies in a slower one.
struct Waiting {
    /// Levels and how many slots, the hottest first.
    levels: Vec<(usize, u64)>,
}

impl Waiting {
    fn behind(slower: &[[u64; HEAT_LEVELS]], level_min: usize) -> Self {
        let slots = |level: usize| (level, slower.iter().map(|levels| levels[level]).sum());
        let levels = (level_min..HEAT_LEVELS).rev().map(slots).filter(|&(_, slots)| slots > 0);
        Self { levels: levels.collect() }
    }

    fn slots(&self) -> u64 {
        self.levels.iter().map(|(_, slots)| slots).sum()
    }

    /// The level of the slot behind so many hotter ones.
    fn level_behind(&self, mut hotter: u64) -> Option<usize> {
        let found = self.levels.iter().find(|(_, slots)| {
            let is_it = hotter < *slots;
            hotter = hotter.saturating_sub(*slots);
            is_it
        });
        found.map(|(level, _)| *level)
    }
}

struct Planning<'a> {
    /// As they are after the steps; what leaves is not free yet.
    tiers: Vec<TierSlots>,
    units: &'a [Unit],
    terms: Terms,
    left: u64,
    steps: Vec<Step>,
}

impl Planning<'_> {
    fn is_planned(&self, unit: usize) -> bool {
        self.steps.iter().any(|step| step.unit == unit)
    }

    /// Moves a unit if there is room behind what is `kept`, and budget left; one unit may be larger than the budget. Tiers come and go with devices and
    /// with the protection of the pool: where a unit was bound for, or lay when it was looked at, there may be none any more.
    fn step(&mut self, unit: usize, to: u8, kept: u64, why: (TierReason, usize, u64)) -> bool {
        let slots = self.units[unit].slots;
        let Some(there) = self.tiers.get_mut(usize::from(to)) else { return false };
        if there.free < kept + slots || self.left == 0 {
            return false;
        }
        there.free -= slots;
        self.left = self.left.saturating_sub(slots);
        let faster = usize::from(to.min(self.units[unit].fastest));
        let free_slots = self.tiers[faster].free;
        let (reason, other_level, waiting_slots) = why;
        self.steps.push(Step { unit, to, reason, other_level, free_slots, waiting_slots });
        true
    }

    /// Everything to one tier.
    fn pin(&mut self, pinned: u8) {
        for index in by_heat(self.units, |unit| (unit.fastest, unit.slowest) != (pinned, pinned), true) {
            if !self.step(index, pinned, 0, (TierReason::Pinned, 0, 0)) {
                return;
            }
        }
    }

    /// What lies in two tiers goes where it was bound for, or where there is room.
    fn complete(&mut self) {
        for index in by_heat(self.units, |unit| unit.fastest != unit.slowest, true) {
            let unit = self.units[index];
            for to in unit.bound_for.into_iter().chain([unit.slowest, unit.fastest]) {
                if self.step(index, to, 0, (TierReason::Split, 0, 0)) {
                    break;
                }
            }
        }
    }

    /// What lies in a tier and nowhere else, and is not to move yet, the coldest first.
    fn here(&self, tier: usize) -> Vec<usize> {
        let lies_here = |unit: &Unit| (usize::from(unit.fastest), usize::from(unit.slowest)) == (tier, tier);
        let mut here = by_heat(self.units, lies_here, false);
        here.retain(|&unit| !self.is_planned(unit));
        here
    }

    /// Moves a unit to the next slower tier that has room.
    fn leave(&mut self, index: usize, tier: usize, why: (TierReason, usize, u64)) -> bool {
        let last = self.tiers.len() - 1;
        (tier + 1..=last).any(|to| {
            let kept = if to == last { 0 } else { kept_slots(self.tiers[to]) };
            self.step(index, to as u8, kept, why)
        })
    }

    /// The coldest of a tier leave until the watermark is free.
    fn make_room_for_writes(&mut self, tier: usize, waiting: &Waiting) {
        let (free, kept) = (self.tiers[tier].free, kept_slots(self.tiers[tier]));
        let mut short = kept.saturating_sub(free).div_ceil(self.terms.logs.max(1));
        for index in self.here(tier) {
            if short == 0 || !self.leave(index, tier, (TierReason::Room, 0, waiting.slots())) {
                return;
            }
            short = short.saturating_sub(self.units[index].slots);
        }
    }

    /// The coldest of a tier leave as far as what is hotter, and finds no room, needs their places.
    fn make_room_for_hotter(&mut self, tier: usize, waiting: &Waiting, brought_slots: u64) {
        let room = self.tiers[tier].free.saturating_sub(kept_slots(self.tiers[tier]));
        let (logs, mut taken) = (self.terms.logs.max(1), brought_slots + room);
        for index in self.here(tier).into_iter().filter(|&index| self.units[index].rested) {
            let unit = self.units[index];
            let hotter = waiting.level_behind(taken).filter(|&level| unit.level + GAP_LEVELS <= level);
            let Some(level) = hotter else { return };
            if !self.leave(index, tier, (TierReason::Cold, level, waiting.slots())) {
                return;
            }
            // Other logs make room for what waits, too.
            taken += unit.slots * logs;
        }
    }

    /// The hottest come as long as there is room. Says how many slots that takes.
    fn bring_in(&mut self, tier: usize, waiting: &Waiting) -> u64 {
        let kept = kept_slots(self.tiers[tier]);
        let why = (TierReason::Hot, self.terms.level_min, waiting.slots());
        let level_min = self.terms.level_min;
        let is_waiting = |unit: &Unit| {
            let is_behind = usize::from(unit.fastest) > tier && unit.fastest == unit.slowest;
            is_behind && unit.level >= level_min && unit.rested
        };
        let mut brought_slots = 0;
        for index in by_heat(self.units, is_waiting, true) {
            if self.is_planned(index) {
                continue;
            }
            if !self.step(index, tier as u8, kept, why) {
                break;
            }
            brought_slots += self.units[index].slots;
        }
        brought_slots
    }
}

/// The units for which something holds, the coldest or the hottest first.
fn by_heat(units: &[Unit], holds: impl Fn(&Unit) -> bool, hottest_first: bool) -> Vec<usize> {
    let mut found: Vec<usize> = (0..units.len()).filter(|&index| holds(&units[index])).collect();
    found.sort_by_key(|&index| units[index].level);
    if hottest_first {
        found.reverse();
    }
    found
}

#[cfg(test)]
mod tests;
