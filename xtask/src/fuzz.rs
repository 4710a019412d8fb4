//! Fuzzing what reads bytes from devices and from hosts, with cargo-fuzz. Not part of `make test`: it has no end.
//!
//! What a target has found to be of interest lies in `fuzz/corpus`, which is no part of the project. Minimised, and in one archive a
//! target, it is kept in `fuzz/seeds`, from where every run begins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{command, workspace};

/// Every target, one file each in `fuzz/fuzz_targets`.
const TARGETS: [&str; 20] = [
    "anchor",
    "batch",
    "cache_disk",
    "chunk",
    "expand",
    "image",
    "iscsi_login",
    "iscsi_session",
    "iscsi_text",
    "label",
    "nbd_session",
    "node",
    "nvme_command",
    "nvme_pdu",
    "nvme_session",
    "packed",
    "parity",
    "scsi_command",
    "vhost_control",
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
    /// Minimise what is of interest now and keep it in fuzz/seeds
    #[arg(long)]
    pub keep: bool,
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
        unpack(target)?;
        let time = format!("-max_total_time={}", options.seconds);
        let status = cargo_fuzz(&["run", target, "--", "-max_len=8192", &time])?;
        ensure!(status.success(), "{target} has found something; the input is in fuzz/artifacts/{target}");
        if options.keep {
            let status = cargo_fuzz(&["cmin", target])?;
            ensure!(status.success(), "the corpus of {target} cannot be minimised");
            pack(target)?;
        }
    }
    Ok(())
}

fn cargo_fuzz(args: &[&str]) -> Result<std::process::ExitStatus> {
    let mut cargo = Command::new("cargo");
    // Sanitizers are not in the stable compiler's options; this lets it have them.
    cargo.current_dir(workspace::root()).env("RUSTC_BOOTSTRAP", "1").arg("fuzz");
    cargo.args(args).status().context("cargo fuzz")
}

fn corpus(target: &str) -> PathBuf {
    workspace::root().join("fuzz/corpus").join(target)
}

fn seeds(target: &str) -> PathBuf {
    workspace::root().join("fuzz/seeds").join(format!("{target}.tar.gz"))
}

/// Adds what is kept to the corpus.
fn unpack(target: &str) -> Result<()> {
    let (corpus, seeds) = (corpus(target), seeds(target));
    fs::create_dir_all(&corpus)?;
    if seeds.exists() {
        tar(&["--extract", "--gzip", "--skip-old-files"], &corpus, &seeds, &[])?;
    }
    Ok(())
}

/// Keeps the corpus. The same corpus makes the same archive.
fn pack(target: &str) -> Result<()> {
    let (corpus, seeds) = (corpus(target), seeds(target));
    fs::create_dir_all(seeds.parent().context("it lies in a folder")?)?;
    let nobody =
        ["--owner=0", "--group=0", "--numeric-owner", "--mode=u=rw,go=r", "--mtime=@0", "--sort=name"];
    let options = ["--create", "--gzip", "--no-recursion"];
    let mut names = Vec::new();
    for entry in fs::read_dir(&corpus)? {
        names.push(entry?.file_name().into_string().ok().context("libFuzzer names files in ASCII")?);
    }
    ensure!(!names.is_empty(), "{} is empty: there is nothing to keep", corpus.display());
    names.sort();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    tar(&[&options[..], &nobody].concat(), &corpus, &seeds, &names)
}

fn tar(options: &[&str], folder: &Path, archive: &Path, names: &[&str]) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(options).arg("--file").arg(archive).arg("--directory").arg(folder).arg("--").args(names);
    command::run(&mut tar).map(drop)
}
