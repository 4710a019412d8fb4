//! What a node shows of its work.

use async_trait::async_trait;
use quarry_api_types::{Configuration, LogLines, Name, NodeStats, SlowRequests, VolumeStats};

use crate::Result;

/// What a node counts and remembers of its work; a part of [`Node`](crate::Node), of which everything said there holds.
#[async_trait]
pub trait ObserveNode: Send + Sync {
    /// What hosts have done with a volume since it was opened. `NotFound`.
    async fn show_volume_stats(&self, name: &Name) -> Result<VolumeStats>;

    /// What the node has done: volumes, pools and their devices.
    async fn show_stats(&self) -> Result<NodeStats>;

    /// The newest requests of hosts that took too long.
    async fn list_slow_requests(&self) -> Result<SlowRequests>;

    /// The newest lines of the node's log.
    async fn show_log(&self) -> Result<LogLines>;

    /// What the node was told at its start; nothing secret is in it.
    async fn show_configuration(&self) -> Result<Configuration>;
}
