//! Volumes: made, shown, grown, ended.

use quarry_api_types::{CreateVolume, Name, ResizeVolume, Volume};
use quarry_engine::{EngineError, EngineStatus, VolumeStatus};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::limits::{BLOCK_BYTES, VOLUMES_MAX};
use quarry_types::{LogId, PoolId, VolumeId};

use super::{DataNode, OpenPool};

/// A volume and where it lives.
#[derive(Clone)]
pub(super) struct FoundVolume {
    pub(super) pool: PoolId,
    pub(super) log: LogId,
    pub(super) core: usize,
    pub(super) status: VolumeStatus,
}

impl DataNode {
    /// The volumes of one pool, or of all.
    pub(super) async fn volumes_of(&self, pool: Option<PoolId>) -> Result<Vec<FoundVolume>> {
        let listing = (0..self.cores.count()).map(|core| {
            self.cores.call(core, move |state| async move {
                let engines =
                    state.engines().into_iter().filter(|(id, _)| pool.is_none_or(|pool| pool == *id));
                engines
                    .flat_map(|(id, engine)| {
                        let log = engine.log_id();
                        engine.volumes().into_iter().map(move |status| FoundVolume {
                            pool: id,
                            log,
                            core,
                            status,
                        })
                    })
                    .collect::<Vec<_>>()
            })
        });
        let mut all = Vec::new();
        for listed in futures::future::join_all(listing).await {
            all.extend(listed?);
        }
        all.sort_by(|a, b| a.status.name.cmp(&b.status.name));
        Ok(all)
    }

    /// Figures of the engines of one pool, or of all.
    pub(super) async fn engine_statuses(&self, pool: Option<PoolId>) -> Result<Vec<EngineStatus>> {
        let listing = (0..self.cores.count()).map(|core| {
            self.cores.call(core, move |state| async move {
                let engines =
                    state.engines().into_iter().filter(|(id, _)| pool.is_none_or(|pool| pool == *id));
                engines.map(|(_, engine)| engine.status()).collect::<Vec<_>>()
            })
        });
        let mut all = Vec::new();
        for listed in futures::future::join_all(listing).await {
            all.extend(listed?);
        }
        Ok(all)
    }

    pub(super) async fn find_volume(&self, name: &Name) -> Result<FoundVolume> {
        let all = self.volumes_of(None).await?;
        let found = all.into_iter().find(|volume| volume.status.name == name.as_str());
        found.ok_or_else(|| {
            let offline = self.pools().values().filter(|entry| entry.opened.is_err()).count();
            let error = NodeError::not_found("volume", name);
            match offline {
                0 => error,
                _ => error.with_cause(format!("{offline} pools are offline, it may be in one of them")),
            }
        })
    }

    pub(super) async fn make_volume(&self, request: CreateVolume) -> Result<Volume> {
        request.check()?;
        let pool = self.pool_entry(&request.pool)?;
        let OpenPool { shared, logs } = pool.opened.map_err(|reason| {
            NodeError::new(ErrorKind::Unavailable, format!("pool '{}' is offline", request.pool))
                .with_cause(reason)
        })?;
        let all = self.volumes_of(None).await?;
        if all.iter().any(|volume| volume.status.name == request.name.as_str()) {
            return Err(NodeError::name_taken("volume", &request.name));
        }
        if all.len() >= VOLUMES_MAX {
            let what = format!("the node has {VOLUMES_MAX} volumes, which is the most");
            return Err(NodeError::new(ErrorKind::NoSpace, what));
        }
        let volumes_in =
            |log: LogId| all.iter().filter(|volume| volume.pool == shared.id && volume.log == log).count();
        let (log, core) = logs
            .into_iter()
            .min_by_key(|(log, _)| (volumes_in(*log), *log))
            .ok_or_else(|| NodeError::new(ErrorKind::Unavailable, "the pool has no log"))?;
        let (pool, name) = (shared.id, request.name.as_str().to_owned());
        let (size_bytes, durability) = (request.size_bytes, request.durability.into());
        let created = self.cores.call(core, move |state| async move {
            let engine = state.engine(pool, log)?;
            let id = VolumeId::from_random(state.env.random.next_u128());
            let made = engine.create_volume(id, &name, size_bytes, durability).await;
            made.map_err(|error| volume_error("created", &name, &error))
        });
        created.await??;
        self.describe_volume(&request.name).await
    }

    pub(super) async fn describe_volume(&self, name: &Name) -> Result<Volume> {
        let found = self.find_volume(name).await?;
        self.describe(found)
    }

    pub(super) async fn describe_volumes(&self) -> Result<Vec<Volume>> {
        self.volumes_of(None).await?.into_iter().map(|found| self.describe(found)).collect()
    }

    fn describe(&self, found: FoundVolume) -> Result<Volume> {
        let FoundVolume { pool, core, status, .. } = found;
        let name = |text: &str| {
            text.parse::<Name>().map_err(|error| {
                NodeError::new(ErrorKind::Internal, format!("'{text}' on the pool's devices is no name"))
                    .caused_by(&error)
            })
        };
        let pool =
            self.pools().get(&pool).map(|entry| entry.record.name.clone()).ok_or_else(|| {
                NodeError::new(ErrorKind::Unavailable, "the volume's pool is being deleted")
            })?;
        Ok(Volume {
            id: status.id,
            pool,
            size_bytes: status.size_bytes,
            durability: status.durability.into(),
            used_bytes: status.mapped_bytes,
            block_bytes: BLOCK_BYTES as u32,
            core: core as u16,
            exported: self.exports.list().iter().any(|export| export.volume.id == status.id),
            name: name(&status.name)?,
        })
    }

    pub(super) async fn grow_volume(&self, name: &Name, request: ResizeVolume) -> Result<Volume> {
        request.check()?;
        let found = self.find_volume(name).await?;
        let (pool, log, id) = (found.pool, found.log, found.status.id);
        let (size_bytes, text) = (request.size_bytes, name.as_str().to_owned());
        let resized = self.cores.call(found.core, move |state| async move {
            let resized = state.engine(pool, log)?.resize_volume(id, size_bytes).await;
            resized.map_err(|error| volume_error("resized", &text, &error))
        });
        resized.await??;
        self.exports.update_size(id, size_bytes);
        self.describe_volume(name).await
    }

    pub(super) async fn end_volume(&self, name: &Name) -> Result<()> {
        let found = self.find_volume(name).await?;
        let exports = self.catalog.exports().map_err(|error| super::catalog_error(&error))?;
        if exports.iter().any(|export| export.volume_id == found.status.id) {
            let what = format!("volume '{name}' is exported");
            return Err(NodeError::new(ErrorKind::InUse, what)
                .with_next_step(format!("End its export first: `quarry export delete {name}`.")));
        }
        let (pool, log, id, text) = (found.pool, found.log, found.status.id, name.as_str().to_owned());
        let deleted = self.cores.call(found.core, move |state| async move {
            let deleted = state.engine(pool, log)?.delete_volume(id, false).await;
            deleted.map_err(|error| volume_error("deleted", &text, &error))
        });
        deleted.await?
    }
}

fn volume_error(what: &str, name: &str, error: &EngineError) -> NodeError {
    let (kind, next_step) = match error {
        EngineError::Shrink { .. } => {
            (ErrorKind::Unsupported, "Create a smaller volume and copy what you need.")
        }
        EngineError::Size { .. } => (ErrorKind::Invalid, "Choose another size."),
        EngineError::NoVolume { .. } => (ErrorKind::NotFound, "`quarry volume list` shows what exists."),
        EngineError::NoSpace => (ErrorKind::NoSpace, "Delete what is no longer needed."),
        EngineError::Log(_) => {
            (ErrorKind::Unavailable, "`quarry pool show` says what is wrong with the pool.")
        }
        _ => (ErrorKind::Internal, "See the log of quarryd."),
    };
    NodeError::new(kind, format!("volume '{name}' was not {what}")).caused_by(error).with_next_step(next_step)
}
