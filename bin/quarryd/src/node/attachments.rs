//! To what policies are attached: volumes and groups.
//!
//! Attachments are in the catalog, volumes on the pools' devices, and the two are not changed together. So an attachment is
//! committed before the volume that it is for is made, one to a volume that is gone does no harm, and it is forgotten at the next
//! start of the node at the latest; ids are never used again.

use quarry_api_types::{
    AttachPolicy, ChangeVolume, CreateVolume, GroupPolicy, Name, PolicySetting, PolicySettings, Protection,
    VolumePolicy,
};
use quarry_catalog::{AttachedTo, AttachmentKey, AttachmentRecord, Change};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::{PoolId, VolumeId};

use super::places::Located;
use super::tiers::placement;
use super::volumes::FoundVolume;
use super::{DataNode, now};

impl DataNode {
    async fn save_attachment(&self, record: AttachmentRecord) -> Result<()> {
        self.commit(vec![Change::PutAttachment(record.clone())]).await?;
        self.policy_table_mut().attachments.insert(record.key(), record);
        self.reconciler.wake();
        Ok(())
    }

    pub(super) async fn forget_attachments(&self, keys: Vec<AttachmentKey>) -> Result<()> {
        let known: Vec<AttachmentKey> = {
            let table = self.policy_table();
            keys.into_iter().filter(|key| table.attachments.contains_key(key)).collect()
        };
        if known.is_empty() {
            return Ok(());
        }
        self.commit(known.iter().map(|key| Change::DeleteAttachment(*key)).collect()).await?;
        let mut table = self.policy_table_mut();
        known.iter().for_each(|key| _ = table.attachments.remove(key));
        Ok(())
    }

    pub(super) async fn put_volume_policy(&self, name: &Name, request: AttachPolicy) -> Result<VolumePolicy> {
        request.check()?;
        let found = self.find_volume(name).await?;
        let policy =
            request.policy.map(|policy| self.policy_record(&policy)).transpose()?.map(|policy| policy.id);
        let to = AttachedTo::Volume { id: found.status.id, name: name.clone(), pool: found.pool };
        let key = AttachmentKey::Volume(found.status.id);
        let before = self.policy_table().attachments.get(&key).cloned();
        // The same policy goes on: an override does not put off what is due.
        let since = before.filter(|before| before.policy == policy).map_or_else(now, |before| before.since);
        self.save_attachment(AttachmentRecord { to, policy, overrides: request.overrides, since }).await?;
        self.describe_volume_policy(name).await
    }

    pub(super) async fn end_volume_policy(&self, name: &Name) -> Result<VolumePolicy> {
        let found = self.find_volume(name).await?;
        self.forget_attachments(vec![AttachmentKey::Volume(found.status.id)]).await?;
        self.describe_volume_policy(name).await
    }

    pub(super) fn describe_group_policy(&self, group: &Name) -> Result<GroupPolicy> {
        let id = self.group_record(group)?.id;
        let table = self.policy_table();
        let attachment = table.attachments.get(&AttachmentKey::Group(id));
        let policy = attachment.and_then(|attachment| table.policies.get(&attachment.policy?));
        Ok(GroupPolicy {
            group: group.clone(),
            policy: policy.map(|policy| policy.name.clone()),
            version: policy.map(|policy| policy.version),
        })
    }

    pub(super) async fn put_group_policy(&self, group: &Name, request: AttachPolicy) -> Result<GroupPolicy> {
        let id = self.group_record(group)?.id;
        let (Some(policy), true) = (request.policy, request.overrides.is_empty()) else {
            let what = "overrides: they are for single volumes, and a group needs a policy";
            return Err(NodeError::new(ErrorKind::Contradictory, what)
                .with_next_step("Override the volume's own settings: `quarry policy override VOLUME ...`."));
        };
        let policy = Some(self.policy_record(&policy)?.id);
        let (to, overrides) = (AttachedTo::Group { id }, PolicySettings::default());
        self.save_attachment(AttachmentRecord { to, policy, overrides, since: now() }).await?;
        self.describe_group_policy(group)
    }

    pub(super) async fn end_group_policy(&self, group: &Name) -> Result<GroupPolicy> {
        let id = self.group_record(group)?.id;
        self.forget_attachments(vec![AttachmentKey::Group(id)]).await?;
        self.describe_group_policy(group)
    }

    /// The request for a new volume with what its policy means it to be, and the attachment that is to be committed before it is made.
    pub(super) fn under_policy(
        &self,
        request: CreateVolume,
        id: VolumeId,
        pool: PoolId,
    ) -> Result<(CreateVolume, Option<AttachmentRecord>)> {
        let Some(policy) = &request.policy else { return Ok((request, None)) };
        let policy = self.policy_record(policy)?;
        let overrides = request.overrides();
        let to = AttachedTo::Volume { id, name: request.name.clone(), pool };
        let mut meant = policy.settings.clone();
        let shared = self.opened_pool(pool)?.shared;
        // A volume is kept as its pool where that is as the policy means it.
        meant.protection =
            meant.protection.filter(|meant| !Protection(shared.protection()).is_at_least(*meant));
        meant.tier = meant.tier.filter(|meant| *meant != placement(shared.tier_policy()));
        let request = request.with_settings(&overrides.over(&meant));
        request.check()?;
        Ok((request, Some(AttachmentRecord { to, policy: Some(policy.id), overrides, since: now() })))
    }

    /// How far the pool of a new volume may be over-committed by what is meant for it.
    pub(super) fn overcommit_limit_of(&self, attached: &AttachmentRecord) -> Option<u32> {
        let policy = attached.policy.and_then(|id| self.policy_table().policies.get(&id).cloned());
        let below = policy.map(|policy| policy.settings).unwrap_or_default();
        attached.overrides.over(&below).overcommit_limit_percent.filter(|&percent| percent > 0)
    }

    pub(super) async fn begin_attachment(&self, record: Option<AttachmentRecord>) -> Result<()> {
        match record {
            Some(record) => self.save_attachment(record).await,
            None => Ok(()),
        }
    }

    /// Whether a change of a volume by hand goes together with what is meant for it.
    pub(super) async fn check_against_policy(&self, name: &Name, change: &ChangeVolume) -> Result<()> {
        let located = self.locate(name).await?;
        let intended = self.intended();
        let Some(governing) = intended.governing(located.id()) else { return Ok(()) };
        let of_pool = match &located {
            Located::Pool(found) => {
                let shared = self.opened_pool(found.pool)?.shared;
                let meant = governing.settings.protection;
                // More copies than are meant do no harm.
                let protection = Some(Protection(shared.protection()))
                    .filter(|own| !meant.is_some_and(|meant| own.is_at_least(meant)));
                let tier = Some(placement(shared.tier_policy()));
                PolicySettings { protection, tier, ..PolicySettings::default() }
            }
            Located::Device(_) => PolicySettings::default(),
        };
        let wanted = PolicySettings {
            durability: change.durability,
            compression: change.compression,
            deduplication: change.deduplication,
            read_cache: change.read_cache,
            history_s: change.history_s,
            quota_bytes: change.quota_bytes,
            reserved_bytes: change.reserved_bytes,
            protection: change.protection.map(|own| own.0.or(of_pool.protection)).unwrap_or_default(),
            tier: change.tier.map(|own| own.0.or(of_pool.tier)).unwrap_or_default(),
            qos: change.qos.clone(),
            ..PolicySettings::default()
        };
        let contradicts = |setting: &&PolicySetting| match (
            wanted.describe(**setting),
            governing.settings.describe(**setting),
        ) {
            (Some(wanted), Some(meant)) => wanted != meant,
            _ => false,
        };
        let Some(setting) = PolicySetting::ALL.iter().find(contradicts) else { return Ok(()) };
        let meant = governing.settings.describe(*setting).unwrap_or_default();
        let by = governing
            .policy
            .map_or_else(|| "an override".to_owned(), |policy| format!("policy '{}'", policy.name));
        let what = format!("volume '{name}' was not changed: {by} means its {setting} to be {meant}");
        Err(NodeError::new(ErrorKind::Conflict, what).with_next_step(format!(
            "Override its {setting} for this volume with `quarry policy override {name}`, or change the policy."
        )))
    }

    /// Brings the attachment of a volume up to date: under `name` from now on, or gone with the volume. The volume has been changed
    /// already; a record that stays behind does no harm.
    pub(super) async fn update_attachment_of(&self, volume: VolumeId, name: Option<&Name>) {
        let key = AttachmentKey::Volume(volume);
        let record = self.policy_table().attachments.get(&key).cloned();
        let updated = match (record, name) {
            (None, _) => Ok(()),
            (Some(_), None) => self.forget_attachments(vec![key]).await,
            (Some(mut record), Some(name)) => {
                if let AttachedTo::Volume { name: known, .. } = &mut record.to {
                    *known = name.clone();
                }
                self.save_attachment(record).await
            }
        };
        if let Err(error) = updated {
            tracing::warn!(%volume, %error, "the catalog has a former name of a volume with a policy, or one that is gone");
        }
    }

    /// Forgets attachments to volumes that are gone although their pools are open.
    pub(super) async fn forget_gone_attachments(&self, volumes: &[FoundVolume]) -> Result<()> {
        let gone: Vec<AttachmentKey> = {
            let (table, pools) = (self.policy_table(), self.pools());
            let is_gone = |record: &&AttachmentRecord| match &record.to {
                AttachedTo::Volume { id, pool, .. } => {
                    let is_open = pools.get(pool).is_none_or(|entry| entry.opened.is_ok());
                    is_open && volumes.iter().all(|volume| volume.status.id != *id)
                }
                AttachedTo::Group { .. } => false,
            };
            table.attachments.values().filter(is_gone).map(AttachmentRecord::key).collect()
        };
        self.forget_attachments(gone).await
    }
}
