//! Documents of intended state: begun, and made so in the background.
//!
//! The document is in the catalog before its job is told of, and leaves it in the transaction that ends the job. So a node that was
//! killed in between goes on with it when it is started again; what was done is found by looking.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use quarry_api_types::{
    Job, JobKind, JobState, Name, Protocol, SnapshotPath, State, StatedProblem, VolumePath, VolumePolicy,
};
use quarry_catalog::{ApplyRecord, Change, JobRecord};
use quarry_node_api::{ErrorKind, Node as _, NodeError, PolicyNode as _, Result, TenantKeeper};
use quarry_planner::{Present, StateStep, plan_state};
use quarry_reconciler::{Applied, StateWorld, StepError, apply};

use super::works::{end, percent};
use super::{DataNode, now};

/// Problems that are told at once.
const PROBLEMS_NAMED: usize = 5;

impl DataNode {
    /// All that a document can state, and what this one needs beside.
    pub(super) async fn present_state(&self, wanted: &State) -> Result<Present> {
        let groups = self.describe_groups().await?;
        let group_policies = groups.iter().filter_map(|group| {
            let policy = self.describe_group_policy(&group.name).ok()?.policy?;
            Some((group.name.clone(), policy))
        });
        let volume_policies = self.describe_all_policies().await?;
        Ok(Present {
            pools: self.describe_pools().await?,
            policies: self.describe_policies(),
            volumes: self.describe_volumes().await?,
            volume_policies: volume_policies.into_iter().map(named).collect(),
            group_policies: group_policies.collect(),
            groups,
            hosts: self.describe_hosts().await?,
            host_groups: self.describe_host_groups().await?,
            exports: self.describe_exports().await?,
            snapshots: self.snapshots_to_export(wanted).await,
            unserved: Protocol::ALL.iter().copied().filter(|one| self.check_served(*one).is_err()).collect(),
        })
    }

    /// Those of the snapshots that a document exports which are there.
    async fn snapshots_to_export(&self, wanted: &State) -> BTreeSet<SnapshotPath> {
        let mut found = BTreeSet::new();
        for stated in &wanted.exports {
            let VolumePath { volume, snapshot: Some(snapshot) } = stated.volume.clone() else { continue };
            let path = SnapshotPath { volume, snapshot };
            if let Ok(located) = self.locate(&path.volume).await
                && self.exported_snapshot(&located, &path.clone().into()).await.is_ok()
            {
                found.insert(path);
            }
        }
        found
    }

    pub(super) async fn begin_apply(&self, state: State) -> Result<Job> {
        state.check()?;
        let planned = plan_state(&state, &self.present_state(&state).await?);
        if !planned.plan.problems.is_empty() {
            return Err(refused(&planned.plan.problems));
        }
        let _changing = self.changing.lock().await;
        let (record, changes) = {
            let mut table = self.jobs.table();
            if let Some(other) = &table.applying {
                let what = format!("job {} applies another document", other.job);
                return Err(NodeError::new(ErrorKind::InUse, what)
                    .with_next_step(format!("Wait for it: `quarry job wait {}`; or cancel it.", other.job)));
            }
            let object = format!("{} things", state.count());
            let (id, mut changes) = table.begin(JobKind::Apply, object, "steps", now());
            let record = ApplyRecord { job: id, state: state.without_versions() };
            if let Some(job) = table.jobs.get_mut(&id) {
                (job.total, job.can_be_cancelled) = (planned.steps.len() as u64, true);
            }
            changes.push(Change::PutApply(record.clone()));
            table.applying = Some(record.clone());
            (record, changes)
        };
        if let Err(error) = self.commit(changes).await {
            let mut table = self.jobs.table();
            table.applying = None;
            table.jobs.remove(&record.job);
            return Err(error);
        }
        self.jobs.to_apply.notify_one();
        let job = self.jobs.table().jobs.get(&record.job).cloned();
        job.ok_or_else(|| NodeError::not_found("job", record.job))
    }

    /// Makes documents so, one after the other, that of before the start first. Runs until the node ends.
    pub async fn apply_documents(&self) {
        loop {
            self.apply_next(self).await;
            self.jobs.to_apply.notified().await;
        }
    }

    /// The tenants of a document come first: what is made for them counts to their bounds then. How many were made or changed.
    async fn make_tenants(&self, record: &ApplyRecord) -> std::result::Result<usize, StepError> {
        if record.state.tenants.is_empty() {
            return Ok(0);
        }
        let Some(keeper) = self.tenant_keeper.get() else {
            return Err(StepError("nobody keeps the tenants of this node".to_owned()));
        };
        let made = keeper.make_tenants(record.job, record.state.tenants.clone()).await.map_err(step_error)?;
        self.put_tenants_qos(made.qos).await.map_err(step_error)?;
        Ok(made.steps)
    }

    /// Says who keeps the tenants of the node: before anything is applied.
    pub fn keep_tenants(&self, keeper: Arc<dyn TenantKeeper>) {
        _ = self.tenant_keeper.set(keeper);
    }

    /// Makes the document so that waits, if there is one.
    pub(super) async fn apply_next(&self, world: &dyn StateWorld) {
        let Some(record) = self.jobs.table().applying.clone() else { return };
        let (tenants, applied) = match self.make_tenants(&record).await {
            Ok(tenants) => (tenants, apply(world, &record.state).await),
            Err(error) => (0, Err(error)),
        };
        let (state, message) = match applied {
            Ok(Applied::Done(steps)) if steps + tenants == 1 => {
                (JobState::Done, "one step was done".to_owned())
            }
            Ok(Applied::Done(steps)) => (JobState::Done, format!("{} steps were done", steps + tenants)),
            Ok(Applied::Cancelled(steps)) => {
                let steps = steps + tenants;
                (JobState::Cancelled, format!("{steps} steps were done; applying it again does the rest"))
            }
            Err(StepError(reason)) => (JobState::Failed, reason),
        };
        let job = {
            let mut table = self.jobs.table();
            table.cancelled.remove(&record.job);
            let Some(job) = table.jobs.get_mut(&record.job) else { return };
            end(job, state, Some(message), now());
            job.clone()
        };
        // Were it not remembered, the document would be looked at once more at the next start, and found to hold.
        if let Err(error) = self.commit(vec![Change::PutJob(JobRecord { job }), Change::DeleteApply]).await {
            tracing::error!(%error, "the end of a job is remembered only as long as the node runs");
        }
        self.jobs.table().applying = None;
    }
}

impl DataNode {
    /// Writes a step of a document to the audit log, under the job that does it; without that it is not done.
    async fn tell_step(&self, step: &StateStep) -> std::result::Result<(), StepError> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let job = self.jobs.table().applying.as_ref().map_or(0, |record| record.job);
        let (operation, object) = step.named();
        let written = audit.step(operation, &object, &format!("job {job} of apply_state: {step}")).await;
        written.map_err(|cause| {
            StepError(format!("the audit log takes no entries, so nothing more is changed: {cause}"))
        })
    }
}

fn named(policy: VolumePolicy) -> (Name, VolumePolicy) {
    (policy.volume.clone(), policy)
}

fn refused(problems: &[StatedProblem]) -> NodeError {
    let has_changed = problems.iter().any(|problem| problem.is_conflict);
    let told: Vec<String> = problems
        .iter()
        .take(PROBLEMS_NAMED)
        .map(|problem| format!("{}: {}", problem.place, problem.message))
        .collect();
    let what = format!("nothing was applied: the document has {} problems", problems.len());
    let next_step = match has_changed {
        true => {
            "Look at what has changed with `quarry diff`, and make the document anew or drop its versions."
        }
        false => "Correct the document; `quarry diff` names every problem with its line.",
    };
    let kind = if has_changed { ErrorKind::Conflict } else { ErrorKind::Contradictory };
    NodeError::new(kind, what).with_cause(told.join("; ")).with_next_step(next_step)
}

fn step_error(error: NodeError) -> StepError {
    StepError(format!("{error}. {}", error.next_step))
}

#[async_trait]
impl StateWorld for DataNode {
    async fn present(&self) -> std::result::Result<Present, StepError> {
        let wanted =
            self.jobs.table().applying.as_ref().map(|record| record.state.clone()).unwrap_or_default();
        self.present_state(&wanted).await.map_err(step_error)
    }

    async fn perform(&self, step: &StateStep) -> std::result::Result<(), StepError> {
        self.tell_step(step).await?;
        let done = match step.clone() {
            StateStep::CreatePool(request) => self.create_pool(request).await.map(drop),
            StateStep::ChangePool(name, request) => self.change_pool(&name, request).await.map(drop),
            StateStep::AddDevice(name, request) => self.add_device(&name, request).await.map(drop),
            StateStep::CreatePolicy(request) => self.create_policy(request).await.map(drop),
            StateStep::ChangePolicy(name, request) => self.change_policy(&name, request).await.map(drop),
            StateStep::CreateVolume(request) => self.create_volume(request).await.map(drop),
            StateStep::ResizeVolume(name, request) => self.resize_volume(&name, request).await.map(drop),
            StateStep::ChangeVolume(name, request) => self.change_volume(&name, request).await.map(drop),
            StateStep::AttachVolumePolicy(name, request) => {
                self.attach_volume_policy(&name, request).await.map(drop)
            }
            StateStep::CreateGroup(request) => self.create_group(request).await.map(drop),
            StateStep::ChangeGroup(name, request) => self.change_group(&name, request).await.map(drop),
            StateStep::AttachGroupPolicy(name, request) => {
                self.attach_group_policy(&name, request).await.map(drop)
            }
            StateStep::CreateHost(request) => self.create_host(request).await.map(drop),
            StateStep::ChangeHost(name, request) => self.change_host(&name, request).await.map(drop),
            StateStep::CreateHostGroup(request) => self.create_host_group(request).await.map(drop),
            StateStep::ChangeHostGroup(name, request) => {
                self.change_host_group(&name, request).await.map(drop)
            }
            StateStep::CreateExport(request) => self.create_export(request).await.map(drop),
        };
        done.map_err(step_error)
    }

    async fn go_on(&self, done: usize, total: usize, next: &StateStep) -> bool {
        let mut table = self.jobs.table();
        let Some(id) = table.applying.as_ref().map(|record| record.job) else { return false };
        if let Some(job) = table.jobs.get_mut(&id) {
            (job.done, job.total) = (done as u64, total as u64);
            job.percent = percent(job.done, job.total);
            (job.message, job.can_be_cancelled) = (Some(next.to_string()), true);
        }
        !table.cancelled.contains(&id)
    }
}

#[cfg(test)]
mod tests;
