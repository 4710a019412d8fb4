//! `/v1/image-volumes` and `/v1/volumes/{name}/migration`: volumes that lie elsewhere, and volumes that move.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use quarry_api_types::{AdoptVolume, MigrateVolume, Name, Volume};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Segment};
use crate::problem::{ApiError, Problems};

/// Serve a device that holds data as a volume, as it is: image mode. Nothing is copied, and nothing of Quarry's is written to it.
#[utoipa::path(
    post,
    path = "/v1/image-volumes",
    tag = "volumes",
    request_body = AdoptVolume,
    responses(
        (status = 201, description = "The volume.", body = Volume, headers(("Location" = String))),
        Problems,
    )
)]
pub(crate) async fn adopt_volume(
    State(node): NodeState,
    Body(request): Body<AdoptVolume>,
) -> Result<impl IntoResponse, ApiError> {
    request.check()?;
    let volume = complete(async move { node.adopt_volume(request).await }).await?;
    let location = format!("/v1/volumes/{}", volume.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(volume)))
}

/// Let go of the device of a volume in image mode: the volume ends, what is on the device stays.
#[utoipa::path(
    post,
    path = "/v1/volumes/{name}/release",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume.")),
    responses((status = 204, description = "The device is free."), Problems)
)]
pub(crate) async fn release_volume(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<StatusCode, ApiError> {
    complete(async move { node.release_volume(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begin to move a volume to a pool or a device while it is in use, or go on with it after it has stopped. `migration` of the volume
/// says how far it is, and is absent when it is there.
#[utoipa::path(
    post,
    path = "/v1/volumes/{name}/migration",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume.")),
    request_body = MigrateVolume,
    responses((status = 200, description = "The volume, which moves.", body = Volume), Problems)
)]
pub(crate) async fn migrate_volume(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<MigrateVolume>,
) -> Result<Json<Volume>, ApiError> {
    request.check()?;
    complete(async move { node.migrate_volume(&name, request).await }).await.map(Json)
}

/// Leave a volume that moves where it was. Refused once it is at its new place.
#[utoipa::path(
    delete,
    path = "/v1/volumes/{name}/migration",
    tag = "volumes",
    params(("name" = Name, Path, description = "Name of the volume.")),
    responses((status = 200, description = "The volume, where it was.", body = Volume), Problems)
)]
pub(crate) async fn cancel_migration(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Volume>, ApiError> {
    complete(async move { node.cancel_migration(&name).await }).await.map(Json)
}
