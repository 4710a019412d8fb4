//! Fuzzing what reads bytes from devices and from hosts, with cargo-fuzz. Not part of `make test`: it has no end.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

/// Every target, one file each in `fuzz/fuzz_targets`.
const TARGETS: [&str; 16] = [
    "anchor",
    "batch",
    "chunk",
    "expand",
    "image",
    "iscsi_login",
    "iscsi_session",
    "iscsi_text",
    "label",
    "node",
    "nvme_command",
    "nvme_pdu",
    "nvme_session",
    "packed",
    "scsi_command",
    "vhost_queue",
];

/// What is fuzzed for how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Targets; all of them when none is named.
    pub targets: Vec<String>,
    /// Seconds for each.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
}

/// Fuzzes one target after the other; fails with the first that finds something.
pub fn run(options: &Options) -> Result<()> {
    if let Some(unknown) = options.targets.iter().find(|target| !TARGETS.contains(&target.as_str())) {
        bail!("there is no target '{unknown}', but {}", TARGETS.join(", "));
    }
    let installed = Command::new("cargo").args(["fuzz", "--version"]).output().context("cargo")?;
    ensure!(installed.status.success(), "cargo-fuzz is not installed: `cargo install cargo-fuzz`");
    let wanted = |target: &str| options.targets.is_empty() || options.targets.iter().any(|one| one == target);
    for target in TARGETS.into_iter().filter(|target| wanted(target)) {
        println!("fuzz: {target}, {} s", options.seconds);
        let status = Command::new("cargo")
            .current_dir(workspace::root())
            // Sanitizers are not in the stable compiler's options; this lets it have them.
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["fuzz", "run", target, "--", "-max_len=8192"])
            .arg(format!("-max_total_time={}", options.seconds))
            .status()
            .context("cargo fuzz")?;
        ensure!(status.success(), "{target} has found something; the input is in fuzz/artifacts/{target}");
    }
    Ok(())
}
