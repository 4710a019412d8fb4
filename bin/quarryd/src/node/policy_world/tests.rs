//! Policies on a real node that is killed and started again, with a clock that the tests set.

use quarry_api_types::{
    AttachPolicy, ChangePolicy, ChangeSnapshot, ChangeVolume, ComplianceState, Compression, CreateGroup,
    CreatePolicy, CreateSnapshot, CreateVolume, Durability, PolicySettings, RenameVolume, SnapshotPath,
};
use quarry_node_api::{Node as _, PolicyNode as _};
use tempfile::TempDir;

use super::*;
use crate::test_node::{TestNode, VOLUME_BYTES, name, settings};

/// The node with another time of day.
struct At<'a> {
    node: &'a DataNode,
    ahead_s: i64,
}

#[async_trait]
impl World for At<'_> {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_second(World::now(self.node).as_second() + self.ahead_s).expect("not so far")
    }

    async fn look(&self) -> Option<(Intended, Observed)> {
        self.node.look().await
    }

    async fn perform(&self, step: &Step) -> std::result::Result<(), StepError> {
        self.node.perform(step).await
    }

    async fn note(&self, plan: &Plan) {
        self.node.note(plan).await;
    }
}

async fn settle(node: &TestNode, ahead_s: i64) {
    node.node.reconciler.settle(&At { node: &node.node, ahead_s }).await;
}

fn said(json: &str) -> PolicySettings {
    serde_json::from_str(json).expect("settings")
}

async fn policy(node: &TestNode, policy: &str, json: &str) {
    let request = CreatePolicy { name: name(policy), settings: said(json) };
    node.node.create_policy(request).await.expect("a policy");
}

fn to(policy: &str) -> AttachPolicy {
    AttachPolicy { policy: Some(name(policy)), ..AttachPolicy::default() }
}

async fn snapshots(node: &TestNode, volume: &str) -> Vec<String> {
    let all = node.node.list_snapshots(&name(volume)).await.expect("it is there");
    all.into_iter().map(|snapshot| snapshot.name.to_string()).collect()
}

#[tokio::test]
async fn settings_follow_the_policy_and_survive_the_end_of_the_node() {
    let folder = TempDir::new().expect("a folder");
    let node = TestNode::with_volumes(folder.path(), &["v", "w"]).await;
    policy(&node, "gold", r#"{"compression":"lz4","durability":"always","tier":"nvme"}"#).await;
    let judged = node.node.attach_volume_policy(&name("v"), to("gold")).await.expect("attached");
    assert_eq!((judged.state, judged.plan.len()), (ComplianceState::Violated, 1));
    settle(&node, 0).await;
    let volume = node.node.show_volume(&name("v")).await.expect("it is there");
    assert_eq!((volume.compression, volume.durability), (Compression::Lz4, Durability::Always));

    // By hand only what goes together with the policy.
    let by_hand = |compression| ChangeVolume { compression: Some(compression), ..ChangeVolume::default() };
    let refused = node
        .node
        .change_volume(&name("v"), by_hand(Compression::Off))
        .await
        .expect_err("it is meant to be lz4");
    assert!(
        refused.kind == ErrorKind::Conflict
            && refused.message.contains("policy 'gold' means its compression to be lz4"),
        "{refused}"
    );
    node.node.change_volume(&name("v"), by_hand(Compression::Lz4)).await.expect("as it is");
    node.node.change_volume(&name("w"), by_hand(Compression::Zstd)).await.expect("it has no policy");

    let refused = node.node.delete_policy(&name("gold")).await.expect_err("it is attached");
    assert!(
        refused.kind == ErrorKind::InUse && refused.next_step.contains("quarry policy detach v"),
        "{refused:?}"
    );
    node.node.rename_volume(&name("v"), RenameVolume { name: name("x") }).await.expect("renamed");
    node.abandon().await;

    let node = TestNode::start(settings(folder.path())).await;
    assert_eq!(node.node.show_policy(&name("gold")).await.expect("kept").volumes, [name("x")]);
    let change = ChangePolicy { version: Some(1), settings: said(r#"{"compression":"off"}"#) };
    assert_eq!(node.node.change_policy(&name("gold"), change.clone()).await.expect("changed").version, 2);
    let stale = ChangePolicy { version: Some(1), settings: said(r#"{"compression":"zstd"}"#) };
    let refused = node.node.change_policy(&name("gold"), stale).await.expect_err("somebody was faster");
    assert!(refused.cause.as_deref() == Some("compression is off, not zstd"), "{refused}");
    let same = ChangePolicy { version: None, ..change };
    assert_eq!(node.node.change_policy(&name("gold"), same).await.expect("the same").version, 2);
    settle(&node, 0).await;
    assert_eq!(node.node.show_volume(&name("x")).await.expect("there").compression, Compression::Off);
    let metrics = node.node.metrics().await.expect("figures");
    for line in [
        "quarry_policies 1\n",
        "quarry_policy_volumes{state=\"compliant\"} 1\n",
        "quarry_policy_changes_total 1\n",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    node.node.delete_volume(&name("x"), false).await.expect("deleted");
    node.node.delete_policy(&name("gold")).await.expect("attached to nothing");
    node.stop().await;
}

#[tokio::test]
async fn a_volume_is_made_as_its_policy_means_it_to_be_or_not_at_all() {
    let folder = TempDir::new().expect("a folder");
    let node = TestNode::with_volumes(folder.path(), &[]).await;
    policy(&node, "gold", r#"{"compression":"lz4","durability":"always","reserved_bytes":1048576}"#).await;
    let under = |text: &str| CreateVolume {
        policy: Some(name("gold")),
        compression: Compression::Zstd,
        ..CreateVolume::new(name(text), name("p"), VOLUME_BYTES)
    };
    let made = node.node.create_volume(under("v")).await.expect("made");
    assert_eq!(
        (made.compression, made.durability, made.reserved_bytes),
        (Compression::Zstd, Durability::Always, 1 << 20)
    );
    let judged = node.node.show_volume_policy(&name("v")).await.expect("it has one");
    assert_eq!(
        (judged.state, judged.overrides.compression),
        (ComplianceState::Compliant, Some(Compression::Zstd))
    );
    // What cannot be made leaves no attachment behind.
    node.node.create_volume(under("v")).await.expect_err("the name is taken");
    assert_eq!(node.node.show_policy(&name("gold")).await.expect("there").volumes, [name("v")]);
    let small = CreateVolume { size_bytes: 4096, ..under("small") };
    let refused = node.node.create_volume(small).await.expect_err("its policy reserves more than it has");
    assert_eq!(refused.kind, ErrorKind::Contradictory);
    // One to a volume that is gone, as a kill in the middle leaves it, goes at the next start.
    let mut gone = node.node.policy_table().attachments.values().next().expect("one").clone();
    gone.to =
        AttachedTo::Volume { id: VolumeId::from_random(77), name: name("ghost"), pool: gone_pool(&gone) };
    node.node.commit(vec![quarry_catalog::Change::PutAttachment(gone)]).await.expect("kept");
    node.abandon().await;
    let node = TestNode::start(settings(folder.path())).await;
    assert_eq!(node.node.policy_table().attachments.len(), 2);
    let volumes = node.node.volumes_of(None).await.expect("listed");
    node.node.forget_gone_attachments(&volumes).await.expect("forgotten");
    assert_eq!(node.node.show_policy(&name("gold")).await.expect("there").volumes, [name("v")]);
    node.stop().await;
}

fn gone_pool(record: &AttachmentRecord) -> quarry_types::PoolId {
    match &record.to {
        AttachedTo::Volume { pool, .. } => *pool,
        AttachedTo::Group { .. } => panic!("it is a volume's"),
    }
}

#[tokio::test]
async fn a_schedule_takes_and_deletes_its_own_snapshots_on_a_node_that_is_killed() {
    let folder = TempDir::new().expect("a folder");
    let mut node = TestNode::with_volumes(folder.path(), &["v"]).await;
    policy(&node, "hourly", r#"{"snapshots":{"rules":[{"every":"1h","keep":2}]}}"#).await;
    node.node.attach_volume_policy(&name("v"), to("hourly")).await.expect("attached");
    let by_hand = CreateSnapshot { name: name("monday"), locked_until: None };
    node.node.create_snapshot(&name("v"), by_hand).await.expect("taken");
    settle(&node, 0).await;
    assert_eq!(snapshots(&node, "v").await, ["monday"], "nothing for a time before it was attached");
    for hour in 1..=4 {
        settle(&node, hour * 3600).await;
        node.abandon().await;
        node = TestNode::start(settings(folder.path())).await;
        settle(&node, hour * 3600).await;
        assert_eq!(snapshots(&node, "v").await.len(), 1 + hour.min(2) as usize, "hour {hour}");
    }
    let taken = snapshots(&node, "v").await;
    assert!(taken[0] == "monday" && taken[1..].iter().all(|one| one.starts_with("auto-")), "{taken:?}");

    // One that gets another name is kept from then on.
    let path = SnapshotPath { volume: name("v"), snapshot: name(&taken[1]) };
    let rename = ChangeSnapshot { name: Some(name("keep-me")), ..ChangeSnapshot::default() };
    node.node.change_snapshot(&path, rename).await.expect("renamed");
    for hour in 5..=8 {
        settle(&node, hour * 3600).await;
    }
    let taken = snapshots(&node, "v").await;
    assert!(taken.len() == 4 && taken[..2] == ["monday", "keep-me"], "{taken:?}");

    // Without its policy nothing is taken or deleted any more.
    node.node.detach_volume_policy(&name("v")).await.expect("detached");
    settle(&node, 99 * 3600).await;
    assert_eq!(snapshots(&node, "v").await, taken);
    let metrics = node.node.metrics().await.expect("figures");
    assert!(metrics.contains("quarry_snapshot_schedule_taken_total 4\n"), "since the last start");
    node.stop().await;
}

#[tokio::test]
async fn the_volumes_of_a_group_are_snapshotted_at_one_point_in_time() {
    let folder = TempDir::new().expect("a folder");
    let node = TestNode::with_volumes(folder.path(), &["a", "b", "c"]).await;
    let volumes = ["a", "b", "c"].map(name).to_vec();
    let group = CreateGroup { name: name("shop"), volumes, qos: None };
    node.node.create_group(group).await.expect("a group");
    policy(&node, "hourly", r#"{"snapshots":{"rules":[{"every":"1h","keep":3}]}}"#).await;
    policy(&node, "plain", r#"{"compression":"lz4"}"#).await;
    node.node.attach_group_policy(&name("shop"), to("hourly")).await.expect("attached");
    node.node.attach_volume_policy(&name("c"), to("plain")).await.expect("attached");
    let overrides = said(r#"{"compression":"off"}"#);
    let refused =
        node.node.attach_group_policy(&name("shop"), AttachPolicy { overrides, ..to("hourly") }).await;
    assert_eq!(refused.expect_err("overrides are for volumes").kind, ErrorKind::Contradictory);
    for hour in 1..=5 {
        settle(&node, hour * 3600).await;
    }
    let together = node.node.list_group_snapshots(&name("shop")).await.expect("listed");
    assert_eq!(together.len(), 3);
    assert!(together.iter().all(|snapshot| snapshot.volumes == [name("a"), name("b")]), "{together:?}");
    assert!(snapshots(&node, "c").await.is_empty(), "it has a policy of its own");
    let judged = node.node.show_volume_policy(&name("a")).await.expect("it has one");
    assert_eq!(
        (judged.through_group, judged.schedule.expect("it has one").kept.len()),
        (Some(name("shop")), 3)
    );
    assert_eq!(node.node.show_policy(&name("hourly")).await.expect("there").groups, [name("shop")]);
    node.node.delete_group(&name("shop")).await.expect("deleted");
    node.node.delete_policy(&name("hourly")).await.expect("attached to nothing");
    node.stop().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_told_with_its_reason_and_done_once_it_can_be() {
    let folder = TempDir::new().expect("a folder");
    let node = TestNode::with_volumes(folder.path(), &["v"]).await;
    policy(&node, "big", r#"{"reserved_bytes":68719476736}"#).await;
    node.node.attach_volume_policy(&name("v"), to("big")).await.expect("attached");
    settle(&node, 0).await;
    let judged = node.node.show_volume_policy(&name("v")).await.expect("it has one");
    assert_eq!(judged.state, ComplianceState::Violated);
    assert!(judged.failure.as_ref().is_some_and(|failure| failure.contains("64 GiB")), "{judged:?}");
    let kinds = |events: quarry_api_types::Events| {
        events.events.into_iter().map(|event| event.kind).collect::<Vec<_>>()
    };
    let told = kinds(node.node.list_events(Default::default()).await.expect("events"));
    settle(&node, 0).await;
    assert_eq!(kinds(node.node.list_events(Default::default()).await.expect("events")), told, "told once");
    let change = ChangePolicy { version: None, settings: said(r#"{"reserved_bytes":1048576}"#) };
    node.node.change_policy(&name("big"), change).await.expect("changed");
    settle(&node, 0).await;
    let judged = node.node.show_volume_policy(&name("v")).await.expect("it has one");
    assert_eq!((judged.state, judged.failure), (ComplianceState::Compliant, None));
    use quarry_api_types::EventKind::{PolicyKept, PolicyViolated};
    assert_eq!(
        kinds(node.node.list_events(Default::default()).await.expect("events")),
        [PolicyViolated, PolicyKept]
    );
    node.stop().await;
}
