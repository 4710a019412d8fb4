//! How fast a lost device's copies are made again: with idle hosts beside a raw copy of a device, and what it takes from busy hosts.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::devices::{device, member, text, wait};
use super::require_no_failed_request;
use crate::command;
use crate::mount::FaultyDevice;
use crate::node::{self, Node, POOL, VOLUME};
use crate::oracle::{self, Access, Load, LoadOptions, LoadReport, Mix, Oracle};
use crate::report::{Steps, seconds};
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

/// Part of the speed of a raw copy that a rebuild must reach while hosts are idle.
const SPEED_MIN: f64 = 0.6;
/// Part of their requests that busy hosts must keep during a rebuild.
const HOSTS_KEEP_MIN: f64 = 0.5;
/// How long hosts are measured, without a rebuild and during one at most.
const LOAD_TIME: Duration = Duration::from_secs(10);

/// Hosts that have been quiet for so long are idle.
const HOSTS_IDLE_AFTER: Duration = Duration::from_secs(2);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Devices, two of which fail.
    #[arg(long, default_value_t = 8)]
    pub devices: usize,
    /// Size of each device in MiB.
    #[arg(long, default_value_t = 2048)]
    pub device_mib: u64,
    /// Size of the volume in MiB.
    #[arg(long, default_value_t = 4096)]
    pub volume_mib: u64,
    /// How the pool protects what it holds, for example copies:2 or ec:4+2.
    #[arg(long, default_value = "copies:2")]
    pub protection: String,
    /// Build that is measured.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let what = "a device's copies are made again, with idle hosts and with busy ones";
    let mut steps = Steps::begin("rebuild", what);
    command::require(&["nbdkit", "nbdfuse", "fusermount3", "dd"])?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("rebuild")?;
    let device_bytes = options.device_mib << 20;
    require_space(scratch.path(), (options.devices as u64 + 3) * device_bytes)?;
    let mut all = scratch.devices(options.devices + 3, device_bytes)?;
    let mut spare = all.split_off(options.devices);
    let raw = spare.pop().context("there are three spare devices")?;
    let faulty: Vec<FaultyDevice> = (0..2)
        .map(|index| FaultyDevice::new(&all[index], scratch.path(), &format!("faulty-{index}")))
        .collect::<Result<_>>()?;
    let source = all[0].clone();
    all.iter_mut().zip(&faulty).for_each(|(path, faulty)| *path = faulty.path());
    let volume_bytes = options.volume_mib << 20;
    let mut node = steps.step("start, two devices behind nbdkit's error filter", || {
        let node_options = node::options(&bin_dir, scratch.path());
        node::start_with_volume(node_options, &all, &options.protection, volume_bytes, &[])
    })?;
    let oracle = Oracle::new(1, 0..volume_bytes);
    steps.step("write the volume once", || oracle::write_all(&oracle, &node.socket(), VOLUME))?;
    // What has never been written costs a file system more than what is written over.
    steps.step("fill the new devices", || {
        let zeroes = Path::new("/dev/zero");
        spare.iter().chain([&raw]).try_for_each(|to| copy_device(zeroes, to, device_bytes).map(drop))
    })?;
    let raw_speed = steps.step_with(
        "copy a device by dd, past the page cache",
        || copy_device(&source, &raw, device_bytes),
        |speed| shown(*speed),
    )?;
    let idle = steps.step_with(
        "a device fails while hosts are idle, and another one takes its place",
        || fail_and_replace(&node, &oracle, &faulty[0], &spare[0]),
        |speed| format!("{}, {:.2} of the raw copy", shown(*speed), speed / raw_speed),
    )?;
    let kept = busy_hosts(&node, &oracle, (&faulty[1], &spare[1]), &mut steps)?;
    node.check_running()?;
    steps.step("verify everything", || {
        oracle::verify(&oracle, &node.socket(), VOLUME, "after the rebuilds").map(drop)
    })?;
    steps.step("stop, and check the pool", || {
        node.stop()?;
        node.check()
    })?;
    let is_fast = idle >= SPEED_MIN * raw_speed;
    ensure!(is_fast, "a rebuild must have at least {SPEED_MIN} of the speed of a raw copy");
    ensure!(kept >= HOSTS_KEEP_MIN, "busy hosts must keep at least {HOSTS_KEEP_MIN} of their requests");
    steps.pass();
    Ok(())
}

/// Copies a device as it is; bytes a second.
fn copy_device(from: &Path, to: &Path, bytes: u64) -> Result<f64> {
    let start = Instant::now();
    let mut dd = Command::new("dd");
    dd.arg(format!("if={}", from.display())).arg(format!("of={}", to.display()));
    dd.arg(format!("count={}", bytes >> 20)).args([
        "bs=1M",
        "oflag=direct",
        "conv=notrunc,fsync",
        "status=none",
    ]);
    if from.is_file() {
        dd.arg("iflag=direct");
    }
    command::run(&mut dd)?;
    Ok(bytes as f64 / start.elapsed().as_secs_f64())
}

/// Makes a device fail and puts another one in its place; the bytes a second at which the copies were made again.
fn fail_and_replace(node: &Node, oracle: &Oracle, faulty: &FaultyDevice, new: &Path) -> Result<f64> {
    let copied = |node: &Node| {
        let pool = node.quarry().pool(POOL)?;
        pool["rebuild"]["copied_bytes"].as_u64().context("a pool says how much it has copied")
    };
    let before = copied(node)?;
    faulty.fail()?;
    let load = Load::start(oracle, &load_options(node))?;
    let noticed = wait_for_failure(node, &faulty.path());
    require_no_failed_request(&load.finish()?)?;
    noticed?;
    sleep(HOSTS_IDLE_AFTER);
    let start = Instant::now();
    device(node, &["replace", POOL, text(&faulty.path())?, text(new)?, "--wait", "--no-progress"])?;
    let took = start.elapsed();
    Ok((copied(node)? - before) as f64 / took.as_secs_f64())
}

/// Until the node has noticed that a device fails, which takes a write there.
fn wait_for_failure(node: &Node, path: &Path) -> Result<()> {
    wait(node, |pool| member(pool, path).is_some_and(|member| member["state"] == "failed"))
}

fn load_options(node: &Node) -> LoadOptions {
    LoadOptions {
        access: Access::nbd(node.socket(), VOLUME),
        connections: 2,
        depth: 16,
        seed: 1,
        mix: Mix::default(),
    }
}

/// The part of their requests that hosts keep while another device's copies are made again.
fn busy_hosts(
    node: &Node,
    oracle: &Oracle,
    (faulty, new): (&FaultyDevice, &Path),
    steps: &mut Steps,
) -> Result<f64> {
    let load_options = load_options(node);
    let measured = |during: &mut dyn FnMut() -> Result<()>| {
        let (load, start) = (Load::start(oracle, &load_options)?, Instant::now());
        let done = during();
        let took = start.elapsed();
        let report = load.finish()?;
        done?;
        require_no_failed_request(&report)?;
        Ok::<_, anyhow::Error>((rate(&report, took), took))
    };
    let (alone, _) = steps.step_with(
        "hosts read and write",
        || {
            measured(&mut || {
                sleep(LOAD_TIME);
                Ok(())
            })
        },
        |(rate, _)| format!("{rate:.0} requests/s"),
    )?;
    faulty.fail()?;
    let start = |pool: &serde_json::Value| pool["rebuild"]["copied_bytes"].as_u64().unwrap_or(0);
    let mut copied = 0;
    let (busy, took) = steps.step_with(
        "the same while another device fails and is replaced",
        || {
            measured(&mut || {
                let path = faulty.path();
                wait_for_failure(node, &path)?;
                let before = start(&node.quarry().pool(POOL)?);
                device(node, &["replace", POOL, text(&path)?, text(new)?])?;
                let (began, mut is_done) = (Instant::now(), false);
                while began.elapsed() < LOAD_TIME && !is_done {
                    sleep(Duration::from_millis(100));
                    is_done = node.quarry().pool(POOL)?["rebuild"]["chunks"] == 0;
                }
                copied = start(&node.quarry().pool(POOL)?) - before;
                Ok(())
            })
        },
        |(rate, _)| format!("{rate:.0} requests/s, {:.2} of those", rate / alone),
    )?;
    let mib = copied >> 20;
    steps.note(format!("{mib} MiB of copies were made in {} meanwhile", seconds(took)));
    ensure!(copied > 0, "the rebuild has not advanced while hosts were busy");
    steps.step("the rest of it", || wait(node, |pool| pool["rebuild"]["chunks"] == 0))?;
    Ok(busy / alone)
}

fn rate(report: &LoadReport, took: Duration) -> f64 {
    (report.acknowledged + report.reads) as f64 / took.as_secs_f64()
}

fn shown(bytes_per_s: f64) -> String {
    format!("{:.0} MB/s", bytes_per_s / 1e6)
}
