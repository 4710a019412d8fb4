//! What the tests share: a volume in memory, a world without sockets, and a client that speaks raw bytes.

#![allow(dead_code, reason = "each test crate uses a part of it")]

pub mod client;
pub mod node;
pub mod protocol;
pub mod stage;
pub mod volume;
pub mod world;
