//! `/v1/groups`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use quarry_api_types::{ChangeGroup, CreateGroup, CreateSnapshot, Group, GroupSnapshot, Name, RollBackGroup};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Segment};
use crate::problem::{ApiError, Problems};

/// List the consistency groups.
#[utoipa::path(
    get,
    path = "/v1/groups",
    tag = "groups",
    responses((status = 200, description = "Sorted by name.", body = Vec<Group>), Problems)
)]
pub(crate) async fn list_groups(State(node): NodeState) -> Result<Json<Vec<Group>>, ApiError> {
    complete(async move { node.list_groups().await }).await.map(Json)
}

/// Make a consistency group, of volumes of any pools, or empty.
#[utoipa::path(
    post,
    path = "/v1/groups",
    tag = "groups",
    request_body = CreateGroup,
    responses(
        (status = 201, description = "The new group.", body = Group, headers(("Location" = String))),
        Problems,
    )
)]
pub(crate) async fn create_group(
    State(node): NodeState,
    Body(request): Body<CreateGroup>,
) -> Result<impl IntoResponse, ApiError> {
    request.check()?;
    let group = complete(async move { node.create_group(request).await }).await?;
    let location = format!("/v1/groups/{}", group.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(group)))
}

/// Show a group.
#[utoipa::path(
    get,
    path = "/v1/groups/{name}",
    tag = "groups",
    params(("name" = Name, Path, description = "Name of the group.")),
    responses((status = 200, description = "The group.", body = Group), Problems)
)]
pub(crate) async fn show_group(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Group>, ApiError> {
    complete(async move { node.show_group(&name).await }).await.map(Json)
}

/// Give a group another name, or other volumes: all that is asked for, or nothing.
#[utoipa::path(
    patch,
    path = "/v1/groups/{name}",
    tag = "groups",
    params(("name" = Name, Path, description = "Name of the group.")),
    request_body = ChangeGroup,
    responses((status = 200, description = "The group as it is now.", body = Group), Problems)
)]
pub(crate) async fn change_group(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<ChangeGroup>,
) -> Result<Json<Group>, ApiError> {
    request.check()?;
    complete(async move { node.change_group(&name, request).await }).await.map(Json)
}

/// End a group. Its volumes and their snapshots stay.
#[utoipa::path(
    delete,
    path = "/v1/groups/{name}",
    tag = "groups",
    params(("name" = Name, Path, description = "Name of the group.")),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(crate) async fn delete_group(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<StatusCode, ApiError> {
    complete(async move { node.delete_group(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the snapshots that the volumes of a group have together.
#[utoipa::path(
    get,
    path = "/v1/groups/{name}/snapshots",
    tag = "groups",
    params(("name" = Name, Path, description = "Name of the group.")),
    responses((status = 200, description = "The oldest first.", body = Vec<GroupSnapshot>), Problems)
)]
pub(crate) async fn list_group_snapshots(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Vec<GroupSnapshot>>, ApiError> {
    complete(async move { node.list_group_snapshots(&name).await }).await.map(Json)
}

/// Take a snapshot of each volume of a group at one point in time: all or none.
#[utoipa::path(
    post,
    path = "/v1/groups/{name}/snapshots",
    tag = "groups",
    params(("name" = Name, Path, description = "Name of the group.")),
    request_body = CreateSnapshot,
    responses((status = 201, description = "The new snapshot.", body = GroupSnapshot), Problems)
)]
pub(crate) async fn create_group_snapshot(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<CreateSnapshot>,
) -> Result<impl IntoResponse, ApiError> {
    let snapshot = complete(async move { node.create_group_snapshot(&name, request).await }).await?;
    Ok((StatusCode::CREATED, Json(snapshot)))
}

/// Delete the snapshots of one name of the volumes of a group. Refused, before any is deleted, while one is exported or locked.
/// What was cut off is completed by the same request.
#[utoipa::path(
    delete,
    path = "/v1/groups/{name}/snapshots/{snapshot}",
    tag = "groups",
    params(
        ("name" = Name, Path, description = "Name of the group."),
        ("snapshot" = Name, Path, description = "Name of the snapshot."),
    ),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(crate) async fn delete_group_snapshot(
    State(node): NodeState,
    Segment((group, snapshot)): Segment<(Name, Name)>,
) -> Result<StatusCode, ApiError> {
    complete(async move { node.delete_group_snapshot(&group, &snapshot).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give each volume of a group the content and the size that it has in a snapshot of the group. Refused, before any is changed,
/// while a client is connected to one of them. What was cut off is completed by the same request.
#[utoipa::path(
    post,
    path = "/v1/groups/{name}/rollback",
    tag = "groups",
    params(("name" = Name, Path, description = "Name of the group.")),
    request_body = RollBackGroup,
    responses((status = 200, description = "The group.", body = Group), Problems)
)]
pub(crate) async fn roll_back_group(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<RollBackGroup>,
) -> Result<Json<Group>, ApiError> {
    complete(async move { node.roll_back_group(&name, request).await }).await.map(Json)
}
