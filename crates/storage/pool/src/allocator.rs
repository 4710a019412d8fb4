//! Which slots of which devices are free. Off the I/O path: it is asked once a segment.
//!
//! A slot is taken exactly as long as a chunk, an image or a recovery in progress names it; nothing here is durable,
//! because the images of the logs say it all.

use std::collections::BTreeSet;

use quarry_format::anchor::Slot;

/// The free slots of one device.
struct DeviceSlots {
    free: BTreeSet<u32>,
    total: u32,
    usable: bool,
}

/// The free slots of a pool.
pub struct Allocator {
    devices: Vec<DeviceSlots>,
}

impl Allocator {
    /// Devices with so many slots each, all free; `None` for a device that is not there.
    pub fn new(slots: impl IntoIterator<Item = Option<u32>>) -> Self {
        let devices = slots
            .into_iter()
            .map(|slots| {
                let total = slots.unwrap_or(0);
                DeviceSlots { free: (0..total).collect(), total, usable: slots.is_some() }
            })
            .collect();
        Self { devices }
    }

    /// Takes a slot that an image names. False when it was taken already or does not exist: two chunks claim it.
    #[must_use]
    pub fn claim(&mut self, slot: Slot) -> bool {
        match self.devices.get_mut(usize::from(slot.device)) {
            Some(device) if device.usable => device.free.remove(&slot.index),
            Some(_) => true,
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
        candidates.sort_by_key(|&(free, index)| (std::cmp::Reverse(free), index));
        candidates
            .into_iter()
            .take(copies)
            .map(|(_, index)| {
                let slot = self.devices[index].free.pop_first().expect("filtered on free slots");
                Slot { device: index as u16, index: slot }
            })
            .collect()
    }

    /// Gives a slot back.
    ///
    /// # Panics
    /// When it is free already: two owners would share it.
    pub fn release(&mut self, slot: Slot) {
        let device = &mut self.devices[usize::from(slot.device)];
        if device.usable {
            assert!(device.free.insert(slot.index), "slot {slot:?} was released twice");
        }
    }

    /// Takes a device out of use: nothing is placed on it from now on.
    pub fn retire_device(&mut self, device: usize) {
        self.devices[device].usable = false;
        self.devices[device].free.clear();
    }

    /// Slots of a device that are taken; 0 for one that is out of use, whose slots nobody counts.
    pub fn used_slots(&self, device: usize) -> u64 {
        let device = &self.devices[device];
        if device.usable { u64::from(device.total) - device.free.len() as u64 } else { 0 }
    }

    /// Devices that can take new chunks.
    pub fn usable_devices(&self) -> usize {
        self.devices.iter().filter(|device| device.usable).count()
    }

    /// How many chunks of `copies` copies fit into the free slots (fewer copies where fewer devices are usable).
    pub fn free_chunks(&self, copies: usize) -> u64 {
        self.chunks(copies, |device| device.free.len() as u64)
    }

    /// How many chunks of `copies` copies the usable devices hold in all.
    pub fn total_chunks(&self, copies: usize) -> u64 {
        self.chunks(copies, |device| u64::from(device.total))
    }

    /// The largest `n` such that `n` chunks fit: each device can hold at most one copy of each chunk.
    fn chunks(&self, copies: usize, slots: impl Fn(&DeviceSlots) -> u64) -> u64 {
        let slots: Vec<u64> = self
            .devices
            .iter()
            .filter(|device| device.usable)
            .map(slots)
            .filter(|&slots| slots > 0)
            .collect();
        let copies = copies.min(self.usable_devices()).max(1) as u64;
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
            let mut allocator = Allocator::new(slots.iter().map(|&slots| Some(slots)));
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

    #[test]
    fn a_retired_device_gets_nothing_and_a_slot_is_claimed_once() {
        let mut allocator = Allocator::new([Some(4), Some(4), None]);
        assert!(allocator.claim(Slot { device: 0, index: 3 }));
        assert!(!allocator.claim(Slot { device: 0, index: 3 }));
        assert!(!allocator.claim(Slot { device: 0, index: 4 }));
        assert!(allocator.claim(Slot { device: 2, index: 9 }), "a missing device cannot contradict");
        allocator.retire_device(0);
        assert_eq!(allocator.allocate(2), [Slot { device: 1, index: 0 }]);
        allocator.release(Slot { device: 0, index: 3 });
        assert_eq!(allocator.usable_devices(), 1);
    }
}
