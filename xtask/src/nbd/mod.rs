//! A small NBD client of our own, over a unix socket, with many requests in flight.
//!
//! The wire is that of the NetworkBlockDevice project's `doc/proto.md`. It is written apart from the server's code on
//! purpose: a misreading of the protocol in one of them must not be confirmed by the other.

mod client;
mod handshake;
mod wire;

pub use client::{Client, Replies, Reply, Requests};
pub use handshake::ExportInfo;
pub use wire::{Command, ENOSPC, FLAG_FUA, FLAG_NO_HOLE};
