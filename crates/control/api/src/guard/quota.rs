//! The bounds of tenants.

use std::sync::Arc;

use axum::http::StatusCode;
use quarry_api_types::{Name, PoolShare, ProblemCode, SnapshotPath, Volume, tenant_of};
use quarry_auth::{Principal, TenantRecord};
use quarry_node_api::Node;
use quarry_types::ByteSize;
use serde_json::Value;
use tokio::sync::MutexGuard;

use super::Guard;
use super::operations::{Growth, Refers};
use super::tenancy::Named;
use crate::problem::ApiError;

/// What a request would add to a tenant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Added {
    /// In which pool, and how many bytes.
    bytes: Vec<(Option<Name>, u64)>,
    volumes: u32,
    /// Whether that is there already, in another pool of the same node.
    moves: bool,
}

impl Added {
    fn to_pool(pool: Option<Name>, bytes: u64, volumes: u32) -> Self {
        Self { bytes: vec![(pool, bytes)], volumes, moves: false }
    }

    fn in_all(&self) -> u64 {
        let bytes = self.bytes.iter().map(|(_, bytes)| *bytes);
        if self.moves { 0 } else { bytes.fold(0, u64::saturating_add) }
    }

    fn to(&self, pool: &Name) -> u64 {
        let there = self.bytes.iter().filter(|(to, _)| to.as_ref() == Some(pool));
        there.map(|(_, bytes)| *bytes).fold(0, u64::saturating_add)
    }
}

impl Guard {
    /// Fails when a tenant would become larger than it may. What it answers with is to be held until the request has ended.
    pub(super) async fn check_growth(
        &self,
        node: &Arc<dyn Node>,
        principal: &Principal,
        growth: Growth,
        names: &Named,
        body: Option<&Value>,
    ) -> Result<Option<MutexGuard<'_, ()>>, ApiError> {
        // The tenant of what there is afterwards: a new name counts more than the one that there was.
        let new = names.iter().find(|(refers, _)| matches!(refers, Refers::New(_)));
        let Some(tenant) = new.or(names.first()).and_then(|(_, name)| tenant_of(name)) else {
            return Ok(None);
        };
        let Some(tenant) = tenant.parse().ok().and_then(|name: Name| self.store.tenant(&name).ok()) else {
            return Ok(None);
        };
        let is_bound =
            tenant.capacity_bytes.is_some() || tenant.volumes.is_some() || !tenant.shares.is_empty();
        if !is_bound && principal.tenant.is_none() {
            return Ok(None);
        }
        let held = if is_bound { Some(self.growing.lock().await) } else { None };
        let added = added(node, growth, names, body).await;
        if principal.tenant.is_some() {
            check_granted(&tenant, &added)?;
        }
        if is_bound {
            check(&tenant, &of_tenant(node, tenant.name.as_str()).await?, &added)?;
        }
        Ok(held)
    }
}

/// The volumes of a tenant.
pub(crate) async fn of_tenant(node: &Arc<dyn Node>, tenant: &str) -> Result<Vec<Volume>, ApiError> {
    let volumes = node.list_volumes().await?;
    Ok(volumes.into_iter().filter(|volume| tenant_of(volume.name.as_str()) == Some(tenant)).collect())
}

/// How large those of these volumes are together that lie in a pool, or move there.
pub(crate) fn bytes_in(volumes: &[Volume], pool: &Name) -> u64 {
    let is_there = |volume: &&Volume| {
        let moves_to = volume.migration.as_ref().and_then(|migration| migration.to_pool.as_ref());
        volume.pool.as_ref() == Some(pool) || moves_to == Some(pool)
    };
    volumes.iter().filter(is_there).map(|volume| volume.size_bytes).fold(0, u64::saturating_add)
}

/// What cannot be told, because the request is wrong or names what is not there, adds nothing: the node refuses it.
async fn added(node: &Arc<dyn Node>, growth: Growth, names: &Named, body: Option<&Value>) -> Added {
    let number = |member: &str| body.and_then(|body| body.get(member)).and_then(Value::as_u64).unwrap_or(0);
    let name_in = |member: &str| -> Option<Name> { body?.get(member)?.as_str()?.parse().ok() };
    let snapshot = name_in("snapshot");
    let existing = names.iter().find(|(refers, _)| matches!(refers, Refers::Existing(_)));
    let Some(name) = existing.and_then(|(_, name)| name.parse::<Name>().ok()) else {
        return Added::to_pool(name_in("pool"), number("size_bytes"), 1);
    };
    if growth == Growth::RollBackGroup {
        let Ok(group) = node.show_group(&name).await else { return Added::default() };
        let mut bytes = Vec::new();
        for volume in &group.volumes {
            let Ok(volume) = node.show_volume(volume).await else { continue };
            let grown =
                content_bytes(node, &volume, snapshot.as_ref()).await.saturating_sub(volume.size_bytes);
            bytes.push((volume.pool, grown));
        }
        return Added { bytes, ..Added::default() };
    }
    let Ok(volume) = node.show_volume(&name).await else { return Added::default() };
    let (pool, size_bytes) = (volume.pool.clone(), volume.size_bytes);
    match growth {
        Growth::Create => Added::to_pool(name_in("pool"), number("size_bytes"), 1),
        Growth::Clone => Added::to_pool(pool, content_bytes(node, &volume, snapshot.as_ref()).await, 1),
        Growth::Resize => Added::to_pool(pool, number("size_bytes").saturating_sub(size_bytes), 0),
        Growth::Rename => match names.iter().find(|(refers, _)| matches!(refers, Refers::New(_))) {
            Some((_, new)) if tenant_of(new) != tenant_of(name.as_str()) => {
                Added::to_pool(pool, size_bytes, 1)
            }
            _ => Added::default(),
        },
        // One that moves there counts already.
        Growth::Migrate if volume.migration.is_some() => Added::default(),
        Growth::Migrate => Added { moves: true, ..Added::to_pool(name_in("to_pool"), size_bytes, 0) },
        Growth::RollBack | Growth::RollBackGroup => {
            let bytes = content_bytes(node, &volume, snapshot.as_ref()).await;
            Added::to_pool(pool, bytes.saturating_sub(size_bytes), 0)
        }
    }
}

/// How large what a volume held is.
async fn content_bytes(node: &Arc<dyn Node>, volume: &Volume, snapshot: Option<&Name>) -> u64 {
    let Some(snapshot) = snapshot else { return volume.size_bytes };
    let path = SnapshotPath { volume: volume.name.clone(), snapshot: snapshot.clone() };
    node.show_snapshot(&path).await.map_or(volume.size_bytes, |snapshot| snapshot.size_bytes)
}

/// Where a pool was granted once, its volumes stay, and do not grow.
fn check_granted(tenant: &TenantRecord, added: &Added) -> Result<(), ApiError> {
    let pools = added.bytes.iter().filter(|(_, bytes)| *bytes > 0).filter_map(|(pool, _)| pool.as_ref());
    match pools.into_iter().find(|pool| !tenant.pools.contains(pool)) {
        None => Ok(()),
        Some(pool) => Err(ApiError::new(
            ProblemCode::Forbidden,
            StatusCode::FORBIDDEN,
            format!("pool '{pool}' is not granted to tenant '{}' any more", tenant.name),
            "Ask whoever runs the node to grant it, or to move the volume.",
        )),
    }
}

fn check(tenant: &TenantRecord, volumes: &[Volume], added: &Added) -> Result<(), ApiError> {
    let name = &tenant.name;
    let new_bytes = added.in_all();
    let bytes = volumes.iter().map(|volume| volume.size_bytes).fold(new_bytes, u64::saturating_add);
    let too_large = tenant.capacity_bytes.filter(|&most| bytes > most && new_bytes > 0).map(|most| {
        let (most, bytes) = (ByteSize(most), ByteSize(bytes));
        format!("tenant '{name}' may have volumes of {most} together, and would have {bytes}")
    });
    let too_large_there = tenant.shares.iter().find_map(|PoolShare { pool, capacity_bytes: most }| {
        let new_bytes = added.to(pool);
        let bytes = bytes_in(volumes, pool).saturating_add(new_bytes);
        let (most_shown, bytes_shown) = (ByteSize(*most), ByteSize(bytes));
        (bytes > *most && new_bytes > 0).then(|| {
            format!("tenant '{name}' may have volumes of {most_shown} together in pool '{pool}', and would have {bytes_shown}")
        })
    });
    let count = volumes.len() as u64 + u64::from(added.volumes);
    let too_many = tenant
        .volumes
        .filter(|&most| count > u64::from(most) && added.volumes > 0)
        .map(|most| format!("tenant '{name}' may have {most} volumes, and would have {count}"));
    match too_large.or(too_large_there).or(too_many) {
        None => Ok(()),
        Some(detail) => Err(ApiError::new(
            ProblemCode::NoSpace,
            StatusCode::CONFLICT,
            detail,
            "Delete what is no longer needed, or ask whoever runs the node for more.",
        )),
    }
}
