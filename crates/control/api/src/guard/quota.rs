//! The bounds of tenants.

use std::sync::Arc;

use axum::http::StatusCode;
use quarry_api_types::{Name, ProblemCode, SnapshotPath, Volume, tenant_of};
use quarry_auth::TenantRecord;
use quarry_node_api::Node;
use quarry_types::ByteSize;
use serde_json::Value;
use tokio::sync::MutexGuard;

use super::Guard;
use super::operations::{Growth, Refers};
use super::tenancy::Named;
use crate::problem::ApiError;

/// What a request would add to a tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Added {
    bytes: u64,
    volumes: u32,
}

impl Guard {
    /// Fails when a tenant would become larger than it may. What it answers with is to be held until the request has ended.
    pub(super) async fn check_growth(
        &self,
        node: &Arc<dyn Node>,
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
        if tenant.capacity_bytes.is_none() && tenant.volumes.is_none() {
            return Ok(None);
        }
        let held = self.growing.lock().await;
        let volumes: Vec<_> = of_tenant(node, tenant.name.as_str()).await?;
        let added = added(node, growth, names, body).await;
        let bytes = volumes.iter().map(|volume| volume.size_bytes).fold(added.bytes, u64::saturating_add);
        check(&tenant, bytes, volumes.len() as u64 + u64::from(added.volumes), added)?;
        Ok(Some(held))
    }
}

/// The volumes of a tenant.
pub(crate) async fn of_tenant(node: &Arc<dyn Node>, tenant: &str) -> Result<Vec<Volume>, ApiError> {
    let volumes = node.list_volumes().await?;
    Ok(volumes.into_iter().filter(|volume| tenant_of(volume.name.as_str()) == Some(tenant)).collect())
}

/// What cannot be told, because the request is wrong or names what is not there, adds nothing: the node refuses it.
async fn added(node: &Arc<dyn Node>, growth: Growth, names: &Named, body: Option<&Value>) -> Added {
    let number = |member: &str| body.and_then(|body| body.get(member)).and_then(Value::as_u64).unwrap_or(0);
    let snapshot: Option<Name> =
        body.and_then(|body| body.get("snapshot")).and_then(Value::as_str).and_then(|name| name.parse().ok());
    let existing = names.iter().find(|(refers, _)| matches!(refers, Refers::Existing(_)));
    let Some(name) = existing.and_then(|(_, name)| name.parse::<Name>().ok()) else {
        return Added { bytes: number("size_bytes"), volumes: 1 };
    };
    if growth == Growth::RollBackGroup {
        let Ok(group) = node.show_group(&name).await else { return Added::default() };
        let mut bytes = 0;
        for volume in &group.volumes {
            bytes += grown_by_rolling_back(node, volume, snapshot.as_ref()).await;
        }
        return Added { bytes, volumes: 0 };
    }
    let Ok(volume) = node.show_volume(&name).await else { return Added::default() };
    match growth {
        Growth::Create => Added { bytes: number("size_bytes"), volumes: 1 },
        Growth::Clone => Added { bytes: content_bytes(node, &volume, snapshot.as_ref()).await, volumes: 1 },
        Growth::Resize => Added { bytes: number("size_bytes").saturating_sub(volume.size_bytes), volumes: 0 },
        Growth::Rename => match names.iter().find(|(refers, _)| matches!(refers, Refers::New(_))) {
            Some((_, new)) if tenant_of(new) != tenant_of(name.as_str()) => {
                Added { bytes: volume.size_bytes, volumes: 1 }
            }
            _ => Added::default(),
        },
        Growth::RollBack | Growth::RollBackGroup => {
            Added { bytes: grown_by_rolling_back(node, &name, snapshot.as_ref()).await, volumes: 0 }
        }
    }
}

async fn grown_by_rolling_back(node: &Arc<dyn Node>, volume: &Name, snapshot: Option<&Name>) -> u64 {
    let Ok(volume) = node.show_volume(volume).await else { return 0 };
    content_bytes(node, &volume, snapshot).await.saturating_sub(volume.size_bytes)
}

/// How large what a volume held is.
async fn content_bytes(node: &Arc<dyn Node>, volume: &Volume, snapshot: Option<&Name>) -> u64 {
    let Some(snapshot) = snapshot else { return volume.size_bytes };
    let path = SnapshotPath { volume: volume.name.clone(), snapshot: snapshot.clone() };
    node.show_snapshot(&path).await.map_or(volume.size_bytes, |snapshot| snapshot.size_bytes)
}

fn check(tenant: &TenantRecord, bytes: u64, volumes: u64, added: Added) -> Result<(), ApiError> {
    let too_large = tenant.capacity_bytes.filter(|&most| bytes > most && added.bytes > 0).map(|most| {
        let (most, bytes) = (ByteSize(most), ByteSize(bytes));
        format!("tenant '{}' may have volumes of {most} together, and would have {bytes}", tenant.name)
    });
    let too_many = tenant
        .volumes
        .filter(|&most| volumes > u64::from(most) && added.volumes > 0)
        .map(|most| format!("tenant '{}' may have {most} volumes, and would have {volumes}", tenant.name));
    match too_large.or(too_many) {
        None => Ok(()),
        Some(detail) => Err(ApiError::new(
            ProblemCode::NoSpace,
            StatusCode::CONFLICT,
            detail,
            "Delete what is no longer needed, or ask whoever runs the node for more.",
        )),
    }
}
