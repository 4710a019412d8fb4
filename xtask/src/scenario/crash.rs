//! kill -9 at random moments under verified load, restart at once, verify everything.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{require_no_failed_request, require_no_violation};
use crate::load::Fabric;
use crate::node::{self, Node, VOLUME};
use crate::oracle::{self, Access, Load, LoadOptions, LoadReport, Mix, Oracle};
use crate::peer::Peer;
use crate::report::{Steps, mebibytes, seconds, table};
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

mod kept;
mod shared;

use kept::Kept;
use shared::Shared;

const DEVICES: usize = 3;
/// The daemon lives for a random time in this range, counted from the start of the load.
const LIFE_MS: std::ops::RangeInclusive<u64> = 20..=1500;

/// Which numbers of copies are tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Copies {
    /// One copy.
    #[value(name = "1")]
    One,
    /// Two copies.
    #[value(name = "2")]
    Two,
    /// One after the other.
    Both,
}

impl Copies {
    /// The numbers.
    pub fn list(self) -> &'static [u8] {
        match self {
            Self::One => &[1],
            Self::Two => &[2],
            Self::Both => &[1, 2],
        }
    }
}

/// What is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Victim {
    /// quarryd.
    Quarryd,
    /// qemu-nbd on a raw file, to try the oracle itself.
    QemuNbd,
}

/// By what the load reaches the volume. Verification is over NBD whatever it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Protocol {
    /// NBD, by the unix socket.
    Nbd,
    /// iSCSI.
    Iscsi,
    /// NVMe/TCP.
    NvmeTcp,
}

impl Protocol {
    fn fabric(self) -> Option<Fabric> {
        match self {
            Self::Nbd => None,
            Self::Iscsi => Some(Fabric::Iscsi),
            Self::NvmeTcp => Some(Fabric::NvmeTcp),
        }
    }
}

/// How a crash run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Kills for each number of copies.
    #[arg(long, default_value_t = 50)]
    pub rounds: u32,
    /// Copies of the pool.
    #[arg(long, value_enum, default_value = "both")]
    pub copies: Copies,
    /// Decides the requests and the moments of the kills; a random one is chosen and printed when absent.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Durability of the volume.
    #[arg(long, default_value = "flush", value_parser = ["flush", "always"])]
    pub durability: String,
    /// Size of the volume in MiB, all of which is verified after each kill.
    #[arg(long, default_value_t = 512)]
    pub volume_mib: u64,
    /// Size of each of the three devices in MiB. Small ones keep the cleaner busy.
    #[arg(long, default_value_t = 1024)]
    pub device_mib: u64,
    /// The volume is encrypted and compressed, and gets snapshots and clones under load, up to 50 and 10.
    #[arg(long)]
    pub everything: bool,
    /// By what the load reaches the volume; it is verified over NBD.
    #[arg(long, value_enum, default_value = "nbd")]
    pub protocol: Protocol,
    /// What is killed.
    #[arg(long, value_enum, default_value = "quarryd")]
    pub victim: Victim,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
    /// Keep the devices and logs of a run that fails.
    #[arg(long)]
    pub keep: bool,
}

/// The server under test, whichever it is.
enum Subject {
    Quarryd {
        node: Box<Node>,
        /// Where the load finds the volume.
        access: Access,
    },
    QemuNbd {
        peer: Peer,
        scratch: std::path::PathBuf,
    },
}

impl Subject {
    fn socket(&self) -> std::path::PathBuf {
        match self {
            Self::Quarryd { node, .. } => node.socket(),
            Self::QemuNbd { peer, .. } => peer.socket.clone(),
        }
    }

    fn export(&self) -> &'static str {
        if let Self::Quarryd { .. } = self { VOLUME } else { "" }
    }

    fn access(&self) -> Access {
        match self {
            Self::Quarryd { access, .. } => access.clone(),
            Self::QemuNbd { peer, .. } => Access::nbd(peer.socket.clone(), ""),
        }
    }

    /// Peers may let a read see half of a write that is under way, so theirs are judged at rest only.
    fn mix(&self) -> Mix {
        match self {
            Self::Quarryd { .. } => Mix::default(),
            Self::QemuNbd { .. } => Mix { read: 0, ..Mix::default() },
        }
    }

    fn kill(&mut self) -> Result<()> {
        match self {
            Self::Quarryd { node, .. } => {
                node.check_running()?;
                node.kill()
            }
            Self::QemuNbd { peer, .. } => peer.server.kill(),
        }
    }

    /// Starts it again and waits until it serves a read; returns how long both took, with the wait for the old process's
    /// I/O.
    fn restart(&mut self) -> Result<Duration> {
        let start = Instant::now();
        match self {
            Self::Quarryd { node, .. } => _ = node.restart()?,
            Self::QemuNbd { peer, scratch } => *peer = Peer::stand_in(scratch, &scratch.join("image"))?,
        }
        first_read(&self.socket(), self.export())?;
        Ok(start.elapsed())
    }
}

/// Reads one block of the export.
pub fn first_read(socket: &Path, export: &str) -> Result<()> {
    let mut client = crate::nbd::Client::connect(socket, export, true)?;
    client.read(0, 4096).context("the first read after the restart").map(drop)
}

/// One row of the summary.
struct Round {
    life_ms: u64,
    load: LoadReport,
    restart: Duration,
    verified: oracle::VerifyReport,
}

/// Runs it all.
pub fn run(options: &Options) -> Result<()> {
    let seed =
        options.seed.unwrap_or_else(|| u64::from(UNIX_EPOCH.elapsed().map_or(1, |now| now.subsec_nanos())));
    let bin_dir = match options.victim {
        Victim::Quarryd => workspace::build(options.profile, &["quarryd", "quarry"])?,
        Victim::QemuNbd => {
            ensure!(options.protocol == Protocol::Nbd, "qemu-nbd speaks NBD only: leave --protocol away");
            std::path::PathBuf::new()
        }
    };
    for &copies in options.copies.list() {
        run_with_copies(options, copies, seed, &bin_dir)
            .with_context(|| format!("replay with --seed {seed}"))?;
    }
    Ok(())
}

fn run_with_copies(options: &Options, copies: u8, seed: u64, bin_dir: &Path) -> Result<()> {
    let mut steps = Steps::begin(
        "crash",
        &format!(
            "{} kills, {copies} copies, durability {}, load over {:?}, seed {seed}",
            options.rounds, options.durability, options.protocol
        ),
    );
    let mut scratch = Scratch::new("crash")?;
    require_space(scratch.path(), DEVICES as u64 * (options.device_mib << 20))?;
    let result = rounds(options, copies, seed, bin_dir, &scratch, &mut steps);
    if result.is_err() && options.keep {
        scratch.keep();
    }
    let rounds = result?;
    summarize(&rounds);
    steps.pass();
    Ok(())
}

fn start(options: &Options, copies: u8, bin_dir: &Path, scratch: &Scratch) -> Result<Subject> {
    let volume_bytes = options.volume_mib << 20;
    if options.victim == Victim::QemuNbd {
        let image = scratch.device("image", volume_bytes)?;
        let peer = Peer::stand_in(scratch.path(), &image)?;
        return Ok(Subject::QemuNbd { peer, scratch: scratch.path().to_owned() });
    }
    let devices = scratch.devices(DEVICES, options.device_mib << 20)?;
    let mut node_options = node::options(bin_dir, scratch.path());
    let mut volume = vec!["--durability", &options.durability];
    if options.everything {
        node_options.passphrase = Some(node::write_passphrase(scratch.path(), "crash")?);
        volume.extend(["--encrypt", "--compression", "lz4"]);
        volume.extend(["--deduplication", "verified", "--history", "20s"]);
    }
    node_options.has_fabrics = options.protocol.fabric().is_some();
    let node =
        node::start_with_volume(node_options, &devices, &format!("copies:{copies}"), volume_bytes, &volume)?;
    let access = match options.protocol.fabric() {
        None => Access::nbd(node.socket(), VOLUME),
        Some(fabric) => Access::Unit(node.quarry().create_unit(VOLUME, fabric)?),
    };
    Ok(Subject::Quarryd { node: Box::new(node), access })
}

fn rounds(
    options: &Options,
    copies: u8,
    seed: u64,
    bin_dir: &Path,
    scratch: &Scratch,
    steps: &mut Steps,
) -> Result<Vec<Round>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ u64::from(copies));
    let oracle = Oracle::new(random.random(), 0..options.volume_mib << 20);
    let mut subject =
        steps.step("start, with three devices and a volume", || start(options, copies, bin_dir, scratch))?;
    let mut rounds = Vec::new();
    let mut others = options.everything.then(Others::default);
    for number in 1..=options.rounds {
        let what = format!("kill {number} of {}", options.rounds);
        let work = || round(&mut subject, &oracle, &mut random, others.as_mut());
        let round = steps.step_with(what, work, |round| {
            format!(
                "lived {} ms, {} writes acknowledged, {} in flight; serving after {}; verified in {}",
                round.life_ms,
                round.load.acknowledged,
                round.load.in_flight,
                seconds(round.restart),
                seconds(round.verified.elapsed),
            )
        })?;
        rounds.push(round);
    }
    if let (Subject::Quarryd { node, .. }, Some(others)) = (&subject, &others) {
        steps.step("clones that nobody wrote to hold what their snapshots hold", || {
            others.kept.compare(node)
        })?;
        steps.note(format!("{} of copies were found instead of stored", others.shared.found()?));
    }
    if let Subject::Quarryd { node, .. } = &mut subject {
        steps.step("clean stop, start, once more everything; kill, and quarryd check", || {
            node.stop()?;
            node.restart()?;
            oracle::verify(&oracle, &node.socket(), VOLUME, "after a clean stop")?;
            node.kill()?;
            node.check()?;
            node.restart()?;
            require_no_violation(&oracle)
        })?;
    }
    Ok(rounds)
}

fn round(
    subject: &mut Subject,
    oracle: &Oracle,
    random: &mut ChaCha8Rng,
    mut others: Option<&mut Others>,
) -> Result<Round> {
    let load_options = LoadOptions {
        access: subject.access(),
        connections: random.random_range(1..=4),
        depth: random.random_range(1..=32),
        seed: random.random(),
        mix: subject.mix(),
    };
    let life_ms = random.random_range(LIFE_MS);
    let load = Load::start(oracle, &load_options)?;
    sleep(Duration::from_millis(life_ms));
    if let (Subject::Quarryd { node, .. }, Some(others)) = (&*subject, others.as_deref_mut()) {
        others.kept.step(node)?;
        others.shared.step(node, random)?;
    }
    subject.kill()?;
    let load = load.finish()?;
    require_no_failed_request(&load)?;
    require_no_violation(oracle).context("before the kill")?;
    let restart = subject.restart()?;
    let verified = oracle::verify(oracle, &subject.socket(), subject.export(), "after the kill")?;
    require_no_violation(oracle)?;
    ensure!(oracle.model().open_blocks() == 0, "the verification left blocks open");
    if let (Subject::Quarryd { node, .. }, Some(others)) = (&*subject, others) {
        others.shared.verify(node)?;
    }
    Ok(Round { life_ms, load, restart, verified })
}

/// What there is beside the volume under load.
#[derive(Default)]
struct Others {
    kept: Kept,
    shared: Shared,
}

fn summarize(rounds: &[Round]) {
    let mut load = LoadReport::default();
    rounds.iter().for_each(|round| load.add(&round.load));
    let restarts = || rounds.iter().map(|round| round.restart);
    let verified: u64 = rounds.iter().map(|round| round.verified.bytes).sum();
    let mean = restarts().sum::<Duration>() / (rounds.len().max(1) as u32);
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    print!(
        "{}",
        table(&[
            row("kills", rounds.len().to_string()),
            row("writes acknowledged", load.acknowledged.to_string()),
            row("data acknowledged", mebibytes(load.written_bytes)),
            row("reads judged under load", load.reads.to_string()),
            row("writes in flight at a kill", load.in_flight.to_string()),
            row("bytes verified", mebibytes(verified)),
            row("restart to first read, mean", seconds(mean)),
            row("restart to first read, longest", seconds(restarts().max().unwrap_or_default())),
            row("blocks lost, torn or misplaced", "0".to_owned()),
        ])
    );
}
