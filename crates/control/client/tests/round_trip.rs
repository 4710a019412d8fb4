//! The client against the real API server over a socket, with a node in memory behind it.

#[path = "../../api/tests/memory_node/mod.rs"]
mod memory_node;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use memory_node::{FOREIGN_DEVICE, FREE_DEVICE, Fault, MemoryNode};
use quarry_api::{Guard, Service};
use quarry_api_types::*;
use quarry_client::{Client, ClientError, Identity};
use quarry_node_api::{ErrorKind, NodeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct Running {
    node: Arc<MemoryNode>,
    client: Client,
}

fn client_of(address: SocketAddr) -> Client {
    client_with(address, None)
}

fn client_with(address: SocketAddr, token: Option<&Secret>) -> Client {
    let token = token.map(|token| token.reveal().to_owned());
    let identity = Identity { token, authorities: None };
    Client::new(format!("http://{address}").parse().unwrap(), identity).unwrap()
}

async fn start() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (guard, token) = Guard::in_memory();
    let client = client_with(listener.local_addr().unwrap(), Some(&token));
    let node = Arc::new(MemoryNode::default());
    let service = Service { node: node.clone(), guard, tls: None };
    tokio::spawn(quarry_api::serve(listener, service, std::future::pending()));
    Running { node, client }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn pool_over(device: &str, force: bool) -> CreatePool {
    let (name, devices) = (name("p"), vec![device.to_owned()]);
    let SpaceLevels { warning_percent, critical_percent } = SpaceLevels::default();
    CreatePool {
        name,
        devices,
        copies: None,
        protection: None,
        force,
        warning_percent,
        critical_percent,
        overcommit_limit_percent: 0,
    }
}

async fn code_of<T: std::fmt::Debug>(call: impl Future<Output = quarry_client::Result<T>>) -> ProblemCode {
    match call.await.unwrap_err() {
        ClientError::Problem(problem) => problem.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn pools_and_devices() {
    let Running { client, .. } = start().await;
    let states = async || -> Vec<_> {
        client.list_devices().await.unwrap().iter().map(|device| device.state).collect()
    };
    assert_eq!(states().await, [DeviceState::Free, DeviceState::Foreign]);
    assert_eq!(code_of(client.create_pool(&pool_over(FOREIGN_DEVICE, false))).await, ProblemCode::Conflict);
    let pool = client.create_pool(&pool_over(FOREIGN_DEVICE, true)).await.unwrap();
    assert_eq!(client.show_pool(&name("p")).await.unwrap(), pool);
    assert_eq!(client.list_pools().await.unwrap(), [pool]);
    let mut change = ChangePool { warning_percent: Some(70), ..ChangePool::default() };
    let changed = client.change_pool(&name("p"), &change).await.unwrap();
    assert_eq!(changed.levels, SpaceLevels { warning_percent: 70, critical_percent: 95 });
    change.critical_percent = Some(60);
    assert_eq!(code_of(client.change_pool(&name("p"), &change)).await, ProblemCode::Invalid);
    assert_eq!(code_of(client.change_pool(&name("x"), &change)).await, ProblemCode::NotFound);
    assert_eq!(states().await, [DeviceState::Free, DeviceState::InPool]);
    assert_eq!(code_of(client.create_pool(&pool_over(FREE_DEVICE, false))).await, ProblemCode::Conflict);
    client.delete_pool(&name("p")).await.unwrap();
    assert_eq!(code_of(client.delete_pool(&name("p"))).await, ProblemCode::NotFound);
    assert_eq!(client.scan_devices().await.unwrap().len(), 2);
}

#[tokio::test]
async fn volumes_and_exports() {
    let Running { client, node } = start().await;
    client.create_pool(&pool_over(FREE_DEVICE, false)).await.unwrap();
    let request = CreateVolume {
        durability: Durability::Always,
        quota_bytes: 1 << 29,
        reserved_bytes: 1 << 28,
        encrypted: true,
        ..CreateVolume::new(name("v"), name("p"), 1 << 30)
    };
    let volume = client.create_volume(&request).await.unwrap();
    assert_eq!(volume.durability, Durability::Always);
    assert_eq!((volume.quota_bytes, volume.reserved_bytes), (Some(1 << 29), 1 << 28));
    assert_eq!(client.list_volumes().await.unwrap(), [volume]);
    let change = ChangeVolume { quota_bytes: Some(0), ..ChangeVolume::default() };
    assert!(client.rotate_volume_key(&name("v")).await.unwrap().encrypted);
    let changed = client.change_volume(&name("v"), &change).await.unwrap();
    assert_eq!((changed.quota_bytes, changed.reserved_bytes), (None, 1 << 28));
    let change = ChangeVolume { reserved_bytes: Some(2 << 30), ..ChangeVolume::default() };
    assert_eq!(code_of(client.change_volume(&name("v"), &change)).await, ProblemCode::Invalid);
    let grown = client.resize_volume(&name("v"), &ResizeVolume { size_bytes: 2 << 30 }).await.unwrap();
    assert_eq!(client.show_volume(&name("v")).await.unwrap(), grown);
    let smaller = ResizeVolume { size_bytes: 4096 };
    assert_eq!(code_of(client.resize_volume(&name("v"), &smaller)).await, ProblemCode::Unsupported);

    let request = CreateExport::new("v".parse().unwrap(), Protocol::Nbd);
    let export = client.create_export(&request).await.unwrap();
    assert_eq!(export.uris[1], "nbd+unix:///v?socket=/run/quarry/nbd.sock");
    assert_eq!(code_of(client.create_export(&request)).await, ProblemCode::Conflict);
    assert_eq!(code_of(client.delete_volume(&name("v"), &DeleteVolume::default())).await, ProblemCode::InUse);
    assert_eq!(code_of(client.delete_pool(&name("p"))).await, ProblemCode::InUse);
    client.delete_export(&ExportSelector::Id(export.id), &DeleteExport::default()).await.unwrap();
    client.create_export(&request).await.unwrap();
    client.delete_export(&ExportSelector::Volume(name("v")), &DeleteExport::default()).await.unwrap();
    client.create_export(&request).await.unwrap();
    node.connect_client("v");
    assert_eq!(
        code_of(client.delete_export(&ExportSelector::Volume(name("v")), &DeleteExport::default())).await,
        ProblemCode::InUse
    );
    assert_eq!(client.list_exports().await.unwrap()[0].sessions, 1);
}

#[tokio::test]
async fn hosts_and_what_is_exported_to_them() {
    let Running { client, node } = start().await;
    client.create_pool(&pool_over(FREE_DEVICE, false)).await.unwrap();
    for volume in ["v", "w"] {
        client.create_volume(&CreateVolume::new(name(volume), name("p"), 1 << 30)).await.unwrap();
    }
    let initiator = |text: &str| vec![format!("nqn.2014-08.org.example:{text}").parse().unwrap()];
    let host = |host: &str, initiators| {
        let chap = Some(Chap { user: "u".into(), secret: ChapSecret::new("horse-battery"), mutual: None });
        CreateHost { name: name(host), initiators, networks: vec![], chap }
    };
    let a = client.create_host(&host("a", initiator("a"))).await.unwrap();
    assert_eq!(client.show_host(&name("a")).await.unwrap(), a);
    assert_eq!(a.chap, Some(ChapUser { user: "u".into(), mutual: false }));
    assert_eq!(node.secret_of("a").as_deref(), Some("horse-battery"));
    assert_eq!(code_of(client.create_host(&host("b", initiator("a")))).await, ProblemCode::Conflict);
    assert_eq!(code_of(client.create_host(&host("b", vec![]))).await, ProblemCode::Invalid);
    client.create_host(&host("b", initiator("b"))).await.unwrap();
    let change = ChangeHost { add_initiators: initiator("c"), remove_chap: true, ..Default::default() };
    let changed = client.change_host(&name("b"), &change).await.unwrap();
    assert_eq!((changed.initiators.len(), changed.chap), (2, None));
    assert_eq!(code_of(client.change_host(&name("b"), &ChangeHost::default())).await, ProblemCode::Invalid);

    let request = CreateHostGroup { name: name("g"), hosts: vec![name("a")] };
    let group = client.create_host_group(&request).await.unwrap();
    assert_eq!(client.show_host_group(&name("g")).await.unwrap(), group);
    let change = ChangeHostGroup { add: vec![name("b")], remove: vec![name("a")] };
    assert_eq!(client.change_host_group(&name("g"), &change).await.unwrap().hosts, [name("b")]);
    assert_eq!(client.list_host_groups().await.unwrap().len(), 1);

    let to_host =
        CreateExport { host: Some(name("a")), ..CreateExport::new("v".parse().unwrap(), Protocol::NvmeTcp) };
    let to_group =
        CreateExport { host: None, host_group: Some(name("g")), number: Some(9), ..to_host.clone() };
    let export = client.create_export(&to_host).await.unwrap();
    assert_eq!((export.number, export.uris.len()), (Some(1), 1));
    assert_eq!(code_of(client.create_export(&to_host)).await, ProblemCode::Conflict);
    client.create_export(&to_group).await.unwrap();
    let shown = client.show_exports(&ExportSelector::Volume(name("v"))).await.unwrap();
    assert_eq!(shown.iter().map(|export| export.number).collect::<Vec<_>>(), [Some(1), Some(9)]);
    assert_eq!(code_of(client.show_exports(&ExportSelector::Volume(name("w")))).await, ProblemCode::NotFound);
    assert_eq!(client.list_hosts().await.unwrap().iter().map(|host| host.exports).sum::<u64>(), 2);
    assert_eq!(code_of(client.delete_host(&name("a"))).await, ProblemCode::InUse);
    assert_eq!(code_of(client.delete_host_group(&name("g"))).await, ProblemCode::InUse);
    node.connect_client("v");
    let selector = ExportSelector::Volume(name("v"));
    let mut delete = DeleteExport::default();
    assert_eq!(code_of(client.delete_export(&selector, &delete)).await, ProblemCode::InUse);
    delete.force = true;
    client.delete_export(&selector, &delete).await.unwrap();
    client.delete_host_group(&name("g")).await.unwrap();
    client.delete_host(&name("a")).await.unwrap();
    assert_eq!(client.list_hosts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn snapshots_and_clones() {
    let Running { client, .. } = start().await;
    client.create_pool(&pool_over(FREE_DEVICE, false)).await.unwrap();
    for volume in ["v", "w"] {
        let request = CreateVolume::new(name(volume), name("p"), 3 << 30);
        client.create_volume(&request).await.unwrap();
    }
    let request = CreateSnapshot { name: name("one"), locked_until: None };
    let one = client.create_snapshot(&name("v"), &request).await.unwrap();
    assert_eq!(client.show_snapshot(&one.path()).await.unwrap(), one);
    assert_eq!(code_of(client.create_snapshot(&name("v"), &request)).await, ProblemCode::Conflict);
    assert_eq!(code_of(client.create_snapshot(&name("x"), &request)).await, ProblemCode::NotFound);
    let mut request =
        CreateSnapshotSet { name: name("both"), volumes: vec![name("w"), name("v")], locked_until: None };
    let both = client.create_snapshot_set(&request).await.unwrap();
    assert!(both[0].volume == name("w") && both[0].set_id.is_some() && both[0].set_id == both[1].set_id);
    request.volumes.push(name("v"));
    assert_eq!(code_of(client.create_snapshot_set(&request)).await, ProblemCode::Invalid);
    assert_eq!(client.list_snapshots(&name("v")).await.unwrap(), [one.clone(), both[1].clone()]);
    assert_eq!(client.list_all_snapshots().await.unwrap().len(), 3);

    let until = "2027-01-01T00:00:00Z".parse().unwrap();
    let change = ChangeSnapshot { name: Some(name("first")), locked_until: Some(until) };
    let first = client.change_snapshot(&one.path(), &change).await.unwrap();
    assert_eq!((first.path().to_string().as_str(), first.locked_until), ("v@first", Some(until)));
    assert_eq!(code_of(client.show_snapshot(&one.path())).await, ProblemCode::NotFound);
    assert_eq!(code_of(client.delete_snapshot(&first.path())).await, ProblemCode::Conflict);
    client.delete_snapshot(&both[0].path()).await.unwrap();

    let request = CloneVolume { name: name("c"), snapshot: Some(name("first")), at: None };
    let clone = client.clone_volume(&name("v"), &request).await.unwrap();
    assert_eq!(clone.origin.unwrap().to_string(), "v@first");
    client.resize_volume(&name("v"), &ResizeVolume { size_bytes: 4 << 30 }).await.unwrap();
    let back = RollBackVolume::to_snapshot(name("both"));
    assert_eq!(client.roll_back_volume(&name("v"), &back).await.unwrap().size_bytes, 3 << 30);
    let promoted = client.promote_volume(&name("c")).await.unwrap();
    assert_eq!((promoted.snapshots, promoted.origin), (1, None));
    assert_eq!(code_of(client.promote_volume(&name("c"))).await, ProblemCode::Conflict);
    let renamed = client.rename_volume(&name("v"), &RenameVolume { name: name("u") }).await.unwrap();
    assert_eq!(renamed.origin.unwrap().to_string(), "c@first");

    let query = ChangesQuery { from: Some(name("both")), to: None, start: 0 };
    let part = client.list_changes(&name("u"), &query).await.unwrap();
    let rest = ChangesQuery { start: part.next.unwrap(), ..query };
    assert_eq!(client.list_changes(&name("u"), &rest).await.unwrap().ranges[0].offset, 1 << 30);

    assert_eq!(code_of(client.delete_volume(&name("u"), &DeleteVolume::default())).await, ProblemCode::InUse);
    client.delete_volume(&name("u"), &DeleteVolume { with_snapshots: true }).await.unwrap();
}

#[tokio::test]
async fn groups() {
    let Running { client, node } = start().await;
    client.create_pool(&pool_over(FREE_DEVICE, false)).await.unwrap();
    for volume in ["v", "w"] {
        client.create_volume(&CreateVolume::new(name(volume), name("p"), 1 << 30)).await.unwrap();
    }
    let request = CreateGroup { name: name("g"), volumes: vec![name("v")], qos: None };
    let group = client.create_group(&request).await.unwrap();
    assert_eq!(client.show_group(&name("g")).await.unwrap(), group);
    assert_eq!(code_of(client.create_group(&request)).await, ProblemCode::Conflict);
    let twice = CreateGroup { name: name("h"), volumes: vec![name("w"), name("w")], qos: None };
    assert_eq!(code_of(client.create_group(&twice)).await, ProblemCode::Invalid);
    let change = ChangeGroup { name: Some(name("h")), add: vec![name("w")], ..Default::default() };
    assert_eq!(client.change_group(&name("g"), &change).await.unwrap().volumes, [name("v"), name("w")]);
    assert_eq!(code_of(client.show_group(&name("g"))).await, ProblemCode::NotFound);
    assert_eq!(code_of(client.change_group(&name("h"), &ChangeGroup::default())).await, ProblemCode::Invalid);

    let request = CreateSnapshot { name: name("s"), locked_until: None };
    let taken = client.create_group_snapshot(&name("h"), &request).await.unwrap();
    assert_eq!((taken.volumes.len(), taken.missing.len()), (2, 0));
    assert_eq!(client.list_group_snapshots(&name("h")).await.unwrap(), [taken]);
    let export = CreateExport::new("w".parse().unwrap(), Protocol::Nbd);
    client.create_export(&export).await.unwrap();
    let back = RollBackGroup { snapshot: name("s") };
    client.roll_back_group(&name("h"), &back).await.unwrap();
    node.connect_client("w");
    assert_eq!(code_of(client.roll_back_group(&name("h"), &back)).await, ProblemCode::InUse);
    client.delete_group_snapshot(&name("h"), &name("s")).await.unwrap();
    assert_eq!(code_of(client.roll_back_group(&name("h"), &back)).await, ProblemCode::NotFound);
    client.delete_group(&name("h")).await.unwrap();
    assert_eq!(client.list_groups().await.unwrap(), []);
}

#[tokio::test]
async fn the_keyring() {
    let Running { client, node } = start().await;
    assert_eq!(client.show_keyring().await.unwrap().state, KeyringState::Open);
    let unlock = |text: &str| UnlockKeyring { passphrase: text.to_owned() };
    assert_eq!(code_of(client.unlock_keyring(&unlock("horse"))).await, ProblemCode::Conflict);
    node.lock("horse");
    assert_eq!(code_of(client.unlock_keyring(&unlock(""))).await, ProblemCode::Invalid);
    assert_eq!(code_of(client.unlock_keyring(&unlock("cow"))).await, ProblemCode::Invalid);
    assert_eq!(client.show_keyring().await.unwrap().state, KeyringState::Locked);
    assert_eq!(client.unlock_keyring(&unlock("horse")).await.unwrap().state, KeyringState::Open);
}

#[tokio::test]
async fn a_snapshot_is_exported_beside_its_volume() {
    let Running { client, node } = start().await;
    client.create_pool(&pool_over(FREE_DEVICE, false)).await.unwrap();
    client.create_volume(&CreateVolume::new(name("v"), name("p"), 4096)).await.unwrap();
    let request = CreateSnapshot { name: name("s"), locked_until: None };
    let snapshot = client.create_snapshot(&name("v"), &request).await.unwrap();
    let mut request = CreateExport::new("v".parse().unwrap(), Protocol::Nbd);
    client.create_export(&request).await.unwrap();
    request.snapshot = Some(name("s"));
    let export = client.create_export(&request).await.unwrap();
    assert_eq!(export.uris[1], "nbd+unix:///v@s?socket=/run/quarry/nbd.sock");
    assert!(client.show_snapshot(&snapshot.path()).await.unwrap().exported);
    assert_eq!(code_of(client.delete_snapshot(&snapshot.path())).await, ProblemCode::InUse);
    let rename = ChangeSnapshot { name: Some(name("t")), locked_until: None };
    assert_eq!(code_of(client.change_snapshot(&snapshot.path(), &rename)).await, ProblemCode::InUse);
    node.connect_client("v");
    let back = RollBackVolume::to_snapshot(name("s"));
    assert_eq!(code_of(client.roll_back_volume(&name("v"), &back)).await, ProblemCode::InUse);
    client.delete_export(&ExportSelector::Snapshot(snapshot.path()), &DeleteExport::default()).await.unwrap();
    assert_eq!(client.list_exports().await.unwrap().len(), 1);
}

#[tokio::test]
async fn events_come_in_parts() {
    let Running { client, node } = start().await;
    for severity in [EventSeverity::Info, EventSeverity::Critical].repeat(3) {
        node.happen(severity, "p");
    }
    let first = client.list_events(&EventsQuery::default()).await.unwrap();
    assert_eq!((first.events.len(), first.next), (3, Some(3)));
    let query = EventsQuery { since: 3, ..EventsQuery::default() };
    let rest = client.list_events(&query).await.unwrap();
    assert_eq!((rest.events.len(), rest.next), (3, None));
    let query = EventsQuery {
        severity: Some(EventSeverity::Warning),
        object: Some("p".into()),
        ..EventsQuery::default()
    };
    let bad = client.list_events(&query).await.unwrap();
    assert_eq!(bad.events.iter().map(|event| event.id).collect::<Vec<_>>(), [2, 4, 6]);
    let query = EventsQuery { object: Some("q & r".into()), ..EventsQuery::default() };
    assert_eq!(client.list_events(&query).await.unwrap(), Events::default());
}

#[tokio::test]
async fn the_node_in_one_page() {
    let Running { client, node } = start().await;
    assert_eq!(client.status().await.unwrap().exports, 0);
    assert!(client.metrics().await.unwrap().contains("quarry_volumes 0"));
    let cause = Cause { level: HealthLevel::Critical, message: "m".into(), next_step: "n".into() };
    let health = Health::from_causes(vec![cause]);
    node.set_health(health.clone(), 1);
    assert_eq!(client.health().await.unwrap(), health);
    node.inject(Fault::Error(NodeError::new(ErrorKind::Unavailable, "stopping")));
    assert_eq!(code_of(client.health()).await, ProblemCode::Unavailable);
}

#[tokio::test]
async fn every_kind_of_error_crosses_the_wire_whole() {
    let Running { client, node } = start().await;
    for &kind in ErrorKind::ALL {
        node.inject(Fault::Error(NodeError::new(kind, "thing").with_cause("cause").with_next_step("step")));
        let error = client.list_volumes().await.unwrap_err();
        assert_eq!((error.to_string(), error.root_cause()), ("thing".to_owned(), Some("cause".to_owned())));
        let ClientError::Problem(problem) = error else { panic!("{error}") };
        let (code, status) = quarry_api::http_status(kind);
        assert_eq!((problem.code, problem.status), (code, status.as_u16()));
        assert_eq!(problem.next_step, "step");
    }
}

#[tokio::test]
async fn a_node_that_is_not_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client_of(listener.local_addr().unwrap());
    drop(listener);
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(error.root_cause().unwrap().contains("refused"), "{error:?}");
}

/// Answers the first request with `answer` and hangs up.
async fn stranger(answer: &'static str) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client_of(listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    client
}

#[tokio::test]
async fn strangers_and_broken_connections_are_told_apart() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 500 Oops\r\ncontent-type: application/problem+json\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        let error = stranger(answer).await.status().await.unwrap_err();
        assert!(matches!(error, ClientError::NotQuarry { .. }), "{answer}: {error:?}");
    }
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n{"] {
        let error = stranger(answer).await.status().await.unwrap_err();
        assert!(matches!(error, ClientError::Interrupted { .. }), "{answer}: {error:?}");
    }
}

#[tokio::test]
async fn policies() {
    let Running { client, .. } = start().await;
    client.create_pool(&pool_over(FREE_DEVICE, false)).await.unwrap();
    client.create_volume(&CreateVolume::new(name("v"), name("p"), 1 << 30)).await.unwrap();
    client.create_group(&CreateGroup { name: name("g"), volumes: vec![name("v")], qos: None }).await.unwrap();
    let settings = PolicySettings { compression: Some(Compression::Lz4), ..Default::default() };
    let request = CreatePolicy { name: name("gold"), settings: settings.clone() };
    let policy = client.create_policy(&request).await.unwrap();
    assert_eq!(code_of(client.create_policy(&request)).await, ProblemCode::Conflict);
    let bad = PolicySettings { history_s: Some(9999), ..Default::default() };
    let request = CreatePolicy { name: name("bad"), settings: bad };
    assert_eq!(code_of(client.create_policy(&request)).await, ProblemCode::Invalid);
    assert_eq!(client.list_policies().await.unwrap(), std::slice::from_ref(&policy));
    assert_eq!(client.show_policy(&name("gold")).await.unwrap(), policy);
    let change = ChangePolicy { version: Some(7), settings: PolicySettings::default() };
    assert_eq!(code_of(client.change_policy(&name("gold"), &change)).await, ProblemCode::Conflict);
    let change = ChangePolicy { version: Some(1), ..change };
    assert_eq!(client.change_policy(&name("gold"), &change).await.unwrap().version, 2);
    let attach = AttachPolicy { policy: Some(name("gold")), overrides: settings };
    let attached = client.attach_volume_policy(&name("v"), &attach).await.unwrap();
    assert_eq!(client.show_volume_policy(&name("v")).await.unwrap(), attached);
    assert_eq!(code_of(client.delete_policy(&name("gold"))).await, ProblemCode::InUse);
    let nothing = AttachPolicy::default();
    assert_eq!(code_of(client.attach_volume_policy(&name("v"), &nothing)).await, ProblemCode::Invalid);
    assert_eq!(client.detach_volume_policy(&name("v")).await.unwrap().policy, None);
    let attach = AttachPolicy { policy: Some(name("gold")), ..Default::default() };
    let group = client.attach_group_policy(&name("g"), &attach).await.unwrap();
    assert_eq!(client.show_group_policy(&name("g")).await.unwrap(), group);
    assert_eq!(client.detach_group_policy(&name("g")).await.unwrap().policy, None);
    client.delete_policy(&name("gold")).await.unwrap();
    assert_eq!(code_of(client.show_policy(&name("gold"))).await, ProblemCode::NotFound);
}
