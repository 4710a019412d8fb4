//! The tree of snapshots as a checkpoint sees it, and which deleted ones it can dissolve.
//!
//! A hidden snapshot holds what several things share that stand on it. Once at most one does, what this one does not hold is
//! dead, unless the snapshot before has it, and what it holds is its own: the snapshot is dissolved, from the first block to the
//! last, in as many checkpoints as it takes. Until a block is done nothing that the snapshot holds dies by anybody else.

use std::collections::{BTreeMap, BTreeSet};
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
    /// What stands on each snapshot.
    standing: BTreeMap<SnapshotCounter, Vec<Standing>>,
    /// Hidden snapshots on which at most one thing stands and that are not being dissolved.
    free: BTreeSet<SnapshotCounter>,
    /// The snapshot that is being dissolved, and the first block that is not done.
    dissolving: Option<(SnapshotCounter, BlockIndex)>,
}

struct Ancestor {
    parent: SnapshotCounter,
    hidden: bool,
    version: Rc<Version>,
}

/// A volume, or the snapshot of this number.
struct Standing {
    snapshot: Option<SnapshotCounter>,
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
        let mut lineage = Self {
            snapshots: BTreeMap::new(),
            standing: BTreeMap::new(),
            free: BTreeSet::new(),
            dissolving: known.dissolving.get(),
        };
        for (snapshot, head) in snapshots {
            let (parent, version) = (snapshot.parent.get(), snapshot.version.clone());
            let standing = Standing { snapshot: Some(snapshot.number), version: version.clone() };
            lineage.standing.entry(parent).or_default().push(standing);
            lineage.snapshots.insert(snapshot.number, Ancestor { parent, hidden: head.hidden, version });
        }
        for volume in volumes {
            let standing = Standing { snapshot: None, version: volume.version.clone() };
            lineage.standing.entry(volume.parent).or_default().push(standing);
        }
        let hidden = lineage.snapshots.iter().filter(|(_, snapshot)| snapshot.hidden);
        lineage.free = hidden.map(|(&number, _)| number).filter(|&number| lineage.is_free(number)).collect();
        lineage
    }

    fn is_free(&self, number: SnapshotCounter) -> bool {
        self.standing.get(&number).is_none_or(|standing| standing.len() < 2)
    }

    /// The snapshot that is being dissolved, or the oldest that can be.
    pub(crate) fn next(&self) -> Option<Dissolvable> {
        let (number, cursor) = self.dissolving.or_else(|| Some((*self.free.first()?, 0)))?;
        let snapshot = self.snapshots.get(&number)?;
        let child = self.standing.get(&number).and_then(|standing| standing.first());
        let child = child.map(|standing| standing.version.clone());
        let (version, parent) = (snapshot.version.clone(), snapshot.parent);
        Some(Dissolvable { number, version, child, parent, cursor })
    }

    /// Leaves a snapshot alone this time, if it has not been begun. False if it has: no other can be dissolved then.
    pub(crate) fn skip(&mut self, number: SnapshotCounter) -> bool {
        self.free.remove(&number)
    }

    /// Notes that a snapshot was dissolved as a whole: what stood on it stands on its parent.
    pub(crate) fn dissolved(&mut self, number: SnapshotCounter) {
        self.dissolving = None;
        self.free.remove(&number);
        let Some(Ancestor { parent, .. }) = self.snapshots.remove(&number) else { return };
        let moved = self.standing.remove(&number).unwrap_or_default();
        for standing in moved.iter().filter_map(|standing| standing.snapshot) {
            if let Some(snapshot) = self.snapshots.get_mut(&standing) {
                snapshot.parent = parent;
            }
        }
        let siblings = self.standing.entry(parent).or_default();
        siblings.retain(|standing| standing.snapshot != Some(number));
        siblings.extend(moved);
        if self.snapshots.get(&parent).is_some_and(|parent| parent.hidden) && self.is_free(parent) {
            self.free.insert(parent);
        }
    }
}
