//! Jobs: what a node does for longer than a request waits.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

words! {
    /// What sort of work it is.
    pub enum JobKind {
        /// A document of intended state is made so.
        Apply = "apply",
        /// Every copy of everything in a pool is read.
        Scrub = "scrub",
        /// Data of a pool is brought to the devices on which it should lie: after a failure, or because devices or copies changed.
        Rebuild = "rebuild",
        /// Everything on a device is moved to others; it leaves the pool then, where that was asked for.
        Drain = "drain",
        /// The space of what was deleted in a pool is freed.
        Freeing = "freeing",
        /// A volume moves to another place, or is kept in another way, while it is served.
        Migration = "migration",
    }
}

words! {
    /// How far it is.
    pub enum JobState {
        /// It is under way.
        Running = "running",
        /// All of it is done.
        Done = "done",
        /// It has ended without being done; the message says why.
        Failed = "failed",
        /// Somebody has ended it.
        Cancelled = "cancelled",
    }
}

/// A job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its number: later jobs have higher ones, also after a restart.
    pub id: u64,
    /// What sort of work it is.
    pub kind: JobKind,
    /// What it works on: a pool, a volume, a device by its path, a document of so many things.
    pub object: String,
    /// How far it is.
    pub state: JobState,
    /// What is done, in its unit.
    pub done: u64,
    /// What there is to do in all, as far as that is known now; it may grow.
    pub total: u64,
    /// In what that is counted: `bytes`, `chunks`, `steps`.
    pub unit: String,
    /// Share that is done, in percent.
    #[schema(maximum = 100)]
    pub percent: u8,
    /// When it will be done at its present pace, in seconds. Absent when that cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
    /// What it does now, or why it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether it can be cancelled.
    pub can_be_cancelled: bool,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

impl Job {
    /// Whether it has ended, in whatever way.
    pub fn is_over(&self) -> bool {
        self.state != JobState::Running
    }
}
