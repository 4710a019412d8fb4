//! A mirror whose halves are there in turn.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quarry_api_types::{CreatePool, CreateVolume, PoolState, SpaceLevels};
use quarry_node_api::Node as _;
use tempfile::TempDir;

use crate::test_node::{TestNode, VOLUME_BYTES, name, settings};

const DEVICE_BYTES: u64 = 64 << 20;

#[expect(clippy::disallowed_types, reason = "a test makes the files that are the devices")]
fn make(directory: &Path, file: &str) -> PathBuf {
    let path = directory.join(file);
    std::fs::File::create(&path).expect("a file").set_len(DEVICE_BYTES).expect("a sparse file of its size");
    path
}

#[expect(clippy::disallowed_methods, reason = "a test takes the files away that are the devices")]
fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).expect("it is there");
}

fn away(path: &Path) -> PathBuf {
    path.with_extension("away")
}

/// A node with a mirror over these devices, and a volume in it.
async fn with_mirror(directory: &Path, devices: [&PathBuf; 2]) -> TestNode {
    let node = TestNode::start(settings(directory)).await;
    let SpaceLevels { warning_percent, critical_percent } = SpaceLevels::default();
    let pool = CreatePool {
        name: name("m"),
        devices: devices.map(|path| path.display().to_string()).to_vec(),
        copies: Some(2),
        protection: None,
        force: false,
        warning_percent,
        critical_percent,
        overcommit_limit_percent: 0,
    };
    node.node.create_pool(pool).await.expect("a pool");
    create_volume(&node, "v").await;
    node
}

async fn create_volume(node: &TestNode, volume: &str) {
    let request = CreateVolume::new(name(volume), name("m"), VOLUME_BYTES);
    node.node.create_volume(request).await.expect("a volume");
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
    create_volume(&node, "w").await;
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
