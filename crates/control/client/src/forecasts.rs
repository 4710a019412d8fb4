//! The calls for what was and what is to be expected.

use quarry_api_types::{DeviceId, Forecast, Name, SeriesHistory, SeriesQuery};
use reqwest::Method;

use crate::{Client, Result};

impl Client {
    /// A figure of a pool over time.
    pub async fn show_pool_history(&self, pool: &Name, query: &SeriesQuery) -> Result<SeriesHistory> {
        self.history(&format!("/v1/pools/{pool}/history"), query).await
    }

    /// A figure of a volume over time.
    pub async fn show_volume_history(&self, volume: &Name, query: &SeriesQuery) -> Result<SeriesHistory> {
        self.history(&format!("/v1/volumes/{volume}/history"), query).await
    }

    /// A figure of a device over time.
    pub async fn show_device_history(
        &self,
        pool: &Name,
        device: DeviceId,
        query: &SeriesQuery,
    ) -> Result<SeriesHistory> {
        self.history(&format!("/v1/pools/{pool}/devices/{device}/history"), query).await
    }

    async fn history(&self, path: &str, query: &SeriesQuery) -> Result<SeriesHistory> {
        self.json(self.request(Method::GET, path).query(query)).await
    }

    /// What is to be expected of a pool.
    pub async fn show_pool_forecast(&self, pool: &Name) -> Result<Forecast> {
        self.get(&format!("/v1/pools/{pool}/forecast")).await
    }

    /// What is to be expected of a volume.
    pub async fn show_volume_forecast(&self, volume: &Name) -> Result<Forecast> {
        self.get(&format!("/v1/volumes/{volume}/forecast")).await
    }
}
