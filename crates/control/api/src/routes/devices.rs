//! `/v1/devices`.

use axum::Json;
use axum::extract::State;
use quarry_api_types::Device;

use crate::call::{NodeState, complete};
use crate::problem::{ApiError, Problems};

/// List devices: those of the pools, and what the last scan has seen.
#[utoipa::path(
    get,
    path = "/v1/devices",
    tag = "devices",
    responses((status = 200, description = "Sorted by path.", body = Vec<Device>), Problems)
)]
pub(crate) async fn list_devices(State(node): NodeState) -> Result<Json<Vec<Device>>, ApiError> {
    complete(async move { node.list_devices().await }).await.map(Json)
}

/// Look at the machine's devices anew. Changes nothing on any device.
#[utoipa::path(
    post,
    path = "/v1/devices/scan",
    tag = "devices",
    responses((status = 200, description = "Sorted by path.", body = Vec<Device>), Problems)
)]
pub(crate) async fn scan_devices(State(node): NodeState) -> Result<Json<Vec<Device>>, ApiError> {
    complete(async move { node.scan_devices().await }).await.map(Json)
}
