//! What the finished binaries must stand: each scenario starts its own node, puts it through one kind of trouble or
//! use, and cleans up.

pub mod access;
pub mod clients;
pub mod conformance;
pub mod crash;
pub mod demo;
pub mod devices;
pub mod documents;
pub mod encryption;
pub mod extract;
pub mod filesystems;
pub mod fill;
pub mod guest;
pub mod hang_device;
pub mod image_mode;
pub mod images;
pub mod metrics;
pub mod network_device;
pub mod protection;
pub mod pull_device;
pub mod qos;
pub mod rebuild;
pub mod restart;
pub mod run;
pub mod sessions;
pub mod sim;
pub mod simulated;
pub mod snapshots;
pub mod tiering;
pub mod volumes;

use anyhow::{Result, bail};

use crate::oracle::{LoadReport, Oracle};

/// Fails, and says what was found, when the oracle has found anything wrong.
pub fn require_no_violation(oracle: &Oracle) -> Result<()> {
    let model = oracle.model();
    let (violations, count) = model.violations();
    if count == 0 {
        return Ok(());
    }
    for violation in violations {
        eprintln!("{violation}");
    }
    bail!("{count} blocks hold what they must not (the first {} are shown above)", violations.len());
}

/// Fails when a request of the load was answered with an error.
pub fn require_no_failed_request(report: &LoadReport) -> Result<()> {
    if report.failed > 0 {
        bail!("{} requests failed: {}", report.failed, report.errors.join("; "));
    }
    Ok(())
}
