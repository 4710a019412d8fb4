//! The node as the control plane sees it: `quarry_node_api::Node` over the cores, one file per sort of thing.
//!
//! Changes hold one lock, so that checks and what they allow belong together; lists and I/O do not take it.

mod anomalies;
mod apply;
mod attachments;
mod bucket_metrics;
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

use async_trait::async_trait;
use quarry_api_types::{
    AddDevice, AdoptVolume, ChangeGroup, ChangeHost, ChangeHostGroup, ChangePool, ChangeSnapshot,
    ChangeVolume, Changes, ChangesQuery, CloneVolume, CreateExport, CreateGroup, CreateHost, CreateHostGroup,
    CreatePool, CreateSnapshot, CreateSnapshotSet, CreateVolume, DeleteExport, Device, DeviceId, Events,
    EventsQuery, Export, ExportSelector, Group, GroupId, GroupSnapshot, Host, HostGroup, Keyring,
    MigrateVolume, Name, NodeId, Pool, QualityOfService, RenameVolume, ResizeVolume, RollBackGroup,
    RollBackVolume, Snapshot, SnapshotPath, StartScrub, Status, Timestamp, UnlockKeyring, Volume,
};
use quarry_catalog::{Catalog, Change, GroupRecord, NodeRecord, PoolRecord};
use quarry_events::EventLog;
use quarry_node_api::{ErrorKind, Node, NodeError, Result};
use quarry_pool::PoolShared;
use quarry_reconciler::Reconciler;
use quarry_target::{Access, Exports, Reservations};
use quarry_types::{LogId, PoolId, VolumeId};
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
    /// What drives have said of themselves.
    drives: RwLock<drives::Drives>,
    changing: Mutex<()>,
    keys: RwLock<Keys>,
    /// As in the catalog.
    qos: RwLock<qos::QosTable>,
    /// What cores know of it.
    qos_spread: Mutex<qos::Spread>,
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
        let Tables { exports, vhost_user, access, reservations } = tables;
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
            drives: RwLock::default(),
            changing: Mutex::default(),
            keys: RwLock::new(Err("the node was started without a key store".to_owned())),
            qos: RwLock::new(qos),
            qos_spread: Mutex::default(),
        })
    }

    /// The node with a key store.
    #[must_use]
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { keys: RwLock::new(keys), ..self }
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

#[async_trait]
impl Node for DataNode {
    async fn list_devices(&self) -> Result<Vec<Device>> {
        self.devices().await
    }

    async fn scan_devices(&self) -> Result<Vec<Device>> {
        self.rescan().await?;
        self.devices().await
    }

    async fn create_pool(&self, request: CreatePool) -> Result<Pool> {
        let _changing = self.changing.lock().await;
        self.make_pool(request).await
    }

    async fn list_pools(&self) -> Result<Vec<Pool>> {
        self.describe_pools().await
    }

    async fn show_pool(&self, name: &Name) -> Result<Pool> {
        let entry = self.pool_entry(name)?;
        self.describe_pool(&entry).await
    }

    async fn change_pool(&self, name: &Name, request: ChangePool) -> Result<Pool> {
        let _changing = self.changing.lock().await;
        self.alter_pool(name, request).await
    }

    async fn delete_pool(&self, name: &Name) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.end_pool(name).await
    }

    async fn add_device(&self, pool: &Name, request: AddDevice) -> Result<Pool> {
        let _changing = self.changing.lock().await;
        self.join_device(pool, request).await
    }

    async fn drain_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        let _changing = self.changing.lock().await;
        self.begin_drain(pool, device).await
    }

    async fn keep_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        let _changing = self.changing.lock().await;
        self.end_drain(pool, device).await
    }

    async fn remove_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        let _changing = self.changing.lock().await;
        self.begin_removal(pool, device).await
    }

    async fn replace_device(&self, pool: &Name, device: DeviceId, request: AddDevice) -> Result<Pool> {
        let _changing = self.changing.lock().await;
        self.exchange_device(pool, device, request).await
    }

    async fn grow_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        let _changing = self.changing.lock().await;
        self.grow_member(pool, device).await
    }

    async fn return_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        let _changing = self.changing.lock().await;
        self.take_back(pool, device).await
    }

    async fn start_scrub(&self, name: &Name, request: StartScrub) -> Result<Pool> {
        let _changing = self.changing.lock().await;
        self.begin_scrub(name, request).await
    }

    async fn stop_scrub(&self, name: &Name) -> Result<Pool> {
        self.end_scrub(name).await
    }

    async fn create_volume(&self, request: CreateVolume) -> Result<Volume> {
        let _changing = self.changing.lock().await;
        let made = self.make_volume(request).await;
        self.spread_qos_soon().await;
        made
    }

    async fn list_volumes(&self) -> Result<Vec<Volume>> {
        self.describe_volumes().await
    }

    async fn show_volume(&self, name: &Name) -> Result<Volume> {
        let volume = self.describe_volume(name).await?;
        self.with_qos_status(volume).await
    }

    async fn resize_volume(&self, name: &Name, request: ResizeVolume) -> Result<Volume> {
        let _changing = self.changing.lock().await;
        self.grow_volume(name, request).await
    }

    async fn change_volume(&self, name: &Name, request: ChangeVolume) -> Result<Volume> {
        let _changing = self.changing.lock().await;
        self.check_against_policy(name, &request).await?;
        self.alter_volume(name, request).await
    }

    async fn rotate_volume_key(&self, name: &Name) -> Result<Volume> {
        let _changing = self.changing.lock().await;
        self.change_key(name).await
    }

    async fn rename_volume(&self, name: &Name, request: RenameVolume) -> Result<Volume> {
        let _changing = self.changing.lock().await;
        let renamed = self.give_name(name, request).await;
        self.spread_qos_soon().await;
        renamed
    }

    async fn delete_volume(&self, name: &Name, with_snapshots: bool) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.end_volume(name, with_snapshots).await
    }

    async fn clone_volume(&self, origin: &Name, request: CloneVolume) -> Result<Volume> {
        let _changing = self.changing.lock().await;
        let made = self.make_clone(origin, request).await;
        self.spread_qos_soon().await;
        made
    }

    async fn roll_back_volume(&self, name: &Name, request: RollBackVolume) -> Result<Volume> {
        let _changing = self.changing.lock().await;
        self.roll_back(name, request).await
    }

    async fn adopt_volume(&self, request: AdoptVolume) -> Result<Volume> {
        let _changing = self.changing.lock().await;
        self.adopt(request).await
    }

    async fn release_volume(&self, name: &Name) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.release(name).await
    }

    async fn migrate_volume(&self, name: &Name, request: MigrateVolume) -> Result<Volume> {
        let _changing = self.changing.lock().await;
        self.migrate(name, request).await
    }

    async fn cancel_migration(&self, name: &Name) -> Result<Volume> {
        let _changing = self.changing.lock().await;
        self.cancel(name).await
    }

    async fn promote_volume(&self, name: &Name) -> Result<Volume> {
        let _changing = self.changing.lock().await;
        self.promote(name).await
    }

    async fn list_changes(&self, volume: &Name, query: ChangesQuery) -> Result<Changes> {
        self.describe_changes(volume, query).await
    }

    async fn list_all_snapshots(&self) -> Result<Vec<Snapshot>> {
        self.describe_all_snapshots().await
    }

    async fn list_snapshots(&self, volume: &Name) -> Result<Vec<Snapshot>> {
        self.describe_snapshots(volume).await
    }

    async fn create_snapshot(&self, volume: &Name, request: CreateSnapshot) -> Result<Snapshot> {
        let _changing = self.changing.lock().await;
        self.make_snapshot(volume, request).await
    }

    async fn create_snapshot_set(&self, request: CreateSnapshotSet) -> Result<Vec<Snapshot>> {
        let _changing = self.changing.lock().await;
        self.make_snapshot_set(request).await
    }

    async fn show_snapshot(&self, path: &SnapshotPath) -> Result<Snapshot> {
        self.describe_snapshot(path).await
    }

    async fn change_snapshot(&self, path: &SnapshotPath, request: ChangeSnapshot) -> Result<Snapshot> {
        let _changing = self.changing.lock().await;
        self.alter_snapshot(path, request).await
    }

    async fn delete_snapshot(&self, path: &SnapshotPath) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.end_snapshot(path).await
    }

    async fn list_groups(&self) -> Result<Vec<Group>> {
        self.describe_groups().await
    }

    async fn create_group(&self, request: CreateGroup) -> Result<Group> {
        let _changing = self.changing.lock().await;
        let made = self.make_group(request).await;
        self.spread_qos_soon().await;
        made
    }

    async fn show_group(&self, name: &Name) -> Result<Group> {
        self.describe_group(name).await
    }

    async fn change_group(&self, name: &Name, request: ChangeGroup) -> Result<Group> {
        let _changing = self.changing.lock().await;
        let changed = self.alter_group(name, request).await;
        self.spread_qos_soon().await;
        changed
    }

    async fn delete_group(&self, name: &Name) -> Result<()> {
        let _changing = self.changing.lock().await;
        let ended = self.end_group(name).await;
        self.spread_qos_soon().await;
        ended
    }

    async fn list_group_snapshots(&self, group: &Name) -> Result<Vec<GroupSnapshot>> {
        self.describe_group_snapshots(group).await
    }

    async fn create_group_snapshot(&self, group: &Name, request: CreateSnapshot) -> Result<GroupSnapshot> {
        let _changing = self.changing.lock().await;
        self.make_group_snapshot(group, request).await
    }

    async fn delete_group_snapshot(&self, group: &Name, snapshot: &Name) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.end_group_snapshot(group, snapshot).await
    }

    async fn roll_back_group(&self, name: &Name, request: RollBackGroup) -> Result<Group> {
        let _changing = self.changing.lock().await;
        self.roll_group_back(name, &request.snapshot).await
    }

    async fn create_export(&self, request: CreateExport) -> Result<Export> {
        let _changing = self.changing.lock().await;
        self.make_export(request).await
    }

    async fn list_exports(&self) -> Result<Vec<Export>> {
        self.describe_exports().await
    }

    async fn show_exports(&self, selector: &ExportSelector) -> Result<Vec<Export>> {
        self.describe_selected(selector).await
    }

    async fn delete_export(&self, selector: &ExportSelector, request: DeleteExport) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.end_exports(selector, request).await
    }

    async fn list_hosts(&self) -> Result<Vec<Host>> {
        self.describe_hosts().await
    }

    async fn create_host(&self, request: CreateHost) -> Result<Host> {
        let _changing = self.changing.lock().await;
        self.make_host(request).await
    }

    async fn show_host(&self, name: &Name) -> Result<Host> {
        self.describe_host(name).await
    }

    async fn change_host(&self, name: &Name, request: ChangeHost) -> Result<Host> {
        let _changing = self.changing.lock().await;
        self.alter_host(name, request).await
    }

    async fn delete_host(&self, name: &Name) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.end_host(name).await
    }

    async fn list_host_groups(&self) -> Result<Vec<HostGroup>> {
        self.describe_host_groups().await
    }

    async fn create_host_group(&self, request: CreateHostGroup) -> Result<HostGroup> {
        let _changing = self.changing.lock().await;
        self.make_host_group(request).await
    }

    async fn show_host_group(&self, name: &Name) -> Result<HostGroup> {
        self.describe_host_group(name).await
    }

    async fn change_host_group(&self, name: &Name, request: ChangeHostGroup) -> Result<HostGroup> {
        let _changing = self.changing.lock().await;
        self.alter_host_group(name, request).await
    }

    async fn delete_host_group(&self, name: &Name) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.end_host_group(name).await
    }

    async fn show_keyring(&self) -> Result<Keyring> {
        self.describe_keyring().await
    }

    async fn unlock_keyring(&self, request: UnlockKeyring) -> Result<Keyring> {
        let _changing = self.changing.lock().await;
        self.open_keyring(request).await
    }

    async fn list_events(&self, query: EventsQuery) -> Result<Events> {
        self.find_events(query).await
    }

    async fn status(&self) -> Result<Status> {
        self.describe_node().await
    }

    async fn set_tenants_qos(&self, tenants: Vec<(Name, QualityOfService)>) -> Result<()> {
        self.put_tenants_qos(tenants).await
    }

    async fn metrics(&self) -> Result<String> {
        self.describe_metrics().await
    }
}

#[cfg(test)]
mod tests;
