//! Which slots of which devices are free. Off the I/O path: it is asked once a segment.
//!
//! A slot is taken exactly as long as a chunk, an image or a recovery in progress names it; nothing here is durable,
//! because the images of the logs say it all.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use quarry_format::anchor::Slot;

/// Devices are balanced when their free slots differ by this part of one of them at most, or so many.
const IMBALANCE_PART: u32 = 16;
const IMBALANCE_MIN: u32 = 2;

/// The slots of one device.
#[derive(Default)]
struct DeviceSlots {
    free: BTreeSet<u32>,
    total: u32,
    /// Whether it takes new chunks. What is taken of one that does not is counted all the same: it may come back.
    usable: bool,
}

/// The free slots of a pool.
#[derive(Default)]
pub struct Allocator {
    devices: Vec<DeviceSlots>,
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
        let mut candidates: Vec<(usize, usize)> = self
            .devices
            .iter()
            .enumerate()
            .filter(|(_, device)| device.usable && !device.free.is_empty())
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

    /// A slot on the device with the most free ones among those that are not `taken`.
    pub fn allocate_beside(&mut self, taken: &[u16]) -> Option<Slot> {
        let index = self.emptiest_beside(taken)?;
        let slot = self.devices[index].free.pop_first().expect("filtered on free slots");
        Some(Slot { device: index as u16, index: slot })
    }

    fn emptiest_beside(&self, taken: &[u16]) -> Option<usize> {
        let usable = |(index, device): &(usize, &DeviceSlots)| {
            device.usable && !device.free.is_empty() && !taken.contains(&(*index as u16))
        };
        let candidates = self.devices.iter().enumerate().filter(usable);
        let (index, _) = candidates.max_by_key(|(index, device)| (device.free.len(), Reverse(*index)))?;
        Some(index)
    }

    /// The device of `own` with the fewest free slots, if one that is neither there nor in `beside` has so many more that moving there what lies on it is worth
    /// the copying. Free slots, not shares: that is what [`Self::allocate`] goes by.
    pub fn relieved_device(&self, own: &[u16], beside: &[u16]) -> Option<u16> {
        let emptiest = &self.devices[self.emptiest_beside(&[own, beside].concat())?];
        let free = |device: u16| self.devices[usize::from(device)].free.len();
        let fullest = own.iter().copied().min_by_key(|&device| free(device))?;
        let margin = (emptiest.total / IMBALANCE_PART).max(IMBALANCE_MIN) as usize;
        (emptiest.free.len() > free(fullest) + margin).then_some(fullest)
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

    /// The largest `n` such that `n` chunks fit: each device can hold at most one copy of each chunk.
    fn chunks(&self, copies: usize, without: Option<u16>, slots: impl Fn(&DeviceSlots) -> u64) -> u64 {
        let used = |(index, device): &(usize, &DeviceSlots)| device.usable && Some(*index as u16) != without;
        let devices: Vec<&DeviceSlots> =
            self.devices.iter().enumerate().filter(used).map(|(_, device)| device).collect();
        let copies = copies.min(devices.len()).max(1) as u64;
        let slots: Vec<u64> = devices.into_iter().map(slots).filter(|&slots| slots > 0).collect();
        let fits = |chunks: u64| slots.iter().map(|&slots| slots.min(chunks)).sum::<u64>() >= copies * chunks;
        let (mut low, mut high) = (0, slots.iter().sum::<u64>() / copies);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        low
    }
}

#[cfg(test)]
mod tests {
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
            let slot = allocator.allocate_beside(&[0, 1]).unwrap();
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
        assert_eq!(allocator.allocate_beside(&[1]), Some(Slot { device: 0, index: 0 }));
        assert_eq!(allocator.allocate_beside(&[0, 1]), Some(Slot { device: 2, index: 0 }));
        assert_eq!(allocator.allocate_beside(&[0, 1]), None);
        allocator.add_device(2, 2, true);
        assert_eq!(allocator.allocate_beside(&[0, 1]), Some(Slot { device: 2, index: 1 }));
    }
}
