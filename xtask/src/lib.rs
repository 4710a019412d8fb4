//! The tools around the product: checks of the code, tests of the finished binaries, the benchmark and the demo.
//!
//! What it is: the implementation of `cargo xtask ...`, as a library so that `tests/e2e` runs the same scenarios as
//! tests. What it is not: no part of the product. It links none of Quarry's crates and sees quarryd and quarry as a
//! user does: command line, REST, NBD. So a mistake in the product is never repeated in what judges it.
//!
//! Invariants:
//! - A scenario cleans up after itself, also when it fails: processes by their own id, mounts, loop devices, files.
//! - What is random follows from a seed that is printed.
//! - Everything listens on loopback or on a unix socket.
//!
//! Clocks, files, threads and processes are what this crate is about, so clippy's bans on them end here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod arrows;
pub mod bench;
pub mod command;
pub mod commands;
pub mod fuzz;
pub mod http;
pub mod instructions;
pub mod interrupt;
pub mod load;
pub mod machine;
pub mod mount;
pub mod nbd;
pub mod node;
pub mod oracle;
pub mod peer;
pub mod proxy;
pub mod quarry;
pub mod report;
pub mod s3;
pub mod sample;
pub mod scenario;
pub mod scratch;
pub mod server;
pub mod slow_device;
pub mod tgt;
pub mod tidy;
pub mod workspace;
