//! A log that did not exist.

use std::rc::Rc;

use quarry_env::Env;
use quarry_format::image::Position;
use quarry_pool::{LogStore, Pool};
use quarry_types::{LogAddress, LogId, SegmentId, SnapshotCounter};

use crate::engine::Durable;
use crate::volumes::Volumes;
use crate::{Engine, EngineError, Limits};

impl Engine {
    /// Makes log `log` of a pool that has none of that number, and opens it. Durable on return.
    pub async fn create(
        env: Env,
        pool: Rc<Pool>,
        log: LogId,
        limits: Limits,
    ) -> Result<Rc<Self>, EngineError> {
        let store = LogStore::create(pool, log);
        let start = SegmentId::new(log, 0);
        let position = Position { address: LogAddress::new(start, 0), ..Position::default() };
        let first = SnapshotCounter(1);
        let durable = Durable {
            replay_from: position,
            volumes: Vec::new(),
            snapshots: Vec::new(),
            next_volume: 1,
            next_snapshot: first,
            dissolving: None,
            detached: Vec::new(),
            keys: Vec::new(),
            owed: Vec::new(),
        };
        let volumes = Rc::new(Volumes::default());
        volumes.next_number.set(1);
        volumes.next_snapshot.set(first);
        Self::start(env, store, volumes, durable, position, start.next(), limits).await
    }
}
