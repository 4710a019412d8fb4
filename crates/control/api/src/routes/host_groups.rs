//! `/v1/host-groups`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use quarry_api_types::{ChangeHostGroup, CreateHostGroup, HostGroup, Name};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Segment};
use crate::problem::{ApiError, Problems};

/// List the host groups.
#[utoipa::path(
    get,
    path = "/v1/host-groups",
    tag = "hosts",
    responses((status = 200, description = "Sorted by name.", body = Vec<HostGroup>), Problems)
)]
pub(crate) async fn list_host_groups(State(node): NodeState) -> Result<Json<Vec<HostGroup>>, ApiError> {
    complete(async move { node.list_host_groups().await }).await.map(Json)
}

/// Make a host group, of hosts, or empty.
#[utoipa::path(
    post,
    path = "/v1/host-groups",
    tag = "hosts",
    request_body = CreateHostGroup,
    responses(
        (status = 201, description = "The new host group.", body = HostGroup, headers(("Location" = String))),
        Problems,
    )
)]
pub(crate) async fn create_host_group(
    State(node): NodeState,
    Body(request): Body<CreateHostGroup>,
) -> Result<impl IntoResponse, ApiError> {
    request.check()?;
    let made = complete(async move { node.create_host_group(request).await }).await?;
    let location = format!("/v1/host-groups/{}", made.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)))
}

/// Show a host group.
#[utoipa::path(
    get,
    path = "/v1/host-groups/{name}",
    tag = "hosts",
    params(("name" = Name, Path, description = "Name of the host group.")),
    responses((status = 200, description = "The host group.", body = HostGroup), Problems)
)]
pub(crate) async fn show_host_group(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<HostGroup>, ApiError> {
    complete(async move { node.show_host_group(&name).await }).await.map(Json)
}

/// Give a host group other hosts: all that is asked for, or nothing. They see at once what is exported to the group.
#[utoipa::path(
    patch,
    path = "/v1/host-groups/{name}",
    tag = "hosts",
    params(("name" = Name, Path, description = "Name of the host group.")),
    request_body = ChangeHostGroup,
    responses((status = 200, description = "The host group as it is now.", body = HostGroup), Problems)
)]
pub(crate) async fn change_host_group(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<ChangeHostGroup>,
) -> Result<Json<HostGroup>, ApiError> {
    request.check()?;
    complete(async move { node.change_host_group(&name, request).await }).await.map(Json)
}

/// End a host group. Its hosts stay. Refused while an export names it.
#[utoipa::path(
    delete,
    path = "/v1/host-groups/{name}",
    tag = "hosts",
    params(("name" = Name, Path, description = "Name of the host group.")),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(crate) async fn delete_host_group(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<StatusCode, ApiError> {
    complete(async move { node.delete_host_group(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
