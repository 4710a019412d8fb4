//! What a node can be asked for.

use async_trait::async_trait;
use quarry_api_types::{
    AddDevice, AdoptVolume, ChangeGroup, ChangeHost, ChangeHostGroup, ChangePool, ChangeSnapshot,
    ChangeVolume, Changes, ChangesQuery, CloneVolume, CreateExport, CreateGroup, CreateHost, CreateHostGroup,
    CreatePool, CreateSnapshot, CreateSnapshotSet, CreateVolume, DeleteExport, Device, DeviceId, Events,
    EventsQuery, Export, ExportSelector, Group, GroupSnapshot, Host, HostGroup, Keyring, MigrateVolume, Name,
    Pool, QualityOfService, RenameVolume, ResizeVolume, RollBackGroup, RollBackVolume, Snapshot,
    SnapshotPath, StartScrub, Status, UnlockKeyring, Volume,
};

use crate::{ForecastNode, JobNode, ObserveNode, PolicyNode, Result, TierNode};

/// A storage node, as the control plane sees it.
///
/// Calls may come at the same time; the implementation puts those into order that touch the same thing. The API
/// runs a call to its end even when the requester has gone away, so no call need survive being dropped half-way.
/// A call never blocks its thread: what does is moved to a thread for blocking work.
///
/// Requests have passed their own `check()` when they come through the API; what depends on the node's state is
/// the implementation's to check. Beside the kinds named below, every call may fail with `Unavailable` while the
/// node starts or stops, and with `Internal`.
#[async_trait]
pub trait Node: PolicyNode + JobNode + ObserveNode + TierNode + ForecastNode {
    /// The devices of the node's pools, and whatever else the last scan has seen. Sorted by path.
    async fn list_devices(&self) -> Result<Vec<Device>>;

    /// Looks at the machine's devices anew, reads their labels, measures their class, and answers as
    /// [`Self::list_devices`] does. Changes nothing on any device.
    async fn scan_devices(&self) -> Result<Vec<Device>>;

    /// Makes a pool over devices and opens it.
    ///
    /// `Conflict`: the name is taken; a device belongs to an open pool; a device holds something and `force` is
    /// not set (the message says what). `NotFound`: no such path. `Invalid`: a device is too small or given
    /// under two paths. `NoSpace`: the devices together are too small for a pool.
    async fn create_pool(&self, request: CreatePool) -> Result<Pool>;

    /// Every pool, those included that could not be opened. Sorted by name.
    async fn list_pools(&self) -> Result<Vec<Pool>>;

    /// One pool. `NotFound`.
    async fn show_pool(&self, name: &Name) -> Result<Pool>;

    /// Changes the levels of a pool; how far its volumes may over-commit it, which concerns what is promised from then on; its number
    /// of copies, which are made or given up in the background; how fast that goes at most. `NotFound`; `Invalid`: a warning level
    /// above the critical one. `Conflict`: too few devices for the copies. `NoSpace`: too little space for them. `Unavailable`: the
    /// pool is offline.
    async fn change_pool(&self, name: &Name, request: ChangePool) -> Result<Pool>;

    /// Ends a pool and gives its devices back as free ones. `NotFound`; `InUse` while it has volumes;
    /// `Unavailable` when it is offline, since nobody can tell then whether it has volumes.
    async fn delete_pool(&self, name: &Name) -> Result<()>;

    /// Makes a device a member of a pool, under I/O; it gets its share of what is there in the background. Fails as
    /// [`Self::create_pool`] does about devices, and with `Unavailable` when the pool is offline.
    async fn add_device(&self, pool: &Name, request: AddDevice) -> Result<Pool>;

    /// Begins to move everything on a device to others, in the background; nothing new is placed on it. One that is drained already is
    /// a success. `NotFound`: no such pool or member. `Conflict`: the others are too few for the pool's copies. `NoSpace`: they have
    /// not the space. `Unavailable`: the pool is offline.
    async fn drain_device(&self, pool: &Name, device: DeviceId) -> Result<Pool>;

    /// Uses a device that is being drained, or removed, for everything again. `NotFound`. `Unavailable`: the pool is offline.
    async fn keep_device(&self, pool: &Name, device: DeviceId) -> Result<Pool>;

    /// Drains a device, and ends its membership when nothing is on it any more; then it is blank. Fails as [`Self::drain_device`] does,
    /// and with `Conflict` when it holds the last good copy of something and cannot be read.
    async fn remove_device(&self, pool: &Name, device: DeviceId) -> Result<Pool>;

    /// Adds a device and removes another one. Fails as both do; the new device stays a member when the other one cannot leave.
    async fn replace_device(&self, pool: &Name, device: DeviceId, request: AddDevice) -> Result<Pool>;

    /// Uses all of a device that has become larger. One that has not is a success. `NotFound`. `Unavailable`: the pool is offline, or
    /// the device cannot be looked at.
    async fn grow_device(&self, pool: &Name, device: DeviceId) -> Result<Pool>;

    /// Uses a device again that was missing or has failed; it gets what it has missed. One that is in use is a success. `NotFound`.
    /// `Unavailable`: the pool is offline, or the device still does not answer. `Conflict`: another device is at its path.
    async fn return_device(&self, pool: &Name, device: DeviceId) -> Result<Pool>;

    /// Begins to read every copy of everything that a pool holds, and to mend what is bad, in the background. `NotFound`;
    /// `Conflict` while a scrub of it runs; `Unavailable` when it is offline.
    async fn start_scrub(&self, name: &Name, request: StartScrub) -> Result<Pool>;

    /// Ends the scrub of a pool, if one runs. `NotFound`; `Unavailable` when it is offline.
    async fn stop_scrub(&self, name: &Name) -> Result<Pool>;

    /// Carves a thin volume from a pool. `NotFound`: no such pool or policy. `Conflict`: the name is taken.
    /// `Unavailable`: the pool is offline. `NoSpace`: the pool cannot take even its record, or it has too many; it cannot
    /// honour the reservation; it would be over-committed beyond its limit. The last holds for growing and cloning too.
    async fn create_volume(&self, request: CreateVolume) -> Result<Volume>;

    /// Every volume of every open pool. Sorted by name.
    async fn list_volumes(&self) -> Result<Vec<Volume>>;

    /// One volume. `NotFound`.
    async fn show_volume(&self, name: &Name) -> Result<Volume>;

    /// Gives a volume another size, under I/O, and tells connected clients where the protocol can. The size that
    /// it has already is a success. `NotFound`; `Unsupported` for a smaller size as long as only growth works.
    async fn resize_volume(&self, name: &Name, request: ResizeVolume) -> Result<Volume>;

    /// Changes when writes are safe, the quota, or the reservation, under I/O. `NotFound`. `Invalid`: a reservation beyond
    /// size or quota. `NoSpace`: the pool cannot honour the reservation; the message says how much it could. `Conflict`: its policy
    /// means it to be otherwise.
    async fn change_volume(&self, name: &Name, request: ChangeVolume) -> Result<Volume>;

    /// Gives a volume another name. The name that it has already is a success. `NotFound`. `Conflict`: the name is taken.
    /// `InUse` while it or one of its snapshots is exported, because clients ask for it by its name.
    async fn rename_volume(&self, name: &Name, request: RenameVolume) -> Result<Volume>;

    /// Destroys a volume and everything on it, its snapshots where that is wanted; clones live on. `NotFound`. `InUse` while
    /// it or one of its snapshots is exported, and when it has snapshots and they are not to go with it. `Conflict`: one of
    /// them is locked.
    async fn delete_volume(&self, name: &Name, with_snapshots: bool) -> Result<()>;

    /// Makes a volume with the content of a snapshot, or of a volume as it is now, in the same pool. Takes no space until
    /// one of the two is written to. `NotFound`: no such volume or snapshot. `Conflict`: the name is taken. `NoSpace`.
    async fn clone_volume(&self, origin: &Name, request: CloneVolume) -> Result<Volume>;

    /// Gives a volume the content and the size that one of its snapshots has; all snapshots stay. `NotFound`: no such
    /// volume, or no such snapshot of it. `InUse` while a client is connected.
    async fn roll_back_volume(&self, name: &Name, request: RollBackVolume) -> Result<Volume>;

    /// Serves a device that holds data as a volume, as it is. `Conflict`: the name is taken; the device is in use by this node, or a
    /// device of a pool. `NotFound`: no such device. `InUse`: somebody else uses it. `Invalid`: hosts could not reach all of it.
    /// `Unavailable`: it does not answer.
    async fn adopt_volume(&self, request: AdoptVolume) -> Result<Volume>;

    /// Ends a volume in image mode, and leaves its device as it is. `NotFound`. `Unsupported`: it lies in a pool. `InUse` while it is
    /// exported or moves.
    async fn release_volume(&self, name: &Name) -> Result<()>;

    /// Begins to move a volume to another place, under I/O, or goes on with it when it has stopped on its way there. `NotFound`: no
    /// such volume, pool or device. `Conflict`: it is there already; it moves elsewhere; the device holds something; it has
    /// snapshots that are not given up, or is in a group. `NoSpace`: the pool or the device is too small. `Unavailable`.
    async fn migrate_volume(&self, name: &Name, request: MigrateVolume) -> Result<Volume>;

    /// Leaves a volume that moves where it was. `NotFound`. `Conflict`: it does not move, or is at its new place.
    async fn cancel_migration(&self, name: &Name) -> Result<Volume>;

    /// Gives a clone the snapshots that it stands on; the volume that had them becomes its clone. `NotFound`. `Conflict`:
    /// it is no clone, or a snapshot of its own has the name of one that it would get. `InUse` while a snapshot of the
    /// volume from which it takes them is exported.
    async fn promote_volume(&self, name: &Name) -> Result<Volume>;

    /// Wraps the data key of an encrypted volume under a new key-encryption key and destroys the old one; no data is written
    /// anew. Clones share the data key. `NotFound`. `Conflict`: it is not encrypted. `Unavailable`: the key store is not open.
    async fn rotate_volume_key(&self, name: &Name) -> Result<Volume>;

    /// A part of what differs between two states of a volume; the answer says where the next part begins. Between two
    /// snapshots the parts make an exact whole; the volume as it is may change between them. `NotFound`.
    async fn list_changes(&self, volume: &Name, query: ChangesQuery) -> Result<Changes>;

    /// The snapshots of every volume of every open pool. Sorted by volume, the oldest first in each.
    async fn list_all_snapshots(&self) -> Result<Vec<Snapshot>>;

    /// The snapshots of a volume, the oldest first. `NotFound`: no such volume.
    async fn list_snapshots(&self, volume: &Name) -> Result<Vec<Snapshot>>;

    /// Takes a snapshot of a volume, under I/O. `NotFound`: no such volume. `Conflict`: it has one of that name, or
    /// the end of the lock is in the past. `NoSpace`.
    async fn create_snapshot(&self, volume: &Name, request: CreateSnapshot) -> Result<Snapshot>;

    /// Takes snapshots of several volumes at one point in time: no write that is in one of them was issued after the
    /// acknowledgement of a write that another one lacks. All or none; in the order of the request. Fails as
    /// [`Self::create_snapshot`] does, and with `Unavailable` when the volumes could not all be held for long enough.
    async fn create_snapshot_set(&self, request: CreateSnapshotSet) -> Result<Vec<Snapshot>>;

    /// One snapshot. `NotFound`.
    async fn show_snapshot(&self, path: &SnapshotPath) -> Result<Snapshot>;

    /// Gives a snapshot another name, locks it, or prolongs its lock. `NotFound`. `Conflict`: the name is taken in its
    /// volume; the lock would become shorter, or its end is in the past. `InUse`: another name while it is exported.
    async fn change_snapshot(&self, path: &SnapshotPath, request: ChangeSnapshot) -> Result<Snapshot>;

    /// Deletes a snapshot; clones of it live on. `NotFound`; `InUse` while it is exported; `Conflict` while it is locked.
    async fn delete_snapshot(&self, path: &SnapshotPath) -> Result<()>;

    /// Every consistency group. Sorted by name.
    async fn list_groups(&self) -> Result<Vec<Group>>;

    /// Makes a consistency group, of volumes or empty. `Conflict`: the name is taken; a volume is in a group already.
    /// `NotFound`: no such volume. `NoSpace`: the node has too many groups.
    async fn create_group(&self, request: CreateGroup) -> Result<Group>;

    /// One group. `NotFound`.
    async fn show_group(&self, name: &Name) -> Result<Group>;

    /// Gives a group another name or other volumes: all that is asked for, or nothing. `NotFound`: no such group or volume, or a
    /// volume to remove is not in it. `Conflict`: the name is taken; a volume to add is in a group already. `Invalid`: the group
    /// would have too many volumes.
    async fn change_group(&self, name: &Name, request: ChangeGroup) -> Result<Group>;

    /// Ends a group; its volumes and their snapshots stay. `NotFound`.
    async fn delete_group(&self, name: &Name) -> Result<()>;

    /// The snapshots that the volumes of a group have together, the oldest first. `NotFound`.
    async fn list_group_snapshots(&self, group: &Name) -> Result<Vec<GroupSnapshot>>;

    /// Takes a snapshot of each volume of a group at one point in time, as [`Self::create_snapshot_set`] does. `NotFound`.
    /// `Conflict`: the group has no volumes, or one of them has a snapshot of that name. `Unavailable`: one of them is offline.
    async fn create_group_snapshot(&self, group: &Name, request: CreateSnapshot) -> Result<GroupSnapshot>;

    /// Deletes the snapshots of that name of the volumes of a group, if all can be deleted. `NotFound`: no such group, or none
    /// of its volumes has such a snapshot. `Conflict`: one is locked, or they were not taken together. `InUse`: one is exported.
    /// `Unavailable`: a volume is offline. What was cut off is completed by asking again.
    async fn delete_group_snapshot(&self, group: &Name, snapshot: &Name) -> Result<()>;

    /// Gives each volume of a group the content and the size that it has in a snapshot of the group, one after another; all
    /// snapshots stay. Fails as [`Self::delete_group_snapshot`] does, before anything is changed, and with `InUse` while a client
    /// is connected to one of the volumes and `Conflict` when one of them has no such snapshot. What was cut off is completed by
    /// asking again.
    async fn roll_back_group(&self, name: &Name, request: RollBackGroup) -> Result<Group>;

    /// Every host. Sorted by name.
    async fn list_hosts(&self) -> Result<Vec<Host>>;

    /// Makes a host. `Conflict`: the name is taken; an initiator belongs to another host; both it and another host have no
    /// initiators, and their networks overlap. `NoSpace`: the node has too many hosts.
    async fn create_host(&self, request: CreateHost) -> Result<Host>;

    /// One host. `NotFound`.
    async fn show_host(&self, name: &Name) -> Result<Host>;

    /// Gives a host other initiators, networks or proofs: all that is asked for, or nothing. Sessions that are logged in see at
    /// once what they see from then on; what is to be proved counts from the next login on. `NotFound`: no such host, or what is to
    /// be removed is not there. `Conflict` as for a new one. `Invalid`: nobody would be left, or it would have too many.
    async fn change_host(&self, name: &Name, request: ChangeHost) -> Result<Host>;

    /// Ends a host, which leaves its groups. `NotFound`. `InUse` while an export names it (the message names the export).
    async fn delete_host(&self, name: &Name) -> Result<()>;

    /// Every host group. Sorted by name.
    async fn list_host_groups(&self) -> Result<Vec<HostGroup>>;

    /// Makes a host group, of hosts or empty. `Conflict`: the name is taken. `NotFound`: no such host. `NoSpace`: the node has too
    /// many.
    async fn create_host_group(&self, request: CreateHostGroup) -> Result<HostGroup>;

    /// One host group. `NotFound`.
    async fn show_host_group(&self, name: &Name) -> Result<HostGroup>;

    /// Gives a host group other hosts: all that is asked for, or nothing. `NotFound`: no such group or host, or a host to remove is
    /// not in it. `Conflict`: a host is in it already; a host to add would see two volumes under one number, or one volume twice.
    /// `Invalid`: it would have too many hosts.
    async fn change_host_group(&self, name: &Name, request: ChangeHostGroup) -> Result<HostGroup>;

    /// Ends a host group; its hosts stay. `NotFound`. `InUse` while an export names it (the message names the export).
    async fn delete_host_group(&self, name: &Name) -> Result<()>;

    /// Serves a volume, or a snapshot read-only. `NotFound`: no such volume, snapshot, host or group. `Conflict`: it is served over
    /// that protocol to one of these hosts already (the message names the export); one of them sees another volume under the number.
    /// `Unavailable`: the node has no listener for the protocol. `NoSpace`: no number is free.
    async fn create_export(&self, request: CreateExport) -> Result<Export>;

    /// Every export, those included whose volume is not there now. Sorted by volume, then by snapshot, then by protocol.
    async fn list_exports(&self) -> Result<Vec<Export>>;

    /// The export with that id, or all exports of that volume or snapshot. `NotFound`: there is none.
    async fn show_exports(&self, selector: &ExportSelector) -> Result<Vec<Export>>;

    /// Ends the export with that id, or all exports of that volume or snapshot, which is not touched itself. Exports of a
    /// volume's snapshots are not those of the volume. `NotFound`: no such export, or the volume or snapshot has none. `InUse` while a
    /// client is connected to one of them, or an initiator is logged in that sees one of them, unless it is forced.
    async fn delete_export(&self, selector: &ExportSelector, request: DeleteExport) -> Result<()>;

    /// Whether the node can open encrypted volumes.
    async fn show_keyring(&self) -> Result<Keyring>;

    /// Opens the keyring, and with it the encrypted volumes, of a node that was started without its passphrase. `Conflict`: it is
    /// open. `Invalid`: it is another passphrase. `NotFound`: the node has no keyring. `Unavailable`: its file cannot be used.
    async fn unlock_keyring(&self, request: UnlockKeyring) -> Result<Keyring>;

    /// A part of what has happened, the oldest first; the answer says where the next part begins. The newest ten thousand
    /// events are kept.
    async fn list_events(&self, query: EventsQuery) -> Result<Events>;

    /// The node in one page.
    async fn status(&self) -> Result<Status>;

    /// Tells the node what the volumes of each tenant together get of its performance: of all tenants for which that is bounded.
    async fn set_tenants_qos(&self, tenants: Vec<(Name, QualityOfService)>) -> Result<()>;

    /// The node's figures in Prometheus' text format 0.0.4.
    async fn metrics(&self) -> Result<String>;
}
