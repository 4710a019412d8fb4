//! `quarry-spinning`: random writes on a spinning disk, straight to it and through the engine.
//!
//! What it is: a simulated disk with one head (the model is `Spindle` of `quarry-env-sim`: seek, rotation, transfer, a queue of
//! 32), and the same writes twice: to the bare disk, and to a thin volume in a pool on it that nobody has written before. What
//! it is not: a measure of CPU; time is the world's. The same options give the same figures.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use futures::future::{LocalBoxFuture, join_all};
use quarry_device::{FormatRequest, format_devices};
use quarry_engine::{Engine, Limits};
use quarry_env::{Env, OpenMode};
use quarry_env_sim::{Config, DiskSpec, Latency, Spindle, World};
use quarry_types::limits::BLOCK_BYTES;
use quarry_types::{LogId, PoolId, Protection, VolumeId, VolumeSettings};
use quarry_volume::{Volume, WriteFlags};

const DEVICE: &str = "/dev/spinning";
const TIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The volume's share of the disk.
const VOLUME_PERCENT: u64 = 80;

/// Writes of 4 KiB at random over 80 % of a simulated spinning disk: to the disk itself, then to a new thin volume on it.
#[derive(Parser, Clone, Copy, Debug)]
struct Arguments {
    /// Size of the disk in GiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=16384))]
    disk_gib: u64,
    /// Writes to the volume; the bare disk gets a twentieth of them.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1000..))]
    writes: u64,
    /// Writes under way at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    depth: u16,
    /// Memory for the map, in MiB: half for nodes, half for what has changed.
    #[arg(long, default_value_t = 128)]
    memory_mib: usize,
    /// What everything random comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn failed(error: impl Display) -> anyhow::Error {
    anyhow!("{error}")
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match compare(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quarry-spinning: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: Arguments) -> Result<()> {
    let raw = in_world(arguments, |env| bare(env, arguments))?;
    println!("bare disk     {raw:>8.0} writes a second");
    let ours = in_world(arguments, |env| pooled(env, arguments))?;
    println!("thin volume   {ours:>8.0} writes a second, {:.1} times as many", ours / raw);
    Ok(())
}

/// Runs something in a new world with one spinning disk.
fn in_world<F: Future<Output = Result<f64>> + 'static>(
    arguments: Arguments,
    main: impl FnOnce(Env) -> F,
) -> Result<f64> {
    let config = Config { polls_without_event_max: u32::MAX, ..Config::default() };
    let world = World::new(arguments.seed, config);
    // A disk that keeps nothing in a cache of its own has nothing to flush.
    let flush = Duration::from_micros(50)..Duration::from_micros(100);
    let latency = Latency { flush, slow_chance: 0.0, ..Latency::rotating() };
    let spec = DiskSpec {
        latency,
        spindle: Some(Spindle::desktop()),
        rotational: Some(true),
        cache_bytes: 0,
        ..DiskSpec::of_size(arguments.disk_gib << 30)
    };
    world.add_disk(PathBuf::from(DEVICE), spec);
    let process = world.process(1);
    let ended = world.block_on(&process, 0, main(process.env(0)), TIME_MAX);
    ended.map_err(|stuck| anyhow!("{stuck}"))?
}

/// Writes a second to the disk itself.
async fn bare(env: Env, arguments: Arguments) -> Result<f64> {
    let disk = env.disks.open(Path::new(DEVICE), OpenMode::Exclusive).await.context("opening")?;
    let data = env.buffers.copy_of(&content());
    let write = move |offset| -> LocalBoxFuture<'static, Result<()>> {
        let (disk, data) = (disk.clone(), data.clone());
        Box::pin(async move { disk.write(offset, vec![data]).await.map_err(failed) })
    };
    at_random(&env, arguments, arguments.writes / 20, Rc::new(write)).await
}

/// Writes a second to a new thin volume.
async fn pooled(env: Env, arguments: Arguments) -> Result<f64> {
    let request = FormatRequest {
        pool: PoolId(uuid::Uuid::from_u128(1)),
        pool_name: "spinning".to_owned(),
        protection: Protection::Copies(1),
        paths: vec![PathBuf::from(DEVICE)],
        directory_file_bytes: None,
        force: false,
        in_use: BTreeMap::new(),
    };
    let devices = format_devices(&env, &request).await.context("formatting")?;
    let pool = quarry_pool::from_devices(&env, devices);
    let half = arguments.memory_mib << 19;
    let limits = Limits {
        node_cache_bytes: half,
        overlay_bytes: half,
        read_cache_bytes: 0,
        cache_index_bytes: 0,
        logs: 1,
    };
    let engine = Engine::create(env.clone(), pool, LogId(0), limits).await.map_err(failed)?;
    let (id, settings) = (VolumeId(uuid::Uuid::from_u128(2)), VolumeSettings::default());
    engine.create_volume(id, "one", volume_bytes(arguments), settings, None).await.map_err(failed)?;
    let volume = engine.volume(id).map_err(failed)?;
    let data = env.buffers.copy_of(&content());
    let write = move |offset| -> LocalBoxFuture<'static, Result<()>> {
        let (volume, data) = (volume.clone(), data.clone());
        Box::pin(async move { volume.write(offset, data, WriteFlags::default()).await.map_err(failed) })
    };
    let speed = at_random(&env, arguments, arguments.writes, Rc::new(write)).await?;
    let status = engine.status();
    engine.close().await.map_err(failed)?;
    let share = |bytes: u64| 100.0 * bytes as f64 / status.written_bytes as f64;
    println!("for 100 bytes of hosts the log took {:.0}", share(status.appended_bytes));
    println!("of which the map {:.1}, by {} checkpoints", share(status.node_bytes), status.checkpoints);
    Ok(speed)
}

fn volume_bytes(arguments: Arguments) -> u64 {
    (arguments.disk_gib << 30) * VOLUME_PERCENT / 100 / BLOCK_BYTES as u64 * BLOCK_BYTES as u64
}

fn content() -> Vec<u8> {
    (0..BLOCK_BYTES as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Writes `count` blocks, `depth` at a time; how many a second.
async fn at_random(
    env: &Env,
    arguments: Arguments,
    count: u64,
    write: Rc<dyn Fn(u64) -> LocalBoxFuture<'static, Result<()>>>,
) -> Result<f64> {
    let blocks = volume_bytes(arguments) / BLOCK_BYTES as u64;
    let left = Rc::new(Cell::new(count));
    let began = env.clock.now();
    let writers = (0..arguments.depth).map(|_| {
        let (env, left, write) = (env.clone(), left.clone(), write.clone());
        async move {
            while left.get() > 0 {
                left.set(left.get() - 1);
                write(env.random.next_u64() % blocks * BLOCK_BYTES as u64).await?;
            }
            anyhow::Ok(())
        }
    });
    join_all(writers).await.into_iter().collect::<Result<()>>()?;
    Ok(count as f64 / (env.clock.now() - began).as_secs_f64())
}
