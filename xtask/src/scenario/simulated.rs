//! Benchmarks that need no node (a simulated world, or memory alone), built and run.

use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::workspace::{self, Profile};

/// What is handed to one.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Options of the benchmark, behind `--`; `-- --help` tells them.
    #[arg(last = true)]
    pub arguments: Vec<String>,
}

/// Runs `name`.
pub fn run(name: &str, options: &Options) -> Result<()> {
    let bin_dir = workspace::build(Profile::Release, &[name])?;
    command::run_visibly(Command::new(bin_dir.join(name)).args(&options.arguments))
}
