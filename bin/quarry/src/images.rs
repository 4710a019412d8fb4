//! Images in and out: `volume import` and `volume export-image`.
//!
//! The bytes travel between qemu-img, which runs beside this command and knows the formats, and an NBD export of the node.
//! What is under way has a name of its own (`NAME.import-…`, `FILE.partial`) and gets the name that was asked for when it is
//! whole; what fails or is interrupted is taken away again, with the export.

mod export;
mod import;
mod interrupt;
mod nbdkit;
mod probe;
mod qemu;
mod reach;
mod serve;
mod source;
mod target;

pub use export::run as export;
pub use import::run as import;

use std::hash::{BuildHasher, RandomState};

use crate::output::note;

/// Eight hexadecimal digits that no other run of this command has.
fn random_suffix() -> String {
    format!("{:08x}", RandomState::new().hash_one(std::process::id()) as u32)
}
