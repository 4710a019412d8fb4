//! Hosts, and exports over fabrics, of a real node that is started again.

use quarry_api_types::{
    ChangeHost, ChangeHostGroup, Chap, ChapProof, ChapSecret, CreateExport, CreateHost, CreateHostGroup,
    CreateSnapshot, DeleteExport, ExportSelector, ExportState, Protocol, ResizeVolume, RollBackVolume,
};
use quarry_node_api::{ErrorKind, Node as _, NodeError};
use quarry_target::{Fabric, Login, Session, View};
use tempfile::TempDir;

use crate::test_node::{TestNode, VOLUME_BYTES, name, settings};

const WEB: &str = "iqn.1993-08.org.debian:01:web";
const APP: &str = "nqn.2014-08.org.example:app";
const SECRETS: [&str; 2] = ["correct horse battery", "another horse battery"];

fn host(host: &str, initiator: &str) -> CreateHost {
    let initiators = vec![initiator.parse().expect("an initiator")];
    CreateHost { name: name(host), initiators, networks: vec![], chap: None }
}

fn chap() -> Chap {
    let [ours, theirs] = SECRETS.map(ChapSecret::new);
    Chap {
        user: "web".to_owned(),
        secret: ours,
        mutual: Some(ChapProof { user: "node".to_owned(), secret: theirs }),
    }
}

fn export(path: &str, protocol: Protocol) -> CreateExport {
    CreateExport::new(path.parse().expect("a path"), protocol)
}

fn to_host(path: &str, protocol: Protocol, host: &str) -> CreateExport {
    CreateExport { host: Some(name(host)), ..export(path, protocol) }
}

fn to_group(path: &str, protocol: Protocol, group: &str) -> CreateExport {
    CreateExport { host_group: Some(name(group)), ..export(path, protocol) }
}

fn is<T: std::fmt::Debug>(result: Result<T, NodeError>, kind: ErrorKind, part: &str) -> NodeError {
    let error = result.expect_err("it is refused");
    assert!(error.kind == kind && error.to_string().contains(part), "{:?}: {error}", error.kind);
    error
}

fn view(node: &TestNode, fabric: Fabric, initiator: &str) -> View {
    node.tables.access.view(fabric, initiator, "10.1.0.7".parse().ok())
}

/// Volume and number of all that an initiator sees.
fn seen(node: &TestNode, fabric: Fabric, initiator: &str) -> Vec<(String, u32)> {
    let view = view(node, fabric, initiator);
    view.units.iter().map(|unit| (unit.volume.name.clone(), unit.number)).collect()
}

fn log_in(node: &TestNode, fabric: Fabric, initiator: &str) -> Session {
    let session = node.tables.exports.admit("10.1.0.7:5000".to_owned()).expect("room");
    session.log_in(Login { fabric, initiator: initiator.to_owned(), address: "10.1.0.7".parse().ok() });
    session
}

fn of(volume: &str, number: u32) -> (String, u32) {
    (volume.to_owned(), number)
}

/// Hosts `web` and `app`, and a group `farm` with both.
async fn with_hosts(directory: &TempDir) -> TestNode {
    let node = TestNode::with_volumes(directory.path(), &["a", "b"]).await;
    node.node.create_host(CreateHost { chap: Some(chap()), ..host("web", WEB) }).await.expect("a host");
    node.node.create_host(host("app", APP)).await.expect("a host");
    let hosts = vec![name("web"), name("app")];
    node.node.create_host_group(CreateHostGroup { name: name("farm"), hosts }).await.expect("a group");
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hosts_and_numbers_are_the_same_after_a_restart() {
    let directory = TempDir::new().expect("a directory");
    let node = with_hosts(&directory).await;
    node.node
        .create_snapshot(&name("a"), CreateSnapshot { name: name("s"), locked_until: None })
        .await
        .expect("a snapshot");
    let a = node.node.create_export(to_host("a", Protocol::Iscsi, "web")).await.expect("an export");
    let iqn = format!("iqn.2026-11.io.quarry:{}", node.node.status().await.expect("a status").node_id);
    assert_eq!(a.uris, [format!("iscsi://127.0.0.1:3260/{iqn}/0")]);
    assert_eq!((a.number, a.state, a.read_only), (Some(0), ExportState::Serving, false));
    node.node.create_export(to_group("b", Protocol::Iscsi, "farm")).await.expect("an export");
    let snapshot = node.node.create_export(to_host("a@s", Protocol::Iscsi, "web")).await.expect("an export");
    assert!(snapshot.read_only, "a snapshot is never written to");
    node.node.create_export(export("a", Protocol::NvmeTcp)).await.expect("an export");
    let fixed = CreateExport { read_only: true, ..export("b", Protocol::Nbd) };
    node.node.create_export(fixed).await.expect("an export");
    // What is free again is given away; what is not keeps its number.
    node.node
        .delete_export(&ExportSelector::Id(a.id), DeleteExport::default())
        .await
        .expect("nobody is logged in");
    let check = |node: &TestNode| {
        assert_eq!(seen(node, Fabric::Iscsi, WEB), [of("b", 1), of("a@s", 2)]);
        assert_eq!(seen(node, Fabric::Iscsi, "iqn.1993-08.org.debian:01:x"), []);
        assert_eq!(seen(node, Fabric::NvmeTcp, "nqn.2014-08.org.example:anybody"), [of("a", 1)]);
        let view = view(node, Fabric::Iscsi, WEB);
        assert_eq!(view.units.iter().map(|unit| unit.read_only).collect::<Vec<_>>(), [false, true]);
        let chap = view.host.as_ref().and_then(|host| host.chap.clone()).expect("it must prove something");
        assert_eq!((chap.user.as_str(), chap.secret.as_str()), ("web", SECRETS[0]));
        assert_eq!(chap.mutual, Some(("node".to_owned(), SECRETS[1].to_owned())));
        let nbd = node.tables.exports.find("b").expect("it is served");
        assert!(nbd.volume.read_only, "by NBD as well");
    };
    check(&node);
    let before = node.node.list_exports().await.expect("a list");
    let hosts = node.node.list_hosts().await.expect("a list");
    node.stop().await;
    let node = TestNode::start(settings(directory.path())).await;
    check(&node);
    assert_eq!(node.node.list_exports().await.expect("a list"), before);
    assert_eq!(node.node.list_hosts().await.expect("a list"), hosts);
    let again = node.node.create_export(to_host("a", Protocol::Iscsi, "web")).await.expect("an export");
    assert_eq!(again.number, Some(0), "the lowest that is free");
    // A namespace id is not given again, also after a restart.
    let nvme = before.iter().find(|one| one.protocol == Protocol::NvmeTcp).expect("it is in the list");
    let selector = ExportSelector::Id(nvme.id);
    node.node.delete_export(&selector, DeleteExport::default()).await.expect("nobody is logged in");
    node.stop().await;
    let node = TestNode::start(settings(directory.path())).await;
    let other = node.node.create_export(export("b", Protocol::NvmeTcp)).await.expect("an export");
    assert_eq!((nvme.number, other.number), (Some(1), Some(2)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_export_without_its_volume_keeps_its_number() {
    let directory = TempDir::new().expect("a directory");
    let node = with_hosts(&directory).await;
    node.node.create_export(to_host("a", Protocol::Iscsi, "web")).await.expect("an export");
    node.stop().await;
    let (device, aside) = (directory.path().join("device"), directory.path().join("aside"));
    #[expect(clippy::disallowed_methods, reason = "the test takes the device away")]
    std::fs::rename(&device, &aside).expect("it is there");
    let node = TestNode::start(settings(directory.path())).await;
    let shown = node.node.list_exports().await.expect("a list");
    assert_eq!((shown[0].state, shown[0].number), (ExportState::Offline, Some(0)));
    assert_eq!(shown[0].host, Some(name("web")));
    is(node.node.delete_host(&name("web")).await, ErrorKind::InUse, &shown[0].id.to_string());
    node.stop().await;
    #[expect(clippy::disallowed_methods, reason = "the test brings the device back")]
    std::fs::rename(&aside, &device).expect("it is there");
    // Without a listener it is intended, but not served.
    let no_listener = crate::settings::Settings { iscsi: vec![], ..settings(directory.path()) };
    let node = TestNode::start(no_listener).await;
    let shown = node.node.list_exports().await.expect("a list");
    assert_eq!((shown[0].state, shown[0].uris.len()), (ExportState::Offline, 0));
    let refused = node.node.create_export(export("b", Protocol::Iscsi)).await;
    is(refused, ErrorKind::Unsupported, "the node does not serve iSCSI; start quarryd with --iscsi ADDR");
    node.stop().await;
    let node = TestNode::start(settings(directory.path())).await;
    assert_eq!(seen(&node, Fabric::Iscsi, WEB), [of("a", 0)]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nobody_sees_a_volume_twice_or_two_under_one_number() {
    let directory = TempDir::new().expect("a directory");
    let node = with_hosts(&directory).await;
    let first = node.node.create_export(to_host("a", Protocol::Iscsi, "web")).await.expect("an export");
    let again = node.node.create_export(to_group("a", Protocol::Iscsi, "farm")).await;
    is(again, ErrorKind::Conflict, &first.id.to_string());
    let taken = CreateExport { number: Some(0), ..export("b", Protocol::Iscsi) };
    is(node.node.create_export(taken.clone()).await, ErrorKind::Conflict, "number 0 is that of volume 'a'");
    let other = CreateExport { host: Some(name("app")), ..taken };
    node.node.create_export(other).await.expect("another host sees it under the same number");
    node.node.create_export(to_host("a", Protocol::NvmeTcp, "app")).await.expect("over another protocol");
    is(node.node.create_export(to_host("a", Protocol::Iscsi, "db")).await, ErrorKind::NotFound, "host 'db'");

    // A host that joins a group must not come to see what contradicts.
    let lonely = CreateHostGroup { name: name("lonely"), hosts: vec![] };
    node.node.create_host_group(lonely).await.expect("a group");
    node.node.create_export(to_group("b", Protocol::Iscsi, "lonely")).await.expect("an export");
    let join = |host: &str| ChangeHostGroup { add: vec![name(host)], remove: vec![] };
    let before = node.tables.access.generation();
    let refused = node.node.change_host_group(&name("lonely"), join("web")).await;
    is(refused, ErrorKind::Conflict, "number 0 is that of volume 'a'");
    let refused = node.node.change_host_group(&name("lonely"), join("app")).await;
    is(refused, ErrorKind::Conflict, "'b' is exported over iscsi already");
    assert_eq!(node.tables.access.generation(), before, "nothing has changed");
    let third = host("db", "iqn.1993-08.org.debian:01:db");
    let third = CreateHost { networks: vec!["10.1.0.0/16".parse().expect("a network")], ..third };
    node.node.create_host(third).await.expect("a host");
    node.node.change_host_group(&name("lonely"), join("db")).await.expect("it sees nothing yet");
    assert_eq!(seen(&node, Fabric::Iscsi, "iqn.1993-08.org.debian:01:db"), [of("b", 0)]);
    let leave = ChangeHostGroup { add: vec![], remove: vec![name("db")] };
    node.node.change_host_group(&name("lonely"), leave).await.expect("it is a member");
    assert_eq!(seen(&node, Fabric::Iscsi, "iqn.1993-08.org.debian:01:db"), []);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_session_that_is_logged_in_protects_what_it_sees() {
    let directory = TempDir::new().expect("a directory");
    let node = with_hosts(&directory).await;
    node.node
        .create_snapshot(&name("a"), CreateSnapshot { name: name("s"), locked_until: None })
        .await
        .expect("a snapshot");
    node.node.create_export(to_host("a", Protocol::Iscsi, "web")).await.expect("an export");
    let session = log_in(&node, Fabric::Iscsi, WEB);
    let _other = log_in(&node, Fabric::NvmeTcp, APP);
    let a = ExportSelector::Volume(name("a"));
    assert_eq!(node.node.show_exports(&a).await.expect("it is there")[0].sessions, 1);
    assert_eq!(node.node.show_host(&name("web")).await.expect("it is there").sessions, 1);
    is(
        node.node.delete_export(&a, DeleteExport::default()).await,
        ErrorKind::InUse,
        "1 session(s) are logged in",
    );
    let back = || RollBackVolume::to_snapshot(name("s"));
    is(node.node.roll_back_volume(&name("a"), back()).await, ErrorKind::InUse, "1 connected clients");
    is(node.node.delete_volume(&name("a"), true).await, ErrorKind::InUse, "volume 'a' is exported");
    // What it sees follows the volume.
    let grow = ResizeVolume { size_bytes: 2 * VOLUME_BYTES };
    node.node.resize_volume(&name("a"), grow).await.expect("more");
    assert_eq!(view(&node, Fabric::Iscsi, WEB).units[0].volume.size_bytes, 2 * VOLUME_BYTES);
    drop(session);
    node.node.roll_back_volume(&name("a"), back()).await.expect("nobody is logged in");
    assert_eq!(view(&node, Fabric::Iscsi, WEB).units[0].volume.size_bytes, VOLUME_BYTES);

    let _session = log_in(&node, Fabric::Iscsi, WEB);
    let generation = node.tables.access.generation();
    node.node.delete_export(&a, DeleteExport { force: true }).await.expect("it is forced");
    assert!(node.tables.access.generation() > generation, "the session is told");
    assert_eq!(seen(&node, Fabric::Iscsi, WEB), []);
    node.node.delete_volume(&name("a"), true).await.expect("nothing names it any more");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hosts_change_under_their_sessions_and_end_when_nothing_names_them() {
    let directory = TempDir::new().expect("a directory");
    let node = with_hosts(&directory).await;
    is(node.node.create_host(host("web", APP)).await, ErrorKind::Conflict, "host 'web' exists already");
    is(node.node.create_host(host("new", APP)).await, ErrorKind::Conflict, "belongs to host 'app'");
    let export = node.node.create_export(to_group("a", Protocol::NvmeTcp, "farm")).await.expect("an export");
    let other = "nqn.2014-08.org.example:other";
    let parse = |text: &str| vec![text.parse().expect("an initiator")];
    let change = ChangeHost {
        add_initiators: parse(other),
        remove_initiators: parse(APP),
        chap: Some(chap()),
        ..ChangeHost::default()
    };
    let changed = node.node.change_host(&name("app"), change.clone()).await.expect("a change");
    assert_eq!(changed.initiators, parse(other));
    assert_eq!(seen(&node, Fabric::NvmeTcp, APP), []);
    assert_eq!(seen(&node, Fabric::NvmeTcp, other), [of("a", 1)]);
    is(node.node.change_host(&name("app"), change).await, ErrorKind::NotFound, "has no 'nqn");
    let nobody = ChangeHost { remove_initiators: parse(other), ..ChangeHost::default() };
    is(
        node.node.change_host(&name("app"), nobody).await,
        ErrorKind::Contradictory,
        "an initiator or a network",
    );
    for text in [format!("{:?}", node.node.list_hosts().await), format!("{:?}", node.node.hosts())] {
        assert!(text.contains("web") && !text.contains("battery"), "{text}");
    }
    let refused =
        is(node.node.delete_host_group(&name("farm")).await, ErrorKind::InUse, "of 'a' over nvme-tcp");
    assert!(refused.to_string().contains(&export.id.to_string()), "{refused}");
    node.node.delete_host(&name("app")).await.expect("a group is named, not the host");
    assert_eq!(seen(&node, Fabric::NvmeTcp, other), []);
    let farm = node.node.show_host_group(&name("farm")).await.expect("it is there");
    assert_eq!((farm.hosts, farm.exports), (vec![name("web")], 1));
    let selector = ExportSelector::Id(export.id);
    node.node.delete_export(&selector, DeleteExport::default()).await.expect("nobody is logged in");
    node.node.delete_host_group(&name("farm")).await.expect("nothing names it");
    node.node.delete_host(&name("web")).await.expect("nothing names it");
    node.stop().await;
    let node = TestNode::start(settings(directory.path())).await;
    assert_eq!(node.node.list_hosts().await.expect("a list"), []);
    assert_eq!(node.node.list_host_groups().await.expect("a list"), []);
    node.stop().await;
}
