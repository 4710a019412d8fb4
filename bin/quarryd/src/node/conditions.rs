//! What is wrong with pools, devices and volumes, and which events tell it.
//!
//! A *condition* is something that is so at present: a pool is fuller than its warning level, a device has failed. What is seen
//! is compared with the conditions that stood before, and only what has begun, changed or ended becomes an event. So nothing is
//! told twice, however long it lasts. This file only judges; `watch` looks, and `events` keeps.

use std::collections::{BTreeMap, BTreeSet};

use quarry_api_types::{
    DriveVerdict, EventKind, EventSeverity, HealthLevel, ObjectKind, Pool, PoolDevice, PoolDeviceState,
    PoolState, ScrubState, SpaceLevels,
};
use quarry_events::{ConditionChange, NewEvent};
use quarry_types::{ByteSize, VolumeId};

use super::qos::Missed;
use super::reopening::BRING_BACK;

/// So far below a level a pool must fall before it counts as below it, in percent: a fill level trembles.
const BELOW_PERCENT: u8 = 2;
/// Offsets of damaged blocks that an event names.
const OFFSETS_NAMED: usize = 8;

/// What a condition is about. Its text is a part of what is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    State,
    Space,
    Full,
    Device,
    Drive,
    Scrub,
    Damage,
    Quota,
    Reservation,
    Key,
}

impl Subject {
    const ALL: [Self; 10] = [
        Self::State,
        Self::Space,
        Self::Full,
        Self::Device,
        Self::Drive,
        Self::Scrub,
        Self::Damage,
        Self::Quota,
        Self::Reservation,
        Self::Key,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Space => "space",
            Self::Full => "full",
            Self::Device => "device",
            Self::Drive => "drive",
            Self::Scrub => "scrub",
            Self::Damage => "damage",
            Self::Quota => "quota",
            Self::Reservation => "reservation",
            Self::Key => "key",
        }
    }

    /// The event at the end of such a condition; none where the end says nothing.
    fn end(self) -> Option<(EventKind, ObjectKind, &'static str)> {
        match self {
            Self::State => Some((EventKind::PoolOnline, ObjectKind::Pool, "is online")),
            Self::Space => Some((EventKind::PoolSpaceOk, ObjectKind::Pool, "is below its warning level")),
            Self::Full => Some((EventKind::PoolUsable, ObjectKind::Pool, "takes writes again")),
            Self::Device => Some((EventKind::DeviceOnline, ObjectKind::Device, "takes part again")),
            Self::Drive => Some((
                EventKind::DriveOk,
                ObjectKind::Device,
                "has a drive that complains of nothing any more",
            )),
            Self::Scrub => None,
            Self::Quota => Some((EventKind::QuotaOk, ObjectKind::Volume, "is below its quota")),
            Self::Reservation => {
                Some((EventKind::ReservationKept, ObjectKind::Volume, "gets what was promised again"))
            }
            Self::Key => Some((
                EventKind::VolumesUnlocked,
                ObjectKind::Pool,
                "has no volume any more whose key is not open",
            )),
            Self::Damage => {
                Some((EventKind::BlocksRecovered, ObjectKind::Volume, "has no damaged block that is known"))
            }
        }
    }
}

/// What one look has seen of a pool.
pub(super) struct Seen {
    pub(super) pool: Pool,
    /// Whether writes have been refused for want of space lately.
    pub(super) refused: bool,
    /// First bytes of blocks without a good copy, by volume or snapshot.
    pub(super) damaged: BTreeMap<String, BTreeSet<u64>>,
    /// Its volumes that have a quota, by name.
    pub(super) quotas: BTreeMap<String, Quota>,
    /// Its volumes with a reservation whose requests are scheduled, by name, and what each got instead if it was missed.
    pub(super) reservations: BTreeMap<String, Option<Missed>>,
    /// How many of its volumes are encrypted and have no open key.
    pub(super) locked: usize,
    /// All of its volumes.
    pub(super) volumes: Vec<VolumeId>,
}

/// Whether a pool is fuller than its warning level, among what stands, by key.
pub(super) fn is_filling(standing: &BTreeMap<String, String>, pool: &Pool) -> bool {
    standing.contains_key(&key(Subject::Space, pool.name.as_str(), pool.name.as_str()))
}

/// A quota and what has come of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) bytes: u64,
    pub(super) mapped_bytes: u64,
    /// Whether it has made writes be refused lately.
    pub(super) refused: bool,
}

/// Something that is so, and the event that says it when it begins or changes.
#[derive(Clone, Debug)]
struct Condition {
    key: String,
    state: String,
    event: NewEvent,
}

/// No name of a pool holds a blank, so a key can be taken apart again.
fn key(subject: Subject, pool: &str, object: &str) -> String {
    format!("{} {pool} {object}", subject.as_str())
}

fn parse_key(key: &str) -> Option<(Subject, &str, &str)> {
    let mut parts = key.splitn(3, ' ');
    let subject = parts.next()?;
    let subject = Subject::ALL.into_iter().find(|known| known.as_str() == subject)?;
    Some((subject, parts.next()?, parts.next()?))
}

/// What has begun, changed or ended since `before`, as events and as changes of what stands. `before` is the conditions that
/// stood, by key.
pub(super) fn compare(
    before: &BTreeMap<String, String>,
    seen: &[Seen],
) -> (Vec<NewEvent>, Vec<ConditionChange>) {
    let (mut events, mut changes) = (Vec::new(), Vec::new());
    let now: Vec<Condition> = seen.iter().flat_map(|seen| conditions(before, seen)).collect();
    for condition in &now {
        if before.get(&condition.key) != Some(&condition.state) {
            events.push(condition.event.clone());
            let state = Some(condition.state.clone());
            changes.push(ConditionChange { key: condition.key.clone(), state });
        }
    }
    for gone in before.keys().filter(|key| !now.iter().any(|condition| condition.key == **key)) {
        let pool = parse_key(gone).and_then(|(subject, pool, object)| {
            let seen = seen.iter().find(|seen| seen.pool.name.as_str() == pool)?;
            Some((subject, seen, object))
        });
        match pool {
            // Nobody can tell what an offline pool would show.
            Some((subject, seen, _)) if subject != Subject::State && is_offline(seen) => continue,
            // The device has left.
            Some((Subject::Device | Subject::Drive, seen, path)) if !has_device(&seen.pool, path) => {}
            // The volume is gone, or its quota.
            Some((Subject::Quota, seen, volume)) if !seen.quotas.contains_key(volume) => {}
            Some((Subject::Reservation, seen, volume)) if !seen.reservations.contains_key(volume) => {}
            Some((subject, _, object)) => events.extend(ended(subject, object)),
            None => {}
        }
        changes.push(ConditionChange { key: gone.clone(), state: None });
    }
    (events, changes)
}

fn has_device(pool: &Pool, path: &str) -> bool {
    pool.devices.iter().any(|device| device.path == path)
}

fn is_offline(seen: &Seen) -> bool {
    seen.pool.state == PoolState::Offline
}

fn ended(subject: Subject, object: &str) -> Option<NewEvent> {
    let (kind, object_kind, what) = subject.end()?;
    Some(NewEvent {
        severity: EventSeverity::Info,
        kind,
        object_kind,
        object: object.to_owned(),
        message: format!("{object_kind} '{object}' {what}"),
        cause: None,
        next_step: None,
    })
}

fn conditions(before: &BTreeMap<String, String>, seen: &Seen) -> Vec<Condition> {
    let mut all: Vec<Condition> = state(&seen.pool).into_iter().collect();
    if is_offline(seen) {
        return all;
    }
    let pool = &seen.pool;
    let space_before = before.get(&key(Subject::Space, pool.name.as_str(), pool.name.as_str()));
    all.extend(space(pool, space_before.map(String::as_str)));
    all.extend(full(seen));
    all.extend(locked(seen));
    all.extend(pool.devices.iter().filter_map(|member| device(pool, member)));
    all.extend(pool.devices.iter().filter_map(|member| drive(pool, member)));
    all.extend(scrub(pool));
    all.extend(seen.damaged.iter().map(|(volume, offsets)| damage(pool, volume, offsets)));
    let missed =
        |(volume, missed): (&String, &Option<Missed>)| Some(reservation(pool, volume, missed.as_ref()?));
    all.extend(seen.reservations.iter().filter_map(missed));
    all.extend(seen.quotas.iter().filter_map(|(volume, one)| quota(before, pool, volume, one)));
    all
}

fn of_pool(pool: &Pool, subject: Subject, state: impl ToString, kind: EventKind) -> Condition {
    let name = pool.name.as_str();
    Condition {
        key: key(subject, name, name),
        state: state.to_string(),
        event: NewEvent {
            severity: EventSeverity::Critical,
            kind,
            object_kind: ObjectKind::Pool,
            object: name.to_owned(),
            message: String::new(),
            cause: None,
            next_step: None,
        },
    }
}

fn state(pool: &Pool) -> Option<Condition> {
    let (kind, severity, next_step) = match pool.state {
        PoolState::Online => return None,
        PoolState::Degraded => (
            EventKind::PoolDegraded,
            EventSeverity::Warning,
            "Bring the device back, or replace it: `quarry device replace POOL DEVICE NEW`.",
        ),
        PoolState::Offline => (EventKind::PoolOffline, EventSeverity::Critical, BRING_BACK),
    };
    let mut condition = of_pool(pool, Subject::State, pool.state, kind);
    condition.event.severity = severity;
    condition.event.message = format!("pool '{}' is {}", pool.name, pool.state);
    condition.event.cause = (!pool.reasons.is_empty()).then(|| pool.reasons.join("; "));
    condition.event.next_step = Some(next_step.to_owned());
    Some(condition)
}

/// Which level a fill reaches; one that stood `before` is left only well below it.
fn level(fill_percent: u8, levels: SpaceLevels, before: Option<&str>) -> Option<EventSeverity> {
    let reaches = |severity: EventSeverity, level: u8| {
        let stood = before
            .is_some_and(|before| before.parse::<EventSeverity>().is_ok_and(|before| before >= severity));
        fill_percent >= level || stood && fill_percent.saturating_add(BELOW_PERCENT) > level
    };
    if reaches(EventSeverity::Critical, levels.critical_percent) {
        Some(EventSeverity::Critical)
    } else {
        reaches(EventSeverity::Warning, levels.warning_percent).then_some(EventSeverity::Warning)
    }
}

fn space(pool: &Pool, before: Option<&str>) -> Option<Condition> {
    let severity = level(pool.fill_percent, pool.levels, before)?;
    let (kind, level) = match severity {
        EventSeverity::Critical => (EventKind::PoolSpaceCritical, pool.levels.critical_percent),
        _ => (EventKind::PoolSpaceWarning, pool.levels.warning_percent),
    };
    let mut condition = of_pool(pool, Subject::Space, severity, kind);
    condition.event.severity = severity;
    condition.event.message = format!("pool '{}' is {} % full", pool.name, pool.fill_percent);
    let left = ByteSize(pool.capacity.available_bytes);
    condition.event.cause =
        Some(format!("its {severity} level is {level} %; {left} of volume data still fit"));
    condition.event.next_step = Some(MAKE_SPACE.to_owned());
    Some(condition)
}

/// What to do about a pool that is nearly or quite full.
pub(super) const MAKE_SPACE: &str =
    "Delete volumes or snapshots, or discard what hosts no longer need (fstrim).";

fn full(seen: &Seen) -> Option<Condition> {
    if !(seen.refused || seen.pool.full) {
        return None;
    }
    let mut condition = of_pool(&seen.pool, Subject::Full, "full", EventKind::PoolFull);
    condition.event.message =
        format!("pool '{}' is full: writes that need space are refused", seen.pool.name);
    condition.event.next_step = Some(format!("{MAKE_SPACE} Writes go on by themselves then."));
    Some(condition)
}

fn locked(seen: &Seen) -> Option<Condition> {
    if seen.locked == 0 {
        return None;
    }
    let (name, count) = (&seen.pool.name, seen.locked);
    let mut condition = of_pool(&seen.pool, Subject::Key, "locked", EventKind::VolumesLocked);
    condition.event.message =
        format!("{count} encrypted volumes of pool '{name}' are not served: their keys are not open");
    condition.event.next_step = Some(OPEN_KEYS.to_owned());
    Some(condition)
}

/// What to do about volumes whose keys are not open.
pub(super) const OPEN_KEYS: &str =
    "`quarry keyring show` says why; `quarry keyring unlock` opens the keyring.";

fn device(pool: &Pool, member: &PoolDevice) -> Option<Condition> {
    let (kind, severity, what) = match member.state {
        PoolDeviceState::Online | PoolDeviceState::Draining | PoolDeviceState::Drained => return None,
        PoolDeviceState::Suspect if member.health.level == HealthLevel::Critical => {
            (EventKind::DeviceSuspect, EventSeverity::Critical, "is in danger")
        }
        PoolDeviceState::Suspect => (EventKind::DeviceSuspect, EventSeverity::Warning, "is suspect"),
        PoolDeviceState::Missing => (EventKind::DeviceMissing, EventSeverity::Critical, "is missing"),
        PoolDeviceState::Failed => (EventKind::DeviceFailed, EventSeverity::Critical, "is out of use"),
        PoolDeviceState::Returned => (EventKind::DeviceReturned, EventSeverity::Info, "answers again"),
    };
    let of_pool = pool.reasons.iter().find(|reason| reason.contains(&member.path)).cloned();
    let of_device = member.health.causes.first();
    Some(Condition {
        key: key(Subject::Device, pool.name.as_str(), &member.path),
        // Told again when it gets worse, or better.
        state: format!("{} {severity}", member.state),
        event: NewEvent {
            severity,
            kind,
            object_kind: ObjectKind::Device,
            object: member.path.clone(),
            message: format!("device '{}' of pool '{}' {what}", member.path, pool.name),
            cause: of_device.map(|cause| cause.message.clone()).or(of_pool),
            next_step: Some(of_device.map_or_else(
                || "Look at its health and its cabling; replace it if it is broken.".to_owned(),
                |cause| cause.next_step.clone(),
            )),
        },
    })
}

/// What the drive of a device says against itself.
fn drive(pool: &Pool, member: &PoolDevice) -> Option<Condition> {
    let drive = member.drive.as_ref()?;
    let (kind, severity) = match drive.verdict {
        DriveVerdict::Ok | DriveVerdict::Unknown => return None,
        DriveVerdict::Warning => (EventKind::DriveWarning, EventSeverity::Warning),
        DriveVerdict::Failing => (EventKind::DriveFailing, EventSeverity::Critical),
    };
    let cause = super::device_health::drive_cause(drive)?;
    Some(Condition {
        key: key(Subject::Drive, pool.name.as_str(), &member.path),
        state: drive.verdict.to_string(),
        event: NewEvent {
            severity,
            kind,
            object_kind: ObjectKind::Device,
            object: member.path.clone(),
            message: format!(
                "the drive of device '{}' of pool '{}': {}",
                member.path, pool.name, drive.verdict
            ),
            cause: Some(cause.message),
            next_step: Some(cause.next_step),
        },
    })
}

fn scrub(pool: &Pool) -> Option<Condition> {
    let scrub = pool.scrub.as_ref().filter(|scrub| scrub.state == ScrubState::Done)?;
    let ended = scrub.ended?;
    let mut condition = of_pool(pool, Subject::Scrub, ended, EventKind::ScrubFinished);
    let (severity, next_step) = match (scrub.lost, scrub.repaired + scrub.unrepaired) {
        (0, 0) => (EventSeverity::Info, None),
        (0, _) => (EventSeverity::Warning, Some("Look at the health of its devices.".to_owned())),
        _ => {
            (EventSeverity::Critical, Some(format!("`quarry pool show {}` names what was lost.", pool.name)))
        }
    };
    condition.event.severity = severity;
    condition.event.message = format!("pool '{}' was scrubbed", pool.name);
    condition.event.cause = Some(format!(
        "{} read, {} bad copies repaired, {} not, {} blocks without a good copy",
        ByteSize(scrub.read_bytes),
        scrub.repaired,
        scrub.unrepaired,
        scrub.lost
    ));
    condition.event.next_step = next_step;
    Some(condition)
}

/// Told again when there are twice as many.
fn damage(pool: &Pool, volume: &str, offsets: &BTreeSet<u64>) -> Condition {
    let mut named: Vec<String> = offsets.iter().take(OFFSETS_NAMED).map(ToString::to_string).collect();
    if offsets.len() > OFFSETS_NAMED {
        named.push("...".to_owned());
    }
    let (count, blocks) = (offsets.len(), if offsets.len() == 1 { "block" } else { "blocks" });
    Condition {
        key: key(Subject::Damage, pool.name.as_str(), volume),
        state: count.next_power_of_two().to_string(),
        event: NewEvent {
            severity: EventSeverity::Critical,
            kind: EventKind::BlocksDamaged,
            object_kind: ObjectKind::Volume,
            object: volume.to_owned(),
            message: format!("{count} {blocks} of '{volume}' have no good copy"),
            cause: Some(format!("at bytes {} every copy fails its checksum", named.join(", "))),
            next_step: Some(
                "Restore them from a backup: writing a block makes it whole again. Everything else is served."
                    .to_owned(),
            ),
        },
    }
}

/// Told when it has made a write be refused, until the volume is well below it.
fn quota(before: &BTreeMap<String, String>, pool: &Pool, volume: &str, quota: &Quota) -> Option<Condition> {
    let key = key(Subject::Quota, pool.name.as_str(), volume);
    let below = quota.bytes - quota.bytes / 100 * u64::from(BELOW_PERCENT);
    if !(quota.refused || before.contains_key(&key) && quota.mapped_bytes > below) {
        return None;
    }
    Some(Condition {
        key,
        state: "reached".to_owned(),
        event: NewEvent {
            severity: EventSeverity::Warning,
            kind: EventKind::QuotaReached,
            object_kind: ObjectKind::Volume,
            object: volume.to_owned(),
            message: format!("writes to new blocks of volume '{volume}' are refused"),
            cause: Some(format!(
                "{} of its quota of {} are mapped",
                ByteSize(quota.mapped_bytes),
                ByteSize(quota.bytes)
            )),
            next_step: Some(format!(
                "Discard what its host no longer needs (fstrim), or raise it: `quarry volume set {volume} --quota SIZE`."
            )),
        },
    })
}

/// Told when it begins to be missed, until it is kept or nothing is asked for any more.
fn reservation(pool: &Pool, volume: &str, missed: &Missed) -> Condition {
    Condition {
        key: key(Subject::Reservation, pool.name.as_str(), volume),
        state: "missed".to_owned(),
        event: NewEvent {
            severity: EventSeverity::Warning,
            kind: EventKind::ReservationMissed,
            object_kind: ObjectKind::Volume,
            object: volume.to_owned(),
            message: format!("volume '{volume}' gets less than was promised"),
            cause: Some(format!(
                "its host has asked for more all the time and got {} of {}",
                missed.got, missed.promised
            )),
            next_step: Some(format!(
                "Promise less (`quarry volume set {volume}`), give others less, or move volumes to other devices. A host that keeps few requests under way cannot have more."
            )),
        },
    }
}

#[cfg(test)]
mod tests;
