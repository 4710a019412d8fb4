//! What the tests share: a stage, a world with a server on it, and an initiator.

#![allow(dead_code, reason = "each test crate uses a part of it")]

pub mod host;
pub mod initiator;
#[path = "../../../nbd/tests/support/stage.rs"]
pub mod stage;
#[path = "../../../nbd/tests/support/volume.rs"]
pub mod volume;
pub mod world;
