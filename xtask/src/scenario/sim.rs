//! The simulator, built and run.

use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::workspace::{self, Profile};

/// Which seeds run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many seeds to run.
    #[arg(long, default_value_t = 300, conflicts_with = "seed")]
    pub seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    pub start: u64,
    /// Seeds that run at once.
    #[arg(long, default_value_t = 2)]
    pub jobs: u32,
    /// Replays this seed alone, with its trace.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Build that runs.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let bin_dir = workspace::build(options.profile, &["quarry-sim"])?;
    let mut command = Command::new(bin_dir.join("quarry-sim"));
    match options.seed {
        Some(seed) => command.args(["--seed", &seed.to_string()]),
        None => command.args([
            "--seeds",
            &options.seeds.to_string(),
            "--start",
            &options.start.to_string(),
            "--jobs",
            &options.jobs.to_string(),
        ]),
    };
    command::run_visibly(&mut command)
}
