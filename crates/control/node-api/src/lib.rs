//! The contract between the control plane and a node.
//!
//! What it is: the trait [`Node`] with every operation that the API offers, of which [`PolicyNode`],
//! [`JobNode`], [`ObserveNode`] and [`TierNode`] are parts, and [`NodeError`], which tells the
//! caller what to do. What it is not: no implementation. `quarryd` implements it over the data plane; tests of
//! the API implement it in memory. This is the only way by which the control plane reaches storage.
//!
//! Invariants:
//! - An operation that returns `Ok` is durable: it is still there after the power went.
//! - An operation that returns an error has changed nothing that a later list would show.
//! - Names are unique on the node, per sort of thing, those of snapshots in their volume; lists are sorted by name (devices
//!   by path, the snapshots of a volume by age, the oldest first).

mod error;
mod forecasts;
mod jobs;
mod node;
mod observe;
mod policies;
mod tiers;

pub use error::{ErrorKind, NodeError, Result};
pub use forecasts::ForecastNode;
pub use jobs::{JobNode, TenantKeeper, TenantsMade};
pub use node::Node;
pub use observe::ObserveNode;
pub use policies::PolicyNode;
pub use quarry_api_types as types;
pub use tiers::TierNode;
