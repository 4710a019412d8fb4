//! Exports: which volumes and snapshots clients can reach. The catalog says which are meant; the table of `quarry-target`
//! which are served now.

use quarry_api_types::{
    CreateExport, Export, ExportId, ExportSelector, ExportState, Protocol, SnapshotPath, VolumePath,
};
use quarry_catalog::{Change, ExportRecord};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_target::ExportError;
use quarry_types::SnapshotId;
use quarry_volume::Volume as _;

use super::volumes::FoundVolume;
use super::{DataNode, now};

impl DataNode {
    pub(super) async fn make_export(&self, request: CreateExport) -> Result<Export> {
        let Protocol::Nbd = request.protocol;
        let path = request.path();
        let found = self.find_volume(&path.volume).await?;
        let snapshot = self.exported_snapshot(&found, &path).await?;
        let records = self.catalog.exports().map_err(|error| super::catalog_error(&error))?;
        if let Some(record) = records.iter().find(|record| path_of(record) == path) {
            let what = format!("{} '{path}' is exported over nbd already, as {}", sort(&path), record.id);
            return Err(NodeError::new(ErrorKind::Conflict, what)
                .with_next_step("`quarry export list` shows its URI."));
        }
        let id = ExportId(uuid::Uuid::new_v4());
        let volume_id = found.status.id;
        let (volume, protocol, created) = (request.volume, Protocol::Nbd, now());
        let record = ExportRecord { id, volume_id, volume, snapshot: request.snapshot, protocol, created };
        self.offer(&found, snapshot, &path).await?;
        if let Err(error) = self.commit(vec![Change::PutExport(record.clone())]).await {
            // Without the record it would be gone at the next start: not served is what the caller is told.
            let _ = self.exports.remove(&path.to_string());
            return Err(error);
        }
        Ok(self.describe_export(record))
    }

    /// The snapshot that an export of `path` serves, if it is one.
    async fn exported_snapshot(&self, found: &FoundVolume, path: &VolumePath) -> Result<Option<SnapshotId>> {
        match path.clone() {
            VolumePath { volume, snapshot: Some(snapshot) } => {
                let path = SnapshotPath { volume, snapshot };
                self.find_snapshot_of(found, &path).await.map(Some)
            }
            VolumePath { snapshot: None, .. } => Ok(None),
        }
    }

    /// Serves a volume, or a snapshot of it, under its path.
    async fn offer(
        &self,
        found: &FoundVolume,
        snapshot: Option<SnapshotId>,
        path: &VolumePath,
    ) -> Result<()> {
        let id = found.status.id;
        let what = format!("{} '{path}' is not served", sort(path));
        let volume = self
            .with_engine(found, what, move |engine| async move {
                let volume = match snapshot {
                    Some(snapshot) => engine.snapshot_volume(snapshot)?,
                    None => engine.volume(id)?,
                };
                Ok(volume.info())
            })
            .await?;
        let export = quarry_target::Export { name: path.to_string(), volume, core: found.core };
        self.exports.insert(export).map_err(|error| export_error(&error))
    }

    /// Serves every export of the catalog whose volume is there.
    pub(super) async fn load_exports(&self) -> Result<()> {
        let records = self.catalog.exports().map_err(|error| super::catalog_error(&error))?;
        let volumes = self.volumes_of(None).await?;
        for record in records {
            let path = path_of(&record);
            let Some(found) = volumes.iter().find(|volume| volume.status.id == record.volume_id) else {
                tracing::warn!(export = %record.id, volume = %record.volume, "the volume of an export is not there");
                continue;
            };
            match self.exported_snapshot(found, &path).await {
                Ok(snapshot) => self.offer(found, snapshot, &path).await?,
                Err(error) => tracing::warn!(export = %record.id, %error, "an export is not served"),
            }
        }
        Ok(())
    }

    /// Fails when the catalog has an export that `is_meant` picks, naming it.
    pub(super) fn check_unexported(&self, is_meant: impl Fn(&ExportRecord) -> bool) -> Result<()> {
        let records = self.catalog.exports().map_err(|error| super::catalog_error(&error))?;
        match records.iter().find(|record| is_meant(record)).map(path_of) {
            None => Ok(()),
            Some(path) => {
                Err(NodeError::new(ErrorKind::InUse, format!("{} '{path}' is exported", sort(&path)))
                    .with_next_step(format!("End its export first: `quarry export delete {path}`.")))
            }
        }
    }

    pub(super) async fn describe_exports(&self) -> Result<Vec<Export>> {
        let mut records = self.catalog.exports().map_err(|error| super::catalog_error(&error))?;
        records.sort_by_cached_key(path_of);
        Ok(records.into_iter().map(|record| self.describe_export(record)).collect())
    }

    fn describe_export(&self, record: ExportRecord) -> Export {
        let name = &path_of(&record).to_string();
        let serving = self.exports.find(name).is_some();
        Export {
            uris: self.settings.nbd.iter().map(|address| quarry_nbd::uri(address, name)).collect(),
            state: if serving { ExportState::Serving } else { ExportState::Offline },
            sessions: self.exports.sessions_of(name) as u32,
            id: record.id,
            volume_id: record.volume_id,
            protocol: record.protocol,
            created: record.created,
            volume: record.volume,
            snapshot: record.snapshot,
        }
    }

    pub(super) async fn end_exports(&self, selector: &ExportSelector) -> Result<()> {
        let records = self.catalog.exports().map_err(|error| super::catalog_error(&error))?;
        let meant = |record: &&ExportRecord| match selector {
            ExportSelector::Id(id) => record.id == *id,
            ExportSelector::Volume(name) => record.volume == *name && record.snapshot.is_none(),
            ExportSelector::Snapshot(path) => path_of(record) == VolumePath::from(path.clone()),
        };
        let ending: Vec<&ExportRecord> = records.iter().filter(meant).collect();
        if ending.is_empty() {
            return Err(NodeError::not_found("export", selector));
        }
        for record in ending {
            match self.exports.remove(&path_of(record).to_string()) {
                Ok(_) | Err(ExportError::NotFound { .. }) => {}
                Err(error) => return Err(export_error(&error)),
            }
            self.commit(vec![Change::DeleteExport(record.id)]).await?;
        }
        Ok(())
    }
}

/// What an export serves, which is also the name by which clients ask for it.
pub(super) fn path_of(record: &ExportRecord) -> VolumePath {
    VolumePath { volume: record.volume.clone(), snapshot: record.snapshot.clone() }
}

fn sort(path: &VolumePath) -> &'static str {
    if path.snapshot.is_some() { "snapshot" } else { "volume" }
}

fn export_error(error: &ExportError) -> NodeError {
    let (kind, next_step) = match error {
        ExportError::NotFound { .. } => (ErrorKind::NotFound, "`quarry export list` shows what exists."),
        ExportError::InUse { .. } => (ErrorKind::InUse, "Disconnect its clients first."),
        ExportError::Exists { .. } => (ErrorKind::Conflict, "`quarry export list` shows what exists."),
        _ => (ErrorKind::Unavailable, "End exports that are no longer needed."),
    };
    NodeError::new(kind, error.to_string()).with_next_step(next_step)
}
