//! The seam: intended state behind a trait.

use quarry_api_types::{ExportId, GroupId, HostGroupId, HostId, Name, PolicyId, PoolId, VolumeId};

use crate::{
    ApplyRecord, AttachmentKey, AttachmentRecord, ExportRecord, FoundingRecord, GroupRecord, HostGroupRecord,
    HostRecord, ImageRecord, JobRecord, MigrationRecord, NodeRecord, PolicyRecord, PoolRecord, QosRecord,
    ReservationRecord, Result,
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
    /// Remember that a pool is being made.
    PutFounding(FoundingRecord),
    /// The pool of that name is not being made any more.
    DeleteFounding(Name),
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
    /// Remember a volume in image mode.
    PutImage(ImageRecord),
    /// Forget a volume in image mode.
    DeleteImage(VolumeId),
    /// Remember how far a volume is on its way to another place.
    PutMigration(MigrationRecord),
    /// Forget that a volume was on its way.
    DeleteMigration(VolumeId),
    /// Remember a policy.
    PutPolicy(PolicyRecord),
    /// Forget a policy.
    DeletePolicy(PolicyId),
    /// Remember to what a policy is attached.
    PutAttachment(AttachmentRecord),
    /// Forget that.
    DeleteAttachment(AttachmentKey),
    /// Remember what a volume gets of the node's performance.
    PutQos(QosRecord),
    /// Forget that.
    DeleteQos(VolumeId),
    /// Remember a job.
    PutJob(JobRecord),
    /// Forget a job.
    DeleteJob(u64),
    /// Remember the document that is being applied.
    PutApply(ApplyRecord),
    /// No document is being applied any more.
    DeleteApply,
}

/// Intended state, durable.
pub trait Catalog: Send + Sync {
    /// The node, once it has been put.
    fn node(&self) -> Result<Option<NodeRecord>>;

    /// One pool.
    fn pool(&self, id: PoolId) -> Result<Option<PoolRecord>>;

    /// Every pool, sorted by name.
    fn pools(&self) -> Result<Vec<PoolRecord>>;

    /// The pool of that name that is being made.
    fn founding(&self, name: &Name) -> Result<Option<FoundingRecord>>;

    /// One export.
    fn export(&self, id: ExportId) -> Result<Option<ExportRecord>>;

    /// Every export, sorted by volume name, then by snapshot name, then by protocol, then by age.
    fn exports(&self) -> Result<Vec<ExportRecord>>;

    /// The namespace id of the export over NVMe/TCP that was put last for the first time, also when it is gone; 0 before there is
    /// one.
    fn last_namespace_id(&self) -> Result<u32>;

    /// Every consistency group, sorted by name.
    fn groups(&self) -> Result<Vec<GroupRecord>>;

    /// Every host, sorted by name.
    fn hosts(&self) -> Result<Vec<HostRecord>>;

    /// Every host group, sorted by name.
    fn host_groups(&self) -> Result<Vec<HostGroupRecord>>;

    /// The reservations of every volume that has some which are to survive power loss, in no particular order.
    fn reservations(&self) -> Result<Vec<ReservationRecord>>;

    /// Every volume in image mode, sorted by name.
    fn images(&self) -> Result<Vec<ImageRecord>>;

    /// Every volume that is on its way to another place, in no particular order.
    fn migrations(&self) -> Result<Vec<MigrationRecord>>;
    /// Every policy, sorted by name.
    fn policies(&self) -> Result<Vec<PolicyRecord>>;

    /// To what policies are attached, in no particular order.
    fn attachments(&self) -> Result<Vec<AttachmentRecord>>;

    /// What volumes get of the node's performance, in no particular order.
    fn qos(&self) -> Result<Vec<QosRecord>>;

    /// Every job that is remembered, by number.
    fn jobs(&self) -> Result<Vec<JobRecord>>;

    /// The document that is being applied.
    fn apply(&self) -> Result<Option<ApplyRecord>>;

    /// Makes all changes, in order, or none of them; durable when it returns `Ok`.
    fn commit(&self, changes: &[Change]) -> Result<()>;
}
