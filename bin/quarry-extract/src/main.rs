//! `quarry-extract`: what is on the devices of a pool, and any volume or snapshot of it as an image file.
//!
//! What it is: a second reader of the format that `docs/format` describes, for the day on which nothing else works: it needs the
//! device files or copies of them, and no daemon, no catalog, no network. What it is not: no part of the node. Of Quarry it uses
//! the encoding of structures alone (`quarry-format`); how logs are recovered and what records mean it says again, in its own
//! way, so that a mistake there is not repeated here. It repairs nothing.
//!
//! Invariants:
//! - Devices are opened for reading only, and nothing on them changes.
//! - Every byte that is written to an image has passed its checksum; what has not is reported, range by range, and the exit code
//!   is not 0.
//! - What a newer version has written is refused, never guessed at.
//! - Memory: the tables of all logs and what their tails have changed, tens of megabytes for a pool of terabytes; of a map one
//!   path of nodes at a time.
//!
//! Files are what this program is about, so clippy's bans on them end here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod arguments;
mod block;
mod code;
mod device;
mod extent;
mod image;
mod layers;
mod list;
mod log;
mod output;
mod pool;
mod qcow2;
mod segments;
mod state;
mod tail;
mod walk;
mod write;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};

use crate::arguments::{Arguments, Command};

/// Exit code when everything was had.
const WHOLE: u8 = 0;
/// Exit code when it could not be done.
const FAILED: u8 = 1;
/// Exit code when it was done, but something is missing or damaged. Wrong usage ends with 2.
const DAMAGED: u8 = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::List(list) => list::run(&list, arguments.output),
        Command::Write(write) => write::run(&write),
        Command::Man { folder } => man(&folder),
    };
    match done {
        Ok(true) => WHOLE.into(),
        Ok(false) => DAMAGED.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            FAILED.into()
        }
    }
}

/// Writes the manual pages: one for each command.
fn man(folder: &Path) -> anyhow::Result<bool> {
    quarry_manual::write_pages(Arguments::command(), "1", folder)
        .with_context(|| format!("cannot write manual pages into {}", folder.display()))?;
    Ok(true)
}
