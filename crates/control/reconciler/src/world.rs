//! The world as the reconciler sees it.

use async_trait::async_trait;
use jiff::Timestamp;
use quarry_planner::{Intended, Observed, Plan, Step};

/// Why a step did not work, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepError(pub String);

/// What is intended, what is there, and how it is changed.
#[async_trait]
pub trait World: Send + Sync {
    /// The time of day, however wrong.
    fn now(&self) -> Timestamp;

    /// What is intended and what is there; `None` while that cannot be told, because the node starts or stops.
    async fn look(&self) -> Option<(Intended, Observed)>;

    /// Does one step. Durable when it returns `Ok`. What has gone away meanwhile is no error.
    async fn perform(&self, step: &Step) -> Result<(), StepError>;

    /// Takes note of how every volume stands.
    async fn note(&self, plan: &Plan);
}
