//! `/v1/jobs`.

use axum::Json;
use axum::extract::State;
use quarry_api_types::Job;

use crate::call::{NodeState, complete};
use crate::extract::Segment;
use crate::problem::{ApiError, Problems};

/// List what the node does for longer than a request waits, and what it did.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    tag = "jobs",
    responses((status = 200, description = "The oldest first.", body = Vec<Job>), Problems)
)]
pub(crate) async fn list_jobs(State(node): NodeState) -> Result<Json<Vec<Job>>, ApiError> {
    complete(async move { node.list_jobs().await }).await.map(Json)
}

/// Show a job.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    tag = "jobs",
    params(("id" = u64, Path, description = "Number of the job.")),
    responses((status = 200, description = "The job.", body = Job), Problems)
)]
pub(crate) async fn show_job(
    State(node): NodeState,
    Segment(id): Segment<u64>,
) -> Result<Json<Job>, ApiError> {
    complete(async move { node.show_job(id).await }).await.map(Json)
}

/// End a job. What it has done stays.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/cancel",
    tag = "jobs",
    params(("id" = u64, Path, description = "Number of the job.")),
    responses((status = 200, description = "The job.", body = Job), Problems)
)]
pub(crate) async fn cancel_job(
    State(node): NodeState,
    Segment(id): Segment<u64>,
) -> Result<Json<Job>, ApiError> {
    complete(async move { node.cancel_job(id).await }).await.map(Json)
}
