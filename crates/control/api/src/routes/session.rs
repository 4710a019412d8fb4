//! `/v1/login`, `/v1/session`.

use axum::http::StatusCode;
use axum::{Extension, Json};
use quarry_api_types::{Login, NewToken, Session, Timestamp};
use quarry_auth::Principal;

use crate::access::{Asker, GuardState, blocking};
use crate::extract::Body;
use crate::guard::{Asked, now, too_many, unauthenticated};
use crate::problem::{ApiError, Problems};

/// How long a login lives.
const LOGIN_LIFE_MS: u64 = 12 * 60 * 60 * 1000;

/// Get a token for user and password. It lives for twelve hours. After five failures in a row a name is locked for half a minute,
/// then longer.
#[utoipa::path(
    post,
    path = "/v1/login",
    tag = "access",
    request_body = Login,
    responses((status = 201, description = "The token with its text, which is shown this once.", body = NewToken), Problems),
    security(())
)]
pub(crate) async fn log_in(
    Extension(guard): GuardState,
    Extension(asked): Extension<Asked>,
    Body(login): Body<Login>,
) -> Result<(StatusCode, Json<NewToken>), ApiError> {
    let address = asked.peer.map(|peer| peer.address.ip());
    let user = login.user.clone();
    if let Err(blocked) = guard.attempts.check_login(user.as_str(), address, now().unix_ms()) {
        let error = too_many(blocked.retry_after_s);
        // A flood is one entry for each time that it is stopped.
        if blocked.is_first {
            guard.refused(&asked, &error).await;
        }
        return Err(error);
    }
    let _permit = guard.hashing.acquire().await.map_err(|_| unauthenticated("the node is stopping"))?;
    let expires = Timestamp::from_unix_ms(now().unix_ms() + LOGIN_LIFE_MS);
    let logged_in = blocking(&guard, move |guard| guard.store.log_in(&login, now(), expires)).await;
    match logged_in {
        Ok(new) => {
            guard.attempts.login_succeeded(user.as_str());
            let token = &new.token;
            let principal = Principal {
                user,
                role: token.role,
                tenant: token.tenant.clone(),
                token: token.id.clone(),
                expires: token.expires,
            };
            guard.ended(&Asked { principal: Some(principal), ..asked }, StatusCode::CREATED, None).await;
            Ok((StatusCode::CREATED, Json(new)))
        }
        Err(error) => {
            if error.status() == StatusCode::UNAUTHORIZED {
                guard.attempts.login_failed(user.as_str(), address, now().unix_ms());
            }
            guard.refused(&asked, &error).await;
            Err(error)
        }
    }
}

/// Show who the node takes the sender of the token for.
#[utoipa::path(
    get,
    path = "/v1/session",
    tag = "access",
    responses((status = 200, description = "User, role and tenant.", body = Session), Problems)
)]
pub(crate) async fn show_session(Extension(asker): Asker) -> Json<Session> {
    Json(asker.session())
}

/// End the token that comes with the request.
#[utoipa::path(
    delete,
    path = "/v1/session",
    tag = "access",
    responses((status = 204, description = "It opens nothing any more."), Problems)
)]
pub(crate) async fn log_out(
    Extension(guard): GuardState,
    Extension(asker): Asker,
) -> Result<StatusCode, ApiError> {
    blocking(&guard, move |guard| guard.store.revoke_token(&asker.token)).await?;
    Ok(StatusCode::NO_CONTENT)
}
