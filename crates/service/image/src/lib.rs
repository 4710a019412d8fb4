//! Image mode: a volume that lies on a device of somebody else, byte for byte.
//!
//! What it is: [`ImageVolume`], an implementation of `Volume` over one `Disk` of `env` (a file, a block device, an export of an
//! NBD server). Byte n of the volume is byte n of the device. What it is not: no pool, no checksums, no snapshots, no cache; it
//! finds no devices and remembers none.
//!
//! Invariants:
//! - **Nothing of ours is ever written to the device**: what is on it is what hosts wrote. Without Quarry it is as usable as before.
//! - A change that was begun ends, whatever becomes of whoever asked for it. Changes that overlap take effect one after another,
//!   in the order in which they were asked for, also those that were given up. So a write of less than a sector of the device,
//!   which reads, merges and writes, loses nothing of its neighbours.
//! - A write is answered when the device has answered it; a flush, and a write with FUA, when the device has flushed after it.
//! - After a flush that failed nobody knows what the device has kept: from then on it takes no change and no flush, until it is
//!   opened anew. Reads go on.
//! - What is discarded reads as zeroes: of a device that does not promise it, the range is read back, and what is not zero is
//!   written.
//! - With [`ImageOptions::changes_after`] no change is sent to the device before that time: what a process that was killed has sent
//!   may still be on its way to a device behind a network, which has no fence.

mod error;
mod image;
mod merge;
mod read;
mod zero;

pub use error::ImageError;
pub use image::{ImageOptions, ImageStats, ImageVolume};

#[cfg(test)]
mod tests;
