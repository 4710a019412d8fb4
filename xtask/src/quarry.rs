//! The product's command line, as a user runs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command;
use crate::load::{Fabric, Unit};

/// `quarry` with an endpoint.
#[derive(Clone, Debug)]
pub struct Quarry {
    program: PathBuf,
    endpoint: String,
}

impl Quarry {
    /// The `quarry` in `bin_dir`, talking to the node at `endpoint`.
    pub fn new(bin_dir: &Path, endpoint: &str) -> Self {
        Self { program: bin_dir.join("quarry"), endpoint: endpoint.to_owned() }
    }

    /// A command to which words are added.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("QUARRY_ENDPOINT", &self.endpoint);
        command
    }

    /// Runs `quarry ARGS...` and returns its stdout.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        command::run(self.command().args(args))
    }

    /// Runs `quarry -o json ARGS...` and reads its answer.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let text = command::run(self.command().args(["-o", "json"]).args(args))?;
        serde_json::from_str(&text)
            .with_context(|| format!("`quarry -o json {}` printed no JSON", args.join(" ")))
    }

    /// `pool create`.
    pub fn create_pool(&self, name: &str, devices: &[PathBuf], protection: &str) -> Result<()> {
        let mut command = self.command();
        command.args(["pool", "create", name, "--protection", protection]);
        for device in devices {
            command.arg("--device").arg(device);
        }
        command::run(&mut command).map(drop)
    }

    /// `volume create`.
    pub fn create_volume(&self, name: &str, pool: &str, size_bytes: u64, durability: &str) -> Result<()> {
        let size = size_bytes.to_string();
        self.run(&["volume", "create", name, "--pool", pool, "--size", &size, "--durability", durability])
            .map(drop)
    }

    /// `export create`: the URI, which is all that the command may print.
    pub fn create_export(&self, volume: &str) -> Result<String> {
        let printed = self.run(&["export", "create", volume, "--protocol", "nbd"])?;
        let uri = printed.trim();
        ensure!(
            uri.starts_with("nbd") && !uri.contains(char::is_whitespace),
            "`quarry export create` must print the URI and nothing else, but printed {printed:?}"
        );
        Ok(uri.to_owned())
    }

    /// `export create` over a fabric: where the volume then is.
    pub fn create_unit(&self, volume: &str, fabric: Fabric) -> Result<Unit> {
        Unit::parse(&self.run(&["export", "create", volume, "--protocol", fabric.name()])?)
    }

    /// `pool show`, as JSON.
    pub fn pool(&self, name: &str) -> Result<Value> {
        self.json(&["pool", "show", name])
    }

    /// The state of a pool: `online`, `degraded` or `offline`.
    pub fn pool_state(&self, name: &str) -> Result<String> {
        let pool = self.pool(name)?;
        let state = pool["state"].as_str().with_context(|| format!("pool {name} shows no state: {pool}"))?;
        Ok(state.to_owned())
    }
}
