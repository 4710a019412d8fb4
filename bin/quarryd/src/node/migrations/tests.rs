//! Volumes in image mode, and volumes that move between cores of a real node, with a host that goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quarry_api_types::{
    AdoptVolume, ChangePool, ChangeVolume, CreatePool, CreateSnapshot, CreateVolume, Durability, ImageState,
    Job, JobState, MigrateVolume, PoolState, SpaceLevels, Tier,
};
use quarry_node_api::{ErrorKind, JobNode as _, Node as _, NodeError};
use quarry_volume::WriteFlags;
use tempfile::TempDir;

use super::*;
use crate::test_node::{TestNode, VOLUME_BYTES, name, settings};

const DEVICE_BYTES: u64 = 48 << 20;
/// So few chunks that there is one log, on the first core.
const POOL_BYTES: u64 = 160 << 20;
const ARRIVAL_MAX: Duration = Duration::from_secs(120);

#[expect(clippy::disallowed_types, reason = "a test makes the files that are devices")]
fn make(directory: &Path, device: &str, bytes: u64) -> String {
    let path = directory.join(device);
    std::fs::File::create(&path).expect("a file").set_len(bytes).expect("a sparse file of its size");
    path.display().to_string()
}

/// Another name of a file.
fn hard_link(device: &str) -> String {
    let other = format!("{device}.other");
    std::fs::hard_link(device, &other).expect("a link");
    other
}

fn adopt(volume: &str, device: &str) -> AdoptVolume {
    AdoptVolume {
        name: name(volume),
        device: device.to_owned(),
        read_only: false,
        durability: Durability::Flush,
    }
}

fn pool(pool: &str, device: &str) -> CreatePool {
    let SpaceLevels { warning_percent, critical_percent } = SpaceLevels::default();
    CreatePool {
        name: name(pool),
        devices: vec![device.to_owned()],
        copies: Some(1),
        protection: None,
        force: true,
        warning_percent,
        critical_percent,
        overcommit_limit_percent: 0,
    }
}

fn to_pool(pool: &str) -> MigrateVolume {
    MigrateVolume { to_pool: Some(name(pool)), ..MigrateVolume::default() }
}

fn refused<T: std::fmt::Debug>(result: std::result::Result<T, NodeError>, kind: ErrorKind, part: &str) {
    let error = result.expect_err("it is refused");
    let text = format!("{error} {}", error.next_step);
    assert!(error.kind == kind && text.contains(part), "{:?}: {text}", error.kind);
}

/// A session of a host on the volume's core: writes a number, reads it, and so on, until it is told to end.
struct Session {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    ended: tokio::task::JoinHandle<()>,
}

impl Session {
    fn begin(node: &TestNode, id: VolumeId, core: usize) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count, cores) = (stop.clone(), written.clone(), node.cores.clone());
        let ended = tokio::spawn(async move {
            let session = cores.call(core, move |state| async move {
                let volume = state.own_volume(id).expect("the volume is on this core");
                for number in 1u64.. {
                    if until.load(Ordering::Relaxed) {
                        break;
                    }
                    let offset = number % 8 * (DEVICE_BYTES / 8);
                    let data = state.env.buffers.copy_of(&number.to_le_bytes().repeat(64));
                    volume.write(offset, data.clone(), WriteFlags::default()).await.expect("a write");
                    let found = volume.read(offset, 512).await.expect("a read");
                    assert_eq!(found[0][..], data[..], "at {offset}");
                    count.store(number, Ordering::Relaxed);
                    state.env.clock.sleep(Duration::from_millis(1)).await;
                }
            });
            session.await.expect("the core goes on");
        });
        Self { stop, written, ended }
    }

    /// The last number that was written.
    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.ended.await.expect("the session had no error");
        self.written.load(Ordering::Relaxed)
    }
}

/// What an asker gets on a core, in the place of the number that was written last.
async fn last_number(node: &TestNode, id: VolumeId, core: usize, number: u64) -> Option<u64> {
    let reading = node.cores.call(core, move |state| async move {
        let volume = state.own_volume(id)?;
        let found = volume.read(number % 8 * (DEVICE_BYTES / 8), 512).await.expect("a read");
        Some(u64::from_le_bytes(found[0][..8].try_into().expect("eight bytes")))
    });
    reading.await.expect("the core answers")
}

async fn arrive(node: &DataNode, volume: &str) -> Volume {
    let end = tokio::time::Instant::now() + ARRIVAL_MAX;
    loop {
        let shown = node.show_volume(&name(volume)).await.expect("it is there");
        let Some(migration) = &shown.migration else { return shown };
        assert_ne!(migration.state, MigrationState::Stopped, "{:?}", migration.reason);
        assert!(tokio::time::Instant::now() < end, "{migration:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn migration_jobs(node: &TestNode) -> Vec<Job> {
    let mut jobs = node.node.list_jobs().await.expect("listed");
    jobs.retain(|job| job.kind == JobKind::Migration);
    jobs
}

/// Runs `test` while the node looks after what moves.
async fn tended(node: &TestNode, test: impl Future<Output = ()>) {
    tokio::select! {
        () = node.node.tend_migrations() => unreachable!("it looks after them as long as the node runs"),
        () = test => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_in_use_is_not_taken_twice_and_what_needs_a_pool_is_refused() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::with_volumes(directory.path(), &["v"]).await;
    let device = make(directory.path(), "lun", DEVICE_BYTES);
    let adopted = node.node.adopt_volume(adopt("a", &device)).await.expect("it is adopted");
    assert_eq!((adopted.size_bytes, adopted.pool), (DEVICE_BYTES, None));
    refused(node.node.adopt_volume(adopt("b", &device)).await, ErrorKind::Conflict, "in use by this node");
    let pool_device = directory.path().join("device").display().to_string();
    refused(
        node.node.adopt_volume(adopt("b", &pool_device)).await,
        ErrorKind::Conflict,
        "in use by this node",
    );
    let other_name = hard_link(&device);
    refused(
        node.node.adopt_volume(adopt("b", &other_name)).await,
        ErrorKind::Conflict,
        "in use by this node",
    );
    refused(node.node.create_pool(pool("q", &other_name)).await, ErrorKind::Conflict, "in use by this node");
    refused(node.node.adopt_volume(adopt("v", "/nowhere")).await, ErrorKind::Conflict, "exists already");
    refused(node.node.adopt_volume(adopt("b", "/nowhere")).await, ErrorKind::NotFound, "/nowhere");
    refused(node.node.create_pool(pool("q", &device)).await, ErrorKind::Conflict, "in use by this node");
    refused(node.node.delete_volume(&name("a"), false).await, ErrorKind::Unsupported, "--to-pool");
    let onto = MigrateVolume { to_device: Some(device.clone()), force: true, ..MigrateVolume::default() };
    refused(node.node.migrate_volume(&name("v"), onto).await, ErrorKind::Conflict, "in use by this node");
    refused(node.node.release_volume(&name("v")).await, ErrorKind::Unsupported, "lies in a pool");
    refused(node.node.cancel_migration(&name("v")).await, ErrorKind::Conflict, "not being migrated");
    refused(node.node.migrate_volume(&name("v"), to_pool("p")).await, ErrorKind::Conflict, "already");
    node.node.release_volume(&name("a")).await.expect("it is let go of");
    node.node.adopt_volume(adopt("b", &device)).await.expect("the device is free again");
    node.stop().await;
    // It is served again after a start, without a word.
    let node = TestNode::start(settings(directory.path())).await;
    node.node.open_images().await;
    let image = node.node.show_volume(&name("b")).await.expect("it is there").image.expect("in image mode");
    assert_eq!((image.state, image.device), (ImageState::Online, device));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_when_its_volume_moves_to_another_core_and_back() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::start(settings(directory.path())).await;
    let pool_device = make(directory.path(), "device", POOL_BYTES);
    node.node.create_pool(pool("p", &pool_device)).await.expect("a pool");
    let devices =
        [("first", 0), ("second", 1)].map(|(device, _)| make(directory.path(), device, DEVICE_BYTES));
    for (volume, device) in ["x", "v"].iter().zip(&devices) {
        node.node.adopt_volume(adopt(volume, device)).await.expect("it is adopted");
    }
    let shown = node.node.show_volume(&name("v")).await.expect("it is there");
    let (id, home) = (shown.id, usize::from(shown.core));
    assert_eq!(home, 1, "the pool's only log is on the other core");
    let session = Session::begin(&node, id, home);
    tended(&node, async {
        node.node.migrate_volume(&name("v"), to_pool("p")).await.expect("it moves");
        // What lies in the pool by now is nobody's volume yet.
        assert_eq!(last_number(&node, id, 0, 1).await, None, "the copy is served before it counts");
        refused(node.node.delete_volume(&name("v"), true).await, ErrorKind::Unsupported, "image mode");
        let moved = arrive(&node.node, "v").await;
        assert_eq!((moved.pool, moved.core), (Some(name("p")), 0));
        let jobs = migration_jobs(&node).await;
        assert_eq!((jobs.len(), jobs[0].state, jobs[0].object.as_str()), (1, JobState::Done, "v"));
        assert_eq!(jobs[0].message.as_deref(), Some("it has moved to pool 'p'"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let back =
            MigrateVolume { to_device: Some(devices[1].clone()), force: true, ..MigrateVolume::default() };
        node.node.migrate_volume(&name("v"), back).await.expect("it moves back");
        refused(node.node.delete_volume(&name("v"), true).await, ErrorKind::Conflict, "being migrated");
        let moved = arrive(&node.node, "v").await;
        assert_eq!(moved.image.map(|image| image.device), Some(devices[1].clone()));
        tokio::time::sleep(Duration::from_millis(100)).await;
    })
    .await;
    let last = session.end().await;
    for core in 0..2 {
        assert_eq!(last_number(&node, id, core, last).await, Some(last), "on core {core}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_moved_when_the_node_died_goes_on_and_can_be_told_to_stay() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::with_volumes(directory.path(), &["v"]).await;
    let slowly = MigrateVolume {
        to_device: Some(directory.path().join("out").display().to_string()),
        rate_bytes_per_s: Some(1 << 20),
        ..MigrateVolume::default()
    };
    let shown = node.node.show_volume(&name("v")).await.expect("it is there");
    let (id, core) = (shown.id, usize::from(shown.core));
    let session = Session::begin(&node, id, core);
    tended(&node, async {
        node.node.migrate_volume(&name("v"), slowly).await.expect("it moves");
        tokio::time::sleep(Duration::from_millis(600)).await;
    })
    .await;
    let [job] = &migration_jobs(&node).await[..] else { panic!("a migration is a job") };
    assert!(
        !job.is_over() && job.can_be_cancelled && job.done > 0 && job.total == 2 * VOLUME_BYTES,
        "{job:?}"
    );
    assert_eq!(job.message.as_deref(), Some("copying"));
    let last = session.end().await;
    node.abandon().await;
    let node = TestNode::start(settings(directory.path())).await;
    node.node.resume_migrations().await;
    assert_eq!(last_number(&node, id, core, last).await, Some(last), "it is where it was");
    tended(&node, async {
        let moving = node.node.show_volume(&name("v")).await.expect("it is there").migration;
        assert!(moving.is_some_and(|migration| migration.state == MigrationState::Copying));
        let goes_on = node.node.show_job(job.id).await.expect("it is remembered");
        assert_eq!((goes_on.state, goes_on.began), (JobState::Running, job.began));
        let ended = node.node.cancel_job(job.id).await.expect("it stays");
        assert_eq!(
            (ended.state, ended.message.as_deref()),
            (JobState::Cancelled, Some("it stays where it was"))
        );
        assert_eq!(migration_jobs(&node).await, [ended]);
        let stays = node.node.show_volume(&name("v")).await.expect("it is there");
        assert_eq!((stays.pool, stays.migration), (Some(name("p")), None));
        let left = node.node.look_at(&directory.path().join("out")).await.expect("it can be looked at");
        assert!(matches!(left, Probe::Missing), "the file that was made for it is left");
    })
    .await;
    assert_eq!(last_number(&node, id, core, last).await, Some(last), "and nothing is lost");
    node.stop().await;
}

/// What is copied to a file that nobody finds again must not become the only copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_stays_where_it_is_when_the_path_of_its_new_place_leads_elsewhere() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::with_volumes(directory.path(), &["v"]).await;
    let shown = node.node.show_volume(&name("v")).await.expect("it is there");
    let (id, core) = (shown.id, usize::from(shown.core));
    let session = Session::begin(&node, id, core);
    let out = directory.path().join("out").display().to_string();
    let to_out = || MigrateVolume { to_device: Some(out.clone()), ..MigrateVolume::default() };
    tended(&node, async {
        let slowly = MigrateVolume { rate_bytes_per_s: Some(64 << 20), ..to_out() };
        node.node.migrate_volume(&name("v"), slowly).await.expect("it moves");
        // Somebody else's file takes the place of the one that is written to.
        #[expect(clippy::disallowed_methods, reason = "the test replaces the file")]
        std::fs::remove_file(&out).expect("it was made");
        make(directory.path(), "out", VOLUME_BYTES);
        let end = tokio::time::Instant::now() + ARRIVAL_MAX;
        let reason = loop {
            let shown = node.node.show_volume(&name("v")).await.expect("it is there");
            let migration = shown.migration.expect("it must not arrive");
            if migration.state == MigrationState::Stopped {
                break migration.reason.expect("a reason");
            }
            assert!(tokio::time::Instant::now() < end, "{migration:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert!(reason.contains("does not lead any more to the device"), "{reason}");
        refused(node.node.migrate_volume(&name("v"), to_out()).await, ErrorKind::Conflict, "does not lead");
        node.node.cancel_migration(&name("v")).await.expect("it stays");
        let left = node.node.look_at(Path::new(&out)).await.expect("it can be looked at");
        assert!(matches!(left, Probe::Disk(_)), "somebody else's file is not removed");
    })
    .await;
    let last = session.end().await;
    assert_eq!(last_number(&node, id, core, last).await, Some(last), "it is where it was");
    node.stop().await;
}

/// The same after a restart, when the file is not open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the test replaces the file")]
async fn another_file_of_the_same_size_is_neither_written_to_nor_removed() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::with_volumes(directory.path(), &["v"]).await;
    let out = directory.path().join("out");
    let slowly = MigrateVolume {
        to_device: Some(out.display().to_string()),
        rate_bytes_per_s: Some(1 << 20),
        ..MigrateVolume::default()
    };
    tended(&node, async {
        node.node.migrate_volume(&name("v"), slowly).await.expect("it moves");
        tokio::time::sleep(Duration::from_millis(600)).await;
    })
    .await;
    node.abandon().await;
    std::fs::rename(&out, out.with_extension("away")).expect("it was made");
    let foreign = vec![7; VOLUME_BYTES as usize];
    std::fs::write(&out, &foreign).expect("a file");
    let node = TestNode::start(settings(directory.path())).await;
    node.node.resume_migrations().await;
    tended(&node, async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let shown = node.node.show_volume(&name("v")).await.expect("it is there");
        let migration = shown.migration.expect("it waits");
        assert_eq!(migration.state, MigrationState::Waiting, "{migration:?}");
        let reason = migration.reason.expect("a reason");
        assert!(reason.contains("another file"), "{reason}");
        node.node.cancel_migration(&name("v")).await.expect("it stays");
    })
    .await;
    assert!(std::fs::read(&out).expect("it is there") == foreign, "somebody else's file is as it was");
    node.stop().await;
}

mod keeping;
