//! A node in memory that keeps the contract of the trait, for tests of the API, the client and the CLI.
#![allow(dead_code, reason = "each test binary uses a part of it")]

mod forecasts;
mod groups;
mod hosts;
mod jobs;
mod migrations;
mod observe;
mod policies;
mod snapshots;
mod things;
mod tiers;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use quarry_api_types::*;
use quarry_node_api::{ErrorKind, Node, NodeError, Result, TenantKeeper};

/// The only block devices of the machine, as far as this node can see.
pub const FREE_DEVICE: &str = "/dev/sdb";
/// A device that holds somebody's file system.
pub const FOREIGN_DEVICE: &str = "/dev/sdc";

/// Events in one answer.
pub const EVENTS_PART: usize = 3;

/// The time that its clock always shows: 2026-11-20T09:30:00Z.
pub const NOW_MS: u64 = 1_795_167_000_000;

#[derive(Default)]
pub struct MemoryNode {
    state: Mutex<State>,
    fault: Mutex<Option<Fault>>,
    /// Who keeps tenants, where documents state some.
    pub tenants: OnceLock<Arc<dyn TenantKeeper>>,
}

/// What happens to the next call instead of its work.
#[derive(Clone)]
pub enum Fault {
    /// It fails.
    Error(NodeError),
    /// It panics, as a defect in the node would.
    Panic,
    /// It takes that long, then does its work.
    Delay(Duration),
}

#[derive(Default)]
struct State {
    pools: Vec<Pool>,
    volumes: Vec<Volume>,
    snapshots: Vec<Snapshot>,
    groups: Vec<Group>,
    hosts: Vec<hosts::KnownHost>,
    host_groups: Vec<HostGroup>,
    exports: Vec<Export>,
    policies: Vec<Policy>,
    attached: Vec<policies::Attached>,
    jobs: Vec<(Job, VecDeque<u64>)>,
    next_id: u128,
    health: Option<Health>,
    offline: u64,
    events: Vec<Event>,
    /// What those who look at a pool see next of its deletions, one after the other.
    freeing: VecDeque<Freeing>,
    /// What opens the keyring; `None` when it is open.
    passphrase: Option<String>,
}

impl State {
    fn id(&mut self) -> u128 {
        self.next_id += 1;
        self.next_id
    }

    fn pool(&self, name: &Name) -> Result<&Pool> {
        self.pools.iter().find(|pool| pool.name == *name).ok_or_else(|| NodeError::not_found("pool", name))
    }

    fn pool_mut(&mut self, name: &Name) -> Result<&mut Pool> {
        let found = self.pools.iter_mut().find(|pool| pool.name == *name);
        found.ok_or_else(|| NodeError::not_found("pool", name))
    }

    fn keyring(&self) -> Keyring {
        let (state, reason) = match self.passphrase {
            Some(_) => (KeyringState::Locked, Some("no passphrase was given".to_owned())),
            None => (KeyringState::Open, None),
        };
        let locked_volumes = self.volumes.iter().filter(|volume| volume.locked).count() as u64;
        Keyring { state, reason, locked_volumes }
    }

    fn volume(&mut self, name: &Name) -> Result<&mut Volume> {
        let found = self.volumes.iter_mut().find(|volume| volume.name == *name);
        found.ok_or_else(|| NodeError::not_found("volume", name))
    }
}

impl MemoryNode {
    pub fn inject(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    /// Its health from now on, and how many of its pools are offline.
    pub fn set_health(&self, health: Health, offline: u64) {
        let mut state = self.state.lock().unwrap();
        (state.health, state.offline) = (Some(health), offline);
    }

    /// What those who look at a pool see from now on of its deletions, one after the other.
    pub fn free(&self, steps: &[Freeing]) {
        self.state.lock().unwrap().freeing = steps.iter().copied().collect();
    }

    /// Encrypted volumes are locked until the keyring is opened with this passphrase.
    pub fn lock(&self, passphrase: &str) {
        let mut state = self.state.lock().unwrap();
        state.passphrase = Some(passphrase.to_owned());
        state.volumes.iter_mut().for_each(|volume| volume.locked = volume.encrypted);
    }

    /// Something happens to a pool.
    pub fn happen(&self, severity: EventSeverity, pool: &str) {
        let mut state = self.state.lock().unwrap();
        let id = state.events.len() as u64 + 1;
        state.events.push(things::event(id, severity, pool));
    }

    /// The secret that a host was given.
    pub fn secret_of(&self, host: &str) -> Option<String> {
        let state = self.state.lock().unwrap();
        let found = state.hosts.iter().find(|known| known.shown.name.as_str() == host)?;
        found.chap.as_ref().map(|chap| chap.secret.reveal().to_owned())
    }

    pub fn volume_names(&self) -> Vec<String> {
        self.state.lock().unwrap().volumes.iter().map(|volume| volume.name.to_string()).collect()
    }

    pub fn connect_client(&self, path: &str) {
        let mut state = self.state.lock().unwrap();
        let export = state.exports.iter_mut().find(|export| export.path().to_string() == path);
        export.expect("it is exported").sessions += 1;
    }

    /// A host writes to a volume of a pool, which is seen in the figures of both.
    pub fn write(&self, volume: &str, bytes: u64) {
        let mut state = self.state.lock().unwrap();
        let volume = state.volumes.iter_mut().find(|one| one.name.as_str() == volume).expect("it is there");
        volume.used_bytes += bytes;
        let pool = volume.pool.clone().expect("it is in one");
        let pool = state.pool_mut(&pool).unwrap();
        pool.groups.ungrouped_segments += 2;
        pool.capacity.used_bytes += bytes;
        pool.data.written_bytes += bytes;
        for device in &mut pool.devices {
            device.used_bytes += bytes;
            device.in_flight += 1;
        }
    }

    async fn change_member(
        &self,
        pool: &Name,
        device: DeviceId,
        change: impl FnOnce(&mut PoolDevice),
    ) -> Result<Pool> {
        let mut state = self.begin().await?;
        let pool = state.pool_mut(pool)?;
        let member = pool.devices.iter_mut().find(|member| member.id == device);
        change(member.ok_or_else(|| NodeError::not_found("device", device))?);
        Ok(pool.clone())
    }

    async fn begin(&self) -> Result<MutexGuard<'_, State>> {
        let fault = self.fault.lock().unwrap().take();
        match fault {
            Some(Fault::Error(error)) => return Err(error),
            Some(Fault::Panic) => panic!("injected: this panic is part of a test"),
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            None => {}
        }
        Ok(self.state.lock().unwrap())
    }
}

#[async_trait]
impl Node for MemoryNode {
    async fn list_devices(&self) -> Result<Vec<Device>> {
        Ok(things::devices(&self.begin().await?.pools))
    }

    async fn scan_devices(&self) -> Result<Vec<Device>> {
        self.list_devices().await
    }

    async fn create_pool(&self, request: CreatePool) -> Result<Pool> {
        let mut state = self.begin().await?;
        if state.pool(&request.name).is_ok() {
            return Err(NodeError::name_taken("pool", &request.name));
        }
        let used = |path: &String| {
            state.pools.iter().flat_map(|pool| &pool.devices).any(|device| device.path == *path)
        };
        if let Some(path) = request.devices.iter().find(|path| used(path)) {
            return Err(NodeError::new(ErrorKind::Conflict, format!("'{path}' belongs to a pool already")));
        }
        if request.devices.iter().any(|path| path == FOREIGN_DEVICE) && !request.force {
            return Err(NodeError::new(
                ErrorKind::Conflict,
                format!("'{FOREIGN_DEVICE}' holds an ext4 file system"),
            )
            .with_next_step("Choose another device, or add --force to lose what is on it."));
        }
        let id = state.id();
        let pool = things::pool(id, &request);
        state.pools.push(pool.clone());
        state.pools.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pool)
    }

    async fn list_pools(&self) -> Result<Vec<Pool>> {
        Ok(self.begin().await?.pools.clone())
    }

    async fn show_pool(&self, name: &Name) -> Result<Pool> {
        let mut state = self.begin().await?;
        state.pool(name)?;
        if let Some(freeing) = state.freeing.pop_front() {
            state.pools.iter_mut().filter(|pool| pool.name == *name).for_each(|pool| pool.freeing = freeing);
        }
        state.pool(name).cloned()
    }

    async fn change_pool(&self, name: &Name, request: ChangePool) -> Result<Pool> {
        let mut state = self.begin().await?;
        state.pool(name)?;
        let pool = state.pools.iter_mut().find(|pool| pool.name == *name).expect("it was found above");
        let levels = request.levels(pool.levels);
        levels.check()?;
        pool.levels = levels;
        if let Some(percent) = request.overcommit_limit_percent {
            pool.commitment.limit_percent = Some(percent).filter(|&percent| percent > 0);
        }
        if let Some(protection) = request.wanted_protection()? {
            (pool.copies, pool.protection) = (protection.0.copies() as u8, protection);
        }
        if let Some(rate) = request.rebuild_rate_bytes_per_s {
            pool.rebuild_rate_bytes_per_s = Some(rate).filter(|&rate| rate > 0);
        }
        Ok(pool.clone())
    }

    async fn add_device(&self, pool: &Name, request: AddDevice) -> Result<Pool> {
        let mut state = self.begin().await?;
        let id = state.id();
        let pool = state.pool_mut(pool)?;
        pool.devices.push(things::member(id, &request.path));
        Ok(pool.clone())
    }

    async fn drain_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        self.change_member(pool, device, |member| member.state = PoolDeviceState::Draining).await
    }

    async fn keep_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        self.change_member(pool, device, |member| member.state = PoolDeviceState::Online).await
    }

    async fn remove_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        self.change_member(pool, device, |member| member.removing = true).await
    }

    async fn replace_device(&self, pool: &Name, device: DeviceId, request: AddDevice) -> Result<Pool> {
        self.add_device(pool, request).await?;
        self.remove_device(pool, device).await
    }

    async fn grow_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        self.change_member(pool, device, |member| member.size_bytes *= 2).await
    }

    async fn return_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        self.change_member(pool, device, |member| member.state = PoolDeviceState::Online).await
    }

    async fn delete_pool(&self, name: &Name) -> Result<()> {
        let mut state = self.begin().await?;
        state.pool(name)?;
        let volumes = state.volumes.iter().filter(|volume| volume.pool.as_ref() == Some(name)).count();
        if volumes > 0 {
            return Err(NodeError::new(ErrorKind::InUse, format!("pool '{name}' has {volumes} volume(s)"))
                .with_next_step("Delete its volumes first; `quarry volume list` shows them."));
        }
        state.pools.retain(|pool| pool.name != *name);
        Ok(())
    }

    async fn start_scrub(&self, name: &Name, _: StartScrub) -> Result<Pool> {
        let mut state = self.begin().await?;
        state.pool(name)?;
        let pool = state.pools.iter_mut().find(|pool| pool.name == *name).expect("it was found above");
        if pool.scrub.as_ref().is_some_and(|scrub| scrub.state == ScrubState::Running) {
            return Err(NodeError::new(ErrorKind::Conflict, format!("pool '{name}' is being scrubbed")));
        }
        pool.scrub = Some(things::scrub());
        Ok(pool.clone())
    }

    async fn stop_scrub(&self, name: &Name) -> Result<Pool> {
        let mut state = self.begin().await?;
        state.pool(name)?;
        let pool = state.pools.iter_mut().find(|pool| pool.name == *name).expect("it was found above");
        if let Some(scrub) = &mut pool.scrub {
            scrub.state = ScrubState::Stopped;
        }
        Ok(pool.clone())
    }

    async fn create_volume(&self, request: CreateVolume) -> Result<Volume> {
        let mut state = self.begin().await?;
        state.pool(&request.pool)?;
        if state.volume(&request.name).is_ok() {
            return Err(NodeError::name_taken("volume", &request.name));
        }
        let (id, policy, overrides) = (state.id(), request.policy.clone(), request.overrides());
        let settings = match &policy {
            Some(policy) => overrides.over(&state.policy(policy)?.settings),
            None => overrides.clone(),
        };
        let volume = things::volume(id, request.with_settings(&settings));
        state.volumes.push(volume.clone());
        state.volumes.sort_by(|a, b| a.name.cmp(&b.name));
        if policy.is_some() {
            state.attach(Some(&volume.name), None, Some(AttachPolicy { policy, overrides }))?;
        }
        Ok(volume)
    }

    async fn list_volumes(&self) -> Result<Vec<Volume>> {
        Ok(self.begin().await?.volumes.clone())
    }

    async fn show_volume(&self, name: &Name) -> Result<Volume> {
        self.begin().await?.look_at_volume(name)
    }

    async fn resize_volume(&self, name: &Name, request: ResizeVolume) -> Result<Volume> {
        let mut state = self.begin().await?;
        let volume = state.volume(name)?;
        if request.size_bytes < volume.size_bytes {
            return Err(NodeError::new(ErrorKind::Unsupported, format!("volume '{name}' cannot shrink")));
        }
        volume.size_bytes = request.size_bytes;
        Ok(volume.clone())
    }

    async fn change_volume(&self, name: &Name, request: ChangeVolume) -> Result<Volume> {
        let mut state = self.begin().await?;
        let volume = state.volume(name)?;
        let quota_bytes = request.quota_bytes.or(volume.quota_bytes).unwrap_or(0);
        let reserved_bytes = request.reserved_bytes.unwrap_or(volume.reserved_bytes);
        check_bounds(volume.size_bytes, quota_bytes, reserved_bytes)?;
        if let Some(qos) = request.qos {
            volume.qos = Some(qos).filter(|qos| !qos.is_empty());
        }
        volume.durability = request.durability.unwrap_or(volume.durability);
        volume.quota_bytes = Some(quota_bytes).filter(|&quota| quota > 0);
        volume.reserved_bytes = reserved_bytes;
        volume.deduplication = request.deduplication.unwrap_or(volume.deduplication);
        volume.history_s = request.history_s.unwrap_or(volume.history_s);
        volume.compression = request.compression.unwrap_or(volume.compression);
        Ok(volume.clone())
    }

    async fn rotate_volume_key(&self, name: &Name) -> Result<Volume> {
        let mut state = self.begin().await?;
        let volume = state.volume(name)?;
        match volume.encrypted {
            true => Ok(volume.clone()),
            false => Err(NodeError::new(ErrorKind::Conflict, format!("volume '{name}' is not encrypted"))),
        }
    }

    async fn rename_volume(&self, name: &Name, request: RenameVolume) -> Result<Volume> {
        self.begin().await?.rename_volume(name, request.name)
    }

    async fn delete_volume(&self, name: &Name, with_snapshots: bool) -> Result<()> {
        self.begin().await?.delete_volume(name, with_snapshots)
    }

    async fn clone_volume(&self, origin: &Name, request: CloneVolume) -> Result<Volume> {
        self.begin().await?.clone_volume(origin, request)
    }

    async fn roll_back_volume(&self, name: &Name, request: RollBackVolume) -> Result<Volume> {
        self.begin().await?.roll_back_volume(name, request)
    }

    async fn adopt_volume(&self, request: AdoptVolume) -> Result<Volume> {
        self.begin().await?.adopt_volume(request)
    }

    async fn release_volume(&self, name: &Name) -> Result<()> {
        self.begin().await?.release_volume(name)
    }

    async fn migrate_volume(&self, name: &Name, request: MigrateVolume) -> Result<Volume> {
        self.begin().await?.migrate_volume(name, request)
    }

    async fn cancel_migration(&self, name: &Name) -> Result<Volume> {
        self.begin().await?.cancel_migration(name)
    }

    async fn promote_volume(&self, name: &Name) -> Result<Volume> {
        self.begin().await?.promote_volume(name)
    }

    async fn list_changes(&self, volume: &Name, query: ChangesQuery) -> Result<Changes> {
        self.begin().await?.list_changes(volume, &query)
    }

    async fn list_all_snapshots(&self) -> Result<Vec<Snapshot>> {
        Ok(self.begin().await?.snapshots.clone())
    }

    async fn list_snapshots(&self, volume: &Name) -> Result<Vec<Snapshot>> {
        self.begin().await?.snapshots_of(volume)
    }

    async fn create_snapshot(&self, volume: &Name, request: CreateSnapshot) -> Result<Snapshot> {
        let CreateSnapshot { name, locked_until } = request;
        let request = CreateSnapshotSet { name, volumes: vec![volume.clone()], locked_until };
        Ok(self.begin().await?.take_snapshots(request)?.remove(0))
    }

    async fn create_snapshot_set(&self, request: CreateSnapshotSet) -> Result<Vec<Snapshot>> {
        self.begin().await?.take_snapshots(request)
    }

    async fn show_snapshot(&self, path: &SnapshotPath) -> Result<Snapshot> {
        self.begin().await?.snapshot(path).cloned()
    }

    async fn change_snapshot(&self, path: &SnapshotPath, request: ChangeSnapshot) -> Result<Snapshot> {
        self.begin().await?.change_snapshot(path, request)
    }

    async fn delete_snapshot(&self, path: &SnapshotPath) -> Result<()> {
        self.begin().await?.delete_snapshot(path)
    }

    async fn list_groups(&self) -> Result<Vec<Group>> {
        Ok(self.begin().await?.groups.clone())
    }

    async fn create_group(&self, request: CreateGroup) -> Result<Group> {
        self.begin().await?.create_group(request)
    }

    async fn show_group(&self, name: &Name) -> Result<Group> {
        self.begin().await?.group(name).cloned()
    }

    async fn change_group(&self, name: &Name, request: ChangeGroup) -> Result<Group> {
        self.begin().await?.change_group(name, request)
    }

    async fn delete_group(&self, name: &Name) -> Result<()> {
        self.begin().await?.delete_group(name)
    }

    async fn list_group_snapshots(&self, group: &Name) -> Result<Vec<GroupSnapshot>> {
        self.begin().await?.group_snapshots(group)
    }

    async fn create_group_snapshot(&self, group: &Name, request: CreateSnapshot) -> Result<GroupSnapshot> {
        self.begin().await?.snapshot_group(group, request)
    }

    async fn delete_group_snapshot(&self, group: &Name, snapshot: &Name) -> Result<()> {
        self.begin().await?.delete_group_snapshot(group, snapshot)
    }

    async fn roll_back_group(&self, name: &Name, request: RollBackGroup) -> Result<Group> {
        self.begin().await?.roll_back_group(name, request)
    }

    async fn list_hosts(&self) -> Result<Vec<Host>> {
        Ok(self.begin().await?.hosts.iter().map(|host| host.shown.clone()).collect())
    }

    async fn create_host(&self, request: CreateHost) -> Result<Host> {
        self.begin().await?.create_host(request)
    }

    async fn show_host(&self, name: &Name) -> Result<Host> {
        self.begin().await?.host(name).map(|host| host.shown.clone())
    }

    async fn change_host(&self, name: &Name, request: ChangeHost) -> Result<Host> {
        self.begin().await?.change_host(name, request)
    }

    async fn delete_host(&self, name: &Name) -> Result<()> {
        self.begin().await?.delete_host(name)
    }

    async fn list_host_groups(&self) -> Result<Vec<HostGroup>> {
        Ok(self.begin().await?.host_groups.clone())
    }

    async fn create_host_group(&self, request: CreateHostGroup) -> Result<HostGroup> {
        self.begin().await?.create_host_group(request)
    }

    async fn show_host_group(&self, name: &Name) -> Result<HostGroup> {
        self.begin().await?.host_group(name).cloned()
    }

    async fn change_host_group(&self, name: &Name, request: ChangeHostGroup) -> Result<HostGroup> {
        self.begin().await?.change_host_group(name, request)
    }

    async fn delete_host_group(&self, name: &Name) -> Result<()> {
        self.begin().await?.delete_host_group(name)
    }

    async fn create_export(&self, request: CreateExport) -> Result<Export> {
        self.begin().await?.create_export(request)
    }

    async fn list_exports(&self) -> Result<Vec<Export>> {
        Ok(self.begin().await?.exports.clone())
    }

    async fn show_exports(&self, selector: &ExportSelector) -> Result<Vec<Export>> {
        self.begin().await?.show_exports(selector)
    }

    async fn delete_export(&self, selector: &ExportSelector, request: DeleteExport) -> Result<()> {
        self.begin().await?.delete_export(selector, request.force)
    }

    async fn show_keyring(&self) -> Result<Keyring> {
        Ok(self.begin().await?.keyring())
    }

    async fn unlock_keyring(&self, request: UnlockKeyring) -> Result<Keyring> {
        let mut state = self.begin().await?;
        let Some(passphrase) = state.passphrase.take() else {
            return Err(NodeError::new(ErrorKind::Conflict, "the keyring is open already"));
        };
        if request.passphrase.trim_end() != passphrase {
            state.passphrase = Some(passphrase);
            return Err(NodeError::new(ErrorKind::Invalid, "the keyring was not opened"));
        }
        state.volumes.iter_mut().for_each(|volume| volume.locked = false);
        Ok(state.keyring())
    }

    async fn list_events(&self, query: EventsQuery) -> Result<Events> {
        let state = self.begin().await?;
        let later = state.events.iter().filter(|event| event.id > query.since && query.selects(event));
        let mut events: Vec<Event> = later.take(EVENTS_PART + 1).cloned().collect();
        let is_all = events.len() <= EVENTS_PART;
        events.truncate(EVENTS_PART);
        let next = events.last().map(|event| event.id).filter(|_| !is_all);
        Ok(Events { events, next })
    }

    async fn status(&self) -> Result<Status> {
        let state = self.begin().await?;
        let mut status = things::status(&state.pools, &state.volumes, &state.exports);
        status.health = state.health.clone().unwrap_or_else(Health::ok);
        status.pools.offline = state.offline;
        Ok(status)
    }

    async fn set_tenants_qos(&self, _: Vec<(Name, QualityOfService)>) -> Result<()> {
        Ok(())
    }

    async fn metrics(&self) -> Result<String> {
        let volumes = self.begin().await?.volumes.len();
        Ok(format!("# TYPE quarry_volumes gauge\nquarry_volumes {volumes}\n"))
    }
}
