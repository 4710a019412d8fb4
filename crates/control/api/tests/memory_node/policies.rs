//! Policies of the node in memory, which finds that everything is as it is meant to be.

use async_trait::async_trait;
use quarry_api_types::*;
use quarry_node_api::{ErrorKind, NodeError, PolicyNode, Result};

use super::{MemoryNode, State};

/// What a policy is attached to.
#[derive(Clone)]
pub struct Attached {
    pub volume: Option<Name>,
    pub group: Option<Name>,
    pub request: AttachPolicy,
}

impl State {
    pub fn list_policies(&self) -> Vec<Policy> {
        let mut all = self.policies.clone();
        for policy in &mut all {
            let attached =
                || self.attached.iter().filter(|one| one.request.policy.as_ref() == Some(&policy.name));
            let (volumes, groups) = (
                attached().filter_map(|one| one.volume.clone()).collect(),
                attached().filter_map(|one| one.group.clone()).collect(),
            );
            (policy.volumes, policy.groups) = (volumes, groups);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub fn policy(&self, name: &Name) -> Result<Policy> {
        let found = self.list_policies().into_iter().find(|policy| policy.name == *name);
        found.ok_or_else(|| NodeError::not_found("policy", name))
    }

    pub fn create_policy(&mut self, request: CreatePolicy) -> Result<Policy> {
        if self.policy(&request.name).is_ok() {
            return Err(NodeError::name_taken("policy", &request.name));
        }
        let at = Timestamp::from_unix_ms(super::NOW_MS);
        let policy = Policy {
            id: PolicyId::from_random(self.id()),
            name: request.name,
            version: 1,
            settings: request.settings,
            volumes: vec![],
            groups: vec![],
            created: at,
            changed: at,
        };
        self.policies.push(policy.clone());
        Ok(policy)
    }

    pub fn change_policy(&mut self, name: &Name, request: ChangePolicy) -> Result<Policy> {
        let before = self.policy(name)?;
        if request.version.is_some_and(|version| version != before.version) {
            let message = format!("policy '{name}' is at version {} now", before.version);
            return Err(NodeError::new(ErrorKind::Conflict, message));
        }
        for policy in self.policies.iter_mut().filter(|policy| policy.name == *name) {
            policy.version += u64::from(policy.settings != request.settings);
            policy.settings = request.settings.clone();
        }
        self.policy(name)
    }

    pub fn delete_policy(&mut self, name: &Name) -> Result<()> {
        let policy = self.policy(name)?;
        if let Some(volume) = policy.volumes.first().or(policy.groups.first()) {
            let message = format!("policy '{name}' is attached to '{volume}'");
            return Err(NodeError::new(ErrorKind::InUse, message));
        }
        self.policies.retain(|policy| policy.name != *name);
        Ok(())
    }

    fn attached_policy(&self, attached: Option<&Attached>) -> Option<&Policy> {
        let name = attached?.request.policy.as_ref()?;
        self.policies.iter().find(|policy| policy.name == *name)
    }

    pub fn volume_policy(&mut self, volume: &Name) -> Result<VolumePolicy> {
        self.volume(volume)?;
        let attached = self.attached.iter().find(|one| one.volume.as_ref() == Some(volume));
        let policy = self.attached_policy(attached);
        let overrides = attached.map(|one| one.request.overrides.clone()).unwrap_or_default();
        let settings = policy.map_or_else(|| overrides.clone(), |policy| overrides.over(&policy.settings));
        let one = |&setting: &PolicySetting| {
            let intended = settings.describe(setting)?;
            let source = match overrides.describe(setting) {
                Some(_) => SettingSource::Override,
                None => SettingSource::Policy,
            };
            let (actual, state) = (intended.clone(), ComplianceState::Compliant);
            Some(SettingCompliance { setting, source, intended, actual, state, reason: None })
        };
        let state = if attached.is_some() { ComplianceState::Compliant } else { ComplianceState::Unmanaged };
        let schedule = settings.snapshots.as_ref().map(|_| ScheduleStatus {
            last: None,
            next: Some(Timestamp::from_unix_ms(super::NOW_MS + 900_000)),
            lag_s: 0,
            kept: vec![],
        });
        Ok(VolumePolicy {
            volume: volume.clone(),
            policy: policy.map(|policy| policy.name.clone()),
            version: policy.map(|policy| policy.version),
            through_group: None,
            state,
            settings: PolicySetting::ALL.iter().filter_map(one).collect(),
            overrides,
            plan: vec![],
            failure: None,
            schedule,
        })
    }

    pub fn group_policy(&mut self, group: &Name) -> Result<GroupPolicy> {
        self.group(group)?;
        let attached = self.attached.iter().find(|one| one.group.as_ref() == Some(group));
        let policy = self.attached_policy(attached);
        Ok(GroupPolicy {
            group: group.clone(),
            policy: policy.map(|policy| policy.name.clone()),
            version: policy.map(|policy| policy.version),
        })
    }

    /// Puts a policy to a volume or a group, or takes it away.
    pub fn attach(
        &mut self,
        volume: Option<&Name>,
        group: Option<&Name>,
        request: Option<AttachPolicy>,
    ) -> Result<()> {
        volume.map_or(Ok(()), |volume| self.volume(volume).map(drop))?;
        group.map_or(Ok(()), |group| self.group(group).map(drop))?;
        if let Some(policy) = request.as_ref().and_then(|request| request.policy.as_ref()) {
            self.policy(policy)?;
        }
        self.attached.retain(|one| (one.volume.as_ref(), one.group.as_ref()) != (volume, group));
        let (volume, group) = (volume.cloned(), group.cloned());
        self.attached.extend(request.map(|request| Attached { volume, group, request }));
        Ok(())
    }
}

#[async_trait]
impl PolicyNode for MemoryNode {
    async fn list_policies(&self) -> Result<Vec<Policy>> {
        Ok(self.begin().await?.list_policies())
    }

    async fn create_policy(&self, request: CreatePolicy) -> Result<Policy> {
        self.begin().await?.create_policy(request)
    }

    async fn show_policy(&self, name: &Name) -> Result<Policy> {
        self.begin().await?.policy(name)
    }

    async fn change_policy(&self, name: &Name, request: ChangePolicy) -> Result<Policy> {
        self.begin().await?.change_policy(name, request)
    }

    async fn delete_policy(&self, name: &Name) -> Result<()> {
        self.begin().await?.delete_policy(name)
    }

    async fn show_volume_policy(&self, volume: &Name) -> Result<VolumePolicy> {
        self.begin().await?.volume_policy(volume)
    }

    async fn attach_volume_policy(&self, volume: &Name, request: AttachPolicy) -> Result<VolumePolicy> {
        let mut state = self.begin().await?;
        state.attach(Some(volume), None, Some(request))?;
        state.volume_policy(volume)
    }

    async fn detach_volume_policy(&self, volume: &Name) -> Result<VolumePolicy> {
        let mut state = self.begin().await?;
        state.attach(Some(volume), None, None)?;
        state.volume_policy(volume)
    }

    async fn show_group_policy(&self, group: &Name) -> Result<GroupPolicy> {
        self.begin().await?.group_policy(group)
    }

    async fn attach_group_policy(&self, group: &Name, request: AttachPolicy) -> Result<GroupPolicy> {
        let mut state = self.begin().await?;
        state.attach(None, Some(group), Some(request))?;
        state.group_policy(group)
    }

    async fn detach_group_policy(&self, group: &Name) -> Result<GroupPolicy> {
        let mut state = self.begin().await?;
        state.attach(None, Some(group), None)?;
        state.group_policy(group)
    }
}
