//! The simulator: the real engine, pool and NBD server in a world in which things break, judged by a model.
//!
//! What it is: a [`Scenario`] is what a seed draws (disks, copies, cores, volumes, load, faults, changes of devices); [`run`] plays it through
//! several lives, each ended by a shutdown, the death of the process or power loss, and checks everything that comes back
//! against a [`Model`] of every acknowledged write; [`enumerate`] fails the power at every event of one short history.
//! What it is not: no test of single functions, and no measure of speed.
//!
//! Invariants of the judgement:
//! - Faults stay within what the copies allow: as many disks as copies less one may break at a time, always the same
//!   ones, or others once everything has its copies again. Then no error is allowed at all. In the scenarios *beyond* that,
//!   errors are allowed, wrong data never is.
//! - The labels say what was acknowledged of devices and copies. In peace every chunk gets its copies, a device that is left
//!   becomes empty, and as many devices as may break can be done without.
//! - A read returns what some order of the operations allows; after the death of the process everything acknowledged is
//!   there; after power loss everything that a flush covered, and of each log a prefix of its history.
//! - A snapshot, once taken, is there after every crash and always holds the same; one that was deleted never comes back.
//! - At rest the segment table says exactly what the maps refer to, and every slot has one owner.
//! - A seed gives the same history to the byte.

mod chance;
mod client;
mod content;
mod enumerate;
mod fleet;
mod keys;
mod life;
mod membership;
mod model;
mod node;
mod run;
mod scenario;
mod snapshots;
mod target;
mod workload;

pub use chance::Chance;
pub use enumerate::{Enumeration, enumerate};
pub use model::{Crash, Finding, Model};
pub use run::{Failure, Outcome, run};
pub use scenario::Scenario;
