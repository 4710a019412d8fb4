//! Jobs of a real node, and how many are remembered.

use quarry_api_types::{AddDevice, CreateSnapshot, CreateVolume, Scrub, ScrubState, StartScrub};
use quarry_node_api::Node as _;
use quarry_volume::WriteFlags;
use tempfile::TempDir;

use super::*;
use crate::node::works::tests::pool;
use crate::test_node::{TestNode, VOLUME_BYTES, name, settings};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_ms(1_795_167_000_000 + seconds * 1000)
}

fn scrubbing(began: u64, state: ScrubState) -> Pool {
    let scrub = Scrub {
        state,
        began: at(began),
        ended: None,
        chunks_done: 3,
        chunks: 12,
        read_bytes: 0,
        repaired: 0,
        unrepaired: 0,
        lost: 0,
        lost_blocks: vec![],
    };
    Pool { scrub: Some(scrub), ..pool(vec![]) }
}

#[test]
fn one_scrub_is_one_job_also_when_it_was_over_before_it_was_seen() {
    let mut table = JobTable::default();
    assert_eq!(table.track(&[scrubbing(0, ScrubState::Running)], vec![], at(1)).len(), 1);
    assert!(
        table.track(&[scrubbing(0, ScrubState::Running)], vec![], at(2)).is_empty(),
        "progress is not stored"
    );
    assert_eq!(table.jobs[&1].percent, 25);
    assert_eq!(table.track(&[scrubbing(0, ScrubState::Done)], vec![], at(3)).len(), 1);
    assert!(table.track(&[scrubbing(0, ScrubState::Done)], vec![], at(4)).is_empty());
    table.track(&[scrubbing(9, ScrubState::Stopped)], vec![], at(10));
    let states: Vec<JobState> = table.jobs.values().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Done, JobState::Cancelled]);
}

#[test]
fn the_newest_thousand_are_remembered() {
    let mut table = JobTable::default();
    let mut forgotten = 0;
    for number in 0..(ENDED_MAX as u64 + 20) {
        let (id, changes) = table.begin(JobKind::Apply, "1 things".to_owned(), "steps", at(number));
        forgotten += changes.iter().filter(|change| matches!(change, Change::DeleteJob(_))).count();
        if let Some(job) = table.jobs.get_mut(&id) {
            end(job, JobState::Done, None, at(number));
        }
    }
    assert_eq!((table.jobs.len(), forgotten), (ENDED_MAX + 1, 19));
    assert_eq!(table.next_id(), ENDED_MAX as u64 + 21);
}

async fn wait_for(node: &TestNode, id: u64) -> Job {
    for _ in 0..600 {
        let job = node.node.show_job(id).await.expect("it is there");
        if job.is_over() {
            return job;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("job {id} does not end");
}

#[tokio::test]
async fn what_goes_on_in_a_pool_is_a_job_that_is_remembered() {
    let folder = TempDir::new().expect("a folder");
    let node = TestNode::with_volumes(folder.path(), &["v"]).await;
    node.node
        .create_snapshot(&name("v"), CreateSnapshot { name: name("s"), locked_until: None })
        .await
        .expect("taken");
    node.node.start_scrub(&name("p"), StartScrub::default()).await.expect("begun");
    let jobs = node.node.list_jobs().await.expect("listed");
    let [scrub] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((scrub.kind, scrub.object.as_str()), (JobKind::Scrub, "p"));
    assert_eq!(wait_for(&node, scrub.id).await.state, JobState::Done);
    assert_eq!(node.node.cancel_job(scrub.id).await.expect("it is over").state, JobState::Done);

    // A second device joins, and the first one is drained: nothing can be cancelled twice, and all ends.
    let path = folder.path().join("second");
    #[expect(clippy::disallowed_types, reason = "a test makes the file that is the device")]
    std::fs::File::create(&path).expect("a file").set_len(512 << 20).expect("a sparse file");
    let request = AddDevice { path: path.display().to_string(), force: false };
    let pool = node.node.add_device(&name("p"), request).await.expect("it joins");
    let first =
        pool.devices.iter().find(|device| device.path != path.display().to_string()).expect("the first");
    node.node.drain_device(&name("p"), first.id).await.expect("begun");
    let jobs = node.node.list_jobs().await.expect("listed");
    if let Some(drain) = jobs.iter().find(|job| job.kind == JobKind::Drain && !job.is_over()) {
        let ended = node.node.cancel_job(drain.id).await.expect("cancelled");
        assert!(ended.is_over(), "{ended:?}");
    }
    node.abandon().await;

    let node = TestNode::start(settings(folder.path())).await;
    let jobs = node.node.list_jobs().await.expect("listed");
    let is_done = |job: &Job| job.kind == JobKind::Scrub && job.state == JobState::Done;
    assert!(jobs.iter().any(is_done), "{jobs:?}");
    let missing = node.node.show_job(4711).await.expect_err("there is none");
    assert_eq!(missing.kind, ErrorKind::NotFound);
    let request = CreateVolume::new(name("w"), name("p"), VOLUME_BYTES);
    node.node.create_volume(request).await.expect("the node serves");
    node.stop().await;
}

#[tokio::test]
async fn a_scrub_that_the_end_of_the_node_cuts_off_goes_on_where_it_was() {
    let folder = TempDir::new().expect("a folder");
    let node = TestNode::with_volumes(folder.path(), &["v"]).await;
    let volume = node.node.show_volume(&name("v")).await.expect("it is there");
    let (id, core) = (volume.id, usize::from(volume.core));
    // More than a chunk; closed and opened again, so that its segments are sealed.
    let writing = node.cores.call(core, move |state| async move {
        let volume = state.own_volume(id).expect("the volume is on this core");
        for piece in 0..48u64 {
            let data = state.env.buffers.copy_of(&[piece as u8 + 1; 1 << 20]);
            volume.write(piece << 20, data, WriteFlags::default()).await.expect("a write");
        }
    });
    writing.await.expect("the core goes on");
    node.stop().await;
    let node = TestNode::start(settings(folder.path())).await;
    let pool = node.node.show_pool(&name("p")).await.expect("it is there").id;
    let slowly = StartScrub { rate_bytes_per_s: Some(64 << 20) };
    let begun = node.node.start_scrub(&name("p"), slowly).await.expect("begun").scrub.expect("it is shown");
    let chunks_done = loop {
        let scrub = node.node.show_pool(&name("p")).await.expect("shown").scrub.expect("it goes on");
        assert!(scrub.state == ScrubState::Running, "over before it was cut off: {scrub:?}");
        if scrub.chunks_done > 0 {
            break scrub.chunks_done;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    node.node.look_at_scrub(pool).await.expect("written down");
    let [job] = &node.node.list_jobs().await.expect("listed")[..] else { panic!("a scrub is a job") };
    assert!(!job.is_over(), "{job:?}");
    node.abandon().await;

    let node = TestNode::start(settings(folder.path())).await;
    let shown = node.node.show_pool(&name("p")).await.expect("shown").scrub.expect("it is to go on");
    assert_eq!((shown.state, shown.began), (ScrubState::Running, begun.began));
    assert!(shown.chunks_done >= chunks_done, "{shown:?}");
    node.node.look_at_scrub(pool).await.expect("it goes on");
    let scrub = node.node.show_pool(&name("p")).await.expect("shown").scrub.expect("it goes on");
    assert!(scrub.chunks_done >= chunks_done && scrub.chunks >= shown.chunks, "{scrub:?}");
    let ended = wait_for(&node, job.id).await;
    assert_eq!((ended.state, ended.began), (JobState::Done, job.began));
    // That it has ended is written down; nothing is to go on any more.
    node.node.look_at_scrub(pool).await.expect("written down");
    node.abandon().await;
    let node = TestNode::start(settings(folder.path())).await;
    node.node.look_at_scrub(pool).await.expect("there is nothing to do");
    assert_eq!(node.node.show_pool(&name("p")).await.expect("shown").scrub, None);

    // One that somebody has stopped does not go on either.
    let slowly = StartScrub { rate_bytes_per_s: Some(1 << 20) };
    node.node.start_scrub(&name("p"), slowly).await.expect("begun");
    node.node.stop_scrub(&name("p")).await.expect("stopped");
    node.abandon().await;
    let node = TestNode::start(settings(folder.path())).await;
    assert_eq!(node.node.show_pool(&name("p")).await.expect("shown").scrub, None);
    node.stop().await;
}
