//! What can be typed about documents of intended state, and about jobs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quarry_api_types::JobState;

use super::word;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  quarry apply -f site.yaml\n  quarry apply -f site/ --dry-run\n  quarry state export > site.yaml"
)]
pub struct ApplyCommand {
    /// YAML or JSON files, folders of such files, or - for standard input; together they are one document
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Only tell what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait until it is done; `quarry job wait` can do so later
    #[arg(long, conflicts_with = "dry_run")]
    pub no_wait: bool,
    /// Do not tell how far it is
    #[arg(long)]
    pub no_progress: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  quarry diff -f site/")]
pub struct DiffCommand {
    /// YAML or JSON files, folders of such files, or - for standard input; together they are one document
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum StateCommand {
    /// Write the whole intended state as a document that `quarry apply` takes: YAML, or JSON with -o json
    #[command(after_help = "Example:\n  quarry state export > site.yaml")]
    Export {
        /// With the version of each thing: applying it is refused when one has changed since
        #[arg(long)]
        versions: bool,
    },
}

#[derive(Subcommand, Debug)]
pub enum JobCommand {
    /// List what runs and what has ended, the oldest first
    #[command(after_help = "Example:\n  quarry job list --state running")]
    List {
        /// Only those in this state
        #[arg(long, value_parser = word(JobState::ALL, JobState::as_str))]
        state: Option<JobState>,
    },
    /// Show a job
    #[command(after_help = "Example:\n  quarry job show 17")]
    Show { id: u64 },
    /// End a job; what it has done stays
    #[command(after_help = "Example:\n  quarry job cancel 17")]
    Cancel { id: u64 },
    /// Wait until a job has ended, also over a restart of the node
    #[command(after_help = "Example:\n  quarry job wait 17")]
    Wait {
        id: u64,
        /// Do not tell how far it is
        #[arg(long)]
        no_progress: bool,
    },
}
