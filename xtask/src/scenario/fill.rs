//! A pool is filled to the last block under verified load, and what is freed is used again, many times and without a restart.
//!
//! Beside a volume under load a second one, the ballast, is written until it is refused. At full everything that needs no space
//! must go on. Then space is freed by a discard, by deleting the ballast, or by deleting a snapshot of it, in turn, and writes must
//! go on by themselves.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::require_no_violation;
use crate::nbd::{Client, Command};
use crate::node::{self, Node, POOL, VOLUME};
use crate::oracle::{self, Access, Filled, Load, LoadOptions, LoadReport, Mix, Oracle};
use crate::report::{Steps, mebibytes, seconds};
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const BALLAST: &str = "ballast";
const SNAPSHOT: &str = "ballast@old";
/// The longest that a refusal may take.
const REFUSAL_MAX: Duration = Duration::from_secs(10);
/// The same once the pool is known to be full.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Until writes go on after something was freed.
const RESUME_MAX: Duration = Duration::from_secs(30);
/// What is overwritten while the pool is full.
const OVERWRITTEN_BYTES: u64 = 8 << 20;
/// Load with the pool full, and after something was freed.
const LOAD_PERIOD: Duration = Duration::from_millis(700);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How often the pool is filled.
    #[arg(long, default_value_t = 20)]
    pub rounds: u64,
    /// Size of each of the two devices in MiB.
    #[arg(long, default_value_t = 768)]
    pub device_mib: u64,
    /// Copies of the pool.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub copies: u8,
    /// Decides the requests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// What a round has shown.
#[derive(Default)]
struct Shown {
    filled_bytes: u64,
    refusal: Duration,
    resumed: Duration,
    load: LoadReport,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps =
        Steps::begin("fill", "a full pool refuses writes, loses nothing, and goes on when it can");
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("fill")?;
    let device_bytes = options.device_mib << 20;
    require_space(scratch.path(), 2 * device_bytes)?;
    let devices = scratch.devices(2, device_bytes)?;
    let node_options = node::NodeOptions { cores: Some(2), ..node::options(&bin_dir, scratch.path()) };
    let volume_bytes = device_bytes / 8;
    let mut node = steps.step("start", || {
        node::start_with_volume(
            node_options,
            &devices,
            &format!("copies:{}", options.copies),
            volume_bytes,
            &[],
        )
    })?;
    let oracle = Oracle::new(options.seed, 0..volume_bytes);
    for round in 0..options.rounds {
        let way = Way::of(round);
        let shown = steps.step(format!("fill, free by {}", way.in_words()), || {
            Round { node: &node, oracle: &oracle, options, round, way }.run()
        })?;
        let Shown { filled_bytes, refusal, resumed, load } = shown;
        steps.note(format!(
            "{} fitted in; a refusal took {} at most, writes went on {} after the space was freed; load: {} writes, {} refused",
            mebibytes(filled_bytes),
            seconds(refusal.max(load.slowest_refusal)),
            seconds(resumed),
            load.acknowledged,
            load.refused
        ));
        node.check_running()?;
    }
    steps.step("the event log tells of it", || check_events(&node))?;
    steps.step("stop, check", || {
        node.stop()?;
        node.check()
    })?;
    steps.step("start again, verify", || {
        node.restart()?;
        oracle::verify(&oracle, &node.socket(), VOLUME, "after a restart")?;
        require_no_violation(&oracle)?;
        node.stop()
    })?;
    steps.pass();
    Ok(())
}

/// How space is freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Discard,
    DeleteVolume,
    DeleteSnapshot,
}

impl Way {
    fn of(round: u64) -> Self {
        [Self::Discard, Self::DeleteVolume, Self::DeleteSnapshot][(round % 3) as usize]
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Discard => "a discard",
            Self::DeleteVolume => "deleting a volume",
            Self::DeleteSnapshot => "deleting a snapshot",
        }
    }
}

struct Round<'a> {
    node: &'a Node,
    oracle: &'a Oracle,
    options: &'a Options,
    round: u64,
    way: Way,
}

impl Round<'_> {
    fn run(&self) -> Result<Shown> {
        let quarry = self.node.quarry();
        // More than there is, so that the volume's own size is no bound.
        let ballast_bytes = (5 * self.options.device_mib) << 19;
        quarry.create_volume(BALLAST, POOL, ballast_bytes, "flush")?;
        quarry.create_export(BALLAST)?;
        let ballast = Oracle::new(self.options.seed + 1 + self.round, 0..ballast_bytes);
        let mut shown = Shown::default();
        let load = self.start_load()?;
        let filled = self.fill(&ballast, 0)?;
        shown.refusal = filled.refusal;
        sleep(LOAD_PERIOD);
        shown.load.add(&self.finish(load)?);
        // The load has freed some with its trims.
        let filled = self.fill(&ballast, filled.bytes)?;
        (shown.filled_bytes, shown.refusal) = (filled.bytes, shown.refusal.max(filled.refusal));
        self.at_full(&ballast, &filled).context("with the pool full")?;
        let load = self.start_load()?;
        self.free(&ballast, &filled)?;
        shown.resumed = self.resume(&ballast).context("after space was freed")?;
        sleep(LOAD_PERIOD);
        shown.load.add(&self.finish(load)?);
        self.verify(&ballast, "after the round")?;
        if self.way != Way::DeleteVolume {
            self.delete_ballast()?;
        }
        ensure!(shown.refusal <= REFUSAL_MAX, "a refusal took {}", seconds(shown.refusal));
        Ok(shown)
    }

    /// Half a device, or a quarter where the pool holds everything twice.
    fn half_device_mib(&self) -> u64 {
        self.options.device_mib / 2 / u64::from(self.options.copies)
    }

    fn start_load(&self) -> Result<Load> {
        let options = LoadOptions {
            access: Access::nbd(self.node.socket(), VOLUME),
            connections: 1,
            depth: 4,
            seed: self.options.seed + 100 * self.round,
            // The ballast is to fill the pool, not the load to keep the cleaner busy.
            mix: Mix { read: 60, write: 30, write_zeroes: 4, trim: 4, flush: 2 },
        };
        Load::start(self.oracle, &options)
    }

    /// No space is the only error that the load may have met.
    fn finish(&self, load: Load) -> Result<LoadReport> {
        let report = load.finish()?;
        ensure!(
            report.failed == report.refused && report.broken == 0,
            "errors other than no space: {}",
            report.errors.join("; ")
        );
        Ok(report)
    }

    /// Writes the ballast from a byte on until it is refused; where a snapshot is to be deleted, it holds the first part.
    fn fill(&self, ballast: &Oracle, from: u64) -> Result<Filled> {
        let socket = self.node.socket();
        if self.way == Way::DeleteSnapshot && from == 0 {
            let held = 0..self.half_device_mib() << 20;
            let filled = oracle::write_until_refused(ballast, &socket, BALLAST, held)?;
            ensure!(filled.refusal.is_zero(), "a fresh pool refused a write");
            let (volume, name) = SNAPSHOT.split_once('@').context("a snapshot's path")?;
            self.node.quarry().run(&["snapshot", "create", volume, "--name", name])?;
        }
        let region = ballast.model().region();
        let filled = oracle::write_until_refused(ballast, &socket, BALLAST, from..region.end)?;
        ensure!(filled.bytes < region.end, "more than the pool holds fitted in");
        Ok(filled)
    }

    /// What needs no space goes on, and what needs some is refused.
    fn at_full(&self, ballast: &Oracle, filled: &Filled) -> Result<()> {
        self.verify(ballast, "with the pool full")?;
        // What the cleaner has gained meanwhile is taken too; then a refusal comes at once.
        let filled = self.fill(ballast, filled.bytes)?;
        let again = self.fill(ballast, filled.bytes)?;
        ensure!(again.refusal <= AT_ONCE, "with the pool full, a refusal took {}", seconds(again.refusal));
        let mut client = Client::connect(&self.node.socket(), BALLAST, true)?;
        let model = |effect, range: &std::ops::Range<u64>| ballast.model().sent(range, effect);
        for (command, effect, offset) in [
            (Command::Trim, oracle::Effect::Trim, 0u64),
            (Command::WriteZeroes, oracle::Effect::Zero, 1 << 20),
        ] {
            let range = offset..offset + (64 << 10);
            let version = model(effect, &range).context("other load is under way")?;
            let error = client.call(command, 0, offset, 64 << 10, &[])?;
            ensure!(error == 0, "{command:?} was answered with error {error}");
            ballast.model().acknowledged(&range, version);
        }
        drop(client);
        if self.way != Way::DeleteSnapshot {
            // Blocks that nobody else holds: each frees as much as it takes.
            let from = whole_mib(filled.bytes / 2);
            let range = from..from + OVERWRITTEN_BYTES.min(whole_mib(filled.bytes / 4));
            let again = oracle::write_until_refused(ballast, &self.node.socket(), BALLAST, range.clone())?;
            ensure!(again.refusal.is_zero(), "an overwrite at {:#x} was refused", again.bytes);
        }
        self.verify(ballast, "after changes with the pool full")
    }

    fn free(&self, ballast: &Oracle, filled: &Filled) -> Result<()> {
        let quarry = self.node.quarry();
        match self.way {
            Way::DeleteVolume => self.delete_ballast()?,
            Way::DeleteSnapshot => _ = quarry.run(&["snapshot", "delete", SNAPSHOT])?,
            Way::Discard => {
                let mut client = Client::connect(&self.node.socket(), BALLAST, true)?;
                let range = 0..whole_mib(filled.bytes / 2);
                let version = ballast.model().sent(&range, oracle::Effect::Trim).context("other load")?;
                let error = client.call(Command::Trim, 0, 0, range.end as u32, &[])?;
                ensure!(error == 0, "a discard was answered with error {error}");
                ballast.model().acknowledged(&range, version);
            }
        }
        Ok(())
    }

    fn delete_ballast(&self) -> Result<()> {
        let quarry = self.node.quarry();
        // The node sees the end of a connection a moment later than we do.
        let began = Instant::now();
        while let Err(error) = quarry.run(&["export", "delete", BALLAST]) {
            ensure!(began.elapsed() < RESUME_MAX, "{error:#}");
            sleep(Duration::from_millis(20));
        }
        quarry.run(&["volume", "delete", BALLAST, "--with-snapshots"]).map(drop)
    }

    /// Waits until new blocks can be written, as many as half of what was freed for.
    fn resume(&self, ballast: &Oracle) -> Result<Duration> {
        let began = Instant::now();
        if self.way == Way::DeleteVolume {
            // New data of somebody else.
            let oracle = Oracle::new(self.options.seed, 0..self.half_device_mib() << 19);
            let quarry = self.node.quarry();
            quarry.create_volume(BALLAST, POOL, oracle.model().region().end, "flush")?;
            quarry.create_export(BALLAST)?;
            let region = oracle.model().region();
            let resumed = self.write_all_soon(&oracle, region, began)?;
            oracle::verify(&oracle, &self.node.socket(), BALLAST, "after the volume was made again")?;
            require_no_violation(&oracle)?;
            self.delete_ballast()?;
            return Ok(resumed);
        }
        let from = self.options.device_mib << 21;
        self.write_all_soon(ballast, from..from + (self.half_device_mib() << 19), began)
    }

    /// Writes a range; says how long it took until the first write was taken. From then on none may be refused.
    fn write_all_soon(
        &self,
        oracle: &Oracle,
        range: std::ops::Range<u64>,
        began: Instant,
    ) -> Result<Duration> {
        let first = range.start..range.start + (1 << 20);
        loop {
            let written = oracle::write_until_refused(oracle, &self.node.socket(), BALLAST, first.clone())?;
            if written.refusal.is_zero() {
                break;
            }
            ensure!(began.elapsed() < RESUME_MAX, "writes are still refused after {}", seconds(RESUME_MAX));
            sleep(Duration::from_millis(50));
        }
        let resumed = began.elapsed();
        let written = oracle::write_until_refused(oracle, &self.node.socket(), BALLAST, range.clone())?;
        ensure!(written.refusal.is_zero(), "a write at {:#x} was refused again", written.bytes);
        Ok(resumed)
    }

    fn verify(&self, ballast: &Oracle, when: &'static str) -> Result<()> {
        oracle::verify(self.oracle, &self.node.socket(), VOLUME, when)?;
        require_no_violation(self.oracle)?;
        if self.way != Way::DeleteVolume || when != "after the round" {
            oracle::verify(ballast, &self.node.socket(), BALLAST, when)?;
            require_no_violation(ballast)?;
        }
        Ok(())
    }
}

/// The node looks every two seconds, and a pool counts as usable once nothing was refused for a while.
fn check_events(node: &Node) -> Result<()> {
    let began = Instant::now();
    loop {
        let list = node.quarry().json(&["event", "list", "--object", POOL])?;
        let events = list.as_array().context("no list")?;
        let kinds: Vec<&str> = events.iter().filter_map(|event| event["kind"].as_str()).collect();
        let missing =
            ["pool-space-critical", "pool-full", "pool-usable"].iter().find(|kind| !kinds.contains(kind));
        let Some(missing) = missing else { return Ok(()) };
        ensure!(began.elapsed() < RESUME_MAX, "no event {missing}: {kinds:?}");
        sleep(Duration::from_millis(500));
    }
}

/// `bytes` rounded down to what one write takes.
fn whole_mib(bytes: u64) -> u64 {
    bytes >> 20 << 20
}
