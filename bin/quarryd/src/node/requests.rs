//! What is asked of the node: which file does it, and which of it holds the lock of changes.

use async_trait::async_trait;
use quarry_api_types::{
    AddDevice, AdoptVolume, ChangeGroup, ChangeHost, ChangeHostGroup, ChangePool, ChangeSnapshot,
    ChangeVolume, Changes, ChangesQuery, CloneVolume, CreateExport, CreateGroup, CreateHost, CreateHostGroup,
    CreatePool, CreateSnapshot, CreateSnapshotSet, CreateVolume, DeleteExport, Device, DeviceId, Events,
    EventsQuery, Export, ExportSelector, Group, GroupSnapshot, Host, HostGroup, Keyring, MigrateVolume, Name,
    Pool, QualityOfService, RenameVolume, ResizeVolume, RollBackGroup, RollBackVolume, Snapshot,
    SnapshotPath, StartScrub, Status, UnlockKeyring, Volume,
};
use quarry_node_api::{Node, Result};

use super::DataNode;

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
