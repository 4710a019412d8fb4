//! `/v1/pools`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use quarry_api_types::{CreatePool, Name, Pool};

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
