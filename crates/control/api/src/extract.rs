//! Parts of a request, with problem documents for what is wrong with them.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Json, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use quarry_api_types::{InvalidName, ProblemCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;

use crate::conformity::{Departure, departure};
use crate::limits::BODY_TIMEOUT;
use crate::problem::{ApiError, body_too_large, body_too_slow};

/// A JSON body. Only `application/json` is taken: a browser cannot send that across sites without being asked
/// for permission first, which this server never gives.
pub(crate) struct Body<T>(pub(crate) T);

impl<T, S> FromRequest<S> for Body<T>
where
    T: DeserializeOwned + ToSchema,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        read(value_of(request, state).await?).map(Self)
    }
}

/// A body whose every part must be as the document has it, before anybody looks what it means: one with many parts, which
/// are judged together later.
pub(crate) struct WholeBody<T>(pub(crate) T);

impl<T, S> FromRequest<S> for WholeBody<T>
where
    T: DeserializeOwned + ToSchema,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let body = value_of(request, state).await?;
        let departure = departure::<T>(&body);
        let read = read(body)?;
        match departure {
            None => Ok(Self(read)),
            Some(departure) => Err(malformed(&departure, departure.to_string())),
        }
    }
}

async fn value_of<S: Send + Sync>(request: Request, state: &S) -> Result<Value, ApiError> {
    let mut body: Value = match tokio::time::timeout(BODY_TIMEOUT, Json::from_request(request, state)).await {
        Ok(Ok(Json(body))) => body,
        Ok(Err(rejection)) => return Err(body_error(&rejection)),
        Err(_) => return Err(body_too_slow()),
    };
    make_whole(&mut body);
    Ok(body)
}

/// What a body says. What no schema can say, a range of addresses with bits behind its prefix for example, is no error of its form:
/// it is answered as other contradictions are.
fn read<T: DeserializeOwned + ToSchema>(body: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(&body).map_err(|error| match departure::<T>(&body) {
        None => unreadable(StatusCode::CONFLICT, error.to_string()),
        Some(departure) => malformed(&departure, error.to_string()),
    })
}

fn malformed(departure: &Departure, what: String) -> ApiError {
    unreadable(StatusCode::UNPROCESSABLE_ENTITY, what).with_pointer(&departure.pointer)
}

fn unreadable(status: StatusCode, what: String) -> ApiError {
    let next_step = "Correct the body; /v1/openapi.json describes it.";
    ApiError::new(ProblemCode::Invalid, status, what, next_step)
}

/// Writes whole numbers as such: for JSON, and its schemas, `4096.0` is one.
fn make_whole(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            // Above this a float does not say which whole number it is.
            if let Some(float) =
                float.filter(|float| float.fract() == 0.0 && float.abs() <= (1u64 << 53) as f64)
            {
                *number = match float < 0.0 {
                    true => (float as i64).into(),
                    false => (float as u64).into(),
                };
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(members) => members.values_mut().for_each(make_whole),
        _ => {}
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
            Err(rejection) => Err(no_such_path(&rejection)),
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

/// A name that nothing can have because an id looks so: there is nothing of that name.
fn no_such_path(rejection: &dyn std::error::Error) -> ApiError {
    let what = innermost(rejection);
    if what.ends_with(InvalidName::FORM_OF_ID) {
        let next_step = "Name it by its name; a list shows it.";
        return ApiError::new(ProblemCode::NotFound, StatusCode::NOT_FOUND, what, next_step);
    }
    bad_request(rejection, "Correct the name in the path.")
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_are_whole_however_they_are_written() {
        let mut body = json!({"size": 4096.0, "list": [1e3, -2.0, 0.5, 1e300], "text": "4096.0"});
        make_whole(&mut body);
        assert_eq!(body, json!({"size": 4096, "list": [1000, -2, 0.5, 1e300], "text": "4096.0"}));
    }
}
