//! The audit log of a node: who has changed what, and who was not let.
//!
//! What it is: [`AuditLog`], one redb file in the data directory with the newest [`ENTRIES_MAX`] entries, files of lines with older ones,
//! each entry with a hash over itself and the hash of the one before; a mark beside them that names the last entry; and the look at all of
//! it that finds whatever was edited, dropped, cut off or put elsewhere. What it is not: no judge of what is to be written, or of how
//! much one asker may write; that is the API's. It does not hide what it holds from the owner of the data directory, and it cannot keep
//! him from writing the whole log and its mark anew: who wants to find that out keeps the hash of the last entry elsewhere, and compares.
//!
//! Invariants:
//! - An entry is durable when `append` returns.
//! - Numbers grow by one with each entry, over restarts and lost logs too. The hash of each covers all before it.
//! - The log is bounded: the oldest entries above the bound go to a file, and the oldest file above its bound is dropped. The number and
//!   hash of the last entry that was dropped are kept, so that the chain begins at a known place.
//! - A damaged file never keeps a node from starting: it is moved aside, and the chain goes on behind the entry that the mark names. What
//!   is there then does not pass for the whole log: its first entry says what is missing, and so does each look at it.
//! - Calls block on the disk. On an async runtime they belong on a thread for blocking work.

mod archive;
mod chain;
mod entry;
mod error;
mod files;
mod log;
mod mark;
mod open;
mod verify;

pub use chain::hash_of;
pub use entry::NewEntry;
pub use error::{AuditError, Result};
pub use log::{AuditLog, ENTRIES_MAX};
pub use open::{Opened, Opening, Replaced, set_aside};
