//! Quality of service: which I/O goes to a volume when, and what waits.
//!
//! What it is: [`Scheduler`], pure code that says in which order requests go on (mClock: reservation, limit, weight); [`CoreQos`], which
//! runs one on each core; [`QosVolume`], a volume over a volume whose operations wait for their turn; and the turns of what a core
//! does beside hosts' I/O. What it is not: it stores no settings, knows no names, and never fails a request: what is over a limit waits.
//!
//! # Invariants
//! - **Off, it costs a branch.** A volume without settings, on a node where nobody has asked for a share, goes past all of it.
//! - **Nothing is promised that was not before.** A request that waits has not been begun: the volume below has not seen it. So order,
//!   durability, FUA and flush mean what they did; a flush covers what had completed when it was asked for, and nothing that waits had.
//! - **No queue of its own to fill.** What waits is what front ends let their hosts have under way, which they bound. A request
//!   whose future is dropped leaves the queue in that moment.
//! - **A limit holds over every stretch of time**: as much as its rate gives, plus its burst, plus one request ([`Pace`]). That of a group
//!   or a tenant holds over all cores together, plus one request for each volume that has to wait for something else besides.
//! - **Work conserving**: while there is room below, nothing waits that is within its limits.
//! - **Nobody starves**: each turn by weight moves the others nearer to theirs; what goes on by a reservation neither waits for room below
//!   nor takes any, so that no promise takes all turns.
//! - **Background work never waits for room below**: it has a reservation, always. And while hosts wait for space, or for a checkpoint,
//!   what gains space passes at once. So requests that hold the room and wait for the cleaner do not wait for ever.

mod board;
mod core;
mod cost;
mod family;
mod pace;
mod scheduler;
mod scope;
mod statistics;
mod volume;
mod window;
mod work;

pub use board::Board;
pub use core::{CoreQos, Gate, Place, Table, Turn};
pub use cost::{Cost, IO_BYTES, UNIT_BYTES};
pub use pace::Pace;
pub use scheduler::{ClientId, Decision, Dispatched, Scheduler, Ticket};
pub use scope::{Rates, Scope, ScopeKind, Share, WEIGHT_DEFAULT};
pub use statistics::{Cause, GateStats};
pub use volume::QosVolume;
