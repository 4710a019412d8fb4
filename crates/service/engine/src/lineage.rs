//! The tree of snapshots as a checkpoint sees it, and which deleted ones it can dissolve.
//!
//! A hidden snapshot holds what several things share that stand on it. Once at most one does, what this one does not hold is
//! dead, unless the snapshot before has it, and what it holds is its own: the snapshot is dissolved, from the first block to the
//! last, in as many checkpoints as it takes. Until a block is done nothing that the snapshot holds dies by anybody else.

use std::collections::BTreeMap;
use std::rc::Rc;

use quarry_format::record::SnapshotHead;
use quarry_map::Version;
use quarry_types::{BlockIndex, SnapshotCounter};

use crate::frozen::FrozenVolume;
use crate::snapshot::SnapshotState;
use crate::volumes::Volumes;

/// See the module.
pub(crate) struct Lineage {
    snapshots: BTreeMap<SnapshotCounter, Ancestor>,
    volumes: Vec<(SnapshotCounter, Rc<Version>)>,
    /// The snapshot that is being dissolved, and the first block that is not done.
    dissolving: Option<(SnapshotCounter, BlockIndex)>,
}

struct Ancestor {
    parent: SnapshotCounter,
    hidden: bool,
    version: Rc<Version>,
}

/// A hidden snapshot on which at most one thing stands.
pub(crate) struct Dissolvable {
    pub(crate) number: SnapshotCounter,
    pub(crate) version: Rc<Version>,
    /// What stands on it.
    pub(crate) child: Option<Rc<Version>>,
    /// The snapshot before it.
    pub(crate) parent: SnapshotCounter,
    /// What is done ends here.
    pub(crate) cursor: BlockIndex,
}

impl Lineage {
    pub(crate) fn of(
        known: &Volumes,
        volumes: &[FrozenVolume],
        snapshots: &[(Rc<SnapshotState>, SnapshotHead)],
    ) -> Self {
        let ancestor = |(snapshot, head): &(Rc<SnapshotState>, SnapshotHead)| {
            let version = snapshot.version.clone();
            (snapshot.number, Ancestor { parent: snapshot.parent.get(), hidden: head.hidden, version })
        };
        Self {
            snapshots: snapshots.iter().map(ancestor).collect(),
            volumes: volumes.iter().map(|volume| (volume.parent, volume.version.clone())).collect(),
            dissolving: known.dissolving.get(),
        }
    }

    /// What stands on a snapshot, or on none.
    fn standing_on(&self, number: SnapshotCounter) -> impl Iterator<Item = &Rc<Version>> {
        let snapshots = self.snapshots.values().map(|snapshot| (snapshot.parent, &snapshot.version));
        let volumes = self.volumes.iter().map(|(parent, version)| (*parent, version));
        snapshots.chain(volumes).filter(move |(parent, _)| *parent == number).map(|(_, version)| version)
    }

    /// The snapshot that is being dissolved, or the oldest that can be.
    pub(crate) fn next(&self) -> Option<Dissolvable> {
        let (number, cursor) = self.dissolving.or_else(|| {
            let mut hidden = self.snapshots.iter().filter(|(_, snapshot)| snapshot.hidden);
            let is_free = |number: SnapshotCounter| self.standing_on(number).nth(1).is_none();
            hidden.find(|(number, _)| is_free(**number)).map(|(number, _)| (*number, 0))
        })?;
        let snapshot = self.snapshots.get(&number)?;
        let child = self.standing_on(number).next().cloned();
        let (version, parent) = (snapshot.version.clone(), snapshot.parent);
        Some(Dissolvable { number, version, child, parent, cursor })
    }

    /// Notes that a snapshot was dissolved as a whole: what stood on it stands on its parent.
    pub(crate) fn dissolved(&mut self, number: SnapshotCounter) {
        self.dissolving = None;
        let Some(Ancestor { parent, .. }) = self.snapshots.remove(&number) else { return };
        let parents = self.snapshots.values_mut().map(|snapshot| &mut snapshot.parent);
        for standing_on in parents.chain(self.volumes.iter_mut().map(|(standing_on, _)| standing_on)) {
            if *standing_on == number {
                *standing_on = parent;
            }
        }
    }
}
