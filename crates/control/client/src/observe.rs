//! The calls by which a node shows its work.

use quarry_api_types::{Configuration, LogLines, Name, NodeStats, SlowRequests, VolumeStats};

use crate::{Client, Result};

impl Client {
    /// What hosts have done with a volume.
    pub async fn show_volume_stats(&self, name: &Name) -> Result<VolumeStats> {
        self.get(&format!("/v1/volumes/{name}/stats")).await
    }

    /// What the node has done.
    pub async fn show_stats(&self) -> Result<NodeStats> {
        self.get("/v1/stats").await
    }

    /// The newest requests that took too long.
    pub async fn list_slow_requests(&self) -> Result<SlowRequests> {
        self.get("/v1/slow-requests").await
    }

    /// The newest lines of the node's log.
    pub async fn show_log(&self) -> Result<LogLines> {
        self.get("/v1/log").await
    }

    /// What the node was told at its start.
    pub async fn show_configuration(&self) -> Result<Configuration> {
        self.get("/v1/configuration").await
    }
}
