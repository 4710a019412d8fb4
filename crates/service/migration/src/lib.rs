//! Moving a volume to another place while hosts use it: into a pool, out of one, or between two.
//!
//! What it is: [`Migration`], a volume over two volumes, the *source*, where the data is, and the *destination*, where it is going; and
//! [`Route`], the way from whoever serves a volume to where it is now. What it is not: it makes and deletes no volume, and
//! remembers nothing: whoever uses it writes down that a migration is under way, and which side counts after a restart.
//!
//! # Invariants
//!
//! - **The source is complete until the switch.** Every change that was answered is on it, reads come from it, flushes are its
//!   flushes. So a migration can be given up at any moment, by anybody, and a crash at any moment loses nothing: after it the
//!   source counts.
//! - **What has been copied is changed on both.** A change that touches bytes below the watermark [`Progress::copied_bytes`] is done
//!   on the destination too, and is answered when both have it. Changes that overlap are done one after another on both sides, in the
//!   order in which they were asked for; a change that was begun is ended on both sides, also when nobody waits for it any more.
//! - **What is being copied stands still**: the copy of a region has its turn among the changes of it.
//! - **Nothing is believed that was not compared.** After the copy, and anew after every restart, every byte is read from both sides
//!   and compared; what differs is copied again and read back. A restart needs no record of what was on its way, therefore: a
//!   change that had reached one side alone, or was lost by the cache of one, is found. The watermark of another life only saves
//!   writes.
//! - A change that the source has failed, whose range may hold anything, is compared anew. A change that the destination has failed ends
//!   the migration, not the change: hosts have the source.
//! - **The switch**: all changes end and new ones wait ([`Frozen`]); the destination is flushed; it is written down that the destination counts;
//!   then everything goes there. What waited goes there too, and no host sees more than a pause. Before that moment the destination
//!   does not count, after it the source does not.

mod changes;
mod copy;
mod error;
mod frozen;
mod migration;
mod pace;
mod route;
mod verify;

pub use error::MigrationError;
pub use frozen::Frozen;
pub use migration::{Migration, Options, Progress};
pub use route::Route;

#[cfg(test)]
mod tests;
