//! Makes volumes what their policies mean them to be, and keeps them so; and makes documents of intended state so, once.
//!
//! What it is: [`Reconciler`], which looks at the world again and again, has `quarry-planner` plan, and does the steps; [`apply`],
//! which does so with a document until it holds. What it is not: it decides nothing, and remembers nothing that matters: only why a
//! step did not work, and how many did. The world is a trait, [`World`] or [`StateWorld`], so that the whole runs in simulated time.
//!
//! Invariants:
//! - Whenever it is stopped, the next look finds what was done and plans the rest.
//! - A step of a policy that fails does not hold up the others, and is tried again at the next look. One of a document ends it.
//! - A look comes at the latest ten seconds after the last one, when a snapshot is due, when the clock went back, and when
//!   somebody has changed what is intended.

mod apply;
mod reconciler;
mod world;

pub use apply::{Applied, StateWorld, apply};
pub use reconciler::{Figures, Reconciler};
pub use world::{StepError, World};
