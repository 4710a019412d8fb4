//! Jobs and documents of the node in memory. Of a document it knows pools, policies and volumes, and it has done them at once.

use async_trait::async_trait;
use quarry_api_types::*;
use quarry_node_api::{ErrorKind, JobNode, NodeError, Result};

use super::{MemoryNode, NOW_MS};

pub fn job(id: u64, kind: JobKind, object: &str, (done, total): (u64, u64)) -> Job {
    let percent = (done * 100).checked_div(total).unwrap_or(100) as u8;
    let is_over = done == total;
    Job {
        id,
        kind,
        object: object.to_owned(),
        state: if is_over { JobState::Done } else { JobState::Running },
        done,
        total,
        unit: "bytes".to_owned(),
        percent,
        left_s: (!is_over).then_some(60),
        message: None,
        can_be_cancelled: !is_over,
        began: Timestamp::from_unix_ms(NOW_MS),
        ended: is_over.then(|| Timestamp::from_unix_ms(NOW_MS)),
    }
}

impl MemoryNode {
    /// A job that is at this number of bytes of a thousand each time that somebody looks, one after the other.
    pub fn work(&self, kind: JobKind, object: &str, steps: &[u64]) {
        let mut state = self.state.lock().unwrap();
        let id = state.jobs.len() as u64 + 1;
        state.jobs.push((job(id, kind, object, (0, 1000)), steps.iter().copied().collect()));
    }
}

fn plan(present: &State, wanted: &State) -> StatePlan {
    let mut plan = StatePlan::default();
    let mut note = |kind: StatedKind, index: usize, name: &Name, is_there: bool| {
        if !is_there {
            let place = StatedPlace { kind, index, name: name.to_string(), field: None };
            plan.changes.push(StatedChange {
                place,
                action: StatedAction::Create,
                what: vec!["new".to_owned()],
            });
        }
    };
    for (index, pool) in wanted.pools.iter().enumerate() {
        note(StatedKind::Pool, index, &pool.name, present.pools.iter().any(|one| one.name == pool.name));
    }
    for (index, policy) in wanted.policies.iter().enumerate() {
        note(
            StatedKind::Policy,
            index,
            &policy.name,
            present.policies.iter().any(|one| one.name == policy.name),
        );
    }
    for (index, volume) in wanted.volumes.iter().enumerate() {
        note(
            StatedKind::Volume,
            index,
            &volume.name,
            present.volumes.iter().any(|one| one.name == volume.name),
        );
        let now = present.volumes.iter().find(|one| one.name == volume.name);
        if now.is_some_and(|now| volume.size_bytes < now.size_bytes) {
            let name = volume.name.to_string();
            let place =
                StatedPlace { kind: StatedKind::Volume, index, name, field: Some("size_bytes".to_owned()) };
            let message = "it does not become smaller".to_owned();
            plan.problems.push(StatedProblem { place, message, is_conflict: false });
        }
    }
    plan
}

#[async_trait]
impl JobNode for MemoryNode {
    async fn show_state(&self) -> Result<State> {
        let state = self.begin().await?;
        let volume = |volume: &Volume| {
            Some(StatedVolume {
                protection: None,
                tier: None,
                name: volume.name.clone(),
                pool: volume.pool.clone()?,
                size_bytes: volume.size_bytes,
                durability: Some(volume.durability),
                compression: None,
                deduplication: None,
                read_cache: None,
                encrypted: None,
                history_s: Some(volume.history_s),
                quota_bytes: None,
                reserved_bytes: None,
                qos: None,
                policy: None,
                overrides: None,
                version: Some("1".to_owned()),
            })
        };
        let pool = |pool: &Pool| StatedPool {
            name: pool.name.clone(),
            devices: pool.devices.iter().map(|device| device.path.clone()).collect(),
            copies: None,
            protection: Some(pool.protection),
            warning_percent: None,
            critical_percent: None,
            overcommit_limit_percent: None,
            rebuild_rate_bytes_per_s: None,
            version: None,
        };
        let policy =
            |policy: Policy| StatedPolicy { name: policy.name, settings: policy.settings, version: None };
        Ok(State {
            pools: state.pools.iter().map(pool).collect(),
            policies: state.list_policies().into_iter().map(policy).collect(),
            volumes: state.volumes.iter().filter_map(volume).collect(),
            ..State::default()
        })
    }

    async fn plan_state(&self, wanted: State) -> Result<StatePlan> {
        Ok(plan(&self.show_state().await?, &wanted))
    }

    async fn apply_state(&self, wanted: State) -> Result<Job> {
        let plan = plan(&self.show_state().await?, &wanted);
        if let Some(problem) = plan.problems.first() {
            return Err(NodeError::new(
                ErrorKind::Invalid,
                format!("{}: {}", problem.place, problem.message),
            ));
        }
        if let Some(keeper) = self.tenants.get() {
            keeper.make_tenants(1, wanted.tenants.clone()).await?;
        }
        let mut state = self.begin().await?;
        let there: Vec<Name> = state.pools.iter().map(|pool| pool.name.clone()).collect();
        for pool in wanted.pools.iter().filter(|pool| !there.contains(&pool.name)) {
            let json = serde_json::json!({"name": pool.name, "devices": pool.devices});
            let id = state.id();
            let pool = super::things::pool(id, &serde_json::from_value(json).unwrap());
            state.pools.push(pool);
        }
        for StatedPolicy { name, settings, .. } in wanted.policies {
            if state.policy(&name).is_err() {
                state.create_policy(CreatePolicy { name, settings })?;
            }
        }
        for volume in wanted.volumes {
            if state.volume(&volume.name).is_err() {
                let id = state.id();
                let request = CreateVolume::new(volume.name, volume.pool, volume.size_bytes);
                state.volumes.push(super::things::volume(id, request));
            }
        }
        let (id, steps) = (state.jobs.len() as u64 + 1, plan.changes.len() as u64);
        let object = format!("{} things", steps);
        let job = Job { unit: "steps".to_owned(), ..job(id, JobKind::Apply, &object, (steps, steps)) };
        state.jobs.push((job.clone(), Default::default()));
        Ok(job)
    }

    async fn list_jobs(&self) -> Result<Vec<Job>> {
        let state = self.begin().await?;
        Ok(state.jobs.iter().map(|(job, _)| job.clone()).collect())
    }

    async fn show_job(&self, id: u64) -> Result<Job> {
        let mut state = self.begin().await?;
        let found = state.jobs.iter_mut().find(|(job, _)| job.id == id);
        let (known, steps) = found.ok_or_else(|| NodeError::not_found("job", id))?;
        if let Some(done) = steps.pop_front() {
            *known = job(id, known.kind, &known.object.clone(), (done, 1000));
        }
        Ok(known.clone())
    }

    async fn cancel_job(&self, id: u64) -> Result<Job> {
        let mut state = self.begin().await?;
        let found = state.jobs.iter_mut().find(|(job, _)| job.id == id);
        let (known, steps) = found.ok_or_else(|| NodeError::not_found("job", id))?;
        if !known.is_over() {
            steps.clear();
            known.state = JobState::Cancelled;
            known.can_be_cancelled = false;
        }
        Ok(known.clone())
    }
}
