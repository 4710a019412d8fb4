//! Tiers of a real node: what is said is kept over a restart, and data goes where it should be.

use std::path::Path;
use std::time::Duration;

use quarry_api_types::{AddDevice, DeviceClass};
use quarry_node_api::Node as _;
use tempfile::TempDir;

use super::*;
use crate::test_node::{TestNode, name, settings};

#[expect(clippy::disallowed_types, reason = "a test makes the file that is the device")]
fn file(directory: &Path, name: &str) -> String {
    let path = directory.join(name);
    std::fs::File::create(&path).expect("a file").set_len(512 << 20).expect("a sparse file of its size");
    path.display().to_string()
}

async fn until(node: &TestNode, holds: impl Fn(&PoolTiers) -> bool) -> PoolTiers {
    for _ in 0..300 {
        let tiers = node.node.show_tiers(&name("p")).await.expect("the pool is open");
        if holds(&tiers) {
            return tiers;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not come so far: {:?}", node.node.show_tiers(&name("p")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_device_gets_its_tier_and_a_pinned_pool_moves_there() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::with_volumes(directory.path(), &["a"]).await;
    let one = node.node.show_tiers(&name("p")).await.expect("one tier");
    assert_eq!((one.tiers.len(), one.placement), (1, Tier::Automatic));
    let path = file(directory.path(), "slow");
    let pool = node.node.add_device(&name("p"), AddDevice { path: path.clone(), force: false }).await;
    let slow = pool.expect("it joins").devices.into_iter().find(|device| device.path == path).expect("it");
    let refused = node.node.set_device_tier(&name("p"), slow.id, SetTier { tier: Tier::Automatic }).await;
    assert!(refused.expect_err("no tier").to_string().contains("one tier"));
    let pool = node.node.set_device_tier(&name("p"), slow.id, SetTier { tier: Tier::Hdd }).await;
    let class = pool
        .expect("it counts so")
        .devices
        .iter()
        .find(|device| device.path == path)
        .map(|device| device.class);
    assert_eq!(class, Some(DeviceClass::Hdd));
    // Whatever this machine's disk is like.
    let all = node.node.show_pool(&name("p")).await.expect("the pool").devices;
    let fast = all.into_iter().find(|device| device.path != path).expect("the first device");
    node.node.set_device_tier(&name("p"), fast.id, SetTier { tier: Tier::Nvme }).await.expect("it counts so");
    let two = node.node.show_tiers(&name("p")).await.expect("two tiers");
    assert_eq!(two.tiers.len(), 2, "{two:?}");
    assert_eq!(two.tiers[1].devices, *std::slice::from_ref(&path));

    node.write("a", 0, 16).await;
    node.node.place_pool(&name("p"), SetTier { tier: Tier::Hdd }).await.expect("pinned");
    let moved = until(&node, |tiers| tiers.demoted_segments > 0).await;
    assert_eq!(moved.decisions[0].reason, TierReason::Pinned, "{moved:?}");
    let moved = until(&node, |tiers| tiers.demoted_segments >= 10).await;
    assert!(moved.moved_bytes >= 10 << 20, "{moved:?}");
    let lies = node.node.show_placement(&name("a")).await.expect("it lies somewhere");
    assert_eq!((lies.placement, lies.sampled_blocks, lies.found_blocks), (Tier::Hdd, 4096, 1024));
    assert!(lies.tiers[1].percent > 50.0 && lies.decisions.len() >= 10, "{lies:?}");
    let mut text = String::new();
    node.node.put_tiers(&mut text).await.expect("figures");
    assert!(text.contains("quarry_pool_tier_total_bytes{pool=\"p\",tier=\"hdd\"}"), "{text}");
    node.stop().await;

    let node = TestNode::start(settings(directory.path())).await;
    let again = node.node.show_tiers(&name("p")).await.expect("two tiers");
    assert_eq!((again.tiers.len(), again.placement), (2, Tier::Hdd), "the labels say it");
    node.stop().await;
}
