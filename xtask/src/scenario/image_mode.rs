//! A volume on somebody else's array: taken over as it is, moved into a pool, between pools and out again under verified load,
//! killed on its way; at the end the plain device alone has everything.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{finish_undisturbed, require_no_failed_request, require_no_violation};
use crate::command;
use crate::load::Fabric;
use crate::node::{self, Node, VOLUME};
use crate::oracle::{self, Access, Load, LoadOptions, Mix, Oracle};
use crate::peer::Peer;
use crate::report::{Steps, seconds};
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

/// The longest that taking a device over may take, whatever its size.
const ADOPT_MAX: Duration = Duration::from_secs(5);
/// The longest that a request may take while the volume moves and nothing is killed: what hosts bear.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Until a volume must be at its new place.
const MOVE_TIMEOUT: Duration = Duration::from_secs(3600);
const POLL: Duration = Duration::from_millis(100);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Size of the foreign device in MiB.
    #[arg(long, default_value_t = 10240)]
    pub volume_mib: u64,
    /// How much of it, from its beginning, is under load, in MiB.
    #[arg(long, default_value_t = 512)]
    pub loaded_mib: u64,
    /// Size of the device of each of the two pools in MiB.
    #[arg(long, default_value_t = 4096)]
    pub device_mib: u64,
    /// Kills of the node while the volume moves out of the pool.
    #[arg(long, default_value_t = 10)]
    pub kills: u32,
    /// Decides the requests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// A file behind nbdkit: the array of somebody else.
struct Array {
    image: PathBuf,
    dir: PathBuf,
    server: Option<Peer>,
}

impl Array {
    fn start(image: PathBuf, dir: &Path) -> Result<Self> {
        let mut array = Self { image, dir: dir.to_owned(), server: None };
        array.restart()?;
        Ok(array)
    }

    fn kill(&mut self) -> Result<()> {
        self.server.take().context("the array does not run")?.server.kill()
    }

    fn restart(&mut self) -> Result<()> {
        self.server = Some(Peer::nbdkit_file("array", &self.dir, &self.image)?);
        Ok(())
    }

    fn uri(&self) -> Result<String> {
        Ok(self.server.as_ref().context("the array does not run")?.uri())
    }
}

/// What all steps share.
struct Run<'a> {
    options: &'a Options,
    node: Node,
    oracle: Oracle,
    scratch: &'a Scratch,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin(
        "image-mode",
        &format!("a device of {} MiB behind nbdkit, {} kills", options.volume_mib, options.kills),
    );
    command::require(&["nbdkit", "qemu-img"])?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("image-mode")?;
    require_space(scratch.path(), (2 * options.device_mib + 4 * options.loaded_mib + 1024) << 20)?;
    let (image, oracle) = steps.step("a foreign device with data", || make_image(options, &scratch))?;
    let mut array = Array::start(image, scratch.path())?;
    let mut node_options = node::options(&bin_dir, scratch.path());
    node_options.has_fabrics = true;
    let node = steps.step("a node with two pools", || {
        let node = Node::start(node_options)?;
        for pool in ["first", "second"] {
            let device = scratch.devices(1, options.device_mib << 20)?.remove(0);
            let named = scratch.join(pool);
            std::fs::rename(device, &named)?;
            node.quarry().create_pool(pool, &[named], "copies:1")?;
        }
        Ok(node)
    })?;
    let mut run = Run { options, node, oracle, scratch: &scratch };
    adopt(&mut steps, &run, &array)?;
    move_in(&mut steps, &run, &mut array)?;
    move_out_killed(&mut steps, &mut run)?;
    move_around(&mut steps, &run)?;
    give_back(&mut steps, &mut run, &mut array)?;
    steps.step("stop", || run.node.stop())?;
    drop(run);
    steps.pass();
    Ok(())
}

/// A sparse image that the oracle knows in its first part, with something here and there in the rest.
fn make_image(options: &Options, scratch: &Scratch) -> Result<(PathBuf, Oracle)> {
    let image = scratch.join("array.img");
    let (size_bytes, loaded_bytes) = (options.volume_mib << 20, options.loaded_mib << 20);
    let file = std::fs::File::create(&image)?;
    file.set_len(size_bytes)?;
    let mark = |at: u64| -> Result<()> {
        let data: Vec<u8> = (0..300_000u64).map(|byte| (byte ^ (at >> 9) ^ (byte >> 7)) as u8).collect();
        let room = size_bytes.saturating_sub(at).min(data.len() as u64) as usize;
        Ok(std::os::unix::fs::FileExt::write_all_at(&file, &data[..room], at)?)
    };
    (loaded_bytes..size_bytes).step_by(97 << 20).try_for_each(mark)?;
    mark(size_bytes - 4096)?;
    file.sync_all()?;
    let oracle = Oracle::new(options.seed, 0..loaded_bytes);
    let mut server = Peer::stand_in(scratch.path(), &image)?;
    oracle::write_all(&oracle, &server.socket, "")?;
    server.server.terminate(Duration::from_secs(30))?;
    Ok((image, oracle))
}

fn adopt(steps: &mut Steps, run: &Run<'_>, array: &Array) -> Result<()> {
    let took = steps.step("take it over, and serve it over NBD and iSCSI", || {
        let (start, quarry) = (Instant::now(), run.node.quarry());
        quarry.run(&["volume", "adopt", VOLUME, "--device", &array.uri()?])?;
        quarry.create_export(VOLUME)?;
        super::crash::first_read(&run.node.socket(), VOLUME)?;
        Ok(start.elapsed())
    })?;
    steps.note(format!("in service after {}", seconds(took)));
    ensure!(took < ADOPT_MAX, "it took {}, more than {}", seconds(took), seconds(ADOPT_MAX));
    steps.step("it compares equal to the device", || compare(&run.node, &array.image))?;
    refuse_what_needs_a_pool(run)
}

/// What only a volume in a pool can do is refused, with a way out.
fn refuse_what_needs_a_pool(run: &Run<'_>) -> Result<()> {
    for words in
        [&["snapshot", "create", VOLUME, "--name", "s"][..], &["volume", "resize", VOLUME, "--size", "99G"]]
    {
        let output = command::output(run.node.quarry().command().args(words))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_clear = said.contains("image mode") && said.contains("--to-pool");
        ensure!(!output.status.success() && is_clear, "`quarry {}` said: {said}", words.join(" "));
    }
    Ok(())
}

fn load(run: &Run<'_>, access: Access, seed: u64) -> Result<Load> {
    let options =
        LoadOptions { access, connections: 2, depth: 8, seed: run.options.seed ^ seed, mix: Mix::default() };
    Load::start(&run.oracle, &options)
}

fn load_nbd(run: &Run<'_>, seed: u64) -> Result<Load> {
    load(run, Access::nbd(run.node.socket(), VOLUME), seed)
}

/// Ends a load that nothing may have disturbed. Says how long the slowest request took.
fn judge(run: &Run<'_>, load: Load) -> Result<Duration> {
    Ok(finish_undisturbed(load, &run.oracle, STALL_MAX)?.slowest)
}

fn show(node: &Node) -> Result<Value> {
    node.quarry().json(&["volume", "show", VOLUME])
}

/// Waits until the volume has moved on so far; says how far it is then, in percent of copy and comparison.
fn wait_until_at(node: &Node, percent: u64) -> Result<u64> {
    let start = Instant::now();
    loop {
        let volume = show(node)?;
        let Some(migration) = volume.get("migration") else { return Ok(100) };
        let of = |field: &str| migration[field].as_u64().unwrap_or(0);
        if migration["state"] == "stopped" {
            bail!("the volume does not move on: {}", migration["reason"]);
        }
        let size = volume["size_bytes"].as_u64().context("a volume has a size")?;
        let at = (of("copied_bytes") + of("verified_bytes")) * 50 / size.max(1);
        if at >= percent {
            return Ok(at);
        }
        ensure!(start.elapsed() < MOVE_TIMEOUT, "the volume is at {at} % after {}", seconds(start.elapsed()));
        sleep(POLL);
    }
}

fn wait_until_there(node: &Node) -> Result<Value> {
    wait_until_at(node, 101)?;
    show(node)
}

fn migrate(node: &Node, words: &[&str]) -> Result<()> {
    node.quarry().run(&[&["volume", "migrate", VOLUME], words].concat()).map(drop)
}

/// Begins to move the volume from the first pool to the second and gives that up on the way. A move may be over before the word to give it
/// up arrives; then it goes back, and the next one is given up.
fn give_up_one_move(node: &Node) -> Result<()> {
    for percent in [20, 5, 0, 0, 0] {
        migrate(node, &["--to-pool", "second"])?;
        wait_until_at(node, percent)?;
        match migrate(node, &["--cancel"]) {
            Err(_) if show(node)?["pool"] == "second" => {
                migrate(node, &["--to-pool", "first"])?;
                wait_until_there(node)?;
            }
            given_up => return given_up,
        }
    }
    bail!("every move was over before it could be given up")
}

/// The export, in whatever place it is, against a plain file.
fn compare(node: &Node, image: &Path) -> Result<()> {
    let uri = node.uri(VOLUME);
    command::run(Command::new("qemu-img").args(["compare", "-f", "raw", "-F", "raw", &uri]).arg(image))
        .map(drop)
}

fn move_in(steps: &mut Steps, run: &Run<'_>, array: &mut Array) -> Result<()> {
    steps.step("move it into a pool under load; its array restarts on the way", || {
        let load = load_nbd(run, 1)?;
        migrate(&run.node, &["--to-pool", "first", "--compression", "lz4"])?;
        wait_until_at(&run.node, 10)?;
        array.kill()?;
        sleep(Duration::from_secs(2));
        array.restart()?;
        wait_until_at(&run.node, 45)?;
        judge(run, load)
    })?;
    steps.step("it is there, and equal to the device that it has left", || {
        let volume = wait_until_there(&run.node)?;
        ensure!(volume["pool"] == "first" && volume.get("image").is_none(), "it is elsewhere: {volume}");
        compare(&run.node, &array.image)?;
        array.kill()?;
        oracle::verify(&run.oracle, &run.node.socket(), VOLUME, "in the pool, without the array")?;
        require_no_violation(&run.oracle)
    })
}

fn move_out_killed(steps: &mut Steps, run: &mut Run<'_>) -> Result<()> {
    let out = run.scratch.join("out.img");
    // Sparse, and it stays so: zeroes are written only over something else.
    std::fs::File::create(&out)?.set_len(run.options.volume_mib << 20)?;
    // By a link, as under /dev/disk/by-id: it must not be taken for what it leads to today.
    let link = run.scratch.join("by-id");
    std::os::unix::fs::symlink(&out, &link)?;
    let out_text = link.display().to_string();
    migrate(&run.node, &["--to-device", &out_text])?;
    for number in 0..run.options.kills {
        let what = format!("move it out to a file under load; kill {} of {}", number + 1, run.options.kills);
        steps.step(what, || {
            let load = load_nbd(run, 10 + u64::from(number))?;
            sleep(Duration::from_millis(100 + 173 * u64::from(number) % 1500));
            run.node.kill()?;
            let report = load.finish()?;
            require_no_failed_request(&report)?;
            run.node.restart()?;
            oracle::verify(&run.oracle, &run.node.socket(), VOLUME, "after a kill on the way")?;
            require_no_violation(&run.oracle)
        })?;
    }
    steps.step("it arrives under load", || {
        let load = load_nbd(run, 99)?;
        let volume = wait_until_there(&run.node)?;
        ensure!(volume["image"]["device"] == out_text.as_str(), "it is elsewhere: {volume}");
        judge(run, load)
    })?;
    steps.step("the plain file alone has everything", || {
        let quarry = run.node.quarry();
        compare(&run.node, &out)?;
        quarry.run(&["export", "delete", VOLUME])?;
        quarry.run(&["volume", "release", VOLUME])?;
        let mut plain = Peer::stand_in(run.scratch.path(), &out)?;
        oracle::verify(&run.oracle, &plain.socket, "", "on the plain file")?;
        plain.server.terminate(Duration::from_secs(30))?;
        require_no_violation(&run.oracle)
    })
}

/// From the file into a pool and from pool to pool, with sessions that see all of it.
fn move_around(steps: &mut Steps, run: &Run<'_>) -> Result<()> {
    let out = run.scratch.join("out.img").display().to_string();
    let slowest =
        steps.step("from the file into a pool, under load over NBD and iSCSI all the time", || {
            let quarry = run.node.quarry();
            quarry.run(&["volume", "adopt", VOLUME, "--device", &out])?;
            quarry.create_export(VOLUME)?;
            let unit = quarry.create_unit(VOLUME, Fabric::Iscsi)?;
            let loads = [load_nbd(run, 201)?, load(run, Access::Unit(unit), 202)?];
            migrate(&run.node, &["--to-pool", "first"])?;
            wait_until_there(&run.node)?;
            sleep(Duration::from_secs(1));
            loads.into_iter().try_fold(Duration::ZERO, |slowest, load| Ok(judge(run, load)?.max(slowest)))
        })?;
    steps.note(format!("the slowest request took {}", seconds(slowest)));
    steps.step("towards the other pool under load, given up, and there after all", || {
        let load = load_nbd(run, 301)?;
        give_up_one_move(&run.node)?;
        ensure!(show(&run.node)?["pool"] == "first", "it did not stay");
        migrate(&run.node, &["--to-pool", "second"])?;
        let volume = wait_until_there(&run.node)?;
        ensure!(volume["pool"] == "second", "it is elsewhere: {volume}");
        sleep(Duration::from_secs(1));
        judge(run, load)
    })?;
    steps.step("verify; the first pool is empty and can go", || {
        oracle::verify(&run.oracle, &run.node.socket(), VOLUME, "in the other pool")?;
        require_no_violation(&run.oracle)?;
        run.node.quarry().run(&["pool", "delete", "first"]).map(drop)
    })
}

/// Back to where it came from.
fn give_back(steps: &mut Steps, run: &mut Run<'_>, array: &mut Array) -> Result<()> {
    steps.step("back to the array, over what it holds, under load", || {
        array.restart()?;
        let load = load_nbd(run, 401)?;
        let uri = array.uri()?;
        let refused = migrate(&run.node, &["--to-device", &uri]).err().map(|error| error.to_string());
        let is_named = refused.as_deref().is_some_and(|text| text.contains("--force"));
        ensure!(is_named, "a device that holds something was not refused: {refused:?}");
        migrate(&run.node, &["--to-device", &uri, "--force"])?;
        wait_until_there(&run.node)?;
        judge(run, load)
    })?;
    steps.step("restart the node; the array is served as before, and equal", || {
        run.node.stop()?;
        run.node.restart()?;
        oracle::verify(&run.oracle, &run.node.socket(), VOLUME, "on the array again")?;
        compare(&run.node, &array.image)?;
        require_no_violation(&run.oracle)
    })?;
    steps.step("what nobody has written to is as it was", || {
        let skipped = format!("{0}:{0}", run.options.loaded_mib << 20);
        let out = run.scratch.join("out.img");
        command::run(Command::new("cmp").args(["--ignore-initial", &skipped]).arg(&out).arg(&array.image))
            .map(drop)
    })
}
