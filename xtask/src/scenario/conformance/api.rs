//! schemathesis over the OpenAPI document, authenticated: properties of every operation, and sequences of them.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::node::{self, Node, POOL};
use crate::report::Steps;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const DEVICE_BYTES: u64 = 2 << 30;

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The program; `pip install schemathesis` brings it
    #[arg(long, default_value = "schemathesis")]
    pub program: String,
    /// Examples for each operation
    #[arg(long, default_value_t = 25)]
    pub examples: u32,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it against a node of its own with one pool.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("conformance", "the REST API, by schemathesis");
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("conformance")?;
    require_space(scratch.path(), DEVICE_BYTES)?;
    let devices = scratch.devices(1, DEVICE_BYTES)?;
    let mut node = steps.step("start a node with a pool", || {
        let node = Node::start(node::options(&bin_dir, scratch.path()))?;
        node.quarry().create_pool(POOL, &devices, "copies:1")?;
        Ok(node)
    })?;
    let token = fs::read_to_string(scratch.join("data").join("admin.token")).context("the first token")?;
    let mut program = Command::new(&options.program);
    program.arg("run").arg(workspace::root().join("openapi/quarry.json"));
    program.args(["--url", &format!("http://{}", node.api())]);
    program.args(["--header", &format!("Authorization: Bearer {}", token.trim())]);
    program.args(["--max-examples", &options.examples.to_string()]);
    // These end the token itself; what looks into the machine's devices finds those of others; and a watch has no end.
    program.args(["--exclude-operation-id", "log_out", "--exclude-operation-id", "revoke_token"]);
    program.args([
        "--exclude-operation-id",
        "delete_user",
        "--exclude-operation-id",
        "scan_devices",
        "--exclude-operation-id",
        "watch",
    ]);
    steps.step("schemathesis", || command::run_visibly(&mut program))?;
    node.check_running()?;
    let verified = node.quarry().json(&["audit", "verify"])?;
    ensure!(verified["intact"] == true, "the audit log: {verified}");
    steps.step("stop", || node.stop())?;
    steps.pass();
    Ok(())
}
