use quarry_api_types::{CreateExport, ExportState, PoolState, Protocol};
use quarry_node_api::Node as _;
use tempfile::TempDir;

use crate::test_node::{TestNode, name, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the test takes the device away and brings it back")]
async fn a_pool_whose_devices_come_back_is_opened_and_served_by_itself() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::with_volumes(directory.path(), &["v"]).await;
    let path = "v".parse().expect("a path");
    node.node.create_export(CreateExport::new(path, Protocol::Nbd)).await.expect("an export");
    node.stop().await;
    let (device, aside) = (directory.path().join("device"), directory.path().join("aside"));
    std::fs::rename(&device, &aside).expect("it is there");
    let node = TestNode::start(settings(directory.path())).await;
    let shown = node.node.show_pool(&name("p")).await.expect("it is known");
    assert_eq!(shown.state, PoolState::Offline);
    assert!(node.tables.exports.find("v").is_none());
    std::fs::rename(&aside, &device).expect("it is there");
    node.tended("p", |_| node.tables.exports.find("v").is_some()).await;
    let shown = node.node.show_pool(&name("p")).await.expect("it is there");
    assert_eq!((shown.state, shown.volumes), (PoolState::Online, 1));
    let exports = node.node.list_exports().await.expect("a list");
    assert_eq!(exports[0].state, ExportState::Serving);
    node.stop().await;
}
