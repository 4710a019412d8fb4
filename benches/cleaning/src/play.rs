//! One run: fill the volume, overwrite it for a while, overwrite it as long again and measure.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::future::join_all;
use quarry_cleaner::Policy;
use quarry_device::{FormatRequest, format_devices};
use quarry_engine::{Engine, EngineStatus, EngineVolume, Limits};
use quarry_env::Env;
use quarry_env_sim::{Config, DiskSpec, Latency, World};
use quarry_types::limits::{BLOCK_BYTES, DEVICE_HEADER_BYTES};
use quarry_types::{LogId, PoolId, Protection, VolumeId, VolumeSettings};
use quarry_volume::{Volume, WriteFlags};

use crate::workload::{Pattern, Workload};

const DEVICE: &str = "/dev/memory";
const LIMITS: Limits = Limits {
    node_cache_bytes: 1 << 30,
    read_cache_bytes: 0,
    cache_index_bytes: 0,
    overlay_bytes: 256 << 20,
    logs: 1,
};
/// Bytes of a write while the volume is filled.
const FILL_BYTES: usize = 512 << 10;
/// The pool is looked at after so many writes.
const SAMPLE_EVERY: u64 = 1024;
const TIME_MAX: Duration = Duration::from_secs(100 * 24 * 3600);

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Play {
    pub volume_mib: u64,
    /// Share of the pool that the volume is.
    pub fill: f64,
    /// In volumes; the second half is measured.
    pub overwrites: f64,
    pub depth: u16,
    pub pattern: Pattern,
    pub policy: Policy,
    pub seed: u64,
}

/// What came out of it.
pub struct Measured {
    /// What hosts wrote.
    pub written_bytes: u64,
    /// Of what lived, what the cleaner copied.
    pub moved_bytes: u64,
    /// What the log took: blocks, nodes of the map, headers.
    pub appended_bytes: u64,
    /// Everything that was written to the device.
    pub device_bytes: u64,
    pub cleaned_chunks: u64,
    /// The same by the share that lived, in tenths.
    pub cleaned_by_tenth: [u64; 10],
    pub checkpoints: u64,
    /// Segments in the table at the end.
    pub segments: usize,
    /// Mean share of the pool that is free.
    pub free: f64,
    /// Mean share of the pool that lives as far as the segment table knows.
    pub live: f64,
    /// Mean share of the pool that checkpoint, cleaner and images keep.
    pub reserved: f64,
}

/// Figures at one moment.
struct Moment {
    status: EngineStatus,
    device_bytes: u64,
}

impl Moment {
    fn of(engine: &Engine) -> Self {
        let written =
            engine.pool().healthy_devices().into_iter().map(|(_, device)| device.stats().written_bytes);
        Self { device_bytes: written.sum(), status: engine.status() }
    }
}

/// Sums over samples, in bytes.
#[derive(Default)]
struct Samples {
    count: u64,
    free: u64,
    live: u64,
    reserved: u64,
}

impl Samples {
    fn add(&mut self, engine: &Engine) {
        let (status, pool) = (engine.status(), engine.pool());
        self.count += 1;
        self.free += pool.shared.capacity().free_chunks * pool.geometry().segment_bytes;
        self.live += status.live_bytes;
        self.reserved += status.reserved_bytes;
    }
}

/// Writes that are left, and what was seen so far.
#[derive(Default)]
struct Progress {
    left: u64,
    samples: Samples,
}

impl Progress {
    fn begin_write(&mut self, engine: &Engine) {
        self.left -= 1;
        if self.left.is_multiple_of(SAMPLE_EVERY) {
            self.samples.add(engine);
        }
    }
}

fn failed(error: impl Display) -> anyhow::Error {
    anyhow!("{error}")
}

/// Plays it.
pub fn play(play: Play) -> Result<Measured> {
    let config = Config { polls_without_event_max: u32::MAX, ..Config::default() };
    let world = World::new(play.seed, config);
    let latency = Latency {
        base: Duration::from_micros(20)..Duration::from_micros(30),
        flush: Duration::from_micros(20)..Duration::from_micros(30),
        slow_chance: 0.0,
        ..Latency::fast()
    };
    let pool_bytes = ((play.volume_mib << 20) as f64 / play.fill) as u64 >> 20 << 20;
    let spec = DiskSpec { latency, cache_bytes: 0, ..DiskSpec::of_size(pool_bytes + DEVICE_HEADER_BYTES) };
    world.add_disk(PathBuf::from(DEVICE), spec);
    let process = world.process(1);
    let measured = world.block_on(&process, 0, run(process.env(0), play), TIME_MAX);
    measured.map_err(|stuck| anyhow!("{stuck}"))?
}

async fn run(env: Env, play: Play) -> Result<Measured> {
    let request = FormatRequest {
        pool: PoolId(uuid::Uuid::from_u128(1)),
        pool_name: "cleaning".to_owned(),
        protection: Protection::Copies(1),
        paths: vec![PathBuf::from(DEVICE)],
        directory_file_bytes: None,
        force: false,
        in_use: BTreeMap::new(),
    };
    let devices = format_devices(&env, &request).await.context("formatting")?;
    let pool = quarry_pool::from_devices(&env, devices);
    let engine = Engine::create(env.clone(), pool, LogId(0), LIMITS).await.map_err(failed)?;
    engine.set_policy(play.policy);
    let (id, size_bytes) = (VolumeId(uuid::Uuid::from_u128(2)), play.volume_mib << 20);
    engine.create_volume(id, "one", size_bytes, VolumeSettings::default(), None).await.map_err(failed)?;
    let volume = engine.volume(id).map_err(failed)?;
    fill(&env, &volume, size_bytes).await?;

    let blocks = size_bytes / BLOCK_BYTES as u64;
    let workload = Rc::new(RefCell::new(Workload::new(play.pattern, blocks, play.seed)));
    let half = (blocks as f64 * play.overwrites / 2.0) as u64;
    overwrite(&env, &engine, &volume, (&workload, half, play.depth)).await?;
    let before = Moment::of(&engine);
    let samples = overwrite(&env, &engine, &volume, (&workload, half, play.depth)).await?;
    let after = Moment::of(&engine);
    let measured = measure(&engine, &before, &after, &samples);
    drop(volume);
    engine.close().await.map_err(failed)?;
    Ok(measured)
}

/// Bytes that are neither zero nor alike.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

async fn fill(env: &Env, volume: &EngineVolume, size_bytes: u64) -> Result<()> {
    let data = env.buffers.copy_of(&content(FILL_BYTES));
    for offset in (0..size_bytes).step_by(FILL_BYTES) {
        let bytes = (size_bytes - offset).min(FILL_BYTES as u64) as usize;
        volume.write(offset, data.slice(0..bytes), WriteFlags::default()).await.map_err(failed)?;
    }
    Ok(())
}

/// Writes so many blocks, `depth` at a time, and looks at the pool now and then.
async fn overwrite(
    env: &Env,
    engine: &Rc<Engine>,
    volume: &Rc<EngineVolume>,
    (workload, count, depth): (&Rc<RefCell<Workload>>, u64, u16),
) -> Result<Samples> {
    let data = env.buffers.copy_of(&content(BLOCK_BYTES));
    let state = Rc::new(RefCell::new(Progress { left: count, samples: Samples::default() }));
    let writers = (0..depth).map(|_| {
        let (engine, volume, workload) = (engine.clone(), volume.clone(), workload.clone());
        let (data, state) = (data.clone(), state.clone());
        env.spawner.spawn(async move {
            while state.borrow().left > 0 {
                state.borrow_mut().begin_write(&engine);
                let offset = workload.borrow_mut().block() * BLOCK_BYTES as u64;
                volume.write(offset, data.clone(), WriteFlags::default()).await.map_err(failed)?;
            }
            anyhow::Ok(())
        })
    });
    let writers: Vec<_> = writers.collect();
    join_all(writers).await.into_iter().collect::<Result<()>>()?;
    Ok(state.take().samples)
}

fn measure(engine: &Engine, before: &Moment, after: &Moment, samples: &Samples) -> Measured {
    let segment_bytes = engine.pool().geometry().segment_bytes;
    let pool_bytes = engine.pool().shared.capacity().total_chunks * segment_bytes;
    let mean = |sum: u64| sum as f64 / samples.count.max(1) as f64 / pool_bytes as f64;
    let (old, new) = (&before.status, &after.status);
    let mut cleaned_by_tenth = new.cleaned_by_tenth;
    cleaned_by_tenth.iter_mut().zip(old.cleaned_by_tenth).for_each(|(tenth, old)| *tenth -= old);
    Measured {
        written_bytes: new.written_bytes - old.written_bytes,
        moved_bytes: new.moved_bytes - old.moved_bytes,
        appended_bytes: new.appended_bytes - old.appended_bytes,
        device_bytes: after.device_bytes - before.device_bytes,
        cleaned_chunks: new.cleaned_chunks - old.cleaned_chunks,
        cleaned_by_tenth,
        checkpoints: new.checkpoints - old.checkpoints,
        segments: new.segments,
        free: mean(samples.free),
        live: mean(samples.live),
        reserved: mean(samples.reserved),
    }
}
