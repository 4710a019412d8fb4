//! One fast and one slow device under reads and writes by Zipf's law: how near automatic placement comes to the best static one.
//!
//! The load is of extents of [`EXTENT_BYTES`], of which the one of rank `r` is used as often as `1/r^s`
//! says, scattered over the volume; within an extent any block is as likely. The best static placement knows the ranks: the hottest
//! extents are a volume in a pool on the fast device alone, the others one in a pool on the slow device alone.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command;
use crate::nbd::{Client, Command as Verb};
use crate::node::{self, Node, NodeOptions};
use crate::report::Steps;
use crate::scratch::{Scratch, require_space};
use crate::server::Server;
use crate::slow_device;
use crate::workspace::{self, Profile};

const BLOCK_BYTES: u64 = 4096;
/// What is used equally much.
const EXTENT_BYTES: u64 = 2 << 20;
/// Part of the best static placement that automatic placement must reach.
const PART_MIN: f64 = 0.85;
/// Part of the fast device that the hottest extents fill in the static placement: the rest is what the pool keeps for itself.
const STATIC_FILL: f64 = 0.80;
const FAST_POOL: &str = "fast";
const SLOW_POOL: &str = "slow";
const TIERED_POOL: &str = "tiered";

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Size of the fast device in MiB.
    #[arg(long, default_value_t = 256)]
    pub fast_mib: u64,
    /// Size of the slow device in MiB.
    #[arg(long, default_value_t = 1024)]
    pub slow_mib: u64,
    /// Size of the volume in MiB.
    #[arg(long, default_value_t = 640)]
    pub volume_mib: u64,
    /// Milliseconds that each request to the slow device takes.
    #[arg(long, default_value_t = 8)]
    pub delay_ms: u64,
    /// Exponent of Zipf's law.
    #[arg(long, default_value_t = 1.1)]
    pub exponent: f64,
    /// Percent of the requests that write.
    #[arg(long, default_value_t = 5)]
    pub write_percent: u64,
    /// Requests at once.
    #[arg(long, default_value_t = 16)]
    pub depth: usize,
    /// Seconds of load before automatic placement is measured.
    #[arg(long, default_value_t = 300)]
    pub warm_seconds: u64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Decides the requests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Build that is measured.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// SplitMix64: numbers that a seed decides.
struct Chance(Cell<u64>);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut mixed = self.0.get();
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Which extents are used how much.
struct Zipf {
    /// The part of all requests that goes to ranks up to this one.
    up_to: Vec<f64>,
    /// The extent of each rank.
    extents: Vec<u64>,
}

impl Zipf {
    fn new(extents: u64, exponent: f64, seed: u64) -> Self {
        let chance = Chance::new(seed);
        let mut shuffled: Vec<u64> = (0..extents).collect();
        for index in (1..shuffled.len()).rev() {
            shuffled.swap(index, chance.below(index as u64 + 1) as usize);
        }
        let weights = (1..=extents).map(|rank| (rank as f64).powf(-exponent));
        let all: f64 = weights.clone().sum();
        let mut sum = 0.0;
        let up_to = weights.map(|weight| {
            sum += weight / all;
            sum
        });
        Self { up_to: up_to.collect(), extents: shuffled }
    }

    /// The rank of one request.
    fn rank(&self, chance: &Chance) -> usize {
        let at = chance.below(1 << 53) as f64 / (1u64 << 53) as f64;
        self.up_to.partition_point(|&part| part < at).min(self.extents.len() - 1)
    }
}

/// Where an extent is: in which volume, and from which byte on.
type Places<'a> = &'a (dyn Fn(usize) -> (usize, u64) + Sync);

/// A node with a fast and a slow device.
struct Stage {
    node: Node,
    fast: PathBuf,
    slow: PathBuf,
    _server: Server,
}

impl Stage {
    fn start(options: &Options, bin_dir: &Path, dir: &Path) -> Result<Self> {
        std::fs::create_dir(dir)?;
        let fast = dir.join("fast.img");
        std::fs::File::create(&fast)?.set_len(options.fast_mib << 20)?;
        let (_server, slow) =
            slow_device::start(dir, options.slow_mib << 20, Duration::from_millis(options.delay_ms))?;
        let mut node_options: NodeOptions = node::options(bin_dir, dir);
        // What is in memory is nobody's placement.
        node_options.more.extend(["--read-cache", "0"].map(Into::into));
        Ok(Self { node: Node::start(node_options)?, fast, slow, _server })
    }

    fn quarry(&self, args: &[&str]) -> Result<String> {
        self.node.quarry().run(args)
    }

    fn make_pool(&self, name: &str, devices: &[(&Path, &str)]) -> Result<()> {
        let mut command = self.node.quarry().command();
        command.args(["pool", "create", name]);
        for (path, tier) in devices {
            command.arg("--device").arg(path).arg("--tier").arg(format!("{}={tier}", path.display()));
        }
        command::run(&mut command).map(drop)
    }

    fn make_volume(&self, name: &str, pool: &str, bytes: u64) -> Result<()> {
        let quarry = self.node.quarry();
        quarry.run(&["volume", "create", name, "--pool", pool, "--size", &bytes.to_string()])?;
        quarry.create_export(name).map(drop)
    }

    fn tiers(&self) -> Result<Value> {
        self.node.quarry().json(&["pool", "tiers", TIERED_POOL])
    }
}

/// Writes all extents of a volume in order; each block says where it is.
fn fill(stage: &Stage, volume: &str, bytes: u64) -> Result<()> {
    let mut client = Client::connect(&stage.node.socket(), volume, true)?;
    for offset in (0..bytes).step_by(EXTENT_BYTES as usize) {
        let data: Vec<u8> = (offset..offset + EXTENT_BYTES)
            .step_by(BLOCK_BYTES as usize)
            .flat_map(|at| block(at, 0))
            .collect();
        ensure!(client.call(Verb::Write, 0, offset, EXTENT_BYTES as u32, &data)? == 0, "a write failed");
    }
    ensure!(client.call(Verb::Flush, 0, 0, 0, &[])? == 0, "a flush failed");
    Ok(())
}

/// What a block holds: where it is, so that a wrong one is noticed, and what nobody can compress.
fn block(at: u64, version: u64) -> Vec<u8> {
    let chance = Chance::new(at ^ version.rotate_left(32));
    let mut bytes: Vec<u8> = (0..BLOCK_BYTES / 8).flat_map(|_| chance.next().to_le_bytes()).collect();
    bytes[..8].copy_from_slice(&at.to_le_bytes());
    bytes
}

/// Requests a second of a load on some volumes, for so long. `meanwhile` runs once a second.
fn load(
    stage: &Stage,
    (options, zipf): (&Options, &Zipf),
    (volumes, places): (&[&str], Places<'_>),
    time: Duration,
    seed: u64,
) -> Result<f64> {
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let blocks = EXTENT_BYTES / BLOCK_BYTES;
    let one = |worker: u64| -> Result<()> {
        let chance = Chance::new(seed * 1000 + worker);
        let connect = |volume: &&str| Client::connect(&stage.node.socket(), volume, true);
        let mut clients = volumes.iter().map(connect).collect::<Result<Vec<Client>>>()?;
        while !stop.load(Ordering::Relaxed) {
            let (volume, start) = places(zipf.rank(&chance));
            let at = start + chance.below(blocks) * BLOCK_BYTES;
            if chance.below(100) < options.write_percent {
                let data = block(at, chance.next());
                let error = clients[volume].call(Verb::Write, 0, at, BLOCK_BYTES as u32, &data)?;
                ensure!(error == 0, "a write failed with NBD error {error}");
            } else {
                let data = clients[volume].read(at, BLOCK_BYTES as u32)?;
                ensure!(data[..8] == at.to_le_bytes(), "byte {at} holds something else");
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let began = Instant::now();
    scope(|scope| {
        let workers: Vec<_> =
            (0..options.depth as u64).map(|worker| scope.spawn(move || one(worker))).collect();
        while began.elapsed() < time && workers.iter().all(|worker| !worker.is_finished()) {
            sleep(Duration::from_millis(100));
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic in a worker"))
    })?;
    Ok(done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let what = "reads and writes by Zipf's law on a fast and a slow device: automatic placement beside the best static one";
    let mut steps = Steps::begin("tiering", what);
    command::require(&[slow_device::PROGRAM])?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("tiering")?;
    require_space(scratch.path(), (options.fast_mib + options.slow_mib) << 20)?;
    let extents = (options.volume_mib << 20) / EXTENT_BYTES;
    let zipf = Zipf::new(extents, options.exponent, options.seed);
    let best = static_placement(options, &zipf, (&bin_dir, &scratch.path().join("static")), &mut steps)?;
    let reached =
        automatic_placement(options, &zipf, (&bin_dir, &scratch.path().join("tiered")), &mut steps)?;
    let part = reached / best;
    steps.note(format!("automatic placement reaches {part:.2} of the best static one"));
    ensure!(part >= PART_MIN, "automatic placement must reach {PART_MIN} of the best static one");
    steps.pass();
    Ok(())
}

/// The hottest extents on the fast device from the start.
fn static_placement(
    options: &Options,
    zipf: &Zipf,
    (bin_dir, dir): (&Path, &Path),
    steps: &mut Steps,
) -> Result<f64> {
    let hot = ((options.fast_mib << 20) as f64 * STATIC_FILL / EXTENT_BYTES as f64) as u64;
    let cold = zipf.extents.len() as u64 - hot;
    let stage = steps.step("two pools, a fast and a slow one, and a volume in each", || {
        let stage = Stage::start(options, bin_dir, dir)?;
        stage.make_pool(FAST_POOL, &[(&stage.fast, "nvme")])?;
        stage.make_pool(SLOW_POOL, &[(&stage.slow, "hdd")])?;
        for (volume, pool, count) in [("hot", FAST_POOL, hot), ("cold", SLOW_POOL, cold)] {
            stage.make_volume(volume, pool, count * EXTENT_BYTES)?;
            fill(&stage, volume, count * EXTENT_BYTES)?;
        }
        Ok(stage)
    })?;
    steps.note(format!(
        "the {hot} hottest of {} extents get {:.1} % of the requests",
        zipf.extents.len(),
        100.0 * zipf.up_to[hot as usize - 1]
    ));
    let places = |rank: usize| match (rank as u64).checked_sub(hot) {
        None => (0usize, rank as u64 * EXTENT_BYTES),
        Some(rank) => (1, rank * EXTENT_BYTES),
    };
    let volumes = (&["hot", "cold"][..], &places as Places<'_>);
    let rate = steps.step_with(
        "the best static placement",
        || load(&stage, (options, zipf), volumes, Duration::from_secs(options.seconds), 1),
        |rate| format!("{rate:.0} requests/s"),
    )?;
    end(stage)?;
    Ok(rate)
}

/// One pool of both devices, written in order of addresses.
fn automatic_placement(
    options: &Options,
    zipf: &Zipf,
    (bin_dir, dir): (&Path, &Path),
    steps: &mut Steps,
) -> Result<f64> {
    let stage = steps.step("one pool of both, and a volume that nothing is known of", || {
        let stage = Stage::start(options, bin_dir, dir)?;
        stage.make_pool(TIERED_POOL, &[(&stage.fast, "nvme"), (&stage.slow, "hdd")])?;
        stage.make_volume("all", TIERED_POOL, options.volume_mib << 20)?;
        fill(&stage, "all", options.volume_mib << 20)?;
        Ok(stage)
    })?;
    let places = |rank: usize| (0usize, zipf.extents[rank] * EXTENT_BYTES);
    let volumes = (&["all"][..], &places as Places<'_>);
    let run =
        |seconds: u64, seed: u64| load(&stage, (options, zipf), volumes, Duration::from_secs(seconds), seed);
    let shown = |rate: &f64| format!("{rate:.0} requests/s");
    steps.step_with("as it was written", || run(5, 2), shown)?;
    steps.step_with("while it is placed anew", || run(options.warm_seconds, 3), shown)?;
    let rate = steps.step_with("automatic placement", || run(options.seconds, 4), shown)?;
    let tiers = stage.tiers()?;
    let count = |what: &str| tiers[what].as_u64().with_context(|| format!("the tiers say no {what}"));
    let (promoted, demoted, moved) =
        (count("promoted_segments")?, count("demoted_segments")?, count("moved_bytes")?);
    steps.note(format!("{promoted} segments were promoted, {demoted} demoted, {} MiB copied", moved >> 20));
    ensure!(promoted > 0 && demoted > 0, "what is cold must leave, and what is hot must come: {tiers}");
    let why = stage.quarry(&["why", "volume", "all"])?;
    steps.note(format!("quarry why volume:\n{why}"));
    for part in ["nvme", "hdd", "hot", "cold"] {
        ensure!(why.contains(part), "`quarry why volume` does not speak of '{part}'");
    }
    end(stage)?;
    Ok(rate)
}

/// Stops a node and has its pools checked.
fn end(stage: Stage) -> Result<()> {
    let Stage { mut node, _server, .. } = stage;
    node.check_running()?;
    node.stop()?;
    node.check()
}
