//! What figures were over time, and what is to be expected.

use axum::Json;
use axum::extract::State;
use quarry_api_types::{DeviceId, Forecast, Name, ObjectKind, SeriesHistory, SeriesQuery};

use crate::call::{NodeState, complete};
use crate::extract::{Query, Segment};
use crate::problem::{ApiError, Problems};

/// Show a figure of a pool over time.
#[utoipa::path(
    get,
    path = "/v1/pools/{name}/history",
    tag = "pools",
    params(("name" = Name, Path, description = "Name of the pool."), SeriesQuery),
    responses((status = 200, description = "The figure, the oldest point first.", body = SeriesHistory), Problems)
)]
pub(crate) async fn show_pool_history(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Query(query): Query<SeriesQuery>,
) -> Result<Json<SeriesHistory>, ApiError> {
    query.figure(ObjectKind::Pool)?;
    complete(async move { node.show_pool_history(&name, query).await }).await.map(Json)
}

/// Show a figure of a volume over time.
#[utoipa::path(
    get,
    path = "/v1/volumes/{name}/history",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume."), SeriesQuery),
    responses((status = 200, description = "The figure, the oldest point first.", body = SeriesHistory), Problems)
)]
pub(crate) async fn show_volume_history(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Query(query): Query<SeriesQuery>,
) -> Result<Json<SeriesHistory>, ApiError> {
    query.figure(ObjectKind::Volume)?;
    complete(async move { node.show_volume_history(&name, query).await }).await.map(Json)
}

/// Show a figure of a device of a pool over time.
#[utoipa::path(
    get,
    path = "/v1/pools/{name}/devices/{device}/history",
    tag = "devices",
    params(
        ("name" = Name, Path, description = "Name of the pool."),
        ("device" = String, Path, format = Uuid, description = "Id of the device."),
        SeriesQuery,
    ),
    responses((status = 200, description = "The figure, the oldest point first.", body = SeriesHistory), Problems)
)]
pub(crate) async fn show_device_history(
    State(node): NodeState,
    Segment((name, device)): Segment<(Name, DeviceId)>,
    Query(query): Query<SeriesQuery>,
) -> Result<Json<SeriesHistory>, ApiError> {
    query.figure(ObjectKind::Device)?;
    complete(async move { node.show_device_history(&name, device, query).await }).await.map(Json)
}

/// Show when a pool will be full, with an interval, and what will be asked of it. It is worked out of the history, and kept for an hour.
#[utoipa::path(
    get,
    path = "/v1/pools/{name}/forecast",
    tag = "pools",
    params(("name" = Name, Path, description = "Name of the pool.")),
    responses((status = 200, description = "What is to be expected.", body = Forecast), Problems)
)]
pub(crate) async fn show_pool_forecast(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Forecast>, ApiError> {
    complete(async move { node.show_pool_forecast(&name).await }).await.map(Json)
}

/// Show when a volume will have filled its quota or its size, with an interval, and what will be asked of it. It is worked out of the
/// history, and kept for an hour.
#[utoipa::path(
    get,
    path = "/v1/volumes/{name}/forecast",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume.")),
    responses((status = 200, description = "What is to be expected.", body = Forecast), Problems)
)]
pub(crate) async fn show_volume_forecast(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Forecast>, ApiError> {
    complete(async move { node.show_volume_forecast(&name).await }).await.map(Json)
}
