//! The node as the control plane sees it: `quarry_node_api::Node` over the cores, one file per sort of thing.
//!
//! Changes hold one lock, so that checks and what they allow belong together; lists and I/O do not take it.

mod anomalies;
mod apply;
mod attachments;
mod behind;
mod bucket_metrics;
mod cache_disk;
mod capacity;
mod check;
mod clones;
mod conditions;
mod device_health;
mod device_metrics;
mod devices;
mod drives;
mod engine_error;
mod events;
mod exports;
mod exposition;
mod figures;
mod fill_warnings;
mod forecasts;
mod freeing;
mod group_snapshots;
mod groups;
mod history;
mod history_samples;
mod host_groups;
mod host_table;
mod hosts;
mod images;
mod io_metrics;
mod jobs;
mod keyring;
mod keys;
mod last_copies;
mod logs;
mod member_looks;
mod membership;
mod metrics;
mod migration_steps;
mod migrations;
mod observe;
mod offers;
mod place_metrics;
mod places;
mod policies;
mod policy_events;
mod policy_world;
mod pools;
mod promises;
mod qos;
mod qos_metrics;
mod reopening;
mod requests;
mod scrub;
mod slow;
mod snapshot_sets;
mod snapshots;
mod status;
mod tiers;
mod vhost_user;
mod volumes;
mod watch;
mod works;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex as StdMutex, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use quarry_api::Guard;
use quarry_api_types::{Device, GroupId, Name, NodeId, Timestamp};
use quarry_cache_disk::CacheDisk;
use quarry_catalog::{Catalog, Change, GroupRecord, NodeRecord, PoolRecord};
use quarry_events::EventLog;
use quarry_network_disk::Host;
use quarry_node_api::{ErrorKind, NodeError, Result, TenantKeeper};
use quarry_pool::PoolShared;
use quarry_reconciler::Reconciler;
use quarry_target::{Access, Exports, Reservations};
use quarry_types::{DeviceId, LogId, PoolId, VolumeId};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cores::{Cores, Tables};
use crate::node::host_table::HostTable;
use crate::settings::Settings;

pub use check::CheckedPool;
pub use keys::{Keys, keyring_path, open_keys, passphrase_file};

/// A pool of the catalog and whether it is open.
#[derive(Clone)]
struct PoolEntry {
    record: PoolRecord,
    opened: std::result::Result<OpenPool, String>,
}

/// An open pool and the cores that own its logs.
#[derive(Clone)]
struct OpenPool {
    shared: Arc<PoolShared>,
    logs: Vec<(LogId, usize)>,
}

impl OpenPool {
    /// The core on which its labels are written.
    fn home(&self) -> usize {
        self.logs.first().map_or(0, |(_, core)| *core)
    }
}

/// The node.
pub struct DataNode {
    catalog: Arc<dyn Catalog>,
    events: Arc<EventLog>,
    event_counts: events::EventCounts,
    cores: Cores,
    exports: Exports,
    /// What is served over vhost-user, and whether its sockets are there: not in a node that only looks at its pools.
    vhost_user: Exports,
    has_sockets: AtomicBool,
    access: Access,
    reservations: Reservations,
    /// The iSCSI target, once there is one.
    iscsi: OnceLock<quarry_iscsi::Target>,
    /// The cache disk, once it is open, as all cores see it.
    cache_disk: Arc<OnceLock<Arc<CacheDisk>>>,
    /// Why it could not be opened.
    cache_disk_error: OnceLock<String>,
    tenant_keeper: OnceLock<Arc<dyn TenantKeeper>>,
    settings: Settings,
    api: SocketAddr,
    id: NodeId,
    began: Instant,
    pools: RwLock<BTreeMap<PoolId, PoolEntry>>,
    images: RwLock<BTreeMap<VolumeId, images::ImageEntry>>,
    migrations: RwLock<BTreeMap<VolumeId, migrations::MigrationEntry>>,
    /// As in the catalog.
    groups: RwLock<BTreeMap<GroupId, GroupRecord>>,
    /// As in the catalog.
    hosts: RwLock<HostTable>,
    /// As in the catalog.
    policies: RwLock<policies::PolicyTable>,
    reconciler: Reconciler,
    compliance: StdMutex<policy_events::Compliance>,
    jobs: jobs::Jobs,
    scanned: RwLock<Vec<Device>>,
    /// Volumes that have series of their own in the figures for Prometheus.
    shown_volumes: StdMutex<BTreeSet<VolumeId>>,
    slow: slow::SlowKeeper,
    /// What figures were over time.
    history: Arc<history::Keeper>,
    last_look: Mutex<history::LastLook>,
    forecasts: Mutex<forecasts::Forecasts>,
    fill_warnings: Mutex<fill_warnings::FillWarnings>,
    /// Devices in use whose paths lead elsewhere by now.
    strayed: StdMutex<BTreeSet<DeviceId>>,
    /// What drives have said of themselves.
    drives: RwLock<drives::Drives>,
    changing: Mutex<()>,
    keys: RwLock<Keys>,
    /// As in the catalog.
    qos: RwLock<qos::QosTable>,
    /// What cores know of it.
    qos_spread: Mutex<qos::Spread>,
    /// Where steps of documents are told; nowhere in a node that nobody can ask for them.
    audit: Option<Arc<Guard>>,
}

impl DataNode {
    /// The node over its cores; opens nothing yet.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        events: Arc<EventLog>,
        cores: Cores,
        tables: Tables,
        settings: Settings,
        api: SocketAddr,
    ) -> Result<Self> {
        let id = node_id(&*catalog)?;
        let groups = catalog.groups().map_err(|error| catalog_error(&error))?;
        let images = images::known(&*catalog, cores.count())?;
        let migrations = migrations::known(&*catalog)?;
        let hosts = catalog.hosts().map_err(|error| catalog_error(&error))?;
        let host_groups = catalog.host_groups().map_err(|error| catalog_error(&error))?;
        let policies = policies::PolicyTable::read(&*catalog).map_err(|error| catalog_error(&error))?;
        let jobs = jobs::Jobs::read(&*catalog).map_err(|error| catalog_error(&error))?;
        let qos = qos::QosTable::read(&*catalog).map_err(|error| catalog_error(&error))?;
        let Tables { exports, vhost_user, access, reservations, cache_disk } = tables;
        for host in &hosts {
            access.set_host(host_table::to_target(host)).map_err(|error| hosts::access_error(&error))?;
        }
        Ok(Self {
            catalog,
            events,
            event_counts: events::EventCounts::default(),
            cores,
            exports,
            vhost_user,
            has_sockets: AtomicBool::new(false),
            access,
            reservations,
            iscsi: OnceLock::new(),
            cache_disk,
            cache_disk_error: OnceLock::new(),
            tenant_keeper: OnceLock::new(),
            settings,
            api,
            id,
            began: Instant::now(),
            pools: RwLock::default(),
            images: RwLock::new(images),
            migrations: RwLock::new(migrations),
            groups: RwLock::new(groups.into_iter().map(|group| (group.id, group)).collect()),
            hosts: RwLock::new(HostTable::new(hosts, host_groups)),
            policies: RwLock::new(policies),
            reconciler: Reconciler::default(),
            compliance: StdMutex::default(),
            jobs,
            scanned: RwLock::default(),
            shown_volumes: StdMutex::default(),
            slow: slow::SlowKeeper::default(),
            history: Arc::default(),
            last_look: Mutex::default(),
            forecasts: Mutex::default(),
            fill_warnings: Mutex::default(),
            strayed: StdMutex::default(),
            drives: RwLock::default(),
            changing: Mutex::default(),
            keys: RwLock::new(Err("the node was started without a key store".to_owned())),
            qos: RwLock::new(qos),
            qos_spread: Mutex::default(),
            audit: None,
        })
    }

    /// The node with an audit log.
    #[must_use]
    pub fn with_audit(self, guard: Arc<Guard>) -> Self {
        Self { audit: Some(guard), ..self }
    }

    /// The initiators of this target hear from now on what the node notices.
    pub fn watch_for(&self, target: quarry_iscsi::Target) {
        // There is one target a node, and whoever makes it says so once.
        let _ = self.iscsi.set(target);
    }

    /// Begins to serve NBD: every core its sessions, the first core the listeners.
    pub async fn serve_nbd(&self) -> Result<()> {
        for index in (0..self.cores.count()).rev() {
            let cores = self.cores.clone();
            let addresses = if index == 0 { self.settings.nbd.clone() } else { Vec::new() };
            let tls = self.settings.nbd_tls.clone();
            self.cores.call(index, move |state| state.serve(cores, addresses, tls)).await??;
        }
        Ok(())
    }

    fn pools(&self) -> RwLockReadGuard<'_, BTreeMap<PoolId, PoolEntry>> {
        self.pools.read().expect("nobody panics with this lock: a panic ends the process")
    }

    fn pools_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<PoolId, PoolEntry>> {
        self.pools.write().expect("nobody panics with this lock: a panic ends the process")
    }

    fn pool_entry(&self, name: &Name) -> Result<PoolEntry> {
        let found = self.pools().values().find(|entry| entry.record.name == *name).cloned();
        found.ok_or_else(|| NodeError::not_found("pool", name))
    }

    /// Writes to the catalog on a thread that may block.
    async fn commit(&self, changes: Vec<Change>) -> Result<()> {
        let catalog = self.catalog.clone();
        let done = tokio::task::spawn_blocking(move || catalog.commit(&changes)).await;
        done.map_err(|_| NodeError::new(ErrorKind::Unavailable, "the node is stopping"))?
            .map_err(|error| catalog_error(&error))
    }
}

fn catalog_error(error: &quarry_catalog::CatalogError) -> NodeError {
    NodeError::new(ErrorKind::Internal, "the catalog cannot be used").caused_by(error)
}

/// Who this node is to the servers of its devices.
pub fn host_of(catalog: &dyn Catalog) -> Result<Host> {
    node_id(catalog).map(host_named)
}

/// The same, by its id.
fn host_named(id: NodeId) -> Host {
    Host::of_node(*id.0.as_bytes(), &id.to_string())
}

/// The id of this node; made at its first start.
fn node_id(catalog: &dyn Catalog) -> Result<NodeId> {
    if let Some(node) = catalog.node().map_err(|error| catalog_error(&error))? {
        return Ok(node.id);
    }
    let node = NodeRecord { id: NodeId(uuid::Uuid::new_v4()), created: now() };
    catalog.commit(&[Change::PutNode(node.clone())]).map_err(|error| catalog_error(&error))?;
    Ok(node.id)
}

#[expect(clippy::disallowed_types, reason = "the control plane's times of creation, shown to people")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(since.as_millis() as u64)
}

#[cfg(test)]
mod test_writes;
#[cfg(test)]
mod tests;
