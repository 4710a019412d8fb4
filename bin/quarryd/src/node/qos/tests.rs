//! From what is asked for to what volumes get, on a node with two cores.

use quarry_api_types::{ChangeGroup, ChangeVolume, CreateGroup, CreateVolume};
use quarry_node_api::Node as _;

use super::*;
use crate::test_node::{TestNode, VOLUME_BYTES, name, settings};

fn qos(json: &str) -> QualityOfService {
    serde_json::from_str(json).unwrap()
}

fn asking(json: &str) -> ChangeVolume {
    ChangeVolume { qos: Some(qos(json)), ..ChangeVolume::default() }
}

/// How long `reads` reads of a volume take, all at a time. A limit is judged by what it takes at least, and by what is told of waiting: how
/// fast a machine under load is, nobody knows.
async fn reads_take(node: &TestNode, volume: &str, reads: usize) -> Duration {
    let located = node.node.locate(&name(volume)).await.unwrap();
    let (id, began) = (located.id(), Instant::now());
    let done = node.cores.call(located.core(), move |state| async move {
        let volume = state.own_volume(id).expect("it is here");
        let all = (0..reads).map(|index| volume.read(index as u64 * 4096, 4096));
        futures::future::join_all(all).await.into_iter().filter(|done| done.is_ok()).count()
    });
    assert_eq!(done.await.unwrap(), reads);
    began.elapsed()
}

/// For what a volume's requests have waited; `None` when nothing is scheduled for it.
async fn waited_for(node: &TestNode, volume: &str) -> Option<Vec<QosCause>> {
    let status = node.node.show_volume(&name(volume)).await.unwrap().qos_status?;
    Some(status.waited.iter().map(|wait| wait.cause).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_counts_at_once_is_shown_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let node = TestNode::with_volumes(directory.path(), &["v", "other"]).await;
    reads_take(&node, "v", 50).await;
    assert_eq!(waited_for(&node, "v").await, None);
    let changed = node.node.change_volume(&name("v"), asking(r#"{"iops_max":100}"#)).await.unwrap();
    assert_eq!(changed.qos, Some(qos(r#"{"iops_max":100}"#)));
    let took = reads_take(&node, "v", 50).await;
    assert!(took >= Duration::from_millis(400), "{took:?}");
    reads_take(&node, "other", 50).await;
    let status = node.node.show_volume(&name("v")).await.unwrap().qos_status.unwrap();
    assert_eq!((status.ios, status.waiting, status.waited.len()), (50, 0, 1));
    assert_eq!(status.waited[0].cause, QosCause::Volume);
    assert!(status.waited[0].waited_us > 5_000_000, "{status}");
    assert_eq!(waited_for(&node, "other").await, None);
    let metrics = node.node.metrics().await.unwrap();
    assert!(metrics.contains("quarry_qos_ios_total{volume=\"v\"} 50"));
    let throttled = "quarry_qos_throttled_seconds_total{volume=\"v\",cause=\"volume\"} ";
    let seconds = metrics.lines().find_map(|line| line.strip_prefix(throttled)?.parse::<f64>().ok()).unwrap();
    assert!((seconds - status.waited[0].waited_us as f64 / 1e6).abs() < 1e-3, "{seconds} s, {status}");
    assert!(!metrics.contains("quarry_qos_ios_total{volume=\"other\"}"));
    node.stop().await;
    let node = TestNode::start(settings(directory.path())).await;
    assert!(reads_take(&node, "v", 50).await > Duration::from_millis(400));
    node.node.change_volume(&name("v"), asking("{}")).await.unwrap();
    assert_eq!(waited_for(&node, "v").await, None);
    assert_eq!(node.node.show_volume(&name("v")).await.unwrap().qos, None);
    // With the volume its settings go.
    node.node.change_volume(&name("v"), asking(r#"{"iops_max":100}"#)).await.unwrap();
    node.node.delete_volume(&name("v"), false).await.unwrap();
    assert!(node.node.qos_table().volumes.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_and_a_tenant_have_one_limit_over_both_cores() {
    let directory = tempfile::tempdir().unwrap();
    let node = TestNode::with_volumes(directory.path(), &["acme.a", "acme.b", "c"]).await;
    let volumes = [name("acme.a"), name("acme.b")].to_vec();
    let cores: Vec<usize> = futures::future::join_all(volumes.iter().map(|volume| node.node.locate(volume)))
        .await
        .into_iter()
        .map(|located| located.unwrap().core())
        .collect();
    assert_ne!(cores[0], cores[1]);
    let group = CreateGroup { name: name("g"), volumes, qos: Some(qos(r#"{"iops_max":200}"#)) };
    assert_eq!(node.node.create_group(group).await.unwrap().qos, Some(qos(r#"{"iops_max":200}"#)));
    let both = || async {
        let (a, b) = tokio::join!(reads_take(&node, "acme.a", 50), reads_take(&node, "acme.b", 50));
        a.max(b)
    };
    let took = both().await;
    assert!(took >= Duration::from_millis(400), "{took:?}");
    reads_take(&node, "c", 50).await;
    assert_eq!(waited_for(&node, "c").await, None);
    assert_eq!(waited_for(&node, "acme.a").await, Some(vec![QosCause::Group]));
    let none = ChangeGroup { qos: Some(QualityOfService::default()), ..ChangeGroup::default() };
    assert_eq!(node.node.change_group(&name("g"), none).await.unwrap().qos, None);
    both().await;
    assert_eq!(waited_for(&node, "acme.a").await, None);
    let tenant = vec![(name("acme"), qos(r#"{"iops_max":200,"burst_s":1}"#))];
    node.node.set_tenants_qos(tenant).await.unwrap();
    let took = both().await;
    assert!(took > Duration::from_millis(400), "{took:?}");
    // What cannot be kept by any device is refused.
    let error = node.node.change_volume(&name("acme.a"), asking(r#"{"iops_min":300}"#)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.to_string().contains("tenant 'acme' gets 200 at most"), "{error}");
    node.node.change_volume(&name("c"), asking(r#"{"iops_min":300}"#)).await.unwrap();
    // One that is made by the tenant is bounded from its first moment on.
    let new = CreateVolume::new(name("acme.new"), name("p"), VOLUME_BYTES);
    node.node.create_volume(new).await.unwrap();
    assert!(reads_take(&node, "acme.new", 100).await > Duration::from_millis(400));
    node.node.set_tenants_qos(Vec::new()).await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_makes_all_volumes_take_turns() {
    let directory = tempfile::tempdir().unwrap();
    let node = TestNode::with_volumes(directory.path(), &["a", "b"]).await;
    let request = CreateVolume {
        qos: Some(qos(r#"{"iops_min":1000,"latency_target_us":2000}"#)),
        ..CreateVolume::new(name("c"), name("p"), VOLUME_BYTES)
    };
    assert!(node.node.create_volume(request).await.unwrap().qos.is_some());
    for volume in ["a", "b", "c"] {
        reads_take(&node, volume, 200).await;
    }
    // Told of are those for which something is asked.
    assert_eq!((waited_for(&node, "a").await, waited_for(&node, "b").await), (None, None));
    let waited = waited_for(&node, "c").await.unwrap();
    assert!(waited.iter().all(|cause| *cause == QosCause::Share), "{waited:?}");
    assert!(node.node.metrics().await.unwrap().contains("quarry_qos_window_units{core=\"1\"}"));
    node.node.look_at_reservations().await.unwrap();
    let id = node.node.locate(&name("c")).await.unwrap().id();
    assert_eq!(node.node.reservation_seen(id), Some(None));
    node.node.change_volume(&name("c"), asking("{}")).await.unwrap();
    assert!(!node.node.metrics().await.unwrap().contains("quarry_qos_window_units{"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weight_of_several_is_one_and_their_latency_target_is_that_of_each_without_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let node = TestNode::with_volumes(directory.path(), &["acme.a", "acme.b", "c"]).await;
    let asked = Some(qos(r#"{"weight":300,"latency_target_us":2000}"#));
    let group = CreateGroup { name: name("g"), volumes: vec![name("acme.a"), name("c")], qos: asked.clone() };
    assert_eq!(node.node.create_group(group).await.unwrap().qos, asked);
    node.node.change_volume(&name("c"), asking(r#"{"weight":50,"latency_target_us":500}"#)).await.unwrap();
    node.node.set_tenants_qos(vec![(name("acme"), qos(r#"{"weight":200}"#))]).await.unwrap();
    let table = node.node.qos_spread.lock().await.table.clone();
    assert!(table.is_sharing);
    let mut shares = Vec::new();
    for volume in ["acme.a", "acme.b", "c"] {
        let id = node.node.locate(&name(volume)).await.unwrap().id();
        shares.push(table.volumes[&id].share.clone().unwrap());
    }
    let weights = |share: &Share| (share.weight, share.scopes.iter().map(|one| one.rates.weight).collect());
    assert_eq!(weights(&shares[0]), (100, vec![Some(300), Some(200)]));
    assert_eq!(weights(&shares[1]), (100, vec![Some(200)]));
    assert_eq!(weights(&shares[2]), (50, vec![Some(300)]));
    assert!(Arc::ptr_eq(&shares[0].scopes[0], &shares[2].scopes[0]), "a group is one");
    let targets: Vec<_> =
        shares.iter().map(|share| share.latency_target.map(|target| target.as_micros())).collect();
    assert_eq!(targets, [Some(2000), None, Some(500)]);
    for volume in ["acme.a", "acme.b", "c"] {
        reads_take(&node, volume, 200).await;
    }
    node.stop().await;
}

#[test]
fn a_reservation_is_missed_by_less_than_was_promised_to_a_host_that_asked() {
    let promised = qos(r#"{"iops_min":1000,"iops_max":5000}"#);
    let stats = |ios: u64, idle_ms: u64| GateStats {
        ios,
        bytes: ios * 4096,
        idle: Duration::from_millis(idle_ms),
        ..GateStats::default()
    };
    let (before, time) = (stats(500, 100), Duration::from_secs(2));
    let judged = |ios: u64, idle_ms: u64| judge(&promised, &before, &stats(500 + ios, 100 + idle_ms), time);
    assert_eq!(judged(2000, 0), None);
    assert_eq!(judged(1801, 39), None);
    assert_eq!(judged(10, 50), None, "its host asked for nothing for a while");
    let missed = judged(1000, 10).unwrap();
    assert_eq!((missed.promised.as_str(), missed.got.as_str()), ("1000 IOPS", "500 IOPS"));
    assert_eq!(judge(&qos(r#"{"bytes_per_s_min":4096000}"#), &before, &stats(2500, 100), time), None);
}
