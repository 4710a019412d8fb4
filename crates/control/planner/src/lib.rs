//! What is to be done so that volumes become what their policies mean them to be. Pure: from (what is intended, what is observed,
//! the time) to steps.
//!
//! What it is: [`plan`], which judges every volume and names the steps; the calendar of snapshots ([`calendar`]) and which of them
//! are kept ([`retention`]); and [`plan_state`], which compares a document of the whole intended state with what is there. What it is not: it executes nothing (that is `quarry-reconciler`), has no clock and keeps no state:
//! whatever was done before is found by observation, so that it does not matter where a node was stopped.
//!
//! Invariants:
//! - Equal arguments give equal steps, and a world that is as intended gives none.
//! - A snapshot is deleted only if a schedule has taken it, and it still has the name that it got then ([`mark`]).
//! - Retention counts snapshots and never looks at the time: no clock, however wrong, makes snapshots too old.
//! - The newest snapshot of a schedule is always kept.

pub mod calendar;
mod intent;
mod judge;
pub mod mark;
mod plan;
pub mod retention;
mod settings;
mod snapshots;
mod state;

pub use intent::{Attachment, AttachmentTarget, Governing, Intended, IntendedGroup, IntendedPolicy};
pub use judge::judge;
pub use plan::{
    Observed, ObservedPool, ObservedSnapshot, ObservedVolume, Plan, Step, StepKind, TakenSnapshot,
    VolumePlan, plan,
};
pub use state::{Present, StateStep, StateSteps, plan_state};
