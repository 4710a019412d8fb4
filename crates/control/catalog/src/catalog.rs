//! The seam: intended state behind a trait.

use quarry_api_types::{ExportId, GroupId, HostGroupId, HostId, PoolId, VolumeId};

use crate::{
    ExportRecord, GroupRecord, HostGroupRecord, HostRecord, NodeRecord, PoolRecord, ReservationRecord, Result,
};

/// One step of a transaction. A put replaces the record with the same id; deleting what is not there is no error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Remember the node.
    PutNode(NodeRecord),
    /// Remember a pool.
    PutPool(PoolRecord),
    /// Forget a pool.
    DeletePool(PoolId),
    /// Remember an export.
    PutExport(ExportRecord),
    /// Forget an export.
    DeleteExport(ExportId),
    /// Remember a consistency group.
    PutGroup(GroupRecord),
    /// Forget a consistency group.
    DeleteGroup(GroupId),
    /// Remember a host.
    PutHost(HostRecord),
    /// Forget a host.
    DeleteHost(HostId),
    /// Remember a host group.
    PutHostGroup(HostGroupRecord),
    /// Forget a host group.
    DeleteHostGroup(HostGroupId),
    /// Remember the reservations of a volume.
    PutReservation(ReservationRecord),
    /// Forget the reservations of a volume.
    DeleteReservation(VolumeId),
}

/// Intended state, durable.
pub trait Catalog: Send + Sync {
    /// The node, once it has been put.
    fn node(&self) -> Result<Option<NodeRecord>>;

    /// One pool.
    fn pool(&self, id: PoolId) -> Result<Option<PoolRecord>>;

    /// Every pool, sorted by name.
    fn pools(&self) -> Result<Vec<PoolRecord>>;

    /// One export.
    fn export(&self, id: ExportId) -> Result<Option<ExportRecord>>;

    /// Every export, sorted by volume name, then by snapshot name, then by protocol, then by age.
    fn exports(&self) -> Result<Vec<ExportRecord>>;

    /// Every consistency group, sorted by name.
    fn groups(&self) -> Result<Vec<GroupRecord>>;

    /// Every host, sorted by name.
    fn hosts(&self) -> Result<Vec<HostRecord>>;

    /// Every host group, sorted by name.
    fn host_groups(&self) -> Result<Vec<HostGroupRecord>>;

    /// The reservations of every volume that has some which are to survive power loss, in no particular order.
    fn reservations(&self) -> Result<Vec<ReservationRecord>>;

    /// Makes all changes, in order, or none of them; durable when it returns `Ok`.
    fn commit(&self, changes: &[Change]) -> Result<()>;
}
