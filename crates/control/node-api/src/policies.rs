//! Policies, as a node keeps them.

use async_trait::async_trait;
use quarry_api_types::{AttachPolicy, ChangePolicy, CreatePolicy, GroupPolicy, Name, Policy, VolumePolicy};

use crate::Result;

/// What a node does about policies; a part of [`Node`](crate::Node), of which everything said there holds.
#[async_trait]
pub trait PolicyNode: Send + Sync {
    /// Every policy. Sorted by name.
    async fn list_policies(&self) -> Result<Vec<Policy>>;

    /// Makes a policy, which is attached to nothing yet. `Conflict`: the name is taken. `NoSpace`: the node has too many.
    async fn create_policy(&self, request: CreatePolicy) -> Result<Policy>;

    /// One policy. `NotFound`.
    async fn show_policy(&self, name: &Name) -> Result<Policy>;

    /// Gives a policy other settings, all at once; the node begins to make its volumes so. The same ones are a success and no new
    /// version. `NotFound`. `Conflict`: it has not the version that the request names (the message says what differs).
    async fn change_policy(&self, name: &Name, request: ChangePolicy) -> Result<Policy>;

    /// Ends a policy. `NotFound`. `InUse` while it is attached to something (the message names it).
    async fn delete_policy(&self, name: &Name) -> Result<()>;

    /// What is meant for a volume, whether it is so, and what the node is about to do. `NotFound`.
    async fn show_volume_policy(&self, volume: &Name) -> Result<VolumePolicy>;

    /// Attaches a policy to a volume, overrides, or both, in the place of what it has. `NotFound`: no such volume or policy.
    async fn attach_volume_policy(&self, volume: &Name, request: AttachPolicy) -> Result<VolumePolicy>;

    /// Takes policy and overrides of a volume away. The volume and its snapshots stay as they are. `NotFound`.
    async fn detach_volume_policy(&self, volume: &Name) -> Result<VolumePolicy>;

    /// The policy of a group. `NotFound`.
    async fn show_group_policy(&self, group: &Name) -> Result<GroupPolicy>;

    /// Attaches a policy to a group: it holds for those of its volumes that have none of their own, and they are snapshotted
    /// together. `NotFound`: no such group or policy. `Invalid`: overrides, which are for volumes.
    async fn attach_group_policy(&self, group: &Name, request: AttachPolicy) -> Result<GroupPolicy>;

    /// Takes the policy of a group away. `NotFound`.
    async fn detach_group_policy(&self, group: &Name) -> Result<GroupPolicy>;
}
