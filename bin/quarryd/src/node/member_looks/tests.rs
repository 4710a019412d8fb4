use std::os::unix::fs::FileExt;
use std::path::Path;

use quarry_api_types::{HealthLevel, Pool, PoolDeviceState, ScrubState, StartScrub};
use quarry_format::label::{LABEL_BYTES, LABEL_COPY_OFFSETS};
use quarry_node_api::Node as _;
use tempfile::TempDir;

use crate::test_node::{TestNode, make_device, name, pool_of, settings};

const DEVICE_BYTES: u64 = 160 << 20;

/// A node with a pool `m` that has two copies of everything, on files `0` and `1`.
async fn with_mirror(directory: &Path) -> TestNode {
    let node = TestNode::start(settings(directory)).await;
    let devices = ["0", "1"].map(|device| make_device(&directory.join(device), DEVICE_BYTES));
    let pool = pool_of("m", devices.to_vec(), 2);
    node.node.create_pool(pool).await.expect("a pool");
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the test takes the file away from under the device")]
async fn a_device_whose_path_leads_elsewhere_is_in_danger() {
    let directory = TempDir::new().expect("a directory");
    let node = with_mirror(directory.path()).await;
    let (path, aside) = (directory.path().join("1"), directory.path().join("aside"));
    std::fs::rename(&path, &aside).expect("it is there");
    make_device(&path, DEVICE_BYTES);
    let pool = node.tended("m", |pool| pool.devices[1].health.level == HealthLevel::Critical).await;
    let device = &pool.devices[1];
    assert_eq!(device.state, PoolDeviceState::Suspect);
    assert!(device.health.causes[0].message.contains("its path is gone"), "{device:?}");
    let status = node.node.status().await.expect("a status");
    assert_eq!(status.health.level, HealthLevel::Critical);
    std::fs::rename(&aside, &path).expect("it is there");
    let pool = node.tended("m", |pool| pool.devices[1].health.level == HealthLevel::Ok).await;
    assert_eq!(pool.devices[1].state, PoolDeviceState::Online);
    node.stop().await;
}

#[expect(clippy::disallowed_types, reason = "the test damages the file that is the device")]
fn with_file<T>(path: &Path, use_: impl FnOnce(&std::fs::File) -> T) -> T {
    use_(&std::fs::OpenOptions::new().read(true).write(true).open(path).expect("it is there"))
}

fn labels(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; 2 * LABEL_BYTES];
    with_file(path, |file| {
        for (copy, offset) in bytes.chunks_mut(LABEL_BYTES).zip(LABEL_COPY_OFFSETS) {
            file.read_exact_at(copy, offset).expect("a label");
        }
    });
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_labels_are_written_again_while_their_devices_are_in_use() {
    let directory = TempDir::new().expect("a directory");
    let node = with_mirror(directory.path()).await;
    let path = directory.path().join("0");
    let whole = labels(&path);
    let damage = || {
        with_file(&path, |file| {
            for offset in LABEL_COPY_OFFSETS {
                file.write_all_at(&[0; LABEL_BYTES], offset).expect("it can be written");
            }
        });
    };
    damage();
    node.tended("m", |_| labels(&path) == whole).await;
    damage();
    node.node.start_scrub(&name("m"), StartScrub { rate_bytes_per_s: None }).await.expect("begun");
    let is_done = |pool: &Pool| pool.scrub.as_ref().is_some_and(|scrub| scrub.state == ScrubState::Done);
    let pool = node.seen("m", is_done).await;
    assert_eq!(pool.scrub.expect("it is done").repaired, 2);
    assert_eq!(labels(&path), whole);
    node.stop().await;
}
