//! Where things are: the checkout, the build's output, and how the binaries get there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// The root of the checkout at work. Found when it runs, not when it is built: several checkouts may share a target folder,
/// and then this program too.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let mut starts = manifest.into_iter().chain(std::env::current_dir());
        starts
            .find_map(|start| start.ancestors().find(|folder| is_root(folder)).map(Path::to_owned))
            .unwrap_or_else(|| {
                Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_owned()
            })
    })
}

fn is_root(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|manifest| manifest.contains("[workspace]"))
        && folder.join("xtask").is_dir()
}

/// Where cargo puts what it builds, and where the tools put what they measure.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => root().join(dir),
        _ => root().join("target"),
    }
}

/// How the product is built for a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Profile {
    /// With overflow checks and debug assertions.
    Dev,
    /// As it is shipped.
    Release,
}

impl Profile {
    /// What `QUARRY_PROFILE` asks for, else `default`.
    pub fn from_env(default: Self) -> Self {
        match std::env::var("QUARRY_PROFILE").as_deref() {
            Ok("dev") => Self::Dev,
            Ok("release") => Self::Release,
            _ => default,
        }
    }

    fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Builds the binaries of `packages` and returns the folder that holds them. `QUARRY_BIN_DIR` names a folder of
/// finished ones instead.
pub fn build(profile: Profile, packages: &[&str]) -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("QUARRY_BIN_DIR").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir));
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).arg("build").arg("--quiet").env("CARGO_TARGET_DIR", target_dir());
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    for package in packages {
        cargo.args(["--package", package]);
    }
    let status = cargo.status().context("cargo does not start")?;
    if !status.success() {
        bail!("the build of {} failed", packages.join(" and "));
    }
    Ok(target_dir().join(profile.directory()))
}

/// The commit that is checked out, with a mark when files differ from it.
pub fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").current_dir(root()).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}+changes"),
    }
}
