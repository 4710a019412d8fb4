//! The node as the reconciler sees it: what is intended, what is there, and how a step is done.

use std::collections::BTreeMap;

use async_trait::async_trait;
use quarry_api_types::{Name, PoolId, VolumePolicy};
use quarry_catalog::{AttachedTo, AttachmentRecord};
use quarry_device::TierPolicy;
use quarry_engine::SnapshotLabel;
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_planner::{
    Attachment, AttachmentTarget, Intended, IntendedGroup, IntendedPolicy, Observed, ObservedPool,
    ObservedSnapshot, ObservedVolume, Plan, Step, TakenSnapshot, judge, plan,
};
use quarry_reconciler::{StepError, World};
use quarry_types::{SnapshotId, VolumeId};

use super::capacity::data_capacity_bytes;
use super::places::Located;
use super::promises::commitment;
use super::snapshots::FoundSnapshot;
use super::tiers::placement;
use super::volumes::{FoundVolume, parse_name};
use super::{DataNode, PoolEntry, now};

impl DataNode {
    /// Keeps volumes as their policies mean them to be. Runs until the node ends.
    pub async fn keep_policies(&self) {
        let volumes = {
            let _changing = self.changing.lock().await;
            match self.volumes_of(None).await {
                Ok(volumes) => self.forget_gone_attachments(&volumes).await,
                Err(error) => Err(error),
            }
        };
        if let Err(error) = volumes {
            tracing::warn!(%error, "policies that are attached to volumes which are gone stay until the next start");
        }
        self.reconciler.run(self).await;
    }

    /// What is intended.
    pub(super) fn intended(&self) -> Intended {
        let table = self.policy_table();
        let policies = table.policies.values().map(|record| {
            let policy = IntendedPolicy {
                name: record.name.clone(),
                version: record.version,
                settings: record.settings.clone(),
                changed: record.changed,
            };
            (record.id, policy)
        });
        let groups = self.group_records().into_iter().map(|record| {
            let volumes = record.members.iter().map(|member| member.volume_id).collect();
            (record.id, IntendedGroup { name: record.name, volumes })
        });
        let attachments = table.attachments.values().map(to_plan);
        Intended::new(policies.collect(), attachments.collect(), groups.collect())
    }

    /// What is there: every volume, with the labels of its snapshots where there is a schedule for it.
    async fn observe(&self, intended: &Intended) -> Result<Observed> {
        let groups = self.groups_by_volume();
        let found = self.volumes_of(None).await?;
        let scheduled: Vec<&FoundVolume> = found
            .iter()
            .filter(|one| {
                let governing = intended.governing(one.status.id);
                governing.is_some_and(|governing| governing.settings.snapshots.is_some())
            })
            .collect();
        let mut labels = self.labels_of(&scheduled).await?;
        let pools = self.observe_pools(&found);
        let mut volumes = BTreeMap::new();
        for one in found {
            let id = one.status.id;
            let snapshots = labels.remove(&id).unwrap_or_default();
            let snapshots: Result<Vec<_>> =
                snapshots.into_iter().map(|label| self.to_observed(label)).collect();
            let volume = ObservedVolume {
                pool: pools.get(&one.pool).cloned().unwrap_or_default(),
                volume: self.describe(one, &groups)?,
                snapshots: snapshots?,
                failures: BTreeMap::new(),
            };
            volumes.insert(id, volume);
        }
        Ok(Observed { volumes })
    }

    /// The open pools, of which `found` are all volumes.
    fn observe_pools(&self, found: &[FoundVolume]) -> BTreeMap<PoolId, ObservedPool> {
        let in_words = |tier: &quarry_pool::Tier| placement(TierPolicy::Pinned(tier.class));
        let one = |(id, entry): (&PoolId, &PoolEntry)| {
            let shared = &entry.opened.as_ref().ok()?.shared;
            let own = found.iter().filter(|volume| volume.pool == *id);
            let pool = ObservedPool {
                tiers: shared.tiers().iter().map(in_words).collect(),
                committed_percent: commitment(shared, own, data_capacity_bytes(shared), None).percent,
            };
            Some((*id, pool))
        };
        self.pools().iter().filter_map(one).collect()
    }

    /// The labels of the snapshots of some volumes, by one call to each core.
    async fn labels_of(&self, volumes: &[&FoundVolume]) -> Result<BTreeMap<VolumeId, Vec<SnapshotLabel>>> {
        let mut by_core: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for volume in volumes {
            by_core.entry(volume.core).or_default().push((volume.pool, volume.log, volume.status.id));
        }
        let asking = by_core.into_iter().map(|(core, volumes)| {
            self.cores.call(core, move |state| async move {
                let of =
                    |(pool, log, id)| Some((id, state.engine(pool, log).ok()?.snapshot_labels(id).ok()?));
                // One that is gone since it was listed is not there at the next look either.
                volumes.into_iter().filter_map(of).collect::<Vec<_>>()
            })
        });
        let mut all = BTreeMap::new();
        for listed in futures::future::join_all(asking).await {
            all.extend(listed?);
        }
        Ok(all)
    }

    fn to_observed(&self, label: SnapshotLabel) -> Result<ObservedSnapshot> {
        Ok(ObservedSnapshot {
            id: label.id,
            name: parse_name(&label.name)?,
            is_locked: label.locked_until_s.saturating_mul(1000) > now().unix_ms(),
            is_exported: self.is_served(VolumeId(label.id.0)),
        })
    }

    /// What is meant for every volume.
    pub(super) async fn describe_all_policies(&self) -> Result<Vec<VolumePolicy>> {
        let intended = self.intended();
        let mut observed = self.observe(&intended).await?;
        self.reconciler.add_failures(&mut observed);
        let at = World::now(self);
        Ok(observed.volumes.values().map(|volume| judge(&intended, &observed, volume, &[], at)).collect())
    }

    pub(super) async fn describe_volume_policy(&self, name: &Name) -> Result<VolumePolicy> {
        let found = match self.locate(name).await? {
            Located::Pool(found) => found,
            Located::Device(_) => return Ok(VolumePolicy::unmanaged(name.clone())),
        };
        let intended = self.intended();
        let mut observed = self.observe(&intended).await?;
        self.reconciler.add_failures(&mut observed);
        let at = World::now(self);
        let plan = plan(&intended, &observed, at);
        let volume = observed.volumes.get(&found.status.id).ok_or_else(|| self.no_volume(name))?;
        Ok(judge(&intended, &observed, volume, &plan.steps, at))
    }

    async fn do_step(&self, step: &Step) -> Result<()> {
        let _changing = self.changing.lock().await;
        let all = self.volumes_of(None).await?;
        let find = |id: VolumeId| all.iter().find(|volume| volume.status.id == id);
        match step {
            Step::Change { volume, change, .. } => {
                let Some(found) = find(*volume) else { return Ok(()) };
                let name = parse_name(&found.status.name)?;
                self.alter_volume(&name, change.clone()).await.map(drop)
            }
            Step::Expire { volume, id, path } => match find(*volume) {
                Some(found) => self.expire(found, *id, &path.snapshot).await,
                None => Ok(()),
            },
            Step::Take { name, group, snapshots, .. } => {
                let mut taken = Vec::with_capacity(snapshots.len());
                for TakenSnapshot { volume, volume_name, id } in snapshots {
                    let volume = find(*volume).cloned().ok_or_else(|| self.no_volume(volume_name))?;
                    // It would stay behind.
                    self.check_at_rest(volume.status.id, volume_name.as_str())?;
                    taken.push(FoundSnapshot { volume, id: *id });
                }
                match (&taken[..], group) {
                    ([snapshot], None) => self.take_snapshot(snapshot, name, 0).await,
                    _ => self.take_found_set(name, &taken, 0).await,
                }
            }
        }
    }

    /// Deletes a snapshot if it still has its name, by which it is known to be a schedule's.
    async fn expire(&self, volume: &FoundVolume, id: SnapshotId, name: &Name) -> Result<()> {
        let labels = self.labels_of(&[volume]).await?.remove(&volume.status.id).unwrap_or_default();
        let is_it = |label: &SnapshotLabel| label.id == id && label.name == name.as_str();
        match labels.iter().any(is_it) {
            true => {
                let volume = parse_name(&volume.status.name)?;
                self.end_snapshot(&quarry_api_types::SnapshotPath { volume, snapshot: name.clone() }).await
            }
            false => Ok(()),
        }
    }
}

fn to_plan(record: &AttachmentRecord) -> (AttachmentTarget, Attachment) {
    let target = match &record.to {
        AttachedTo::Volume { id, .. } => AttachmentTarget::Volume(*id),
        AttachedTo::Group { id } => AttachmentTarget::Group(*id),
    };
    let AttachmentRecord { policy, overrides, since, .. } = record.clone();
    (target, Attachment { policy, overrides, since })
}

#[async_trait]
impl World for DataNode {
    fn now(&self) -> jiff::Timestamp {
        let ms = i64::try_from(now().unix_ms()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX)
    }

    async fn look(&self) -> Option<(Intended, Observed)> {
        let intended = self.intended();
        // Without anything that is meant there is nothing to look at, however many volumes there are.
        if self.policy_table().attachments.is_empty() {
            return Some((intended, Observed::default()));
        }
        match self.observe(&intended).await {
            Ok(observed) => Some((intended, observed)),
            // While the node stops there is nothing to be done; another look comes soon.
            Err(error) => {
                tracing::debug!(%error, "the volumes could not be looked at");
                None
            }
        }
    }

    async fn perform(&self, step: &Step) -> std::result::Result<(), StepError> {
        match self.do_step(step).await {
            Ok(()) => Ok(()),
            Err(NodeError { kind: ErrorKind::NotFound, .. }) => Ok(()),
            Err(error) => Err(StepError(error.to_string())),
        }
    }

    async fn note(&self, plan: &Plan) {
        self.note_compliance(plan).await;
    }
}

#[cfg(test)]
mod tests;
