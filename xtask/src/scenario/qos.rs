//! What is promised about quality of service, with a real node and real load: limits, reservations, a noisy neighbour.
//!
//! Everything is measured several times, in turns, and judged by medians: machines have moods.

mod hosts;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::hosts::{Busy, BusyHost, alone, p99, paced};
use crate::node::{self, Node, POOL};
use crate::report::Steps;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

/// Part by which a limit may be missed.
const LIMIT_PART: f64 = 0.05;
/// Part by which less may be given than was promised.
const RESERVATION_PART: f64 = 0.10;
/// Factor by which a noisy neighbour may move the 99th percentile of a volume with a reservation.
const NOISE_MAX: f64 = 1.25;

const QUIET: &str = "quiet";
const NOISY: &str = "noisy";
const VOLUME_BYTES: u64 = 512 << 20;
const DEVICE_BYTES: u64 = 8 << 30;
/// Until what was changed counts and what was saved up is used.
const SETTLE: Duration = Duration::from_millis(400);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Rounds, each of which measures everything once.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,
    /// Reads a second of the quiet host.
    #[arg(long, default_value_t = 400)]
    pub quiet_rate: u32,
    /// The quiet host's latency target, as a part of its 99th percentile alone as the node counts it: what is on the way to the host comes
    /// on top, and a target that is met just so leaves that no room.
    #[arg(long, default_value_t = 0.6)]
    pub target_part: f64,
    /// Build that is measured.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// The 99th percentile of the reads of the quiet host, in microseconds.
#[derive(Clone, Copy)]
struct Tail {
    /// As the host sees it, on a CPU that the node's core does not have.
    host: f64,
    /// As the node counts it, to a quarter of a doubling.
    node: f64,
}

/// Figures of all rounds.
#[derive(Default)]
struct Figures {
    iops: Vec<f64>,
    bytes: Vec<f64>,
    group: Vec<f64>,
    reserved: Vec<f64>,
    alone_us: Vec<Tail>,
    beside_us: Vec<Tail>,
    unprotected_us: Vec<Tail>,
    noisy_rate: Vec<f64>,
    free_rate: Vec<f64>,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The load of a host that takes all it can get.
const FULL: Busy = Busy { depth: 32, length: 4096, writes_one_in: 2 };

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let what = "limits, reservations and a noisy neighbour, measured";
    let mut steps = Steps::begin("qos", what);
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("qos")?;
    require_space(scratch.path(), DEVICE_BYTES)?;
    let devices = scratch.devices(1, DEVICE_BYTES)?;
    let node = steps.step("start a node of one core with two volumes that are written once", || {
        let node_options = node::NodeOptions { cores: Some(1), ..node::options(&bin_dir, scratch.path()) };
        let node = Node::start(node_options)?;
        node.quarry().create_pool(POOL, &devices, "copies:1")?;
        for volume in [QUIET, NOISY] {
            node.quarry().create_volume(volume, POOL, VOLUME_BYTES, "flush")?;
            node.quarry().create_export(volume)?;
            fill(&node.socket(), volume)?;
        }
        Ok(node)
    })?;
    let mut figures = Figures::default();
    for round in 0..options.rounds {
        steps.step(format!("round {}", round + 1), || measure(&node, options, &mut figures, round as u64))?;
    }
    report(&steps, &figures);
    let mut node = node;
    node.check_running()?;
    node.stop()?;
    judge(&figures)?;
    steps.pass();
    Ok(())
}

/// Writes all of a volume once.
fn fill(socket: &Path, volume: &str) -> Result<()> {
    let mut client = crate::nbd::Client::connect(socket, volume, false)?;
    let data = vec![0x5a; 1 << 20];
    for offset in (0..client.info.size_bytes).step_by(data.len()) {
        let error = client.call(crate::nbd::Command::Write, 0, offset, data.len() as u32, &data)?;
        ensure!(error == 0, "volume {volume} cannot be written: NBD error {error}");
    }
    Ok(())
}

/// Says what a volume gets, and nothing else of before.
fn set(node: &Node, volume: &str, options: &[&str]) -> Result<()> {
    node.quarry().run(&[&["volume", "set", volume, "--no-qos"], options].concat())?;
    Ok(())
}

fn measure(node: &Node, options: &Options, figures: &mut Figures, round: u64) -> Result<()> {
    let (socket, time) = (node.socket(), Duration::from_secs_f64(options.seconds));
    let rate = |volume: &str, what: Busy| -> Result<f64> {
        let host = BusyHost::start(&socket, volume, what, round)?;
        std::thread::sleep(SETTLE);
        let rate = host.rate(time);
        host.stop()?;
        Ok(rate)
    };
    for volume in [QUIET, NOISY] {
        set(node, volume, &[])?;
    }
    figures.free_rate.push(rate(NOISY, FULL)?);
    // Limits.
    set(node, NOISY, &["--iops-max", "2000"])?;
    figures.iops.push(rate(NOISY, FULL)? / 2000.0);
    set(node, NOISY, &["--bandwidth-max", "32MiB"])?;
    let large = Busy { length: 64 << 10, depth: 8, ..FULL };
    figures.bytes.push(rate(NOISY, large)? * f64::from(large.length) / f64::from(32 << 20));
    set(node, NOISY, &[])?;
    figures.group.push(in_group(node, round, time)?);
    // A reservation, against a neighbour that takes all it can get.
    let promised = (median(&figures.free_rate) / 4.0).floor();
    set(node, QUIET, &["--iops-min", &promised.to_string(), "--weight", "1"])?;
    let neighbour = BusyHost::start(&socket, NOISY, Busy { depth: 64, ..FULL }, round + 1000)?;
    figures.reserved.push(rate(QUIET, Busy { depth: 16, ..FULL })? / promised);
    neighbour.stop()?;
    set(node, QUIET, &[])?;
    // The quiet host alone and beside the noisy one, in turns, and once without a reservation.
    let quiet = |seed: u64| -> Result<Tail> {
        let before = read_latencies(node, QUIET)?;
        let host = alone(|| p99(&paced(&socket, QUIET, options.quiet_rate, time, seed)?))?;
        Ok(Tail { host, node: p99_between(&before, &read_latencies(node, QUIET)?) })
    };
    figures.alone_us.push(quiet(round * 4)?);
    // Of what `quarry volume stats` shows of the volume when it has the node for itself.
    let alone_us = median_of(&figures.alone_us, |tail| tail.node);
    let (promised, target) = (options.quiet_rate * 2, (alone_us * options.target_part).max(1.0));
    let (promised, target) = (promised.to_string(), format!("{target:.0}"));
    set(node, QUIET, &["--iops-min", &promised, "--latency-target-us", &target])?;
    let neighbour = BusyHost::start(&socket, NOISY, FULL, round + 2000)?;
    // The node follows the quiet host's requests: it hears of a thousand first.
    paced(&socket, QUIET, options.quiet_rate, time, round * 4 + 3)?;
    let before = neighbour.answered();
    figures.beside_us.push(quiet(round * 4 + 1)?);
    figures.noisy_rate.push((neighbour.answered() - before) as f64 / time.as_secs_f64());
    set(node, QUIET, &[])?;
    figures.unprotected_us.push(quiet(round * 4 + 2)?);
    neighbour.stop()
}

/// How often the reads of a volume took how long, by least microseconds.
fn read_latencies(node: &Node, volume: &str) -> Result<BTreeMap<u64, u64>> {
    let stats = node.quarry().json(&["volume", "stats", volume])?;
    let buckets = stats["read"]["latency"]["buckets"].clone();
    let pairs: Vec<(u64, u64)> = serde_json::from_value(buckets).context("the stats have latencies")?;
    Ok(pairs.into_iter().collect())
}

/// The 99th percentile of what came to it meanwhile.
fn p99_between(before: &BTreeMap<u64, u64>, after: &BTreeMap<u64, u64>) -> f64 {
    let new = |(bound, count): (&u64, &u64)| (*bound, count - before.get(bound).copied().unwrap_or(0));
    let counts: Vec<(u64, u64)> = after.iter().map(new).collect();
    let slow = counts.iter().map(|(_, count)| count).sum::<u64>() / 100;
    let mut above = 0;
    let found = counts.iter().rev().find(|(_, count)| {
        above += count;
        above > slow
    });
    found.map_or(0.0, |(bound, _)| *bound as f64 * 1.19)
}

/// The part of their common limit that two volumes of a group get together.
fn in_group(node: &Node, round: u64, time: Duration) -> Result<f64> {
    const LIMIT: f64 = 3000.0;
    let socket = node.socket();
    node.quarry().run(&["group", "create", "both", QUIET, NOISY, "--iops-max", "3000"])?;
    let hosts = [QUIET, NOISY].map(|volume| BusyHost::start(&socket, volume, FULL, round + 3000));
    let [one, other] = hosts;
    let (one, other) = (one?, other?);
    std::thread::sleep(SETTLE);
    let before = one.answered() + other.answered();
    let began = std::time::Instant::now();
    std::thread::sleep(time);
    let rate = (one.answered() + other.answered() - before) as f64 / began.elapsed().as_secs_f64();
    one.stop()?;
    other.stop()?;
    node.quarry().run(&["group", "delete", "both"]).context("the group is not needed any more")?;
    Ok(rate / LIMIT)
}

fn median_of(tails: &[Tail], what: impl Fn(&Tail) -> f64) -> f64 {
    median(&tails.iter().map(what).collect::<Vec<f64>>())
}

fn report(steps: &Steps, figures: &Figures) {
    steps.note(format!(
        "limits, as parts of what is allowed: IOPS {:.3}, bytes {:.3}, two volumes of a group {:.3}",
        median(&figures.iops),
        median(&figures.bytes),
        median(&figures.group)
    ));
    steps.note(format!(
        "reservation: {:.3} of what was promised, a quarter of the {:.0} IOPS of one volume alone",
        median(&figures.reserved),
        median(&figures.free_rate)
    ));
    let tails = [("the quiet host", false), ("the node", true)];
    for (who, is_node) in tails {
        let of = |tails: &[Tail]| median_of(tails, |tail| if is_node { tail.node } else { tail.host });
        steps.note(format!(
            "p99 as {who} sees it: {:.0} us alone, {:.0} us beside a neighbour that gets {:.0} IOPS, {:.0} us without a reservation",
            of(&figures.alone_us),
            of(&figures.beside_us),
            median(&figures.noisy_rate),
            of(&figures.unprotected_us)
        ));
    }
}

fn judge(figures: &Figures) -> Result<()> {
    for (what, values) in [("IOPS", &figures.iops), ("bytes", &figures.bytes), ("a group", &figures.group)] {
        let part = median(values);
        ensure!((part - 1.0).abs() <= LIMIT_PART, "the limit of {what} gives {part:.3} of what is allowed");
    }
    let kept = median(&figures.reserved);
    ensure!(kept >= 1.0 - RESERVATION_PART, "a reservation gives {kept:.3} of what was promised");
    let moved =
        median_of(&figures.beside_us, |tail| tail.host) / median_of(&figures.alone_us, |tail| tail.host);
    ensure!(
        moved <= NOISE_MAX,
        "a noisy neighbour makes the p99 of a volume with a reservation {moved:.2} times as long"
    );
    Ok(())
}
