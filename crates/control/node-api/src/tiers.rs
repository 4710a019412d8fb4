//! Tiers of pools, as a node has them.

use async_trait::async_trait;
use quarry_api_types::{DeviceId, Name, Pool, PoolTiers, SetTier, VolumePlacement};

use crate::Result;

/// Which data lies on which devices of a pool; a part of [`Node`](crate::Node), of which everything said there holds.
#[async_trait]
pub trait TierNode: Send + Sync {
    /// The tiers of a pool, what lies in each, and the last decisions. `NotFound`. `Unavailable`: the pool is offline.
    async fn show_tiers(&self, pool: &Name) -> Result<PoolTiers>;

    /// Says in which tier everything of a pool is to lie, or that it is to follow what is read; data moves in the background. `NotFound`.
    /// `Unavailable`: the pool is offline.
    async fn place_pool(&self, pool: &Name, request: SetTier) -> Result<PoolTiers>;

    /// Says what a device counts as, whatever was measured; data moves in the background. `NotFound`. `Unavailable`: the pool is offline.
    async fn set_device_tier(&self, pool: &Name, device: DeviceId, request: SetTier) -> Result<Pool>;

    /// Where a volume lies, and which decisions brought it there. `NotFound`. `Unsupported` for one in image mode, which lies on its
    /// device.
    async fn show_placement(&self, volume: &Name) -> Result<VolumePlacement>;
}
