use proptest::prelude::*;
use quarry_pool::TIERS_MAX;

use super::*;

const TERMS: Terms = Terms { pinned: None, level_min: 4, budget_slots: 8, logs: 1 };

/// A pool whose chunks are these units, and nothing else.
#[derive(Debug)]
struct Pool {
    totals: Vec<u64>,
    units: Vec<Unit>,
}

impl Pool {
    fn tiers(&self) -> Vec<TierSlots> {
        let used = |tier: usize| -> u64 {
            let here = self.units.iter().filter(|unit| usize::from(unit.slowest) == tier);
            here.map(|unit| unit.slots).sum()
        };
        let tier = |(tier, &total): (usize, &u64)| TierSlots {
            total,
            free: total - used(tier),
            ..TierSlots::default()
        };
        self.totals.iter().enumerate().map(tier).collect()
    }

    fn heat(&self) -> HeatMap {
        heat_map(&self.units)
    }

    /// Plans once and does it all. Says what was planned.
    fn turn(&mut self, terms: Terms) -> Vec<Step> {
        let before = self.tiers();
        let steps = plan(&before, &self.heat(), &self.units, terms);
        let mut free: Vec<u64> = before.iter().map(|tier| tier.free).collect();
        for step in &steps {
            // What leaves is free only afterwards.
            free[usize::from(step.to)] =
                free[usize::from(step.to)].checked_sub(self.units[step.unit].slots).expect("there is room");
        }
        for step in &steps {
            let unit = &mut self.units[step.unit];
            (unit.fastest, unit.slowest) = (step.to, step.to);
        }
        steps
    }
}

fn unit(tier: u8, level: usize) -> Unit {
    Unit { fastest: tier, slowest: tier, slots: 1, level, rested: true, bound_for: None }
}

fn slots(free: u64) -> TierSlots {
    TierSlots { total: 16, free, ..TierSlots::default() }
}

#[test]
fn what_is_hot_changes_places_with_what_is_cold() {
    let mut units = vec![unit(0, 0); 14];
    units.extend(vec![unit(1, 20); 5]);
    units.extend(vec![unit(1, 3); 5]);
    let mut pool = Pool { totals: vec![16, 64], units };
    let first = pool.turn(TERMS);
    assert!(first.iter().all(|step| step.reason == TierReason::Cold && step.to == 1), "{first:?}");
    assert_eq!((first.len(), first[0].waiting_slots, first[0].free_slots), (5, 5, 2));
    let second = pool.turn(TERMS);
    assert!(second.iter().all(|step| step.reason == TierReason::Hot && step.to == 0), "{second:?}");
    assert_eq!(second.len(), 5);
    assert!(pool.units.iter().all(|unit| unit.level < 20 || unit.slowest == 0));
    assert_eq!(pool.turn(TERMS), []);
}

#[test]
fn the_coldest_leave_where_room_for_writes_is_short() {
    let units = (0..16).map(|level| unit(0, level)).collect();
    let mut pool = Pool { totals: vec![16, 64], units };
    let steps = pool.turn(TERMS);
    let moved: Vec<(usize, TierReason)> = steps.iter().map(|step| (step.unit, step.reason)).collect();
    assert_eq!(moved, [(0, TierReason::Room), (1, TierReason::Room)]);
    assert_eq!(pool.turn(TERMS), []);
}

#[test]
fn what_nobody_reads_stays_where_it_is() {
    let mut pool = Pool { totals: vec![16, 64], units: vec![unit(1, 0); 30] };
    assert_eq!(pool.turn(TERMS), [], "an empty fast tier is no reason");
    pool.units = vec![unit(1, 3); 30];
    assert_eq!(pool.turn(TERMS), [], "nor are a few reads");
}

#[test]
fn what_has_just_moved_stays_unless_writes_need_its_place() {
    let mut pool = Pool { totals: vec![16, 64], units: vec![unit(0, 0); 14] };
    pool.units.extend(vec![unit(1, 20); 5]);
    pool.units.iter_mut().for_each(|unit| unit.rested = false);
    assert_eq!(pool.turn(TERMS), []);
    pool.units.extend(vec![Unit { rested: false, ..unit(0, 9) }; 2]);
    assert_eq!(pool.turn(TERMS).len(), 2);
}

#[test]
fn what_was_cut_off_on_its_way_is_completed() {
    let split = |bound_for| Unit { fastest: 0, slowest: 1, slots: 2, level: 9, rested: false, bound_for };
    let tiers = [slots(10), slots(10)];
    let heat = HeatMap::default();
    let steps = plan(&tiers, &heat, &[split(Some(0)), split(Some(1)), split(None)], TERMS);
    assert_eq!(steps.iter().map(|step| (step.unit, step.to)).collect::<Vec<_>>(), [(2, 1), (1, 1), (0, 0)]);
    let full = [slots(1), slots(10)];
    assert_eq!(plan(&full, &heat, &[split(Some(0))], TERMS)[0].to, 1, "where there is room");
}

/// Seed 439: there were three tiers when it was begun to move it.
#[test]
fn a_tier_that_is_gone_is_no_place_to_go() {
    let split = Unit { fastest: 0, slowest: 1, slots: 2, level: 9, rested: false, bound_for: Some(2) };
    let gone = Unit { fastest: 2, slowest: 3, bound_for: None, ..split };
    let steps = plan(&[slots(10), slots(10)], &HeatMap::default(), &[split, gone], TERMS);
    assert_eq!(steps.iter().map(|step| (step.unit, step.to)).collect::<Vec<_>>(), [(0, 1)]);
    let pinned = Terms { pinned: Some(2), ..TERMS };
    assert_eq!(plan(&[slots(10), slots(10)], &HeatMap::default(), &[split], pinned), []);
}

#[test]
fn a_pinned_pool_fills_its_tier_whatever_is_read() {
    let mut pool = Pool { totals: vec![16, 8], units: vec![unit(0, 20); 12] };
    let pinned = Terms { pinned: Some(1), ..TERMS };
    assert_eq!(pool.turn(pinned).len(), 8);
    assert_eq!(pool.turn(pinned), [], "it is full");
}

#[test]
fn three_tiers_are_filled_from_the_top() {
    let mut units: Vec<Unit> = (0..40).map(|index| unit(2, 5 + index)).collect();
    units.reverse();
    let mut pool = Pool { totals: vec![12, 20, 64], units };
    for _ in 0..40 {
        pool.turn(TERMS);
    }
    let level_of = |tier: u8| {
        let levels = pool.units.iter().filter(move |unit| unit.slowest == tier).map(|unit| unit.level);
        (levels.clone().min().unwrap(), levels.max().unwrap())
    };
    assert_eq!((level_of(0), level_of(1)), ((35, 44), (17, 34)));
}

fn any_pool() -> impl Strategy<Value = Pool> {
    let unit = (0u8..3, 0usize..60, 1u64..4, any::<bool>());
    (prop::collection::vec(unit, 0..120), 4u64..60, 4u64..60).prop_map(|(units, fast, middle)| {
        let mut pool = Pool { totals: vec![fast, middle, 1000], units: Vec::new() };
        for (tier, level, slots, rested) in units {
            // What does not fit where chance wants it lies in the slowest.
            let free = pool.tiers()[usize::from(tier)].free;
            let tier = if free >= slots { tier } else { 2 };
            pool.units.push(Unit { fastest: tier, slowest: tier, slots, level, rested, bound_for: None });
        }
        pool
    })
}

proptest! {
    /// While the heat stays as it is, all comes to rest, nothing moves more than it has to, and every turn keeps to its bounds.
    #[test]
    fn all_comes_to_rest(mut pool in any_pool(), logs in 1u64..4) {
        prop_assert!(pool.totals.len() <= TIERS_MAX);
        let terms = Terms { logs, ..TERMS };
        let mut moves = vec![0; pool.units.len()];
        let mut turns = 0;
        loop {
            let largest = pool.units.iter().map(|unit| unit.slots).max().unwrap_or(0);
            let steps = pool.turn(terms);
            if steps.is_empty() {
                break;
            }
            let slots: u64 = steps.iter().map(|step| pool.units[step.unit].slots).sum();
            prop_assert!(slots < terms.budget_slots + largest, "{slots} of {}", terms.budget_slots);
            let units: std::collections::BTreeSet<usize> = steps.iter().map(|step| step.unit).collect();
            prop_assert_eq!(units.len(), steps.len(), "each once");
            steps.iter().for_each(|step| moves[step.unit] += 1);
            turns += 1;
            prop_assert!(turns < 400, "to and fro: {steps:?}");
        }
        // Down for room or a hotter one, and through a middle tier: no unit wanders more than that.
        prop_assert!(moves.iter().all(|&moves| moves <= 4), "{moves:?}");
        let tiers = pool.tiers();
        // The watermark is kept, wherever something could leave.
        prop_assert!(tiers[0].free >= kept_slots(tiers[0]) || pool.units.iter().all(|unit| unit.slowest > 0));
        // Nothing that belongs in the fastest tier waits while there is room for it.
        let rested = |unit: &&Unit| unit.rested && unit.slowest > 0 && unit.level >= TERMS.level_min;
        if let Some(waiting) = pool.units.iter().filter(rested).max_by_key(|unit| unit.level) {
            prop_assert!(tiers[0].free < kept_slots(tiers[0]) + 3, "{waiting:?} {tiers:?}");
            // And what lies there is not much colder, but for what has just moved there.
            let coldest = pool.units.iter().filter(|unit| unit.slowest == 0 && unit.rested).map(|unit| unit.level).min();
            prop_assert!(coldest.is_none_or(|level| level + GAP_LEVELS > waiting.level), "{waiting:?} {coldest:?}");
        }
    }
}
