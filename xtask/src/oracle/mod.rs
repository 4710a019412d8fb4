//! The oracle: a client that knows what every sector of a volume may hold, whatever happens to the server.
//!
//! Each write carries its own version number in every sector, beside the sector's number, the run's seed and a
//! checksum ([`content`]). The [`model`] keeps, for each sector, the version that was acknowledged last and every one
//! whose outcome is open: in flight when the server died, or overlapping another in time. [`load`] drives connections
//! with many requests in flight; [`verify`] reads everything and compares.
//!
//! The rules that it holds a server to:
//! - an acknowledged write is there, until something that was sent after its acknowledgement replaces it;
//! - an unacknowledged write is there or not, but whole in each 4 KiB block that it covers entirely (a block covered in
//!   part may hold it in some sectors only);
//! - writes that overlap in time take effect in some order, block by block;
//! - what a read has shown, with nothing else under way, stays.

mod content;
mod fabric;
mod load;
mod model;
mod pending;
mod plan;
#[cfg(test)]
mod tests;
mod verify;

pub use content::Content;
pub use load::{Access, Load, LoadOptions, LoadReport};
pub use model::{Effect, Model, Oracle, Violation};
pub use plan::Mix;
pub use verify::{Filled, VerifyReport, verify, write_all, write_until_refused};
