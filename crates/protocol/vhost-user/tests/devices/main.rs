//! The device as a driver and its machine see it: real cores and sockets, shared memory, the front end of crate `vhost`.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a machine has files and threads")]

#[path = "../support/mod.rs"]
mod support;

mod configuration;
mod malformed;
mod model;
mod reconnect;
mod requests;
mod robustness;
