//! Which slots of which devices are free. Off the I/O path: it is asked once a segment.
//!
//! A slot is taken exactly as long as a chunk, an image or a recovery in progress names it; nothing here is durable,
//! because the images of the logs say it all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use quarry_format::anchor::Slot;

/// Devices are balanced when their free slots differ by this part of one of them at most, or so many.
const IMBALANCE_PART: u32 = 16;
const IMBALANCE_MIN: u32 = 2;
/// Of a device of a tier that is not the slowest such a part takes nothing new: chunks that are read much move there.
const KEPT_PART: u32 = 64;

/// The slots of one device.
#[derive(Default)]
struct DeviceSlots {
    free: BTreeSet<u32>,
    total: u32,
    /// Whether it takes new chunks. What is taken of one that does not is counted all the same: it may come back.
    usable: bool,
    /// Its tier: 0 for the fastest.
    tier: u8,
}

/// The free slots of a pool.
#[derive(Default)]
pub struct Allocator {
    devices: Vec<DeviceSlots>,
    /// How many copies there are of chunks: of some logs more, of others fewer.
    copies: Vec<usize>,
}

impl Allocator {
    /// Takes note of a device with so many slots, all free but those that are taken already; of one that is there, how it is used
    /// now and how far it has grown.
    pub fn add_device(&mut self, device: u16, slots: u32, usable: bool) {
        let index = usize::from(device);
        if self.devices.len() <= index {
            self.devices.resize_with(index + 1, DeviceSlots::default);
        }
        let device = &mut self.devices[index];
        device.free.extend(device.total..slots);
        device.total = device.total.max(slots);
        device.usable = usable;
    }

    /// Says of how many copies chunks are: of each number as many are to fit as can.
    pub fn set_copies(&mut self, copies: Vec<usize>) {
        self.copies = copies;
    }

    /// How many chunks fit, for each number of copies.
    fn fitting(&self) -> Vec<(usize, u64)> {
        self.copies.iter().map(|&copies| (copies, self.free_chunks(copies))).collect()
    }

    /// Forgets a device.
    ///
    /// # Panics
    /// When a slot of it is taken: something would be lost.
    pub fn remove_device(&mut self, device: u16) {
        assert_eq!(self.used_slots(device), 0, "nothing lies on a device that is removed");
        self.devices[usize::from(device)] = DeviceSlots::default();
    }

    /// Whether new chunks may be placed on a device from now on.
    pub fn set_usable(&mut self, device: u16, usable: bool) {
        self.devices[usize::from(device)].usable = usable;
    }

    /// Says to which tier each device belongs; the others belong to the fastest.
    pub fn set_tiers(&mut self, tiers: &[(u16, u8)]) {
        self.devices.iter_mut().for_each(|device| device.tier = 0);
        for &(device, tier) in tiers {
            if let Some(device) = self.devices.get_mut(usize::from(device)) {
                device.tier = tier;
            }
        }
    }

    /// The tier of a device.
    pub fn tier_of(&self, device: u16) -> u8 {
        self.devices.get(usize::from(device)).map_or(0, |device| device.tier)
    }

    /// The slowest tier.
    fn last_tier(&self) -> u8 {
        self.devices.iter().map(|device| device.tier).max().unwrap_or(0)
    }

    /// Slots of the devices of a tier that take new chunks: all of them, and those that are free.
    pub fn slots_of_tier(&self, tier: u8) -> (u64, u64) {
        let devices = self.devices.iter().filter(|device| device.usable && device.tier == tier);
        devices.fold((0, 0), |(total, free), device| {
            (total + u64::from(device.total), free + device.free.len() as u64)
        })
    }

    /// The same as [`Self::allocate`], all of it in one tier if there is room: in the tier `first`, in a slower one, or in a faster
    /// one, in this order. What one tier alone can hold may be less than what all can hold together, and nothing is placed so that
    /// less fits into the pool than did before.
    pub fn allocate_in(&mut self, copies: usize, first: u8) -> Vec<Slot> {
        let last = self.last_tier();
        if last > 0 {
            let before = self.fitting();
            for tier in (first..=last).chain((0..first.min(last + 1)).rev()) {
                let slots = self.allocate_from(copies, Some((tier, tier < last)));
                // No more is missing than so many slots hold.
                let is_no_less = before.iter().all(|&(each, before)| {
                    self.free_chunks(each) + (copies as u64).div_ceil(each as u64) >= before
                });
                if !slots.is_empty() && is_no_less {
                    return slots;
                }
                slots.into_iter().for_each(|slot| self.release(slot));
            }
        }
        self.allocate(copies)
    }

    /// Slots on `count` distinct devices of a tier that are not among `taken`, for what gives up the slots `left`: all of them or none, and none
    /// if less would fit into the pool than does now.
    pub fn allocate_for_move(&mut self, count: usize, tier: u8, taken: &[u16], left: &[Slot]) -> Vec<Slot> {
        let before = self.fitting();
        let (mut taken, mut slots) = (taken.to_vec(), Vec::with_capacity(count));
        while slots.len() < count {
            let Some(slot) = self.take_beside(&taken, Some(tier)) else { break };
            taken.push(slot.device);
            slots.push(slot);
        }
        let given = |devices: &mut Vec<DeviceSlots>, give: bool| {
            for slot in left {
                let free = &mut devices[usize::from(slot.device)].free;
                if give {
                    free.insert(slot.index)
                } else {
                    free.remove(&slot.index)
                };
            }
        };
        given(&mut self.devices, true);
        let is_no_less = before.into_iter().all(|(each, before)| self.free_chunks(each) >= before);
        given(&mut self.devices, false);
        if slots.len() == count && is_no_less {
            return slots;
        }
        slots.into_iter().for_each(|slot| self.release(slot));
        Vec::new()
    }

    /// Takes a slot that an image names. False when it was taken already or does not exist: two chunks claim it.
    #[must_use]
    pub fn claim(&mut self, slot: Slot) -> bool {
        match self.devices.get_mut(usize::from(slot.device)) {
            Some(device) => device.free.remove(&slot.index),
            None => false,
        }
    }

    /// Takes `copies` slots on distinct devices (fewer where fewer devices are usable), or none when not all of them can
    /// be had: a pool that is full does not thin out its copies. Devices with the most free slots come first, so that devices of different sizes fill up
    /// together and no capacity is left that cannot be mirrored.
    pub fn allocate(&mut self, copies: usize) -> Vec<Slot> {
        self.allocate_from(copies, None)
    }

    /// The same from the devices of one tier, where one is given; not from those that are nearly full, where it is to keep some.
    fn allocate_from(&mut self, copies: usize, tier: Option<(u8, bool)>) -> Vec<Slot> {
        let has_room = |device: &DeviceSlots| {
            let kept = match tier {
                Some((_, true)) => (device.total / KEPT_PART).max(1) as usize,
                _ => 0,
            };
            device.usable && device.free.len() > kept && tier.is_none_or(|(tier, _)| device.tier == tier)
        };
        let mut candidates: Vec<(usize, usize)> = self
            .devices
            .iter()
            .enumerate()
            .filter(|(_, device)| has_room(device))
            .map(|(index, device)| (device.free.len(), index))
            .collect();
        let copies = copies.min(self.usable_devices());
        if candidates.len() < copies {
            return Vec::new();
        }
        candidates.sort_by_key(|&(free, index)| (Reverse(free), index));
        candidates
            .into_iter()
            .take(copies)
            .map(|(_, index)| {
                let slot = self.devices[index].free.pop_first().expect("filtered on free slots");
                Slot { device: index as u16, index: slot }
            })
            .collect()
    }

    /// A slot on the device with the most free ones among those that are not `taken`: one of the tier, if there is one, else of any.
    pub fn allocate_beside(&mut self, taken: &[u16], tier: u8) -> Option<Slot> {
        self.take_beside(taken, Some(tier)).or_else(|| self.take_beside(taken, None))
    }

    fn take_beside(&mut self, taken: &[u16], tier: Option<u8>) -> Option<Slot> {
        let index = self.emptiest_beside(taken, tier)?;
        let slot = self.devices[index].free.pop_first().expect("filtered on free slots");
        Some(Slot { device: index as u16, index: slot })
    }

    fn emptiest_beside(&self, taken: &[u16], tier: Option<u8>) -> Option<usize> {
        let usable = |(index, device): &(usize, &DeviceSlots)| {
            device.usable
                && !device.free.is_empty()
                && tier.is_none_or(|tier| device.tier == tier)
                && !taken.contains(&(*index as u16))
        };
        let candidates = self.devices.iter().enumerate().filter(usable);
        let (index, _) = candidates.max_by_key(|(index, device)| (device.free.len(), Reverse(*index)))?;
        Some(index)
    }

    /// The device of `own` with the fewest free slots, if one of its tier that is neither there nor in `beside` has so many more that
    /// moving there what lies on it is worth the copying. Free slots, not shares: that is what [`Self::allocate`] goes by.
    pub fn relieved_device(&self, own: &[u16], beside: &[u16]) -> Option<u16> {
        let free = |device: u16| self.devices[usize::from(device)].free.len();
        let taken = [own, beside].concat();
        let is_relieved = |device: &u16| {
            let Some(emptiest) = self.emptiest_beside(&taken, Some(self.tier_of(*device))) else {
                return false;
            };
            let emptiest = &self.devices[emptiest];
            let margin = (emptiest.total / IMBALANCE_PART).max(IMBALANCE_MIN) as usize;
            emptiest.free.len() > free(*device) + margin
        };
        own.iter().copied().filter(is_relieved).min_by_key(|&device| free(device))
    }

    /// Gives a slot back.
    ///
    /// # Panics
    /// When it is free already: two owners would share it.
    pub fn release(&mut self, slot: Slot) {
        let device = &mut self.devices[usize::from(slot.device)];
        assert!(device.free.insert(slot.index), "slot {slot:?} was released twice");
    }

    /// Slots of a device that are taken.
    pub fn used_slots(&self, device: u16) -> u64 {
        self.devices
            .get(usize::from(device))
            .map_or(0, |device| u64::from(device.total) - device.free.len() as u64)
    }

    /// Slots of a device that are free.
    pub fn free_slots(&self, device: u16) -> usize {
        self.devices.get(usize::from(device)).map_or(0, |device| device.free.len())
    }

    /// Devices that can take new chunks.
    pub fn usable_devices(&self) -> usize {
        self.devices.iter().filter(|device| device.usable).count()
    }

    /// How many chunks of `copies` copies fit into the free slots (fewer copies where fewer devices are usable).
    pub fn free_chunks(&self, copies: usize) -> u64 {
        self.chunks(copies, None, |device| device.free.len() as u64)
    }

    /// How many chunks of `copies` copies the usable devices hold in all.
    pub fn total_chunks(&self, copies: usize) -> u64 {
        self.total_chunks_without(copies, None)
    }

    /// The same without one of them.
    pub fn total_chunks_without(&self, copies: usize, without: Option<u16>) -> u64 {
        self.chunks(copies, without, |device| u64::from(device.total))
    }

    /// The largest `n` such that `n` chunks fit.
    fn chunks(&self, copies: usize, without: Option<u16>, slots: impl Fn(&DeviceSlots) -> u64) -> u64 {
        let slots = self.slots_by_device(without, slots);
        let copies = copies.min(slots.len()).max(1);
        most(slots.iter().sum::<u64>() / copies as u64, |chunks| {
            lack(&slots, &Counts::from([(copies, chunks)])) == 0
        })
    }

    /// Of the devices that take new chunks, but for one.
    fn slots_by_device(&self, without: Option<u16>, slots: impl Fn(&DeviceSlots) -> u64) -> Vec<u64> {
        let used = |(index, device): &(usize, &DeviceSlots)| device.usable && Some(*index as u16) != without;
        self.devices.iter().enumerate().filter(used).map(|(_, device)| slots(device)).collect()
    }

    /// How many chunks of `copies` copies fit into the free slots beside so many of others; below 0 how many too many these are.
    pub fn free_chunks_beside(&self, copies: usize, others: &Counts) -> i64 {
        let slots = self.slots_by_device(None, |device| device.free.len() as u64);
        let beside = placed(others, slots.len());
        let copies = copies.min(slots.len()).max(1);
        let free = self.free_chunks(copies);
        if beside.keys().all(|&other| other == copies) {
            return free as i64 - beside.values().sum::<u64>() as i64;
        }
        let with = |chunks: u64| {
            let mut all = beside.clone();
            *all.entry(copies).or_default() += chunks;
            lack(&slots, &all)
        };
        match with(0) {
            0 => most(free, |chunks| with(chunks) == 0) as i64,
            lack => -(lack.div_ceil(copies as u64) as i64),
        }
    }

    /// Whether so many chunks fit on the devices that take new ones, or on all but one of them, when these are empty.
    pub fn can_hold(&self, chunks: &Counts, without: Option<u16>) -> bool {
        let slots = self.slots_by_device(without, |device| u64::from(device.total));
        lack(&slots, &placed(chunks, slots.len())) == 0
    }
}

/// Chunks get as many copies as there are devices, where these are fewer.
fn placed(chunks: &Counts, devices: usize) -> Counts {
    let mut placed = Counts::new();
    chunks
        .iter()
        .for_each(|(&copies, &chunks)| *placed.entry(copies.min(devices).max(1)).or_default() += chunks);
    placed
}

/// How many chunks there are, by the number of slots that each takes on distinct devices.
pub type Counts = BTreeMap<usize, u64>;

/// How many slots too few there are for these chunks on devices with so many slots, of which a chunk takes one at most. The chunks
/// can be placed if for every number of them those that take the most slots find them: each device has one for each of these chunks, or as many
/// as it has (Gale, "A theorem on flows in networks", 1957). Only the numbers at which chunks begin to take fewer slots need to be looked at.
fn lack(slots: &[u64], chunks: &Counts) -> u64 {
    let (mut count, mut wanted, mut lack) = (0, 0, 0);
    for (&copies, &more) in chunks.iter().rev() {
        count += more;
        wanted += copies as u64 * more;
        let held: u64 = slots.iter().map(|&slots| slots.min(count)).sum();
        lack = lack.max(wanted.saturating_sub(held));
    }
    lack
}

/// The largest number up to `high` for which something holds that holds for all smaller ones.
pub(crate) fn most(high: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, high);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if holds(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unequal_devices_are_used_to_the_last_slot_that_can_be_mirrored() {
        for (slots, copies, expected) in [
            (vec![10, 10, 10], 2, 15),
            (vec![30, 10, 10], 2, 20),
            (vec![7, 5, 3], 2, 7),
            (vec![4, 9, 2], 1, 15),
            (vec![10, 8, 6, 4], 3, 9),
            (vec![5], 2, 5),
        ] {
            let mut allocator = allocator(&slots);
            assert_eq!(allocator.total_chunks(copies), expected, "{slots:?}");
            let mut taken = BTreeSet::new();
            for left in (0..expected).rev() {
                let placed = allocator.allocate(copies);
                let devices: BTreeSet<u16> = placed.iter().map(|slot| slot.device).collect();
                assert_eq!(devices.len(), placed.len(), "copies on distinct devices");
                assert_eq!(placed.len(), copies.min(slots.len()), "{slots:?} with {left} left");
                assert!(placed.into_iter().all(|slot| taken.insert(slot)));
                assert_eq!(allocator.free_chunks(copies), left);
            }
            taken.into_iter().for_each(|slot| allocator.release(slot));
            assert_eq!(allocator.free_chunks(copies), expected);
        }
    }

    fn allocator(slots: &[u32]) -> Allocator {
        let mut allocator = Allocator::default();
        allocator.set_copies(vec![2]);
        (0..).zip(slots).for_each(|(index, &slots)| allocator.add_device(index, slots, true));
        allocator
    }

    #[test]
    fn a_device_out_of_use_gets_nothing_and_what_is_taken_of_it_is_remembered() {
        let mut allocator = allocator(&[4, 4]);
        assert!(allocator.claim(Slot { device: 0, index: 3 }));
        assert!(!allocator.claim(Slot { device: 0, index: 3 }));
        assert!(
            !allocator.claim(Slot { device: 0, index: 4 }) && !allocator.claim(Slot { device: 2, index: 0 })
        );
        allocator.set_usable(0, false);
        assert_eq!(allocator.allocate(2), [Slot { device: 1, index: 0 }]);
        assert_eq!(
            (allocator.usable_devices(), allocator.used_slots(0), allocator.total_chunks(1)),
            (1, 1, 4)
        );
        allocator.release(Slot { device: 0, index: 3 });
        assert_eq!((allocator.used_slots(0), allocator.used_slots(1)), (0, 1));
        allocator.remove_device(0);
        allocator.add_device(0, 2, true);
        assert_eq!((allocator.total_chunks(1), allocator.free_chunks(1)), (6, 5));
    }

    #[test]
    fn only_a_much_emptier_device_relieves_another() {
        let mut allocator = allocator(&[64, 64]);
        (0..40).for_each(|_| assert_eq!(allocator.allocate(2).len(), 2));
        assert_eq!(allocator.relieved_device(&[0, 1], &[]), None, "there is no other");
        allocator.add_device(2, 64, true);
        assert_eq!(allocator.relieved_device(&[0, 1], &[2]), None, "another chunk of the group is there");
        let mut moved = 0;
        while let Some(device) = allocator.relieved_device(&[0, 1], &[]) {
            let slot = allocator.allocate_beside(&[0, 1], 0).unwrap();
            let index =
                (0..64).find(|&index| allocator.claim(Slot { device, index }).then_some(()).is_none());
            allocator.release(Slot { device, index: index.unwrap() });
            assert_eq!(slot.device, 2);
            moved += 1;
        }
        let used = [0, 1, 2].map(|device| allocator.used_slots(device));
        assert!(
            used[2] < used[0] && used[0] - used[2] <= 64 / u64::from(IMBALANCE_PART) + 1,
            "{used:?} {moved}"
        );
        assert_eq!(allocator.relieved_device(&[2], &[]), None);
    }

    #[test]
    fn a_device_grows_and_another_copy_goes_where_there_is_none() {
        let mut allocator = allocator(&[2, 3, 1]);
        assert_eq!(allocator.allocate_beside(&[1], 0), Some(Slot { device: 0, index: 0 }));
        assert_eq!(allocator.allocate_beside(&[0, 1], 0), Some(Slot { device: 2, index: 0 }));
        assert_eq!(allocator.allocate_beside(&[0, 1], 0), None);
        allocator.add_device(2, 2, true);
        assert_eq!(allocator.allocate_beside(&[0, 1], 0), Some(Slot { device: 2, index: 1 }));
    }

    #[test]
    fn new_chunks_go_to_the_fastest_tier_with_room_and_none_is_refused_while_any_has_some() {
        let mut allocator = allocator(&[8, 8, 16, 16]);
        allocator.set_tiers(&[(2, 1), (3, 1)]);
        let tier_of = |allocator: &mut Allocator, first| {
            let slots = allocator.allocate_in(2, first);
            let tiers: BTreeSet<u8> = slots.iter().map(|slot| allocator.tier_of(slot.device)).collect();
            (slots.len(), tiers.into_iter().collect::<Vec<u8>>())
        };
        for _ in 0..7 {
            assert_eq!(tier_of(&mut allocator, 0), (2, vec![0]));
        }
        // One slot of each is kept for what is to move there.
        for _ in 0..15 {
            assert_eq!(tier_of(&mut allocator, 0), (2, vec![1]));
        }
        assert_eq!(allocator.slots_of_tier(0), (16, 2));
        assert_eq!(tier_of(&mut allocator, 1), (2, vec![1]));
        assert_eq!(tier_of(&mut allocator, 1), (2, vec![0]), "the last ones are given to whoever asks");
        assert_eq!(tier_of(&mut allocator, 0).0, 0);
    }

    #[test]
    fn a_tier_is_not_preferred_where_less_would_fit_then() {
        // Devices 0 and 1 are fast; what of 2 cannot be mirrored on itself needs them.
        let mut allocator = allocator(&[10, 10, 10, 2]);
        allocator.set_tiers(&[(2, 1), (3, 1)]);
        let all = allocator.free_chunks(2);
        for left in (0..all).rev() {
            assert_eq!(allocator.allocate_in(2, 0).len(), 2);
            assert_eq!(allocator.free_chunks(2), left);
        }
    }

    proptest! {
        #[test]
        fn chunks_of_all_numbers_of_copies_fit_as_counted(
            slots in prop::collection::vec(0u32..9, 1..6),
            others in prop::array::uniform3(0u64..6),
            copies in 1usize..4,
        ) {
            let others: Counts = (1..).zip(others).filter(|(_, chunks)| *chunks > 0).collect();
            // The widest first, each on the devices with the most room: if anything fits, this does.
            let fits = |more: u64| {
                let mut all = others.clone();
                *all.entry(copies).or_default() += more;
                let mut allocator = allocator(&slots);
                let mut places = all.into_iter().rev().flat_map(|(copies, chunks)| (0..chunks).map(move |_| copies));
                places.all(|copies| !allocator.allocate(copies).is_empty())
            };
            let counted = allocator(&slots).free_chunks_beside(copies, &others);
            match u64::try_from(counted) {
                Ok(counted) => prop_assert!(fits(counted) && !fits(counted + 1), "{counted}"),
                Err(_) => prop_assert!(!fits(0), "{counted}"),
            }
        }
    }

    #[test]
    fn chunks_of_fewer_copies_leave_as_many_of_more_copies_as_they_can() {
        // Of ten slots one device has six: what is mirrored fits four times.
        let mut allocator = allocator(&[6, 2, 2]);
        allocator.set_copies(vec![1, 2]);
        allocator.set_tiers(&[(0, 1)]);
        assert_eq!((allocator.free_chunks(1), allocator.free_chunks(2)), (10, 4));
        // Both of the fast devices are wanted by what is mirrored; the first two can be had all the same.
        let taken: Vec<u16> = (0..6).map(|_| allocator.allocate_in(1, 0)[0].device).collect();
        assert_eq!(allocator.free_chunks(1), 4);
        assert!(allocator.free_chunks(2) >= 1, "{taken:?}");
        let mut allocator = self::allocator(&[6, 2, 2]);
        (0..2).for_each(|_| _ = allocator.allocate(1));
        assert_eq!(allocator.free_chunks(2), 4, "one copy goes where there is most room");
    }

    #[test]
    fn what_moves_to_another_tier_has_all_its_copies_there() {
        let mut allocator = allocator(&[4, 4, 4, 4]);
        allocator.set_tiers(&[(2, 1), (3, 1)]);
        let slots = allocator.allocate_in(2, 1);
        let moved = allocator.allocate_for_move(2, 0, &[2, 3], &slots);
        assert_eq!(moved.iter().map(|slot| slot.device).collect::<Vec<u16>>(), [0, 1]);
        allocator.set_usable(1, false);
        assert!(allocator.allocate_for_move(2, 0, &[2, 3], &slots).is_empty(), "one device is out of use");
        assert_eq!(allocator.free_slots(0), 3);
    }

    #[test]
    fn a_device_is_relieved_within_its_tier() {
        let mut allocator = allocator(&[64, 64, 64]);
        allocator.set_tiers(&[(1, 1), (2, 1)]);
        (0..40).for_each(|index| assert!(allocator.claim(Slot { device: 0, index })));
        assert_eq!(allocator.relieved_device(&[0], &[]), None, "the others are slower");
        (0..40).for_each(|index| assert!(allocator.claim(Slot { device: 1, index })));
        assert_eq!(allocator.relieved_device(&[1], &[]), Some(1));
        assert_eq!(
            allocator.allocate_beside(&[1, 2], 1).map(|slot| slot.device),
            Some(0),
            "rather there than nowhere"
        );
    }
}
