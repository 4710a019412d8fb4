//! Devices: those of the pools, and what the last scan has seen besides.

use std::rc::Rc;

use quarry_api_types::{Cause, Device, DeviceKind, DeviceState, Health, HealthLevel, PoolDevice};
use quarry_device::{Content, ScannedDevice};
use quarry_node_api::{ErrorKind, NodeError, Result};

use super::DataNode;
use crate::core_state::CoreState;

impl DataNode {
    pub(super) async fn devices(&self) -> Result<Vec<Device>> {
        let sectors = self.sector_sizes().await?;
        let mut all = Vec::new();
        for pool in self.describe_pools().await? {
            let names = (pool.name.clone(), pool.id);
            all.extend(pool.devices.into_iter().map(|device| {
                let sector_bytes = sectors.get(&device.id).copied().unwrap_or(0);
                member(device, sector_bytes, &names)
            }));
        }
        let scanned = self.scanned.read().expect("nobody panics with this lock").clone();
        for device in scanned {
            if !all.iter().any(|known: &Device| known.path == device.path) {
                all.push(device);
            }
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }

    /// Looks at the machine's block devices anew.
    pub(super) async fn rescan(&self) -> Result<()> {
        let found = self.cores.call(0, scan).await??;
        *self.scanned.write().expect("nobody panics with this lock") = found;
        Ok(())
    }
}

async fn scan(state: Rc<CoreState>) -> Result<Vec<Device>> {
    let found = quarry_device::scan(&state.env).await.map_err(|error| {
        NodeError::new(ErrorKind::Internal, "the machine's devices cannot be listed").caused_by(&error)
    })?;
    Ok(found.into_iter().map(seen).collect())
}

fn seen(device: ScannedDevice) -> Device {
    let mut shown = Device {
        path: device.path.display().to_string(),
        kind: DeviceKind::Block,
        size_bytes: 0,
        class: super::pools::class(device.class),
        sector_bytes: 0,
        state: DeviceState::Foreign,
        found: device.in_use.clone().map(|reason| format!("in use: {reason}")),
        pool: None,
        pool_id: None,
        device_id: None,
        health: Health::ok(),
        latency: Default::default(),
        drive: None,
    };
    match device.disk {
        Err(error) => {
            shown.health = Health::from_causes(vec![Cause {
                level: HealthLevel::Warning,
                message: error.to_string(),
                next_step: "Check the device and its permissions.".to_owned(),
            }]);
        }
        Ok(disk) => {
            shown.size_bytes = disk.geometry.size_bytes;
            shown.sector_bytes = disk.geometry.sector_bytes;
            if let Content::Quarry(label) = &disk.content {
                shown.pool_id = Some(label.pool);
                shown.device_id = Some(label.own().device);
            }
            if shown.found.is_none() {
                match disk.content {
                    Content::Empty => shown.state = DeviceState::Free,
                    other => shown.found = Some(other.describe()),
                }
            }
        }
    }
    shown
}

fn member(
    device: PoolDevice,
    sector_bytes: u32,
    pool: &(quarry_api_types::Name, quarry_types::PoolId),
) -> Device {
    Device {
        path: device.path,
        kind: device.kind,
        size_bytes: device.size_bytes,
        class: device.class,
        sector_bytes,
        state: DeviceState::InPool,
        found: None,
        pool: Some(pool.0.clone()),
        pool_id: Some(pool.1),
        device_id: Some(device.id),
        health: device.health,
        latency: device.latency,
        drive: device.drive,
    }
}
