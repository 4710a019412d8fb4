//! What figures were over time, and what is to be expected.

use async_trait::async_trait;
use quarry_api_types::{DeviceId, Forecast, Name, SeriesHistory, SeriesQuery};

use crate::Result;

/// What a node remembers of its figures and makes of it; a part of [`Node`](crate::Node), of which everything said there holds.
#[async_trait]
pub trait ForecastNode: Send + Sync {
    /// A figure of a pool over time. `NotFound`. `Invalid`: pools do not have it.
    async fn show_pool_history(&self, pool: &Name, query: SeriesQuery) -> Result<SeriesHistory>;

    /// A figure of a volume over time. `NotFound`. `Invalid`: volumes do not have it.
    async fn show_volume_history(&self, volume: &Name, query: SeriesQuery) -> Result<SeriesHistory>;

    /// A figure of a device of a pool over time. `NotFound`. `Invalid`: devices do not have it. `Unavailable`: the pool is offline.
    async fn show_device_history(
        &self,
        pool: &Name,
        device: DeviceId,
        query: SeriesQuery,
    ) -> Result<SeriesHistory>;

    /// How full a pool becomes and what is asked of it. `NotFound`. `Unavailable`: the pool is offline.
    async fn show_pool_forecast(&self, pool: &Name) -> Result<Forecast>;

    /// How full a volume becomes and what is asked of it. `NotFound`. `Unsupported` for one in image mode, which is as full as its device.
    async fn show_volume_forecast(&self, volume: &Name) -> Result<Forecast>;
}
