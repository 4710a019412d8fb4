//! Latencies in buckets: cheap to count on the core where they arise, and exact to add up elsewhere.
//!
//! What it is: [`Histogram`], which counts on one core without locks and without allocating; [`Distribution`], what it has counted
//! so far, which can be sent, added, subtracted and asked for quantiles. What it is not: it reads no clock and knows nothing of
//! what took so long.
//!
//! Invariants:
//! - Buckets are log-linear: four to each doubling, so that a bound is never more than a quarter above the one before. They are the
//!   same everywhere, so distributions of any cores and times add up without loss.
//! - Powers of two, in microseconds, are bounds of buckets: what is below one of them is known exactly.

mod bucket;
mod distribution;
mod histogram;

pub use bucket::{BUCKETS, bucket_of, lower_bound_us};
pub use distribution::Distribution;
pub use histogram::Histogram;
