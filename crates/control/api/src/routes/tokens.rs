//! `/v1/tokens`.

use axum::http::StatusCode;
use axum::{Extension, Json};
use quarry_api_types::{CreateToken, Name, NewToken, ProblemCode, Role, Timestamp, Token};
use quarry_auth::{Permission, Principal, Scope};

use crate::Guard;
use crate::access::{Asker, GuardState, blocking};
use crate::extract::{Body, Segment};
use crate::guard::{not_there, now};
use crate::problem::{ApiError, Problems};

/// List tokens: the asker's own, and those that he may look after. Their texts are not shown.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    tag = "access",
    responses((status = 200, description = "Sorted by id.", body = Vec<Token>), Problems)
)]
pub(crate) async fn list_tokens(Extension(guard): GuardState, Extension(asker): Asker) -> Json<Vec<Token>> {
    let mut tokens = guard.store.tokens();
    tokens.retain(|token| sees(&guard, &asker, token));
    Json(tokens)
}

/// Make a token that stands for the asker. It may do as much as he, or less; its text is shown this once.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    tag = "access",
    request_body = CreateToken,
    responses((status = 201, description = "The new token with its text.", body = NewToken), Problems)
)]
pub(crate) async fn create_token(
    Extension(guard): GuardState,
    Extension(asker): Asker,
    Body(request): Body<CreateToken>,
) -> Result<(StatusCode, Json<NewToken>), ApiError> {
    request.check()?;
    let (role, tenant) = granted(&asker, &request)?;
    let expires = request
        .life_s
        .map(|life| Timestamp::from_unix_ms(now().unix_ms().saturating_add(life.saturating_mul(1000))));
    // A token that ends gives no token that lives longer, unless its user may look after tokens anyhow.
    let expires = match (asker.expires, expires) {
        (Some(own), wanted) if !guard.may(&asker, Permission::ChangeTokens, &asker.scope()) => {
            Some(wanted.map_or(own, |wanted| wanted.min(own)))
        }
        (_, wanted) => wanted,
    };
    let made = blocking(&guard, move |guard| {
        guard.store.create_token(&asker.user, (role, tenant.as_ref()), &request.purpose, now(), expires)
    });
    Ok((StatusCode::CREATED, Json(made.await?)))
}

/// End a token: an own one, or one that the asker may look after.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{id}",
    tag = "access",
    params(("id" = String, Path, description = "Id of the token.")),
    responses((status = 204, description = "It opens nothing any more."), Problems)
)]
pub(crate) async fn revoke_token(
    Extension(guard): GuardState,
    Extension(asker): Asker,
    Segment(id): Segment<String>,
) -> Result<StatusCode, ApiError> {
    let missing = || not_there("token", &id);
    let token = guard.store.token(&id).map_err(|_| missing())?;
    if !sees(&guard, &asker, &token) {
        return Err(missing());
    }
    // A token opens no more than its role, so it ends none that opens more, whoever made them.
    let is_own = token.id == asker.token || is_of(&asker, &token) && token.role == asker.role;
    if !is_own && !guard.may(&asker, Permission::ChangeTokens, &Scope::of_tenant(token.tenant.as_ref())) {
        let detail = format!("the role {} does not end this token", asker.role);
        let next_step = "Ask somebody who manages users.";
        return Err(ApiError::new(ProblemCode::Forbidden, StatusCode::FORBIDDEN, detail, next_step));
    }
    blocking(&guard, move |guard| guard.store.revoke_token(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn is_of(asker: &Principal, token: &Token) -> bool {
    token.user == asker.user && token.tenant == asker.tenant
}

fn sees(guard: &Guard, asker: &Principal, token: &Token) -> bool {
    is_of(asker, token) || guard.may(asker, Permission::ReadTokens, &Scope::of_tenant(token.tenant.as_ref()))
}

/// Role and tenant of a new token: an admin gives any, a tenant admin those of his tenant, everybody his own.
fn granted(asker: &Principal, request: &CreateToken) -> Result<(Role, Option<Name>), ApiError> {
    let role = request.role.unwrap_or(asker.role);
    let tenant = request.tenant.clone().or_else(|| asker.tenant.clone()).filter(|_| role.is_of_tenant());
    let may_give = match asker.role {
        Role::Admin => role.is_of_tenant() == tenant.is_some(),
        Role::TenantAdmin => role.is_of_tenant() && tenant == asker.tenant,
        own => role == own && tenant == asker.tenant,
    };
    if may_give && (request.tenant.is_none() || request.tenant == tenant) {
        return Ok((role, tenant));
    }
    let detail =
        format!("whoever is {} cannot give a token for {role}{}", asker.role, of(request.tenant.as_ref()));
    let next_step =
        "Ask for a role and a tenant that include no more than your own; a role in a tenant needs a tenant.";
    Err(ApiError::new(ProblemCode::Forbidden, StatusCode::FORBIDDEN, detail, next_step))
}

fn of(tenant: Option<&Name>) -> String {
    tenant.map_or_else(String::new, |tenant| format!(" of tenant '{tenant}'"))
}
