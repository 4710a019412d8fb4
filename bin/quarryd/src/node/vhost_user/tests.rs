//! Exports over vhost-user of a real node that is started again. What a machine does with its disk is tested in the crate.

use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quarry_api_types::{
    CreateExport, CreateSnapshot, DeleteExport, Export, ExportSelector, ExportState, ListenerProtocol,
    Protocol, ResizeVolume,
};
use quarry_node_api::{ErrorKind, Node as _};
use tempfile::TempDir;

use crate::settings::Settings;
use crate::test_node::{TestNode, VOLUME_BYTES, name, settings};

fn over_vhost_user(path: &str) -> CreateExport {
    CreateExport::new(path.parse().expect("a path"), Protocol::VhostUser)
}

fn selector(path: &str) -> ExportSelector {
    path.parse().expect("a selector")
}

#[expect(clippy::disallowed_methods, reason = "the test looks for the socket's file")]
fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

#[expect(clippy::disallowed_types, reason = "a machine's end of the socket")]
type Connection = std::os::unix::net::UnixStream;

/// A front end that has asked for the length of the disk.
fn connect(export: &Export) -> (Connection, u64) {
    let mut connection = Connection::connect(&export.uris[0]).expect("it is served");
    connection.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    // GET_CONFIG of the first 8 bytes.
    let message = [24u32, 1, 20, 0, 8, 0].map(u32::to_le_bytes).concat();
    connection.write_all(&[message, vec![0; 8]].concat()).expect("it is sent");
    let mut reply = [0; 12 + 12 + 8];
    connection.read_exact(&mut reply).expect("an answer");
    let sectors = u64::from_le_bytes(reply[24..].try_into().expect("eight bytes"));
    (connection, sectors * 512)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sockets_come_and_go_with_exports_and_with_the_node() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::with_volumes(directory.path(), &["a", "b"]).await;
    let snapshot = CreateSnapshot { name: name("s"), locked_until: None };
    node.node.create_snapshot(&name("a"), snapshot).await.expect("a snapshot");
    let mut exports = Vec::new();
    for path in ["a", "a@s", "b"] {
        let export = node.node.create_export(over_vhost_user(path)).await.expect("an export");
        let socket = directory.path().join("vhost-user").join(format!("{path}.sock"));
        assert_eq!(export.uris, [socket.display().to_string()]);
        assert_eq!(
            (export.state, export.read_only, export.number),
            (ExportState::Serving, path == "a@s", None)
        );
        assert!(is_socket(&socket));
        exports.push(export);
    }
    let again = node.node.create_export(over_vhost_user("a")).await.expect_err("it has one");
    assert_eq!(again.kind, ErrorKind::Conflict);
    node.node
        .create_export(CreateExport::new("a".parse().expect("a path"), Protocol::Nbd))
        .await
        .expect("as well");
    node.node
        .delete_export(&ExportSelector::Id(exports[2].id), DeleteExport::default())
        .await
        .expect("unused");
    assert!(!is_socket(&PathBuf::from(&exports[2].uris[0])));
    let listed = node.node.list_exports().await.expect("a list");
    node.stop().await;
    assert!(!is_socket(&PathBuf::from(&exports[0].uris[0])));

    let node = TestNode::start(settings(directory.path())).await;
    assert_eq!(node.node.list_exports().await.expect("a list"), listed);
    let (first, bytes) = connect(&exports[0]);
    assert_eq!(bytes, VOLUME_BYTES);
    let (_second, bytes) = connect(&exports[1]);
    assert_eq!(bytes, VOLUME_BYTES);
    let status = node.node.status().await.expect("a status");
    let listener = status.listeners.iter().find(|listener| listener.protocol == ListenerProtocol::VhostUser);
    assert_eq!(listener.map(|listener| listener.connections), Some(2));
    let metrics = node.node.metrics().await.expect("figures");
    assert!(metrics.contains("\nquarry_vhost_user_sessions 2\n"), "{metrics}");
    drop(first);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_machine_keeps_its_export_and_is_told_of_its_size() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::with_volumes(directory.path(), &["a"]).await;
    let export = node.node.create_export(over_vhost_user("a")).await.expect("an export");
    let (mut machine, _) = connect(&export);
    let shown = node.node.show_exports(&selector("a")).await.expect("it is there");
    assert_eq!(shown[0].sessions, 1);
    let refused = node.node.delete_export(&selector("a"), DeleteExport::default()).await.expect_err("in use");
    assert_eq!(refused.kind, ErrorKind::InUse);
    let size_bytes = 2 * VOLUME_BYTES;
    node.node.resize_volume(&name("a"), ResizeVolume { size_bytes }).await.expect("it grows");
    let message = [24u32, 1, 20, 0, 8, 0].map(u32::to_le_bytes).concat();
    machine.write_all(&[message, vec![0; 8]].concat()).expect("it is sent");
    let mut reply = [0; 32];
    machine.read_exact(&mut reply).expect("an answer");
    assert_eq!(reply[24..], (size_bytes / 512).to_le_bytes());
    node.node.delete_export(&selector("a"), DeleteExport { force: true }).await.expect("it is disconnected");
    assert_eq!(machine.read(&mut [0]).expect("it is told by the end"), 0);
    assert!(!is_socket(&PathBuf::from(&export.uris[0])));
    node.stop().await;
}

/// A place where no socket can be: the export is not made, and nothing of it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_export_without_a_socket_is_none() {
    let directory = TempDir::new().expect("a directory");
    TestNode::with_volumes(directory.path(), &["a"]).await.stop().await;
    let long = Settings { vhost_user: directory.path().join("x".repeat(120)), ..settings(directory.path()) };
    let node = TestNode::start(long).await;
    let refused = node.node.create_export(over_vhost_user("a")).await.expect_err("no such path");
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    assert!(refused.to_string().contains("vhost-user cannot listen on"), "{refused}");
    assert!(node.node.list_exports().await.expect("a list").is_empty());
    node.stop().await;
}
