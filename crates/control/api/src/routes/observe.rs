//! `/v1/stats`, `/v1/volumes/{name}/stats`, `/v1/slow-requests`, `/v1/log`, `/v1/configuration`.

use axum::Json;
use axum::extract::State;
use quarry_api_types::{Configuration, LogLines, Name, NodeStats, SlowRequests, VolumeStats};

use crate::call::{NodeState, complete};
use crate::extract::Segment;
use crate::problem::{ApiError, Problems};

/// What hosts have done with a volume since it was opened, and how long it took. Two looks make rates.
#[utoipa::path(
    get,
    path = "/v1/volumes/{name}/stats",
    tag = "observation",
    params(("name" = Name, Path, description = "Name of the volume.")),
    responses((status = 200, description = "The counters.", body = VolumeStats), Problems)
)]
pub(crate) async fn show_volume_stats(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<VolumeStats>, ApiError> {
    complete(async move { node.show_volume_stats(&name).await }).await.map(Json)
}

/// What the node has done: volumes that hosts have used, open pools and their devices.
#[utoipa::path(
    get,
    path = "/v1/stats",
    tag = "observation",
    responses((status = 200, description = "The counters.", body = NodeStats), Problems)
)]
pub(crate) async fn show_stats(State(node): NodeState) -> Result<Json<NodeStats>, ApiError> {
    complete(async move { node.show_stats().await }).await.map(Json)
}

/// The newest requests of hosts that took longer than `slow_request_ms`, with what they waited for.
#[utoipa::path(
    get,
    path = "/v1/slow-requests",
    tag = "observation",
    responses((status = 200, description = "The oldest first.", body = SlowRequests), Problems)
)]
pub(crate) async fn list_slow_requests(State(node): NodeState) -> Result<Json<SlowRequests>, ApiError> {
    complete(async move { node.list_slow_requests().await }).await.map(Json)
}

/// The newest lines of the node's log.
#[utoipa::path(
    get,
    path = "/v1/log",
    tag = "observation",
    responses((status = 200, description = "The oldest first.", body = LogLines), Problems)
)]
pub(crate) async fn show_log(State(node): NodeState) -> Result<Json<LogLines>, ApiError> {
    complete(async move { node.show_log().await }).await.map(Json)
}

/// What the node was told at its start, without anything secret.
#[utoipa::path(
    get,
    path = "/v1/configuration",
    tag = "observation",
    responses((status = 200, description = "Every setting.", body = Configuration), Problems)
)]
pub(crate) async fn show_configuration(State(node): NodeState) -> Result<Json<Configuration>, ApiError> {
    complete(async move { node.show_configuration().await }).await.map(Json)
}
