//! Figures for Prometheus of volumes in image mode and of volumes that move.

use quarry_api_types::{MigrationState, VolumeMigration};
use quarry_node_api::Result;
use quarry_types::VolumeId;

use super::DataNode;
use super::exposition::{Family, put};

const IMAGE_ONLINE: Family =
    ("quarry_image_online", "gauge", "1 when the device of a volume in image mode is open.");
const IMAGE_FAILED: Family = (
    "quarry_image_failed",
    "gauge",
    "1 when a volume in image mode takes no writes because a flush of its device failed.",
);
const IMAGE_READ: Family =
    ("quarry_image_read_bytes_total", "counter", "Bytes read from the device of a volume in image mode.");
const IMAGE_WRITTEN: Family =
    ("quarry_image_written_bytes_total", "counter", "Bytes written to the device of a volume in image mode.");
const MIGRATIONS: Family = ("quarry_migrations", "gauge", "Volumes that move.");
const MIGRATION_COPIED: Family =
    ("quarry_migration_copied_bytes", "gauge", "How far the copy of a volume that moves is.");
const MIGRATION_VERIFIED: Family =
    ("quarry_migration_verified_bytes", "gauge", "How far the comparison of a volume that moves is.");
const MIGRATION_REPAIRED: Family =
    ("quarry_migration_repaired_bytes", "gauge", "Bytes that the comparison found unequal and copied again.");
const MIGRATION_STOPPED: Family =
    ("quarry_migration_stopped", "gauge", "1 when a volume that moves does not go on by itself.");

impl DataNode {
    pub(super) async fn put_places(&self, text: &mut String) -> Result<()> {
        let label = |name: &dyn std::fmt::Display| format!("{{volume=\"{name}\"}}");
        let images: Vec<(VolumeId, String, bool)> = {
            let images = self.images();
            let entry = |entry: &super::images::ImageEntry| {
                (entry.record.id, label(&entry.record.name), entry.opened.is_ok())
            };
            images.values().map(entry).collect()
        };
        put(text, IMAGE_ONLINE, images.iter().map(|(_, label, online)| (label.clone(), u64::from(*online))));
        let mut stats = Vec::new();
        for core in 0..self.cores.count() {
            for (id, figures, failure) in
                self.cores.call(core, |state| async move { state.places.image_stats() }).await?
            {
                let known = images.iter().find(|(known, ..)| *known == id);
                stats.extend(known.map(|(_, label, _)| (label.clone(), figures, failure)));
            }
        }
        let failed = stats.iter().map(|(label, _, failure)| (label.clone(), u64::from(failure.is_some())));
        put(text, IMAGE_FAILED, failed);
        put(text, IMAGE_READ, stats.iter().map(|(label, figures, _)| (label.clone(), figures.read_bytes)));
        put(
            text,
            IMAGE_WRITTEN,
            stats.iter().map(|(label, figures, _)| (label.clone(), figures.written_bytes)),
        );
        let ids: Vec<(VolumeId, String)> = {
            let migrations = self.migrations();
            migrations.values().map(|entry| (entry.record.volume_id, label(&entry.record.volume))).collect()
        };
        let moving: Vec<(String, VolumeMigration)> =
            ids.into_iter().filter_map(|(id, label)| Some((label, self.describe_migration(id)?))).collect();
        put(text, MIGRATIONS, std::iter::once((String::new(), moving.len() as u64)));
        let mut by_volume = |family: Family, value: fn(&VolumeMigration) -> u64| {
            put(text, family, moving.iter().map(|(label, migration)| (label.clone(), value(migration))));
        };
        by_volume(MIGRATION_COPIED, |migration| migration.copied_bytes);
        by_volume(MIGRATION_VERIFIED, |migration| migration.verified_bytes);
        by_volume(MIGRATION_REPAIRED, |migration| migration.repaired_bytes);
        by_volume(MIGRATION_STOPPED, |migration| u64::from(migration.state == MigrationState::Stopped));
        Ok(())
    }
}
