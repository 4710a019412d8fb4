//! The event log of a node: what has happened that somebody may have to act on, and what is wrong now.
//!
//! What it is: [`EventLog`], one redb file in the data directory with the newest [`EVENTS_MAX`] events, and beside them the
//! *conditions* that hold at present, so that one that goes on over a restart is not told twice. What it is not: it decides
//! nothing; who records says what an event is. No audit log: it tells what happened to things, not who asked for what.
//!
//! Invariants:
//! - Events and the conditions that they begin or end are recorded together or not at all, and durable on return.
//! - Ids grow by one with each event, over restarts too.
//! - The log is bounded: each event above the bound drops the oldest one.
//! - A damaged file never keeps a node from starting: it is moved aside, and a new one begins.
//! - Calls block on the disk. On an async runtime they belong on a thread for blocking work.

mod error;
mod log;

pub use error::{EventLogError, Result};
pub use log::{ConditionChange, EVENTS_MAX, EventLog, NewEvent};
