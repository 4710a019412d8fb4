use quarry_api_types::{CreateExport, CreatePool, CreateVolume, DeviceKind, PoolDeviceState, Protocol};
use quarry_node_api::Node as _;
use tempfile::TempDir;

use super::*;
use crate::test_node::{TestNode, make_device, name, pool_of, settings};

const DEVICE_BYTES: u64 = 160 << 20;

#[test]
fn the_slowest_log_says_when_it_is_done() {
    let log = |chunks, bytes, bytes_per_s, stuck| Rehoming {
        chunks,
        bytes,
        bytes_per_s,
        stuck,
        ..Rehoming::default()
    };
    let rebuild = together(&[log(2, 100, 10, false), log(1, 30, 1, false), log(0, 0, 7, false)]);
    assert_eq!((rebuild.chunks, rebuild.left_bytes, rebuild.bytes_per_s), (3, 130, 11));
    assert_eq!((rebuild.left_s, rebuild.stuck), (Some(30), false));
    let rebuild = together(&[log(2, 100, 10, false), log(1, 30, 1, true)]);
    assert_eq!((rebuild.left_s, rebuild.stuck), (None, false));
    assert!(together(&[log(1, 30, 1, true), log(0, 0, 0, false)]).stuck);
    assert_eq!(together(&[]), Rebuild::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_device_of_a_server_is_used_again_when_the_server_is_back() {
    let (near, far) = (TempDir::new().expect("a directory"), TempDir::new().expect("a directory"));
    let server = TestNode::with_volumes(far.path(), &[]).await;
    let volume = CreateVolume::new(name("v"), name("p"), DEVICE_BYTES);
    server.node.create_volume(volume).await.expect("a volume");
    let export = CreateExport::new("v".parse().expect("a path"), Protocol::Nbd);
    server.node.create_export(export).await.expect("an export");
    let address = format!("nbd+unix:///v?socket={}", far.path().join("nbd.sock").display());
    let node = TestNode::start(settings(near.path())).await;
    let devices = vec![make_device(&near.path().join("device"), DEVICE_BYTES), address];
    node.node.create_pool(pool_of("m", devices, 2)).await.expect("a pool");
    node.stop().await;
    server.stop().await;

    let node = TestNode::start(settings(near.path())).await;
    let pool = node.node.show_pool(&name("m")).await.expect("it is degraded");
    assert_eq!(pool.devices[1].state, PoolDeviceState::Missing, "{pool:?}");
    assert_eq!(pool.devices[1].kind, DeviceKind::Network);
    let server = TestNode::start(settings(far.path())).await;
    node.tended("m", |pool| pool.devices[1].state == PoolDeviceState::Online).await;
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_device_is_replaced_in_place() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::start(settings(directory.path())).await;
    let paths = ["0", "1"].map(|device| directory.path().join(device));
    let devices = paths.each_ref().map(|path| make_device(path, DEVICE_BYTES));
    node.node.create_pool(pool_of("m", devices.to_vec(), 2)).await.expect("a pool");
    let onto = |path: &str| AddDevice { path: path.to_owned(), force: true };
    let pool = node.node.show_pool(&name("m")).await.expect("it is there");
    let refused = node.node.replace_device(&name("m"), pool.devices[1].id, onto(&devices[1])).await;
    let refused = refused.expect_err("it is in use").to_string();
    assert!(refused.contains("remove or replace that device first"), "{refused}");
    node.stop().await;

    make_device(&paths[1], DEVICE_BYTES);
    let node = TestNode::start(settings(directory.path())).await;
    let pool = node.node.show_pool(&name("m")).await.expect("it is degraded");
    let wiped = &pool.devices[1];
    assert_eq!(wiped.state, PoolDeviceState::Missing);
    let cause = &wiped.health.causes[0].message;
    assert!(cause.contains("no Quarry device: it holds nothing"), "{cause}");
    let replacing = node.node.replace_device(&name("m"), wiped.id, onto(&devices[1])).await;
    replacing.expect("nothing is on it any more");
    let is_whole = |pool: &Pool| pool.devices.len() == 2 && pool.reasons.is_empty();
    let pool = node.tended("m", is_whole).await;
    assert!(pool.devices.iter().all(|device| device.id != wiped.id), "{pool:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the test takes devices away")]
async fn what_is_missing_is_a_fault_and_is_told_once() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::start(settings(directory.path())).await;
    let paths = ["0", "1", "2", "3"].map(|device| directory.path().join(device));
    let devices = paths.each_ref().map(|path| make_device(path, DEVICE_BYTES));
    let protection = Some("ec:2+1".parse().expect("a protection"));
    let coded = CreatePool { copies: None, protection, ..pool_of("m", devices.to_vec(), 1) };
    node.node.create_pool(coded).await.expect("a pool");
    node.stop().await;
    std::fs::remove_file(&paths[3]).expect("it is there");
    let node = TestNode::start(settings(directory.path())).await;
    let checked = node.node.check_pools().await.expect("they can be checked");
    let named = |finding: &&String| finding.contains(&devices[3]);
    assert_eq!(checked[0].findings.iter().filter(named).count(), 1, "{:?}", checked[0].findings);
    node.stop().await;
    paths[..3].iter().for_each(|path| std::fs::remove_file(path).expect("it is there"));
    let node = TestNode::start(settings(directory.path())).await;
    let status = node.node.status().await.expect("a status");
    let [cause] = &status.health.causes[..] else { panic!("{:?}", status.health) };
    let text = format!("{} {}", cause.message, cause.next_step);
    for once in ["pool 'm'", "offline", "0 does not exist", "Bring its devices back"] {
        assert_eq!(text.matches(once).count(), 1, "{once}: {text}");
    }
    node.stop().await;
}

/// Logs that are opened at the same time on a core share the pool of that core, which is told of devices that join.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_is_one_on_each_core_after_a_restart() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::start(settings(directory.path())).await;
    let make = |file: &str| make_device(&directory.path().join(file), DEVICE_BYTES);
    node.node.create_pool(pool_of("m", ["0", "1", "2"].map(make).to_vec(), 2)).await.expect("a pool");
    for (volume, copies) in [("a", 2), ("b", 1), ("c", 3)] {
        let protection = Some(quarry_api_types::Protection(quarry_types::Protection::Copies(copies)));
        let request = CreateVolume { protection, ..CreateVolume::new(name(volume), name("m"), 16 << 20) };
        node.node.create_volume(request).await.expect("a volume");
    }
    node.stop().await;
    let node = TestNode::start(settings(directory.path())).await;
    let (_, open) = node.node.open_entry(&name("m")).expect("it is open");
    assert!(open.logs.len() > 3, "{:?}", open.logs);
    for &(log, core) in &open.logs {
        let id = open.shared.id;
        let is_one = node.cores.call(core, move |state| async move {
            let engine = state.engine(id, log).expect("it is open");
            state.opened_pool(id).is_some_and(|pool| Rc::ptr_eq(&pool, engine.pool()))
        });
        assert!(is_one.await.expect("the core runs"), "log {log}");
    }
    drop(open);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_whose_replacement_is_refused_leaves_the_other_one_out() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::start(settings(directory.path())).await;
    let make = |file: &str, bytes| make_device(&directory.path().join(file), bytes);
    let devices = vec![make("0", DEVICE_BYTES), make("1", DEVICE_BYTES)];
    node.node.create_pool(pool_of("m", devices, 1)).await.expect("a pool");
    node.node.create_volume(CreateVolume::new(name("v"), name("m"), 256 << 20)).await.expect("a volume");
    node.write("v", 0, 230).await;
    let old = node.node.show_pool(&name("m")).await.expect("the pool").devices[0].id;
    let small = AddDevice { path: make("2", 64 << 20), force: false };
    let refused = node.node.replace_device(&name("m"), old, small).await;
    refused.expect_err("what is on it finds no place");
    node.tended("m", |pool| pool.devices.len() == 2).await;
    node.stop().await;
}
