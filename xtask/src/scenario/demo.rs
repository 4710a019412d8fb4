//! The main job from end to end, as `make demo` shows it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::crash::first_read;
use super::{require_no_failed_request, require_no_violation};
use crate::command;
use crate::mount::FuseFile;
use crate::node::{self, Node};
use crate::oracle::{self, Access, Load, LoadOptions, LoadReport, Mix, Oracle};
use crate::report::{Steps, mebibytes, seconds};
use crate::sample::{self, IMAGE_BYTES};
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const DEVICE_BYTES: u64 = 2 << 30;
const LEDGER_BYTES: u64 = 256 << 20;
const LOAD: Duration = Duration::from_secs(3);
/// The volume that takes the image.
const SYSTEM: &str = "system";
/// The volume that takes the verified load.
const LEDGER: &str = "ledger";
const POOL: &str = "main";

/// How the demo goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Build that is shown.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    command::require(&["nbdcopy", "qemu-img", "mkfs.ext4", "e2fsck", "nbdfuse", "fusermount3"])?;
    println!("Building quarryd and quarry ...");
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let mut steps = Steps::begin("demo", "pool disks, carve a thin volume, serve it, survive a crash");
    let scratch = Scratch::new("demo")?;
    require_space(scratch.path(), 3 * DEVICE_BYTES + IMAGE_BYTES)?;
    let image = steps.step_with(
        "an ext4 image of this machine's own files (built once)",
        sample::ext4_image,
        |_| mebibytes(IMAGE_BYTES),
    )?;
    let mut node = set_up(&bin_dir, &scratch, &mut steps)?;
    copy_in(&node, &image, &mut steps)?;
    let oracle = Oracle::new(20, 0..LEDGER_BYTES);
    crash(&mut node, &oracle, &mut steps)?;
    prove(&node, &oracle, &image, &scratch, &mut steps)?;
    show(&node, &steps)?;
    steps.step("stop quarryd with SIGTERM and clean up", || {
        node.stop()?;
        drop(scratch);
        Ok(())
    })?;
    steps.pass();
    Ok(())
}

fn set_up(bin_dir: &Path, scratch: &Scratch, steps: &mut Steps) -> Result<Node> {
    let devices = steps.step_with(
        "three device files",
        || scratch.devices(3, DEVICE_BYTES),
        |devices| format!("{} each, under {}", mebibytes(DEVICE_BYTES), parent(devices)),
    )?;
    let node = steps.step("quarryd", || Node::start(node::options(bin_dir, scratch.path())))?;
    let quarry = node.quarry();
    steps.step(format!("quarry pool create {POOL} --copies 2 --device ... (three times)"), || {
        quarry.create_pool(POOL, &devices, "copies:2")
    })?;
    for (volume, size_bytes) in [(SYSTEM, IMAGE_BYTES), (LEDGER, LEDGER_BYTES)] {
        let size = size_bytes >> 20;
        steps.step_with(
            format!(
                "quarry volume create {volume} --pool {POOL} --size {size}M; quarry export create {volume}"
            ),
            || {
                quarry.create_volume(volume, POOL, size_bytes, "flush")?;
                quarry.create_export(volume)
            },
            String::clone,
        )?;
    }
    Ok(node)
}

fn parent(paths: &[PathBuf]) -> String {
    paths.first().and_then(|path| path.parent()).map_or_else(String::new, |path| path.display().to_string())
}

fn copy_in(node: &Node, image: &Path, steps: &mut Steps) -> Result<()> {
    let mut command = Command::new("nbdcopy");
    command.args(["--progress", "--flush"]).arg(image).arg(node.uri(SYSTEM));
    steps.step(format!("nbdcopy --progress the image into volume '{SYSTEM}'\n"), || {
        command::run_visibly(&mut command)
    })
}

fn crash(node: &mut Node, oracle: &Oracle, steps: &mut Steps) -> Result<()> {
    let options = LoadOptions {
        access: Access::nbd(node.socket(), LEDGER),
        connections: 4,
        depth: 16,
        seed: 20,
        mix: Mix::default(),
    };
    let what = format!("verified load on '{LEDGER}', every write numbered; after {} kill -9", seconds(LOAD));
    let told = |load: &LoadReport| {
        format!("{} writes acknowledged, {} in flight at the kill", load.acknowledged, load.in_flight)
    };
    let load = || {
        let load = Load::start(oracle, &options)?;
        sleep(LOAD);
        node.check_running()?;
        node.kill()?;
        let report = load.finish()?;
        require_no_failed_request(&report)?;
        ensure!(report.in_flight > 0, "the kill met no write in flight");
        Ok(report)
    };
    steps.step_with(what, load, told)?;
    steps.step("start quarryd again, until the first read is served", || {
        node.restart()?;
        first_read(&node.socket(), LEDGER)
    })
}

fn prove(node: &Node, oracle: &Oracle, image: &Path, scratch: &Scratch, steps: &mut Steps) -> Result<()> {
    steps.step_with(
        format!("every acknowledged write is on '{LEDGER}', whole and in its place"),
        || {
            let report = oracle::verify(oracle, &node.socket(), LEDGER, "after the kill")?;
            require_no_violation(oracle)?;
            Ok(report)
        },
        |report| format!("{} read", mebibytes(report.bytes)),
    )?;
    steps.step(format!("qemu-img compare the image with '{SYSTEM}'"), || {
        let mut command = Command::new("qemu-img");
        command.args(["compare", "-f", "raw", "-F", "raw"]).arg(image).arg(node.uri(SYSTEM));
        command::run(&mut command)
    })?;
    steps.step(format!("e2fsck -fn on '{SYSTEM}' through nbdfuse"), || {
        let file = FuseFile::mount(&node.uri(SYSTEM), scratch.path(), "system")?;
        let mut command = Command::new("e2fsck");
        command::run(command.args(["-f", "-n"]).arg(file.path()).env("PATH", sample::search_path()))?;
        file.unmount()
    })
}

fn show(node: &Node, steps: &Steps) -> Result<()> {
    for words in [&["pool", "list"][..], &["volume", "list"], &["status"]] {
        steps.note(format!("\n$ quarry {}", words.join(" ")));
        steps.note(node.quarry().run(words)?);
    }
    println!();
    Ok(())
}
