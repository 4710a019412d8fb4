//! A device of a two-copy pool hangs under verified load, and goes on later: hosts wait no longer than the bound, what lands late harms
//! nothing, and the device is used again by itself.
//!
//! The device is a file in a FUSE file system; the server behind it is stopped (SIGSTOP), so that reads and writes of the file
//! neither succeed nor fail, and cannot be cancelled.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{finish_undisturbed, require_no_violation, summary};
use crate::command;
use crate::mount::FaultyDevice;
use crate::node::{self, Node, NodeOptions, POOL, VOLUME};
use crate::oracle::{self, Access, Load, LoadOptions, Mix, Oracle};
use crate::report::{Steps, seconds};
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

/// Until an event tells of what `quarry device show` shows.
const EVENT_TIMEOUT: Duration = Duration::from_secs(15);
/// What a host may wait beyond the bound: the looks at devices, and what was queued.
const STALL_EXTRA: Duration = Duration::from_secs(4);
/// Until a device that answers again is used: it must answer for 30 s, and then gets what it has missed.
const RETURN_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Seconds of load before the device hangs, and as many while it does, once it is out of use.
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
    /// `--device-timeout` of the node.
    #[arg(long, default_value_t = 5)]
    pub timeout: u64,
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
    let mut steps = Steps::begin("hang-device", "one of three devices hangs under load, two copies");
    command::require(&["nbdkit", "nbdfuse", "fusermount3"])?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("hang")?;
    let device_bytes = options.device_mib << 20;
    require_space(scratch.path(), 3 * device_bytes)?;
    let mut devices = scratch.devices(3, device_bytes)?;
    let hanging = FaultyDevice::new(&devices[1], scratch.path(), "hanging")?;
    devices[1] = hanging.path();
    let volume_bytes = options.volume_mib << 20;
    let device_timeout = Some(options.timeout);
    let node_options = NodeOptions { device_timeout, ..node::options(&bin_dir, scratch.path()) };
    let mut node = steps.step("start, the second device a file that can hang", || {
        node::start_with_volume(node_options, &devices, "copies:2", volume_bytes, &[])
    })?;
    let oracle = Oracle::new(options.seed, 0..volume_bytes);
    steps.step("write the volume once", || oracle::write_all(&oracle, &node.socket(), VOLUME))?;
    under_load(options, &node, &oracle, &hanging, &mut steps)?;
    node.check_running()?;
    steps.step("verify everything", || {
        oracle::verify(&oracle, &node.socket(), VOLUME, "after the device was used again")?;
        require_no_violation(&oracle)
    })?;
    steps.step("kill, check, restart, verify again", || {
        node.kill()?;
        node.check()?;
        node.restart()?;
        oracle::verify(&oracle, &node.socket(), VOLUME, "after a restart")?;
        require_no_violation(&oracle)
    })?;
    // The node lets go of the device before it is unmounted.
    steps.step("stop", || node.stop())?;
    drop(node);
    drop(hanging);
    steps.pass();
    Ok(())
}

fn under_load(
    options: &Options,
    node: &Node,
    oracle: &Oracle,
    hanging: &FaultyDevice,
    steps: &mut Steps,
) -> Result<()> {
    let period = Duration::from_secs(options.seconds);
    let bound = Duration::from_secs(options.timeout) + STALL_EXTRA;
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
    let path = hanging.path().display().to_string();
    let hang = steps.step("the device hangs; it must be out of use in time", || {
        let hang = hanging.hang()?;
        wait_for_state(node, &path, &["failed"], 2 * bound)?;
        Ok(hang)
    })?;
    let late_writes = steps.step("load without it", || {
        sleep(period);
        let member = member(node, &path)?;
        let late_writes = member["late_writes"].as_u64().context("a device says how many writes are late")?;
        // None is when the device had answered all its writes at that moment; what is late is then a read or the probe.
        if late_writes > 0 {
            let refused = node.quarry().run(&["device", "return", POOL, &path]);
            ensure!(refused.is_err(), "a device with late writes was used again");
        }
        Ok(late_writes)
    })?;
    steps.note(format!("{late_writes} writes were late"));
    steps.step("the device goes on; it must be used again by itself", || {
        hang.go_on()?;
        wait_for_state(node, &path, &["online"], RETURN_TIMEOUT)
    })?;
    let report = finish_undisturbed(load, oracle, bound)?;
    steps.note(summary(&report));
    // The node looks for what has changed every two seconds.
    let start = Instant::now();
    loop {
        let events = node.quarry().run(&["event", "list"])?;
        let Some(kind) = ["device-failed", "device-online"].into_iter().find(|kind| !events.contains(kind))
        else {
            return Ok(());
        };
        ensure!(start.elapsed() < EVENT_TIMEOUT, "no event {kind}:\n{events}");
        sleep(Duration::from_millis(200));
    }
}

fn member(node: &Node, path: &str) -> Result<serde_json::Value> {
    node.quarry().json(&["device", "show", POOL, path])
}

fn wait_for_state(node: &Node, path: &str, wanted: &[&str], timeout: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        let member = member(node, path)?;
        let state = member["state"].as_str().context("a device has a state")?;
        if wanted.contains(&state) {
            return Ok(());
        }
        if start.elapsed() > timeout {
            let (time, log) = (seconds(timeout), node.log_tail());
            bail!("the device is still '{state}' after {time}: {member}\n{log}");
        }
        sleep(POLL);
    }
}
