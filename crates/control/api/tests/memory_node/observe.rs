//! What the node in memory shows of its work.

use async_trait::async_trait;
use quarry_api_types::*;
use quarry_node_api::{ObserveNode, Result};

use super::{MemoryNode, NOW_MS};

fn operations(operations: u64) -> OperationStats {
    let latency = Latency { total_us: operations * 100, buckets: vec![(96, operations)] };
    OperationStats { operations, errors: 0, bytes: operations * 4096, latency }
}

fn of(volume: &Volume) -> VolumeStats {
    VolumeStats {
        volume: volume.name.clone(),
        volume_id: volume.id,
        at: Timestamp::from_unix_ms(NOW_MS),
        pool: volume.pool.clone(),
        in_flight: 1,
        read: operations(10),
        write: operations(20),
        zero: operations(0),
        discard: operations(0),
        flush: operations(2),
    }
}

#[async_trait]
impl ObserveNode for MemoryNode {
    async fn show_volume_stats(&self, name: &Name) -> Result<VolumeStats> {
        self.begin().await?.volume(name).map(|volume| of(volume))
    }

    async fn show_stats(&self) -> Result<NodeStats> {
        let volumes = self.begin().await?.volumes.iter().map(of).collect();
        Ok(NodeStats { at: Timestamp::from_unix_ms(NOW_MS), volumes, devices: Vec::new(), pools: Vec::new() })
    }

    async fn list_slow_requests(&self) -> Result<SlowRequests> {
        let _state = self.begin().await?;
        let request = SlowRequest {
            at: Timestamp::from_unix_ms(NOW_MS),
            volume: "v".to_owned(),
            operation: HostOperation::Write,
            offset: 8192,
            length: 4096,
            took_us: 2_000_000,
            stages: vec![StageTime { stage: RequestStage::Log, us: 1_900_000 }],
            failed: false,
        };
        Ok(SlowRequests { threshold_ms: 1000, count: 5, requests: vec![request] })
    }

    async fn show_log(&self) -> Result<LogLines> {
        let _state = self.begin().await?;
        Ok(LogLines { lines: vec!["INFO quarryd serves".to_owned()] })
    }

    async fn show_configuration(&self) -> Result<Configuration> {
        let _state = self.begin().await?;
        let setting = Setting { name: "cores".to_owned(), value: "2".to_owned() };
        Ok(Configuration { settings: vec![setting] })
    }
}
