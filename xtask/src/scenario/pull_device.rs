//! A device of a two-copy pool begins to fail under verified load: no host may notice.

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

/// Until the pool's state must show what has happened.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest that a request may take while the node gives the device up.
const STALL_MAX: Duration = Duration::from_secs(10);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Seconds of load before the device fails, and as many after.
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
    /// Size of each of the three devices in MiB.
    #[arg(long, default_value_t = 1024)]
    pub device_mib: u64,
    /// Size of the volume in MiB.
    #[arg(long, default_value_t = 256)]
    pub volume_mib: u64,
    /// Decides the requests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("pull-device", "one of three devices fails under load, two copies");
    command::require(&["nbdkit", "nbdfuse", "fusermount3"])?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("pull")?;
    let device_bytes = options.device_mib << 20;
    require_space(scratch.path(), 3 * device_bytes)?;
    let mut devices = scratch.devices(3, device_bytes)?;
    let faulty = FaultyDevice::new(&devices[1], scratch.path(), "faulty")?;
    devices[1] = faulty.path();
    let volume_bytes = options.volume_mib << 20;
    let mut node = steps.step("start, the second device behind nbdkit's error filter", || {
        node::start_with_volume(
            node::options(&bin_dir, scratch.path()),
            &devices,
            "copies:2",
            volume_bytes,
            &[],
        )
    })?;
    let oracle = Oracle::new(options.seed, 0..volume_bytes);
    steps.step("write the volume once", || oracle::write_all(&oracle, &node.socket(), VOLUME))?;
    under_load(options, &node, &oracle, &faulty, &mut steps)?;
    node.check_running()?;
    steps.step("verify everything on the remaining devices", || {
        oracle::verify(&oracle, &node.socket(), VOLUME, "after the device failed")?;
        require_no_violation(&oracle)
    })?;
    steps.step("kill and restart while the device still fails, verify again", || {
        node.kill()?;
        node.restart()?;
        oracle::verify(&oracle, &node.socket(), VOLUME, "after a restart without the device")?;
        require_no_violation(&oracle)
    })?;
    steps.step("the device is back with what it held when it failed; restart, verify again", || {
        node.kill()?;
        faulty.heal()?;
        node.restart()?;
        oracle::verify(&oracle, &node.socket(), VOLUME, "after the device came back")?;
        require_no_violation(&oracle)
    })?;
    // The node lets go of the device before it is unmounted.
    steps.step("stop", || node.stop())?;
    drop(node);
    drop(faulty);
    steps.pass();
    Ok(())
}

fn under_load(
    options: &Options,
    node: &Node,
    oracle: &Oracle,
    faulty: &FaultyDevice,
    steps: &mut Steps,
) -> Result<()> {
    let period = Duration::from_secs(options.seconds);
    let load_options = LoadOptions {
        access: Access::nbd(node.socket(), VOLUME),
        connections: 3,
        depth: 16,
        seed: options.seed,
        mix: Mix::default(),
    };
    let load = Load::start(oracle, &load_options)?;
    steps.step("load with all devices", || {
        sleep(period);
        Ok(())
    })?;
    steps.step("the device fails; the pool must say so", || {
        faulty.fail()?;
        wait_until_degraded(node)
    })?;
    steps.step("load with the device failing", || {
        sleep(period);
        Ok(())
    })?;
    let report = finish_undisturbed(load, oracle, STALL_MAX)?;
    steps.note(summary(&report));
    Ok(())
}

fn wait_until_degraded(node: &Node) -> Result<()> {
    let quarry = node.quarry();
    let start = Instant::now();
    loop {
        let state = quarry.pool_state(POOL)?;
        if state == "degraded" {
            break;
        }
        if start.elapsed() > NOTICE_TIMEOUT {
            bail!("the pool is still '{state}' {} after its device began to fail", seconds(NOTICE_TIMEOUT));
        }
        sleep(Duration::from_millis(50));
    }
    let status = quarry.json(&["status"])?;
    let level = status["health"]["level"].as_str().context("status shows no health")?;
    ensure!(level != "ok", "the node's health is 'ok' although a pool is degraded");
    Ok(())
}
