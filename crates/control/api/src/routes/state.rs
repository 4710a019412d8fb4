//! `/v1/state`: the whole intended state as one document.

use axum::Json;
use axum::extract::State as NodeOf;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use quarry_api_types::{Job, State, StatePlan};

use crate::call::{NodeState, complete};
use crate::extract::Body;
use crate::problem::{ApiError, Problems};

/// Show the whole intended state as one document, with versions. Secrets are not in it, and content of volumes is not.
#[utoipa::path(
    get,
    path = "/v1/state",
    tag = "state",
    responses((status = 200, description = "The document.", body = State), Problems)
)]
pub(crate) async fn show_state(NodeOf(node): NodeState) -> Result<Json<State>, ApiError> {
    complete(async move { node.show_state().await }).await.map(Json)
}

/// Tell what applying a document would do, and why it cannot be done. Changes nothing.
#[utoipa::path(
    post,
    path = "/v1/state/plan",
    tag = "state",
    request_body = State,
    responses((status = 200, description = "What would be done.", body = StatePlan), Problems)
)]
pub(crate) async fn plan_state(
    NodeOf(node): NodeState,
    Body(state): Body<State>,
) -> Result<Json<StatePlan>, ApiError> {
    state.check()?;
    complete(async move { node.plan_state(state).await }).await.map(Json)
}

/// Begin to make a document so, in the background, also over the end of the node. What it does not name is left alone, and nothing
/// is deleted. Nothing is begun when it cannot be done, or when a thing has changed since the version that the document names.
#[utoipa::path(
    post,
    path = "/v1/state",
    tag = "state",
    request_body = State,
    responses(
        (status = 202, description = "The job.", body = Job, headers(("Location" = String))),
        Problems,
    )
)]
pub(crate) async fn apply_state(
    NodeOf(node): NodeState,
    Body(state): Body<State>,
) -> Result<impl IntoResponse, ApiError> {
    state.check()?;
    let job = complete(async move { node.apply_state(state).await }).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/v1/jobs/{}", job.id))], Json(job)))
}
