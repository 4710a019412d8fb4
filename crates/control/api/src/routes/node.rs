//! `/v1/status`, `/v1/health`, `/metrics`.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use quarry_api_types::{Health, Status};
use quarry_auth::{Permission, Scope};

use crate::access::{Asker, GuardState};
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
/// wrong otherwise, however critical, is in the causes: taking the node out of service would not mend it. It takes no token; the
/// causes are shown to those alone who may look at the node.
#[utoipa::path(
    get,
    path = "/v1/health",
    tag = "node",
    responses(
        (status = 200, description = "It serves; what is wrong is in the causes.", body = Health),
        (status = 503, description = "A pool does not serve, see the causes.", body = Health),
        Problems,
    ),
    security((), ("token" = []))
)]
pub(crate) async fn health(
    State(node): NodeState,
    Extension(guard): GuardState,
    asker: Option<Asker>,
) -> Result<impl IntoResponse, ApiError> {
    let shown = complete(async move { node.status().await }).await?;
    let serves = shown.pools.offline == 0;
    let status = if serves { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut health = shown.health;
    let may_look = |Extension(asker): Asker| guard.may(&asker, Permission::ReadNode, &Scope::Node);
    if !asker.is_some_and(may_look) {
        health.causes.clear();
    }
    Ok((status, Json(health)))
}

/// Not in the OpenAPI document: its form is Prometheus' and its path is where Prometheus looks.
pub(crate) async fn metrics(
    State(node): NodeState,
    Extension(guard): GuardState,
) -> Result<impl IntoResponse, ApiError> {
    let mut text = complete(async move { node.metrics().await }).await?;
    text.push_str(&guard.metrics());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}
