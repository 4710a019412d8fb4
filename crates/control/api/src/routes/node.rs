//! `/v1/status`, `/v1/health`, `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use quarry_api_types::{Health, Status};

use crate::call::{NodeState, complete};
use crate::problem::{ApiError, Problems};

/// The node in one page.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "node",
    responses((status = 200, description = "The node as it is now.", body = Status), Problems)
)]
pub(crate) async fn status(State(node): NodeState) -> Result<Json<Status>, ApiError> {
    complete(async move { node.status().await }).await.map(Json)
}

/// The node's health, for probes and load balancers: 200 as long as it serves all of its pools, 503 when it does not. What is
/// wrong otherwise, however critical, is in the causes: taking the node out of service would not mend it.
#[utoipa::path(
    get,
    path = "/v1/health",
    tag = "node",
    responses(
        (status = 200, description = "It serves; what is wrong is in the causes.", body = Health),
        (status = 503, description = "A pool does not serve, see the causes.", body = Health),
        Problems,
    )
)]
pub(crate) async fn health(State(node): NodeState) -> Result<impl IntoResponse, ApiError> {
    let shown = complete(async move { node.status().await }).await?;
    let serves = shown.pools.offline == 0;
    let status = if serves { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(shown.health)))
}

/// Not in the OpenAPI document: its form is Prometheus' and its path is where Prometheus looks.
pub(crate) async fn metrics(State(node): NodeState) -> Result<impl IntoResponse, ApiError> {
    let text = complete(async move { node.metrics().await }).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}
