//! Buckets as disks: objects of an S3-compatible server that keep the contract of [`quarry_env::Disk`].
//!
//! What it is: [`with_objects`] gives an env in which paths such as `s3://cold/site-a?size=1TiB&endpoint=http://10.0.0.7:9000` name
//! disks: objects of fixed size, requests that are sent again while the server is away, a claim that stands for a lock. What it is not:
//! it does not know what is on the disk, it decides nothing about a device that fails, and it is no place for small writes: a part
//! of an object is written by reading and writing all of it.
//!
//! # Invariants
//!
//! - **A write that has completed is in the bucket**: nothing is kept back, so an end of the process loses nothing, and a flush has
//!   nothing to do.
//! - **Writes of one object follow each other.** One whose request was not answered may be carried out late; until
//!   [`limits::LATE_TIME_MAX`] after it nothing else is written there.
//! - **Nothing is written without the claim**, seen to be ours less than [`limits::LEASE_TIME`] ago ([`claim`], [`lease`]).
//! - An object that is not there is read as zeroes. That data is the right data is what the pool's checksums say: where an object
//!   has been lost, they tell.
//! - What is bounded: requests and their time, objects in memory ([`limits`]).

mod address;
mod bucket;
mod claim;
mod device;
mod disk;
mod disks;
mod lease;
pub mod limits;
mod places;
#[cfg(test)]
mod testing;

pub use address::{AddressError, BucketAddress};
pub use bucket::BucketStats;
pub use disks::with_objects;
pub use places::Buckets;
