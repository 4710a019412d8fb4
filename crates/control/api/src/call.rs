//! Calls to the node that nobody can cut off half-way.

use std::future::Future;
use std::sync::Arc;

use quarry_node_api::{ErrorKind, Node, NodeError};

use crate::problem::ApiError;

/// What every handler works on.
pub(crate) type NodeState = axum::extract::State<Arc<dyn Node>>;

/// Runs a call to the node on a task of its own and waits for it.
///
/// The server drops a handler when its client hangs up. A pool that is half made then would be worse than one
/// that nobody waited for. A panic in the node becomes an error of this request only.
pub(crate) async fn complete<T, F>(call: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = quarry_node_api::Result<T>> + Send + 'static,
{
    match tokio::spawn(call).await {
        Ok(answer) => answer.map_err(ApiError::from),
        Err(failure) => {
            let error = NodeError::new(ErrorKind::Internal, "the node failed in the middle of the request");
            Err(error.with_cause(failure.to_string()).into())
        }
    }
}
