//! Tiers of the node in memory: every device is one of what it counts as, and nothing ever moves.

use async_trait::async_trait;
use quarry_api_types::*;
use quarry_node_api::{ErrorKind, NodeError, Result, TierNode};

use super::{MemoryNode, NOW_MS};

/// What a tier is as a class of devices.
fn class_of(tier: Tier) -> DeviceClass {
    match tier {
        Tier::Pmem => DeviceClass::Pmem,
        Tier::Nvme => DeviceClass::Nvme,
        Tier::Hdd => DeviceClass::Hdd,
        Tier::Ssd | Tier::Automatic | Tier::Object => DeviceClass::Ssd,
    }
}

fn decision() -> TierDecision {
    TierDecision {
        number: 1,
        log: 0,
        time: Timestamp::from_unix_ms(NOW_MS),
        segments: 1,
        from: DeviceClass::Nvme,
        to: DeviceClass::Hdd,
        reason: TierReason::Room,
        heat: 0.5,
        other_heat: 0.0,
        free_bytes: 32 << 20,
        waiting_bytes: 0,
        bytes: 32 << 20,
        completed: true,
    }
}

fn tiers_of(pool: &Pool, placement: Tier) -> PoolTiers {
    let tier = |device: &PoolDevice| PoolTier {
        tier: device.class,
        devices: vec![device.path.clone()],
        total_bytes: device.size_bytes,
        used_bytes: device.used_bytes,
        free_bytes: device.size_bytes - device.used_bytes,
        kept_bytes: device.size_bytes / 16,
        hot_bytes: 0,
    };
    PoolTiers {
        pool: pool.name.clone(),
        placement,
        tiers: pool.devices.iter().map(tier).collect(),
        heat_min: 128.0,
        promoted_segments: 0,
        demoted_segments: 1,
        moved_bytes: 32 << 20,
        decisions: vec![decision()],
    }
}

#[async_trait]
impl TierNode for MemoryNode {
    async fn show_tiers(&self, pool: &Name) -> Result<PoolTiers> {
        let state = self.begin().await?;
        Ok(tiers_of(state.pool(pool)?, Tier::Automatic))
    }

    async fn place_pool(&self, pool: &Name, request: SetTier) -> Result<PoolTiers> {
        let state = self.begin().await?;
        Ok(tiers_of(state.pool(pool)?, request.tier))
    }

    async fn set_device_tier(&self, pool: &Name, device: DeviceId, request: SetTier) -> Result<Pool> {
        self.change_member(pool, device, |member| member.class = class_of(request.tier)).await
    }

    async fn show_placement(&self, volume: &Name) -> Result<VolumePlacement> {
        let state = self.begin().await?;
        let found = state.volumes.iter().find(|known| known.name == *volume);
        let found = found.ok_or_else(|| NodeError::not_found("volume", volume))?;
        let pool = found.pool.clone().ok_or_else(|| {
            NodeError::new(ErrorKind::Unsupported, format!("volume '{volume}' is in image mode"))
                .with_next_step("Look at its device.")
        })?;
        let share = |tier, percent, heat| VolumeTier { tier, percent, mapped_bytes: 0, heat };
        Ok(VolumePlacement {
            volume: volume.clone(),
            pool,
            placement: Tier::Automatic,
            sampled_blocks: 4096,
            found_blocks: 100,
            exact: false,
            tiers: vec![share(DeviceClass::Nvme, 75.0, 12.5), share(DeviceClass::Hdd, 25.0, 0.0)],
            decisions: vec![decision()],
        })
    }
}
