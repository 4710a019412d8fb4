//! Other people's conformance suites against the product.

pub mod api;
pub mod iscsi;

use anyhow::Result;

/// What is tried.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Protocol {
    /// libiscsi's suite, one process a test: against a node of its own, or against a target that runs
    Iscsi(iscsi::Options),
    /// schemathesis over the OpenAPI document, against a node of its own
    Api(api::Options),
}

/// Runs it.
pub fn run(protocol: &Protocol) -> Result<()> {
    match protocol {
        Protocol::Iscsi(options) => iscsi::run(options),
        Protocol::Api(options) => api::run(options),
    }
}
