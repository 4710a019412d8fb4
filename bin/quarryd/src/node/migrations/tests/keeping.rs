//! Volumes that are kept otherwise than their pool, and what that asks of it.

use quarry_api_types::{AttachPolicy, CreatePolicy};
use quarry_node_api::PolicyNode as _;

use super::*;

/// A pool over three devices, each with room for more than one log.
fn wide_pool(directory: &Path) -> CreatePool {
    let devices = ["x", "y", "z"].map(|device| make(directory, device, 4 * POOL_BYTES));
    CreatePool { devices: devices.to_vec(), ..pool("wide", "") }
}

fn kept(protection: &str) -> ChangeVolume {
    ChangeVolume { protection: Some(protection.parse().expect("a protection")), ..ChangeVolume::default() }
}

/// How a volume is kept, and whether that is its own.
fn keeping(volume: &Volume) -> (String, bool) {
    (volume.protection.expect("it is in a pool").to_string(), volume.own_protection)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_of_one_pool_are_kept_differently_and_stay_so() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::start(settings(directory.path())).await;
    node.node.create_pool(wide_pool(directory.path())).await.expect("a pool");
    let create = |volume: &str, protection: Option<&str>, tier: Option<Tier>| CreateVolume {
        protection: protection.map(|text| text.parse().expect("a protection")),
        tier,
        ..CreateVolume::new(name(volume), name("wide"), DEVICE_BYTES)
    };
    let wanted = [
        ("a", None, None),
        ("b", Some("copies:3"), None),
        ("c", Some("ec:2+1"), None),
        ("d", Some("copies:3"), Some(Tier::Hdd)),
        ("e", None, None),
    ];
    for (volume, protection, tier) in wanted {
        node.node.create_volume(create(volume, protection, tier)).await.expect("a volume");
    }
    let refused_code = create("f", Some("ec:4+2"), None);
    refused(node.node.create_volume(refused_code).await, ErrorKind::Conflict, "needs 6 devices");
    let check = async |node: &TestNode| {
        for (volume, protection, tier) in wanted {
            let shown = node.node.show_volume(&name(volume)).await.expect("it is there");
            let expected = (protection.unwrap_or("copies:1").to_owned(), protection.is_some());
            assert_eq!(keeping(&shown), expected, "{volume}");
            assert_eq!(
                (shown.tier, shown.own_tier),
                (tier.or(Some(Tier::Automatic)), tier.is_some()),
                "{volume}"
            );
        }
        let shown = node.node.show_pool(&name("wide")).await.expect("the pool");
        assert_eq!((shown.state, shown.volumes), (PoolState::Online, 5), "{:?}", shown.reasons);
    };
    check(&node).await;
    node.stop().await;
    let node = TestNode::start(settings(directory.path())).await;
    check(&node).await;
    // What follows the pool follows it, and no other one does.
    let two = ChangePool { copies: Some(2), ..ChangePool::default() };
    node.node.change_pool(&name("wide"), two).await.expect("there are devices enough");
    for (volume, protection) in [("a", "copies:2"), ("b", "copies:3"), ("c", "ec:2+1"), ("e", "copies:2")] {
        let shown = node.node.show_volume(&name(volume)).await.expect("it is there");
        assert_eq!(keeping(&shown).0, protection, "{volume}");
    }
    node.abandon().await;
    let node = TestNode::start(settings(directory.path())).await;
    assert_eq!(keeping(&node.node.show_volume(&name("c")).await.expect("it is there")).0, "ec:2+1");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_gets_its_own_protection_while_it_is_in_use() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::start(settings(directory.path())).await;
    node.node.create_pool(wide_pool(directory.path())).await.expect("a pool");
    for volume in ["a", "b", "c", "d"] {
        let create = CreateVolume::new(name(volume), name("wide"), DEVICE_BYTES);
        node.node.create_volume(create).await.expect("a volume");
    }
    let before = node.node.show_volume(&name("a")).await.expect("it is there");
    let session = Session::begin(&node, before.id, before.core.into());
    tended(&node, async {
        // Others are kept with it: it moves to a log of its own.
        for protection in ["copies:3", "ec:2+1", "pool"] {
            node.node.change_volume(&name("a"), kept(protection)).await.expect("it begins");
            let shown = arrive(&node.node, "a").await;
            let expected = if protection == "pool" { "copies:1" } else { protection };
            assert_eq!(keeping(&shown), (expected.to_owned(), protection != "pool"));
            assert_eq!(shown.id, before.id);
        }
    })
    .await;
    let number = session.end().await;
    let shown = node.node.show_volume(&name("a")).await.expect("it is there");
    assert_eq!(last_number(&node, shown.id, shown.core.into(), number).await, Some(number));
    // With snapshots it stays beside the others, and the refusal says why.
    let snapshot = CreateSnapshot { name: name("s"), locked_until: None };
    node.node.create_snapshot(&name("b"), snapshot).await.expect("a snapshot");
    refused(
        node.node.change_volume(&name("b"), kept("copies:2")).await,
        ErrorKind::Conflict,
        "its snapshot stays behind",
    );
    node.stop().await;
    let node = TestNode::start(settings(directory.path())).await;
    assert_eq!(last_number(&node, shown.id, shown.core.into(), number).await, Some(number));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_gets_its_own_protection_when_the_node_dies_goes_on() {
    let directory = TempDir::new().expect("a directory");
    let mut node = TestNode::start(settings(directory.path())).await;
    node.node.create_pool(wide_pool(directory.path())).await.expect("a pool");
    for volume in ["a", "b", "c", "d"] {
        let create = CreateVolume::new(name(volume), name("wide"), DEVICE_BYTES);
        node.node.create_volume(create).await.expect("a volume");
    }
    let before = node.node.show_volume(&name("a")).await.expect("it is there");
    let session = Session::begin(&node, before.id, before.core.into());
    let number = session.end().await;
    node.node.change_volume(&name("a"), kept("copies:3")).await.expect("it begins");
    for _ in 0..3 {
        node.abandon().await;
        node = TestNode::start(settings(directory.path())).await;
        node.node.resume_migrations().await;
        assert_eq!(node.node.list_volumes().await.expect("a list").len(), 4, "one place counts");
        let shown = node.node.show_volume(&name("a")).await.expect("it is there");
        assert_eq!(last_number(&node, shown.id, shown.core.into(), number).await, Some(number));
    }
    tended(&node, async {
        assert_eq!(keeping(&arrive(&node.node, "a").await), ("copies:3".to_owned(), true));
    })
    .await;
    let shown = node.node.show_volume(&name("a")).await.expect("it is there");
    assert_eq!(last_number(&node, shown.id, shown.core.into(), number).await, Some(number));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_is_alone_changes_where_it_is_with_its_snapshots() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::start(settings(directory.path())).await;
    node.node.create_pool(wide_pool(directory.path())).await.expect("a pool");
    let own = CreateVolume {
        protection: Some("copies:2".parse().expect("a protection")),
        ..CreateVolume::new(name("a"), name("wide"), DEVICE_BYTES)
    };
    node.node.create_volume(own).await.expect("a volume");
    let snapshot = CreateSnapshot { name: name("s"), locked_until: None };
    node.node.create_snapshot(&name("a"), snapshot).await.expect("a snapshot");
    for protection in ["copies:3", "ec:2+1", "copies:2"] {
        let changed = node.node.change_volume(&name("a"), kept(protection)).await.expect("it is changed");
        assert!(changed.migration.is_none() && changed.snapshots == 1);
        assert_eq!(keeping(&changed), (protection.to_owned(), true));
    }
    let pool = node.node.show_pool(&name("wide")).await.expect("the pool");
    // The log that it leaves behind is there for the next volume that is kept otherwise.
    node.node.delete_volume(&name("a"), true).await.expect("it is deleted");
    let other = CreateVolume {
        protection: Some("copies:3".parse().expect("a protection")),
        ..CreateVolume::new(name("b"), name("wide"), DEVICE_BYTES)
    };
    node.node.create_volume(other).await.expect("a volume");
    assert_eq!(node.node.show_pool(&name("wide")).await.expect("the pool").logs, pool.logs);
    node.stop().await;
}

fn own(volume: &str, protection: &str) -> CreateVolume {
    CreateVolume {
        protection: Some(protection.parse().expect("a protection")),
        ..CreateVolume::new(name(volume), name("wide"), DEVICE_BYTES)
    }
}

/// How many ways of keeping volumes the labels of the pool name.
async fn ways(node: &TestNode) -> usize {
    node.node.open_entry(&name("wide")).expect("it is open").1.shared.log_policies().len()
}

async fn wide(directory: &Path, volumes: &[&str]) -> TestNode {
    let node = TestNode::start(settings(directory)).await;
    node.node.create_pool(wide_pool(directory)).await.expect("a pool");
    for volume in volumes {
        let create = CreateVolume::new(name(volume), name("wide"), DEVICE_BYTES);
        node.node.create_volume(create).await.expect("a volume");
    }
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_in_which_no_volume_is_kept_is_forgotten() {
    let directory = TempDir::new().expect("a directory");
    let node = wide(directory.path(), &["a", "b", "c", "e"]).await;
    let snapshot = CreateSnapshot { name: name("s"), locked_until: None };
    node.node.create_snapshot(&name("b"), snapshot).await.expect("a snapshot");
    // What is refused leaves nothing.
    let refusal = node.node.change_volume(&name("b"), kept("copies:3")).await;
    refused(refusal, ErrorKind::Conflict, "quarry snapshot delete");
    assert_eq!(ways(&node).await, 0);
    // Nor does what is gone: a device may go again that three copies need.
    node.node.create_volume(own("d", "copies:3")).await.expect("a volume");
    assert_eq!(ways(&node).await, 1);
    let shown = node.node.show_pool(&name("wide")).await.expect("the pool");
    let device = shown.devices[2].id;
    refused(node.node.drain_device(&name("wide"), device).await, ErrorKind::Conflict, "copies:3");
    node.node.forget_unused_policies().await;
    assert_eq!(ways(&node).await, 1, "it is in use");
    node.node.delete_volume(&name("d"), true).await.expect("it is deleted");
    node.node.forget_unused_policies().await;
    assert_eq!(ways(&node).await, 0);
    node.node.drain_device(&name("wide"), device).await.expect("two are enough for the others");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_when_it_is_kept_so_is_refused_before_anything_moves() {
    let directory = TempDir::new().expect("a directory");
    let node = wide(directory.path(), &["a", "b", "c", "d"]).await;
    let available = node.node.show_pool(&name("wide")).await.expect("the pool").capacity.available_bytes;
    // More than a third of the pool, which three copies of it do not fit into.
    let large =
        CreateVolume { size_bytes: available, ..CreateVolume::new(name("e"), name("wide"), DEVICE_BYTES) };
    node.node.create_volume(large).await.expect("a volume");
    let reserve = |bytes| ChangeVolume { reserved_bytes: Some(bytes), ..ChangeVolume::default() };
    node.node.change_volume(&name("e"), reserve(available / 2)).await.expect("one copy of it fits");
    refused(
        node.node.change_volume(&name("e"), kept("copies:3")).await,
        ErrorKind::NoSpace,
        "there is room for",
    );
    let shown = node.node.show_volume(&name("e")).await.expect("it is there");
    assert!(shown.migration.is_none(), "{:?}", shown.migration);
    assert_eq!(ways(&node).await, 0);
    // With a bound on promises what more copies take counts too.
    node.node.change_volume(&name("e"), reserve(0)).await.expect("nothing is kept any more");
    let bound = ChangePool { overcommit_limit_percent: Some(150), ..ChangePool::default() };
    node.node.change_pool(&name("wide"), bound).await.expect("a bound");
    refused(
        node.node.change_volume(&name("e"), kept("copies:3")).await,
        ErrorKind::NoSpace,
        "over-committed",
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_counts_the_devices_on_which_its_copies_lie() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::start(settings(directory.path())).await;
    let devices = [("x", 16 * POOL_BYTES), ("y", 2 * POOL_BYTES)]
        .map(|(device, bytes)| make(directory.path(), device, bytes));
    let uneven = CreatePool { devices: devices.to_vec(), ..pool("wide", "") };
    node.node.create_pool(uneven).await.expect("a pool");
    let create = |volume: &str, protection: &str, bytes| CreateVolume {
        size_bytes: 32 * POOL_BYTES,
        reserved_bytes: bytes,
        ..own(volume, protection)
    };
    // The small device has room for no more than that of the second copies.
    let refusal = node.node.create_volume(create("a", "copies:2", 4 * POOL_BYTES)).await;
    refused(refusal, ErrorKind::NoSpace, "is the most");
    // Of its small segments less than a half counts as space for hosts.
    node.node.create_volume(create("a", "copies:2", POOL_BYTES / 2)).await.expect("that fits");
    node.node.create_volume(create("b", "copies:1", 4 * POOL_BYTES)).await.expect("one copy fits");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_takes_its_own_protection_along_to_another_pool() {
    let directory = TempDir::new().expect("a directory");
    let node = wide(directory.path(), &["a"]).await;
    node.node.create_volume(own("b", "copies:2")).await.expect("a volume");
    let other = make(directory.path(), "o", 4 * POOL_BYTES);
    node.node.create_pool(pool("other", &other)).await.expect("a pool");
    refused(
        node.node.migrate_volume(&name("b"), to_pool("other")).await,
        ErrorKind::Conflict,
        "needs 2 devices",
    );
    let more = ["p", "q"].map(|device| make(directory.path(), device, 4 * POOL_BYTES));
    node.node.create_pool(CreatePool { devices: more.to_vec(), ..pool("two", "") }).await.expect("a pool");
    tended(&node, async {
        node.node.migrate_volume(&name("b"), to_pool("two")).await.expect("it begins");
        let shown = arrive(&node.node, "b").await;
        assert_eq!((shown.pool.clone(), keeping(&shown)), (Some(name("two")), ("copies:2".to_owned(), true)));
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_moves_inside_its_pool_counts_once_and_may_be_told_again() {
    let directory = TempDir::new().expect("a directory");
    let node = wide(directory.path(), &["a", "b", "c"]).await;
    node.node.change_volume(&name("a"), kept("copies:3")).await.expect("it begins");
    let shown = node.node.show_pool(&name("wide")).await.expect("the pool");
    assert_eq!((shown.volumes, shown.commitment.volumes_bytes), (3, (2 + 3) * DEVICE_BYTES));
    let again = node.node.change_volume(&name("a"), kept("copies:3")).await.expect("that is what it does");
    assert!(again.migration.is_some());
    refused(node.node.change_volume(&name("a"), kept("copies:2")).await, ErrorKind::Conflict, "migrat");
    tended(&node, async {
        assert_eq!(keeping(&arrive(&node.node, "a").await), ("copies:3".to_owned(), true));
    })
    .await;
    let shown = node.node.show_pool(&name("wide")).await.expect("the pool");
    assert_eq!((shown.volumes, shown.commitment.volumes_bytes), (3, (2 + 3) * DEVICE_BYTES));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_the_pool_keeps_anyway_takes_no_log_and_no_word_against_it_counts() {
    let directory = TempDir::new().expect("a directory");
    let node = wide(directory.path(), &["a"]).await;
    for (policy, settings) in [
        ("same", r#"{"protection":"copies:1","tier":"automatic"}"#),
        ("more", r#"{"protection":"copies:2"}"#),
    ] {
        let settings = serde_json::from_str(settings).expect("settings");
        node.node.create_policy(CreatePolicy { name: name(policy), settings }).await.expect("a policy");
    }
    let under = |volume: &str, policy: &str| CreateVolume {
        policy: Some(name(policy)),
        ..CreateVolume::new(name(volume), name("wide"), DEVICE_BYTES)
    };
    let made = node.node.create_volume(under("b", "same")).await.expect("a volume");
    assert_eq!((keeping(&made), made.own_tier), (("copies:1".to_owned(), false), false));
    assert_eq!(ways(&node).await, 0);
    let made = node.node.create_volume(under("c", "more")).await.expect("a volume");
    assert_eq!(keeping(&made), ("copies:2".to_owned(), true));
    refused(node.node.change_volume(&name("c"), kept("pool")).await, ErrorKind::Conflict, "policy 'more'");
    let attach = AttachPolicy { policy: Some(name("more")), ..AttachPolicy::default() };
    node.node.attach_volume_policy(&name("a"), attach).await.expect("attached");
    refused(node.node.change_volume(&name("a"), kept("pool")).await, ErrorKind::Conflict, "policy 'more'");
    // Where the pool does as the policy means it, a volume may be as its pool.
    let two = ChangePool { copies: Some(2), ..ChangePool::default() };
    node.node.change_pool(&name("wide"), two).await.expect("there are devices enough");
    node.node.change_volume(&name("c"), kept("pool")).await.expect("that is two copies");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_that_are_kept_as_the_pool_have_their_logs_back() {
    let directory = TempDir::new().expect("a directory");
    let node = wide(directory.path(), &["a", "b"]).await;
    let logs = node.node.show_pool(&name("wide")).await.expect("the pool").logs;
    assert_eq!(logs, 2, "one for each core");
    // Each is alone in its log, and both logs are kept otherwise now.
    for volume in ["a", "b"] {
        node.node.change_volume(&name(volume), kept("copies:2")).await.expect("at once");
    }
    for volume in ["c", "d"] {
        let create = CreateVolume::new(name(volume), name("wide"), DEVICE_BYTES);
        node.node.create_volume(create).await.expect("there is room for another log");
    }
    let mut cores = Vec::new();
    for volume in ["c", "d"] {
        let shown = node.node.show_volume(&name(volume)).await.expect("it is there");
        assert_eq!(keeping(&shown), ("copies:1".to_owned(), false));
        cores.push(shown.core);
    }
    cores.sort_unstable();
    assert_eq!(cores, [0, 1]);
    node.stop().await;
}
