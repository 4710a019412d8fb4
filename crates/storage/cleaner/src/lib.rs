//! The cleaner: makes whole chunks free by moving what still lives in them.
//!
//! What it is: the choice of victims ([`choose`]) and their relocation ([`relocate`]). It works through the segment table
//! alone: a record keeps its log address, so no map and no snapshot changes. What it is not: it does not decide when to
//! run, and it makes nothing durable; the caller commits an image afterwards, and only then are the victims free.
//!
//! Invariants:
//! - It touches no segment from the replay position on: recovery follows these by their batch headers.
//! - What lives according to the table is copied with its checksum. What turns out damaged on every copy keeps its stored
//!   checksum, so that it is never returned as right.
//! - The survivors of one segment form one run, in order.
//! - The table changes only after the new chunks have been flushed. A crash before the next image leaves everything as
//!   it was.

mod output;
mod relocate;
mod survivors;
mod victim;

pub use relocate::{Relocated, relocate};
pub use victim::{Victim, choose};
