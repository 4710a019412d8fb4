//! The devices of one pool, and reading what lies on them with as many copies as there are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use quarry_format::anchor::Slot;
use quarry_format::label::{Label, LabelState, slot_offset};
use quarry_types::PoolId;

use crate::device::Device;

/// See the module.
pub struct Pool {
    /// The newest label: it names the members.
    pub label: Label,
    /// By index.
    pub devices: BTreeMap<u16, Device>,
    /// What is missing or wrong, in words.
    pub flaws: Vec<String>,
}

/// What there is on the devices that were named.
pub struct Opened {
    pub pools: Vec<Pool>,
    /// How many of the devices are of no use. Others may have all that there was on them.
    pub unusable: usize,
}

/// The pools of these devices; says on stderr which of them are of no use. An error when none is of any.
pub fn open(paths: &[PathBuf]) -> Result<Opened> {
    let mut pools: BTreeMap<PoolId, Vec<Device>> = BTreeMap::new();
    let mut errors = Vec::new();
    for path in paths {
        match Device::open(path) {
            Ok(device) => pools.entry(device.label.pool).or_default().push(device),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    if pools.is_empty() {
        bail!("{}", errors.join("; "));
    }
    errors.iter().for_each(|error| eprintln!("warning: {error}"));
    let pools = pools.into_values().map(Pool::new).collect::<Result<_>>()?;
    Ok(Opened { pools, unusable: errors.len() })
}

impl Pool {
    fn new(devices: Vec<Device>) -> Result<Self> {
        let newest = devices.iter().map(|device| &device.label).max_by_key(|label| label.sequence);
        let label = newest.expect("a pool is made of a device").clone();
        let mut pool = Self { label, devices: BTreeMap::new(), flaws: Vec::new() };
        for device in devices {
            let index = device.label.device_index;
            pool.flaws.extend(device.flaws.iter().cloned());
            if pool.label.member(index).is_none_or(|member| member.device != device.label.own().device) {
                pool.flaws.push(format!("'{}' is not a member of the pool any more", device.path.display()));
                continue;
            }
            let path = device.path.display().to_string();
            if let Some(other) = pool.devices.insert(index, device) {
                bail!(
                    "'{path}' and '{}' are the same device of pool '{}'",
                    other.path.display(),
                    pool.label.pool_name
                );
            }
        }
        pool.note_missing();
        Ok(pool)
    }

    fn note_missing(&mut self) {
        let states: Vec<LabelState> = self.devices.values().map(|device| device.label.state).collect();
        if states.contains(&LabelState::Ended) {
            self.flaws.push("the pool was deleted: what is still there may be overwritten".to_owned());
        } else if !states.contains(&LabelState::Ready) {
            self.flaws.push("the pool was never completed".to_owned());
        }
        for member in &self.label.members {
            if !self.devices.contains_key(&member.index) {
                let (index, id, path) = (member.index, member.device, &member.path);
                self.flaws.push(format!("device {index} is missing: {id}, seen last at '{path}'"));
            }
        }
    }

    /// Bytes of `slot` from `offset` in it on.
    pub fn read_slot(&self, slot: Slot, offset: u64, bytes: &mut [u8]) -> Result<(), String> {
        let Some(device) = self.devices.get(&slot.device) else {
            return Err(format!("device {} is missing", slot.device));
        };
        let segment_bytes = self.label.segment_bytes;
        if offset + bytes.len() as u64 > segment_bytes {
            return Err("it would lie beyond the end of its slot".to_owned());
        }
        let place = slot_offset(slot.index, segment_bytes) + offset;
        device
            .read(bytes, place)
            .map_err(|error| format!("'{}' at byte {place}: {error}", device.path.display()))
    }

    /// Bytes that lie `offset` bytes into one of `slots`, from the first of them that passes `check`. Else what is wrong with
    /// each.
    pub fn read_checked<T>(
        &self,
        slots: &[Slot],
        offset: u64,
        length: usize,
        check: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut bytes = vec![0; length];
        let mut wrong = Vec::new();
        for &slot in slots {
            match self.read_slot(slot, offset, &mut bytes).and_then(|()| check(&bytes)) {
                Ok(value) => return Ok(value),
                Err(error) => wrong.push(error),
            }
        }
        Err(if wrong.is_empty() { "it has no copy".to_owned() } else { wrong.join("; ") })
    }

    /// Sectors of a slot.
    pub fn segment_sectors(&self) -> u32 {
        (self.label.segment_bytes / quarry_types::SECTOR_BYTES as u64) as u32
    }
}
