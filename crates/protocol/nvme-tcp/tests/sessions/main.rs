//! The real server over a world in memory: connecting, administration, I/O, bounds, and everything that hosts do wrong.

#[path = "../support/mod.rs"]
mod support;

mod administration;
mod bounds;
mod connecting;
mod fused;
mod model;
mod reservations;
mod robustness;
mod transfer;
mod verbs;
mod withdrawal;
