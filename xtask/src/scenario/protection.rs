//! What an erasure code costs beside copies of the same durability: latency of small writes, bytes written to the devices, reads
//! while devices are missing.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::nbd::{Client, Command};
use crate::node::{self, Node, POOL, VOLUME};
use crate::report::Steps;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const DEVICES: usize = 8;
const BLOCK: u32 = 4 << 10;
const BATCH: u32 = 64 << 10;
/// Until full segments must have been grouped.
const GROUPING_TIMEOUT: Duration = Duration::from_secs(120);

/// How the measurement goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The erasure code.
    #[arg(long, default_value = "ec:4+2")]
    pub code: String,
    /// Copies that keep data as safe.
    #[arg(long, default_value = "copies:3")]
    pub copies: String,
    /// Small requests of each kind.
    #[arg(long, default_value_t = 4000)]
    pub requests: u32,
    /// MiB that are written in batches of 64 KiB.
    #[arg(long, default_value_t = 512)]
    pub written_mib: u64,
    /// Build that is measured.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// A pool under measurement.
struct Measured {
    protection: String,
    node: Node,
    devices: Vec<PathBuf>,
    _scratch: Scratch,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("protection", &format!("{} beside {}", options.code, options.copies));
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let volume_bytes = options.written_mib << 20;
    let mut pools = Vec::new();
    for protection in [&options.copies, &options.code] {
        let scratch = Scratch::new("protection")?;
        let device_bytes = volume_bytes.max(512 << 20);
        require_space(scratch.path(), DEVICES as u64 * device_bytes)?;
        let devices = scratch.devices(DEVICES, device_bytes)?;
        let node_options = node::options(&bin_dir, scratch.path());
        let node = node::start_with_volume(node_options, &devices, protection, volume_bytes, &[])?;
        pools.push(Measured { protection: protection.clone(), node, devices, _scratch: scratch });
    }
    for pool in &pools {
        let what = format!("{}: {} MiB in batches of 64 KiB", pool.protection, options.written_mib);
        let factor = steps.step(what, || {
            let before = written_bytes(&pool.node)?;
            fill(pool, volume_bytes)?;
            wait_until_grouped(pool)?;
            Ok((written_bytes(&pool.node)? - before) as f64 / volume_bytes as f64)
        })?;
        steps.note(format!("{factor:.2} bytes written to devices for each byte of the host"));
    }
    // By turns, so that what else the machine does touches both.
    let (mut writes, mut reads) = (vec![Vec::new(); 2], vec![Vec::new(); 2]);
    steps.step("small writes and reads, one at a time, in turns", || {
        for _ in 0..4 {
            for (index, pool) in pools.iter().enumerate() {
                writes[index].extend(small(pool, options.requests / 4, volume_bytes, true)?);
                reads[index].extend(small(pool, options.requests / 4, volume_bytes, false)?);
            }
        }
        Ok(())
    })?;
    let median = |times: &[Vec<Duration>], index: usize| percentile(&times[index], 50);
    for (index, pool) in pools.iter().enumerate() {
        let (write, read) = (median(&writes, index), median(&reads, index));
        steps.note(format!("{}: 4k write p50 {write:?}, 4k read p50 {read:?}", pool.protection));
    }
    let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64();
    steps.note(format!("4k write p50: {:.2}x that of copies", ratio(median(&writes, 1), median(&writes, 0))));
    let coded = pools.pop().expect("there are two");
    drop(pools);
    degraded_reads(options, coded, volume_bytes, &mut steps)?;
    steps.pass();
    Ok(())
}

/// Reads with as many devices missing as the code allows, beside reads with all of them.
fn degraded_reads(options: &Options, mut pool: Measured, volume_bytes: u64, steps: &mut Steps) -> Result<()> {
    let missing: usize = options.code.rsplit('+').next().and_then(|m| m.parse().ok()).context("no code")?;
    let healthy = small(&pool, options.requests, volume_bytes, false)?;
    pool.node.stop()?;
    for device in &pool.devices[..missing] {
        fs::rename(device, device.with_extension("away"))?;
    }
    pool.node.spawn()?;
    pool.node.wait_ready()?;
    let degraded = steps.step(format!("reads with {missing} devices missing"), || {
        small(&pool, options.requests, volume_bytes, false)
    })?;
    // Most blocks lie on devices that are there: the slow ones are those that were decoded.
    let (all, slow) = (percentile(&degraded, 50), percentile(&degraded, 95));
    let before = percentile(&healthy, 50);
    steps.note(format!(
        "4k read p50: healthy {before:?}, degraded {all:?}; p95 {:?} and {slow:?}",
        percentile(&healthy, 95)
    ));
    steps.note(format!(
        "decoded reads, by the p95 over the healthy p50: {:.2}x",
        slow.as_secs_f64() / before.as_secs_f64()
    ));
    pool.node.stop()
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

fn fill(pool: &Measured, volume_bytes: u64) -> Result<()> {
    let mut client = Client::connect(&pool.node.socket(), VOLUME, true)?;
    let data: Vec<u8> = (0..BATCH).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    for offset in (0..volume_bytes).step_by(BATCH as usize) {
        let error = client.call(Command::Write, 0, offset, BATCH, &data)?;
        ensure!(error == 0, "a write failed with NBD error {error}");
    }
    client.call(Command::Flush, 0, 0, 0, &[])?;
    Ok(())
}

/// How long each of so many requests at places all over the volume took.
fn small(pool: &Measured, requests: u32, volume_bytes: u64, writes: bool) -> Result<Vec<Duration>> {
    let mut client = Client::connect(&pool.node.socket(), VOLUME, true)?;
    let data = vec![0x5a; BLOCK as usize];
    let blocks = volume_bytes / u64::from(BLOCK);
    let mut times = Vec::with_capacity(requests as usize);
    for request in 0..u64::from(requests) {
        let offset = request.wrapping_mul(0x9e37_79b9_7f4a_7c15) % blocks * u64::from(BLOCK);
        let began = Instant::now();
        match writes {
            true => _ = client.call(Command::Write, 0, offset, BLOCK, &data)?,
            false => _ = client.read(offset, BLOCK)?,
        }
        times.push(began.elapsed());
    }
    Ok(times)
}

fn wait_until_grouped(pool: &Measured) -> Result<()> {
    if !pool.protection.starts_with("ec:") {
        return Ok(());
    }
    let began = Instant::now();
    let mut last = None;
    loop {
        let groups = pool.node.quarry().pool(POOL)?["groups"].clone();
        // Nothing more for a while: what is left is too little for a group.
        if last.as_ref() == Some(&groups) && groups["groups"] != 0 {
            return Ok(());
        }
        ensure!(began.elapsed() < GROUPING_TIMEOUT, "segments are not grouped: {groups}");
        last = Some(groups);
        sleep(Duration::from_secs(5));
    }
}

/// Bytes that a node has had written to storage.
fn written_bytes(node: &Node) -> Result<u64> {
    let path = format!("/proc/{}/io", node.server()?.pid());
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.context("no write_bytes")?.parse().with_context(|| path)
}
