//! Volumes: made, shown, grown, renamed, ended.

use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use quarry_api_types::{
    CreateVolume, MissedSeconds, Name, RenameVolume, ResizeVolume, Timestamp, Volume, VolumeHistory,
    VolumePath,
};
use quarry_catalog::AttachmentKey;
use quarry_engine::{Engine, EngineError, EngineStatus, VolumeStatus};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::limits::{BLOCK_BYTES, VOLUMES_MAX};
use quarry_types::{LogId, PoolId, VolumeId, VolumeSettings};

use super::engine_error::engine_error;
use super::logs::policy;
use super::places::{Located, in_image_mode};
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
    /// The volumes of one pool, or of all. Of one that moves that which counts.
    pub(super) async fn volumes_of(&self, pool: Option<PoolId>) -> Result<Vec<FoundVolume>> {
        let mut all = self.counted(self.all_volumes_of(pool).await?);
        all.sort_by(|a, b| a.status.name.cmp(&b.status.name));
        Ok(all)
    }

    /// Everything that is a volume in one pool, or in all, whether it counts or not.
    pub(super) async fn all_volumes_of(&self, pool: Option<PoolId>) -> Result<Vec<FoundVolume>> {
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

    /// A volume that lies in a pool and stays there: what may be changed.
    pub(super) async fn find_volume(&self, name: &Name) -> Result<FoundVolume> {
        let found = self.find_to_look_at(name).await?;
        self.check_at_rest(found.status.id, name.as_str())?;
        Ok(found)
    }

    /// A volume that lies in a pool, which may be moving: what may be looked at.
    pub(super) async fn find_to_look_at(&self, name: &Name) -> Result<FoundVolume> {
        let all = self.volumes_of(None).await?;
        let found = all.into_iter().find(|volume| volume.status.name == name.as_str());
        found.ok_or_else(|| self.no_volume(name))
    }

    /// No open pool has a volume of that name.
    pub(super) fn no_volume(&self, name: &Name) -> NodeError {
        if let Some(image) = self.image_named(name) {
            return in_image_mode(name, &image.record.device);
        }
        let offline = self.pools().values().filter(|entry| entry.opened.is_err()).count();
        let error = NodeError::not_found("volume", name);
        match offline {
            0 => error,
            _ => error.with_cause(format!("{offline} pools are offline, it may be in one of them")),
        }
    }

    /// Runs `task` with the engine that has a volume, on its core; `what` says what was not done when it fails.
    pub(super) async fn with_engine<T, F, Fut>(&self, found: &FoundVolume, what: String, task: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Rc<Engine>) -> Fut + Send + 'static,
        Fut: Future<Output = std::result::Result<T, EngineError>> + 'static,
    {
        let (pool, log) = (found.pool, found.log);
        let called = self.cores.call(found.core, move |state| async move {
            let engine = state.engine(pool, log)?;
            task(engine).await.map_err(|error| engine_error(what, &error))
        });
        called.await?
    }

    pub(super) async fn make_volume(&self, request: CreateVolume) -> Result<Volume> {
        request.check()?;
        let pool = self.pool_entry(&request.pool)?;
        let OpenPool { shared, .. } = pool.opened.map_err(|reason| {
            NodeError::new(ErrorKind::Unavailable, format!("pool '{}' is offline", request.pool))
                .with_cause(reason)
        })?;
        let all = self.volumes_of(None).await?;
        check_new_name(self, &all, &request.name)?;
        check_count(self, &all)?;
        let id = VolumeId(uuid::Uuid::new_v4());
        let (request, attachment) = self.under_policy(request, id, shared.id)?;
        let (pool, name) = (shared.id, request.name.as_str().to_owned());
        let (size_bytes, durability) = (request.size_bytes, request.durability.into());
        let (quota_bytes, reserved_bytes) = (request.quota_bytes, request.reserved_bytes);
        let (compression, deduplication) = (request.compression.into(), request.deduplication.into());
        let settings = VolumeSettings {
            durability,
            compression,
            deduplication,
            read_cache: request.read_cache.into(),
            quota_bytes,
            reserved_bytes,
            history_s: request.history_s,
        };
        let policy = policy(request.protection, request.tier);
        let limit = attachment.as_ref().and_then(|attached| self.overcommit_limit_of(attached));
        self.check_growth((pool, limit), self.weighed(pool, policy.protection, size_bytes)?).await?;
        self.check_new_reservation(pool, policy, reserved_bytes).await?;
        let key = if request.encrypted { Some(self.new_key(&request.name).await?) } else { None };
        let qos = request.qos.clone().unwrap_or_default();
        self.check_promise(id, request.name.as_str(), &qos)?;
        let (log, core) = self.log_for(pool, policy, None).await?;
        self.begin_attachment(attachment).await?;
        self.put_qos(id, qos).await?;
        let created = self.cores.call(core, move |state| async move {
            let engine = state.engine(pool, log)?;
            let made = engine.create_volume(id, &name, size_bytes, settings, key).await;
            made.map_err(|error| engine_error(format!("volume '{name}' was not created"), &error))
        });
        if let Err(error) = created.await.flatten() {
            self.forget_attachments(vec![AttachmentKey::Volume(id)]).await?;
            self.forget_qos(id).await;
            return Err(error);
        }
        self.describe_volume(&request.name).await
    }

    pub(super) async fn describe_volume(&self, name: &Name) -> Result<Volume> {
        match self.locate(name).await? {
            Located::Pool(found) => self.describe(found, &self.groups_by_volume()),
            Located::Device(image) => Ok(self.describe_image(&image)),
        }
    }

    pub(super) async fn describe_volumes(&self) -> Result<Vec<Volume>> {
        let groups = self.groups_by_volume();
        let in_pools = self.volumes_of(None).await?.into_iter().map(|found| self.describe(found, &groups));
        let mut all = in_pools.collect::<Result<Vec<Volume>>>()?;
        all.extend(self.images().values().map(|entry| self.describe_image(entry)));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    pub(super) fn describe(&self, found: FoundVolume, groups: &BTreeMap<VolumeId, Name>) -> Result<Volume> {
        let keeping = self.keeping_of(&found);
        let FoundVolume { pool, core, status, .. } = found;
        let pool =
            self.pools().get(&pool).map(|entry| entry.record.name.clone()).ok_or_else(|| {
                NodeError::new(ErrorKind::Unavailable, "the volume's pool is being deleted")
            })?;
        let origin = match status.origin {
            Some((volume, snapshot)) => Some(VolumePath {
                volume: parse_name(&volume)?,
                snapshot: snapshot.as_deref().map(parse_name).transpose()?,
            }),
            None => None,
        };
        Ok(Volume {
            id: status.id,
            pool: Some(pool),
            image: None,
            migration: self.describe_migration(status.id),
            protection: keeping.map(|((protection, _), _)| protection),
            own_protection: keeping.is_some_and(|((_, is_own), _)| is_own),
            tier: keeping.map(|(_, (tier, _))| tier),
            own_tier: keeping.is_some_and(|(_, (_, is_own))| is_own),
            size_bytes: status.size_bytes,
            durability: status.settings.durability.into(),
            used_bytes: status.mapped_bytes,
            quota_bytes: Some(status.settings.quota_bytes).filter(|&quota| quota > 0),
            reserved_bytes: status.settings.reserved_bytes,
            compression: status.settings.compression.into(),
            deduplication: status.settings.deduplication.into(),
            read_cache: status.settings.read_cache.into(),
            history_s: status.settings.history_s,
            history: status.history.map(|history| VolumeHistory {
                since: Timestamp::from_unix_ms(history.since_s * 1000),
                until: Timestamp::from_unix_ms(history.until_s * 1000),
                moments: history.moments as u64,
                missed: history.missed.map(|missed| MissedSeconds {
                    from: Timestamp::from_unix_ms(missed.from_s * 1000),
                    until: missed.until_s.map(|until_s| Timestamp::from_unix_ms(until_s * 1000)),
                }),
            }),
            encrypted: status.key.is_some(),
            locked: status.locked,
            block_bytes: BLOCK_BYTES as u32,
            core: core as u16,
            exported: self.is_served(status.id),
            name: parse_name(&status.name)?,
            snapshots: status.snapshots as u64,
            origin,
            group: groups.get(&status.id).cloned(),
            qos: self.qos_of(status.id),
            qos_status: None,
        })
    }

    pub(super) async fn grow_volume(&self, name: &Name, request: ResizeVolume) -> Result<Volume> {
        request.check()?;
        let found = self.find_volume(name).await?;
        let (id, size_bytes) = (found.status.id, request.size_bytes);
        let own = self.opened_pool(found.pool)?.shared.protection_of(found.log);
        let more_bytes = size_bytes.saturating_sub(found.status.size_bytes);
        let limit = self.overcommit_limit(id);
        self.check_growth((found.pool, limit), self.weighed(found.pool, Some(own), more_bytes)?).await?;
        let what = format!("volume '{name}' was not resized");
        self.with_engine(
            &found,
            what,
            move |engine| async move { engine.resize_volume(id, size_bytes).await },
        )
        .await?;
        self.tell_size(id, size_bytes);
        self.describe_volume(name).await
    }

    pub(super) async fn give_name(&self, name: &Name, request: RenameVolume) -> Result<Volume> {
        let found = self.find_volume(name).await?;
        if request.name != *name {
            check_new_name(self, &self.volumes_of(None).await?, &request.name)?;
            self.check_unexported(|record| record.volume_id == found.status.id)?;
            let (id, new_name) = (found.status.id, request.name.as_str().to_owned());
            let what = format!("volume '{name}' was not renamed");
            self.with_engine(
                &found,
                what,
                move |engine| async move { engine.rename_volume(id, &new_name).await },
            )
            .await?;
            self.update_group_of(found.status.id, Some(&request.name)).await;
            self.update_attachment_of(found.status.id, Some(&request.name)).await;
        }
        self.describe_volume(&request.name).await
    }

    pub(super) async fn end_volume(&self, name: &Name, with_snapshots: bool) -> Result<()> {
        let found = self.find_volume(name).await?;
        self.check_unexported(|record| record.volume_id == found.status.id)?;
        let (id, what) = (found.status.id, format!("volume '{name}' was not deleted"));
        let snapshots = if with_snapshots { self.snapshots_of(&found).await? } else { Vec::new() };
        self.with_engine(&found, what, move |engine| async move {
            engine.delete_volume(id, with_snapshots).await
        })
        .await?;
        for core in 0..self.cores.count() {
            self.cores.call(core, move |state| async move { state.places.forget(id) }).await?;
        }
        self.update_group_of(id, None).await;
        self.update_attachment_of(id, None).await;
        self.forget_qos(id).await;
        let gone = snapshots.into_iter().map(|snapshot| VolumeId(snapshot.id.0));
        self.forget_reservations(std::iter::once(id).chain(gone)).await;
        Ok(())
    }
}

/// Whether a name is free.
pub(super) fn check_new_name(node: &DataNode, all: &[FoundVolume], name: &Name) -> Result<()> {
    let is_taken = all.iter().any(|volume| volume.status.name == name.as_str());
    if is_taken || node.image_named(name).is_some() {
        return Err(NodeError::name_taken("volume", name));
    }
    Ok(())
}

/// Whether the node takes a volume more.
pub(super) fn check_count(node: &DataNode, all: &[FoundVolume]) -> Result<()> {
    if all.len() + node.images().len() >= VOLUMES_MAX {
        let what = format!("the node has {VOLUMES_MAX} volumes, which is the most");
        return Err(NodeError::new(ErrorKind::NoSpace, what));
    }
    Ok(())
}

/// A name as it is on the pool's devices.
pub(super) fn parse_name(text: &str) -> Result<Name> {
    text.parse().map_err(|error: quarry_api_types::InvalidName| {
        NodeError::new(ErrorKind::Internal, format!("'{text}' on the pool's devices is no name"))
            .caused_by(&error)
    })
}
