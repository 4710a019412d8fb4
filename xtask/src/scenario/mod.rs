//! What the finished binaries must stand: each scenario starts its own node, puts it through one kind of trouble or
//! use, and cleans up.

pub mod access;
pub mod cache_disk;
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
pub mod object_tier;
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

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::oracle::{Load, LoadReport, Oracle};
use crate::report::seconds;

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

/// Ends a load that nothing may have disturbed: no request failed, no connection broke, nothing wrong was read, and nobody waited longer than
/// `stall_max`.
pub fn finish_undisturbed(load: Load, oracle: &Oracle, stall_max: Duration) -> Result<LoadReport> {
    let report = load.finish()?;
    require_no_failed_request(&report)?;
    ensure!(report.broken == 0, "{} connections broke: {}", report.broken, report.errors.join("; "));
    require_no_violation(oracle)?;
    let slowest = seconds(report.slowest);
    ensure!(report.slowest <= stall_max, "a request took {slowest}, more than {}", seconds(stall_max));
    Ok(report)
}

/// What came of such a load, for people.
pub fn summary(report: &LoadReport) -> String {
    format!(
        "{} writes acknowledged, {} reads judged, no error; the slowest request took {}",
        report.acknowledged,
        report.reads,
        seconds(report.slowest)
    )
}
