//! `/v1/exports`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use quarry_api_types::{CreateExport, Export, ExportSelector};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Segment};
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

/// Serve a volume, or one of its snapshots read-only, over a protocol.
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
    let export = complete(async move { node.create_export(request).await }).await?;
    Ok((StatusCode::CREATED, Json(export)))
}

/// End one export by its id, or all exports of a volume or a snapshot by its name. What it served stays. Refused while
/// a client is connected.
#[utoipa::path(
    delete,
    path = "/v1/exports/{selector}",
    tag = "exports",
    params(("selector" = String, Path, description = "Id of the export, or `VOLUME`, or `VOLUME@SNAPSHOT`.")),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(crate) async fn delete_export(
    State(node): NodeState,
    Segment(selector): Segment<ExportSelector>,
) -> Result<StatusCode, ApiError> {
    complete(async move { node.delete_export(&selector).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
