//! A pool of a small fast device and a bucket of a real S3 server, under verified load: what is cold goes to the bucket; its server is killed
//! and started again, busy, slow and mute; an object is missing; the node is killed.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{finish_undisturbed, require_no_violation, summary};
use crate::command;
use crate::nbd::Client;
use crate::node::{self, Node, NodeOptions, POOL, VOLUME};
use crate::oracle::{self, Access, Load, LoadOptions, Mix, Oracle};
use crate::proxy::{Manner, Proxy};
use crate::report::Steps;
use crate::s3::{self, BUCKET, S3};
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

/// Bytes of an object with data, and of what is read at once to find out which blocks are in it.
const OBJECT_BYTES: u64 = 1 << 20;
const PIECE_BYTES: u64 = 1 << 20;
const BLOCK_BYTES: u64 = 4096;
/// Until what is cold has gone to the bucket.
const DEMOTE_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest that a request may take while the server is away or does not answer, and its requests are sent again.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Longer than a request to the bucket may take.
const MUTE_TIME: Duration = Duration::from_secs(4);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Restarts of the server under load.
    #[arg(long, default_value_t = 5)]
    pub restarts: u64,
    /// Seconds of load between two of them, and while the server is busy or slow.
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
    /// Size of the fast device in MiB.
    #[arg(long, default_value_t = 192)]
    pub fast_mib: u64,
    /// Size of the volume in MiB.
    #[arg(long, default_value_t = 384)]
    pub volume_mib: u64,
    /// Decides the requests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("object-tier", "a small fast device and a bucket of an S3 server");
    command::require(&[s3::PROGRAM])?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("object")?;
    let volume_bytes = options.volume_mib << 20;
    require_space(scratch.path(), 4 * volume_bytes)?;
    let fast = scratch.devices(1, options.fast_mib << 20)?.remove(0);
    let mut s3 = S3::start(scratch.path())?;
    let proxy = Proxy::start(s3.address())?;
    let bucket =
        format!("s3://{BUCKET}/site-a?size={}&endpoint=http://{}", 3 * volume_bytes, proxy.address());
    let environment = S3::environment();
    let node_options = NodeOptions { environment, ..node::options(&bin_dir, scratch.path()) };
    let mut node = steps.step("start, a pool of a file and a bucket", || {
        node::start_with_volume(node_options, &[fast, PathBuf::from(&bucket)], "copies:1", volume_bytes, &[])
    })?;
    let oracle = Oracle::new(options.seed, 0..volume_bytes);
    steps.step("write the volume once", || oracle::write_all(&oracle, &node.socket(), VOLUME))?;
    steps.step("what is cold goes to the bucket", || wait_for_demotion(&node, &s3))?;
    steps.note(said_of_tiers(&node)?);
    let report = steps.step("the server is killed and started again under load", || {
        let load = Load::start(&oracle, &load_options(options, &node))?;
        for _ in 0..options.restarts {
            sleep(Duration::from_secs(options.seconds));
            s3.kill()?;
            sleep(Duration::from_secs(1));
            s3.restart()?;
        }
        sleep(Duration::from_secs(options.seconds));
        finish_undisturbed(load, &oracle, STALL_MAX)
    })?;
    steps.note(summary(&report));
    let report = steps.step("it is busy, slow, and does not answer at all for a while", || {
        let load = Load::start(&oracle, &load_options(options, &node))?;
        for (manner, time) in [
            (Manner::Busy, Duration::from_secs(options.seconds)),
            (Manner::Slow, Duration::from_secs(options.seconds)),
            (Manner::Mute, MUTE_TIME),
        ] {
            proxy.set(manner);
            sleep(time);
            proxy.set(Manner::Plain);
            sleep(Duration::from_secs(1));
        }
        finish_undisturbed(load, &oracle, STALL_MAX)
    })?;
    steps.note(summary(&report));
    ensure!(proxy.busy_answers() > 0, "nobody asked the bucket while it was busy");
    steps.step("kill the node under load, start it again and verify", || {
        let load = Load::start(&oracle, &load_options(options, &node))?;
        sleep(Duration::from_secs(options.seconds));
        node.kill()?;
        drop(load.finish());
        node.restart()?;
        verify(&oracle, &node, "after a kill of the node")
    })?;
    steps.step("an object is missing: what lay there cannot be read, all else can", || {
        missing_object(&node, &s3, volume_bytes)
    })?;
    steps.step("it is there again; verify everything", || verify(&oracle, &node, "with the object back"))?;
    steps.step("stop, and have the pool checked", || {
        node.stop()?;
        node.check()
    })?;
    drop(node);
    steps.pass();
    Ok(())
}

fn load_options(options: &Options, node: &Node) -> LoadOptions {
    LoadOptions {
        access: Access::nbd(node.socket(), VOLUME),
        connections: 3,
        depth: 16,
        seed: options.seed,
        mix: Mix::default(),
    }
}

fn verify(oracle: &Oracle, node: &Node, when: &'static str) -> Result<()> {
    oracle::verify(oracle, &node.socket(), VOLUME, when)?;
    require_no_violation(oracle)
}

/// Files of objects that hold data of the pool, the largest names last.
fn objects(s3: &S3) -> Result<Vec<PathBuf>> {
    let folder = s3.bucket().join("site-a/data");
    let mut objects: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    objects.retain(|path| path.file_name().is_some_and(|name| name.len() == 9));
    objects.sort();
    Ok(objects)
}

fn wait_for_demotion(node: &Node, s3: &S3) -> Result<()> {
    let start = Instant::now();
    loop {
        let tiers = node.quarry().json(&["pool", "tiers", POOL])?;
        let demoted = tiers["demoted_segments"].as_u64().context("the tiers say no demoted_segments")?;
        if demoted > 0 && !objects(s3)?.is_empty() {
            return Ok(());
        }
        if start.elapsed() > DEMOTE_TIMEOUT {
            bail!("nothing has gone to the bucket: {tiers}");
        }
        sleep(Duration::from_millis(200));
    }
}

fn said_of_tiers(node: &Node) -> Result<String> {
    let why = node.quarry().run(&["why", "volume", VOLUME])?;
    for part in ["object", "room"] {
        ensure!(why.contains(part), "`quarry why volume` does not speak of '{part}':\n{why}");
    }
    let lines = why.lines().filter(|line| line.trim_start().starts_with(['n', 's', 'o']));
    Ok(lines.map(str::trim).collect::<Vec<_>>().join("; "))
}

/// Takes objects away until reads fail, and looks at which do.
fn missing_object(node: &Node, s3: &S3, volume_bytes: u64) -> Result<()> {
    // The first places are taken first, so that these hold something.
    for object in objects(s3)? {
        let aside = object.with_extension("aside");
        std::fs::rename(&object, &aside)?;
        let found = failing_blocks(node, volume_bytes);
        // What the node has written in its place meanwhile is newer.
        match object.exists() {
            true => std::fs::remove_file(&aside)?,
            false => std::fs::rename(&aside, &object)?,
        }
        let blocks = found?;
        // The object may hold garbage alone.
        if blocks > 0 {
            ensure!(
                blocks <= OBJECT_BYTES / BLOCK_BYTES,
                "{blocks} blocks cannot be read for one object of 1 MiB"
            );
            ensure!(node.quarry().pool_state(POOL)? != "offline", "one object is not the pool");
            let events = node.quarry().run(&["event", "list"])?;
            ensure!(events.contains("blocks-damaged"), "no event tells of it:\n{events}");
            return Ok(());
        }
    }
    bail!("no object of the bucket holds anything that lives")
}

/// How many blocks of the volume cannot be read.
fn failing_blocks(node: &Node, volume_bytes: u64) -> Result<u64> {
    let mut client = Client::connect(&node.socket(), VOLUME, true)?;
    let mut can_read = |offset: u64, bytes: u64| match client.read(offset, bytes as u32) {
        Ok(_) => Ok(true),
        Err(error) if error.to_string().contains("NBD error") => Ok(false),
        Err(error) => Err(error),
    };
    let mut failing = 0;
    for piece in (0..volume_bytes).step_by(PIECE_BYTES as usize) {
        if can_read(piece, PIECE_BYTES)? {
            continue;
        }
        for block in (piece..piece + PIECE_BYTES).step_by(BLOCK_BYTES as usize) {
            failing += u64::from(!can_read(block, BLOCK_BYTES)?);
        }
    }
    Ok(failing)
}
