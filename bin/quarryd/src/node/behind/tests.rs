//! A mirror whose halves are there in turn.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quarry_api_types::{AddDevice, PoolDeviceState, PoolState};
use quarry_node_api::Node as _;
use tempfile::TempDir;

use crate::test_node::{TestNode, make_device, name, pool_of, settings};

const DEVICE_BYTES: u64 = 64 << 20;

fn make(directory: &Path, file: &str) -> PathBuf {
    PathBuf::from(make_device(&directory.join(file), DEVICE_BYTES))
}

#[expect(clippy::disallowed_methods, reason = "a test takes the files away that are the devices")]
fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).expect("it is there");
}

#[expect(clippy::disallowed_methods, reason = "a test reads the files that are the devices")]
fn content(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("it is there")
}

fn away(path: &Path) -> PathBuf {
    path.with_extension("away")
}

/// A node with a mirror over these devices, and a volume in it.
async fn with_mirror(directory: &Path, devices: [&PathBuf; 2]) -> TestNode {
    let node = TestNode::start(settings(directory)).await;
    let paths = devices.map(|path| path.display().to_string()).to_vec();
    node.node.create_pool(pool_of("m", paths, 2)).await.expect("a pool");
    node.create_volume("v", "m").await;
    node
}

async fn state(node: &TestNode) -> (PoolState, String) {
    let pool = node.node.show_pool(&name("m")).await.expect("it is in the catalog");
    (pool.state, pool.reasons.join("; "))
}

/// Looks at the pool as `tend_devices` does.
async fn look(node: &TestNode) {
    let (entry, open) = node.node.open_entry(&name("m")).expect("it is open");
    node.node.keep_behind(&entry, &open).await.expect("it is noted");
}

fn behind(node: &TestNode) -> Vec<bool> {
    let (entry, _) = node.node.open_entry(&name("m")).expect("it is open");
    entry.record.devices.iter().map(|device| device.behind_since.is_some()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_of_a_mirror_that_has_missed_something_is_not_shown_as_all_there_is() {
    let directory = TempDir::new().expect("a directory");
    let [one, two] = ["one", "two"].map(|file| make(directory.path(), file));
    let node = with_mirror(directory.path(), [&one, &two]).await;
    assert_eq!(behind(&node), [false, false]);
    node.stop().await;

    // One goes on alone.
    rename(&two, &away(&two));
    let node = TestNode::start(settings(directory.path())).await;
    assert_eq!(behind(&node), [false, true]);
    node.create_volume("w", "m").await;
    node.stop().await;

    // The other one knows nothing of that, and is not believed.
    rename(&one, &away(&one));
    rename(&away(&two), &two);
    let node = TestNode::start(settings(directory.path())).await;
    let (seen, why) = state(&node).await;
    assert_eq!(seen, PoolState::Offline, "{why}");
    assert!(why.contains("have missed what was written since"), "{why}");
    assert!(why.contains(&one.display().to_string()), "{why}");
    node.stop().await;

    // With the first one everything is there, and what the other one missed comes to it.
    rename(&away(&one), &one);
    let node = TestNode::start(settings(directory.path())).await;
    let volumes = node.node.list_volumes().await.expect("a list");
    assert_eq!(volumes.len(), 2);
    assert_eq!(behind(&node), [false, true]);
    look(&node).await;
    assert_eq!(behind(&node), [false, false]);
    for _ in 0..100 {
        let pool = node.node.show_pool(&name("m")).await.expect("the pool");
        if pool.rebuild.left_bytes == 0 && pool.state == PoolState::Online {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    node.stop().await;

    // Now it is as good as the first.
    rename(&one, &away(&one));
    let node = TestNode::start(settings(directory.path())).await;
    let (seen, why) = state(&node).await;
    assert_eq!(seen, PoolState::Degraded, "{why}");
    assert_eq!(node.node.list_volumes().await.expect("a list").len(), 2);
    assert_eq!(behind(&node), [true, false]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_fails_while_the_pool_is_open_counts_as_behind_until_it_is_back() {
    let directory = TempDir::new().expect("a directory");
    let [one, two] = ["one", "two"].map(|file| make(directory.path(), file));
    let node = with_mirror(directory.path(), [&one, &two]).await;
    let (_, open) = node.node.open_entry(&name("m")).expect("it is open");
    open.shared.fail_device(1, "a test says so".to_owned());
    look(&node).await;
    assert_eq!(behind(&node), [false, true]);
    let failed = node.node.show_pool(&name("m")).await.expect("the pool").devices[1].id;
    node.node.return_device(&name("m"), failed).await.expect("it is there");
    look(&node).await;
    assert_eq!(behind(&node), [false, false]);
    drop(open);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_half_that_is_tried_again_and_again_never_passes_the_newest_one() {
    let directory = TempDir::new().expect("a directory");
    let [one, two, three] = ["one", "two", "three"].map(|file| make(directory.path(), file));
    let node = with_mirror(directory.path(), [&one, &two]).await;
    node.stop().await;

    // While one is alone, a device joins, of which the other knows nothing.
    rename(&two, &away(&two));
    let node = TestNode::start(settings(directory.path())).await;
    let joining = AddDevice { path: three.display().to_string(), force: false };
    node.node.add_device(&name("m"), joining).await.expect("it joins");
    node.stop().await;

    rename(&one, &away(&one));
    rename(&three, &away(&three));
    rename(&away(&two), &two);
    let before = content(&two);
    for _ in 0..5 {
        let node = TestNode::start(settings(directory.path())).await;
        assert_eq!(state(&node).await.0, PoolState::Offline);
        node.stop().await;
    }
    assert!(content(&two) == before, "something was written to it");

    rename(&away(&one), &one);
    rename(&away(&three), &three);
    let node = TestNode::start(settings(directory.path())).await;
    let pool = node.node.show_pool(&name("m")).await.expect("it is open");
    let states: Vec<PoolDeviceState> = pool.devices.iter().map(|device| device.state).collect();
    assert_eq!(states, [PoolDeviceState::Online; 3], "{pool:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_that_fail_one_after_the_other_are_told_apart() {
    let directory = TempDir::new().expect("a directory");
    let [one, two] = ["one", "two"].map(|file| make(directory.path(), file));
    let node = with_mirror(directory.path(), [&one, &two]).await;
    let (_, open) = node.node.open_entry(&name("m")).expect("it is open");
    for index in [1, 0] {
        open.shared.fail_device(index, "a test says so".to_owned());
        look(&node).await;
        assert_eq!(behind(&node), [false, true], "the one that failed last has everything");
    }
    drop(open);
    node.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "a test copies the files that are the devices")]
async fn a_half_that_was_put_back_to_another_time_is_not_shown_as_all_there_is() {
    let directory = TempDir::new().expect("a directory");
    let [one, two] = ["one", "two"].map(|file| make(directory.path(), file));
    let node = with_mirror(directory.path(), [&one, &two]).await;
    node.stop().await;
    let copies = [&one, &two].map(|path| {
        let copy = path.with_extension("copy");
        std::fs::copy(path, &copy).expect("a copy");
        copy
    });
    let node = TestNode::start(settings(directory.path())).await;
    node.create_volume("w", "m").await;
    node.stop().await;

    // One comes from the copy, the other is away.
    std::fs::copy(&copies[0], &one).expect("it is put back");
    rename(&two, &away(&two));
    let node = TestNode::start(settings(directory.path())).await;
    let (seen, why) = state(&node).await;
    assert_eq!(seen, PoolState::Offline, "{why}");
    assert!(why.contains("put back") && why.contains(&two.display().to_string()), "{why}");
    node.stop().await;

    // With the other everything is there.
    rename(&away(&two), &two);
    let node = TestNode::start(settings(directory.path())).await;
    assert_eq!(node.node.list_volumes().await.expect("a list").len(), 2);
    node.stop().await;

    // Who puts all of them back means it.
    std::fs::copy(&copies[0], &one).expect("it is put back");
    std::fs::copy(&copies[1], &two).expect("it is put back");
    let node = TestNode::start(settings(directory.path())).await;
    assert_eq!(state(&node).await.0, PoolState::Online);
    assert_eq!(node.node.list_volumes().await.expect("a list").len(), 1);
    node.stop().await;
}

/// Turns one bit in the headers of the batches of a log; a second time they are as they were.
#[expect(clippy::disallowed_methods, reason = "a test damages the file that is the device")]
fn turn_headers(device: &Path, log: u16) -> usize {
    /// Where the header of a batch has its log, and its number.
    const LOG_AT: usize = 36;
    const NUMBER_AT: usize = 46;
    let mut bytes = content(device);
    let is_ours = |at: &usize| {
        bytes[*at..].starts_with(b"QRYBATCH") && bytes[at + LOG_AT..at + LOG_AT + 2] == log.to_le_bytes()
    };
    let found: Vec<usize> = (0..bytes.len()).step_by(512).filter(is_ours).collect();
    // The last one says how far flushes had come.
    let all_but_last = &found[..found.len().saturating_sub(1)];
    all_but_last.iter().for_each(|at| bytes[at + NUMBER_AT + 1] ^= 1 << 6);
    std::fs::write(device, bytes).expect("it is there");
    all_but_last.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_log_does_not_open_no_other_one_writes_over_it() {
    let directory = TempDir::new().expect("a directory");
    // Large enough for a log on each core.
    let device = PathBuf::from(make_device(&directory.path().join("one"), 512 << 20));
    let node = TestNode::start(settings(directory.path())).await;
    let path = vec![device.display().to_string()];
    node.node.create_pool(pool_of("m", path, 1)).await.expect("a pool");
    for volume in ["a", "b"] {
        node.create_volume(volume, "m").await;
    }
    // Each MiB with a flush of its own, in a tail that no checkpoint has taken in.
    let write = async |node: &TestNode| {
        for (volume, mib) in ["a", "b"].into_iter().flat_map(|volume| (0..6).map(move |mib| (volume, mib))) {
            node.write(volume, mib, 1).await;
        }
    };
    write(&node).await;
    let (_, open) = node.node.open_entry(&name("m")).expect("it is open");
    let logs: Vec<u16> = open.logs.iter().map(|(log, _)| log.0).collect();
    assert!(logs.len() > 1, "{logs:?}");
    drop(open);
    node.abandon().await;
    for log in logs {
        assert!(turn_headers(&device, log) > 0);
        for _ in 0..2 {
            let node = TestNode::start(settings(directory.path())).await;
            let (seen, why) = state(&node).await;
            assert_eq!(seen, PoolState::Offline, "log {log}: {why}");
            assert!(why.contains("durable"), "{why}");
            node.stop().await;
        }
        turn_headers(&device, log);
        let node = TestNode::start(settings(directory.path())).await;
        let (seen, why) = state(&node).await;
        assert_eq!(seen, PoolState::Online, "{why}");
        for volume in ["a", "b"] {
            node.check(volume, 0, 6).await;
        }
        write(&node).await;
        node.abandon().await;
    }
}
