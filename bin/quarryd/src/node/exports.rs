//! Exports: which volumes clients can reach. The catalog says which are meant; the table of `quarry-target` which are
//! served now.

use quarry_api_types::{CreateExport, Export, ExportId, ExportSelector, ExportState, Protocol};
use quarry_catalog::{Change, ExportRecord};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_target::ExportError;
use quarry_volume::Volume as _;

use super::volumes::FoundVolume;
use super::{DataNode, now};

impl DataNode {
    pub(super) async fn make_export(&self, request: CreateExport) -> Result<Export> {
        let Protocol::Nbd = request.protocol;
        let found = self.find_volume(&request.volume).await?;
        let records = self.catalog.exports().map_err(|error| super::catalog_error(&error))?;
        if let Some(record) = records.iter().find(|record| record.volume_id == found.status.id) {
            let what = format!("volume '{}' is exported over nbd already, as {}", request.volume, record.id);
            return Err(NodeError::new(ErrorKind::Conflict, what)
                .with_next_step("`quarry export list` shows its URI."));
        }
        let id = ExportId(uuid::Uuid::new_v4());
        let volume_id = found.status.id;
        let record =
            ExportRecord { id, volume_id, volume: request.volume, protocol: Protocol::Nbd, created: now() };
        self.offer(&found).await?;
        if let Err(error) = self.commit(vec![Change::PutExport(record.clone())]).await {
            // Without the record it would be gone at the next start: not served is what the caller is told.
            let _ = self.exports.remove(record.volume.as_str());
            return Err(error);
        }
        Ok(self.describe_export(record))
    }

    /// Serves a volume under its name.
    async fn offer(&self, found: &FoundVolume) -> Result<()> {
        let (pool, log, id) = (found.pool, found.log, found.status.id);
        let info = self.cores.call(found.core, move |state| async move {
            let volume = state.engine(pool, log)?.volume(id);
            let gone = |error| NodeError::new(ErrorKind::NotFound, "the volume is gone").caused_by(&error);
            Ok::<_, NodeError>(volume.map_err(gone)?.info())
        });
        let volume = info.await??;
        let export = quarry_target::Export { name: volume.name.clone(), volume, core: found.core };
        self.exports.insert(export).map_err(|error| export_error(&error))
    }

    /// Serves every export of the catalog whose volume is there.
    pub(super) async fn load_exports(&self) -> Result<()> {
        let records = self.catalog.exports().map_err(|error| super::catalog_error(&error))?;
        let volumes = self.volumes_of(None).await?;
        for record in records {
            match volumes.iter().find(|volume| volume.status.id == record.volume_id) {
                Some(found) => self.offer(found).await?,
                None => {
                    tracing::warn!(export = %record.id, volume = %record.volume, "the volume of an export is not there")
                }
            }
        }
        Ok(())
    }

    pub(super) async fn describe_exports(&self) -> Result<Vec<Export>> {
        let mut records = self.catalog.exports().map_err(|error| super::catalog_error(&error))?;
        records.sort_by(|a, b| a.volume.cmp(&b.volume));
        Ok(records.into_iter().map(|record| self.describe_export(record)).collect())
    }

    fn describe_export(&self, record: ExportRecord) -> Export {
        let serving = self.exports.find(record.volume.as_str()).is_some();
        let name = record.volume.as_str();
        Export {
            uris: self.settings.nbd.iter().map(|address| quarry_nbd::uri(address, name)).collect(),
            state: if serving { ExportState::Serving } else { ExportState::Offline },
            sessions: self.exports.sessions_of(name) as u32,
            id: record.id,
            volume_id: record.volume_id,
            protocol: record.protocol,
            created: record.created,
            volume: record.volume,
        }
    }

    pub(super) async fn end_exports(&self, selector: &ExportSelector) -> Result<()> {
        let records = self.catalog.exports().map_err(|error| super::catalog_error(&error))?;
        let meant = |record: &&ExportRecord| match selector {
            ExportSelector::Id(id) => record.id == *id,
            ExportSelector::Volume(name) => record.volume == *name,
        };
        let ending: Vec<&ExportRecord> = records.iter().filter(meant).collect();
        if ending.is_empty() {
            return Err(NodeError::not_found("export", selector));
        }
        for record in ending {
            match self.exports.remove(record.volume.as_str()) {
                Ok(_) | Err(ExportError::NotFound { .. }) => {}
                Err(error) => return Err(export_error(&error)),
            }
            self.commit(vec![Change::DeleteExport(record.id)]).await?;
        }
        Ok(())
    }
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
