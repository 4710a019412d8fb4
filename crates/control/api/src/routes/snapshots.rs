//! `/v1/volumes/{name}/snapshots`, `/v1/snapshots`, `/v1/snapshot-sets`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use quarry_api_types::{ChangeSnapshot, CreateSnapshot, CreateSnapshotSet, Name, Snapshot, SnapshotPath};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Segment};
use crate::problem::{ApiError, Problems};

/// List the snapshots of all volumes.
#[utoipa::path(
    get,
    path = "/v1/snapshots",
    tag = "snapshots",
    responses(
        (status = 200, description = "Sorted by volume, the oldest first in each.", body = Vec<Snapshot>),
        Problems,
    )
)]
pub(crate) async fn list_all_snapshots(State(node): NodeState) -> Result<Json<Vec<Snapshot>>, ApiError> {
    complete(async move { node.list_all_snapshots().await }).await.map(Json)
}

/// List the snapshots of a volume.
#[utoipa::path(
    get,
    path = "/v1/volumes/{name}/snapshots",
    tag = "snapshots",
    params(("name" = Name, Path, description = "Name of the volume.")),
    responses((status = 200, description = "The oldest first.", body = Vec<Snapshot>), Problems)
)]
pub(crate) async fn list_snapshots(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Vec<Snapshot>>, ApiError> {
    complete(async move { node.list_snapshots(&name).await }).await.map(Json)
}

/// Take a snapshot of a volume while it is in use.
#[utoipa::path(
    post,
    path = "/v1/volumes/{name}/snapshots",
    tag = "snapshots",
    params(("name" = Name, Path, description = "Name of the volume.")),
    request_body = CreateSnapshot,
    responses(
        (status = 201, description = "The new snapshot.", body = Snapshot, headers(("Location" = String))),
        Problems,
    )
)]
pub(crate) async fn create_snapshot(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<CreateSnapshot>,
) -> Result<impl IntoResponse, ApiError> {
    let snapshot = complete(async move { node.create_snapshot(&name, request).await }).await?;
    let location = format!("/v1/volumes/{}/snapshots/{}", snapshot.volume, snapshot.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(snapshot)))
}

/// Take snapshots of several volumes, of any pools, at one point in time: all or none.
#[utoipa::path(
    post,
    path = "/v1/snapshot-sets",
    tag = "snapshots",
    request_body = CreateSnapshotSet,
    responses(
        (status = 201, description = "The new snapshots, in the order of the request.", body = Vec<Snapshot>),
        Problems,
    )
)]
pub(crate) async fn create_snapshot_set(
    State(node): NodeState,
    Body(request): Body<CreateSnapshotSet>,
) -> Result<impl IntoResponse, ApiError> {
    request.check()?;
    let snapshots = complete(async move { node.create_snapshot_set(request).await }).await?;
    Ok((StatusCode::CREATED, Json(snapshots)))
}

/// Show a snapshot.
#[utoipa::path(
    get,
    path = "/v1/volumes/{name}/snapshots/{snapshot}",
    tag = "snapshots",
    params(
        ("name" = Name, Path, description = "Name of the volume."),
        ("snapshot" = Name, Path, description = "Name of the snapshot."),
    ),
    responses((status = 200, description = "The snapshot.", body = Snapshot), Problems)
)]
pub(crate) async fn show_snapshot(
    State(node): NodeState,
    Segment((volume, snapshot)): Segment<(Name, Name)>,
) -> Result<Json<Snapshot>, ApiError> {
    let path = SnapshotPath { volume, snapshot };
    complete(async move { node.show_snapshot(&path).await }).await.map(Json)
}

/// Give a snapshot another name, lock it, or prolong its lock.
#[utoipa::path(
    patch,
    path = "/v1/volumes/{name}/snapshots/{snapshot}",
    tag = "snapshots",
    params(
        ("name" = Name, Path, description = "Name of the volume."),
        ("snapshot" = Name, Path, description = "Name of the snapshot."),
    ),
    request_body = ChangeSnapshot,
    responses((status = 200, description = "The snapshot as it is now.", body = Snapshot), Problems)
)]
pub(crate) async fn change_snapshot(
    State(node): NodeState,
    Segment((volume, snapshot)): Segment<(Name, Name)>,
    Body(request): Body<ChangeSnapshot>,
) -> Result<Json<Snapshot>, ApiError> {
    request.check()?;
    let path = SnapshotPath { volume, snapshot };
    complete(async move { node.change_snapshot(&path, request).await }).await.map(Json)
}

/// Delete a snapshot. Refused while it is exported or locked. Clones of it live on.
#[utoipa::path(
    delete,
    path = "/v1/volumes/{name}/snapshots/{snapshot}",
    tag = "snapshots",
    params(
        ("name" = Name, Path, description = "Name of the volume."),
        ("snapshot" = Name, Path, description = "Name of the snapshot."),
    ),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(crate) async fn delete_snapshot(
    State(node): NodeState,
    Segment((volume, snapshot)): Segment<(Name, Name)>,
) -> Result<StatusCode, ApiError> {
    let path = SnapshotPath { volume, snapshot };
    complete(async move { node.delete_snapshot(&path).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
