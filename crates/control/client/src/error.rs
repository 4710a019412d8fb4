//! Why a call did not give what was asked for.

use std::error::Error;

use quarry_api_types::Problem;

use crate::Endpoint;

/// The answer of a client.
pub type Result<T> = std::result::Result<T, ClientError>;

/// Why a call did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What it was to prove itself with, or to know the node by, cannot be used.
    #[error("{what} cannot be used")]
    BadIdentity {
        /// Which.
        what: &'static str,
        /// Why not.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// Nothing listens there, or no way leads there. The node has not seen the request.
    #[error("cannot reach a node at {endpoint}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: Endpoint,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke, or no answer came in time. The node may have done what was asked, or may yet do it.
    #[error("no answer from the node at {endpoint}")]
    Interrupted {
        /// Who did not answer.
        endpoint: Endpoint,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// A node that is watched says nothing any more.
    #[error("the node at {endpoint} has gone silent")]
    Silent {
        /// Who.
        endpoint: Endpoint,
    },
    /// The node says why not.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// Whatever answered, it does not speak this API.
    #[error("the answer of {endpoint} (status {status}) is not one of a Quarry node")]
    NotQuarry {
        /// Who answered.
        endpoint: Endpoint,
        /// The HTTP status of the answer.
        status: u16,
        /// What the answer should have been and was not.
        #[source]
        source: Option<serde_json::Error>,
    },
}

impl ClientError {
    /// Sorts what went wrong before there was an answer.
    pub(crate) fn from_transport(endpoint: &Endpoint, source: reqwest::Error) -> Self {
        let endpoint = endpoint.clone();
        match source.is_connect() {
            true => Self::Unreachable { endpoint, source },
            false => Self::Interrupted { endpoint, source },
        }
    }

    /// The deepest cause in words, for example `Connection refused (os error 111)`.
    pub fn root_cause(&self) -> Option<String> {
        if let Self::Problem(problem) = self {
            return problem.cause.clone();
        }
        let mut cause = self.source()?;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Some(cause.to_string())
    }
}
