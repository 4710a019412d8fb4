//! Continuous data protection: a volume as it was at any second of the last while.

use std::time::Duration;

use quarry_engine::{CloneOf, EngineError, History, Limits, Missed};
use quarry_types::{SnapshotId, VolumeId, VolumeSettings};
use quarry_volume::{Volume, WriteFlags};

use crate::node::{BLOCK, LIMITS, Node, VOLUME, content};

const SIZE: u64 = 16 << 20;
const WINDOW_S: u32 = 20;
const MIB: u64 = 1 << 20;

fn node() -> Node {
    let settings = VolumeSettings { history_s: WINDOW_S, ..VolumeSettings::default() };
    Node::with_settings(5, 1, &[64], (SIZE, (settings, None)))
}

fn second(node: &Node) -> u64 {
    node.run(|env| async move { env.clock.wall().as_secs() })
}

/// Waits until the middle of the next second.
fn wait(node: &Node, seconds: u64) -> u64 {
    node.run(|env| async move {
        let passed = Duration::from_nanos(u64::from(env.clock.wall().subsec_nanos()));
        env.clock.sleep(Duration::from_secs(seconds) + Duration::from_millis(500) - passed).await;
        env.clock.wall().as_secs()
    })
}

fn history(node: &Node) -> Option<History> {
    node.engine().volumes()[0].history
}

fn moment_at(node: &Node, at_s: u64) -> Option<SnapshotId> {
    node.engine().moment_at(VOLUME, at_s).expect("it exists")
}

/// The first block of a clone of the volume as it was.
fn block_at(node: &Node, at_s: u64) -> Vec<u8> {
    let moment = moment_at(node, at_s).expect("the history goes back so far");
    let (engine, id) = (node.engine(), VolumeId(uuid::Uuid::from_u128(u128::from(at_s) << 8)));
    node.run(|_| async move {
        engine.clone_volume(CloneOf::Snapshot(moment), id, "past").await.expect("clone");
        let read = engine.volume(id).expect("clone").read(0, BLOCK as u32).await.expect("read");
        engine.delete_volume(id, false).await.expect("delete");
        read.iter().flat_map(|view| view.to_vec()).collect()
    })
}

#[test]
fn each_second_can_be_had_until_the_window_has_passed_it() {
    let mut node = node();
    wait(&node, 1);
    // What was written in which second: not in every third.
    let mut written = Vec::new();
    for version in 1..=50u64 {
        if version % 3 != 0 {
            node.write(0, content(version, 0, BLOCK)).expect("write");
        }
        let newest = if version % 3 == 0 { version - 1 } else { version };
        let at_s = wait(&node, 1);
        written.push((at_s, newest));
        if version == 30 {
            node.kill();
            node.reopen();
        }
        let History { since_s, until_s, moments, .. } = history(&node).expect("there is one");
        assert!(until_s + 2 > at_s && since_s <= at_s, "{since_s} to {until_s} at {at_s}");
        assert!(moments <= WINDOW_S as usize + 2, "{moments} moments");
    }
    let now_s = second(&node);
    for &(at_s, version) in &written {
        if at_s + u64::from(WINDOW_S) > now_s {
            assert!(block_at(&node, at_s) == content(version, 0, BLOCK), "{at_s} of {now_s}");
        } else if at_s + u64::from(WINDOW_S) + 4 < now_s {
            assert_eq!(moment_at(&node, at_s), None, "{at_s} of {now_s}");
        }
    }
    node.verify();
    node.close();
}

#[test]
fn a_volume_that_rests_takes_no_moments_and_keeps_the_last() {
    let node = node();
    node.write(0, content(1, 0, BLOCK)).expect("write");
    wait(&node, 2);
    let before = history(&node).expect("there is one");
    let now_s = wait(&node, 5 * u64::from(WINDOW_S));
    let after = history(&node).expect("there is one");
    assert_eq!((before.until_s, after.moments), (after.until_s, 1), "{after:?}");
    assert!(block_at(&node, now_s) == content(1, 0, BLOCK));
    node.close();
}

#[test]
fn without_a_window_the_moments_go_and_so_does_what_they_held() {
    let node = node();
    for version in 1..=8 {
        node.write(0, content(version, 0, 64 * BLOCK)).expect("write");
        wait(&node, 1);
    }
    assert!(history(&node).expect("there is one").moments > 6);
    let engine = node.engine();
    assert_eq!(engine.volumes()[0].snapshots, 0, "moments are no snapshots with a name");
    node.run(|_| async move { engine.change_volume(VOLUME, VolumeSettings::default()).await })
        .expect("change");
    wait(&node, 2);
    assert_eq!(history(&node), None);
    let engine = node.engine();
    node.run(|_| async move { engine.settle_space(Duration::from_secs(60)).await }).expect("settle");
    node.verify();
    assert!(node.engine().status().live_bytes < 66 * BLOCK as u64);
    node.close();
}

#[test]
fn a_volume_goes_with_its_history() {
    let node = node();
    node.write(0, content(1, 0, 64 * BLOCK)).expect("write");
    wait(&node, 2);
    let engine = node.engine();
    node.run(|_| async move {
        engine.delete_volume(VOLUME, false).await.expect("nothing with a name keeps it");
        engine.settle_space(Duration::from_secs(60)).await.expect("settle");
    });
    node.verify();
    assert_eq!(node.engine().status().live_bytes, 0);
    node.close();
}

#[test]
fn a_pool_that_history_has_filled_gets_room_as_the_window_passes() {
    let node = node();
    let mut refused = None;
    for version in 1..400u64 {
        let offset = version * MIB % SIZE;
        if node.write(offset, content(version, offset, MIB as usize)).is_err() {
            refused = Some(version);
            break;
        }
        if version % 4 == 0 {
            wait(&node, 1);
        }
    }
    let version = refused.expect("20 seconds of 4 MiB each do not fit into 64 MiB");
    wait(&node, 2 * u64::from(WINDOW_S));
    let offset = version * MIB % SIZE;
    node.write(offset, content(version, offset, MIB as usize)).expect("there is room again");
    assert_eq!(node.read(offset, MIB as usize), content(version, offset, MIB as usize));
    node.verify();
    node.close();
}

#[test]
fn what_a_volume_at_rest_held_is_given_up_without_being_asked_for() {
    let node = node();
    for version in 1..=10 {
        node.write(0, content(version, 0, 256 * BLOCK)).expect("write");
        wait(&node, 1);
    }
    assert!(node.engine().status().live_bytes > 9 * 256 * BLOCK as u64);
    wait(&node, u64::from(WINDOW_S) + 60);
    let live_bytes = node.engine().status().live_bytes;
    assert!(live_bytes < 260 * BLOCK as u64, "{live_bytes}");
    node.verify();
    node.close();
}

#[test]
fn a_window_that_begins_again_begins_with_what_there_is() {
    let node = node();
    node.write(0, content(1, 0, BLOCK)).expect("write");
    wait(&node, 2);
    for history_s in [0, WINDOW_S] {
        let (engine, settings) = (node.engine(), VolumeSettings { history_s, ..VolumeSettings::default() });
        node.run(|_| async move { engine.change_volume(VOLUME, settings).await }).expect("change");
        wait(&node, 2);
    }
    let before_s = wait(&node, 1);
    node.write(0, content(2, 0, BLOCK)).expect("write");
    wait(&node, 2);
    assert!(block_at(&node, before_s) == content(1, 0, BLOCK));
    node.close();
}

/// The seconds that are missing about one that is asked for.
fn missed_at(node: &Node, at_s: u64) -> Missed {
    match node.engine().moment_at(VOLUME, at_s) {
        Err(EngineError::Missed { from_s, until_s }) => Missed { from_s, until_s },
        other => panic!("{at_s} was missed, not {other:?}"),
    }
}

#[test]
fn a_log_among_others_goes_on_with_the_history_at_once_when_it_is_opened() {
    let mut node = node();
    node.write(0, content(1, 0, BLOCK)).expect("write");
    wait(&node, 4);
    let kept_s = history(&node).expect("there is one").until_s;
    node.write(0, content(2, 0, BLOCK)).expect("write");
    node.flush().expect("flush");
    node.kill();
    node.reopen();
    // Nobody writes, so it is granted nothing.
    node.engine().set_limits(Limits { logs: 2, ..LIMITS });
    let first_s = second(&node) + 1;
    wait(&node, 2);
    assert!(block_at(&node, kept_s) == content(1, 0, BLOCK));
    assert!(block_at(&node, first_s) == content(2, 0, BLOCK), "{:?}", history(&node));
    // Nobody knows when it was written.
    let missed = Missed { from_s: kept_s + 1, until_s: Some(first_s) };
    for at_s in kept_s + 1..first_s {
        assert_eq!(missed_at(&node, at_s), missed);
    }
    assert_eq!(history(&node).expect("there is one").missed, Some(missed));
    node.close();
}

#[test]
fn a_volume_at_rest_misses_nothing_when_its_pool_is_opened_again() {
    let mut node = node();
    node.write(0, content(1, 0, BLOCK)).expect("write");
    let kept_s = wait(&node, 2);
    let moments = history(&node).expect("there is one").moments;
    for closes in [true, false] {
        if closes {
            node.close()
        } else {
            node.kill()
        }
        node.reopen();
        let now_s = wait(&node, 3);
        for at_s in kept_s..=now_s {
            assert!(block_at(&node, at_s) == content(1, 0, BLOCK), "{at_s} of {now_s}");
        }
        let now = history(&node).expect("there is one");
        assert_eq!((now.moments, now.missed), (moments, None), "closed: {closes}");
    }
    node.close();
}

#[test]
fn seconds_for_which_a_full_pool_had_no_space_are_refused_and_others_are_had() {
    let mut node = node();
    let other = VolumeId(uuid::Uuid::from_u128(7));
    node.write(0, content(1, 0, BLOCK)).expect("write");
    wait(&node, 2);
    let kept_s = history(&node).expect("there is one").until_s;
    let engine = node.engine();
    node.run(|env| async move {
        engine.create_volume(other, "other", 1 << 30, VolumeSettings::default(), None).await.expect("create");
        let volume = engine.volume(other).expect("it exists");
        let bytes = env.buffers.copy_of(&content(9, 0, BLOCK));
        let mut offset = 0;
        while volume.write(offset, bytes.clone(), WriteFlags::default()).await.is_ok() {
            offset += BLOCK as u64;
        }
    });
    wait(&node, 1);
    node.with(|_, volume| async move { volume.discard(0, BLOCK as u64, WriteFlags::default()).await })
        .expect("a full pool takes discards");
    let changed_s = second(&node);
    let full_s = wait(&node, 3);
    let from_s = missed_at(&node, full_s).from_s;
    assert!(from_s > kept_s && from_s <= changed_s + 1, "{kept_s} < {from_s} <= {changed_s}");
    assert_eq!(history(&node).expect("there is one").missed, Some(Missed { from_s, until_s: None }));
    assert!(block_at(&node, kept_s) == content(1, 0, BLOCK));
    // Whoever opens the pool knows of it without a record.
    node.flush().expect("flush");
    node.kill();
    node.reopen();
    wait(&node, 2);
    let from_s = missed_at(&node, full_s).from_s;
    assert!(from_s > kept_s && from_s <= changed_s + 1, "{from_s}");
    let engine = node.engine();
    node.run(|_| async move {
        engine.delete_volume(other, false).await.expect("delete");
        engine.settle_space(Duration::from_secs(60)).await.expect("settle");
    });
    let now_s = wait(&node, 3);
    assert!(block_at(&node, now_s) == vec![0; BLOCK]);
    let missed = missed_at(&node, full_s);
    assert_eq!(missed.from_s, from_s);
    for _ in 0..2 {
        assert_eq!(missed_at(&node, full_s), missed);
        assert_eq!(history(&node).expect("there is one").missed, Some(missed));
        let until_s = missed.until_s.expect("it has ended");
        assert!(block_at(&node, kept_s) == content(1, 0, BLOCK));
        assert!(block_at(&node, until_s) == vec![0; BLOCK]);
        node.close();
        node.reopen();
    }
    node.close();
}
