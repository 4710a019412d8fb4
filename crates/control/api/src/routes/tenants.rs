//! `/v1/tenants`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use quarry_api_types::{ChangeTenant, CreateTenant, Name, PoolShare, PoolShareUse, Tenant, tenant_of};
use quarry_auth::{Permission, Scope, TenantRecord};
use quarry_node_api::{ErrorKind, Node, NodeError};

use crate::Guard;
use crate::access::{Asker, GuardState, blocking};
use crate::call::NodeState;
use crate::extract::{Body, Segment};
use crate::guard::{bytes_in, now, volumes_of};
use crate::problem::{ApiError, Problems};

/// List tenants. A tenant sees itself alone.
#[utoipa::path(
    get,
    path = "/v1/tenants",
    tag = "access",
    responses((status = 200, description = "Sorted by name.", body = Vec<Tenant>), Problems)
)]
pub(crate) async fn list_tenants(
    State(node): NodeState,
    Extension(guard): GuardState,
    Extension(asker): Asker,
) -> Result<Json<Vec<Tenant>>, ApiError> {
    let mut shown = Vec::new();
    for record in guard.store.tenants() {
        if guard.may(&asker, Permission::ReadTenants, &Scope::Tenant(record.name.to_string())) {
            shown.push(show(&node, record).await?);
        }
    }
    Ok(Json(shown))
}

/// Make a tenant. Refused while something that would belong to it is there already: give that another name first.
#[utoipa::path(
    post,
    path = "/v1/tenants",
    tag = "access",
    request_body = CreateTenant,
    responses((status = 201, description = "The new tenant.", body = Tenant, headers(("Location" = String))), Problems)
)]
pub(crate) async fn create_tenant(
    State(node): NodeState,
    Extension(guard): GuardState,
    Body(request): Body<CreateTenant>,
) -> Result<impl IntoResponse, ApiError> {
    request.check()?;
    let pools = request.pools.iter().chain(request.shares.iter().map(|share| &share.pool));
    check_there(&node, pools, &request.policies).await?;
    check_empty(&node, &request.name, ErrorKind::Conflict).await?;
    let record = blocking(&guard, move |guard| guard.store.create_tenant(request, now())).await?;
    tell_node(&node, &guard).await?;
    let location = format!("/v1/tenants/{}", record.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(show(&node, record).await?)))
}

/// Show a tenant with its bounds and what it uses.
#[utoipa::path(
    get,
    path = "/v1/tenants/{name}",
    tag = "access",
    params(("name" = Name, Path, description = "Name of the tenant.")),
    responses((status = 200, description = "The tenant.", body = Tenant), Problems)
)]
pub(crate) async fn show_tenant(
    State(node): NodeState,
    Extension(guard): GuardState,
    Segment(name): Segment<Name>,
) -> Result<Json<Tenant>, ApiError> {
    show(&node, guard.store.tenant(&name)?).await.map(Json)
}

/// Give a tenant other pools, policies or bounds.
#[utoipa::path(
    patch,
    path = "/v1/tenants/{name}",
    tag = "access",
    params(("name" = Name, Path, description = "Name of the tenant.")),
    request_body = ChangeTenant,
    responses((status = 200, description = "The tenant as it is now.", body = Tenant), Problems)
)]
pub(crate) async fn change_tenant(
    State(node): NodeState,
    Extension(guard): GuardState,
    Segment(name): Segment<Name>,
    Body(request): Body<ChangeTenant>,
) -> Result<Json<Tenant>, ApiError> {
    request.check()?;
    let shared = request.shares.iter().flatten().map(|share| &share.pool);
    let pools = request.pools.iter().flatten().chain(shared);
    check_there(&node, pools, request.policies.as_deref().unwrap_or_default()).await?;
    let record = blocking(&guard, move |guard| guard.store.change_tenant(&name, request)).await?;
    tell_node(&node, &guard).await?;
    show(&node, record).await.map(Json)
}

/// End a tenant that has nothing any more. Tokens that are confined to it end.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{name}",
    tag = "access",
    params(("name" = Name, Path, description = "Name of the tenant.")),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(crate) async fn delete_tenant(
    State(node): NodeState,
    Extension(guard): GuardState,
    Segment(name): Segment<Name>,
) -> Result<StatusCode, ApiError> {
    guard.store.tenant(&name)?;
    check_empty(&node, &name, ErrorKind::InUse).await?;
    blocking(&guard, move |guard| guard.store.delete_tenant(&name)).await?;
    tell_node(&node, &guard).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The node learns what each tenant gets of its performance.
pub(super) async fn tell_node(node: &Arc<dyn Node>, guard: &Guard) -> Result<(), ApiError> {
    Ok(node.set_tenants_qos(guard.tenants_qos()).await?)
}

async fn show(node: &Arc<dyn Node>, record: TenantRecord) -> Result<Tenant, ApiError> {
    let volumes = volumes_of(node, record.name.as_str()).await?;
    let qos = record.qos();
    let TenantRecord { name, pools, policies, shares, capacity_bytes, volumes: most, created, .. } = record;
    let used = |PoolShare { pool, capacity_bytes }| {
        let used_bytes = bytes_in(&volumes, &pool);
        PoolShareUse { pool, capacity_bytes, used_bytes }
    };
    Ok(Tenant {
        name,
        pools,
        policies,
        shares: shares.into_iter().map(used).collect(),
        capacity_bytes,
        volumes: most,
        qos,
        used_bytes: volumes.iter().map(|volume| volume.size_bytes).fold(0, u64::saturating_add),
        used_volumes: u32::try_from(volumes.len()).unwrap_or(u32::MAX),
        created,
    })
}

/// Fails when there is no such thing to grant.
async fn check_there(
    node: &Arc<dyn Node>,
    pools: impl Iterator<Item = &Name>,
    policies: &[Name],
) -> Result<(), ApiError> {
    for pool in pools {
        node.show_pool(pool).await?;
    }
    for policy in policies {
        node.show_policy(policy).await?;
    }
    Ok(())
}

/// Fails when something has a name of this tenant.
pub(super) async fn check_empty(
    node: &Arc<dyn Node>,
    tenant: &Name,
    kind: ErrorKind,
) -> Result<(), ApiError> {
    let mut names: Vec<(&str, Name)> = Vec::new();
    names.extend(node.list_volumes().await?.into_iter().map(|volume| ("volume", volume.name)));
    names.extend(node.list_groups().await?.into_iter().map(|group| ("group", group.name)));
    names.extend(node.list_hosts().await?.into_iter().map(|host| ("host", host.name)));
    names.extend(node.list_host_groups().await?.into_iter().map(|group| ("host group", group.name)));
    names.extend(node.list_policies().await?.into_iter().map(|policy| ("policy", policy.name)));
    match names.iter().find(|(_, name)| tenant_of(name.as_str()) == Some(tenant.as_str())) {
        None => Ok(()),
        Some((sort, name)) => {
            let message = format!("{sort} '{name}' has a name of tenant '{tenant}'");
            Err(NodeError::new(kind, message).with_next_step("Delete it, or give it another name.").into())
        }
    }
}
