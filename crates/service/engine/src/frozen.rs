//! What a checkpoint takes over when it begins: the effect of exactly the records that count by then.

use std::rc::Rc;

use quarry_format::detached::Floor;
use quarry_format::image::Position;
use quarry_format::record::{KeyRecord, SnapshotHead, VolumeHead};
use quarry_map::Version;
use quarry_types::{SnapshotCounter, VolumeId};

use crate::Engine;
use crate::lineage::Lineage;
use crate::snapshot::SnapshotState;
use crate::volume::VolumeState;
use crate::volumes::{Dropped, Tail, extent_of};

/// See the module.
pub(crate) struct Frozen {
    pub(crate) position: Position,
    pub(crate) appended_bytes: u64,
    pub(crate) merge_bytes: u64,
    pub(crate) next_volume: u32,
    pub(crate) next_snapshot: SnapshotCounter,
    pub(crate) keys: Vec<KeyRecord>,
    pub(crate) volumes: Vec<FrozenVolume>,
    pub(crate) snapshots: Vec<(Rc<SnapshotState>, SnapshotHead)>,
    /// What is to be merged, in this order.
    pub(crate) pending: Vec<FrozenVersion>,
    /// What no volume stands on any more, and what of it snapshots hold.
    pub(crate) dropped: Vec<(Rc<Version>, Floor)>,
    pub(crate) lineage: Lineage,
    pub(crate) tail: Tail,
}

pub(crate) struct FrozenVolume {
    pub(crate) state: Rc<VolumeState>,
    pub(crate) head: VolumeHead,
    pub(crate) version: Rc<Version>,
    pub(crate) parent: SnapshotCounter,
}

pub(crate) struct FrozenVersion {
    pub(crate) version: Rc<Version>,
    pub(crate) volume: VolumeId,
    pub(crate) floor: Floor,
}

impl Engine {
    pub(crate) fn freeze(&self) -> Frozen {
        let known = &self.volumes;
        let freeze = |state: Rc<VolumeState>| {
            state.usage.freeze();
            let (head, parent) = (state.head.borrow().clone(), state.parent.get());
            FrozenVolume { head, version: known.freeze(&state), parent, state }
        };
        let volumes: Vec<FrozenVolume> = known.all().into_iter().map(freeze).collect();
        let snapshots: Vec<(Rc<SnapshotState>, SnapshotHead)> = known
            .snapshots()
            .into_iter()
            .map(|snapshot| (snapshot.clone(), snapshot.head.borrow().clone()))
            .collect();
        let pending = known.pending().into_iter().map(|(version, pending)| FrozenVersion {
            version,
            volume: pending.volume,
            floor: known.floor(pending.parent),
        });
        let tail = known.take_tail();
        let dropped = |Dropped { version, parent }: &Dropped| (version.clone(), known.floor(*parent));
        Frozen {
            position: self.log.published(),
            appended_bytes: self.log.appended_bytes.get(),
            merge_bytes: known.merge_bytes.get(),
            next_volume: known.next_number.get(),
            next_snapshot: known.next_snapshot.get(),
            keys: known.keys.wrapped(),
            pending: pending.collect(),
            dropped: tail.dropped.iter().map(dropped).collect(),
            lineage: Lineage::of(known, &volumes, &snapshots),
            volumes,
            snapshots,
            tail,
        }
    }

    /// Puts everything back as it was.
    pub(crate) fn thaw(&self, frozen: Frozen) {
        let Frozen { volumes, snapshots, pending, dropped, mut tail, lineage, .. } = frozen;
        pending.iter().for_each(|pending| pending.version.unprepare());
        // Whoever else has a version keeps it as it is.
        drop((snapshots, pending, dropped, lineage));
        for FrozenVolume { state, version, .. } in volumes {
            drop(version);
            state.usage.thaw();
            state.map.thaw(&mut |old| tail.dead.push(extent_of(&old)));
        }
        self.volumes.put_back_tail(tail);
    }
}
