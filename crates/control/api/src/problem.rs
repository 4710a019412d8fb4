//! Errors as HTTP answers: the one place where kinds of errors become status codes.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use quarry_api_types::{InvalidRequest, Problem, ProblemCode};
use quarry_node_api::{ErrorKind, NodeError};
use utoipa::openapi::{Content, RefOr, Response as ResponseDocument, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::limits::{BODY_TIMEOUT, REQUEST_BYTES_MAX};

pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Code and HTTP status of each kind of error.
pub fn http_status(kind: ErrorKind) -> (ProblemCode, StatusCode) {
    match kind {
        ErrorKind::Invalid => (ProblemCode::Invalid, StatusCode::BAD_REQUEST),
        ErrorKind::Contradictory => (ProblemCode::Invalid, StatusCode::CONFLICT),
        ErrorKind::NotFound => (ProblemCode::NotFound, StatusCode::NOT_FOUND),
        ErrorKind::Conflict => (ProblemCode::Conflict, StatusCode::CONFLICT),
        ErrorKind::InUse => (ProblemCode::InUse, StatusCode::CONFLICT),
        ErrorKind::NoSpace => (ProblemCode::NoSpace, StatusCode::CONFLICT),
        ErrorKind::Unavailable => (ProblemCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        ErrorKind::Unsupported => (ProblemCode::Unsupported, StatusCode::CONFLICT),
        ErrorKind::Internal => (ProblemCode::Internal, StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// An error answer on its way out.
#[derive(Debug)]
pub(crate) struct ApiError {
    problem: Box<Problem>,
    /// In whole seconds, where waiting helps.
    retry_after_s: Option<u64>,
}

impl ApiError {
    pub(crate) fn new(
        code: ProblemCode,
        status: StatusCode,
        detail: impl Into<String>,
        next_step: &str,
    ) -> Self {
        Self::from(Problem::new(code, status.as_u16(), detail, next_step))
    }

    pub(crate) fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.problem.cause = Some(cause.into());
        self
    }

    /// The part of the body that is to blame; an empty pointer is the whole of it.
    pub(crate) fn with_pointer(mut self, pointer: &str) -> Self {
        self.problem.pointer = Some(pointer.to_owned()).filter(|pointer| !pointer.is_empty());
        self
    }

    pub(crate) fn with_retry_after(self, retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..self }
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn detail(&self) -> &str {
        &self.problem.detail
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), retry_after_s: None }
    }
}

/// A path that is there, but not with this method.
pub(crate) fn method_not_allowed(method: &Method, uri: &Uri) -> ApiError {
    ApiError::new(
        ProblemCode::MethodNotAllowed,
        StatusCode::METHOD_NOT_ALLOWED,
        format!("'{}' does not take {method}", uri.path()),
        "See the header `Allow`, or /v1/openapi.json.",
    )
}

/// A body with more bytes than are taken.
pub(crate) fn body_too_large() -> ApiError {
    let detail = format!("the body has more than {REQUEST_BYTES_MAX} bytes");
    ApiError::new(ProblemCode::TooLarge, StatusCode::PAYLOAD_TOO_LARGE, detail, "Send a smaller request.")
}

/// A body that does not arrive.
pub(crate) fn body_too_slow() -> ApiError {
    let detail = format!("the body did not arrive within {} seconds", BODY_TIMEOUT.as_secs());
    ApiError::new(ProblemCode::Invalid, StatusCode::REQUEST_TIMEOUT, detail, "Send the request again.")
}

impl From<NodeError> for ApiError {
    /// An internal error is consumed here, so it is logged here; the others are the caller's affair.
    fn from(error: NodeError) -> Self {
        if error.kind == ErrorKind::Internal {
            tracing::error!(%error, "a request failed inside the node");
        }
        let (code, status) = http_status(error.kind);
        let mut problem = Problem::new(code, status.as_u16(), error.message, error.next_step);
        problem.cause = error.cause;
        Self::from(problem)
    }
}

impl From<InvalidRequest> for ApiError {
    fn from(invalid: InvalidRequest) -> Self {
        NodeError::from(invalid).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = match serde_json::to_vec(&self.problem) {
            Ok(body) => (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        };
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 15.5.2 demands it.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The error answers in the OpenAPI document: every operation may give every problem.
pub(crate) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<ResponseDocument>> {
        let reference = utoipa::openapi::Ref::from_schema_name(Problem::name());
        let response = ResponseBuilder::new()
            .description("What went wrong, and what to do next.")
            .content(PROBLEM_JSON, Content::new(Some(RefOr::Ref(reference))))
            .build();
        BTreeMap::from([("default".to_owned(), response.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_agreed_code_and_status() {
        let table: Vec<_> = ErrorKind::ALL
            .iter()
            .map(|&kind| http_status(kind))
            .map(|(code, status)| (code.as_str(), status.as_u16()))
            .collect();
        assert_eq!(
            table,
            [
                ("invalid", 400),
                ("invalid", 409),
                ("not-found", 404),
                ("conflict", 409),
                ("in-use", 409),
                ("no-space", 409),
                ("unavailable", 503),
                ("unsupported", 409),
                ("internal", 500),
            ]
        );
    }

    #[test]
    fn a_nodes_error_arrives_whole() {
        let error =
            NodeError::new(ErrorKind::NoSpace, "pool 'p' is full").with_cause("0 free").with_next_step("add");
        let ApiError { problem, .. } = error.into();
        assert_eq!(problem.status, 409);
        assert_eq!(problem.kind_uri, "urn:quarry:problem:no-space");
        assert_eq!(
            (problem.detail.as_str(), problem.cause.as_deref(), problem.next_step.as_str()),
            ("pool 'p' is full", Some("0 free"), "add")
        );
    }
}
