//! `/v1/pools`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use quarry_api_types::{ChangePool, CreatePool, Name, Pool, StartScrub};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Segment};
use crate::problem::{ApiError, Problems};

/// List pools, those included that are offline.
#[utoipa::path(
    get,
    path = "/v1/pools",
    tag = "pools",
    responses((status = 200, description = "Sorted by name.", body = Vec<Pool>), Problems)
)]
pub(crate) async fn list_pools(State(node): NodeState) -> Result<Json<Vec<Pool>>, ApiError> {
    complete(async move { node.list_pools().await }).await.map(Json)
}

/// Make a pool over devices. What is on them is lost; devices that hold something are refused unless `force`.
#[utoipa::path(
    post,
    path = "/v1/pools",
    tag = "pools",
    request_body = CreatePool,
    responses(
        (status = 201, description = "The new pool.", body = Pool, headers(("Location" = String))),
        Problems,
    )
)]
pub(crate) async fn create_pool(
    State(node): NodeState,
    Body(request): Body<CreatePool>,
) -> Result<impl IntoResponse, ApiError> {
    request.check()?;
    let pool = complete(async move { node.create_pool(request).await }).await?;
    let location = format!("/v1/pools/{}", pool.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(pool)))
}

/// Show a pool.
#[utoipa::path(
    get,
    path = "/v1/pools/{name}",
    tag = "pools",
    params(("name" = Name, Path, description = "Name of the pool.")),
    responses((status = 200, description = "The pool.", body = Pool), Problems)
)]
pub(crate) async fn show_pool(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Pool>, ApiError> {
    complete(async move { node.show_pool(&name).await }).await.map(Json)
}

/// Change the fill levels of a pool, or how far its volumes may over-commit it.
#[utoipa::path(
    patch,
    path = "/v1/pools/{name}",
    tag = "pools",
    params(("name" = Name, Path, description = "Name of the pool.")),
    request_body = ChangePool,
    responses((status = 200, description = "The pool as it is now.", body = Pool), Problems)
)]
pub(crate) async fn change_pool(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<ChangePool>,
) -> Result<Json<Pool>, ApiError> {
    request.check()?;
    complete(async move { node.change_pool(&name, request).await }).await.map(Json)
}

/// End a pool that has no volumes and give its devices back.
#[utoipa::path(
    delete,
    path = "/v1/pools/{name}",
    tag = "pools",
    params(("name" = Name, Path, description = "Name of the pool.")),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(crate) async fn delete_pool(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<StatusCode, ApiError> {
    complete(async move { node.delete_pool(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Read every copy of everything that a pool holds, in the background, and mend what is bad. Its progress is part of the pool.
#[utoipa::path(
    post,
    path = "/v1/pools/{name}/scrub",
    tag = "pools",
    params(("name" = Name, Path, description = "Name of the pool.")),
    request_body = StartScrub,
    responses((status = 202, description = "The pool; the scrub has begun.", body = Pool), Problems)
)]
pub(crate) async fn start_scrub(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<StartScrub>,
) -> Result<(StatusCode, Json<Pool>), ApiError> {
    request.check()?;
    let pool = complete(async move { node.start_scrub(&name, request).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(pool)))
}

/// End the scrub of a pool before it has read everything.
#[utoipa::path(
    delete,
    path = "/v1/pools/{name}/scrub",
    tag = "pools",
    params(("name" = Name, Path, description = "Name of the pool.")),
    responses((status = 200, description = "The pool; no scrub runs, or it ends soon.", body = Pool), Problems)
)]
pub(crate) async fn stop_scrub(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Pool>, ApiError> {
    complete(async move { node.stop_scrub(&name).await }).await.map(Json)
}
