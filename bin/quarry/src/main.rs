//! `quarry`, the command line of a node.
//!
//! What it is: each command is one call of the REST API, its answer as a table, as JSON or as YAML; only images, which travel
//! through this process, take several. What it is not: it holds no state and knows nothing that the node does not tell it.
//!
//! Invariants:
//! - Stdout carries the answer and nothing else; what went wrong goes to stderr.
//! - The exit code says what kind of thing went wrong, see [`failure::Exit`]; a reader that goes away early
//!   (`quarry volume list | head -1`) is no failure.
//! - Without a terminal nobody is asked anything; what somebody at a terminal is asked is in [`confirm`].

mod access;
mod arguments;
mod audit;
mod bundle;
mod commands;
mod confirm;
mod connect;
mod documents;
mod events;
mod exports;
mod failure;
mod forecasts;
mod freeing;
mod generate;
mod groups;
mod hosts;
mod images;
mod jobs;
mod keyring;
mod members;
mod migrations;
mod observe;
mod output;
mod policies;
mod progress;
mod qos;
mod rates;
mod rules;
mod secrets;
mod tables;
mod top;
mod values;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command, Format};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::tables::style::{self, Style};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    style::begin(Style {
        is_wide: arguments.output == Format::Wide,
        is_exact: arguments.exact,
        is_coloured: style::may_be_coloured(),
    });
    let mut output = Output::new(arguments.output);
    match run(arguments, &mut output) {
        Ok(()) => Exit::Success.into(),
        Err(failure) => {
            output::report(&failure);
            failure.exit.into()
        }
    }
}

fn run(arguments: Arguments, output: &mut Output) -> Result<(), Failure> {
    match &arguments.command {
        // They need no node.
        Command::Completions { shell } => return generate::completions(*shell),
        Command::Man { folder } => return generate::man(folder),
        _ => confirm::ask(&arguments)?,
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::local("cannot start", &error))?;
    runtime.block_on(commands::run(arguments, output))
}
