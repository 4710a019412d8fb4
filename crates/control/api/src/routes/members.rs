//! `/v1/pools/{name}/devices`: which devices a pool has.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use quarry_api_types::{AddDevice, DeviceId, Name, Pool};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Segment};
use crate::problem::{ApiError, Problems};

type Answer = Result<Json<Pool>, ApiError>;
type Accepted = Result<(StatusCode, Json<Pool>), ApiError>;

fn accepted(pool: Pool) -> (StatusCode, Json<Pool>) {
    (StatusCode::ACCEPTED, Json(pool))
}

/// Make a device a member of a pool, under I/O. What is on it is lost. It gets its share of the data in the background.
#[utoipa::path(
    post,
    path = "/v1/pools/{name}/devices",
    tag = "devices",
    params(("name" = Name, Path, description = "Name of the pool.")),
    request_body = AddDevice,
    responses((status = 201, description = "The pool with the device.", body = Pool), Problems)
)]
pub(crate) async fn add_device(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<AddDevice>,
) -> Accepted {
    request.check()?;
    let pool = complete(async move { node.add_device(&name, request).await }).await?;
    Ok((StatusCode::CREATED, Json(pool)))
}

/// End the membership of a device: everything on it is moved to others in the background, and then it leaves.
#[utoipa::path(
    delete,
    path = "/v1/pools/{name}/devices/{device}",
    tag = "devices",
    params(
        ("name" = Name, Path, description = "Name of the pool."),
        ("device" = String, Path, format = Uuid, description = "Id of the device."),
    ),
    responses((status = 202, description = "The pool; the device leaves it when it is empty.", body = Pool), Problems)
)]
pub(crate) async fn remove_device(
    State(node): NodeState,
    Segment((name, device)): Segment<(Name, DeviceId)>,
) -> Accepted {
    complete(async move { node.remove_device(&name, device).await }).await.map(accepted)
}

/// Move everything on a device to others in the background, and place nothing new on it.
#[utoipa::path(
    post,
    path = "/v1/pools/{name}/devices/{device}/drain",
    tag = "devices",
    params(
        ("name" = Name, Path, description = "Name of the pool."),
        ("device" = String, Path, format = Uuid, description = "Id of the device."),
    ),
    responses((status = 202, description = "The pool; the device is being drained.", body = Pool), Problems)
)]
pub(crate) async fn drain_device(
    State(node): NodeState,
    Segment((name, device)): Segment<(Name, DeviceId)>,
) -> Accepted {
    complete(async move { node.drain_device(&name, device).await }).await.map(accepted)
}

/// Use a device for everything again that was to be drained or removed.
#[utoipa::path(
    delete,
    path = "/v1/pools/{name}/devices/{device}/drain",
    tag = "devices",
    params(
        ("name" = Name, Path, description = "Name of the pool."),
        ("device" = String, Path, format = Uuid, description = "Id of the device."),
    ),
    responses((status = 200, description = "The pool; the device stays.", body = Pool), Problems)
)]
pub(crate) async fn keep_device(
    State(node): NodeState,
    Segment((name, device)): Segment<(Name, DeviceId)>,
) -> Answer {
    complete(async move { node.keep_device(&name, device).await }).await.map(Json)
}

/// Put another device into the place of one, which leaves the pool when it is empty.
#[utoipa::path(
    post,
    path = "/v1/pools/{name}/devices/{device}/replace",
    tag = "devices",
    params(
        ("name" = Name, Path, description = "Name of the pool."),
        ("device" = String, Path, format = Uuid, description = "Id of the device that leaves."),
    ),
    request_body = AddDevice,
    responses((status = 202, description = "The pool with the new device; the old one leaves it when it is empty.", body = Pool), Problems)
)]
pub(crate) async fn replace_device(
    State(node): NodeState,
    Segment((name, device)): Segment<(Name, DeviceId)>,
    Body(request): Body<AddDevice>,
) -> Accepted {
    request.check()?;
    complete(async move { node.replace_device(&name, device, request).await }).await.map(accepted)
}

/// Use all of a device that has become larger.
#[utoipa::path(
    post,
    path = "/v1/pools/{name}/devices/{device}/grow",
    tag = "devices",
    params(
        ("name" = Name, Path, description = "Name of the pool."),
        ("device" = String, Path, format = Uuid, description = "Id of the device."),
    ),
    responses((status = 200, description = "The pool with the device as large as it is.", body = Pool), Problems)
)]
pub(crate) async fn grow_device(
    State(node): NodeState,
    Segment((name, device)): Segment<(Name, DeviceId)>,
) -> Answer {
    complete(async move { node.grow_device(&name, device).await }).await.map(Json)
}

/// Use a device again that was missing or has failed. It gets what it has missed.
#[utoipa::path(
    post,
    path = "/v1/pools/{name}/devices/{device}/return",
    tag = "devices",
    params(
        ("name" = Name, Path, description = "Name of the pool."),
        ("device" = String, Path, format = Uuid, description = "Id of the device."),
    ),
    responses((status = 200, description = "The pool with the device in use.", body = Pool), Problems)
)]
pub(crate) async fn return_device(
    State(node): NodeState,
    Segment((name, device)): Segment<(Name, DeviceId)>,
) -> Answer {
    complete(async move { node.return_device(&name, device).await }).await.map(Json)
}
