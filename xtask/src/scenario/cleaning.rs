//! The benchmark of cleaning, built and run.

use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::workspace::{self, Profile};

/// What is handed to it.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Options of `quarry-cleaning`, behind `--`; `-- --help` tells them.
    #[arg(last = true)]
    pub arguments: Vec<String>,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let bin_dir = workspace::build(Profile::Release, &["quarry-cleaning"])?;
    command::run_visibly(Command::new(bin_dir.join("quarry-cleaning")).args(&options.arguments))
}
