//! Documents on a real node that is killed at each step and started again.

use std::path::Path;
use std::sync::{Arc, Mutex};

use quarry_api::Guard;
use quarry_api_types::{AuditKind, AuditQuery, ComplianceState, Protocol, ResizeVolume, StatePlan};
use quarry_audit::{AuditLog, Opening};
use quarry_auth::AccessStore;
use quarry_node_api::JobNode as _;
use tempfile::TempDir;

use super::*;
use crate::test_node::{TestNode, name, settings};

/// The node, which is killed after so many steps: before the next one is begun, or when it is done and nobody has been told.
struct KilledAfter<'a> {
    node: &'a DataNode,
    steps: Mutex<usize>,
    is_done_first: bool,
}

#[async_trait]
impl StateWorld for KilledAfter<'_> {
    async fn present(&self) -> std::result::Result<Present, StepError> {
        self.node.present().await
    }

    async fn perform(&self, step: &StateStep) -> std::result::Result<(), StepError> {
        let is_last = {
            let mut steps = self.steps.lock().expect("nobody panics");
            let is_last = *steps == 0;
            *steps = steps.saturating_sub(1);
            is_last
        };
        if is_last && !self.is_done_first {
            return std::future::pending().await;
        }
        let done = StateWorld::perform(self.node, step).await;
        if is_last { std::future::pending().await } else { done }
    }

    async fn go_on(&self, done: usize, total: usize, next: &StateStep) -> bool {
        self.node.go_on(done, total, next).await
    }
}

#[expect(clippy::disallowed_types, reason = "a test makes the files that are devices")]
fn devices(folder: &Path) {
    for device in ["a", "b", "c"] {
        std::fs::File::create(folder.join(device))
            .expect("a file")
            .set_len(192 << 20)
            .expect("a sparse file");
    }
}

/// Three pools, five policies, twenty volumes, groups, hosts and exports.
fn site(folder: &Path) -> State {
    let mut state = State::default();
    let stated = |json: String| serde_json::from_str::<State>(&json).expect("a part of a document");
    for pool in ["a", "b", "c"] {
        let path = folder.join(pool);
        let part = stated(format!(
            r#"{{"pools":[{{"name":"{pool}","devices":["{}"],"warning_percent":70}}]}}"#,
            path.display()
        ));
        state.pools.extend(part.pools);
    }
    for (number, settings) in [
        r#"{"compression":"lz4"}"#,
        r#"{"durability":"always","snapshots":{"rules":[{"every":"15m","keep":96},{"every":"1h","keep":24}]}}"#,
        r#"{"history_s":60,"qos":{"iops_max":500}}"#,
        r#"{"quota_bytes":1048576}"#,
        r#"{"snapshots":{"time_zone":"Europe/Berlin","rules":[{"every":"1d","keep":7,"at":"02:30"}]}}"#,
    ]
    .into_iter()
    .enumerate()
    {
        state.policies.extend(stated(format!(r#"{{"policies":[{{"name":"policy-{number}","settings":{settings}}}]}}"#)).policies);
    }
    for number in 0..20 {
        let (pool, policy) = (["a", "b", "c"][number % 3], number % 5);
        let more = match number {
            3 => r#","overrides":{"compression":"zstd","tier":"ssd"}"#,
            4 => r#","compression":"lz4""#,
            _ => "",
        };
        let json = format!(
            r#"{{"volumes":[{{"name":"vm-{number:02}","pool":"{pool}","size_bytes":4194304,"policy":"policy-{policy}"{more}}}]}}"#
        );
        state.volumes.extend(stated(json).volumes);
    }
    let rest = stated(
        r#"{"groups":[{"name":"shop","volumes":["vm-01","vm-02"],"policy":"policy-4"}],
        "hosts":[{"name":"web","initiators":["iqn.1993-08.org.debian:01:web"]},{"name":"db","networks":["10.1.0.0/16"]}],
        "host_groups":[{"name":"farm","hosts":["web","db"]}],
        "exports":[{"volume":"vm-00","protocol":"nbd"},{"volume":"vm-01","protocol":"iscsi","host":"web","number":3},
        {"volume":"vm-02","protocol":"nvme-tcp","host_group":"farm","read_only":true}]}"#
            .to_owned(),
    );
    State {
        groups: rest.groups,
        hosts: rest.hosts,
        host_groups: rest.host_groups,
        exports: rest.exports,
        ..state
    }
}

async fn ids(node: &TestNode) -> Vec<String> {
    let volumes = node.node.list_volumes().await.expect("listed");
    let policies = node.node.describe_policies();
    let exports = node.node.list_exports().await.expect("listed");
    let volumes = volumes.into_iter().map(|volume| volume.id.to_string());
    let policies = policies.into_iter().map(|policy| policy.id.to_string());
    volumes.chain(policies).chain(exports.into_iter().map(|export| export.id.to_string())).collect()
}

async fn is_so(node: &TestNode, state: &State) {
    assert_eq!(node.node.plan_state(state.clone()).await.expect("planned"), StatePlan::default());
    let jobs = node.node.list_jobs().await.expect("listed");
    assert!(jobs.iter().all(|job| job.state == JobState::Done), "{jobs:?}");
}

#[tokio::test]
async fn a_document_brings_an_empty_node_to_it_and_twice_changes_nothing() {
    let folder = TempDir::new().expect("a folder");
    devices(folder.path());
    let state = site(folder.path());
    let node = TestNode::start(settings(folder.path())).await;
    let plan = node.node.plan_state(state.clone()).await.expect("planned");
    assert_eq!((plan.changes.len(), plan.problems.len()), (state.count(), 0), "{:?}", plan.problems);
    assert!(node.node.list_volumes().await.expect("listed").is_empty(), "planning changes nothing");
    let job = node.node.apply_state(state.clone()).await.expect("begun");
    node.node.apply_next(&node.node).await;
    let job = node.node.show_job(job.id).await.expect("there");
    assert_eq!((job.state, job.percent), (JobState::Done, 100), "{:?}", job.message);
    is_so(&node, &state).await;
    let before = ids(&node).await;
    assert_eq!(before.len(), 20 + 5 + 3);

    let again = node.node.apply_state(state.clone()).await.expect("begun");
    assert_eq!(again.total, 0);
    node.node.apply_next(&node.node).await;
    assert_eq!(ids(&node).await, before);

    // What is exported states all of it, and is a document itself.
    let exported = node.node.show_state().await.expect("exported");
    assert_eq!(exported.count(), state.count());
    is_so(&node, &exported).await;
    node.node.reconciler.settle(&node.node).await;
    is_so(&node, &state).await;
    is_so(&node, &node.node.show_state().await.expect("exported")).await;
    let judged = node.node.show_volume_policy(&name("vm-03")).await.expect("it has one");
    assert_eq!(
        (judged.state, judged.overrides.describe(quarry_api_types::PolicySetting::Tier).as_deref()),
        (ComplianceState::Violated, Some("ssd"))
    );
    node.stop().await;
}

/// Each step is in the audit log before it is done, under the job's number.
#[tokio::test]
async fn the_audit_log_has_each_step_of_a_document() {
    let folder = TempDir::new().expect("a folder");
    devices(folder.path());
    let state = site(folder.path());
    let open = || {
        let opened = AuditLog::open(folder.path(), Opening::default(), now()).expect("opened");
        (opened.log, AccessStore::in_memory().expect("in memory"))
    };
    let (log, store) = open();
    let guard = Arc::new(Guard::new(store, log, false));
    let node = TestNode::start(settings(folder.path())).await.with_audit(guard);
    let job = node.node.apply_state(state.clone()).await.expect("begun");
    node.node.apply_next(&node.node).await;
    node.stop().await;
    let entries = open().0.list(&AuditQuery::default()).expect("listed").entries;
    assert_eq!(entries.len() as u64, job.total);
    assert!(entries.iter().all(|entry| entry.kind == AuditKind::Node));
    let reason = format!("job {} of apply_state: create pool a", job.id);
    let first = &entries[0];
    assert_eq!((&first.operation[..], &first.object[..]), ("create_pool", "a"));
    assert_eq!(first.reason.as_ref(), Some(&reason));
    let made = entries.iter().filter(|entry| entry.operation == "create_volume").count();
    assert_eq!(made, 20);
}

#[tokio::test]
async fn a_node_that_is_killed_at_any_step_of_a_document_goes_on_with_it() {
    let folder = TempDir::new().expect("a folder");
    devices(folder.path());
    let state = site(folder.path());
    let mut node = TestNode::start(settings(folder.path())).await;
    let steps = quarry_planner::plan_state(&state, &Present::default()).steps.len();
    assert!(steps > 30, "{steps}");
    let job = node.node.apply_state(state.clone()).await.expect("begun");
    let mut kills = 0;
    // Each time one step more is done, and the node is killed in the middle of the next one or just after it.
    loop {
        let world = KilledAfter { node: &node.node, steps: Mutex::new(1), is_done_first: kills % 2 == 0 };
        let time = std::time::Duration::from_millis(200);
        let is_over = tokio::time::timeout(time, node.node.apply_next(&world)).await.is_ok();
        if is_over {
            break;
        }
        kills += 1;
        assert!(kills <= 2 * steps, "it does not get on");
        node.abandon().await;
        node = TestNode::start(settings(folder.path())).await;
        assert!(!node.node.show_job(job.id).await.expect("remembered").is_over());
    }
    assert!(kills >= steps / 2, "{kills} kills at {steps} steps");
    is_so(&node, &state).await;
    assert_eq!(ids(&node).await.len(), 20 + 5 + 3, "nothing was made twice");
    assert!(node.node.jobs.table().applying.is_none());
    node.stop().await;
}

#[tokio::test]
async fn a_document_that_is_out_of_date_or_cannot_be_is_refused_whole() {
    let folder = TempDir::new().expect("a folder");
    devices(folder.path());
    let node = TestNode::with_volumes(folder.path(), &["v", "w"]).await;
    let exported = node.node.show_state().await.expect("exported");
    let mut wanted = exported.clone();
    wanted.volumes[0].size_bytes *= 2;
    // Somebody else is faster.
    let larger = ResizeVolume { size_bytes: exported.volumes[0].size_bytes * 4 };
    node.node.resize_volume(&name("v"), larger).await.expect("resized");
    let refused = node.node.apply_state(wanted.clone()).await.expect_err("out of date");
    assert_eq!(refused.kind, ErrorKind::Conflict);
    let cause = refused.cause.expect("it says what");
    assert!(cause.contains("volume 'v': it has changed since the document was made"), "{cause}");

    // The same without a version is a volume that would become smaller, whose other half is not begun either.
    let mut wanted = wanted.without_versions();
    wanted.volumes[1].size_bytes *= 2;
    let refused = node.node.apply_state(wanted.clone()).await.expect_err("smaller");
    assert_eq!(refused.kind, ErrorKind::Contradictory);
    assert!(refused.cause.expect("why").contains("volume 'v', size_bytes: it has 256 MiB"));
    assert_eq!(
        node.node.show_volume(&name("w")).await.expect("there").size_bytes,
        crate::test_node::VOLUME_BYTES
    );

    wanted.volumes.remove(0);
    let job = node.node.apply_state(wanted.clone()).await.expect("begun");
    let other = node.node.apply_state(wanted.clone()).await.expect_err("one at a time");
    assert_eq!(other.kind, ErrorKind::InUse);
    assert_eq!(
        node.node.cancel_job(job.id).await.expect("cancelled").state,
        JobState::Running,
        "until the next step"
    );
    node.node.apply_next(&node.node).await;
    assert_eq!(node.node.show_job(job.id).await.expect("there").state, JobState::Cancelled);
    node.node.apply_state(wanted.clone()).await.expect("begun");
    node.node.apply_next(&node.node).await;
    assert_eq!(
        node.node.show_volume(&name("w")).await.expect("there").size_bytes,
        2 * crate::test_node::VOLUME_BYTES
    );

    // What fails in the middle is told: what was looked at before may be gone then.
    let gone = "w@gone".parse().expect("a path");
    let snapshot = serde_json::from_str(r#"{"name":"gone"}"#).expect("a request");
    node.node.create_snapshot(&name("w"), snapshot).await.expect("made");
    let mut broken = State::default();
    broken.exports.push(serde_json::from_str(r#"{"volume":"w@gone","protocol":"nbd"}"#).expect("an export"));
    let job = node.node.apply_state(broken).await.expect("begun");
    node.node.delete_snapshot(&gone).await.expect("deleted");
    node.node.apply_next(&node.node).await;
    let job = node.node.show_job(job.id).await.expect("there");
    assert_eq!(job.state, JobState::Failed);
    assert!(
        job.message.as_ref().is_some_and(|message| message.contains("there is no snapshot 'w@gone'")),
        "{job:?}"
    );
    assert!(
        node.node.list_exports().await.expect("listed").iter().all(|export| export.protocol != Protocol::Nbd)
    );
    node.stop().await;
}

#[tokio::test]
async fn a_pool_that_was_cut_off_while_it_was_made_is_made_by_asking_again() {
    let folder = TempDir::new().expect("a folder");
    devices(folder.path());
    let node = TestNode::start(settings(folder.path())).await;
    let request = |devices: &[&str]| {
        let devices: Vec<String> =
            devices.iter().map(|device| folder.path().join(device).display().to_string()).collect();
        let json = serde_json::json!({"name": "p", "devices": devices, "copies": 2});
        serde_json::from_value::<quarry_api_types::CreatePool>(json).expect("a request")
    };
    let made = node.node.create_pool(request(&["a", "b"])).await.expect("made");
    // As if the node had been killed between the labels and the catalog.
    let founding = quarry_catalog::FoundingRecord {
        id: made.id,
        name: name("p"),
        devices: request(&["a", "b"]).devices,
    };
    node.node.commit(vec![Change::DeletePool(made.id), Change::PutFounding(founding)]).await.expect("kept");
    node.abandon().await;
    let node = TestNode::start(settings(folder.path())).await;
    assert!(node.node.list_pools().await.expect("listed").is_empty());
    let refused =
        node.node.create_pool(request(&["b", "c"])).await.expect_err("another pool over its devices");
    assert!(refused.to_string().contains("use --force"), "{refused}");
    let again = node.node.create_pool(request(&["a", "b"])).await;
    let refused = again.expect_err("asking for another one in between has made it a new pool");
    assert_eq!(refused.kind, ErrorKind::Conflict);
    let founding = quarry_catalog::FoundingRecord {
        id: made.id,
        name: name("p"),
        devices: request(&["a", "b"]).devices,
    };
    node.node.commit(vec![Change::PutFounding(founding)]).await.expect("kept");
    let again = node.node.create_pool(request(&["a", "b"])).await.expect("made by asking again");
    assert_eq!((again.id, again.devices.len()), (made.id, 2));
    assert!(node.node.catalog.founding(&name("p")).expect("readable").is_none());
    node.stop().await;
}
