//! Volumes of one core, used from another one, over real engines.

use std::time::Duration;

use futures::future::join_all;
use quarry_api_types::{CreateExport, CreateSnapshot, DeleteExport, ExportSelector, Protocol, ResizeVolume};
use quarry_node_api::Node as _;
use quarry_target::Volumes as _;
use quarry_types::SnapshotSetId;
use tempfile::TempDir;

use super::*;
use crate::core_state::{self, CoreState};
use crate::test_node::{TestNode, VOLUME_BYTES, name};

const BLOCK: usize = 4096;

/// A node, an exported volume of it, the core that owns it, and another core.
struct Stage {
    node: TestNode,
    volume: VolumeId,
    owner: usize,
    other: usize,
    _directory: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let node = TestNode::with_volumes(directory.path(), &["a", "b"]).await;
        let shown = node.node.show_volume(&name("a")).await.expect("it is there");
        let stage = Self {
            volume: shown.id,
            owner: shown.core.into(),
            other: 1 - usize::from(shown.core),
            node,
            _directory: directory,
        };
        stage.export("a").await;
        stage
    }

    async fn export(&self, path: &str) {
        let request = CreateExport::new(path.parse().expect("a path"), Protocol::Iscsi);
        self.node.node.create_export(request).await.expect("an export");
    }

    /// Runs `task` on the core that does not own the volume, with the volume as a session there has it.
    async fn afar<T, F, Fut>(&self, task: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(Rc<dyn Volume>, BufferPool) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        let id = self.volume;
        let called = self.node.cores.call(self.other, move |state| async move {
            assert!(state.own_volume(id).is_none(), "it is another core's");
            let volume = state.volume(id).expect("it is exported");
            task(volume, state.env.buffers.clone()).await
        });
        called.await.expect("the core runs")
    }

    /// What the owner reads.
    async fn on_owner(&self, offset: u64, length: u32) -> Vec<u8> {
        let id = self.volume;
        let called = self.node.cores.call(self.owner, move |state| async move {
            let volume = state.own_volume(id).expect("it is here");
            gather(&volume.read(offset, length).await.expect("a read"))
        });
        called.await.expect("the core runs")
    }

    async fn call<T, F>(&self, core: usize, task: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(Rc<CoreState>) -> T + Send + 'static,
    {
        self.node.cores.call(core, move |state| async move { task(state) }).await.expect("the core runs")
    }

    /// The owner holds writes to the volume back.
    async fn hold(&self, set: SnapshotSetId) {
        let id = self.volume;
        let held = self.call(self.owner, move |state| {
            let engines = state.engines();
            let found = engines.iter().find(|(_, engine)| engine.volume(id).is_ok()).expect("it is here");
            state.hold(set, &[(found.0, found.1.log_id(), id)]).is_ok()
        });
        assert!(held.await, "it can be held");
    }

    async fn budget_left_bytes(&self) -> usize {
        let owner = self.owner;
        self.call(self.other, move |state| state.others().expect("it serves").budget_left_bytes(owner)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_operation_does_on_the_owner_what_it_says() {
    let stage = Stage::new().await;
    stage
        .afar(|volume, buffers| async move {
            let written = volume.write(0, buffers.copy_of(&[7; 3 * BLOCK]), WriteFlags::default()).await;
            written.expect("a write");
            volume.flush().await.expect("a flush");
        })
        .await;
    assert_eq!(stage.on_owner(0, 3 * BLOCK as u32).await, [7; 3 * BLOCK]);
    let read = stage
        .afar(|volume, buffers| async move {
            let flags = WriteFlags { fua: true };
            let compare = |expected: u8, data: u8| {
                let (expected, data) = (buffers.copy_of(&[expected; 512]), buffers.copy_of(&[data; 512]));
                volume.compare_and_write(BLOCK as u64, expected, data, flags)
            };
            assert_eq!(compare(7, 8).await.expect("it was 7"), Comparison::Written);
            assert_eq!(compare(7, 9).await.expect("it is 8"), Comparison::Differs { at: 0 });
            let whole = volume.write_atomic(4 * BLOCK as u64, buffers.copy_of(&[6; BLOCK]), flags).await;
            whole.expect("an atomic write");
            let sixes = volume.read(4 * BLOCK as u64, BLOCK as u32).await.expect("a read");
            assert_eq!(gather(&sixes), [6; BLOCK]);
            volume.write_zeroes(0, 512, ZeroMode::KeepAllocated, flags).await.expect("zeroes");
            volume.discard(2 * BLOCK as u64, BLOCK as u64, flags).await.expect("a discard");
            let extents = volume.extents(0, 4 * BLOCK as u64, 8).await.expect("extents");
            let kinds: Vec<_> = extents.iter().map(|extent| (extent.range.clone(), extent.kind)).collect();
            let (data, hole) = (quarry_volume::ExtentKind::Data, quarry_volume::ExtentKind::Hole);
            assert_eq!(kinds, [(0..2 * BLOCK as u64, data), (2 * BLOCK as u64..4 * BLOCK as u64, hole)]);
            gather(&volume.read(0, 3 * BLOCK as u32).await.expect("a read"))
        })
        .await;
    let mut expected = vec![7; 2 * BLOCK];
    expected[..512].fill(0);
    expected[BLOCK..BLOCK + 512].fill(8);
    expected.resize(3 * BLOCK, 0);
    assert_eq!(read, expected);
    assert_eq!(stage.on_owner(0, 3 * BLOCK as u32).await, expected);
    assert_eq!(stage.budget_left_bytes().await, BUDGET_BYTES as usize, "nothing is on its way any more");
    stage.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn facts_follow_the_volume() {
    let stage = Stage::new().await;
    let (id, other) = (stage.volume, stage.other);
    let keep = move |state: Rc<CoreState>| {
        // As a session keeps it, from before the change to after it.
        let volume = state.volume(id).expect("it is exported");
        KEPT.with_borrow_mut(|kept| *kept = Some(volume.clone()));
        volume.info().size_bytes
    };
    assert_eq!(stage.call(other, keep).await, VOLUME_BYTES);
    let grow = ResizeVolume { size_bytes: 2 * VOLUME_BYTES };
    stage.node.node.resize_volume(&name("a"), grow).await.expect("more");
    let size = |_| KEPT.with_borrow(|kept| kept.as_ref().map(|volume| volume.info().size_bytes));
    assert_eq!(stage.call(other, size).await, Some(2 * VOLUME_BYTES));
    let selector = ExportSelector::Volume(name("a"));
    stage.node.node.delete_export(&selector, DeleteExport::default()).await.expect("nobody is logged in");
    assert_eq!(stage.call(other, size).await, Some(2 * VOLUME_BYTES), "what was known last");
    assert!(stage.call(other, move |state| state.volume(id).is_none()).await, "nobody new gets at it");
    stage.call(other, |_| KEPT.take().is_some()).await;
    stage.node.stop().await;
}

thread_local! {
    static KEPT: RefCell<Option<Rc<dyn Volume>>> = const { RefCell::new(None) };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn errors_arrive_as_they_left() {
    let mut stage = Stage::new().await;
    let (kind, operation, text) = stage
        .afar(|volume, _| async move {
            let error = volume.read(VOLUME_BYTES, 512).await.expect_err("outside");
            (error.kind, error.operation, error.to_string())
        })
        .await;
    assert_eq!((kind, operation), (ErrorKind::Invalid, "read"));
    assert!(text.contains("outside volume a of 67108864 bytes"), "{text}");
    let request = CreateSnapshot { name: name("s"), locked_until: None };
    let snapshot = stage.node.node.create_snapshot(&name("a"), request).await.expect("a snapshot");
    stage.export("a@s").await;
    let volume = std::mem::replace(&mut stage.volume, VolumeId(snapshot.id.0));
    let kind = stage
        .afar(|volume, buffers| async move {
            let flags = WriteFlags::default();
            volume.write(0, buffers.copy_of(&[1; 512]), flags).await.map_err(|error| error.kind)
        })
        .await;
    assert_eq!(kind, Err(ErrorKind::ReadOnly));
    stage.volume = volume;
    // The owner ends: what its core had is gone.
    stage.call(stage.owner, |_| core_state::clear()).await;
    let kind = stage.afar(|volume, _| async move { volume.flush().await.map_err(|error| error.kind) }).await;
    assert_eq!(kind, Err(ErrorKind::Unavailable));
    assert_eq!(stage.budget_left_bytes().await, BUDGET_BYTES as usize);
    stage.node.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_on_its_way_is_bounded() {
    const WRITE_BYTES: usize = 4 << 20;
    const WRITES: usize = 40;
    let stage = Stage::new().await;
    let (id, set) = (stage.volume, SnapshotSetId(uuid::Uuid::new_v4()));
    stage.hold(set).await;
    let write = move |state: Rc<CoreState>, index: usize| {
        let volume = state.volume(id).expect("it is exported");
        let data = state.env.buffers.copy_of(&vec![index as u8; WRITE_BYTES]);
        async move {
            let offset = (index * WRITE_BYTES) as u64 % VOLUME_BYTES;
            volume.write(offset, data, WriteFlags::default()).await
        }
    };
    let (cores, other) = (stage.node.cores.clone(), stage.other);
    let writing = tokio::spawn(async move {
        let all = cores.call(other, move |state| async move {
            let writes = (0..WRITES).map(|index| write(state.clone(), index));
            let done = join_all(writes).await;
            done.into_iter().filter(Result::is_ok).count()
        });
        all.await.expect("the core runs")
    });
    let until_full = async {
        while stage.budget_left_bytes().await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(4), until_full).await.expect("it fills up");
    // One more, which is given up at once: it waits for its turn and has sent nothing.
    let given_up = stage.call(stage.other, move |state| drop(write(state, 0)));
    given_up.await;
    assert!(!writing.is_finished(), "they wait for the owner");
    assert!(stage.call(stage.owner, move |state| state.release(set)).await, "it was held until now");
    assert_eq!(writing.await.expect("no panic"), WRITES);
    assert_eq!(stage.budget_left_bytes().await, BUDGET_BYTES as usize);
    stage.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_write_that_is_given_up_never_takes_effect_after_a_later_one() {
    let stage = Stage::new().await;
    let set = SnapshotSetId(uuid::Uuid::new_v4());
    stage.hold(set).await;
    let given_up = stage.afar(|volume, buffers| async move {
        let mut writing = volume.write(0, buffers.copy_of(&[5; BLOCK]), WriteFlags::default());
        // Far enough to be sent; the owner holds it back.
        assert!(futures::poll!(&mut writing).is_pending());
        drop(writing);
    });
    given_up.await;
    let until_dropped = async {
        while stage.budget_left_bytes().await < BUDGET_BYTES as usize {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(4), until_dropped).await.expect("the owner has dropped it");
    assert!(stage.call(stage.owner, move |state| state.release(set)).await, "it was held until now");
    assert_eq!(stage.on_owner(0, BLOCK as u32).await, [0; BLOCK], "it never happened");
    // Neither does one that was under way when a later one was asked for.
    stage
        .afar(|volume, buffers| async move {
            for round in 0..200u8 {
                let (flags, view) = (WriteFlags::default(), |byte| buffers.copy_of(&[byte; BLOCK]));
                let mut writing = volume.write(0, view(255), flags);
                // The owner may be anywhere with it, also at its end.
                let _ = futures::poll!(&mut writing);
                drop(writing);
                volume.write(0, view(round), flags).await.expect("a write");
                let read = gather(&volume.read(0, BLOCK as u32).await.expect("a read"));
                assert_eq!(read, [round; BLOCK]);
            }
        })
        .await;
    stage.node.stop().await;
}
