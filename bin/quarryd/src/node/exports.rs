//! Exports: which volumes and snapshots clients can reach. The catalog says which are meant; the tables of `quarry-target` say
//! which are served now: `Exports` by name, for NBD and for vhost-user, and `Access` by number, for iSCSI and NVMe/TCP.

use std::time::Duration;

use futures::future::join_all;
use quarry_api_types::{
    CreateExport, DeleteExport, Export, ExportId, ExportSelector, ExportState, Name, Protocol, SnapshotPath,
    VolumePath,
};
use quarry_catalog::{AudienceRecord, Change, ExportRecord};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_target::{Clients, Drained, ExportError, names};
use quarry_types::{SnapshotId, VolumeId};

use super::host_table::{Clash, fabric_of};
use super::offers::Offer;
use super::places::{Located, in_image_mode};
use super::{DataNode, now};

/// How long clients that are disconnected may take to finish what they do.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DISCONNECT_POLL: Duration = Duration::from_millis(10);

impl DataNode {
    pub(super) fn export_records(&self) -> Result<Vec<ExportRecord>> {
        self.catalog.exports().map_err(|error| super::catalog_error(&error))
    }

    pub(super) async fn make_export(&self, request: CreateExport) -> Result<Export> {
        request.check()?;
        self.check_served(request.protocol)?;
        let path = request.path();
        let located = self.locate(&path.volume).await?;
        let snapshot = self.exported_snapshot(&located, &path).await?;
        let mut record = ExportRecord {
            id: ExportId(uuid::Uuid::new_v4()),
            volume_id: located.id(),
            audience: self.audience_of(request.host.as_ref(), request.host_group.as_ref())?,
            volume: request.volume,
            snapshot: request.snapshot,
            protocol: request.protocol,
            number: request.number,
            read_only: request.read_only,
            created: now(),
        };
        self.settle_number(&mut record)?;
        self.offer(&located, snapshot, &record).await?;
        if let Err(error) = self.commit(vec![Change::PutExport(record.clone())]).await {
            // Without the record it would be gone at the next start: not served is what the caller is told.
            let _ = self.withdraw(&record).await;
            return Err(error);
        }
        Ok(self.describe_export(record, &self.clients()))
    }

    /// Fails when no listener speaks the protocol.
    pub(super) fn check_served(&self, protocol: Protocol) -> Result<()> {
        let (listeners, name, option) = match protocol {
            Protocol::Nbd => (self.settings.nbd.len(), "NBD", "--nbd"),
            Protocol::Iscsi => (self.settings.iscsi.len(), "iSCSI", "--iscsi"),
            Protocol::NvmeTcp => (self.settings.nvme_tcp.len(), "NVMe/TCP", "--nvme-tcp"),
            Protocol::VhostUser => return Ok(()),
        };
        if listeners > 0 {
            return Ok(());
        }
        let what = format!("the node does not serve {name}; start quarryd with {option} ADDR");
        Err(NodeError::new(ErrorKind::Unsupported, what)
            .with_next_step(format!("Restart quarryd with {option} ADDR, or use another protocol.")))
    }

    /// Who is to see an export.
    fn audience_of(&self, host: Option<&Name>, group: Option<&Name>) -> Result<Option<AudienceRecord>> {
        let table = self.hosts();
        match (host, group) {
            (Some(name), _) => Ok(Some(AudienceRecord::Host(table.host(name)?.id))),
            (None, Some(name)) => Ok(Some(AudienceRecord::HostGroup(table.group(name)?.id))),
            (None, None) => Ok(None),
        }
    }

    /// Gives an export its number, if it has none yet, and checks that nobody sees two volumes under it.
    fn settle_number(&self, record: &mut ExportRecord) -> Result<()> {
        let (all, table) = (self.export_records()?, self.hosts());
        if let Some(clash) = table.clash(record, &all) {
            return Err(clash_error(&clash));
        }
        if record.number.is_none() && fabric_of(record.protocol).is_some() {
            let last = self.catalog.last_namespace_id().map_err(|error| super::catalog_error(&error))?;
            let free = table.free_number(record, &all, last);
            record.number = Some(free.ok_or_else(|| {
                NodeError::new(ErrorKind::NoSpace, "no number is free for everybody who is to see the export")
                    .with_next_step("End exports that are no longer needed, or export it to fewer hosts.")
            })?);
        }
        Ok(())
    }

    /// The snapshot that an export of `path` serves, if it is one.
    pub(super) async fn exported_snapshot(
        &self,
        located: &Located,
        path: &VolumePath,
    ) -> Result<Option<SnapshotId>> {
        let VolumePath { volume, snapshot: Some(snapshot) } = path.clone() else { return Ok(None) };
        match located {
            Located::Pool(found) => {
                self.check_at_rest(found.status.id, volume.as_str())?;
                let path = SnapshotPath { volume, snapshot };
                self.find_snapshot_of(found, &path).await.map(Some)
            }
            Located::Device(image) => Err(in_image_mode(&volume, &image.record.device)),
        }
    }

    /// Serves every export of the catalog whose volume is there.
    pub(super) async fn load_exports(&self) -> Result<()> {
        let volumes: Vec<Located> = self.volumes_of(None).await?.into_iter().map(Located::Pool).collect();
        for record in self.export_records()? {
            // Those of volumes in image mode follow when their devices are open.
            if self.images().contains_key(&record.volume_id) {
                continue;
            }
            match volumes.iter().find(|volume| volume.id() == record.volume_id) {
                Some(located) => self.offer_known(located, &record).await,
                None => {
                    tracing::warn!(export = %record.id, volume = %record.volume, "the volume of an export is not there");
                }
            }
        }
        Ok(())
    }

    /// Serves the exports of a volume in image mode whose device is open now.
    pub(super) async fn offer_exports_of(&self, id: VolumeId) {
        let image = self.images().get(&id).cloned().map(Located::Device);
        let (Some(located), Ok(records)) = (image, self.export_records()) else { return };
        for record in records.iter().filter(|record| record.volume_id == id && !self.is_offered(record)) {
            self.offer_known(&located, record).await;
        }
    }

    async fn offer_known(&self, located: &Located, record: &ExportRecord) {
        let offered = match self.exported_snapshot(located, &path_of(record)).await {
            Ok(snapshot) => self.offer(located, snapshot, record).await,
            Err(error) => Err(error),
        };
        if let Err(error) = offered {
            tracing::warn!(export = %record.id, %error, "an export is not served");
        }
    }

    /// Fails when the catalog has an export that `is_meant` picks, naming it.
    pub(super) fn check_unexported(&self, is_meant: impl Fn(&ExportRecord) -> bool) -> Result<()> {
        match self.export_records()?.iter().find(|record| is_meant(record)).map(path_of) {
            None => Ok(()),
            Some(path) => {
                Err(NodeError::new(ErrorKind::InUse, format!("{} '{path}' is exported", sort(&path)))
                    .with_next_step(format!("End its export first: `quarry export delete {path}`.")))
            }
        }
    }

    pub(super) async fn describe_exports(&self) -> Result<Vec<Export>> {
        let (mut records, clients) = (self.export_records()?, self.clients());
        records.sort_by_cached_key(|record| (path_of(record), record.protocol, record.number));
        Ok(records.into_iter().map(|record| self.describe_export(record, &clients)).collect())
    }

    pub(super) async fn describe_selected(&self, selector: &ExportSelector) -> Result<Vec<Export>> {
        let clients = self.clients();
        let selected = self.selected(selector)?;
        Ok(selected.into_iter().map(|record| self.describe_export(record, &clients)).collect())
    }

    fn selected(&self, selector: &ExportSelector) -> Result<Vec<ExportRecord>> {
        let mut records = self.export_records()?;
        records.retain(|record| match selector {
            ExportSelector::Id(id) => record.id == *id,
            ExportSelector::Volume(name) => record.volume == *name && record.snapshot.is_none(),
            ExportSelector::Snapshot(path) => path_of(record) == VolumePath::from(path.clone()),
        });
        if records.is_empty() {
            return Err(NodeError::not_found("export", selector));
        }
        Ok(records)
    }

    fn describe_export(&self, record: ExportRecord, clients: &Clients) -> Export {
        let uris = self.uris(&record);
        let serving = self.is_offered(&record) && !uris.is_empty();
        let (host, host_group) = {
            let table = self.hosts();
            match record.audience {
                Some(AudienceRecord::Host(id)) => (table.hosts.get(&id).map(|host| host.name.clone()), None),
                Some(AudienceRecord::HostGroup(id)) => {
                    (None, table.groups.get(&id).map(|group| group.name.clone()))
                }
                None => (None, None),
            }
        };
        Export {
            uris,
            state: if serving { ExportState::Serving } else { ExportState::Offline },
            sessions: self.sessions_of(&record, clients) as u32,
            id: record.id,
            volume_id: record.volume_id,
            protocol: record.protocol,
            number: record.number,
            host,
            host_group,
            read_only: record.read_only || record.snapshot.is_some(),
            created: record.created,
            volume: record.volume,
            snapshot: record.snapshot,
        }
    }

    /// Where clients find an export, as far as the node listens.
    fn uris(&self, record: &ExportRecord) -> Vec<String> {
        let number = record.number.unwrap_or_default();
        match record.protocol {
            Protocol::Nbd => {
                let name = path_of(record).to_string();
                self.settings
                    .nbd
                    .iter()
                    .map(|address| quarry_nbd::uri(address, &name, self.settings.nbd_tls.is_some()))
                    .collect()
            }
            Protocol::Iscsi => {
                let portals = self.settings.portals(&self.settings.iscsi).into_iter();
                portals.map(|portal| names::iscsi_uri(portal, self.id, number)).collect()
            }
            Protocol::NvmeTcp => {
                let portals = self.settings.portals(&self.settings.nvme_tcp).into_iter();
                portals.map(|portal| names::nvme_tcp_uri(portal, self.id, number)).collect()
            }
            Protocol::VhostUser => vec![self.socket_of(&path_of(record)).display().to_string()],
        }
    }

    fn sessions_of(&self, record: &ExportRecord, clients: &Clients) -> usize {
        match self.named(record.protocol) {
            Some(exports) => exports.sessions_of(&path_of(record).to_string()),
            None => clients.by_export.get(&record.id.to_string()).copied().unwrap_or(0),
        }
    }

    pub(super) async fn end_exports(&self, selector: &ExportSelector, request: DeleteExport) -> Result<()> {
        let (ending, clients) = (self.selected(selector)?, self.clients());
        for record in &ending {
            match self.sessions_of(record, &clients) {
                0 => {}
                _ if request.force => self.disconnect(record).await,
                sessions => return Err(in_use(record, sessions)),
            }
        }
        let mut withdrawn = Vec::with_capacity(ending.len());
        for record in &ending {
            match self.withdraw(record).await {
                Ok(offer) => withdrawn.extend(offer),
                Err(error) => {
                    self.offer_again(withdrawn).await;
                    return Err(error);
                }
            }
        }
        self.outlast(&withdrawn).await;
        let changes = ending.iter().map(|record| Change::DeleteExport(record.id)).collect();
        if let Err(error) = self.commit(changes).await {
            self.offer_again(withdrawn).await;
            return Err(error);
        }
        Ok(())
    }

    /// Waits for what hosts have begun on volumes that they see no more: who is told that an export has ended may roll its volume
    /// back, and nothing may be written after that.
    async fn outlast(&self, withdrawn: &[Offer]) {
        let volumes = withdrawn.iter().filter_map(|offer| match offer {
            Offer::Numbered(mapping) => Some(mapping.volume.id),
            Offer::Named(..) => None,
        });
        let under_way: Vec<Drained> = volumes.map(|volume| self.reservations.of(volume).settle()).collect();
        let ended = join_all(under_way.iter().map(Drained::wait));
        if tokio::time::timeout(DISCONNECT_TIMEOUT, ended).await.is_err() {
            tracing::warn!("an export has ended, and what hosts had asked for before is still under way");
        }
    }

    /// Ends the connections of an export of its own. A session of a fabric sees other volumes too: it is told that this one is gone.
    async fn disconnect(&self, record: &ExportRecord) {
        let Some(exports) = self.named(record.protocol) else { return };
        let name = path_of(record).to_string();
        let end = tokio::time::Instant::now() + DISCONNECT_TIMEOUT;
        while exports.disconnect(&name) > 0 && tokio::time::Instant::now() < end {
            tokio::time::sleep(DISCONNECT_POLL).await;
        }
    }
}

/// What an export serves, which is also the name by which NBD clients ask for it, and that of its socket over vhost-user.
pub(super) fn path_of(record: &ExportRecord) -> VolumePath {
    VolumePath { volume: record.volume.clone(), snapshot: record.snapshot.clone() }
}

pub(super) fn sort(path: &VolumePath) -> &'static str {
    if path.snapshot.is_some() { "snapshot" } else { "volume" }
}

/// What stands in the way of an export.
pub(super) fn clash_error(clash: &Clash<'_>) -> NodeError {
    let what = match clash {
        Clash::Volume(other) => {
            let (path, protocol, id) = (path_of(other), other.protocol, other.id);
            format!("{} '{path}' is exported over {protocol} already, as {id}", sort(&path))
        }
        Clash::Number(other) => {
            let (path, number, id) = (path_of(other), other.number.unwrap_or_default(), other.id);
            format!("number {number} is that of {} '{path}' already, as {id}", sort(&path))
        }
    };
    NodeError::new(ErrorKind::Conflict, what)
        .with_next_step("`quarry export list` shows its URI, its number and who sees it.")
}

fn in_use(record: &ExportRecord, sessions: usize) -> NodeError {
    let (path, protocol) = (path_of(record), record.protocol);
    match protocol {
        Protocol::Nbd | Protocol::VhostUser => {
            let what = format!("export '{path}' has {sessions} connected client(s)");
            NodeError::new(ErrorKind::InUse, what)
                .with_next_step("Disconnect its clients first, or add --force, which does it.")
        }
        Protocol::Iscsi | Protocol::NvmeTcp => {
            let what = format!("{sessions} session(s) are logged in that see '{path}' over {protocol}");
            NodeError::new(ErrorKind::InUse, what).with_next_step(
                "Log out on the hosts first; or add --force, when they use it no more: they are told that it is gone.",
            )
        }
    }
}

pub(super) fn export_error(error: &ExportError) -> NodeError {
    let (kind, next_step) = match error {
        ExportError::NotFound { .. } => (ErrorKind::NotFound, "`quarry export list` shows what exists."),
        ExportError::InUse { .. } => (ErrorKind::InUse, "Disconnect its clients first, or add --force."),
        ExportError::Exists { .. } => (ErrorKind::Conflict, "`quarry export list` shows what exists."),
        _ => (ErrorKind::Unavailable, "End exports that are no longer needed."),
    };
    NodeError::new(kind, error.to_string()).with_next_step(next_step)
}
