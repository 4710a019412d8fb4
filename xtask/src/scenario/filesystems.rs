//! ext4 and xfs on a volume, through nbdfuse and a loop device.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::command::{self, privileged};
use crate::mount::{FuseFile, LoopDevice, Mount, require_root};
use crate::node::{self, Node, POOL};
use crate::report::{Steps, mebibytes};
use crate::sample;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const VOLUME_BYTES: u64 = 1 << 30;
const DEVICE_BYTES: u64 = 1 << 30;
/// Arguments for one cp.
const FILES_AT_ONCE: usize = 500;

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// MiB of files that are copied into each file system.
    #[arg(long, default_value_t = 100)]
    pub files_mib: u64,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// One file system's tools.
struct FileSystem {
    name: &'static str,
    make: &'static [&'static str],
    check: &'static [&'static str],
}

const FILE_SYSTEMS: [FileSystem; 2] = [
    FileSystem { name: "ext4", make: &["mkfs.ext4", "-q", "-F"], check: &["e2fsck", "-f", "-n"] },
    FileSystem { name: "xfs", make: &["mkfs.xfs", "-q", "-f"], check: &["xfs_repair", "-n"] },
];

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("filesystems", "ext4 and xfs on a volume");
    command::require(&[
        "nbdfuse",
        "fusermount3",
        "losetup",
        "mkfs.ext4",
        "mkfs.xfs",
        "xfs_repair",
        "fstrim",
    ])?;
    require_root()?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("fs")?;
    require_space(scratch.path(), 3 * DEVICE_BYTES)?;
    let devices = scratch.devices(3, DEVICE_BYTES)?;
    let mut node = Node::start(node::options(&bin_dir, scratch.path()))?;
    node.quarry().create_pool(POOL, &devices, "copies:2")?;
    let files = sample::files(options.files_mib << 20, 0)?;
    for file_system in &FILE_SYSTEMS {
        one(file_system, &mut node, &files, &scratch, &mut steps)
            .with_context(|| format!("with {}", file_system.name))?;
    }
    steps.step("stop", || node.stop())?;
    steps.pass();
    Ok(())
}

fn one(
    file_system: &FileSystem,
    node: &mut Node,
    files: &[PathBuf],
    scratch: &Scratch,
    steps: &mut Steps,
) -> Result<()> {
    let name = file_system.name;
    let quarry = node.quarry();
    quarry.create_volume(name, POOL, VOLUME_BYTES, "flush")?;
    quarry.create_export(name)?;
    let fuse = FuseFile::mount(&node.uri(name), scratch.path(), &format!("fuse-{name}"))?;
    let device = LoopDevice::attach(&fuse.path())?;
    let folder = scratch.join(&format!("mnt-{name}"));
    steps.step(format!("mkfs.{name}"), || tool(file_system.make, device.path()))?;
    let mount = Mount::attach(device.path(), &folder)?;
    steps.step(format!("{name}: copy {} files in", files.len()), || copy(files, &folder))?;
    steps.step(format!("{name}: unmount and check"), || {
        mount.unmount()?;
        tool(file_system.check, device.path())
    })?;
    steps.step(format!("{name}: mount again and compare each byte"), || {
        let mount = Mount::attach(device.path(), &folder)?;
        compare(files, &folder)?;
        mount.unmount()
    })?;
    let before = used_bytes(node, name)?;
    steps
        .step_with(
            format!("{name}: delete, fstrim, unmount and check"),
            || {
                let mount = Mount::attach(device.path(), &folder)?;
                command::run(privileged("rm").arg("-rf").arg(folder.join("usr")))?;
                command::run(privileged("sync").arg("--file-system").arg(&folder))?;
                command::run(privileged("fstrim").arg(&folder))?;
                mount.unmount()?;
                tool(file_system.check, device.path())?;
                used_bytes_below(node, name, before / 2)
            },
            |after| format!("volume used {} before, {} after", mebibytes(before), mebibytes(*after)),
        )
        .and_then(|after| {
            ensure!(
                after < before / 2,
                "fstrim gave nothing back: {before} bytes used before, {after} after"
            );
            Ok(())
        })?;
    device.detach()?;
    fuse.unmount()?;
    Ok(())
}

/// What the volume uses once that is below `limit`, or after five seconds: freed space is credited by a checkpoint.
fn used_bytes_below(node: &Node, name: &str, limit: u64) -> Result<u64> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let used = used_bytes(node, name)?;
        if used < limit || Instant::now() >= end {
            return Ok(used);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn tool(words: &[&str], device: &Path) -> Result<()> {
    command::run(privileged(words[0]).args(&words[1..]).arg(device)).map(drop)
}

fn copy(files: &[PathBuf], folder: &Path) -> Result<()> {
    for files in files.chunks(FILES_AT_ONCE) {
        command::run(privileged("cp").arg("--parents").arg("--target-directory").arg(folder).args(files))?;
    }
    command::run(Command::new("sync").arg("--file-system").arg(folder)).map(drop)
}

fn compare(files: &[PathBuf], folder: &Path) -> Result<()> {
    for file in files {
        let copy = folder.join(file.strip_prefix("/")?);
        ensure!(fs::metadata(&copy).is_ok(), "{} is missing", copy.display());
        ensure!(sample::is_same(file, &copy)?, "{} differs from {}", copy.display(), file.display());
    }
    Ok(())
}

fn used_bytes(node: &Node, volume: &str) -> Result<u64> {
    let shown = node.quarry().json(&["volume", "show", volume])?;
    shown["used_bytes"].as_u64().with_context(|| format!("volume show {volume} has no used_bytes: {shown}"))
}
