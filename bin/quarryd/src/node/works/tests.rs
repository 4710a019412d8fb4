//! Pools as they show what goes on, and the jobs that follow it.

use quarry_api_types::CreatePool;

use super::*;
use crate::test_node::name;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_ms(1_795_167_000_000 + seconds * 1000)
}

fn device(path: &str, state: PoolDeviceState, used_bytes: u64) -> PoolDevice {
    PoolDevice {
        id: quarry_types::DeviceId::from_random(1),
        path: path.to_owned(),
        kind: quarry_api_types::DeviceKind::Block,
        class: quarry_api_types::DeviceClass::Nvme,
        state,
        size_bytes: 1 << 30,
        used_bytes,
        removing: false,
        health: Default::default(),
        latency: Default::default(),
        in_flight: 0,
        late_writes: 0,
        drive: None,
    }
}

pub(in crate::node) fn pool(devices: Vec<PoolDevice>) -> Pool {
    let json = r#"{"name":"p","devices":["/dev/sdb"]}"#;
    let request: CreatePool = serde_json::from_str(json).expect("a request");
    Pool {
        protection: Default::default(),
        groups: Default::default(),
        id: quarry_types::PoolId::from_random(1),
        name: name("p"),
        copies: 1,
        state: PoolState::Online,
        reasons: vec![],
        created: at(0),
        devices,
        capacity: quarry_api_types::Capacity {
            total_bytes: 0,
            used_bytes: 0,
            free_bytes: 0,
            reserved_bytes: 0,
            kept_bytes: 0,
            available_bytes: 0,
        },
        fill_percent: 0,
        levels: request.levels(),
        full: false,
        commitment: Default::default(),
        data: Default::default(),
        freeing: Default::default(),
        rebuild: Default::default(),
        rebuild_rate_bytes_per_s: None,
        segment_bytes: 32 << 20,
        logs: 1,
        volumes: 0,
        scrub: None,
    }
}

fn job(work: &Work) -> Job {
    let mut job = Job {
        id: 1,
        kind: work.kind,
        object: work.object.clone(),
        state: JobState::Running,
        done: 0,
        total: 0,
        unit: work.unit.to_owned(),
        percent: 0,
        left_s: None,
        message: None,
        can_be_cancelled: false,
        began: at(0),
        ended: None,
    };
    seen(&mut job, work, at(0));
    job
}

#[test]
fn progress_and_time_left_follow_what_is_left() {
    let of = |used| works(&pool(vec![device("/a", PoolDeviceState::Draining, used)])).remove(0);
    let mut drain = job(&of(1000));
    assert_eq!((drain.total, drain.done, drain.percent, drain.left_s), (1000, 0, 0, None));
    assert!(drain.can_be_cancelled);
    seen(&mut drain, &of(750), at(10));
    assert_eq!((drain.total, drain.done, drain.percent, drain.left_s), (1000, 250, 25, Some(30)));
    // Somebody has written to the pool: there is more to do than there was.
    seen(&mut drain, &of(900), at(20));
    assert_eq!((drain.total, drain.done), (1150, 250));
}

#[test]
fn how_work_has_ended_is_seen_in_the_pool() {
    let drain = job(&works(&pool(vec![device("/a", PoolDeviceState::Draining, 9)])).remove(0));
    let ended = |devices: Vec<PoolDevice>| gone(&drain, &[pool(devices)]).map(|(state, _)| state);
    assert_eq!(ended(vec![]), Some(JobState::Done), "it has left");
    assert_eq!(ended(vec![device("/a", PoolDeviceState::Drained, 0)]), Some(JobState::Done));
    assert_eq!(ended(vec![device("/a", PoolDeviceState::Online, 9)]), Some(JobState::Cancelled));
    let offline = Pool { state: PoolState::Offline, ..pool(vec![]) };
    assert_eq!(gone(&drain, std::slice::from_ref(&offline)), None, "nobody can tell");

    let rebuilding = Rebuild { chunks: 3, left_bytes: 100, left_s: Some(7), ..Rebuild::default() };
    let rebuild = job(&works(&Pool { rebuild: rebuilding, ..pool(vec![]) }).remove(0));
    assert_eq!((rebuild.kind, rebuild.left_s, rebuild.can_be_cancelled), (JobKind::Rebuild, Some(7), false));
    assert_eq!(gone(&rebuild, &[pool(vec![])]), Some((JobState::Done, None)));
    assert_eq!(gone(&rebuild, &[]).map(|(state, _)| state), Some(JobState::Cancelled), "the pool is gone");
    assert_eq!(gone(&rebuild, &[offline]), None);

    let scrubbing =
        Work { kind: JobKind::Scrub, ..works(&Pool { rebuild: rebuilding, ..pool(vec![]) }).remove(0) };
    assert_eq!(gone(&job(&scrubbing), &[pool(vec![])]).map(|(state, _)| state), Some(JobState::Failed));
}
