//! Errors as HTTP answers: the one place where kinds of errors become status codes.

use std::collections::BTreeMap;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use quarry_api_types::{InvalidRequest, Problem, ProblemCode};
use quarry_node_api::{ErrorKind, NodeError};
use utoipa::openapi::{Content, RefOr, Response as ResponseDocument, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Code and HTTP status of each kind of error.
pub fn http_status(kind: ErrorKind) -> (ProblemCode, StatusCode) {
    match kind {
        ErrorKind::Invalid => (ProblemCode::Invalid, StatusCode::BAD_REQUEST),
        ErrorKind::NotFound => (ProblemCode::NotFound, StatusCode::NOT_FOUND),
        ErrorKind::Conflict => (ProblemCode::Conflict, StatusCode::CONFLICT),
        ErrorKind::InUse => (ProblemCode::InUse, StatusCode::CONFLICT),
        ErrorKind::NoSpace => (ProblemCode::NoSpace, StatusCode::INSUFFICIENT_STORAGE),
        ErrorKind::Unavailable => (ProblemCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        ErrorKind::Unsupported => (ProblemCode::Unsupported, StatusCode::NOT_IMPLEMENTED),
        ErrorKind::Internal => (ProblemCode::Internal, StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// An error answer on its way out.
#[derive(Debug)]
pub(crate) struct ApiError(Box<Problem>);

impl ApiError {
    pub(crate) fn new(
        code: ProblemCode,
        status: StatusCode,
        detail: impl Into<String>,
        next_step: &str,
    ) -> Self {
        Self(Box::new(Problem::new(code, status.as_u16(), detail, next_step)))
    }
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
        Self(Box::new(problem))
    }
}

impl From<InvalidRequest> for ApiError {
    fn from(invalid: InvalidRequest) -> Self {
        NodeError::from(invalid).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match serde_json::to_vec(&self.0) {
            Ok(body) => (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
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
    fn every_kind_has_its_own_code_and_the_agreed_status() {
        let table: Vec<_> = ErrorKind::ALL
            .iter()
            .map(|&kind| http_status(kind))
            .map(|(code, status)| (code.as_str(), status.as_u16()))
            .collect();
        assert_eq!(
            table,
            [
                ("invalid", 400),
                ("not-found", 404),
                ("conflict", 409),
                ("in-use", 409),
                ("no-space", 507),
                ("unavailable", 503),
                ("unsupported", 501),
                ("internal", 500),
            ]
        );
    }

    #[test]
    fn a_nodes_error_arrives_whole() {
        let error =
            NodeError::new(ErrorKind::NoSpace, "pool 'p' is full").with_cause("0 free").with_next_step("add");
        let ApiError(problem) = error.into();
        assert_eq!(problem.status, 507);
        assert_eq!(problem.kind_uri, "urn:quarry:problem:no-space");
        assert_eq!(
            (problem.detail.as_str(), problem.cause.as_deref(), problem.next_step.as_str()),
            ("pool 'p' is full", Some("0 free"), "add")
        );
    }
}
