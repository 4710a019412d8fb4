//! Parts of a request, with problem documents for what is wrong with them.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Json, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use quarry_api_types::ProblemCode;
use serde::de::DeserializeOwned;

use crate::limits::BODY_TIMEOUT;
use crate::problem::{ApiError, body_too_large, body_too_slow};

/// A JSON body. Only `application/json` is taken: a browser cannot send that across sites without being asked
/// for permission first, which this server never gives.
pub(crate) struct Body<T>(pub(crate) T);

impl<T, S> FromRequest<S> for Body<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        match tokio::time::timeout(BODY_TIMEOUT, Json::from_request(request, state)).await {
            Ok(Ok(Json(body))) => Ok(Self(body)),
            Ok(Err(rejection)) => Err(body_error(&rejection)),
            Err(_) => Err(body_too_slow()),
        }
    }
}

fn body_error(rejection: &JsonRejection) -> ApiError {
    let status = rejection.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        return body_too_large();
    }
    let next_step = match rejection {
        JsonRejection::MissingJsonContentType(_) => "Send JSON with `Content-Type: application/json`.",
        _ => "Correct the body; /v1/openapi.json describes it.",
    };
    ApiError::new(ProblemCode::Invalid, status, innermost(rejection), next_step)
}

/// A part of the path.
pub(crate) struct Segment<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Segment<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(rejection) => Err(bad_request(&rejection, "Correct the name in the path.")),
        }
    }
}

/// What stands behind the `?`.
pub(crate) struct Query<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                Err(bad_request(&rejection, "Correct the query; /v1/openapi.json describes it."))
            }
        }
    }
}

fn bad_request(rejection: &dyn std::error::Error, next_step: &str) -> ApiError {
    ApiError::new(ProblemCode::Invalid, StatusCode::BAD_REQUEST, innermost(rejection), next_step)
}

/// The text of the deepest cause: the outer ones only tell how axum is built.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
