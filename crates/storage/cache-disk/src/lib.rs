//! The read cache on a disk: records that lie on slow devices, kept on a fast one for who reads them again.
//!
//! What it is: [`CacheDisk`], a disk of a node that all its logs share, divided into regions; and [`LogCache`], what one log has there, on its
//! own core. What it is not: it knows nothing of volumes or tiers, it never has the only copy of anything, and nobody has to wait for it.
//!
//! Invariants:
//! - What is kept no crash can take back: its address is before the position from which a recovery replays. So an address means the same
//!   for ever, and a region is as good in later lives of its log as in the one that wrote it.
//! - A region's table is written when its records are durable, and is gone durably before the region gets others. So whatever table is
//!   found after a crash speaks of what lies there.
//! - All that is read is compared with the checksum that the map has. What differs was never there: the devices are asked.
//! - A region goes to the next owner when the last reader has let go of it.
//! - One that does not answer costs a read [`READ_TIME_MAX`]; one that fails often is used no more.
//! - Memory: so many records as [`LogCache::set_budget`] says, and what waits to be written, a mebibyte at most.
//!
//! Each log fills one region at a time, from front to back, and the oldest region of all logs makes room for the next. What is read in the oldest
//! quarter of a log's regions is written again at the front, so what is read again stays. A record is kept when it is read for the second time within a while.

mod append;
mod directory;
mod error;
mod load;
mod log_cache;
mod open;
mod region;
#[cfg(test)]
mod tests;

pub use directory::Owner;
pub use error::CacheDiskError;
pub use log_cache::{Life, LogCache, Sought};
pub use open::{CacheDisk, CacheDiskStatus};
pub use region::READ_TIME_MAX;
