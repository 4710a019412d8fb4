//! Opening a log again: its image, then its tail, then a new incarnation.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use quarry_cache::RecordCache;
use quarry_env::{Env, Signal};
use quarry_format::image::Position;
use quarry_log::{Log, LogStart};
use quarry_map::{NodeCache, Version};
use quarry_pool::{LogState, LogStore, OpenedLog, Pool};
use quarry_types::SegmentId;

use crate::course::Courses;
use crate::engine::{Durable, Statistics, ZERO_BYTES};
use crate::history::{note_missed, note_unchanged};
use crate::node_store::EngineNodeStore;
use crate::rehome::Rehomer;
use crate::scrub::Scrub;
use crate::space::Space;
use crate::tiering::Tierer;
use crate::volumes::Volumes;
use crate::{Engine, EngineError, Limits};

impl Engine {
    /// Opens a log of a pool. On return everything that its last owner acknowledged is there, on all copies, durable.
    pub async fn open(
        env: Env,
        pool: Rc<Pool>,
        state: &LogState,
        limits: Limits,
    ) -> Result<Rc<Self>, EngineError> {
        let OpenedLog { store, reserve } = LogStore::open(pool, state)?;
        let image = &state.image;
        let volumes = Rc::new(Volumes::default());
        for volume in &image.volumes {
            volumes.insert(volume.head.clone(), Version::merged(volume.root), volume.parent);
        }
        for snapshot in &image.snapshots {
            volumes.insert_snapshot(snapshot.head.clone(), Version::merged(snapshot.root), snapshot.parent);
        }
        note_unchanged(&volumes);
        volumes.next_number.set(volumes.next_number.get().max(image.next_volume));
        volumes.next_snapshot.set(image.birth);
        volumes.dissolving.set(image.dissolving);
        volumes.references.load(&image.shared);
        volumes.dead.borrow_mut().extend(&image.owed);
        image.keys.iter().for_each(|key| volumes.keys.wrap(key));
        volumes.keys.set_salts(image.salts.clone());
        let recovered = quarry_log::recover(
            &store.pool,
            store.table_cell(),
            &reserve,
            image.replay_from,
            (image.flushed_through, image.next_segment),
            &*volumes,
        )
        .await?;
        tracing::info!(
            pool = %store.pool.shared.name, log = %store.log, batches = recovered.batches,
            completed = recovered.completed, "log recovered"
        );
        // The durable image names these; the next one will not.
        reserve.into_iter().chain(recovered.discarded).for_each(|chunk| store.retire(chunk));
        let durable = Durable {
            replay_from: image.replay_from,
            volumes: image.volumes.clone(),
            snapshots: image.snapshots.clone(),
            next_volume: image.next_volume,
            next_snapshot: image.birth,
            dissolving: image.dissolving,
            detached: image.detached.clone(),
            keys: image.keys.clone(),
            owed: image.owed.clone(),
        };
        let engine =
            Self::start(env, store, volumes, durable, recovered.position, recovered.next_segment, limits)
                .await?;
        engine.statistics.replayed_batches.set(recovered.batches);
        // What was replayed would be replayed again: it counts as part of the tail.
        engine.log.appended_bytes.set(engine.log.appended_bytes.get() + recovered.bytes);
        engine.wake.raise();
        Ok(engine)
    }

    /// Starts the log behind `position` and makes its incarnation durable before anything is appended.
    pub(crate) async fn start(
        env: Env,
        store: Rc<LogStore>,
        volumes: Rc<Volumes>,
        durable: Durable,
        position: Position,
        next_segment: SegmentId,
        limits: Limits,
    ) -> Result<Rc<Self>, EngineError> {
        let start = LogStart { position, next_segment, reserve: Vec::new() };
        volumes.keys.add_salt(next_segment, env.random.next_u128().to_le_bytes());
        let log = Log::start(env.clone(), store.clone(), volumes.clone(), volumes.keys.clone(), start);
        let total_chunks = store.pool.shared.capacity_for(store.log).total_chunks;
        let space = Space::new(total_chunks, store.pool.geometry().segment_bytes, limits.logs);
        let birth = Cell::new(volumes.next_snapshot.get());
        let turned_s = Cell::new(env.clock.wall().as_secs());
        note_missed(&volumes);
        let cache = Rc::new(NodeCache::new(limits.node_cache_bytes));
        // Nobody else has set it: these volumes are new.
        let _ = volumes.cache.set(cache.clone());
        let engine = Rc::new(Self {
            nodes: EngineNodeStore { store: store.clone(), log: log.clone() },
            zeroes: env.buffers.allocate_zeroed(ZERO_BYTES).freeze(),
            cache,
            records: RecordCache::new(limits.read_cache_bytes),
            cache_disk: OnceCell::new(),
            first_segment: next_segment,
            env,
            store,
            log,
            volumes,
            limits: Cell::new(limits),
            space,
            cleaner: RefCell::default(),
            policy: Cell::default(),
            durable: RefCell::new(durable),
            birth,
            managing: futures::lock::Mutex::new(()),
            adding_key: Cell::new(None),
            turned_s,
            moments: Cell::default(),
            moments_gone_since: Cell::default(),
            history_offset: Cell::default(),
            expire_after: Cell::default(),
            layered: Cell::new(false),
            merged_for_counting: Cell::new(None),
            scrub: Scrub::default(),
            rehomer: Rehomer::default(),
            tierer: Tierer::default(),
            reducer: RefCell::default(),
            damage: Default::default(),
            committing: futures::lock::Mutex::new(()),
            maintaining: Rc::default(),
            wake: Signal::default(),
            closing: Cell::new(false),
            tasks: RefCell::default(),
            statistics: Statistics::default(),
            courses: Courses::default(),
        });
        engine.space.update(&engine);
        engine.commit().await?;
        engine.store.pool.add_store(&engine.store);
        engine.start_tasks();
        Ok(engine)
    }
}
