//! Other people's conformance suites against the product.

pub mod iscsi;

use anyhow::Result;

/// What is tried.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Protocol {
    /// libiscsi's suite, one process a test: against a node of its own, or against a target that runs
    Iscsi(iscsi::Options),
}

/// Runs it.
pub fn run(protocol: &Protocol) -> Result<()> {
    match protocol {
        Protocol::Iscsi(options) => iscsi::run(options),
    }
}
