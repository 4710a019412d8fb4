//! The real server over a world in memory: negotiation, requests, bounds, and everything that clients do wrong.

#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod handshake;
mod model;
mod reservations;
mod robustness;
mod transmission;
