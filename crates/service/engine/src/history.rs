//! Continuous data protection: for a while back a volume can be had as it was at any second.
//!
//! At the turn of each second a *moment* is taken of each volume that keeps a history and has changed since the last one: a
//! snapshot without a name. So the newest moment that is not after a second is what the volume held at its turn. Those that
//! the window has passed are deleted, but for the newest of them, which is how the window begins.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::rc::{Rc, Weak};
use std::time::Duration;

use quarry_format::record::Record;
use quarry_types::{SnapshotId, VolumeId, VolumeNumber};

use crate::snapshot::SnapshotState;
use crate::snapshots::{Kind, NewSnapshot};
use crate::volume::VolumeState;
use crate::{Engine, EngineError};

/// What can be had of a volume's past.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct History {
    /// The first second at which it can be had, since 1970.
    pub since_s: u64,
    /// The second of the newest moment, since 1970: nothing has changed after it that is older than a second.
    pub until_s: u64,
    /// Moments that are kept.
    pub moments: usize,
}

impl History {
    /// Adds a moment, later than those before it.
    pub(crate) fn add(history: Entry<'_, VolumeNumber, Self>, created_s: u64) {
        let first = Self { since_s: created_s, until_s: created_s, moments: 0 };
        let history = history.or_insert(first);
        (history.until_s, history.moments) = (created_s, history.moments + 1);
    }
}

impl Engine {
    /// The moment that shows a volume as it was at the turn of a second. `None` when its history does not go back so far, and for
    /// the future.
    pub fn moment_at(&self, volume: VolumeId, at_s: u64) -> Result<Option<SnapshotId>, EngineError> {
        let moments = self.moments_of(&*self.find(volume)?);
        let is_past = at_s <= self.env.clock.wall().as_secs();
        let found = moments.iter().rev().find(|moment| is_past && moment.head.borrow().created_s <= at_s);
        Ok(found.map(|moment| moment.id))
    }

    /// The moments of a volume, oldest first.
    pub(crate) fn moments_of(&self, volume: &VolumeState) -> Vec<Rc<SnapshotState>> {
        let is_its = |moment: &Rc<SnapshotState>| {
            let head = moment.head.borrow();
            head.moment && !head.hidden && head.volume == volume.number
        };
        self.volumes.snapshots().into_iter().filter(is_its).collect()
    }

    /// Takes the moments that are due, and deletes those that the windows have passed.
    async fn turn_second(&self) -> Result<(), EngineError> {
        let is_due =
            |volume: &Rc<VolumeState>| volume.changed.get() && volume.head.borrow().settings.history_s > 0;
        for volume in self.volumes.all().into_iter().filter(is_due) {
            let _managing = self.managing.lock().await;
            if volume.deleted.get() || self.closing.get() {
                continue;
            }
            let id = SnapshotId::from_random(self.env.random.next_u128());
            let new = NewSnapshot { id, name: String::new(), locked_until_s: 0, set: None };
            self.append_snapshot(&volume, new, Kind::Moment, Record::SnapshotCreate).await?;
        }
        self.expire_moments().await
    }

    async fn expire_moments(&self) -> Result<(), EngineError> {
        let now_s = self.env.clock.wall().as_secs();
        // Volumes of which a moment was met that is old enough to be how the window begins.
        let mut begun = BTreeSet::new();
        let mut last = None;
        for moment in self.volumes.snapshots().into_iter().rev() {
            let head = moment.head.borrow().clone();
            if !head.moment || head.hidden {
                continue;
            }
            let volume = self.volumes.get(head.volume);
            let history_s = volume.map_or(0, |volume| volume.head.borrow().settings.history_s);
            let is_old = head.created_s <= now_s.saturating_sub(u64::from(history_s));
            if history_s == 0 || is_old && !begun.insert(head.volume) {
                self.log.room().await;
                last = Some(self.log.append_record(Record::SnapshotDelete { snapshot: moment.number }));
            }
        }
        match last {
            Some(last) => Ok(last.await?),
            None => Ok(()),
        }
    }
}

/// Turns the seconds as long as the engine is open.
pub(crate) async fn keep_history(engine: Weak<Engine>) {
    loop {
        let Some(env) = engine.upgrade().map(|engine| engine.env.clone()) else { return };
        let passed = Duration::from_nanos(u64::from(env.clock.wall().subsec_nanos()));
        env.clock.sleep(Duration::from_secs(1) - passed).await;
        let Some(this) = engine.upgrade().filter(|this| !this.closing.get()) else { return };
        if this.volumes.has_history()
            && let Err(error) = this.turn_second().await
        {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(log = %this.store.log, error, "a second is missing in the history of volumes");
        }
    }
}
