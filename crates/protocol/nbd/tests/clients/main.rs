//! The server on real sockets, used by real clients: libnbd's and QEMU's tools must be installed.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests start programs and threads"
)]

#[path = "../support/mod.rs"]
mod support;

mod fixture;
mod nbdsh;
mod raw;
mod tls;
mod tools;
