//! How soon a killed node serves again: a 20 GiB volume with 5 GiB written, killed under load.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::crash::first_read;
use super::{require_no_failed_request, require_no_violation};
use crate::node::{self, VOLUME};
use crate::oracle::{self, Access, Load, LoadOptions, Mix, Oracle};
use crate::report::{Steps, seconds};
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const VOLUME_BYTES: u64 = 20 << 30;
/// Data on each device beyond what was written at first: overwrites under load, metadata, what is not yet cleaned.
const ROOM_BYTES: u64 = 3 << 30;
const LOAD: Duration = Duration::from_secs(4);
/// What a host may notice.
const LIMIT: Duration = Duration::from_secs(2);

/// How the measurement goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Copies of the pool.
    #[arg(long, default_value_t = 1)]
    pub copies: u8,
    /// GiB that are written before the load.
    #[arg(long, default_value_t = 5)]
    pub written_gib: u64,
    /// Kills.
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let &Options { copies, written_gib, rounds, profile } = options;
    let mut steps =
        Steps::begin("restart-time", &format!("20 GiB volume, {written_gib} GiB written, {copies} copies"));
    let bin_dir = workspace::build(profile, &["quarryd", "quarry"])?;
    let written_bytes = written_gib << 30;
    let device_bytes = written_bytes + ROOM_BYTES;
    let scratch = Scratch::new("restart")?;
    require_space(scratch.path(), u64::from(copies) * device_bytes)?;
    let devices = scratch.devices(usize::from(copies), device_bytes)?;
    let mut node = steps.step("start", || {
        node::start_with_volume(
            node::options(&bin_dir, scratch.path()),
            &devices,
            &format!("copies:{copies}"),
            VOLUME_BYTES,
            &[],
        )
    })?;
    let oracle = Oracle::new(1, 0..written_bytes);
    steps.step(format!("write {written_gib} GiB"), || oracle::write_all(&oracle, &node.socket(), VOLUME))?;
    let mut slowest = Duration::ZERO;
    for round in 1..=rounds {
        let load_options = LoadOptions {
            access: Access::nbd(node.socket(), VOLUME),
            connections: 2,
            depth: 16,
            seed: u64::from(round),
            mix: Mix::default(),
        };
        steps.step(format!("load for {}, then SIGKILL", seconds(LOAD)), || {
            let load = Load::start(&oracle, &load_options)?;
            sleep(LOAD);
            node.check_running()?;
            node.kill()?;
            require_no_failed_request(&load.finish()?)
        })?;
        let start = Instant::now();
        steps.step("restart until the first read is served", || {
            node.spawn()?;
            node.wait_ready()?;
            first_read(&node.socket(), VOLUME)
        })?;
        // Waiting for the old process's I/O is part of it.
        slowest = slowest.max(start.elapsed());
    }
    steps.step(format!("verify {written_gib} GiB"), || {
        oracle::verify(&oracle, &node.socket(), VOLUME, "after the kills")?;
        require_no_violation(&oracle)
    })?;
    steps.step("stop", || node.stop())?;
    ensure!(slowest <= LIMIT, "the slowest restart took {}, more than {}", seconds(slowest), seconds(LIMIT));
    steps.note(format!("slowest restart {}, limit {}", seconds(slowest), seconds(LIMIT)));
    steps.pass();
    Ok(())
}
