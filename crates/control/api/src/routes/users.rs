//! `/v1/users`.

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use quarry_api_types::{CreateUser, Name, ProblemCode, SetPassword, User};
use quarry_auth::{Permission, Scope};

use crate::access::{Asker, GuardState, blocking};
use crate::extract::{Body, Segment};
use crate::guard::{not_there, now, too_many};
use crate::problem::{ApiError, Problems};

/// List users.
#[utoipa::path(
    get,
    path = "/v1/users",
    tag = "access",
    responses((status = 200, description = "Sorted by name.", body = Vec<User>), Problems)
)]
pub(crate) async fn list_users(Extension(guard): GuardState) -> Json<Vec<User>> {
    Json(guard.store.users())
}

/// Make a user.
#[utoipa::path(
    post,
    path = "/v1/users",
    tag = "access",
    request_body = CreateUser,
    responses((status = 201, description = "The new user.", body = User, headers(("Location" = String))), Problems)
)]
pub(crate) async fn create_user(
    Extension(guard): GuardState,
    Body(request): Body<CreateUser>,
) -> Result<impl IntoResponse, ApiError> {
    request.check()?;
    let user = blocking(&guard, move |guard| guard.store.create_user(request, now())).await?;
    let location = format!("/v1/users/{}", user.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(user)))
}

/// Show a user.
#[utoipa::path(
    get,
    path = "/v1/users/{name}",
    tag = "access",
    params(("name" = Name, Path, description = "Name of the user.")),
    responses((status = 200, description = "The user.", body = User), Problems)
)]
pub(crate) async fn show_user(
    Extension(guard): GuardState,
    Segment(name): Segment<Name>,
) -> Result<Json<User>, ApiError> {
    Ok(Json(guard.store.user(&name)?))
}

/// End a user and every token that stands for it.
#[utoipa::path(
    delete,
    path = "/v1/users/{name}",
    tag = "access",
    params(("name" = Name, Path, description = "Name of the user.")),
    responses((status = 204, description = "It is gone."), Problems)
)]
pub(crate) async fn delete_user(
    Extension(guard): GuardState,
    Segment(name): Segment<Name>,
) -> Result<StatusCode, ApiError> {
    blocking(&guard, move |guard| guard.store.delete_user(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a user another password: oneself by the present one, others by the right to manage users. Its logins end.
#[utoipa::path(
    put,
    path = "/v1/users/{name}/password",
    tag = "access",
    params(("name" = Name, Path, description = "Name of the user.")),
    request_body = SetPassword,
    responses((status = 204, description = "It has the new password."), Problems)
)]
pub(crate) async fn set_password(
    Extension(guard): GuardState,
    Extension(asker): Asker,
    Segment(name): Segment<Name>,
    Body(request): Body<SetPassword>,
) -> Result<StatusCode, ApiError> {
    request.check()?;
    let missing = || not_there("user", name.as_str());
    let scope = guard.store.user(&name).map(|user| Scope::of_tenant(user.tenant.as_ref()));
    let may_manage = scope.as_ref().is_ok_and(|scope| guard.may(&asker, Permission::ChangeUsers, scope));
    let is_own = asker.user == name;
    if !may_manage && !is_own {
        return Err(missing());
    }
    if let Err(blocked) = guard.attempts.check_login(name.as_str(), None, now().unix_ms()) {
        return Err(too_many(blocked.retry_after_s));
    }
    let _permit = guard.hashing.acquire().await.map_err(|_| missing())?;
    let user = name.clone();
    let is_set = blocking(&guard, move |guard| {
        let is_proved = may_manage
            || request.old_password.as_ref().is_some_and(|old| guard.store.is_password(&user, old));
        if is_proved {
            guard.store.set_password(&user, &request.password)?;
        }
        Ok::<_, quarry_auth::AccessError>(is_proved)
    });
    if is_set.await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    guard.attempts.login_failed(name.as_str(), None, now().unix_ms());
    Err(ApiError::new(
        ProblemCode::Forbidden,
        StatusCode::FORBIDDEN,
        "the present password is wrong, or was not given",
        "Give it as old_password, or ask somebody who manages users.",
    ))
}
