//! Calls to the store of users, tokens and tenants.

use std::sync::Arc;

use axum::Extension;
use axum::http::StatusCode;
use quarry_api_types::ProblemCode;
use quarry_auth::{AccessError, Principal};
use quarry_node_api::{ErrorKind, NodeError};

use crate::Guard;
use crate::problem::ApiError;

/// The guard, in handlers that work on what it knows.
pub(crate) type GuardState = Extension<Arc<Guard>>;
/// Who asks.
pub(crate) type Asker = Extension<Principal>;

/// Runs a call to the store, or to the audit log, on a thread that may block.
pub(crate) async fn blocking<T, E>(
    guard: &Arc<Guard>,
    call: impl FnOnce(&Guard) -> Result<T, E> + Send + 'static,
) -> Result<T, ApiError>
where
    T: Send + 'static,
    E: Into<ApiError> + Send + 'static,
{
    let guard = Arc::clone(guard);
    match tokio::task::spawn_blocking(move || call(&guard)).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(failure) => {
            let error = NodeError::new(ErrorKind::Internal, "the node failed in the middle of the request");
            Err(error.with_cause(failure.to_string()).into())
        }
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        let (kind, next_step) = match &error {
            AccessError::NotFound { sort, .. } => {
                (ErrorKind::NotFound, format!("`quarry {sort} list` shows what exists."))
            }
            AccessError::Taken { .. } => (ErrorKind::Conflict, "Choose another name.".to_owned()),
            AccessError::NameOfTenant { .. } => (
                ErrorKind::Conflict,
                "Choose a name without a dot, or make it a user of that tenant.".to_owned(),
            ),
            AccessError::TooMany { sort, .. } => {
                (ErrorKind::Conflict, format!("End {sort}s that are not used any more."))
            }
            AccessError::LastAdmin { .. } => (
                ErrorKind::Conflict,
                "Make another admin first: `quarry user create NAME --role admin`.".to_owned(),
            ),
            AccessError::HasUsers { .. } => (
                ErrorKind::InUse,
                "Delete the users whose names begin with the tenant's and a dot.".to_owned(),
            ),
            AccessError::WrongPassword => {
                let detail = "user or password is wrong";
                let next_step = "Try again; after some failures the name is locked for a while.";
                return Self::new(ProblemCode::Unauthenticated, StatusCode::UNAUTHORIZED, detail, next_step);
            }
            AccessError::InUse { .. }
            | AccessError::Newer { .. }
            | AccessError::Corrupt { .. }
            | AccessError::Io { .. }
            | AccessError::Storage { .. } => {
                let message = "users, tokens and tenants cannot be read or written";
                return NodeError::new(ErrorKind::Internal, message).caused_by(&error).into();
            }
        };
        NodeError::new(kind, error.to_string()).with_next_step(next_step).into()
    }
}

impl From<quarry_audit::AuditError> for ApiError {
    fn from(error: quarry_audit::AuditError) -> Self {
        NodeError::new(ErrorKind::Internal, "the audit log cannot be read").caused_by(&error).into()
    }
}
