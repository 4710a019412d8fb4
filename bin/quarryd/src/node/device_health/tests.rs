use quarry_device::{DeviceClass, Operation, Unanswered};
use quarry_histogram::Histogram;
use quarry_types::DeviceId;

use super::*;

fn status(failure: Option<&str>) -> DeviceStatus {
    DeviceStatus {
        index: 0,
        id: DeviceId::from_random(1),
        path: "/dev/sdb".into(),
        slots: 64,
        class: DeviceClass::Ssd,
        leaving: false,
        failure: failure.map(str::to_owned),
    }
}

fn facts(health: DeviceHealth) -> MemberFacts {
    let (kind, fault, has_strayed) = (DeviceKind::Block, None, false);
    MemberFacts { kind, fault, size_bytes: 1 << 30, sector_bytes: 512, health, has_strayed }
}

fn judged(failure: Option<&str>, health: DeviceHealth) -> (PoolDeviceState, HealthLevel, String) {
    let member = member(&status(failure), Some(&facts(health)), 1, None);
    let messages: Vec<String> = member.health.causes.into_iter().map(|cause| cause.message).collect();
    (member.state, member.health.level, messages.join("; "))
}

#[test]
fn a_device_is_what_was_seen_of_it() {
    let what = Unanswered { operation: Operation::Write, offset: 0, length: 512, began: Duration::ZERO };
    let silent = Some((what, Duration::from_secs(34)));
    let slow = Some(Slowness {
        operation: Operation::Read,
        mean: Duration::from_millis(25),
        p99: Duration::from_millis(60),
        peers_mean: Duration::from_micros(300),
        peers_p99: Duration::from_millis(1),
    });
    let well = DeviceHealth::default;
    for (failure, health, state, level, part) in [
        (None, well(), PoolDeviceState::Online, HealthLevel::Ok, ""),
        (
            None,
            DeviceHealth { slow, ..well() },
            PoolDeviceState::Suspect,
            HealthLevel::Warning,
            "a read takes 25.0 ms (99 of 100 60.0 ms), and 0.3 ms (1.0 ms) on its peers",
        ),
        (
            None,
            DeviceHealth { silent, ..well() },
            PoolDeviceState::Suspect,
            HealthLevel::Warning,
            "not answered a write for 34 s",
        ),
        (
            None,
            DeviceHealth { silent, is_needed: true, ..well() },
            PoolDeviceState::Suspect,
            HealthLevel::Critical,
            "something is on it alone",
        ),
        (
            Some("it has not answered for 15.2 s"),
            DeviceHealth { was_silent: true, late_changes: 3, ..well() },
            PoolDeviceState::Failed,
            HealthLevel::Critical,
            "it was taken out of use: it has not answered for 15.2 s; it may still carry out 3 writes",
        ),
        (
            Some("it has not answered"),
            DeviceHealth { was_silent: true, answers_again: true, ..well() },
            PoolDeviceState::Returned,
            HealthLevel::Warning,
            "answers again",
        ),
    ] {
        let (found_state, found_level, messages) = judged(failure, health);
        assert_eq!((found_state, found_level), (state, level), "{messages}");
        assert!(messages.contains(part) && (part.is_empty() == messages.is_empty()), "{messages}");
    }
}

#[test]
fn a_drive_speaks_for_its_device() {
    let drive = |verdict| DriveHealth {
        verdict,
        causes: vec!["8 sectors have been replaced".to_owned()],
        unknown: None,
        asked: quarry_api_types::Timestamp::from_unix_ms(1),
        model: None,
        temperature_celsius: None,
        power_on_hours: None,
        wear_percent: None,
        reallocated: Some(8),
        pending: None,
        media_errors: None,
    };
    for (verdict, level) in [
        (DriveVerdict::Ok, HealthLevel::Ok),
        (DriveVerdict::Unknown, HealthLevel::Ok),
        (DriveVerdict::Warning, HealthLevel::Warning),
        (DriveVerdict::Failing, HealthLevel::Critical),
    ] {
        let facts = facts(DeviceHealth::default());
        let member = member(&status(None), Some(&facts), 1, Some(drive(verdict)));
        assert_eq!((member.state, member.health.level), (PoolDeviceState::Online, level));
        assert_eq!(member.health.causes.len(), usize::from(level > HealthLevel::Ok));
    }
}

#[test]
fn figures_are_in_microseconds() {
    let histogram = Histogram::default();
    (0..99).for_each(|_| histogram.record(Duration::from_micros(100)));
    histogram.record(Duration::from_millis(50));
    let figures = figures(&histogram.distribution());
    assert_eq!((figures.count, figures.mean_us), (100, 599));
    assert!(
        (90..=113).contains(&figures.p50_us) && (45_000..=60_000).contains(&figures.p999_us),
        "{figures:?}"
    );
}
