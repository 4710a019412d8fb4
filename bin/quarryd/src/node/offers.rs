//! What is served now of what is meant to be: entries of the tables that sessions ask.

use std::rc::Rc;

use quarry_api_types::Protocol;
use quarry_catalog::{Change, ExportRecord};
use quarry_engine::Engine;
use quarry_node_api::Result;
use quarry_target::{AccessError, ExportError, Exports, Mapping};
use quarry_types::{SnapshotId, VolumeId};
use quarry_volume::{Volume as _, VolumeInfo};

use super::DataNode;
use super::exports::{export_error, path_of, sort};
use super::host_table::fabric_of;
use super::hosts::access_error;
use super::places::Located;

/// An entry of one of the tables.
pub(super) enum Offer {
    /// By its name, over this protocol.
    Named(Protocol, quarry_target::Export),
    /// By its number.
    Numbered(Mapping),
}

impl DataNode {
    /// Serves a volume, or a snapshot of it, as `record` says.
    pub(super) async fn offer(
        &self,
        located: &Located,
        snapshot: Option<SnapshotId>,
        record: &ExportRecord,
    ) -> Result<()> {
        let volume = match (located, snapshot) {
            (Located::Pool(found), Some(snapshot)) => {
                let path = path_of(record);
                let what = format!("{} '{path}' is not served", sort(&path));
                let info =
                    move |engine: Rc<Engine>| async move { Ok(engine.snapshot_volume(snapshot)?.info()) };
                self.with_engine(found, what, info).await?
            }
            _ => self.served_info(located).await?,
        };
        self.put(self.entry(record, volume, located.core())).await
    }

    fn entry(&self, record: &ExportRecord, volume: VolumeInfo, core: usize) -> Offer {
        let read_only = record.read_only || volume.read_only;
        let Some(fabric) = fabric_of(record.protocol) else {
            let volume = VolumeInfo { read_only, ..volume };
            let export = quarry_target::Export { name: path_of(record).to_string(), volume, core };
            return Offer::Named(record.protocol, export);
        };
        Offer::Numbered(Mapping {
            export: record.id.to_string(),
            fabric,
            audience: self.hosts().audience(record),
            // Only a record that was damaged in the catalog has none; then the table refuses it or it is the first one.
            number: record.number.unwrap_or_default(),
            volume,
            core,
            read_only,
        })
    }

    /// The table of a protocol that serves each export by itself.
    pub(super) fn named(&self, protocol: Protocol) -> Option<&Exports> {
        match protocol {
            Protocol::Nbd => Some(&self.exports),
            Protocol::VhostUser => Some(&self.vhost_user),
            Protocol::Iscsi | Protocol::NvmeTcp => None,
        }
    }

    async fn put(&self, offer: Offer) -> Result<()> {
        match offer {
            Offer::Named(Protocol::VhostUser, export) => self.put_socket(export).await,
            Offer::Named(_, export) => self.exports.insert(export).map_err(|error| export_error(&error)),
            Offer::Numbered(mapping) => self.access.map(mapping).map_err(|error| access_error(&error)),
        }
    }

    /// Ends serving an export, unless a client of its own is connected. Says what was served, if it was.
    pub(super) async fn withdraw(&self, record: &ExportRecord) -> Result<Option<Offer>> {
        if let Some(exports) = self.named(record.protocol) {
            let export = match exports.remove(&path_of(record).to_string()) {
                Ok(export) => export,
                Err(ExportError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(export_error(&error)),
            };
            if record.protocol == Protocol::VhostUser {
                self.close_socket(&export).await?;
            }
            return Ok(Some(Offer::Named(record.protocol, export)));
        }
        let name = record.id.to_string();
        let mapping = self.access.mapping(&name);
        match self.access.unmap(&name) {
            Ok(()) => Ok(mapping.map(|mapping| Offer::Numbered((*mapping).clone()))),
            Err(AccessError::NoMapping { .. }) => Ok(None),
            Err(error) => Err(access_error(&error)),
        }
    }

    /// Puts back what was withdrawn when it does not end after all.
    pub(super) async fn offer_again(&self, withdrawn: Vec<Offer>) {
        for offer in withdrawn {
            if let Err(error) = self.put(offer).await {
                tracing::error!(%error, "an export that was not ended is not served until quarryd is restarted");
            }
        }
    }

    /// Whether an export is served now.
    pub(super) fn is_offered(&self, record: &ExportRecord) -> bool {
        match self.named(record.protocol) {
            Some(exports) => exports.find(&path_of(record).to_string()).is_some(),
            None => self.access.mapping(&record.id.to_string()).is_some(),
        }
    }

    /// Whether a volume, or a snapshot by its own id, is served now, over whatever protocol.
    pub(super) fn is_served(&self, volume: VolumeId) -> bool {
        self.access.mapping_of(volume).is_some()
            || self
                .tables_by_name()
                .any(|exports| exports.list().iter().any(|export| export.volume.id == volume))
    }

    fn tables_by_name(&self) -> impl Iterator<Item = &Exports> {
        [&self.exports, &self.vhost_user].into_iter()
    }

    /// How many exports are served now.
    pub(super) fn offer_count(&self) -> usize {
        let named: usize = self.tables_by_name().map(|exports| exports.list().len()).sum();
        named + self.access.mappings().len()
    }

    /// A volume has another size: whoever sees it learns of it.
    pub(super) fn tell_size(&self, volume: VolumeId, size_bytes: u64) {
        self.tables_by_name().for_each(|exports| _ = exports.update_size(volume, size_bytes));
        self.access.update_size(volume, size_bytes);
    }

    /// How many sessions use a volume or see it.
    pub(super) fn clients_of(&self, volume: VolumeId) -> usize {
        let sessions = |exports: &Exports| {
            let of_volume = exports.list().into_iter().filter(|export| export.volume.id == volume);
            of_volume.map(|export| exports.sessions_of(&export.name)).sum::<usize>()
        };
        let named: usize = self.tables_by_name().map(sessions).sum();
        let (clients, mappings) = (self.clients(), self.access.mappings());
        let seen = mappings.iter().filter(|mapping| mapping.volume.id == volume);
        named + seen.filter_map(|mapping| clients.by_export.get(&mapping.export)).sum::<usize>()
    }

    /// Volumes, or snapshots by their own ids, are gone, and with them what initiators had reserved of them. Ids are never used
    /// again: a record that stays behind does no harm.
    pub(super) async fn forget_reservations(&self, volumes: impl IntoIterator<Item = VolumeId>) {
        let gone: Vec<VolumeId> = volumes.into_iter().collect();
        gone.iter().for_each(|volume| self.reservations.remove(*volume));
        let kept = match self.catalog.reservations() {
            Ok(records) => records.into_iter().map(|record| record.volume_id).collect(),
            Err(_) => gone.clone(),
        };
        let changes: Vec<Change> =
            gone.into_iter().filter(|volume| kept.contains(volume)).map(Change::DeleteReservation).collect();
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.commit(changes).await {
            tracing::warn!(%error, "the catalog keeps reservations of volumes that are gone");
        }
    }
}
