//! Who may use the API of a real node: found without typing on the machine itself, asked everywhere else, and remembered over kills.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::node::{self, Node, POOL};
use crate::quarry::Quarry;
use crate::report::Steps;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const DEVICE_BYTES: u64 = 512 << 20;
/// How often the node is killed while tenants and tokens are made.
const KILLS: u32 = 4;

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "dev")]
    pub profile: Profile,
}

/// Runs the scenario.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("access", "tokens, roles, tenants, TLS and the audit log of a real node");
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("access")?;
    require_space(scratch.path(), DEVICE_BYTES)?;
    let devices = scratch.devices(1, DEVICE_BYTES)?;
    let mut node = steps.step("start two nodes; each is found by its port, without a token", || {
        let node = Node::start(node::options(&bin_dir, scratch.path()))?;
        node.quarry().create_pool(POOL, &devices, "copies:1")?;
        found(&node, &bin_dir, &scratch)?;
        Ok(node)
    })?;
    let data = scratch.join("data");
    steps.step("the files are their owner's alone, and open nothing to others", || closed(&node, &data))?;
    steps.step("TLS with the node's authority, at the same port", || encrypted(&node, &data))?;
    steps.step_with(
        format!("kill -9 while tokens and tenants are made, {KILLS} times: what was answered is there, the log is whole"),
        || killed(&mut node),
        |made| format!("{made} tenants were made"),
    )?;
    steps.step("a new admin token for who has lost his", || lost(&mut node, &bin_dir, &data))?;
    steps.step("stop", || node.stop())?;
    steps.pass();
    Ok(())
}

fn found(node: &Node, bin_dir: &Path, scratch: &Scratch) -> Result<()> {
    let folder = scratch.join("other");
    fs::create_dir(&folder)?;
    let mut other = Node::start(node::options(bin_dir, &folder))?;
    for node in [node, &other] {
        let shown = node.quarry().json(&["whoami"])?;
        ensure!(shown["role"] == "admin", "the finder of the token is {shown}");
    }
    let (ours, theirs) = (node.quarry().json(&["token", "list"])?, other.quarry().json(&["token", "list"])?);
    ensure!(ours[0]["id"] != theirs[0]["id"], "both nodes have one token");
    other.stop()
}

/// `quarry` of somebody who finds nothing.
fn stranger(node: &Node) -> Command {
    let mut command = node.quarry().command();
    command.env("QUARRY_DATA_DIR", "/nonexistent").env("HOME", "/nonexistent");
    command
}

fn closed(node: &Node, data: &Path) -> Result<()> {
    for name in ["admin.token", "api-ca.pem", "api-ca.key", "access.redb", "audit.redb"] {
        let mode =
            fs::metadata(data.join(name)).with_context(|| name.to_owned())?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{name} has the mode {mode:o}");
    }
    let refused = command::output(stranger(node).args(["pool", "list"]))?;
    ensure!(refused.status.code() == Some(7), "a stranger is answered with {}", refused.status);
    ensure!(node.page_without_token("/metrics")?.starts_with("HTTP/1.1 401 "), "/metrics is open");
    ensure!(node.metrics()?.contains("quarry_api_refused_total"), "no figures with a token");
    let health = node.page_without_token("/v1/health")?;
    ensure!(health.starts_with("HTTP/1.1 200 ") && health.contains("\"causes\":[]"), "{health}");
    let token = fs::read_to_string(data.join("admin.token"))?;
    let log = fs::read_to_string(node.log_path())?;
    ensure!(!log.contains(token.trim()) && log.contains("SHA-256 fingerprint"), "the log:\n{log}");
    Ok(())
}

fn encrypted(node: &Node, data: &Path) -> Result<()> {
    let endpoint = format!("https://{}", node.api());
    let mut known = stranger(node);
    known.args(["--endpoint", &endpoint, "--token-file"]).arg(data.join("admin.token"));
    known.arg("--ca-file").arg(data.join("api-ca.pem")).arg("whoami");
    ensure!(command::run(&mut known)?.contains("admin"), "not the admin");
    let mut unknown = stranger(node);
    unknown.args(["--endpoint", &endpoint, "whoami"]);
    let refused = command::output(&mut unknown)?;
    ensure!(
        refused.status.code() == Some(5),
        "without its authority the node was believed: {}",
        refused.status
    );
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(said.contains("--ca-file"), "what to do about its certificate is not said: {said}");
    Ok(())
}

/// Makes tenants until the node is gone; the names of those that were answered.
fn make_tenants(quarry: &Quarry, round: u32, is_over: &AtomicBool) -> Vec<String> {
    let mut made = Vec::new();
    for number in 0.. {
        let name = format!("t{round}-{number}");
        if quarry.run(&["tenant", "create", &name, "--pool", POOL]).is_ok() {
            made.push(name);
        }
        if is_over.load(Ordering::Relaxed) {
            break;
        }
    }
    made
}

fn killed(node: &mut Node) -> Result<usize> {
    let mut made = Vec::new();
    for round in 0..KILLS {
        let (quarry, is_over) = (node.quarry(), AtomicBool::new(false));
        let answered = thread::scope(|scope| {
            let making = scope.spawn(|| make_tenants(&quarry, round, &is_over));
            thread::sleep(std::time::Duration::from_millis(400 + 130 * u64::from(round)));
            let killed = node.kill();
            is_over.store(true, Ordering::Relaxed);
            killed.map(|()| making.join().unwrap_or_default())
        })?;
        made.extend(answered);
        node.restart()?;
        let verified = node.quarry().json(&["audit", "verify"])?;
        ensure!(verified["intact"] == true, "the audit log after a kill: {verified}");
    }
    let (tenants, log) = (node.quarry().json(&["tenant", "list"])?, node.quarry().run(&["audit", "export"])?);
    for name in &made {
        let is_there =
            tenants.as_array().is_some_and(|all| all.iter().any(|tenant| tenant["name"] == name.as_str()));
        ensure!(is_there, "tenant {name} was answered and is gone");
        let ended = log
            .lines()
            .any(|line| line.contains("\"ended\"") && line.contains(&format!("\"object\":\"{name}\"")));
        ensure!(ended, "the log does not tell of tenant {name}");
    }
    Ok(made.len())
}

fn lost(node: &mut Node, bin_dir: &Path, data: &Path) -> Result<()> {
    let id = node.quarry().json(&["whoami"])?["token"].as_str().context("no token")?.to_owned();
    node.quarry().run(&["token", "revoke", &id])?;
    ensure!(node.quarry().run(&["whoami"]).is_err(), "a token that was revoked is taken");
    let program: PathBuf = bin_dir.join("quarryd");
    let again = || {
        let mut command = Command::new(&program);
        command.arg("new-admin-token").arg("--data-dir").arg(data);
        command
    };
    let refused = command::output(&mut again())?;
    ensure!(!refused.status.success(), "it was made under a node that runs");
    node.stop()?;
    node.restart()?;
    ensure!(node.quarry().run(&["whoami"]).is_err(), "a restart has brought a revoked token back");
    node.stop()?;
    command::run(&mut again())?;
    node.restart()?;
    ensure!(node.quarry().json(&["whoami"])?["role"] == "admin", "the new token is not the admin's");
    ensure!(node.quarry().json(&["audit", "verify"])?["intact"] == true, "the audit log");
    Ok(())
}
