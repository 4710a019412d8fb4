//! The cleaner: makes whole chunks free by moving what still lives in them.
//!
//! What it is: the choice of victims ([`choose`]) and their relocation ([`Cleaner`]). It works through the segment table
//! alone: a record keeps its log address, so no map and no snapshot changes. What it is not: it does not decide when to
//! run, and it makes nothing durable; the caller commits an image afterwards, and only then are the victims free.
//!
//! Invariants:
//! - It touches no segment from the replay position on: recovery follows these by their batch headers.
//! - What lives according to the table is copied with its checksum. What turns out damaged on every copy keeps its stored
//!   checksum, so that it is never returned as right.
//! - The survivors of a run stay in order. Where a chunk is full the run goes on in the next one, so that chunks are filled
//!   whatever the size of the runs, and cleaning gains what has died.
//! - What is moved goes with data of like age into the same chunks.
//! - A packed chunk is written from front to back, over several rounds; what the durable image tells of is never
//!   overwritten, and a new table of the chunk counts only when it has been flushed.
//! - The table changes only after the new chunks have been flushed. A crash before the next image leaves everything as
//!   it was.

mod class;
mod cleaner;
mod contents;
mod copy;
mod output;
mod policy;
mod survivors;
mod victim;
mod window;

pub use cleaner::{Cleaner, Relocated, RoundTerms};
pub use contents::{LivePiece, contents, live_pieces, whole_contents};
pub use policy::{Order, Policy};
pub use victim::{Victim, choose, live_bytes_max};
