//! Volumes in image mode, and volumes that move: they arrive when somebody looks at them twice.

use quarry_api_types::*;
use quarry_node_api::{ErrorKind, NodeError, Result};

use super::{FOREIGN_DEVICE, State, things};

/// The size of every device that is adopted.
const DEVICE_BYTES: u64 = 10 << 30;

impl State {
    pub fn adopt_volume(&mut self, request: AdoptVolume) -> Result<Volume> {
        if self.volume(&request.name).is_ok() {
            return Err(NodeError::name_taken("volume", &request.name));
        }
        if request.device != FOREIGN_DEVICE {
            return Err(NodeError::new(ErrorKind::NotFound, format!("there is no '{}'", request.device)));
        }
        let id = self.id();
        let pool: Name = "none".parse().expect("a name");
        let like = CreateVolume::new(request.name, pool, DEVICE_BYTES);
        let AdoptVolume { device, read_only, durability, .. } = request;
        let image = VolumeImage { device, read_only, state: ImageState::Online, reason: None };
        let volume = Volume { pool: None, durability, image: Some(image), ..things::volume(id, like) };
        self.volumes.push(volume.clone());
        Ok(volume)
    }

    pub fn release_volume(&mut self, name: &Name) -> Result<()> {
        if self.volume(name)?.image.is_none() {
            return Err(NodeError::new(ErrorKind::Unsupported, format!("volume '{name}' lies in a pool")));
        }
        self.volumes.retain(|volume| volume.name != *name);
        Ok(())
    }

    pub fn migrate_volume(&mut self, name: &Name, request: MigrateVolume) -> Result<Volume> {
        if let Some(pool) = &request.to_pool {
            self.pool(pool)?;
        }
        let volume = self.volume(name)?;
        volume.migration = Some(VolumeMigration {
            to_pool: request.to_pool,
            to_device: request.to_device,
            state: MigrationState::Copying,
            reason: None,
            copied_bytes: 0,
            verified_bytes: 0,
            repaired_bytes: 0,
            bytes_per_s: 0,
            left_s: None,
            rate_bytes_per_s: request.rate_bytes_per_s,
        });
        Ok(volume.clone())
    }

    pub fn cancel_migration(&mut self, name: &Name) -> Result<Volume> {
        let volume = self.volume(name)?;
        match volume.migration.take() {
            Some(_) => Ok(volume.clone()),
            None => Err(NodeError::new(ErrorKind::Conflict, format!("volume '{name}' does not move"))),
        }
    }

    /// What somebody sees who looks at a volume; one that moves goes on with each look.
    pub fn look_at_volume(&mut self, name: &Name) -> Result<Volume> {
        let volume = self.volume(name)?;
        let seen = volume.clone();
        let Some(migration) = &mut volume.migration else { return Ok(seen) };
        match migration.copied_bytes {
            0 => (migration.copied_bytes, migration.state) = (volume.size_bytes, MigrationState::Verifying),
            _ => {
                (volume.pool, volume.image) = (migration.to_pool.clone(), None);
                volume.migration = None;
            }
        }
        Ok(seen)
    }
}
