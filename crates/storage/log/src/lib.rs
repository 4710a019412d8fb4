//! The log: an ordered stream of records with one owner, made of batches in segments.
//!
//! What it is: group commit ([`Log`]), segments and their succession, flushes, what happens when a device fails an append
//! or a flush, and recovery of the longest valid prefix ([`recover`]). What it is not: it does not know what a map is;
//! whoever implements [`Apply`] keeps volumes and liveness.
//!
//! Invariants:
//! - A record is applied and acknowledged only after its batch and every batch before it is on all copies of its segment
//!   that are in use; in log order, at run time as at recovery.
//! - So what a recovery finds is a prefix of what was ever applied, and holds at least all that was acknowledged.
//! - A segment is written by one incarnation, front to back. Its successor's header says where it ends; bytes beyond that
//!   never count.
//! - A flush that returns without an error covers every record that was acknowledged before it was asked for.
//! - After a failed append nothing more is written to that segment. After a flush that lost the only copy of something,
//!   the log serves nothing but reads.

mod apply;
mod builder;
mod error;
mod failure;
mod flush;
mod leave;
mod log;
mod payload;
mod publish;
mod recover;
mod seal;
mod segment_reader;
mod submit;

pub use apply::{Applied, Apply, StoredPiece};
pub use error::{LogError, RecoverError};
pub use log::{Appended, Log, LogStart};
pub use recover::{Recovered, recover};
pub use seal::Seal;
