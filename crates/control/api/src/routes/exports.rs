//! `/v1/exports`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use quarry_api_types::{CreateExport, DeleteExport, Export, ExportSelector};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Query, Segment};
use crate::problem::{ApiError, Problems};

/// List exports, those included whose volume is not there now.
#[utoipa::path(
    get,
    path = "/v1/exports",
    tag = "exports",
    responses((status = 200, description = "Sorted by volume, snapshot and protocol.", body = Vec<Export>), Problems)
)]
pub(crate) async fn list_exports(State(node): NodeState) -> Result<Json<Vec<Export>>, ApiError> {
    complete(async move { node.list_exports().await }).await.map(Json)
}

/// Serve a volume, or one of its snapshots read-only, over a protocol: to anybody, or to a host or a host group.
#[utoipa::path(
    post,
    path = "/v1/exports",
    tag = "exports",
    request_body = CreateExport,
    responses((status = 201, description = "The new export with the URIs for clients.", body = Export), Problems)
)]
pub(crate) async fn create_export(
    State(node): NodeState,
    Body(request): Body<CreateExport>,
) -> Result<(StatusCode, Json<Export>), ApiError> {
    request.check()?;
    let export = complete(async move { node.create_export(request).await }).await?;
    Ok((StatusCode::CREATED, Json(export)))
}

/// Show one export by its id, or all exports of a volume or a snapshot by its name.
#[utoipa::path(
    get,
    path = "/v1/exports/{selector}",
    tag = "exports",
    params(("selector" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}(@[A-Za-z0-9][A-Za-z0-9._-]{0,62})?$", description = "Id of the export, or `VOLUME`, or `VOLUME@SNAPSHOT`.")),
    responses((status = 200, description = "One at least, sorted by protocol.", body = Vec<Export>), Problems)
)]
pub(crate) async fn show_exports(
    State(node): NodeState,
    Segment(selector): Segment<ExportSelector>,
) -> Result<Json<Vec<Export>>, ApiError> {
    complete(async move { node.show_exports(&selector).await }).await.map(Json)
}

/// End one export by its id, or all exports of a volume or a snapshot by its name. What it served stays. Refused while
/// a client is connected, unless `force`.
#[utoipa::path(
    delete,
    path = "/v1/exports/{selector}",
    tag = "exports",
    params(
        ("selector" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}(@[A-Za-z0-9][A-Za-z0-9._-]{0,62})?$", description = "Id of the export, or `VOLUME`, or `VOLUME@SNAPSHOT`."),
        DeleteExport,
    ),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(crate) async fn delete_export(
    State(node): NodeState,
    Segment(selector): Segment<ExportSelector>,
    Query(request): Query<DeleteExport>,
) -> Result<StatusCode, ApiError> {
    complete(async move { node.delete_export(&selector, request).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
