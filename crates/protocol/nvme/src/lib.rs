//! An NVMe controller over volumes: NVM Express Base 2.0, NVM command set 1.0, and the parts of NVMe over Fabrics that are
//! the same for every transport.
//!
//! What it is: [`Subsystem`], what a node shows and which controllers hosts have; [`AdminQueue`] and [`IoQueue`], which say
//! whether a command can be begun, which data it moves, and what comes of it. What it is not: no socket, no PDU, no data
//! transfer: a transport (`quarry-nvme-tcp`) brings commands and data and takes outcomes.
//!
//! # From a command to its completion
//!
//! ```text
//! admit(command)            refused at once, or a Transfer: what data goes which way
//! (the transport moves the data of the host here)
//! Work::begin_io / begin    asks the volume; Work::poll goes on
//! Outcome                   status, result, data for the host
//! ```
//!
//! # Invariants
//!
//! - A controller lives as long as its admin queue; its I/O queues end with it, wherever they are.
//! - Neither a reset nor a shutdown is over ([`property`]) before the last I/O queue has ended, so that no write of a host
//!   takes effect after its controller has said that it is quiet; a shutdown is over when all of them survive power loss.
//! - What a host sees is what `Access` shows it; a queue looks again when that has changed, at the price of one load of an
//!   atomic for each command.
//! - A namespace id never changes its volume behind the back of a host: where another export was given it, I/O is refused
//!   until the host has identified the namespace again.
//! - Everything that a host can make the controller keep is bounded ([`limits`]).
//! - A command is refused before its data is asked for, where that is possible. When it begins, it asks again whether its namespace
//!   and its rights are still the host's: the data may have been on its way for long.

mod admin;
mod connect;
mod controller;
mod events;
mod failure;
mod feature;
mod identify;
mod identity;
mod io;
pub mod limits;
mod log;
mod namespaces;
mod outcome;
pub mod property;
mod reservation;
mod subsystem;
mod transfer;
mod usage;
mod work;

pub use admin::{AdminQueue, Surroundings};
pub use connect::{ANY_CONTROLLER, Connect, Refused};
pub use controller::{Controller, Host, IoMember, Kind};
pub use failure::status_of;
pub use identity::{Identity, eui64, nguid};
pub use io::{Admitted, IoQueue, Request};
pub use outcome::Outcome;
pub use subsystem::{AdminMember, Opened, Subsystem};
pub use transfer::Transfer;
pub use work::Work;
