//! What a node can be asked for.

use async_trait::async_trait;
use quarry_api_types::{
    CreateExport, CreatePool, CreateVolume, Device, Export, ExportSelector, Name, Pool, ResizeVolume, Status,
    Volume,
};

use crate::Result;

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
pub trait Node: Send + Sync {
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

    /// Ends a pool and gives its devices back as free ones. `NotFound`; `InUse` while it has volumes;
    /// `Unavailable` when it is offline, since nobody can tell then whether it has volumes.
    async fn delete_pool(&self, name: &Name) -> Result<()>;

    /// Carves a thin volume from a pool. `NotFound`: no such pool. `Conflict`: the name is taken.
    /// `Unavailable`: the pool is offline. `NoSpace`: the pool cannot take even its record, or it has too many.
    async fn create_volume(&self, request: CreateVolume) -> Result<Volume>;

    /// Every volume of every open pool. Sorted by name.
    async fn list_volumes(&self) -> Result<Vec<Volume>>;

    /// One volume. `NotFound`.
    async fn show_volume(&self, name: &Name) -> Result<Volume>;

    /// Gives a volume another size, under I/O, and tells connected clients where the protocol can. The size that
    /// it has already is a success. `NotFound`; `Unsupported` for a smaller size as long as only growth works.
    async fn resize_volume(&self, name: &Name, request: ResizeVolume) -> Result<Volume>;

    /// Destroys a volume and everything on it. `NotFound`; `InUse` while it is exported.
    async fn delete_volume(&self, name: &Name) -> Result<()>;

    /// Serves a volume. `NotFound`: no such volume. `Conflict`: it is served over that protocol already (the
    /// message names the export). `Unavailable`: the node has no listener for the protocol.
    async fn create_export(&self, request: CreateExport) -> Result<Export>;

    /// Every export, those included whose volume is not there now. Sorted by volume, then by protocol.
    async fn list_exports(&self) -> Result<Vec<Export>>;

    /// Ends the export with that id, or all exports of that volume, which is not touched itself. `NotFound`: no
    /// such export, or the volume has none. `InUse` while a client is connected to one of them.
    async fn delete_export(&self, selector: &ExportSelector) -> Result<()>;

    /// The node in one page.
    async fn status(&self) -> Result<Status>;

    /// The node's figures in Prometheus' text format 0.0.4.
    async fn metrics(&self) -> Result<String>;
}
