use quarry_node_api::Node as _;
use tempfile::TempDir;

use super::*;
use crate::test_node::{TestNode, make_device, name, pool_of, settings};

#[test]
fn long_lists_are_cut_and_what_is_not_known_is_said() {
    let named = |count: usize| (0..count).map(|number| format!("v{number}")).collect::<Vec<_>>();
    let losses = |names, not_looked_at| Losses { names: named(names), not_looked_at: named(not_looked_at) };
    assert_eq!(whose(&losses(2, 0)), "of v0, v1");
    assert_eq!(whose(&losses(1, 1)), "of v0, and perhaps of v0");
    assert_eq!(whose(&losses(0, 1)), "perhaps of v0");
    assert!(whose(&losses(0, 0)).contains("no volume"));
    assert!(whose(&losses(25, 0)).ends_with("v19 and 5 more"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_to_remove_the_last_copies_names_the_volumes() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::start(settings(directory.path())).await;
    let devices = ["0", "1"].map(|device| make_device(&directory.path().join(device), 160 << 20));
    node.node.create_pool(pool_of("p", devices.to_vec(), 1)).await.expect("a pool");
    for volume in ["written", "untouched"] {
        node.create_volume(volume, "p").await;
    }
    node.write("written", 0, 24).await;
    let device = node.node.show_pool(&name("p")).await.expect("the pool").devices[1].id;
    let (_, open) = node.node.open_entry(&name("p")).expect("it is open");
    open.shared.fail_device(1, "a test says so".to_owned());
    node.seen("p", |pool| pool.rebuild.lost_chunks > 0).await;
    let refused = node.node.remove_device(&name("p"), device).await.expect_err("it has the last copies");
    let refused = refused.to_string();
    assert!(refused.contains("of written") && !refused.contains("untouched"), "{refused}");
    drop(open);
    node.abandon().await;
}
