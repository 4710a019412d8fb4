//! Documents of intended state, and jobs, as a node keeps them.

use async_trait::async_trait;
use quarry_api_types::{Job, Name, QualityOfService, State, StatePlan, StatedTenant};

use crate::Result;

/// What a node does in the background, among it documents of intended state that it makes so; a part of [`Node`](crate::Node), of
/// which everything said there holds.
#[async_trait]
pub trait JobNode: Send + Sync {
    /// The whole intended state as one document, with versions.
    async fn show_state(&self) -> Result<State>;

    /// What applying a document would do, and why it cannot be done. Changes nothing.
    async fn plan_state(&self, state: State) -> Result<StatePlan>;

    /// Begins to make a document so, in the background, also over the end of the node; the job tells how far it is. What the document
    /// does not name is left alone, and nothing is deleted. `Invalid`, `Conflict` with the first problem of [`Self::plan_state`].
    /// `InUse` while another document is being applied.
    async fn apply_state(&self, state: State) -> Result<Job>;

    /// What the node does for longer than a request waits, and what it did: all that runs, and the newest thousand that have ended.
    /// By number, the oldest first.
    async fn list_jobs(&self) -> Result<Vec<Job>>;

    /// One job. `NotFound`.
    async fn show_job(&self, id: u64) -> Result<Job>;

    /// Ends a job. One that has ended is a success. `NotFound`. `Conflict`: such a job cannot be cancelled.
    async fn cancel_job(&self, id: u64) -> Result<Job>;
}

/// What was done for the tenants of a document.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TenantsMade {
    /// How many were made or changed.
    pub steps: usize,
    /// What the tenants of the node get of its performance now, those for which something is asked.
    pub qos: Vec<(Name, QualityOfService)>,
}

/// Who keeps the tenants of a node: what stands in front of it. Those of a document are made by the document's job, before everything else, so
/// that they too are made in the end when the node is killed in between.
#[async_trait]
pub trait TenantKeeper: Send + Sync {
    /// Makes tenants as they are stated, for the job with this number. What is so already is left alone.
    async fn make_tenants(&self, job: u64, stated: Vec<StatedTenant>) -> Result<TenantsMade>;
}
