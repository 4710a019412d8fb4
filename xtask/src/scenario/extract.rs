//! quarry-extract against what the daemon itself serves: from the devices of a node that was killed, and from damaged ones.

mod damage;
pub mod golden;
mod history;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::command;
use crate::node::{self, Node, NodeOptions, POOL};
use crate::report::Steps;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const DEVICE_BYTES: u64 = 96 << 20;
const DEVICES: usize = 3;
/// Rounds of overwrites: enough for checkpoints and for the cleaner.
const ROUNDS: u64 = 12;

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("extract", "what quarry-extract reads is what the node serves");
    command::require(&["qemu-img", "cp"])?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry", "quarry-extract"])?;
    let scratch = Scratch::new("extract")?;
    require_space(scratch.path(), 4 * DEVICES as u64 * DEVICE_BYTES)?;
    let devices = scratch.devices(DEVICES, DEVICE_BYTES)?;
    let mut node = Node::start(NodeOptions { cores: Some(2), ..node::options(&bin_dir, scratch.path()) })?;
    node.quarry().create_pool(POOL, &devices, "copies:2")?;
    steps.step("volumes, snapshots, clones, rollback, promote, cleaning", || history::make(&node, ROUNDS))?;
    let killed = steps.step("kill -9, and copies of the devices", || {
        node.kill()?;
        copies(&scratch, "killed", &devices)
    })?;
    ensure_packed(&killed)?;
    steps.step("start again", || node.restart().map(drop))?;
    let extract = Extract { program: bin_dir.join("quarry-extract"), scratch: &scratch };
    let all = extract.paths(&killed)?;
    steps.step("the list is that of the node", || same_list(&node, &all))?;
    for path in &all {
        steps.step(format!("{path}, raw and qcow2"), || {
            extract.compare(&node, path, &killed, &["raw", "qcow2"])
        })?;
    }
    damage::run(&node, &extract, &killed, &all, &mut steps)?;
    let running = copies(&scratch, "running", &devices)?;
    steps.step("the devices of the node that runs", || extract.compare_some(&node, &all, &running))?;
    node.check_running()?;
    steps.step("stop", || node.stop())?;
    steps.step("the devices of the node that is stopped", || {
        all.iter().try_for_each(|path| extract.write(path, "stopped.raw", &devices, &[]).map(drop))
    })?;
    steps.pass();
    Ok(())
}

/// Copies of device files, with their holes.
fn copies(scratch: &Scratch, name: &str, devices: &[PathBuf]) -> Result<Vec<PathBuf>> {
    devices
        .iter()
        .enumerate()
        .map(|(index, device)| {
            let copy = scratch.join(&format!("{name}-{index}.img"));
            command::run(Command::new("cp").arg("--sparse=always").arg(device).arg(&copy))?;
            Ok(copy)
        })
        .collect()
}

/// Fails unless the cleaner has been at work: else the test would not try what it leaves.
fn ensure_packed(devices: &[PathBuf]) -> Result<()> {
    for device in devices {
        if fs::read(device)?.chunks_exact(4096).any(|granule| granule.starts_with(b"QRYPACKD")) {
            return Ok(());
        }
    }
    bail!("no chunk was packed: the history is too short for the pool")
}

/// Every volume and snapshot of the node, as it is called.
fn served(node: &Node) -> Result<Vec<String>> {
    let quarry = node.quarry();
    let (volumes, snapshots) = (quarry.json(&["volume", "list"])?, quarry.json(&["snapshot", "list"])?);
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    let mut all = Vec::new();
    for volume in volumes.as_array().context("no list")? {
        all.push(text(&volume["name"])?);
    }
    for snapshot in snapshots.as_array().context("no list")? {
        all.push(format!("{}@{}", text(&snapshot["volume"])?, text(&snapshot["name"])?));
    }
    all.sort_unstable();
    Ok(all)
}

fn same_list(node: &Node, listed: &[String]) -> Result<()> {
    let served = served(node)?;
    ensure!(served == listed, "the node has {served:?}, quarry-extract lists {listed:?}");
    Ok(())
}

/// The program.
struct Extract<'a> {
    program: PathBuf,
    scratch: &'a Scratch,
}

impl Extract<'_> {
    /// Runs `quarry-extract list -o json`, which must end with `exit`.
    fn list(&self, devices: &[PathBuf], exit: i32) -> Result<Value> {
        let output = command::output(Command::new(&self.program).args(["list", "-o", "json"]).args(devices))?;
        expect(&output, exit)?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Every volume and snapshot on the devices.
    fn paths(&self, devices: &[PathBuf]) -> Result<Vec<String>> {
        let pools = self.list(devices, 0)?;
        let mut all = Vec::new();
        for volume in pools[0]["volumes"].as_array().context("no volumes")? {
            let name = volume["name"].as_str().context("no name")?;
            all.push(name.to_owned());
            for snapshot in volume["snapshots"].as_array().context("no snapshots")? {
                all.push(format!("{name}@{}", snapshot["name"].as_str().context("no name")?));
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    fn run(&self, path: &str, out: &Path, devices: &[PathBuf], more: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.args(["write", path]).arg(out).arg("--force").args(more).arg("--device").args(devices);
        command::output(&mut command)
    }

    /// Writes `path` to a file of this name; returns the file's path.
    fn write(&self, path: &str, file: &str, devices: &[PathBuf], more: &[&str]) -> Result<String> {
        let out = self.scratch.join(file);
        expect(&self.run(path, &out, devices, more)?, 0)?;
        Ok(out.display().to_string())
    }

    /// Fails unless an image of `path`, in each of `formats`, holds what the node serves.
    fn compare(&self, node: &Node, path: &str, devices: &[PathBuf], formats: &[&str]) -> Result<()> {
        let uri = node.quarry().create_export(path)?;
        let size_bytes = virtual_size("raw", &uri)?;
        for format in formats {
            let file = self.write(path, "out.img", devices, &["--format", format])?;
            if *format == "qcow2" {
                command::run(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2", &file]))?;
            }
            ensure!(virtual_size(format, &file)? == size_bytes, "{path} has another size as {format}");
            let arguments = ["compare", "-q", "-f", "raw", "-F", format, &uri, &file];
            command::run(Command::new("qemu-img").args(arguments))?;
            fs::remove_file(file)?;
        }
        history::end_export(node, path)
    }

    /// The same for some of the paths and raw images, where devices are not as they should be.
    fn compare_some(&self, node: &Node, all: &[String], devices: &[PathBuf]) -> Result<()> {
        all.iter().step_by(4).try_for_each(|path| self.compare(node, path, devices, &["raw"]))
    }
}

fn virtual_size(format: &str, image: &str) -> Result<u64> {
    let arguments = ["info", "-f", format, "--output=json", image];
    let info: Value = serde_json::from_str(&command::run(Command::new("qemu-img").args(arguments))?)?;
    info["virtual-size"].as_u64().context("qemu-img tells no size")
}

fn expect(output: &Output, exit: i32) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(exit),
        "quarry-extract ended with {}, not {exit}: {said}",
        output.status
    );
    Ok(())
}
