//! A pool on a slow device, and a cache disk: what is read again comes from there, also after a restart and after a kill; what somebody
//! has overwritten on it is noticed; and without it the node serves as before.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command;
use crate::nbd::{Client, Command as Verb};
use crate::node::{self, Node, POOL, VOLUME};
use crate::report::Steps;
use crate::scratch::{Scratch, require_space};
use crate::slow_device;
use crate::workspace::{self, Profile};

const BLOCK_BYTES: u64 = 4096;
const WRITE_BYTES: u64 = 1 << 20;
/// Clients that read at once.
const READERS: u64 = 8;
/// Until what was read has come to the disk.
const SETTLE: Duration = Duration::from_secs(3);
/// Where the regions begin, their size on so small a disk, and how much of each is not for records (docs/format/cache-disk.md).
const REGIONS_OFFSET: u64 = 1 << 20;
const REGION_BYTES: u64 = 1 << 20;
const TABLE_BYTES: u64 = REGION_BYTES / 64;

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What is read again and again, in MiB.
    #[arg(long, default_value_t = 32)]
    pub volume_mib: u64,
    /// Size of the cache disk in MiB.
    #[arg(long, default_value_t = 128)]
    pub cache_mib: u64,
    /// Milliseconds that each request to the slow device takes.
    #[arg(long, default_value_t = 4)]
    pub delay_ms: u64,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("cache-disk", "a pool on a slow device, and a cache disk");
    command::require(&[slow_device::PROGRAM])?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("cache-disk")?;
    let volume_bytes = options.volume_mib << 20;
    require_space(scratch.path(), 8 * volume_bytes + (options.cache_mib << 20))?;
    let cache = scratch.device("cache.img", options.cache_mib << 20)?;
    let delay = Duration::from_millis(options.delay_ms);
    let (_server, slow) = slow_device::start(scratch.path(), 4 * volume_bytes + (128 << 20), delay)?;
    let mut node_options = node::options(&bin_dir, scratch.path());
    // What is in memory needs no disk.
    node_options.more.extend(["--read-cache", "0", "--cache-disk"].map(Into::into));
    node_options.more.push(cache.display().to_string());
    let mut node = steps.step("start, a pool of a slow device, a volume that is full", || {
        let node = Node::start(node_options)?;
        let (slow, quarry) = (slow.display().to_string(), node.quarry());
        let tier = format!("{slow}=hdd");
        quarry.run(&["pool", "create", POOL, "--device", &slow, "--tier", &tier])?;
        quarry.create_volume(VOLUME, POOL, volume_bytes, "flush")?;
        quarry.create_export(VOLUME)?;
        fill(&node, volume_bytes)?;
        Ok(node)
    })?;
    // What is behind the last checkpoint is not kept.
    steps.step("restart", || node.stop().and_then(|()| node.restart()).map(drop))?;
    let round = |node: &Node| read_all(node, volume_bytes);
    let shown = |rate: &f64| format!("{rate:.0} reads/s");
    let cold = steps.step_with("read everything for the first time", || round(&node), shown)?;
    steps.step_with("and again, which is when it is kept", || round(&node), shown)?;
    sleep(SETTLE);
    let warm = steps.step_with("and from the cache disk", || round(&node), shown)?;
    steps.note(said(&node)?);
    ensure!(
        warm > 3.0 * cold,
        "reads from the cache disk must be faster: {warm:.0} after {cold:.0} a second"
    );
    expect_hits(&node, volume_bytes, 90)?;
    for (what, part_percent) in [("stop and start", 90), ("kill and start", 80)] {
        let rate = steps.step_with(
            format!("{what}: it is warm"),
            || {
                match part_percent {
                    90 => node.stop()?,
                    _ => node.kill()?,
                }
                node.restart()?;
                sleep(SETTLE);
                round(&node)
            },
            shown,
        )?;
        ensure!(rate > 2.0 * cold, "it is not warm: {rate:.0} reads a second, {cold:.0} without it");
        expect_hits(&node, volume_bytes, part_percent)?;
    }
    steps.step(
        "every block on it is changed: hosts get what they wrote, and the operator hears of it",
        || {
            node.stop()?;
            change_records(&cache)?;
            node.restart()?;
            sleep(SETTLE);
            round(&node)?;
            let disk = status(&node)?;
            ensure!(
                disk["errors"].as_u64() >= Some(8) && disk["failure"].is_string(),
                "nobody noticed: {disk}"
            );
            expect_told(&node, "is not what was written")
        },
    )?;
    steps.step("it is gone: the node serves without it, and says so", || {
        node.stop()?;
        std::fs::remove_file(&cache)?;
        node.restart()?;
        round(&node)?;
        expect_told(&node, "there is no file or device")
    })?;
    steps.step("stop and check", || node.stop().and_then(|()| node.check()))?;
    drop(node);
    steps.pass();
    Ok(())
}

/// The bytes of the block at an offset.
fn block(at: u64) -> impl Iterator<Item = u8> {
    (0..BLOCK_BYTES / 8).flat_map(move |word| (at ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes())
}

fn fill(node: &Node, bytes: u64) -> Result<()> {
    let mut client = Client::connect(&node.socket(), VOLUME, true)?;
    for offset in (0..bytes).step_by(WRITE_BYTES as usize) {
        let data: Vec<u8> =
            (offset..offset + WRITE_BYTES).step_by(BLOCK_BYTES as usize).flat_map(block).collect();
        ensure!(client.call(Verb::Write, 0, offset, WRITE_BYTES as u32, &data)? == 0, "a write failed");
    }
    ensure!(client.call(Verb::Flush, 0, 0, 0, &[])? == 0, "a flush failed");
    Ok(())
}

/// Reads and verifies every block, far from the one before it; gives the reads a second.
fn read_all(node: &Node, bytes: u64) -> Result<f64> {
    let blocks = bytes / BLOCK_BYTES;
    let one = |reader: u64| -> Result<()> {
        let mut client = Client::connect(&node.socket(), VOLUME, true)?;
        for number in (reader..blocks).step_by(READERS as usize) {
            // Each block once: the factor has no divisor in common with their number, a power of two times something small.
            let at = number * 7919 % blocks * BLOCK_BYTES;
            let data = client.read(at, BLOCK_BYTES as u32)?;
            ensure!(data.iter().copied().eq(block(at)), "the block at byte {at} holds something else");
        }
        Ok(())
    };
    let began = Instant::now();
    scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|reader| scope.spawn(move || one(reader))).collect();
        readers.into_iter().try_for_each(|reader| reader.join().expect("no panic in a reader"))
    })?;
    Ok(blocks as f64 / began.elapsed().as_secs_f64())
}

fn status(node: &Node) -> Result<Value> {
    Ok(node.quarry().json(&["status"])?["cache_disk"].clone())
}

fn said(node: &Node) -> Result<String> {
    let text = node.quarry().run(&["status"])?;
    text.lines()
        .find(|line| line.contains("Cache disk"))
        .map(str::to_owned)
        .context("no line of the cache disk")
}

/// So much of one round was answered by the disk, at least.
fn expect_hits(node: &Node, bytes: u64, percent: u64) -> Result<()> {
    let disk = status(node)?;
    let hits = disk["hits"].as_u64().context("no hits")?;
    ensure!(hits * 100 >= bytes / BLOCK_BYTES * percent, "only {hits} hits: {disk}");
    ensure!(disk["errors"] == 0, "errors: {disk}");
    Ok(())
}

fn expect_told(node: &Node, what: &str) -> Result<()> {
    let status = node.quarry().run(&["status"])?;
    ensure!(
        status.contains("warning") && status.contains(what),
        "`quarry status` says nothing of it:\n{status}"
    );
    ensure!(node.metrics()?.contains("quarry_cache_disk_failed 1"), "the metrics say nothing of it");
    Ok(())
}

/// Changes a byte of every block behind the tables.
fn change_records(cache: &Path) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(cache)?;
    let end = file.metadata()?.len();
    for at in (REGIONS_OFFSET..end - BLOCK_BYTES).step_by(BLOCK_BYTES as usize) {
        if at % REGION_BYTES >= TABLE_BYTES {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at + 99)?;
            file.write_all_at(&[!byte[0]], at + 99)?;
        }
    }
    Ok(())
}
