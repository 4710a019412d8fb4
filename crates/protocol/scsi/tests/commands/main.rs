//! Commands as bytes against volumes in memory: what each does, and what it is refused for.

mod blocks;
mod identity;
mod nexuses;
mod sanitize;
mod support;
#[path = "../../../nbd/tests/support/volume.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod volume;
