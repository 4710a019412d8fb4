//! The audit log of a node: who has changed what, and who was not let.
//!
//! What it is: [`AuditLog`], one redb file in the data directory with the newest [`ENTRIES_MAX`] entries, each of which carries a
//! hash over itself and the hash of the one before; and the look at all of it that finds whatever was edited, dropped or put
//! elsewhere. What it is not: no judge of what is to be written; that is the API's. It does not hide what it holds from the
//! owner of the data directory, and it cannot keep him from writing the whole log anew: who wants to find that out keeps the hash
//! of the last entry elsewhere, and compares.
//!
//! Invariants:
//! - An entry is durable when `append` returns.
//! - Numbers grow by one with each entry, over restarts too. The hash of each covers all before it.
//! - The log is bounded: each entry above the bound drops the oldest one, whose number and hash are kept, so that the chain begins
//!   at a known place.
//! - A damaged file never keeps a node from starting: it is moved aside, and a new chain begins.
//! - Calls block on the disk. On an async runtime they belong on a thread for blocking work.

mod chain;
mod error;
mod log;

pub use chain::hash_of;
pub use error::{AuditError, Result};
pub use log::{AuditLog, ENTRIES_MAX, NewEntry};
