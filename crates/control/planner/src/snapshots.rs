//! Which snapshots are due: of a volume, or of the volumes of a group together.
//!
//! A snapshot is due when the latest slot of the schedule that is not after now lies after the slot of the last one that was taken.
//! However many slots were missed, one snapshot makes up for them. When the last one was taken for a time that has not come yet,
//! the clock went back since: one is due at once, under a name that is still free. A clock that went back by less than
//! [`CLOCK_BACK_S`] is waited for instead, because clocks are corrected by seconds all the time.

use jiff::Timestamp;
use quarry_api_types::SnapshotSchedule;
use quarry_types::VolumeId;

use crate::calendar;
use crate::mark::{self, ATTEMPTS_MAX, Slot};
use crate::plan::{ObservedVolume, TakenSnapshot};

/// A clock that went back by no more than this is waited for, in seconds.
pub(crate) const CLOCK_BACK_S: i64 = 60;

/// Slots of the snapshots of a volume that schedules have taken, in the order of taking, with the index of each among all.
pub(crate) fn taken(volume: &ObservedVolume) -> (Vec<usize>, Vec<Slot>) {
    let slots = volume.snapshots.iter().enumerate();
    slots.filter_map(|(index, one)| Some((index, mark::slot_of(one.id, one.name.as_str())?))).unzip()
}

/// The slot of the last snapshot of volumes that are snapshotted together. They differ only where one of them has joined the others
/// later, or left other ones: the latest that is not in the future counts, or else the latest.
pub(crate) fn last_of<'a>(volumes: impl Iterator<Item = &'a ObservedVolume>, now: Timestamp) -> Option<Slot> {
    let lasts: Vec<Slot> = volumes.filter_map(|volume| taken(volume).1.last().copied()).collect();
    let past = lasts.iter().copied().filter(|&slot| !is_future(slot, now)).max();
    past.or_else(|| lasts.into_iter().max())
}

fn is_future(slot: Slot, now: Timestamp) -> bool {
    slot.0 > now.as_second().saturating_add(CLOCK_BACK_S)
}

/// The slot that is due.
pub(crate) fn due(
    schedule: &SnapshotSchedule,
    last: Option<Slot>,
    since: quarry_api_types::Timestamp,
    now: Timestamp,
) -> Option<Slot> {
    let latest = calendar::latest(schedule, now)?;
    let since = Slot((since.unix_ms() / 1000) as i64);
    let is_due = match last {
        Some(last) => latest > last || is_future(last, now),
        // What is attached at a time that has not come yet was attached before the clock went back.
        None => latest >= since || is_future(since, now),
    };
    is_due.then_some(latest)
}

/// For how long a snapshot has been due, in seconds.
pub(crate) fn lag_s(
    schedule: &SnapshotSchedule,
    last: Option<Slot>,
    due: Option<Slot>,
    now: Timestamp,
) -> u64 {
    let Some(due) = due else { return 0 };
    let missed = last.filter(|&last| last < due).and_then(|last| calendar::next(schedule, last.time()));
    let first = missed.unwrap_or(due).min(due);
    u64::try_from(now.as_second() - first.0).unwrap_or(0)
}

/// The first attempt under whose name none of the volumes has a snapshot, and the snapshots to take.
pub(crate) fn attempt(volumes: &[&ObservedVolume], slot: Slot) -> Option<(u32, Vec<TakenSnapshot>)> {
    let is_free = |attempt: &u32| {
        let name = slot.name(*attempt);
        volumes.iter().all(|volume| volume.snapshots.iter().all(|one| one.name != name))
    };
    let attempt = (1..=ATTEMPTS_MAX).find(is_free)?;
    let of = |volume: VolumeId| mark::snapshot_id(volume, slot, attempt);
    let new = volumes.iter().map(|observed| {
        let volume = &observed.volume;
        TakenSnapshot { volume: volume.id, volume_name: volume.name.clone(), id: of(volume.id) }
    });
    Some((attempt, new.collect()))
}
