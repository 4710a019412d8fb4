//! Tiers: `/v1/pools/{name}/tiers`, and where a volume lies.

use axum::Json;
use axum::extract::State;
use quarry_api_types::{DeviceId, Name, Pool, PoolTiers, SetTier, VolumePlacement};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Segment};
use crate::problem::{ApiError, Problems};

/// Show the tiers of a pool: what lies in each, and the last decisions with what they were based on.
#[utoipa::path(
    get,
    path = "/v1/pools/{name}/tiers",
    tag = "pools",
    params(("name" = Name, Path, description = "Name of the pool.")),
    responses((status = 200, description = "The tiers, the fastest first.", body = PoolTiers), Problems)
)]
pub(crate) async fn show_tiers(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<PoolTiers>, ApiError> {
    complete(async move { node.show_tiers(&name).await }).await.map(Json)
}

/// Say in which tier everything of a pool is to lie, or that it is to follow what is read. Data moves in the background.
#[utoipa::path(
    put,
    path = "/v1/pools/{name}/tiers",
    tag = "pools",
    params(("name" = Name, Path, description = "Name of the pool.")),
    request_body = SetTier,
    responses((status = 200, description = "The tiers as they are now.", body = PoolTiers), Problems)
)]
pub(crate) async fn place_pool(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<SetTier>,
) -> Result<Json<PoolTiers>, ApiError> {
    complete(async move { node.place_pool(&name, request).await }).await.map(Json)
}

/// Say which tier a device belongs to, whatever was measured. Data moves in the background.
#[utoipa::path(
    put,
    path = "/v1/pools/{name}/devices/{device}/tier",
    tag = "devices",
    params(
        ("name" = Name, Path, description = "Name of the pool."),
        ("device" = String, Path, format = Uuid, description = "Id of the device."),
    ),
    request_body = SetTier,
    responses((status = 200, description = "The pool with the device in that tier.", body = Pool), Problems)
)]
pub(crate) async fn set_device_tier(
    State(node): NodeState,
    Segment((name, device)): Segment<(Name, DeviceId)>,
    Body(request): Body<SetTier>,
) -> Result<Json<Pool>, ApiError> {
    request.check_for_device()?;
    complete(async move { node.set_device_tier(&name, device, request).await }).await.map(Json)
}

/// Show in which tiers a volume lies, and which decisions brought it there.
#[utoipa::path(
    get,
    path = "/v1/volumes/{name}/placement",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume.")),
    responses((status = 200, description = "Where it lies.", body = VolumePlacement), Problems)
)]
pub(crate) async fn show_placement(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<VolumePlacement>, ApiError> {
    complete(async move { node.show_placement(&name).await }).await.map(Json)
}
