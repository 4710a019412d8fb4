//! The loop: look, plan, do, wait.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use quarry_planner::{Observed, Plan, Step, StepKind, plan};
use quarry_types::VolumeId;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::world::{StepError, World};

/// A look comes at the latest so long after the last one.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The clock is looked at this often while nothing is to be done.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// Looks that follow each other at once as long as steps were done. What is left waits for the next time.
const ROUNDS_MAX: usize = 8;

/// How many steps were done since the start, and how volumes stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Snapshots that were taken by the calendar, those of a group counted one by one.
    pub taken: u64,
    /// Snapshots that were deleted because no rule keeps them.
    pub expired: u64,
    /// Changes of settings.
    pub changed: u64,
    /// Steps that did not work.
    pub failed: u64,
    /// For how long the snapshot has been due that is due for longest, in seconds.
    pub lag_s: u64,
}

/// A step that did not work.
struct Failure {
    step: Step,
    reason: String,
}

#[derive(Default)]
struct State {
    failures: BTreeMap<VolumeId, BTreeMap<StepKind, Failure>>,
    figures: Figures,
}

/// Makes what is intended so.
#[derive(Default)]
pub struct Reconciler {
    state: Mutex<State>,
    changed: Notify,
}

impl Reconciler {
    /// Somebody has changed what is intended: look now.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// What was done, and how it stands.
    pub fn figures(&self) -> Figures {
        self.state().figures
    }

    /// Adds to what is observed why steps did not work.
    pub fn add_failures(&self, observed: &mut Observed) {
        let state = self.state();
        for (id, volume) in &mut observed.volumes {
            let failures = state.failures.get(id).into_iter().flatten();
            volume.failures = failures.map(|(kind, failure)| (*kind, failure.reason.clone())).collect();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with this lock: a panic ends the process")
    }

    /// Looks and does what is to be done until nothing is; when the next snapshot is due.
    pub async fn settle(&self, world: &dyn World) -> Option<Timestamp> {
        let mut last = Plan::default();
        for _ in 0..ROUNDS_MAX {
            last = self.plan_now(world).await?;
            if !self.do_all(world, &last.steps).await {
                break;
            }
        }
        if !last.steps.is_empty() {
            // What did not work is known now.
            last = self.plan_now(world).await?;
        }
        world.note(&last).await;
        last.next
    }

    async fn plan_now(&self, world: &dyn World) -> Option<Plan> {
        let (intended, mut observed) = world.look().await?;
        self.forget_gone(&observed);
        self.add_failures(&mut observed);
        let mut planned = plan(&intended, &observed, world.now());
        if self.forget_unplanned(&planned.steps) {
            self.add_failures(&mut observed);
            planned = plan(&intended, &observed, world.now());
        }
        self.state().figures.lag_s = planned.volumes.iter().map(|volume| volume.lag_s).max().unwrap_or(0);
        Some(planned)
    }

    /// Does the steps; whether one has changed something.
    async fn do_all(&self, world: &dyn World, steps: &[Step]) -> bool {
        let mut any = false;
        for step in steps {
            let done = world.perform(step).await;
            any |= done.is_ok();
            self.remember(step, done);
        }
        any
    }

    fn remember(&self, step: &Step, done: Result<(), StepError>) {
        let mut state = self.state();
        let figures = &mut state.figures;
        match (&done, step) {
            (Err(_), _) => figures.failed += 1,
            (Ok(()), Step::Take { snapshots, .. }) => figures.taken += snapshots.len() as u64,
            (Ok(()), Step::Expire { .. }) => figures.expired += 1,
            (Ok(()), Step::Change { .. }) => figures.changed += 1,
        }
        for volume in step.volumes() {
            let failures = state.failures.entry(volume).or_default();
            match &done {
                Ok(()) => _ = failures.remove(&step.kind()),
                Err(StepError(reason)) => {
                    let failure = Failure { step: step.clone(), reason: reason.clone() };
                    let before = failures.insert(step.kind(), failure);
                    if before.is_none_or(|before| before.reason != *reason) {
                        tracing::warn!(%volume, %reason, "could not {step}; it is tried again");
                    }
                }
            }
        }
    }

    fn forget_gone(&self, observed: &Observed) {
        self.state().failures.retain(|id, kinds| observed.volumes.contains_key(id) && !kinds.is_empty());
    }

    /// What has failed and is not to be done any more, or not so, says nothing of what is: whether there was any.
    fn forget_unplanned(&self, steps: &[Step]) -> bool {
        let mut any = false;
        for (id, kinds) in &mut self.state().failures {
            kinds.retain(|kind, failure| {
                let is_planned = steps.iter().any(|step| match kind {
                    StepKind::Change => *step == failure.step,
                    StepKind::Take | StepKind::Expire => step.kind() == *kind && step.concerns(*id),
                });
                any |= !is_planned;
                is_planned
            });
        }
        any
    }

    /// Runs until its task ends.
    pub async fn run(&self, world: &dyn World) {
        loop {
            let began = Instant::now();
            let looked = world.now();
            let next = self.settle(world).await;
            while began.elapsed() < LOOK_EVERY {
                let now = world.now();
                // A clock that went back makes another snapshot due than the one that is waited for.
                if now < looked || next.is_some_and(|next| next <= now) {
                    break;
                }
                let until_next = next.map_or(CLOCK_EVERY, |next| {
                    Duration::try_from(next.duration_since(now)).unwrap_or(CLOCK_EVERY)
                });
                tokio::select! {
                    () = self.changed.notified() => break,
                    () = tokio::time::sleep(until_next.min(CLOCK_EVERY)) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
