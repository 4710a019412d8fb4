//! Jobs: what is remembered of them. Those of pools follow what is seen there (`works`), those of documents are run by `apply`, and a
//! migration begins and ends its job in the transactions in which it begins and ends itself.
//!
//! A job is in the catalog when it begins and when it ends; how far it is in between is in memory. A job that was running when the
//! node ended goes on when its work does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex as StdMutex, MutexGuard};

use async_trait::async_trait;
use quarry_api_types::{Job, JobKind, JobState, Name, Pool, State, StatePlan, Timestamp};
use quarry_catalog::{ApplyRecord, Catalog, CatalogError, Change, JobRecord};
use quarry_node_api::{ErrorKind, JobNode, NodeError, Result};
use tokio::sync::Notify;

use super::works::{Work, end, gone, seen, works};
use super::{DataNode, now};

/// Most jobs that have ended and are remembered.
const ENDED_MAX: usize = 1000;

/// Jobs, and the document that is being applied.
#[derive(Default)]
pub(super) struct Jobs {
    table: StdMutex<JobTable>,
    /// One look at a time becomes jobs.
    tracking: tokio::sync::Mutex<()>,
    pub(super) to_apply: Notify,
}

#[derive(Default)]
pub(super) struct JobTable {
    pub(super) jobs: BTreeMap<u64, Job>,
    pub(super) applying: Option<ApplyRecord>,
    pub(super) cancelled: BTreeSet<u64>,
}

impl JobTable {
    fn next_id(&self) -> u64 {
        self.jobs.last_key_value().map_or(1, |(id, _)| id + 1)
    }

    /// A new job and how it is remembered, with what is forgotten for it.
    pub(super) fn begin(
        &mut self,
        kind: JobKind,
        object: String,
        unit: &str,
        at: Timestamp,
    ) -> (u64, Vec<Change>) {
        let job = Job {
            id: self.next_id(),
            kind,
            object,
            state: JobState::Running,
            done: 0,
            total: 0,
            unit: unit.to_owned(),
            percent: 0,
            left_s: None,
            message: None,
            can_be_cancelled: false,
            began: at,
            ended: None,
        };
        let id = job.id;
        let mut changes = vec![Change::PutJob(JobRecord { job: job.clone() })];
        self.jobs.insert(id, job);
        let ended: Vec<u64> = self.jobs.values().filter(|job| job.is_over()).map(|job| job.id).collect();
        for old in ended.iter().take(ended.len().saturating_sub(ENDED_MAX)) {
            self.jobs.remove(old);
            changes.push(Change::DeleteJob(*old));
        }
        (id, changes)
    }

    /// The job that stands for the work of this sort on an object, while it goes on.
    fn running(&self, kind: JobKind, object: &str) -> Option<&Job> {
        self.jobs.values().rev().find(|job| job.kind == kind && job.object == object && !job.is_over())
    }

    /// What one look at the pools, and at the volumes that move, makes of the jobs, and what of that is remembered.
    fn track(&mut self, pools: &[Pool], migrations: Vec<Work>, at: Timestamp) -> Vec<Change> {
        let all: Vec<Work> = pools.iter().flat_map(works).chain(migrations).collect();
        let mut changes = Vec::new();
        for work in &all {
            let is_its = |job: &&mut Job| {
                let is_same = job.kind == work.kind && job.object == work.object;
                is_same && (!job.is_over() || work.began.is_some_and(|began| job.began == began))
            };
            let id = match self.jobs.values_mut().rev().find(is_its) {
                Some(job) if job.is_over() => continue,
                Some(job) => job.id,
                None => {
                    let began = work.began.unwrap_or(at);
                    let (id, begun) = self.begin(work.kind, work.object.clone(), work.unit, began);
                    changes.extend(begun);
                    id
                }
            };
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            seen(job, work, at);
            if job.is_over() {
                changes.push(Change::PutJob(JobRecord { job: job.clone() }));
            }
        }
        for job in self.jobs.values_mut().filter(|job| !job.is_over()) {
            let is_seen = all.iter().any(|work| work.kind == job.kind && work.object == job.object);
            if let Some((state, message)) = gone(job, pools).filter(|_| !is_seen) {
                end(job, state, message, at);
                changes.push(Change::PutJob(JobRecord { job: job.clone() }));
            }
        }
        changes
    }
}

impl Jobs {
    /// What the catalog has.
    pub(super) fn read(catalog: &dyn Catalog) -> std::result::Result<Self, CatalogError> {
        let jobs = catalog.jobs()?.into_iter().map(|record| (record.job.id, record.job)).collect();
        let applying = catalog.apply()?;
        let table = JobTable { jobs, applying, cancelled: BTreeSet::new() };
        Ok(Self { table: StdMutex::new(table), ..Self::default() })
    }

    pub(super) fn table(&self) -> MutexGuard<'_, JobTable> {
        self.table.lock().expect("nobody panics with this lock: a panic ends the process")
    }
}

impl DataNode {
    /// Takes note of what goes on in the pools.
    pub(super) async fn track_jobs(&self, pools: &[Pool]) {
        let _tracking = self.jobs.tracking.lock().await;
        let changes = self.jobs.table().track(pools, self.migration_works(), now());
        if !changes.is_empty()
            && let Err(error) = self.commit(changes).await
        {
            tracing::error!(%error, "jobs are remembered only as long as the node runs");
        }
    }

    async fn look_at_jobs(&self) -> Result<()> {
        self.track_jobs(&self.describe_pools().await?).await;
        Ok(())
    }

    fn job(&self, id: u64) -> Result<Job> {
        let found = self.jobs.table().jobs.get(&id).cloned();
        found.ok_or_else(|| NodeError::not_found("job", id))
    }

    async fn end_job(&self, id: u64) -> Result<Job> {
        self.look_at_jobs().await?;
        let job = self.job(id)?;
        if job.is_over() {
            return Ok(job);
        }
        match job.kind {
            JobKind::Apply => _ = self.jobs.table().cancelled.insert(id),
            JobKind::Scrub => {
                let pool: Name = super::volumes::parse_name(&job.object)?;
                self.end_scrub(&pool).await?;
            }
            JobKind::Drain => {
                let pools = self.describe_pools().await?;
                let found = pools.iter().find_map(|pool| {
                    let device = pool.devices.iter().find(|device| device.path == job.object)?;
                    Some((pool.name.clone(), device.id))
                });
                let (pool, device) = found.ok_or_else(|| NodeError::not_found("device", &job.object))?;
                let _changing = self.changing.lock().await;
                self.end_drain(&pool, device).await?;
            }
            JobKind::Migration => {
                let _changing = self.changing.lock().await;
                self.cancel(&super::volumes::parse_name(&job.object)?).await?;
            }
            kind @ (JobKind::Rebuild | JobKind::Freeing) => {
                let what = format!("job {id} was not cancelled: a {kind} ends when it is done");
                return Err(NodeError::new(ErrorKind::Conflict, what)
                    .with_next_step("`quarry pool set POOL --rebuild-rate` bounds how fast data is moved."));
            }
        }
        self.look_at_jobs().await?;
        self.job(id)
    }
}

impl DataNode {
    /// Commits changes with which work of its own begins, and the job that stands for it.
    pub(super) async fn commit_begin(
        &self,
        (kind, object, began): (JobKind, String, Timestamp),
        mut changes: Vec<Change>,
    ) -> Result<()> {
        let (id, begun) = self.jobs.table().begin(kind, object, "bytes", began);
        changes.extend(begun);
        let committed = self.commit(changes).await;
        if committed.is_err() {
            self.jobs.table().jobs.remove(&id);
        }
        committed
    }

    /// Commits changes with which such work ends, and how its job has.
    pub(super) async fn commit_end(
        &self,
        (kind, object): (JobKind, &str),
        (state, message): (JobState, String),
        mut changes: Vec<Change>,
    ) -> Result<()> {
        let mut ended = self.jobs.table().running(kind, object).cloned();
        if let Some(job) = &mut ended {
            end(job, state, Some(message), now());
            changes.push(Change::PutJob(JobRecord { job: job.clone() }));
        }
        self.commit(changes).await?;
        self.jobs.table().jobs.extend(ended.map(|job| (job.id, job)));
        Ok(())
    }

    /// What each job does that is in a state.
    pub(super) fn running_jobs(&self, state: JobState) -> Vec<JobKind> {
        let table = self.jobs.table();
        table.jobs.values().filter(|job| job.state == state).map(|job| job.kind).collect()
    }
}

#[async_trait]
impl JobNode for DataNode {
    async fn show_state(&self) -> Result<State> {
        Ok(self.present_state(&State::default()).await?.stated())
    }

    async fn plan_state(&self, state: State) -> Result<StatePlan> {
        Ok(quarry_planner::plan_state(&state, &self.present_state(&state).await?).plan)
    }

    async fn apply_state(&self, state: State) -> Result<Job> {
        self.begin_apply(state).await
    }

    async fn list_jobs(&self) -> Result<Vec<Job>> {
        self.look_at_jobs().await?;
        Ok(self.jobs.table().jobs.values().cloned().collect())
    }

    async fn show_job(&self, id: u64) -> Result<Job> {
        self.look_at_jobs().await?;
        self.job(id)
    }

    async fn cancel_job(&self, id: u64) -> Result<Job> {
        self.end_job(id).await
    }
}

#[cfg(test)]
mod tests;
