//! Policies: made, shown, changed, ended. To what they are attached is in `attachments`, what comes of them in `policy_world`.

use std::collections::BTreeMap;
use std::sync::{RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use quarry_api_types::{
    AttachPolicy, ChangePolicy, CreatePolicy, GroupPolicy, Name, Policy, PolicyId, PolicySettings,
    VolumePolicy,
};
use quarry_catalog::{
    AttachedTo, AttachmentKey, AttachmentRecord, Catalog, CatalogError, Change, PolicyRecord,
};
use quarry_node_api::{ErrorKind, NodeError, PolicyNode, Result};

use super::{DataNode, now};

/// Most policies of a node.
const POLICIES_MAX: usize = 1024;

/// Policies and attachments as in the catalog.
#[derive(Default)]
pub(super) struct PolicyTable {
    pub(super) policies: BTreeMap<PolicyId, PolicyRecord>,
    pub(super) attachments: BTreeMap<AttachmentKey, AttachmentRecord>,
}

impl PolicyTable {
    /// What the catalog has.
    pub(super) fn read(catalog: &dyn Catalog) -> std::result::Result<Self, CatalogError> {
        let policies = catalog.policies()?.into_iter().map(|record| (record.id, record)).collect();
        let attachments = catalog.attachments()?.into_iter().map(|record| (record.key(), record)).collect();
        Ok(Self { policies, attachments })
    }
}

impl DataNode {
    pub(super) fn policy_table(&self) -> RwLockReadGuard<'_, PolicyTable> {
        self.policies.read().expect("nobody panics with this lock: a panic ends the process")
    }

    pub(super) fn policy_table_mut(&self) -> RwLockWriteGuard<'_, PolicyTable> {
        self.policies.write().expect("nobody panics with this lock: a panic ends the process")
    }

    pub(super) fn policy_record(&self, name: &Name) -> Result<PolicyRecord> {
        let found = self.policy_table().policies.values().find(|record| record.name == *name).cloned();
        found.ok_or_else(|| NodeError::not_found("policy", name))
    }

    pub(super) fn describe_policies(&self) -> Vec<Policy> {
        let mut records: Vec<PolicyRecord> = self.policy_table().policies.values().cloned().collect();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        records.into_iter().map(|record| self.in_words_of_policy(record)).collect()
    }

    pub(super) fn describe_policy(&self, name: &Name) -> Result<Policy> {
        self.policy_record(name).map(|record| self.in_words_of_policy(record))
    }

    fn in_words_of_policy(&self, record: PolicyRecord) -> Policy {
        let (mut volumes, mut groups) = (Vec::new(), Vec::new());
        let records = self.group_records();
        for attachment in self.policy_table().attachments.values() {
            match &attachment.to {
                _ if attachment.policy != Some(record.id) => {}
                AttachedTo::Volume { name, .. } => volumes.push(name.clone()),
                AttachedTo::Group { id } => {
                    groups
                        .extend(records.iter().find(|group| group.id == *id).map(|group| group.name.clone()));
                }
            }
        }
        volumes.sort();
        groups.sort();
        let PolicyRecord { id, name, version, settings, created, changed } = record;
        Policy { id, name, version, settings, volumes, groups, created, changed }
    }

    pub(super) async fn make_policy(&self, request: CreatePolicy) -> Result<Policy> {
        request.check()?;
        let CreatePolicy { name, settings } = request;
        if self.policy_record(&name).is_ok() {
            return Err(NodeError::name_taken("policy", &name));
        }
        if self.policy_table().policies.len() >= POLICIES_MAX {
            let what = format!("the node has {POLICIES_MAX} policies, which is the most");
            return Err(NodeError::new(ErrorKind::NoSpace, what)
                .with_next_step("Delete policies that are attached to nothing."));
        }
        let (id, at) = (PolicyId(uuid::Uuid::new_v4()), now());
        let record = PolicyRecord { id, name, version: 1, settings, created: at, changed: at };
        self.save_policy(record.clone()).await?;
        Ok(self.in_words_of_policy(record))
    }

    async fn save_policy(&self, record: PolicyRecord) -> Result<()> {
        self.commit(vec![Change::PutPolicy(record.clone())]).await?;
        self.policy_table_mut().policies.insert(record.id, record);
        self.reconciler.wake();
        Ok(())
    }

    pub(super) async fn alter_policy(&self, name: &Name, request: ChangePolicy) -> Result<Policy> {
        request.check()?;
        let before = self.policy_record(name)?;
        if request.version.is_some_and(|version| version != before.version) {
            return Err(has_changed(&before, &request.settings));
        }
        if request.settings == before.settings {
            return Ok(self.in_words_of_policy(before));
        }
        let version = before.version + 1;
        let record = PolicyRecord { version, settings: request.settings, changed: now(), ..before };
        self.save_policy(record.clone()).await?;
        Ok(self.in_words_of_policy(record))
    }

    pub(super) async fn end_policy(&self, name: &Name) -> Result<()> {
        let policy = self.describe_policy(name)?;
        let user = match (policy.volumes.first(), policy.groups.first()) {
            (Some(volume), _) => {
                Some((format!("volume '{volume}'"), format!("quarry policy detach {volume}")))
            }
            (None, Some(group)) => {
                Some((format!("group '{group}'"), format!("quarry policy detach --group {group}")))
            }
            (None, None) => None,
        };
        if let Some((user, command)) = user {
            let what = format!("policy '{name}' is attached to {user}");
            return Err(NodeError::new(ErrorKind::InUse, what)
                .with_next_step(format!("Detach it first: `{command}`.")));
        }
        self.commit(vec![Change::DeletePolicy(policy.id)]).await?;
        self.policy_table_mut().policies.remove(&policy.id);
        Ok(())
    }
}

#[async_trait]
impl PolicyNode for DataNode {
    async fn list_policies(&self) -> Result<Vec<Policy>> {
        Ok(self.describe_policies())
    }

    async fn create_policy(&self, request: CreatePolicy) -> Result<Policy> {
        let _changing = self.changing.lock().await;
        self.make_policy(request).await
    }

    async fn show_policy(&self, name: &Name) -> Result<Policy> {
        self.describe_policy(name)
    }

    async fn change_policy(&self, name: &Name, request: ChangePolicy) -> Result<Policy> {
        let _changing = self.changing.lock().await;
        self.alter_policy(name, request).await
    }

    async fn delete_policy(&self, name: &Name) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.end_policy(name).await
    }

    async fn show_volume_policy(&self, volume: &Name) -> Result<VolumePolicy> {
        self.describe_volume_policy(volume).await
    }

    async fn attach_volume_policy(&self, volume: &Name, request: AttachPolicy) -> Result<VolumePolicy> {
        let _changing = self.changing.lock().await;
        self.put_volume_policy(volume, request).await
    }

    async fn detach_volume_policy(&self, volume: &Name) -> Result<VolumePolicy> {
        let _changing = self.changing.lock().await;
        self.end_volume_policy(volume).await
    }

    async fn show_group_policy(&self, group: &Name) -> Result<GroupPolicy> {
        self.describe_group_policy(group)
    }

    async fn attach_group_policy(&self, group: &Name, request: AttachPolicy) -> Result<GroupPolicy> {
        let _changing = self.changing.lock().await;
        self.put_group_policy(group, request).await
    }

    async fn detach_group_policy(&self, group: &Name) -> Result<GroupPolicy> {
        let _changing = self.changing.lock().await;
        self.end_group_policy(group).await
    }
}

/// Somebody else was faster.
fn has_changed(present: &PolicyRecord, wanted: &PolicySettings) -> NodeError {
    let differences: Vec<String> = present
        .settings
        .differences(wanted)
        .into_iter()
        .map(|setting| {
            let said =
                |settings: &PolicySettings| settings.describe(setting).unwrap_or_else(|| "unset".to_owned());
            format!("{setting} is {}, not {}", said(&present.settings), said(wanted))
        })
        .collect();
    let what = format!("policy '{}' was changed since: it is at version {}", present.name, present.version);
    let error = NodeError::new(ErrorKind::Conflict, what)
        .with_next_step(format!("Look at it with `quarry policy show {}`, then decide again.", present.name));
    match differences.is_empty() {
        true => error,
        false => error.with_cause(differences.join("; ")),
    }
}
