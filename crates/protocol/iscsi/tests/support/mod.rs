//! What the tests share.

#![allow(dead_code, reason = "not every test uses all of it")]

pub mod client;
pub mod node;
#[path = "../../../nbd/tests/support/volume.rs"]
pub mod volume;
pub mod world;
