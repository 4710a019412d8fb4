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
use quarry_types::limits::{BLOCK_BYTES, HISTORY_S_MAX, MOMENTS_MAX};
use quarry_types::{SnapshotId, VolumeId, VolumeNumber};

use crate::snapshot::SnapshotState;
use crate::snapshots::{Kind, NewSnapshot};
use crate::volume::VolumeState;
use crate::{Engine, EngineError};

/// From so many moments on top of a volume's tree on a checkpoint is due: for each few of them it would cost more than looking at
/// them, as they come every second.
const LAYERS_WANTED_MAX: usize = 16;
/// With so many no moment is taken before the checkpoint.
const LAYERS_MAX: usize = 128;
/// Numbers of snapshots that moments leave to those that somebody asks for.
const NUMBERS_FOR_MOMENTS: u32 = u32::MAX - (1 << 24);
/// Moments that are gone are given up when they are so many, or have waited for so long.
const GIVEN_UP_FROM: usize = 64;
const GIVEN_UP_AFTER: Duration = Duration::from_secs(30);
/// More than the wall clock is ever adjusted by in a second, unless it is set.
const CLOCK_JUMP: Duration = Duration::from_secs(30);

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
    /// the future. Where the clock was set back, what was taken after that counts as later than what was taken before.
    pub fn moment_at(&self, volume: VolumeId, at_s: u64) -> Result<Option<SnapshotId>, EngineError> {
        let moments = self.moments_of(&*self.find(volume)?);
        let is_past = at_s <= self.env.clock.wall().as_secs();
        let until = moments.iter().take_while(|moment| is_past && moment.head.borrow().created_s <= at_s);
        Ok(until.last().map(|moment| moment.id))
    }

    /// The moments of a volume, oldest first.
    pub(crate) fn moments_of(&self, volume: &VolumeState) -> Vec<Rc<SnapshotState>> {
        let is_its = |moment: &Rc<SnapshotState>| {
            let head = moment.head.borrow();
            head.moment && !head.hidden && head.volume == volume.number
        };
        self.volumes.snapshots().into_iter().filter(is_its).collect()
    }

    /// Deletes the moments that the windows have passed, and takes those that are due. Waits for no space: who makes room, by a
    /// deletion for example, needs `managing` as well.
    async fn turn_second(&self) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        self.log.room().await;
        self.expire_moments();
        let taken = self.take_moments();
        // Nobody else decides anything about snapshots before all of this counts.
        self.log.barrier().await?;
        self.give_up_moments();
        taken
    }

    /// Appends the moments that are due. A volume that cannot have one keeps no other from having one.
    fn take_moments(&self) -> Result<(), EngineError> {
        let is_due =
            |volume: &Rc<VolumeState>| volume.changed.get() && volume.head.borrow().settings.history_s > 0;
        let mut taken = Ok(());
        for volume in self.volumes.all().into_iter().filter(is_due) {
            let layers = volume.map.below().layers();
            if layers >= LAYERS_WANTED_MAX {
                self.layered.set(true);
                self.wake.raise();
            }
            let is_used_up = self.birth.get().0 >= NUMBERS_FOR_MOMENTS;
            if layers >= LAYERS_MAX || is_used_up || self.moments.get() >= MOMENTS_MAX {
                let (moments, number) = (self.moments.get(), self.birth.get().0);
                taken = Err(EngineError::NoMoment { moments, layers, number });
                continue;
            }
            let Some(charge) = self.charge_at_once(BLOCK_BYTES as u64) else {
                return Err(EngineError::NoSpace);
            };
            let id = SnapshotId::from_random(self.env.random.next_u128());
            let new = NewSnapshot { id, name: String::new(), locked_until_s: 0, set: None };
            let head = self.new_snapshot_head(&volume, new, Kind::Moment)?;
            // Waited for with everything else.
            drop(self.log.append_record(Record::SnapshotCreate(head)));
            self.moments.set(self.moments.get() + 1);
            drop(charge);
        }
        taken
    }

    /// Appends the deletion of what the windows have passed.
    fn expire_moments(&self) {
        let clock = &self.env.clock;
        let (now, wall) = (clock.now(), clock.wall());
        // A clock that was set forward makes nothing old.
        let offset = wall.saturating_sub(now);
        if self.history_offset.replace(Some(offset)).is_some_and(|before| offset > before + CLOCK_JUMP) {
            self.expire_after.set(now + Duration::from_secs(u64::from(HISTORY_S_MAX)));
        }
        let is_sure = now >= self.expire_after.get();
        // Volumes of which a moment was met that is old enough to be how the window begins.
        let mut begun = BTreeSet::new();
        let mut kept = 0;
        for moment in self.volumes.snapshots().into_iter().rev() {
            let (volume, created_s) = {
                let head = moment.head.borrow();
                if !head.moment || head.hidden {
                    continue;
                }
                (head.volume, head.created_s)
            };
            let state = self.volumes.get(volume);
            let history_s = state.map_or(0, |state| state.head.borrow().settings.history_s);
            if history_s == 0 || begun.contains(&volume) {
                drop(self.log.append_record(Record::SnapshotDelete { snapshot: moment.number }));
                continue;
            }
            kept += 1;
            let is_old = created_s <= wall.as_secs().saturating_sub(u64::from(history_s));
            if is_sure && is_old {
                begun.insert(volume);
            }
        }
        self.moments.set(kept);
    }

    /// Asks for a checkpoint when there is much to be given up of moments that are gone, or it has waited for long: nobody else
    /// does, as one goes every second.
    fn give_up_moments(&self) {
        let is_gone = |snapshot: &Rc<SnapshotState>| {
            let head = snapshot.head.borrow();
            head.moment && head.hidden
        };
        let gone = self.volumes.snapshots().iter().filter(|snapshot| is_gone(snapshot)).count();
        let since = self.moments_gone_since.get().filter(|_| gone > 0);
        let since = since.or_else(|| (gone > 0).then(|| self.env.clock.now()));
        self.moments_gone_since.set(since);
        let is_late = since.is_some_and(|since| self.env.clock.now() > since + GIVEN_UP_AFTER);
        if gone >= GIVEN_UP_FROM || is_late {
            self.moments_gone_since.set(None);
            self.layered.set(true);
            self.wake.raise();
        }
    }
}

/// Turns the seconds as long as the engine is open.
pub(crate) async fn keep_history(engine: Weak<Engine>) {
    let mut is_failing = false;
    loop {
        let Some(env) = engine.upgrade().map(|engine| engine.env.clone()) else { return };
        let passed = Duration::from_nanos(u64::from(env.clock.wall().subsec_nanos()));
        env.clock.sleep(Duration::from_secs(1) - passed).await;
        let Some(this) = engine.upgrade().filter(|this| !this.closing.get()) else { return };
        if !this.volumes.has_history() {
            continue;
        }
        let turned = this.turn_second().await;
        // Told when it begins, not every second.
        if let (Err(error), false) = (&turned, is_failing) {
            let error: &dyn std::error::Error = error;
            tracing::warn!(log = %this.store.log, error, "seconds are missing in the history of volumes");
        }
        is_failing = turned.is_err();
    }
}
