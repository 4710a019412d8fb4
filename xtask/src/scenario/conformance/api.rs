//! schemathesis over the OpenAPI document, authenticated: properties of every operation, and sequences of them.

use std::fs;
use std::path::Path;
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
    /// The program; `make test-api` brings it
    #[arg(long, default_value = "schemathesis")]
    pub program: String,
    /// Examples for each operation
    #[arg(long, default_value_t = 25)]
    pub examples: u32,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// What the objects of the second round are called, each of its kind.
const NAME: &str = "demo";

/// Runs it against a node of its own with one pool: with whatever names it thinks of, and again with names that exist.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("conformance", "the REST API, by schemathesis");
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("conformance")?;
    require_space(scratch.path(), 2 * DEVICE_BYTES)?;
    let devices = scratch.devices(2, DEVICE_BYTES)?;
    let mut node = steps.step("start a node with a pool", || {
        let node = Node::start(node::options(&bin_dir, scratch.path()))?;
        node.quarry().create_pool(POOL, &devices[..1], "copies:1")?;
        Ok(node)
    })?;
    let token = fs::read_to_string(scratch.join("data").join("admin.token")).context("the first token")?;
    let config = scratch.join("schemathesis.toml");
    fs::write(&config, WATCHES)?;
    steps.step("schemathesis", || command::run_visibly(&mut program(options, &node, &token, &config)))?;
    node.check_running()?;
    steps.step("an object of each kind", || {
        let quarry = node.quarry();
        quarry.create_pool(NAME, &devices[1..], "copies:1")?;
        for words in OBJECTS {
            quarry.run(&words.split(' ').collect::<Vec<_>>())?;
        }
        Ok(())
    })?;
    let names = format!("[parameters]\n\"path.name\" = \"{NAME}\"\n\"path.snapshot\" = \"{NAME}\"\n");
    fs::write(&config, names + WITHOUT_LINKS + WATCHES)?;
    steps.step("schemathesis, of these", || {
        command::run_visibly(&mut program(options, &node, &token, &config))
    })?;
    node.check_running()?;
    let verified = node.quarry().json(&["audit", "verify"])?;
    ensure!(verified["intact"] == true, "the audit log: {verified}");
    steps.step("stop", || node.stop())?;
    steps.pass();
    Ok(())
}

/// Words to `quarry`, each of which makes an object called [`NAME`].
const OBJECTS: [&str; 7] = [
    "volume create demo --pool demo --size 64M",
    "snapshot create demo --name demo",
    "group create demo demo",
    "snapshot create demo --name later",
    "host create demo --initiator iqn.2026-01.example:demo",
    "policy create demo",
    "tenant create demo",
];

/// Names that are given take the place of those that links would bring.
const WITHOUT_LINKS: &str = "[phases.stateful]\nenabled = false\n";

/// A watch has no end: so much of it is looked at, and for so long.
const WATCHES: &str =
    "\n[[operations]]\ninclude-operation-id = \"watch\"\nmax-stream-events = 5\nrequest-timeout = 2\n";

fn program(options: &Options, node: &Node, token: &str, config: &Path) -> Command {
    let mut program = Command::new(&options.program);
    program.arg("--config-file").arg(config);
    program.arg("run").arg(workspace::root().join("openapi/quarry.json"));
    program.args(["--url", &format!("http://{}", node.api())]);
    program.args(["--header", &format!("Authorization: Bearer {}", token.trim())]);
    program.args(["--max-examples", &options.examples.to_string()]);
    // These end the token itself; and what looks into the machine's devices finds those of others.
    for operation in ["log_out", "revoke_token", "delete_user", "scan_devices"] {
        program.args(["--exclude-operation-id", operation]);
    }
    program
}
