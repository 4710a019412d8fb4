//! The REST API of a node: HTTP in front, the trait `Node` behind.
//!
//! What it is: routes under `/v1`, their OpenAPI 3.1 document (served at `/v1/openapi.json`, checked in as
//! `openapi/quarry.json`), Prometheus figures at `/metrics`, and a server with bounds. What it is not: it knows
//! nothing of storage, keeps no state, and decides nothing but who may ask; every other answer is the node's.
//!
//! Invariants:
//! - Every error answer is a problem document (RFC 9457), those for unknown paths, wrong methods and malformed
//!   bodies included.
//! - A call to the node runs to its end even when the client hangs up in the middle.
//! - No request reaches a handler that [`Guard`] has not let pass; its head comment in `guard` says how. An operation that is not
//!   in the table of permissions is refused, and a test compares the table with the document.
//! - Lists, tags and repeated changes are the same for every operation, see `conventions`.
//! - Connections, the size of a request and the time to send one are bounded, see [`limits`].

mod access;
mod call;
mod conformity;
mod conventions;
mod document;
mod extract;
mod guard;
pub mod limits;
mod links;
mod problem;
mod router;
mod routes;
mod schemas;
mod server;
mod stated_tenants;
mod tls;
mod watch;
mod watches;

pub use document::openapi_json;
pub use guard::Guard;
pub use problem::http_status;
pub use router::router;
pub use server::{Service, serve};
pub use stated_tenants::Tenants;
pub use tls::{ApiTls, TlsError};
