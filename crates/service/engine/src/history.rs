//! Continuous data protection: for a while back a volume can be had as it was at any second.
//!
//! At the turn of each second a *moment* is taken of each volume that keeps a history and has changed since the last one: a
//! snapshot without a name. So the newest moment that is not after a second is what the volume held at its turn. Those that
//! the window has passed are deleted, but for the newest of them, which is how the window begins.
//!
//! A turn may be *missed*: there is no space for the moment, the node is late, or it was stopped after the volume had changed. What
//! the volume held at these seconds nobody knows, and the newest moment does not say it. So the moment that comes next says since
//! when seconds are missing before it, and they are refused.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::time::Duration;

use quarry_format::record::{Record, SnapshotHead};
use quarry_types::limits::{BLOCK_BYTES, HISTORY_S_MAX, MOMENTS_MAX};
use quarry_types::{SnapshotId, VolumeId, VolumeNumber};

use crate::snapshot::SnapshotState;
use crate::snapshots::{Kind, NewSnapshot};
use crate::space::Charge;
use crate::volume::VolumeState;
use crate::volumes::Volumes;
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

/// A moment that is taken later than that after the turn of a second is of the next one.
const LATE_MAX: Duration = Duration::from_millis(50);

/// Seconds of a volume's past that cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missed {
    /// The first of them, since 1970.
    pub from_s: u64,
    /// The first second after them that can be had; `None` as long as there is none.
    pub until_s: Option<u64>,
}

/// What can be had of a volume's past.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct History {
    /// The first second at which it can be had, since 1970.
    pub since_s: u64,
    /// The second of the newest moment, since 1970: nothing has changed after it that is older than a second.
    pub until_s: u64,
    /// Moments that are kept.
    pub moments: usize,
    /// The last seconds in between that cannot be had, if there are any.
    pub missed: Option<Missed>,
}

impl History {
    /// Adds a moment, later than those before it.
    pub(crate) fn add(history: Entry<'_, VolumeNumber, Self>, moment: &SnapshotHead) {
        let created_s = moment.created_s;
        let first = Self { since_s: created_s, until_s: created_s, moments: 0, missed: None };
        let history = history.or_insert(first);
        // What was missed before the first of them nobody asks for.
        if let Some(from_s) = moment.missed_from_s.filter(|&from_s| history.moments > 0 && from_s < created_s)
        {
            history.missed = Some(Missed { from_s, until_s: Some(created_s) });
        }
        (history.until_s, history.moments) = (created_s, history.moments + 1);
    }

    /// The same where seconds are missing from that one on.
    pub(crate) fn with_missing(self, from_s: Option<u64>) -> Self {
        let missing = from_s.map(|from_s| Missed { from_s, until_s: None });
        Self { missed: missing.or(self.missed), ..self }
    }
}

impl Engine {
    /// The moment that shows a volume as it was at the turn of a second. `None` when its history does not go back so far, and for
    /// the future. Where the clock was set back, what was taken after that counts as later than what was taken before.
    ///
    /// # Errors
    /// [`EngineError::Missed`] for a second that was missed.
    pub fn moment_at(&self, volume: VolumeId, at_s: u64) -> Result<Option<SnapshotId>, EngineError> {
        let volume = self.find(volume)?;
        let mut later = self.moments_of(&volume).into_iter().peekable();
        let mut newest = None;
        if at_s <= self.now_s() {
            while let Some(moment) = later.next_if(|moment| moment.head.borrow().created_s <= at_s) {
                newest = Some(moment.id);
            }
        }
        let (from_s, until_s) = match later.peek().map(|next| next.head.borrow()) {
            Some(next) => (next.missed_from_s, Some(next.created_s)),
            None => (self.missing_from_s(&volume), None),
        };
        match from_s.filter(|&from_s| newest.is_some() && from_s <= at_s) {
            Some(from_s) => Err(EngineError::Missed { from_s, until_s }),
            None => Ok(newest),
        }
    }

    /// The first second that is missing after a volume's newest moment, or may be: its turn should have ended.
    pub(crate) fn missing_from_s(&self, volume: &VolumeState) -> Option<u64> {
        let not_turned_s = self.turned_s.get() + 1;
        let is_late = volume.changed.get() && not_turned_s <= self.now_s();
        volume.missed_from_s.get().or(is_late.then_some(not_turned_s))
    }

    /// The second that a moment shows which is taken now: late is after its turn.
    pub(crate) fn moment_s(&self) -> u64 {
        (self.env.clock.wall() + (Duration::from_secs(1) - LATE_MAX)).as_secs()
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
        // What is taken late shows a second that has not turned yet: it is due again then.
        let turned_s = self.now_s();
        let taken = self.take_moments(self.moment_s());
        // Nobody else decides anything about snapshots before all of this counts.
        self.log.barrier().await?;
        self.turned_s.set(turned_s);
        self.give_up_moments();
        taken
    }

    /// Appends the moments that are due for that second. A volume that cannot have one keeps no other from having one.
    fn take_moments(&self, moment_s: u64) -> Result<(), EngineError> {
        let is_due =
            |volume: &Rc<VolumeState>| volume.changed.get() && volume.head.borrow().settings.history_s > 0;
        let due_s = moment_s.min(self.turned_s.get() + 1);
        let mut taken = Ok(());
        for volume in self.volumes.all().into_iter().filter(is_due) {
            let missed_from_s = volume.missed_from_s.get().map_or(due_s, |from_s| from_s.min(due_s));
            let missed = Some(missed_from_s).filter(|&from_s| from_s < moment_s);
            if let Err(error) = self.take_moment(&volume, missed) {
                volume.missed_from_s.set(Some(missed_from_s));
                taken = Err(error);
            }
        }
        taken
    }

    fn take_moment(&self, volume: &VolumeState, missed_from_s: Option<u64>) -> Result<(), EngineError> {
        let layers = volume.map.below().layers();
        if layers >= LAYERS_WANTED_MAX {
            self.layered.set(true);
            self.wake.raise();
        }
        let is_used_up = self.birth.get().0 >= NUMBERS_FOR_MOMENTS;
        if layers >= LAYERS_MAX || is_used_up || self.moments.get() >= MOMENTS_MAX {
            let (moments, number) = (self.moments.get(), self.birth.get().0);
            return Err(EngineError::NoMoment { moments, layers, number });
        }
        let charge = self.charge_moment()?;
        let id = SnapshotId::from_random(self.env.random.next_u128());
        let new = NewSnapshot { id, name: String::new(), locked_until_s: 0, set: None };
        let head = SnapshotHead { missed_from_s, ..self.new_snapshot_head(volume, new, Kind::Moment)? };
        if let Some(from_s) = missed_from_s {
            tracing::info!(volume = %volume.id, from_s, until_s = head.created_s, "seconds are missing in its history");
        }
        // Waited for with everything else.
        drop(self.log.append_record(Record::SnapshotCreate(head)));
        self.moments.set(self.moments.get() + 1);
        drop(charge);
        Ok(())
    }

    /// Charges a moment without a wait. A log among others is granted nothing as long as nobody writes to it, and nobody else asks
    /// for it here.
    fn charge_moment(&self) -> Result<Charge<'_>, EngineError> {
        let bytes = BLOCK_BYTES as u64;
        if let Some(charge) = self.charge_at_once(bytes) {
            return Ok(charge);
        }
        if !self.has_room_in_tail() {
            self.wake.raise();
            return Err(EngineError::LongTail);
        }
        self.space.update(self);
        self.charge_at_once(bytes).ok_or(EngineError::NoSpace)
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

/// Moments of each volume that are kept, the newest one of each.
fn newest_moments(volumes: &Volumes) -> Vec<(Rc<VolumeState>, Rc<SnapshotState>)> {
    let mut newest = BTreeMap::new();
    for snapshot in volumes.snapshots() {
        let head = snapshot.head.borrow();
        if head.moment && !head.hidden {
            newest.insert(head.volume, snapshot.clone());
        }
    }
    newest.into_iter().filter_map(|(number, moment)| Some((volumes.get(number)?, moment))).collect()
}

/// Of volumes as an image has them: those that are what their newest moment shows have not changed since.
pub(crate) fn note_unchanged(volumes: &Volumes) {
    for (volume, moment) in newest_moments(volumes) {
        let is_same = volume.map.below().root() == moment.version.root()
            && volume.head.borrow().size_bytes == moment.head.borrow().size_bytes;
        volume.changed.set(!is_same);
    }
}

/// Of volumes of a log that is being opened: those that have changed did so when nobody knows, so all seconds since their newest
/// moment are missing.
pub(crate) fn note_missed(volumes: &Volumes) {
    for (volume, moment) in newest_moments(volumes).into_iter().filter(|(volume, _)| volume.changed.get()) {
        volume.missed_from_s.set(Some(moment.head.borrow().created_s + 1));
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
            this.turned_s.set(this.now_s());
            continue;
        }
        let turned = this.turn_second().await;
        // Told when it begins, not every second.
        if let (Err(error), false) = (&turned, is_failing) {
            let error: &dyn std::error::Error = error;
            tracing::warn!(log = %this.store.log, error, "seconds are missing in the history of volumes");
        }
        if is_failing && turned.is_ok() {
            tracing::info!(log = %this.store.log, "the history of volumes goes on");
        }
        is_failing = turned.is_err();
    }
}
