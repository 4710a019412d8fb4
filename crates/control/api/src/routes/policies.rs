//! `/v1/policies`, and the policies of volumes and groups.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use quarry_api_types::{AttachPolicy, ChangePolicy, CreatePolicy, GroupPolicy, Name, Policy, VolumePolicy};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Segment};
use crate::problem::{ApiError, Problems};

/// List the policies.
#[utoipa::path(
    get,
    path = "/v1/policies",
    tag = "policies",
    responses((status = 200, description = "Sorted by name.", body = Vec<Policy>), Problems)
)]
pub(crate) async fn list_policies(State(node): NodeState) -> Result<Json<Vec<Policy>>, ApiError> {
    complete(async move { node.list_policies().await }).await.map(Json)
}

/// Make a policy. It holds for nothing until it is attached to volumes or groups.
#[utoipa::path(
    post,
    path = "/v1/policies",
    tag = "policies",
    request_body = CreatePolicy,
    responses(
        (status = 201, description = "The new policy.", body = Policy, headers(("Location" = String))),
        Problems,
    )
)]
pub(crate) async fn create_policy(
    State(node): NodeState,
    Body(request): Body<CreatePolicy>,
) -> Result<impl IntoResponse, ApiError> {
    request.check()?;
    let policy = complete(async move { node.create_policy(request).await }).await?;
    let location = format!("/v1/policies/{}", policy.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(policy)))
}

/// Show a policy.
#[utoipa::path(
    get,
    path = "/v1/policies/{name}",
    tag = "policies",
    params(("name" = Name, Path, description = "Name of the policy.")),
    responses((status = 200, description = "The policy.", body = Policy), Problems)
)]
pub(crate) async fn show_policy(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Policy>, ApiError> {
    complete(async move { node.show_policy(&name).await }).await.map(Json)
}

/// Give a policy other settings, all at once. The node makes its volumes so in the background.
#[utoipa::path(
    put,
    path = "/v1/policies/{name}",
    tag = "policies",
    params(("name" = Name, Path, description = "Name of the policy.")),
    request_body = ChangePolicy,
    responses((status = 200, description = "The policy as it is now.", body = Policy), Problems)
)]
pub(crate) async fn change_policy(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<ChangePolicy>,
) -> Result<Json<Policy>, ApiError> {
    request.check()?;
    complete(async move { node.change_policy(&name, request).await }).await.map(Json)
}

/// End a policy that is attached to nothing.
#[utoipa::path(
    delete,
    path = "/v1/policies/{name}",
    tag = "policies",
    params(("name" = Name, Path, description = "Name of the policy.")),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(crate) async fn delete_policy(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<StatusCode, ApiError> {
    complete(async move { node.delete_policy(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show what is meant for a volume, whether it is so, why, and what the node is about to do.
#[utoipa::path(
    get,
    path = "/v1/volumes/{name}/policy",
    tag = "policies",
    params(("name" = Name, Path, description = "Name of the volume.")),
    responses((status = 200, description = "What is meant, and how it is.", body = VolumePolicy), Problems)
)]
pub(crate) async fn show_volume_policy(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<VolumePolicy>, ApiError> {
    complete(async move { node.show_volume_policy(&name).await }).await.map(Json)
}

/// Attach a policy to a volume, overrides, or both, in the place of what it has.
#[utoipa::path(
    put,
    path = "/v1/volumes/{name}/policy",
    tag = "policies",
    params(("name" = Name, Path, description = "Name of the volume.")),
    request_body = AttachPolicy,
    responses((status = 200, description = "What is meant, and how it is.", body = VolumePolicy), Problems)
)]
pub(crate) async fn attach_volume_policy(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<AttachPolicy>,
) -> Result<Json<VolumePolicy>, ApiError> {
    request.check()?;
    complete(async move { node.attach_volume_policy(&name, request).await }).await.map(Json)
}

/// Take policy and overrides of a volume away. It stays as it is, and so do its snapshots.
#[utoipa::path(
    delete,
    path = "/v1/volumes/{name}/policy",
    tag = "policies",
    params(("name" = Name, Path, description = "Name of the volume.")),
    responses((status = 200, description = "What is meant, and how it is.", body = VolumePolicy), Problems)
)]
pub(crate) async fn detach_volume_policy(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<VolumePolicy>, ApiError> {
    complete(async move { node.detach_volume_policy(&name).await }).await.map(Json)
}

/// Show the policy of a consistency group.
#[utoipa::path(
    get,
    path = "/v1/groups/{name}/policy",
    tag = "policies",
    params(("name" = Name, Path, description = "Name of the group.")),
    responses((status = 200, description = "The policy of the group.", body = GroupPolicy), Problems)
)]
pub(crate) async fn show_group_policy(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<GroupPolicy>, ApiError> {
    complete(async move { node.show_group_policy(&name).await }).await.map(Json)
}

/// Attach a policy to a consistency group: it holds for those of its volumes that have none of their own, and they are
/// snapshotted at one point in time.
#[utoipa::path(
    put,
    path = "/v1/groups/{name}/policy",
    tag = "policies",
    params(("name" = Name, Path, description = "Name of the group.")),
    request_body = AttachPolicy,
    responses((status = 200, description = "The policy of the group.", body = GroupPolicy), Problems)
)]
pub(crate) async fn attach_group_policy(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<AttachPolicy>,
) -> Result<Json<GroupPolicy>, ApiError> {
    request.check()?;
    complete(async move { node.attach_group_policy(&name, request).await }).await.map(Json)
}

/// Take the policy of a consistency group away.
#[utoipa::path(
    delete,
    path = "/v1/groups/{name}/policy",
    tag = "policies",
    params(("name" = Name, Path, description = "Name of the group.")),
    responses((status = 200, description = "The policy of the group.", body = GroupPolicy), Problems)
)]
pub(crate) async fn detach_group_policy(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<GroupPolicy>, ApiError> {
    complete(async move { node.detach_group_policy(&name).await }).await.map(Json)
}
