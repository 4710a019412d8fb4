//! Sessions by the byte: what is answered, and what ends a session and nothing else.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests use sockets and threads"
)]

#[path = "../support/mod.rs"]
mod support;

mod data;
mod login;
mod management;
mod text;
mod time;
mod trouble;
