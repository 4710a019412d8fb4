//! Blocks that are known to have no good copy, for those who look after the node. Bounded.
//!
//! A read that fails adds the blocks that made it fail. A scrub that has read everything replaces them all by what it has found:
//! until then a block may be named that has been written again since.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use quarry_pool::PoolError;
use quarry_types::VolumeId;
use quarry_types::limits::BLOCK_BYTES;

use crate::duplicates::Duplicates;
use crate::scrub::LostPlace;
use crate::{Engine, EngineVolume};

/// Blocks that are remembered.
const PLACES_MAX: usize = 1000;

/// See the module.
#[derive(Default)]
pub(crate) struct Damage(RefCell<BTreeMap<(VolumeId, u64), String>>);

impl Damage {
    /// Whether that was not known.
    fn add(&self, place: LostPlace) -> bool {
        let mut places = self.0.borrow_mut();
        places.len() < PLACES_MAX && places.insert((place.volume, place.offset), place.name).is_none()
    }

    /// Forgets what was known for what a scrub has found.
    pub(crate) fn replace(&self, places: impl Iterator<Item = LostPlace>) {
        self.0.take();
        places.for_each(|place| _ = self.add(place));
    }
}

impl Engine {
    /// Blocks of volumes and snapshots that are known to have no good copy, a thousand at most.
    pub fn damaged_blocks(&self) -> Vec<LostPlace> {
        let places = self.damage.0.borrow();
        let place = |(&(volume, offset), name): (&(VolumeId, u64), &String)| LostPlace {
            volume,
            name: name.clone(),
            offset,
        };
        places.iter().map(place).collect()
    }
}

impl Engine {
    /// Stores what is written from now on once more: what it would refer to may be lost.
    pub(crate) fn forget_duplicates(&self) {
        self.volumes.duplicates.borrow_mut().iter_mut().for_each(Duplicates::clear);
    }
}

impl EngineVolume {
    /// Finds out which of `blocks`, of which some have no good copy, these are.
    pub(crate) async fn note_damage(&self, blocks: Range<u64>) {
        for block in blocks.clone() {
            let is_only = blocks.end - blocks.start == 1;
            if is_only || matches!(self.try_read(block..block + 1).await, Err(PoolError::Corrupt { .. })) {
                let name = self.state.head.borrow().name.clone();
                let offset = block * BLOCK_BYTES as u64;
                if self.engine.damage.add(LostPlace { volume: self.state.id, name, offset }) {
                    self.engine.forget_duplicates();
                }
            }
        }
    }
}
