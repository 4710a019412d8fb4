//! Blocks that are known to have no good copy, for those who look after the node. Bounded.
//!
//! A read that fails adds the blocks that made it fail. A scrub that has read everything replaces them all by what it has found:
//! until then a block may be named that has been written again since.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use quarry_map::Run;
use quarry_types::limits::BLOCK_BYTES;
use quarry_types::{LogAddress, VolumeId};
use quarry_volume::ErrorKind;

use crate::duplicates::Duplicates;
use crate::scrub::LostPlace;
use crate::volume::VolumeState;
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
    /// Blocks of a volume have no good copy.
    pub(crate) fn note_lost(&self, volume: &VolumeState, blocks: Range<u64>) {
        let (name, size_bytes) = (volume.head.borrow().name.clone(), volume.head.borrow().size_bytes);
        for offset in blocks.map(|block| block * BLOCK_BYTES as u64).take_while(|offset| *offset < size_bytes)
        {
            if self.damage.add(LostPlace { volume: volume.id, name: name.clone(), offset }) {
                self.forget_duplicates();
            }
        }
    }

    /// What is known to be lost and leaves nothing that a scrub would read: the maps say so.
    pub(crate) async fn lost_by_maps(&self) -> Vec<LostPlace> {
        let (mut places, readers) = (self.damaged_blocks(), self.readers());
        let mut is_lost = Vec::with_capacity(places.len());
        for place in &places {
            let block = place.offset / BLOCK_BYTES as u64;
            let Some(reader) = readers.iter().find(|reader| reader.id == place.volume) else {
                is_lost.push(false);
                continue;
            };
            is_lost.push(match reader.map.resolve(block..block + 1, &self.cache, &self.nodes).await {
                Ok(runs) => runs
                    .iter()
                    .any(|run| matches!(run, Run::Data(mapped) if mapped.entry.address == LogAddress::LOST)),
                Err(error) => error.is_final(),
            });
        }
        let mut is_lost = is_lost.into_iter();
        places.retain(|_| is_lost.next().is_some_and(|is_lost| is_lost));
        places
    }

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
            let is_lost = async || match self.try_read(block..block + 1).await {
                Err(error) => error.is_loss(),
                Ok(read) => read.is_err_and(|error| error.kind == ErrorKind::Corrupt),
            };
            if is_only || is_lost().await {
                self.engine.note_lost(&self.state, block..block + 1);
            }
        }
    }
}
