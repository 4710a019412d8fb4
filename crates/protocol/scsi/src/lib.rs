//! A SCSI device server: volumes as logical units, for any transport that carries SCSI commands.
//!
//! What it is: SPC-4 and SBC-3 with much of their successors, for thin disks of 512-byte blocks: commands as bytes in, status,
//! sense data and data out. What it is not: no transport (`quarry-iscsi` is one), no queue of tasks, no storage.
//!
//! # How a transport uses it
//!
//! ```text
//! one on each core:   let node = Node { access, fabric, volumes, units, buffers };     units: one for all cores
//! for each initiator: let nexus = Nexus::new(node, identity, port);
//! for each command:   match nexus.accept(lun, &cdb, out_bytes) {
//!                         Answered(reply) => ..., Task(task) => collect task.out_bytes(), then task.perform(data).await
//!                     }
//! when it is woken:   nexus.signal().take(waker), then unit.take_aborts() and unit.take_settles() of each of nexus.units()
//! ```
//!
//! # Where things are
//!
//! `command` leads from a descriptor block to an answer; the families of commands each have a file: `read_write`, `verify`,
//! `provision`, `compare`, `medium`, `sanitize`, `capacity`, `identify` with `vpd`, `mode`, `reserve`, `report`, `copy`. `supported` is the table
//! of all commands. `nexus` is what one initiator sees, `unit` a unit of it, `shared` what all nexuses share of a unit,
//! `attention` what they are told. `course` is how a command that works in steps is stopped.
//!
//! # Invariants
//!
//! - A command is checked completely before data is asked for: reservations, write protection, its range, its fields. Those of them
//!   that others can change are checked again when the data is there ([`Task::objection`]), with whether the unit is still there.
//! - A command of many steps ends before its next one when its [`Course`] is stopped, and a copy when it may not write any more.
//! - Of data that is shorter than a command says, whole blocks are written and nothing else; commands that need all of it fail.
//! - What a command takes of memory is bounded by [`limits`]; no input makes the server panic.
//! - What an initiator is told of the identity of a unit follows from the id of its volume, and never changes.

mod attention;
mod capacity;
mod cdb;
mod command;
mod compare;
mod copy;
mod course;
mod identify;
pub mod limits;
mod lun;
mod medium;
mod missing;
mod mode;
mod nexus;
mod provision;
mod read_write;
mod reply;
mod report;
mod reserve;
mod sanitize;
mod sanitizing;
mod sense;
mod shared;
mod status;
mod supported;
mod threshold;
mod unit;
mod verify;
mod vpd;

pub use attention::Signal;
pub use cdb::{CDB_BYTES, Cdb};
pub use command::{Accepted, Kind, Task};
pub use course::Course;
pub use lun::Lun;
pub use nexus::{Identity, Nexus, Node, Port};
pub use reply::Reply;
pub use sense::{Code, FIXED_BYTES, Key, Sense};
pub use shared::Units;
pub use status::{Status, sense_of};
pub use supported::opcode;
pub use threshold::SoftThreshold;
pub use unit::Unit;
pub use vpd::{naa, serial};
