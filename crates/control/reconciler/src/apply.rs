//! Makes a document of intended state so: plan, do the steps, plan again until nothing is left.

use async_trait::async_trait;
use quarry_api_types::State;
use quarry_planner::{Present, StateStep, StateSteps, plan_state};

use crate::world::StepError;

/// After so many rounds without an end something undoes what is done.
const ROUNDS_MAX: usize = 8;

/// The node, as far as documents go.
#[async_trait]
pub trait StateWorld: Send + Sync {
    /// What is there.
    async fn present(&self) -> Result<Present, StepError>;

    /// Does one step. Durable when it returns `Ok`.
    async fn perform(&self, step: &StateStep) -> Result<(), StepError>;

    /// `done` of `total` steps are done, and `next` is the one that follows. Whether to go on: somebody may have cancelled it.
    async fn go_on(&self, done: usize, total: usize, next: &StateStep) -> bool;
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// The document holds. So many steps were done.
    Done(usize),
    /// It was cancelled between two steps.
    Cancelled(usize),
}

/// Makes a document so. Whenever it is stopped in the middle, doing it again does the rest.
///
/// # Errors
/// What does not work, or cannot be done; everything before it is done and stays.
pub async fn apply(world: &dyn StateWorld, wanted: &State) -> Result<Applied, StepError> {
    let mut done = 0;
    let mut last = String::new();
    for _ in 0..ROUNDS_MAX {
        let StateSteps { steps, plan } = plan_state(wanted, &world.present().await?);
        if let Some(problem) = plan.problems.first() {
            return Err(StepError(format!("{}: {}", problem.place, problem.message)));
        }
        if steps.is_empty() {
            return Ok(Applied::Done(done));
        }
        let total = done + steps.len();
        for step in &steps {
            if !world.go_on(done, total, step).await {
                return Ok(Applied::Cancelled(done));
            }
            world
                .perform(step)
                .await
                .map_err(|StepError(reason)| StepError(format!("could not {step}: {reason}")))?;
            done += 1;
        }
        last = steps.last().map(ToString::to_string).unwrap_or_default();
    }
    Err(StepError(format!("it does not come to an end: something undoes what is done, lastly '{last}'")))
}
