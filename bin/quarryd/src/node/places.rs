//! Where volumes are: in a pool, or on a device in image mode; and which of two places counts for one that moves.

use quarry_api_types::{Cause, HealthLevel, Name};
use quarry_catalog::{MigrationPhaseRecord, MigrationRecord, PlaceRecord};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::VolumeId;
use quarry_volume::VolumeInfo;

use super::DataNode;
use super::images::ImageEntry;
use super::migrations::MigrationEntry;
use super::volumes::FoundVolume;

/// A volume, wherever it is.
pub(super) enum Located {
    Pool(FoundVolume),
    Device(ImageEntry),
}

impl Located {
    pub(super) fn id(&self) -> VolumeId {
        match self {
            Self::Pool(found) => found.status.id,
            Self::Device(image) => image.record.id,
        }
    }

    /// The core that serves it.
    pub(super) fn core(&self) -> usize {
        match self {
            Self::Pool(found) => found.core,
            Self::Device(image) => image.core,
        }
    }
}

/// Where a volume that moves has something that does not count.
pub(super) fn uncounted_place(record: &MigrationRecord) -> &PlaceRecord {
    match record.phase {
        MigrationPhaseRecord::Copying | MigrationPhaseRecord::Cancelled => &record.to,
        MigrationPhaseRecord::Switched => &record.from,
    }
}

impl DataNode {
    /// Each volume of a list once, also one that moves inside its pool: as it will be kept.
    pub(super) fn each_once(&self, mut all: Vec<FoundVolume>) -> Vec<FoundVolume> {
        let migrations = self.migrations();
        all.retain(|found| {
            let Some(MigrationEntry { record, .. }) = migrations.get(&found.status.id) else { return true };
            let left = match record.phase {
                MigrationPhaseRecord::Copying | MigrationPhaseRecord::Switched => &record.from,
                MigrationPhaseRecord::Cancelled => &record.to,
            };
            record.from.pool() != record.to.pool() || !left.has(found.pool, found.log)
        });
        all
    }

    /// Leaves out of a list what does not count, and gives volumes the names that they have while they move.
    pub(super) fn counted(&self, mut all: Vec<FoundVolume>) -> Vec<FoundVolume> {
        let migrations = self.migrations();
        all.retain_mut(|found| {
            let Some(entry) = migrations.get(&found.status.id) else { return true };
            found.status.name = entry.record.volume.to_string();
            !uncounted_place(&entry.record).has(found.pool, found.log)
        });
        all
    }

    /// A volume in a pool or in image mode, which may be moving.
    pub(super) async fn locate(&self, name: &Name) -> Result<Located> {
        if let Some(image) = self.image_named(name) {
            return Ok(Located::Device(image));
        }
        self.find_to_look_at(name).await.map(Located::Pool)
    }

    /// Fails for a volume that moves: what would be changed of it might be left behind.
    pub(super) fn check_at_rest(&self, id: VolumeId, name: &str) -> Result<()> {
        match self.migrations().contains_key(&id) {
            false => Ok(()),
            true => Err(NodeError::new(ErrorKind::Conflict, format!("volume '{name}' is being migrated"))
                .with_next_step(format!(
                    "Wait until it is there (`quarry volume show {name}`), or give that up: `quarry volume migrate {name} --cancel`."
                ))),
        }
    }

    /// What hosts are told of a volume.
    pub(super) async fn served_info(&self, located: &Located) -> Result<VolumeInfo> {
        let id = located.id();
        let info = self.cores.call(located.core(), move |state| async move {
            let volume = state.own_volume(id)?;
            Some(volume.info())
        });
        info.await?
            .ok_or_else(|| NodeError::new(ErrorKind::Unavailable, "the volume is not open on its core"))
    }
}

/// Why a volume in image mode cannot do what is asked for.
pub(super) fn in_image_mode(name: &Name, device: &str) -> NodeError {
    let what = format!("volume '{name}' is in image mode on '{device}': only a volume in a pool can do that");
    NodeError::new(ErrorKind::Unsupported, what).with_next_step(format!(
        "Move it into a pool, while it is in use: `quarry volume migrate {name} --to-pool POOL`."
    ))
}

impl DataNode {
    /// What is wrong with volumes in image mode, and with volumes that move.
    pub(super) fn place_causes(&self) -> Vec<Cause> {
        let offline = |entry: &ImageEntry| {
            let (name, device) = (&entry.record.name, &entry.record.device);
            Some(Cause {
                level: HealthLevel::Critical,
                message: format!("volume '{name}' in image mode: {}", entry.trouble()?),
                next_step: format!("See to '{device}'; `quarry volume show {name}` shows its state."),
            })
        };
        let mut causes: Vec<Cause> = self.images().values().filter_map(offline).collect();
        let stopped = |entry: &MigrationEntry| {
            let name = &entry.record.volume;
            Some(Cause {
                level: HealthLevel::Warning,
                message: format!("volume '{name}' does not move on: {}", entry.stopped.as_ref()?),
                next_step: format!(
                    "See to the cause and begin again as before, or `quarry volume migrate {name} --cancel`."
                ),
            })
        };
        causes.extend(self.migrations().values().filter_map(stopped));
        causes
    }
}
