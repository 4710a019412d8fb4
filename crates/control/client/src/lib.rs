//! A client of a node's REST API: the same operations as the trait `Node`, over HTTP.
//!
//! What it is: typed calls that answer with `api-types`, and [`ClientError`], which tells apart a node that
//! cannot be reached, one that says no, and something that is no node at all. What it is not: it retries nothing
//! and caches nothing, because only the caller knows whether a second try is right.
//!
//! Invariants:
//! - It speaks to the endpoint and to nothing else: no proxy of the environment, no redirect is followed.
//! - Every call ends, at the latest after [`REQUEST_TIMEOUT`]; a [`Watch`] when the node has been silent for a minute.

mod access;
mod client;
mod endpoint;
mod error;
mod forecasts;
mod observe;
mod watch;

pub use client::{CONNECT_TIMEOUT, Client, Identity, REQUEST_TIMEOUT};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::{ClientError, Result};
pub use watch::Watch;
