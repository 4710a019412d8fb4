//! `/v1/hosts`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use quarry_api_types::{ChangeHost, CreateHost, Host, Name};

use crate::call::{NodeState, complete};
use crate::extract::{Body, Segment};
use crate::problem::{ApiError, Problems};

/// List the hosts.
#[utoipa::path(
    get,
    path = "/v1/hosts",
    tag = "hosts",
    responses((status = 200, description = "Sorted by name.", body = Vec<Host>), Problems)
)]
pub(crate) async fn list_hosts(State(node): NodeState) -> Result<Json<Vec<Host>>, ApiError> {
    complete(async move { node.list_hosts().await }).await.map(Json)
}

/// Make a host: initiators by their names, where they come from, and what they must prove. No answer ever has a secret.
#[utoipa::path(
    post,
    path = "/v1/hosts",
    tag = "hosts",
    request_body = CreateHost,
    responses(
        (status = 201, description = "The new host.", body = Host, headers(("Location" = String))),
        Problems,
    )
)]
pub(crate) async fn create_host(
    State(node): NodeState,
    Body(request): Body<CreateHost>,
) -> Result<impl IntoResponse, ApiError> {
    request.check()?;
    let made = complete(async move { node.create_host(request).await }).await?;
    let location = format!("/v1/hosts/{}", made.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)))
}

/// Show a host.
#[utoipa::path(
    get,
    path = "/v1/hosts/{name}",
    tag = "hosts",
    params(("name" = Name, Path, description = "Name of the host.")),
    responses((status = 200, description = "The host.", body = Host), Problems)
)]
pub(crate) async fn show_host(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<Json<Host>, ApiError> {
    complete(async move { node.show_host(&name).await }).await.map(Json)
}

/// Give a host other initiators, networks or proofs: all that is asked for, or nothing.
#[utoipa::path(
    patch,
    path = "/v1/hosts/{name}",
    tag = "hosts",
    params(("name" = Name, Path, description = "Name of the host.")),
    request_body = ChangeHost,
    responses((status = 200, description = "The host as it is now.", body = Host), Problems)
)]
pub(crate) async fn change_host(
    State(node): NodeState,
    Segment(name): Segment<Name>,
    Body(request): Body<ChangeHost>,
) -> Result<Json<Host>, ApiError> {
    request.check()?;
    complete(async move { node.change_host(&name, request).await }).await.map(Json)
}

/// End a host, which leaves its groups. Refused while an export names it.
#[utoipa::path(
    delete,
    path = "/v1/hosts/{name}",
    tag = "hosts",
    params(("name" = Name, Path, description = "Name of the host.")),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(crate) async fn delete_host(
    State(node): NodeState,
    Segment(name): Segment<Name>,
) -> Result<StatusCode, ApiError> {
    complete(async move { node.delete_host(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
