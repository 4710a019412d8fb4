//! Clones: made and promoted; volumes rolled back.

use quarry_api_types::{CloneVolume, Name, RollBackVolume, SnapshotPath, Timestamp, Volume, VolumePath};
use quarry_engine::CloneOf;
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::{SnapshotId, VolumeId};

use super::DataNode;
use super::volumes::{FoundVolume, check_count, check_new_name};

impl DataNode {
    pub(super) async fn make_clone(&self, origin: &Name, request: CloneVolume) -> Result<Volume> {
        request.check()?;
        let found = self.find_volume(origin).await?;
        let of = match (request.snapshot.clone(), request.at) {
            (Some(snapshot), _) => {
                let path = SnapshotPath { volume: origin.clone(), snapshot };
                CloneOf::Snapshot(self.find_snapshot_of(&found, &path).await?)
            }
            (None, Some(at)) => CloneOf::Snapshot(self.find_moment(&found, at).await?),
            (None, None) => CloneOf::Volume(found.status.id),
        };
        let all = self.volumes_of(None).await?;
        check_new_name(self, &all, &request.name)?;
        check_count(self, &all)?;
        let own = self.opened_pool(found.pool)?.shared.protection_of(found.log);
        self.check_growth((found.pool, None), self.weighed(found.pool, Some(own), found.status.size_bytes)?)
            .await?;
        let path = VolumePath { volume: origin.clone(), snapshot: request.snapshot };
        let what = format!("'{path}' was not cloned");
        let (id, name) = (VolumeId(uuid::Uuid::new_v4()), request.name.as_str().to_owned());
        self.with_engine(&found, what, move |engine| async move { engine.clone_volume(of, id, &name).await })
            .await?;
        self.describe_volume(&request.name).await
    }

    pub(super) async fn roll_back(&self, name: &Name, request: RollBackVolume) -> Result<Volume> {
        request.check()?;
        let found = self.find_volume(name).await?;
        let to = match (request.snapshot, request.at) {
            (Some(snapshot), _) => {
                self.find_snapshot_of(&found, &SnapshotPath { volume: name.clone(), snapshot }).await?
            }
            (None, at) => self.find_moment(&found, at.unwrap_or(Timestamp::from_unix_ms(0))).await?,
        };
        self.check_no_clients(name, found.status.id)?;
        let (volume, what) = (found.status.id, format!("volume '{name}' was not rolled back"));
        self.with_engine(
            &found,
            what,
            move |engine| async move { engine.roll_back_volume(volume, to).await },
        )
        .await?;
        let shown = self.describe_volume(name).await?;
        self.tell_size(volume, shown.size_bytes);
        Ok(shown)
    }

    /// What shows a volume as it was at a second.
    async fn find_moment(&self, found: &FoundVolume, at: Timestamp) -> Result<SnapshotId> {
        let (id, name) = (found.status.id, &found.status.name);
        let (what, at_s) = (format!("volume '{name}' was not looked up"), at.unix_ms() / 1000);
        let moment = self.with_engine(found, what, move |engine| async move { engine.moment_at(id, at_s) });
        moment.await?.ok_or_else(|| match found.status.history {
            Some(history) => {
                let since = Timestamp::from_unix_ms(history.since_s * 1000);
                let what = format!(
                    "the history of volume '{name}' goes from {since} until now, and {at} is outside"
                );
                NodeError::new(ErrorKind::NotFound, what)
            }
            None if found.status.settings.history_s > 0 => {
                NodeError::new(ErrorKind::NotFound, format!("the history of volume '{name}' has just begun"))
            }
            None => NodeError::new(ErrorKind::NotFound, format!("volume '{name}' has no history"))
                .with_next_step(format!("`quarry volume set {name} --history 10m` begins one.")),
        })
    }

    /// Fails when a client is connected to a volume whose content is about to become another one.
    pub(super) fn check_no_clients(&self, name: &Name, volume: VolumeId) -> Result<()> {
        match self.clients_of(volume) {
            0 => Ok(()),
            sessions => {
                let what =
                    format!("volume '{name}' has {sessions} connected clients, which would not notice");
                Err(NodeError::new(ErrorKind::InUse, what).with_next_step(
                    "Disconnect its clients first; `quarry export list` shows how many there are.",
                ))
            }
        }
    }

    pub(super) async fn promote(&self, name: &Name) -> Result<Volume> {
        let found = self.find_volume(name).await?;
        // Snapshots that get another owner get another path, and exports are known by it.
        if let Some((owner, _)) = &found.status.origin {
            self.check_unexported(|record| record.volume.as_str() == owner && record.snapshot.is_some())?;
        }
        let (id, what) = (found.status.id, format!("volume '{name}' was not promoted"));
        self.with_engine(&found, what, move |engine| async move { engine.promote_volume(id).await }).await?;
        self.describe_volume(name).await
    }
}
