use quarry_api_types::{Capacity, DeviceClass, DeviceKind, PoolData, PoolGroups, Protection, Timestamp};
use quarry_types::{DeviceId, PoolId};

use super::*;

fn pool(fill_percent: u8) -> Seen {
    let device = PoolDevice {
        id: DeviceId::from_random(2),
        path: "/dev/my disk".to_owned(),
        kind: DeviceKind::Block,
        class: DeviceClass::Ssd,
        state: PoolDeviceState::Online,
        size_bytes: 1 << 30,
        used_bytes: 0,
        removing: false,
        health: Default::default(),
        latency: Default::default(),
        in_flight: 0,
        late_writes: 0,
        drive: None,
    };
    let pool = Pool {
        id: PoolId::from_random(1),
        name: "tank".parse().unwrap(),
        copies: 1,
        protection: Protection::default(),
        groups: PoolGroups::default(),
        state: PoolState::Online,
        reasons: Vec::new(),
        created: Timestamp::from_unix_ms(1),
        devices: vec![device],
        capacity: Capacity::default(),
        fill_percent,
        levels: SpaceLevels::default(),
        full: false,
        commitment: quarry_api_types::Commitment::default(),
        data: PoolData::default(),
        freeing: quarry_api_types::Freeing::default(),
        rebuild: quarry_api_types::Rebuild::default(),
        rebuild_rate_bytes_per_s: None,
        segment_bytes: 32 << 20,
        logs: 1,
        volumes: 0,
        scrub: None,
    };
    Seen {
        pool,
        refused: false,
        damaged: BTreeMap::new(),
        quotas: BTreeMap::new(),
        reservations: BTreeMap::new(),
        locked: 0,
        volumes: Vec::new(),
    }
}

/// The conditions of a node over several looks.
#[derive(Default)]
struct History(BTreeMap<String, String>);

impl History {
    /// What is told after a look, as kind and severity.
    fn look(&mut self, seen: &[Seen]) -> Vec<(EventKind, EventSeverity)> {
        let (events, changes) = compare(&self.0, seen);
        for change in changes {
            match change.state {
                Some(state) => _ = self.0.insert(change.key, state),
                None => _ = self.0.remove(&change.key),
            }
        }
        assert!(events.iter().all(|event| event.message.contains(&event.object)), "{events:?}");
        events.iter().map(|event| (event.kind, event.severity)).collect()
    }
}

#[test]
fn a_level_is_told_once_until_the_pool_is_well_below_it() {
    use EventKind::*;
    let mut history = History::default();
    for (fill, told) in [
        (10, None),
        (79, None),
        (80, Some(PoolSpaceWarning)),
        (94, None),
        (79, None),
        (80, None),
        (95, Some(PoolSpaceCritical)),
        (94, None),
        (93, Some(PoolSpaceWarning)),
        (100, Some(PoolSpaceCritical)),
        (78, Some(PoolSpaceOk)),
        (79, None),
        (99, Some(PoolSpaceCritical)),
        (0, Some(PoolSpaceOk)),
    ] {
        let events = history.look(&[pool(fill)]);
        assert_eq!(events.first().map(|(kind, _)| *kind), told, "at {fill} %");
        assert!(events.len() <= 1);
    }
    assert!(history.0.is_empty());
}

#[test]
fn a_full_pool_and_a_failing_device_are_told_once_and_so_is_their_end() {
    use EventSeverity::*;
    let mut history = History::default();
    let mut seen = pool(10);
    seen.refused = true;
    assert_eq!(history.look(&[seen]), [(EventKind::PoolFull, Critical)]);
    let mut seen = pool(10);
    seen.pool.full = true;
    seen.pool.devices[0].state = PoolDeviceState::Suspect;
    assert_eq!(history.look(&[seen]), [(EventKind::DeviceSuspect, Warning)]);
    let mut seen = pool(10);
    seen.pool.state = PoolState::Degraded;
    seen.pool.devices[0].state = PoolDeviceState::Failed;
    assert_eq!(
        history.look(&[seen]),
        [
            (EventKind::PoolDegraded, Warning),
            (EventKind::DeviceFailed, Critical),
            (EventKind::PoolUsable, Info)
        ]
    );
    assert_eq!(history.look(&[pool(10)]), [(EventKind::DeviceOnline, Info), (EventKind::PoolOnline, Info)]);
}

#[test]
fn a_device_that_has_left_is_not_said_to_take_part_again() {
    let mut history = History::default();
    let mut seen = pool(10);
    seen.pool.devices[0].state = PoolDeviceState::Failed;
    assert_eq!(history.look(&[seen]), [(EventKind::DeviceFailed, EventSeverity::Critical)]);
    let mut seen = pool(10);
    seen.pool.devices.clear();
    assert_eq!(history.look(&[seen]), []);
    assert!(history.0.is_empty());
}

#[test]
fn a_silent_device_is_told_again_when_hosts_wait_for_it_and_when_it_is_back() {
    use EventSeverity::{Critical, Info, Warning};
    let mut history = History::default();
    let look = |state, level| {
        let mut seen = pool(10);
        seen.pool.devices[0].state = state;
        let cause =
            quarry_api_types::Cause { level, message: "why".to_owned(), next_step: "what".to_owned() };
        seen.pool.devices[0].health = quarry_api_types::Health::from_causes(vec![cause]);
        seen
    };
    for (state, level, told) in [
        (PoolDeviceState::Suspect, HealthLevel::Warning, vec![(EventKind::DeviceSuspect, Warning)]),
        (PoolDeviceState::Suspect, HealthLevel::Warning, vec![]),
        (PoolDeviceState::Suspect, HealthLevel::Critical, vec![(EventKind::DeviceSuspect, Critical)]),
        (PoolDeviceState::Failed, HealthLevel::Critical, vec![(EventKind::DeviceFailed, Critical)]),
        (PoolDeviceState::Returned, HealthLevel::Warning, vec![(EventKind::DeviceReturned, Info)]),
        (PoolDeviceState::Online, HealthLevel::Ok, vec![(EventKind::DeviceOnline, Info)]),
    ] {
        assert_eq!(history.look(&[look(state, level)]), told, "{state} {level}");
    }
    let (events, _) = compare(&BTreeMap::new(), &[look(PoolDeviceState::Suspect, HealthLevel::Warning)]);
    assert_eq!((events[0].cause.as_deref(), events[0].next_step.as_deref()), (Some("why"), Some("what")));
}

#[test]
fn a_drive_is_told_when_its_verdict_changes() {
    let mut history = History::default();
    let mut look = |verdict| {
        let mut seen = pool(10);
        seen.pool.devices[0].drive = Some(quarry_api_types::DriveHealth {
            verdict,
            causes: vec!["8 sectors have been replaced".to_owned()],
            unknown: None,
            asked: Timestamp::from_unix_ms(1),
            model: None,
            temperature_celsius: None,
            power_on_hours: None,
            wear_percent: None,
            reallocated: Some(8),
            pending: None,
            media_errors: None,
        });
        history.look(&[seen])
    };
    assert_eq!(look(DriveVerdict::Unknown), []);
    assert_eq!(look(DriveVerdict::Warning), [(EventKind::DriveWarning, EventSeverity::Warning)]);
    assert_eq!(look(DriveVerdict::Warning), []);
    assert_eq!(look(DriveVerdict::Failing), [(EventKind::DriveFailing, EventSeverity::Critical)]);
    assert_eq!(look(DriveVerdict::Ok), [(EventKind::DriveOk, EventSeverity::Info)]);
}

#[test]
fn what_an_offline_pool_would_show_stays_as_it_was_and_a_pool_that_is_gone_is_forgotten() {
    let mut history = History::default();
    let mut seen = pool(85);
    seen.damaged.insert("vm@daily".to_owned(), BTreeSet::from([4096]));
    assert_eq!(history.look(&[seen]).len(), 2);
    let mut offline = pool(0);
    offline.pool.state = PoolState::Offline;
    assert_eq!(history.look(&[offline]), [(EventKind::PoolOffline, EventSeverity::Critical)]);
    let mut seen = pool(85);
    seen.damaged.insert("vm@daily".to_owned(), BTreeSet::from([4096]));
    assert_eq!(history.look(&[seen]), [(EventKind::PoolOnline, EventSeverity::Info)]);
    assert_eq!(history.look(&[]), []);
    assert!(history.0.is_empty());
}

#[test]
fn damage_is_told_again_when_it_has_doubled() {
    let mut history = History::default();
    let mut told = Vec::new();
    for count in 1..=64u64 {
        let mut seen = pool(0);
        seen.damaged.insert("vm".to_owned(), (0..count).map(|block| block * 4096).collect());
        if !history.look(&[seen]).is_empty() {
            told.push(count);
        }
    }
    assert_eq!(told, [1, 2, 3, 5, 9, 17, 33]);
    assert_eq!(history.look(&[pool(0)]), [(EventKind::BlocksRecovered, EventSeverity::Info)]);
}

#[test]
fn each_scrub_is_told_by_what_it_has_found() {
    let scrub = |ended: u64, repaired, lost| quarry_api_types::Scrub {
        state: ScrubState::Done,
        began: Timestamp::from_unix_ms(1),
        ended: Some(Timestamp::from_unix_ms(ended)),
        chunks_done: 1,
        chunks: 1,
        read_bytes: 1 << 20,
        repaired,
        unrepaired: 0,
        lost,
        lost_blocks: Vec::new(),
    };
    let mut history = History::default();
    for (found, severity) in [
        (scrub(10, 0, 0), Some(EventSeverity::Info)),
        (scrub(10, 0, 0), None),
        (scrub(20, 3, 0), Some(EventSeverity::Warning)),
        (scrub(30, 3, 1), Some(EventSeverity::Critical)),
    ] {
        let mut seen = pool(0);
        seen.pool.scrub = Some(found);
        let told = history.look(&[seen]);
        assert_eq!(told.first().map(|(_, severity)| *severity), severity);
    }
    assert_eq!(history.look(&[pool(0)]), [], "after a restart nobody knows of it");
}

#[test]
fn a_quota_is_told_when_it_bites_and_when_it_is_far_again() {
    let mut history = History::default();
    for (mapped_bytes, refused, told) in [
        (999, false, None),
        (1000, true, Some(EventKind::QuotaReached)),
        (1000, false, None),
        (985, false, None),
        (980, false, Some(EventKind::QuotaOk)),
        (995, false, None),
        (1000, true, Some(EventKind::QuotaReached)),
    ] {
        let mut seen = pool(0);
        seen.quotas.insert("vm".to_owned(), Quota { bytes: 1000, mapped_bytes, refused });
        let kind = history.look(&[seen]).first().map(|(kind, _)| *kind);
        assert_eq!(kind, told, "{mapped_bytes}");
    }
    assert_eq!(history.look(&[pool(0)]), [], "the volume is gone");
    assert!(history.0.is_empty());
}

#[test]
fn a_reservation_that_is_missed_is_told_once_and_its_end_too() {
    let mut history = History::default();
    let missed = || Missed { promised: "1000 IOPS".to_owned(), got: "500 IOPS".to_owned() };
    for (seen_as, told) in [
        (Some(None), None),
        (Some(Some(missed())), Some(EventKind::ReservationMissed)),
        (Some(Some(missed())), None),
        (Some(None), Some(EventKind::ReservationKept)),
        (Some(Some(missed())), Some(EventKind::ReservationMissed)),
        // Nothing is promised any more.
        (None, None),
    ] {
        let mut seen = pool(0);
        seen.reservations.extend(seen_as.map(|missed| ("vm".to_owned(), missed)));
        assert_eq!(history.look(&[seen]).first().map(|(kind, _)| *kind), told);
    }
    assert!(history.0.is_empty());
}

#[test]
fn keys_are_taken_apart_as_they_were_made() {
    for subject in Subject::ALL {
        let key = key(subject, "tank", "/dev/my disk");
        assert_eq!(parse_key(&key), Some((subject, "tank", "/dev/my disk")));
    }
    assert_eq!(parse_key("of a newer quarryd"), None);
}

#[test]
fn volumes_whose_keys_are_not_open_are_told_once_for_all_of_a_pool() {
    let mut history = History::default();
    let mut seen = pool(10);
    assert_eq!(history.look(std::slice::from_ref(&seen)), []);
    for locked in [3, 2] {
        seen.locked = locked;
        let told = history.look(std::slice::from_ref(&seen));
        let expected = [(EventKind::VolumesLocked, EventSeverity::Critical)];
        assert_eq!(told, if locked == 3 { &expected[..] } else { &[] });
    }
    seen.locked = 0;
    assert_eq!(history.look(&[seen]), [(EventKind::VolumesUnlocked, EventSeverity::Info)]);
}
