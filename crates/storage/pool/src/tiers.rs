//! The tiers of a pool: its devices by how fast they are, and how many chunks which are read how much lie on each.
//!
//! What it is: which devices belong together ([`tiers_of`]), and [`HeatMap`], by which the logs of a pool tell each other what they
//! have. What it is not: it moves nothing; `quarry-engine` plans that.
//!
//! Invariant: a tier has as many devices as one chunk, or one group, needs. The devices of a class that has fewer belong to the next
//! slower tier, or to the slowest. So everything can lie within one tier, and a pool whose devices differ by chance has one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quarry_format::label::{DeviceClass, TierPolicy};
use quarry_types::LogId;
use quarry_types::limits::DEVICES_MAX;

use crate::chunk::Slots;
use crate::{DeviceStatus, PoolShared};

/// Classes of devices, and so tiers, at most.
pub const TIERS_MAX: usize = 5;
/// Levels of heat: 0 for less than one read, then so many for each power of two.
pub const HEAT_LEVELS: usize = 96;
const LEVELS_PER_OCTAVE: f32 = 4.0;

/// Devices on which what lies there is equally fast.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tier {
    /// The class of its slowest device.
    pub class: DeviceClass,
    /// Its devices.
    pub devices: Vec<u16>,
}

/// Slots of a tier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TierSlots {
    /// Those of the devices that take new chunks.
    pub total: u64,
    /// Of these, the free ones.
    pub free: u64,
    /// Whether what leaves it goes to buckets: then more is kept free, for hosts must not have to write there.
    pub is_above_buckets: bool,
}

/// How many slots hold chunks of which heat that can move, by tier and by level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeatMap(pub [[u64; HEAT_LEVELS]; TIERS_MAX]);

impl Default for HeatMap {
    fn default() -> Self {
        Self([[0; HEAT_LEVELS]; TIERS_MAX])
    }
}

impl HeatMap {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        let all = self.0.iter_mut().flatten().zip(other.0.iter().flatten());
        all.for_each(|(slots, more)| *slots += more);
    }
}

/// The level of so much heat.
pub fn heat_level(heat: f32) -> usize {
    if heat < 1.0 { 0 } else { ((heat.log2() * LEVELS_PER_OCTAVE) as usize + 1).min(HEAT_LEVELS - 1) }
}

/// The least heat of a level.
pub fn heat_of_level(level: usize) -> f32 {
    if level == 0 { 0.0 } else { ((level - 1) as f32 / LEVELS_PER_OCTAVE).exp2() }
}

/// The tiers of these devices, the fastest first, where a chunk or a group needs so many of them. There is one at least.
pub(crate) fn tiers_of(devices: &[DeviceStatus], needed: usize) -> Vec<Tier> {
    let mut by_class: Vec<(DeviceClass, &DeviceStatus)> =
        devices.iter().map(|device| (device.class.known(), device)).collect();
    by_class.sort_by_key(|(class, device)| (*class, device.index));
    let mut tiers: Vec<Tier> = Vec::new();
    let (mut gathered, mut staying): (Vec<u16>, usize) = (Vec::new(), 0);
    let classes = by_class.chunk_by(|(one, _), (other, _)| one == other);
    let mut last_class = DeviceClass::Ssd;
    for class in classes {
        last_class = class[0].0;
        gathered.extend(class.iter().map(|(_, device)| device.index));
        staying += class.iter().filter(|(_, device)| !device.leaving).count();
        if staying >= needed {
            tiers.push(Tier { class: last_class, devices: std::mem::take(&mut gathered) });
            staying = 0;
        }
    }
    match tiers.last_mut() {
        Some(slowest) if !gathered.is_empty() => {
            slowest.class = last_class;
            slowest.devices.append(&mut gathered);
        }
        Some(_) => {}
        None => tiers.push(Tier { class: last_class, devices: gathered }),
    }
    tiers
}

impl PoolShared {
    /// The tiers, the fastest first.
    pub fn tiers(&self) -> Arc<[Tier]> {
        self.tiers.lock().expect("no panic under it").clone()
    }

    /// Finds the tiers again after devices, or what they need, have changed.
    pub(crate) fn renew_tiers(&self) {
        // Held to the end: who comes last knows best.
        let mut known = self.tiers.lock().expect("no panic under it");
        let devices = self.devices();
        let slow = devices.iter().filter(|device| device.class.known() >= DeviceClass::Hdd);
        self.slow.store(slow.fold(0, |slow, device| slow | 1 << device.index), Ordering::Relaxed);
        let tiers = tiers_of(&devices, self.protection().devices());
        let ranks: Vec<(u16, u8)> = (0..)
            .zip(&tiers)
            .flat_map(|(rank, tier)| tier.devices.iter().map(move |&device| (device, rank)))
            .collect();
        *known = tiers.into();
        self.allocator().set_tiers(&ranks);
    }

    /// The tier on which everything of a log is to lie, if that is said: the slowest that is as fast as the class, or else the fastest.
    pub fn pinned_tier(&self, log: LogId) -> Option<u8> {
        let TierPolicy::Pinned(class) = self.tier_policy_of(log) else { return None };
        let tiers = self.tiers();
        let tier = tiers.iter().rposition(|tier| tier.class <= class).unwrap_or(0) as u8;
        Some(self.tier_for(log, tier))
    }

    /// The first tier, from this one on, that has as many devices as a chunk or a group of a log needs; the slowest where there is none. Tiers are
    /// made for the protection of the pool, and a log may need more.
    pub(crate) fn tier_for(&self, log: LogId, tier: u8) -> u8 {
        let (wanted, tiers) = (self.protection_of(log).devices(), self.tiers());
        let is_wide = |tier: &&Tier| tier.devices.len() >= wanted;
        let found = tiers.iter().enumerate().skip(tier.into()).find(|(_, tier)| is_wide(tier));
        found.map_or(tiers.len() - 1, |(tier, _)| tier) as u8
    }

    /// Slots of a tier for what a log has: none where it cannot lie.
    pub fn tier_slots_for(&self, log: LogId, tier: u8) -> TierSlots {
        let slots = self.tier_slots(tier);
        if self.tier_for(log, tier) == tier { slots } else { TierSlots { total: 0, free: 0, ..slots } }
    }

    /// Slots of a tier.
    pub fn tier_slots(&self, tier: u8) -> TierSlots {
        let (total, free) = self.allocator().slots_of_tier(tier);
        let next = self.tiers().get(usize::from(tier) + 1).map(|tier| tier.class);
        TierSlots { total, free, is_above_buckets: next == Some(DeviceClass::Object) }
    }

    /// The tier of a device: 0 is the fastest.
    pub fn tier_of(&self, device: u16) -> u8 {
        self.allocator().tier_of(device)
    }

    /// The fastest and the slowest tier in which there are copies.
    pub fn tiers_of_slots(&self, slots: &Slots) -> (u8, u8) {
        let allocator = self.allocator();
        let tiers = slots.iter().map(|slot| allocator.tier_of(slot.device));
        tiers.fold((u8::MAX, 0), |(fastest, slowest), tier| (fastest.min(tier), slowest.max(tier)))
    }

    /// Takes note of what a log has in which tier, and gives what all logs have.
    pub fn share_heat(&self, log: LogId, heat: HeatMap) -> HeatMap {
        let mut heats = self.heats.lock().expect("no panic under it");
        heats.insert(log, heat);
        let mut all = HeatMap::default();
        heats.values().for_each(|heat| all.add(heat));
        all
    }

    /// What all logs have in which tier, as of when each has looked last.
    pub fn heat(&self) -> HeatMap {
        let mut all = HeatMap::default();
        self.heats.lock().expect("no panic under it").values().for_each(|heat| all.add(heat));
        all
    }
}

const _: () = assert!(DEVICES_MAX <= u16::MAX as usize && TIERS_MAX <= u8::MAX as usize);

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use quarry_types::DeviceId;

    use super::*;

    fn device(index: u16, class: DeviceClass, leaving: bool) -> DeviceStatus {
        let (id, path) = (DeviceId::from_random(u128::from(index)), PathBuf::from("/dev/x"));
        DeviceStatus { index, id, path, slots: 4, class, leaving, failure: None }
    }

    #[test]
    fn a_tier_has_as_many_devices_as_a_chunk_needs() {
        use DeviceClass::{Hdd, Nvme, Ssd, Unknown};
        let tiers = |classes: &[DeviceClass], needed| {
            let devices: Vec<DeviceStatus> =
                (0..).zip(classes).map(|(index, &class)| device(index, class, false)).collect();
            tiers_of(&devices, needed).into_iter().map(|tier| (tier.class, tier.devices)).collect::<Vec<_>>()
        };
        assert_eq!(tiers(&[Hdd, Nvme], 1), [(Nvme, vec![1]), (Hdd, vec![0])]);
        assert_eq!(tiers(&[Hdd, Nvme], 2), [(Hdd, vec![1, 0])], "together or not at all");
        assert_eq!(tiers(&[Unknown, Ssd], 1), [(Ssd, vec![0, 1])]);
        assert_eq!(tiers(&[Nvme, Ssd, Hdd, Hdd], 2), [(Ssd, vec![0, 1]), (Hdd, vec![2, 3])]);
        assert_eq!(tiers(&[Nvme, Nvme, Ssd, Hdd, Nvme], 3), [(Hdd, vec![0, 1, 4, 2, 3])][..1].to_vec());
        assert_eq!(
            tiers(&[Nvme, Nvme, Hdd], 2),
            [(Hdd, vec![0, 1, 2])],
            "one disk alone is no tier of two copies"
        );
        assert_eq!(tiers(&[], 1), [(Ssd, vec![])]);
    }

    #[test]
    fn a_device_that_leaves_holds_no_tier_up() {
        let devices = [
            device(0, DeviceClass::Nvme, false),
            device(1, DeviceClass::Nvme, true),
            device(2, DeviceClass::Hdd, false),
            device(3, DeviceClass::Hdd, false),
        ];
        assert_eq!(tiers_of(&devices, 2).len(), 1);
        assert_eq!(tiers_of(&devices, 1).len(), 2);
    }

    #[test]
    fn four_levels_are_a_power_of_two() {
        let levels = [0.0, 0.9, 1.0, 1.1, 1.5, 2.0, 4.0, 1e30].map(heat_level);
        assert_eq!(levels, [0, 0, 1, 1, 3, 5, 9, HEAT_LEVELS - 1]);
        assert_eq!([0, 1, 5, 9].map(heat_of_level), [0.0, 1.0, 2.0, 4.0]);
    }
}
