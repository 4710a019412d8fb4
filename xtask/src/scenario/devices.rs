//! Devices fail, are replaced, join and leave, and the protection changes, under a verified load: no host may notice.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{finish_undisturbed, require_no_violation, summary};
use crate::command;
use crate::mount::FaultyDevice;
use crate::node::{self, Node, POOL, VOLUME};
use crate::oracle::{self, Access, Load, LoadOptions, Mix, Oracle};
use crate::report::{Steps, seconds};
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

/// Until a failed device's copies must have been made again.
const REBUILD_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest that a request may take.
const STALL_MAX: Duration = Duration::from_secs(10);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Devices at the beginning, two of which fail.
    #[arg(long, default_value_t = 8)]
    pub devices: usize,
    /// Size of each device in MiB.
    #[arg(long, default_value_t = 1024)]
    pub device_mib: u64,
    /// Size of the volume in MiB.
    #[arg(long, default_value_t = 1024)]
    pub volume_mib: u64,
    /// How the pool keeps what it holds; two devices fail at once if it allows that.
    #[arg(long, default_value = "copies:2")]
    pub protection: String,
    /// Decides the requests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin(
        "devices",
        &format!("devices fail, are replaced, join and leave under load, {}", options.protection),
    );
    command::require(&["nbdkit", "nbdfuse", "fusermount3"])?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("devices")?;
    let device_bytes = options.device_mib << 20;
    require_space(scratch.path(), (options.devices as u64 + 4) * device_bytes)?;
    let mut all = scratch.devices(options.devices + 4, device_bytes)?;
    let spare = all.split_off(options.devices);
    let faulty: Vec<FaultyDevice> = (0..2)
        .map(|index| FaultyDevice::new(&all[index], scratch.path(), &format!("faulty-{index}")))
        .collect::<Result<_>>()?;
    all.iter_mut().zip(&faulty).for_each(|(path, faulty)| *path = faulty.path());
    let volume_bytes = options.volume_mib << 20;
    let mut node = steps.step("start, the first two devices behind nbdkit's error filter", || {
        let node_options = node::options(&bin_dir, scratch.path());
        node::start_with_volume(node_options, &all, &options.protection, volume_bytes, &[])
    })?;
    let oracle = Oracle::new(options.seed, 0..volume_bytes);
    steps.step("write the volume once", || oracle::write_all(&oracle, &node.socket(), VOLUME))?;
    under_load(options, &node, &oracle, (&faulty, &all, &spare), &mut steps)?;
    node.check_running()?;
    steps.step("the devices that have left are closed", || {
        faulty.into_iter().try_for_each(FaultyDevice::unmount)
    })?;
    steps.step("kill the node while it drains a device; it goes on", || {
        device(&node, &["drain", POOL, text(&spare[2])?])?;
        node.kill()?;
        node.restart()?;
        wait(&node, |pool| member(pool, &spare[2]).is_some_and(|member| member["state"] == "drained"))
    })?;
    steps.step("verify everything", || {
        oracle::verify(&oracle, &node.socket(), VOLUME, "after all that")?;
        require_no_violation(&oracle)
    })?;
    steps.step("stop, and check the pool", || {
        node.stop()?;
        node.check()
    })?;
    steps.pass();
    Ok(())
}

/// The devices that will fail, all at the beginning, and those that join.
type Devices<'a> = (&'a [FaultyDevice], &'a [PathBuf], &'a [PathBuf]);

fn under_load(
    options: &Options,
    node: &Node,
    oracle: &Oracle,
    (faulty, all, spare): Devices<'_>,
    steps: &mut Steps,
) -> Result<()> {
    let load_options = LoadOptions {
        access: Access::nbd(node.socket(), VOLUME),
        connections: 2,
        depth: 8,
        seed: options.seed,
        mix: Mix::default(),
    };
    let load = Load::start(oracle, &load_options)?;
    let at_once = losses_tolerated(&options.protection)?.clamp(1, faulty.len());
    for some in faulty.chunks(at_once) {
        let what = if some.len() == 1 { "a device fails" } else { "two devices fail" };
        steps.step(format!("{what}; what they held is made elsewhere"), || {
            for faulty in some {
                faulty.fail()?;
                let path = faulty.path();
                wait(node, |pool| member(pool, &path).is_some_and(|member| member["state"] == "failed"))?;
            }
            wait(node, is_settled)
        })?;
    }
    for (faulty, new) in faulty.iter().zip(spare) {
        steps.step("a new device takes the place of a failed one", || {
            device(node, &["replace", POOL, text(&faulty.path())?, text(new)?, "--wait", "--no-progress"])
        })?;
    }
    for new in &spare[2..] {
        steps
            .step("a device joins", || device(node, &["add", POOL, text(new)?, "--wait", "--no-progress"]))?;
    }
    for old in &all[2..4] {
        steps.step("a device is drained and leaves", || {
            device(node, &["remove", POOL, text(old)?, "--wait", "--no-progress"])
        })?;
    }
    for protection in ["copies:3", &options.protection] {
        steps.step(format!("conversion to {protection}"), || {
            node.quarry().run(&["pool", "set", POOL, "--protection", protection])?;
            wait(node, is_settled)
        })?;
    }
    for protection in ["copies:3", "pool"] {
        steps.step(format!("the volume alone is kept otherwise: {protection}"), || {
            node.quarry().run(&["volume", "set", VOLUME, "--protection", protection])?;
            wait(node, is_settled)
        })?;
    }
    let report = finish_undisturbed(load, oracle, STALL_MAX)?;
    steps.note(summary(&report));
    let pool = node.quarry().pool(POOL)?;
    ensure!(pool["state"] == "online", "the pool is not online after all that: {}", pool["reasons"]);
    ensure!(member(&pool, &all[2]).is_none(), "{} has not left", all[2].display());
    Ok(())
}

/// How many devices a pool may lose: copies:N one less than N, ec:K+M as many as M.
fn losses_tolerated(protection: &str) -> Result<usize> {
    let of_code = protection.strip_prefix("ec:").and_then(|code| code.split_once('+')?.1.parse().ok());
    let of_copies = protection.strip_prefix("copies:").and_then(|copies| copies.parse::<usize>().ok());
    of_code.or(of_copies.map(|copies| copies.saturating_sub(1))).context("no protection, for example ec:4+2")
}

pub(super) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

pub(super) fn device(node: &Node, arguments: &[&str]) -> Result<()> {
    node.quarry().run(&[&["device"], arguments].concat()).map(drop)
}

pub(super) fn member<'a>(pool: &'a serde_json::Value, path: &Path) -> Option<&'a serde_json::Value> {
    pool["devices"].as_array()?.iter().find(|member| member["path"].as_str() == path.to_str())
}

fn is_settled(pool: &serde_json::Value) -> bool {
    pool["rebuild"]["chunks"] == 0
}

pub(super) fn wait(node: &Node, is_so: impl Fn(&serde_json::Value) -> bool) -> Result<()> {
    let (start, quarry) = (Instant::now(), node.quarry());
    loop {
        let pool = quarry.pool(POOL)?;
        if is_so(&pool) {
            return Ok(());
        }
        if start.elapsed() > REBUILD_TIMEOUT {
            bail!("not after {}: {pool:#}", seconds(REBUILD_TIMEOUT));
        }
        sleep(Duration::from_millis(100));
    }
}
