//! A folder of YAML brings an empty node to a whole site, while the node is killed again and again.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::node::{self, Node};
use crate::report::Steps;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const DEVICE_BYTES: u64 = 192 << 20;
const VOLUMES: usize = 20;
const TENANTS: [&str; 2] = ["acme", "zeta"];
/// So many that a node is killed before all of them are made.
const MANY_TENANTS: usize = 200;
const POOLS: [&str; 3] = ["one", "two", "three"];
/// Longest time in which a document gets on by a step.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Kill the node after each so many steps of the document.
    #[arg(long, default_value_t = 1)]
    pub every: u64,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps =
        Steps::begin("documents", "a node becomes what its document says, however often it is killed");
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("documents")?;
    require_space(scratch.path(), POOLS.len() as u64 * DEVICE_BYTES)?;
    let devices = scratch.devices(POOLS.len(), DEVICE_BYTES)?;
    let site = write_site(&scratch.join("site"), &devices)?;
    let node_options = node::NodeOptions { cores: Some(2), ..node::options(&bin_dir, scratch.path()) };
    let mut node = Node::start(node_options)?;
    steps.step("what would change is told, and nothing is changed", || look_first(&node, &site))?;
    let kills = steps.step(format!("kill -9 after each {} steps", options.every), || {
        kill_on_the_way(&mut node, &site, options.every)
    })?;
    steps.note(format!("killed {kills} times"));
    let ids = ids(&node)?;
    steps.step("everything is there, once", || {
        ensure!(ids.len() == VOLUMES + POLICIES.len() + POOLS.len(), "{} things", ids.len());
        let volumes = node.quarry().json(&["volume", "list"])?;
        ensure!(volumes.as_array().map(Vec::len) == Some(VOLUMES), "not {VOLUMES} volumes");
        let tenants = node.quarry().json(&["tenant", "list"])?;
        let of = |name: &str| tenants.as_array().and_then(|all| all.iter().find(|one| one["name"] == name));
        let (acme, zeta) = (of("acme").context("no acme")?, of("zeta").context("no zeta")?);
        ensure!(acme["volumes"] == 9 && acme["used_volumes"] == 1, "acme is {acme}");
        ensure!(zeta["qos"]["iops_max"] == 5000 && zeta["pools"][0] == "three", "zeta is {zeta}");
        Ok(())
    })?;
    steps.step("applying it again changes nothing", || {
        let told = node.quarry().run(&["apply", "-f", &site])?;
        ensure!(told.starts_with("Nothing to change"), "it changed something: {told}");
        ensure!(self::ids(&node)? == ids, "ids have changed");
        Ok(())
    })?;
    steps.step("policies are kept", || wait_until_compliant(&node))?;
    steps.step("a command that waits survives the node", || wait_over_a_kill(&mut node, &scratch))?;
    let tenants = steps.step("tenants that were made before a kill stay, and the others follow", || {
        kill_among_tenants(&mut node, &scratch)
    })?;
    steps.note(format!("killed after {tenants} of {MANY_TENANTS} tenants"));
    steps.step("what is exported is the document, on the restarted node too", || {
        let exported = scratch.join("exported.yaml");
        fs::write(&exported, node.quarry().run(&["state", "export", "--versions"])?)?;
        node.kill()?;
        node.restart()?;
        let told = node.quarry().run(&["diff", "-f", &exported.display().to_string()])?;
        ensure!(told.starts_with("Nothing to change"), "it differs: {told}");
        Ok(())
    })?;
    node.check_running()?;
    steps.step("stop", || node.stop())?;
    steps.pass();
    Ok(())
}

const POLICIES: [&str; 5] = [
    "compression: lz4",
    "durability: always\n      snapshots: {rules: [{every: 15m, keep: 96}, {every: 1h, keep: 168}]}",
    "history_s: 10m",
    "quota_bytes: 2MiB",
    "snapshots: {time_zone: Europe/Berlin, rules: [{every: 1d, at: 02:30, keep: 30}]}",
];

/// A folder with a file for each sort of thing.
fn write_site(folder: &Path, devices: &[PathBuf]) -> Result<String> {
    fs::create_dir_all(folder)?;
    let mut pools = "pools:\n".to_owned();
    for (pool, device) in POOLS.iter().zip(devices) {
        writeln!(pools, "  - {{name: {pool}, devices: [{}], warning_percent: 70}}", device.display())?;
    }
    let mut policies = "policies:\n".to_owned();
    for (number, settings) in POLICIES.iter().enumerate() {
        writeln!(policies, "  - name: policy-{number}\n    settings:\n      {settings}")?;
    }
    let mut volumes = "volumes:\n".to_owned();
    for number in 0..VOLUMES {
        let (pool, policy) = (POOLS[number % POOLS.len()], number % POLICIES.len());
        let name = volume_name(number);
        writeln!(
            volumes,
            "  - name: {name}\n    pool: {pool}\n    size_bytes: 4MiB\n    policy: policy-{policy}"
        )?;
    }
    let tenants = "tenants:\n  - {name: acme, pools: [one, two], shares: [{pool: one, capacity_bytes: 64MiB}], capacity_bytes: 1GiB, volumes: 9}\n\
        \x20 - {name: zeta, pools: [three], qos: {iops_max: 5000}}\n";
    let rest = "groups:\n  - {name: shop, volumes: [vm-01, vm-04], policy: policy-4}\n\
        hosts:\n  - {name: web, initiators: [\"iqn.1993-08.org.debian:01:web\"]}\nhost_groups:\n  - {name: farm, hosts: [web]}\n\
        exports:\n  - {volume: vm-00, protocol: nbd}\n  - {volume: vm-01, protocol: nbd}\n";
    for (file, text) in [
        ("tenants.yaml", tenants),
        ("pools.yaml", pools.as_str()),
        ("policies.yaml", &policies),
        ("volumes.yml", &volumes),
        ("rest.yaml", rest),
    ] {
        fs::write(folder.join(file), text)?;
    }
    Ok(folder.display().to_string())
}

fn look_first(node: &Node, site: &str) -> Result<()> {
    let told = node.quarry().run(&["apply", "-f", site, "--dry-run"])?;
    ensure!(told == node.quarry().run(&["diff", "-f", site])?, "diff and --dry-run differ");
    ensure!(told.lines().count() > VOLUMES + POLICIES.len() + POOLS.len(), "too little: {told}");
    ensure!(node.quarry().json(&["pool", "list"])?.as_array().is_some_and(Vec::is_empty), "it made a pool");
    Ok(())
}

/// Kills the node each time that its job has got on by so many steps.
fn kill_on_the_way(node: &mut Node, site: &str, every: u64) -> Result<u64> {
    let job = node.quarry().json(&["apply", "-f", site, "--no-wait"])?;
    let id = job["id"].as_u64().context("no job")?.to_string();
    let mut kills = 0;
    loop {
        let begun = node.quarry().json(&["job", "show", &id])?["done"].as_u64().unwrap_or(0);
        let started = Instant::now();
        loop {
            let job = node.quarry().json(&["job", "show", &id])?;
            match job["state"].as_str() {
                Some("done") => return Ok(kills),
                Some("running") => {}
                other => anyhow::bail!("the job is {other:?}: {}", job["message"]),
            }
            if job["done"].as_u64().unwrap_or(0) >= begun + every {
                break;
            }
            ensure!(started.elapsed() < STEP_TIMEOUT, "it does not get on: {job}");
        }
        node.kill()?;
        node.restart()?;
        kills += 1;
    }
}

fn ids(node: &Node) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for list in [["volume", "list"], ["policy", "list"], ["pool", "list"]] {
        let listed = node.quarry().json(&list)?;
        let found = listed.as_array().context("no list")?.iter().filter_map(|one| one["id"].as_str());
        all.extend(found.map(str::to_owned));
    }
    Ok(all)
}

/// The last ones belong to tenants.
fn volume_name(number: usize) -> String {
    match (number + TENANTS.len()).checked_sub(VOLUMES) {
        Some(tenant) => format!("{}.vm-{number:02}", TENANTS[tenant]),
        None => format!("vm-{number:02}"),
    }
}

fn wait_until_compliant(node: &Node) -> Result<()> {
    let started = Instant::now();
    for number in 0..VOLUMES {
        let name = volume_name(number);
        loop {
            let why = node.quarry().json(&["why", "volume", &name])?;
            if why["state"] == "compliant" {
                break;
            }
            ensure!(started.elapsed() < STEP_TIMEOUT, "{name} is not as it is meant to be: {why}");
            sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}

/// `quarry apply` waits while the node is killed and started again.
fn wait_over_a_kill(node: &mut Node, scratch: &Scratch) -> Result<()> {
    let more = scratch.join("more.yaml");
    let mut text = "volumes:\n".to_owned();
    for number in 0..VOLUMES {
        writeln!(text, "  - {{name: more-{number:02}, pool: one, size_bytes: 1MiB}}")?;
    }
    fs::write(&more, text)?;
    let mut apply = node.quarry().command();
    apply.args(["apply", "--no-progress", "-f"]).arg(&more).stdout(Stdio::null()).stderr(Stdio::null());
    let mut apply = apply.spawn().context("quarry apply")?;
    let started = Instant::now();
    while node.quarry().run(&["volume", "show", "more-02"]).is_err() {
        ensure!(started.elapsed() < STEP_TIMEOUT, "nothing is made");
    }
    node.kill()?;
    node.restart()?;
    ensure!(apply.wait()?.success(), "the command that waited failed");
    node.quarry().run(&["volume", "show", &format!("more-{:02}", VOLUMES - 1)]).map(drop)
}

/// Kills the node while it makes the tenants of a document; gives how many there were shortly before.
fn kill_among_tenants(node: &mut Node, scratch: &Scratch) -> Result<usize> {
    let tenants = |node: &Node| -> Result<usize> {
        let listed = node.quarry().json(&["tenant", "list"])?;
        Ok(listed.as_array().context("no list")?.len() - TENANTS.len())
    };
    let file = scratch.join("tenants.yaml").display().to_string();
    let mut text = "tenants:\n".to_owned();
    for number in 0..MANY_TENANTS {
        writeln!(text, "  - {{name: many-{number:03}, pools: [one], volumes: 2}}")?;
    }
    fs::write(&file, text)?;
    let job = node.quarry().json(&["apply", "-f", &file, "--no-wait"])?;
    let started = Instant::now();
    let made = loop {
        match tenants(node)? {
            0 => ensure!(started.elapsed() < STEP_TIMEOUT, "no tenant is made"),
            made => break made,
        }
    };
    node.kill()?;
    ensure!(made < MANY_TENANTS, "all tenants were made before the node was killed");
    node.restart()?;
    node.quarry().run(&["job", "wait", &job["id"].to_string()])?;
    let all = tenants(node)?;
    ensure!(all == MANY_TENANTS, "{all} of {MANY_TENANTS} tenants are there");
    let again = node.quarry().run(&["apply", "-f", &file])?;
    ensure!(again.starts_with("Nothing to change"), "it changed something: {again}");
    Ok(made)
}
