//! Many volumes on one node: what they cost when nobody uses them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::node::{self, Node, POOL};
use crate::report::{Steps, mebibytes, seconds, table};
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const DEVICE_BYTES: u64 = 4 << 30;
const VOLUME_BYTES: u64 = 1 << 30;
/// How long the node is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Volumes to make.
    #[arg(long, default_value_t = 10_000)]
    pub count: u32,
    /// Fail when the node takes more memory than this, in MiB.
    #[arg(long, default_value_t = 1024)]
    pub memory_mib: u64,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("volumes", &format!("{} volumes on one node", options.count));
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("volumes")?;
    require_space(scratch.path(), DEVICE_BYTES / 8)?;
    let devices = scratch.devices(1, DEVICE_BYTES)?;
    let mut node = Node::start(node::options(&bin_dir, scratch.path()))?;
    let began = Instant::now();
    steps.step("make them", || {
        let quarry = node.quarry();
        quarry.create_pool(POOL, &devices, "copies:1")?;
        (0..options.count)
            .try_for_each(|number| quarry.create_volume(&format!("v{number}"), POOL, VOLUME_BYTES, "flush"))
    })?;
    let made = began.elapsed();
    let mut listed = Duration::ZERO;
    steps.step("list them", || {
        let began = Instant::now();
        let list = node.quarry().json(&["volume", "list"])?;
        listed = began.elapsed();
        ensure!(
            list.as_array().is_some_and(|list| list.len() == options.count as usize),
            "not all are listed"
        );
        ensure!(listed < Duration::from_secs(1), "listing them took {}", seconds(listed));
        Ok(())
    })?;
    let mut idle = Duration::ZERO;
    steps.step(format!("do nothing for {}", seconds(IDLE)), || {
        let before = node.server()?.cpu_time()?;
        sleep(IDLE);
        idle = node.server()?.cpu_time()? - before;
        Ok(())
    })?;
    let memory_bytes = node.server()?.memory_bytes()?;
    ensure!(memory_bytes <= options.memory_mib << 20, "the node takes {}", mebibytes(memory_bytes));
    let mut restart = Duration::ZERO;
    steps.step("kill -9 and start again", || {
        node.kill()?;
        restart = node.restart()?;
        Ok(())
    })?;
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    print!(
        "{}",
        table(&[
            row("making one, mean", seconds(made / options.count.max(1))),
            row("listing all", seconds(listed)),
            row("memory", mebibytes(memory_bytes)),
            row(
                "of one core while idle",
                format!("{:.2} %", 100.0 * idle.as_secs_f64() / IDLE.as_secs_f64())
            ),
            row("start", seconds(restart)),
        ])
    );
    node.stop()?;
    steps.pass();
    Ok(())
}
