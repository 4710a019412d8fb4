//! A seeded world in which things break: every trait of `quarry-env`, without a real clock, file, socket or thread.
//!
//! What it is: a [`World`] with virtual time, [`Process`]es of one or more cores, disks that outlive them, and sockets
//! between them. Disks reorder, tear, lose, misdirect, rot, stall, fill up, fail and return; sockets delay, split, block
//! and break; processes die while their I/O goes on; the power fails. What it is not: it knows nothing of pools, logs or
//! protocols, and checks nothing but the contracts of `quarry-env`, by assertions: O_DIRECT alignment, bounds, one
//! receive at a time.
//!
//! Invariants:
//! - A seed, a [`Config`] and the same calls give the same history to the byte; [`World::trace_hash`] proves it. All
//!   chance is drawn from one generator, which also picks the next ready task and breaks ties in time.
//! - Data that a successful flush covered survives everything but the faults in the log ([`World::faults`]).
//! - Data of a completed write survives the death of its process, but not the power failure, unless it was flushed or
//!   the cache had written it back.
//! - Faults by chance befall only the disks that the [`FaultPlan`] names.
//! - A [`quarry_env::Completion`] of a dead process never resolves.

mod agenda;
mod clock;
mod config;
mod dice;
mod disk;
mod fault;
mod network;
mod process;
mod shared;
mod slab;
mod storage;
#[cfg(test)]
mod tests;
mod trace;
mod world;

pub use config::{Config, NetworkConfig};
pub use disk::{DirectorySpec, DiskSpec, DiskStatus, Latency, Losses, Spindle};
pub use fault::{DiskId, FaultClass, FaultKind, FaultPlan, FaultRates, FaultRecord, Verb};
pub use network::ConnectionId;
pub use process::Process;
pub use storage::DiskImage;
pub use world::{Stuck, World};
