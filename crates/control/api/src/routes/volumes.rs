//! `/v1/volumes`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use quarry_api_types::{ChangeVolume, CreateVolume, DeleteVolume, Name, RenameVolume, ResizeVolume, Volume};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Query, Segment};
use crate::problem::{ApiError, Problems};

/// List the volumes of all open pools.
#[utoipa::path(
    get,
    path = "/v1/volumes",
    tag = "volumes",
    responses((status = 200, description = "Sorted by name.", body = Vec<Volume>), Problems)
)]
pub(crate) async fn list_volumes(State(node): NodeState) -> Result<Json<Vec<Volume>>, ApiError> {
    complete(async move { node.list_volumes().await }).await.map(Json)
}

/// Carve a thin volume from a pool.
#[utoipa::path(
    post,
    path = "/v1/volumes",
    tag = "volumes",
    request_body = CreateVolume,
    responses(
        (status = 201, description = "The new volume.", body = Volume, headers(("Location" = String))),
        Problems,
    )
)]
pub(crate) async fn create_volume(
    State(node): NodeState,
    Body(request): Body<CreateVolume>,
) -> Result<impl IntoResponse, ApiError> {
    request.check()?;
    let volume = complete(async move { node.create_volume(request).await }).await?;
    let location = format!("/v1/volumes/{}", volume.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(volume)))
}

/// Show a volume.
#[utoipa::path(
    get,
    path = "/v1/volumes/{name}",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume.")),
    responses((status = 200, description = "The volume.", body = Volume), Problems)
)]
pub(crate) async fn show_volume(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Volume>, ApiError> {
    complete(async move { node.show_volume(&name).await }).await.map(Json)
}

/// Change when a volume's writes are safe, its quota, or its reservation, while it is in use.
#[utoipa::path(
    patch,
    path = "/v1/volumes/{name}",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume.")),
    request_body = ChangeVolume,
    responses((status = 200, description = "The volume as it is now.", body = Volume), Problems)
)]
pub(crate) async fn change_volume(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<ChangeVolume>,
) -> Result<Json<Volume>, ApiError> {
    request.check()?;
    complete(async move { node.change_volume(&name, request).await }).await.map(Json)
}

/// Give a volume another size while it is in use.
#[utoipa::path(
    post,
    path = "/v1/volumes/{name}/resize",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume.")),
    request_body = ResizeVolume,
    responses((status = 200, description = "The volume with its new size.", body = Volume), Problems)
)]
pub(crate) async fn resize_volume(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<ResizeVolume>,
) -> Result<Json<Volume>, ApiError> {
    request.check()?;
    complete(async move { node.resize_volume(&name, request).await }).await.map(Json)
}

/// Give a volume another name. Refused while it, or one of its snapshots, is exported.
#[utoipa::path(
    post,
    path = "/v1/volumes/{name}/rename",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume.")),
    request_body = RenameVolume,
    responses((status = 200, description = "The volume with its new name.", body = Volume), Problems)
)]
pub(crate) async fn rename_volume(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<RenameVolume>,
) -> Result<Json<Volume>, ApiError> {
    complete(async move { node.rename_volume(&name, request).await }).await.map(Json)
}

/// Wrap the data key of an encrypted volume under a new key-encryption key and destroy the old one. No data is written anew.
#[utoipa::path(
    post,
    path = "/v1/volumes/{name}/rotate-key",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume.")),
    responses((status = 200, description = "The volume.", body = Volume), Problems)
)]
pub(crate) async fn rotate_volume_key(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Volume>, ApiError> {
    complete(async move { node.rotate_volume_key(&name).await }).await.map(Json)
}

/// Destroy a volume and everything on it. Refused while it, or one of its snapshots, is exported, and while it has snapshots
/// unless `with_snapshots`. Clones live on.
#[utoipa::path(
    delete,
    path = "/v1/volumes/{name}",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume."), DeleteVolume),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(crate) async fn delete_volume(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Query(request): Query<DeleteVolume>,
) -> Result<StatusCode, ApiError> {
    complete(async move { node.delete_volume(&name, request.with_snapshots).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
