//! `/v1/volumes/{name}/clone`, `/rollback`, `/promote`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use quarry_api_types::{CloneVolume, Name, RollBackVolume, Volume};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Segment};
use crate::problem::{ApiError, Problems};

/// Make a volume with the content of a snapshot, or of a volume as it is now. Both share their data.
#[utoipa::path(
    post,
    path = "/v1/volumes/{name}/clone",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume to clone.")),
    request_body = CloneVolume,
    responses(
        (status = 201, description = "The new volume.", body = Volume, headers(("Location" = String))),
        Problems,
    )
)]
pub(crate) async fn clone_volume(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<CloneVolume>,
) -> Result<impl IntoResponse, ApiError> {
    let volume = complete(async move { node.clone_volume(&name, request).await }).await?;
    let location = format!("/v1/volumes/{}", volume.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(volume)))
}

/// Give a volume the content and the size that one of its snapshots has. What was written since is lost; the snapshots
/// stay. Refused while a client is connected.
#[utoipa::path(
    post,
    path = "/v1/volumes/{name}/rollback",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume.")),
    request_body = RollBackVolume,
    responses((status = 200, description = "The volume as it is now.", body = Volume), Problems)
)]
pub(crate) async fn roll_back_volume(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<RollBackVolume>,
) -> Result<Json<Volume>, ApiError> {
    complete(async move { node.roll_back_volume(&name, request).await }).await.map(Json)
}

/// Give a clone the snapshots that it stands on. The volume that had them becomes its clone and can be deleted.
#[utoipa::path(
    post,
    path = "/v1/volumes/{name}/promote",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the clone.")),
    responses((status = 200, description = "The volume as it is now.", body = Volume), Problems)
)]
pub(crate) async fn promote_volume(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Volume>, ApiError> {
    complete(async move { node.promote_volume(&name).await }).await.map(Json)
}
