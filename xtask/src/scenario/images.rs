//! Images of every format into volumes and out of them, byte by byte, with their holes; and all that can go wrong.

mod refusals;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::http;
use crate::node::{self, Node, POOL};
use crate::peer::Peer;
use crate::report::Steps;
use crate::sample;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const IMAGE_BYTES: u64 = 192 << 20;
/// What is data in it, about.
const DATA_BYTES: u64 = 24 << 20;
/// What formats and blocks may add to that: clusters of up to 2 MiB that are in part data.
const SLACK_BYTES: u64 = 12 << 20;
const DEVICE_BYTES: u64 = 1 << 30;
/// Of images, and the options with which qemu-img makes them.
const SOURCES: [(&str, &str, &[&str]); 8] = [
    ("raw", "raw", &[]),
    ("qcow2", "qcow2", &[]),
    ("qcow2-zlib", "qcow2", &["-c"]),
    ("vmdk", "vmdk", &["-o", "subformat=streamOptimized"]),
    ("vhdx", "vhdx", &[]),
    ("vpc", "vpc", &["-o", "force_size=on"]),
    ("vpc-fixed", "vpc", &["-o", "subformat=fixed,force_size=on"]),
    ("vdi", "vdi", &[]),
];
const TARGETS: [&str; 5] = ["raw", "qcow2", "vmdk", "vhdx", "vpc"];

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("images", "import and export");
    command::require(&["qemu-img", "qemu-nbd", "nbdkit"])?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("images")?;
    require_space(scratch.path(), 2 * DEVICE_BYTES + 4 * IMAGE_BYTES)?;
    let device = scratch.device("device.img", DEVICE_BYTES)?;
    let mut node = Node::start(node::options(&bin_dir, scratch.path()))?;
    node.quarry().create_pool(POOL, &[device], "copies:1")?;
    let image = scratch.join("image.raw");
    make_image(&image)?;
    let world = World { node: &node, scratch: &scratch, image: &image };
    for (name, format, arguments) in SOURCES {
        steps.step(format!("import {name}"), || world.import(name, format, arguments))?;
    }
    steps.step("import a file of an odd size", || world.import_odd())?;
    steps.step("import from another NBD server", || world.import_nbd())?;
    steps.step("import over http", || world.import_http())?;
    for format in TARGETS {
        steps.step(format!("export-image {format}"), || world.export(format))?;
    }
    steps.step("export-image of a snapshot, and of a volume that is exported", || world.export_snapshot())?;
    steps.step("an address that leads to another node is not taken", || world.other_node(&bin_dir))?;
    refusals::run(&world, &mut steps)?;
    world.expect_tidy(&[])?;
    node.check_running()?;
    steps.step("stop", || node.stop())?;
    steps.pass();
    Ok(())
}

/// Data at the start, in the middle in pieces, and in the last sector; the rest are holes.
fn make_image(path: &Path) -> Result<()> {
    let file = File::create(path)?;
    file.set_len(IMAGE_BYTES)?;
    let mut bytes = Vec::new();
    for sample in sample::files(DATA_BYTES, 4096)? {
        bytes.extend(fs::read(sample)?);
    }
    bytes.truncate(DATA_BYTES as usize);
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    file.write_all_at(first, 0)?;
    let (second, third) = rest.split_at(rest.len() / 2);
    file.write_all_at(second, (80 << 20) + 512)?;
    file.write_all_at(third, (120 << 20) + 7 * 4096)?;
    file.write_all_at(&[0xee; 512], IMAGE_BYTES - 512)?;
    Ok(())
}

pub(super) struct World<'a> {
    node: &'a Node,
    scratch: &'a Scratch,
    image: &'a Path,
}

impl World<'_> {
    fn qemu_img(&self, arguments: &[&str]) -> Result<String> {
        command::run(Command::new("qemu-img").args(arguments).current_dir(self.scratch.path()))
    }

    fn image(&self) -> &str {
        self.image.to_str().expect("scratch paths are UTF-8")
    }

    /// Fails unless `other` holds what the image holds.
    fn compare(&self, format: &str, other: &str) -> Result<()> {
        self.qemu_img(&["compare", "-f", "raw", "-F", format, self.image(), other]).map(drop)
    }

    /// The image in another format.
    fn converted(&self, name: &str, format: &str, arguments: &[&str]) -> Result<PathBuf> {
        let path = self.scratch.join(&format!("source:{name}.img"));
        let target = format!("./source:{name}.img");
        let head = ["convert", "-f", "raw", "-O", format];
        self.qemu_img(&[&head, arguments, &[self.image(), &target]].concat())?;
        Ok(path)
    }

    fn import(&self, name: &str, format: &str, arguments: &[&str]) -> Result<()> {
        let source = self.converted(name, format, arguments)?;
        self.import_from(source.to_str().expect("UTF-8"))?;
        Ok(fs::remove_file(source)?)
    }

    /// Imports what holds the same as the image, and checks content, size and space of the volume.
    fn import_from(&self, source: &str) -> Result<()> {
        let quarry = self.node.quarry();
        let words = ["volume", "import", source, "--pool", POOL, "--name", "imported", "--verify"];
        let volume = quarry.json(&words)?;
        ensure!(volume["size_bytes"] == IMAGE_BYTES && volume["name"] == "imported", "imported {volume}");
        let used = volume["used_bytes"].as_u64().context("no used_bytes")?;
        ensure!((DATA_BYTES / 2..DATA_BYTES + SLACK_BYTES).contains(&used), "{used} bytes are used");
        self.expect_tidy(&["imported"])?;
        self.compare("raw", &quarry.create_export("imported")?)?;
        quarry.run(&["export", "delete", "imported"])?;
        quarry.run(&["volume", "delete", "imported"]).map(drop)
    }

    fn import_odd(&self) -> Result<()> {
        let source = self.scratch.join("odd.raw");
        fs::write(&source, vec![7; 1_000_001])?;
        let source = source.to_str().expect("UTF-8");
        let words = ["volume", "import", source, "--pool", POOL, "--name", "odd", "--verify"];
        let output = command::output(self.node.quarry().command().args(words))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success() && said.contains("has 1000001 bytes; the volume gets 1000448"),
            "{said}"
        );
        self.node.quarry().run(&["volume", "export-image", "odd", &self.path("odd-back.raw")])?;
        let back = fs::read(self.scratch.join("odd-back.raw"))?;
        let (data, rest) = back.split_at(1_000_001);
        ensure!(data.iter().all(|&byte| byte == 7) && rest == [0; 447], "the odd end is wrong");
        self.node.quarry().run(&["volume", "delete", "odd"]).map(drop)
    }

    fn import_nbd(&self) -> Result<()> {
        let copy = self.converted("nbd", "raw", &[])?;
        let peer = Peer::stand_in(self.scratch.path(), &copy)?;
        self.import_from(&peer.uri())?;
        drop(peer);
        // A guest's disk that looks like an image is a disk all the same.
        let inner = self.converted("inner", "qcow2", &[])?;
        let peer = Peer::stand_in(self.scratch.path(), &inner)?;
        let words = ["volume", "import", &peer.uri(), "--pool", POOL, "--name", "disk", "--verify"];
        let volume = self.node.quarry().json(&words)?;
        let inner_bytes = fs::metadata(&inner)?.len().next_multiple_of(512);
        ensure!(volume["size_bytes"] == inner_bytes, "a disk was taken for an image: {volume}");
        drop(peer);
        self.node.quarry().run(&["volume", "delete", "disk"])?;
        [copy, inner].iter().try_for_each(|path| Ok(fs::remove_file(path)?))
    }

    fn import_http(&self) -> Result<()> {
        let source = self.converted("http", "qcow2", &[])?;
        let address = http::serve(&source)?;
        self.import_from(&format!("http://{address}/image.qcow2"))?;
        Ok(fs::remove_file(source)?)
    }

    fn path(&self, name: &str) -> String {
        self.scratch.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// A volume with the content of the image.
    fn volume(&self, name: &str) -> Result<()> {
        let words = ["volume", "import", self.image(), "--pool", POOL, "--name", name, "--no-progress"];
        self.node.quarry().run(&words).map(drop)
    }

    fn export(&self, format: &str) -> Result<()> {
        self.volume("volume")?;
        let file = self.path(&format!("out.{format}"));
        let words = ["volume", "export-image", "volume", &file, "--format", format, "--verify"];
        let written = self.node.quarry().json(&words)?;
        ensure!(written["size_bytes"] == IMAGE_BYTES && written["verified"] == true, "wrote {written}");
        self.compare(format, &file)?;
        let metadata = fs::metadata(&file)?;
        let taken = metadata.blocks() * 512;
        ensure!((DATA_BYTES / 2..DATA_BYTES + SLACK_BYTES).contains(&taken), "the file takes {taken} bytes");
        if format == "raw" {
            ensure!(metadata.len() == IMAGE_BYTES, "the raw file has {} bytes", metadata.len());
        }
        self.expect_tidy(&["volume"])?;
        self.node.quarry().run(&["volume", "delete", "volume"])?;
        Ok(fs::remove_file(file)?)
    }

    fn export_snapshot(&self) -> Result<()> {
        let quarry = self.node.quarry();
        self.volume("volume")?;
        quarry.run(&["snapshot", "create", "volume", "--name", "then"])?;
        let uri = quarry.create_export("volume")?;
        command::run(Command::new("qemu-io").args(["-f", "raw", "-c", "write -P 0x5a 0 1M", &uri]))?;
        // The end of the name tells the format.
        let (then, now) = (self.path("then.qcow2"), self.path("now.img"));
        quarry.create_export("volume@then")?;
        quarry.run(&["volume", "export-image", "volume@then", &then, "--verify"])?;
        quarry.run(&["volume", "export-image", "volume", &now, "--verify"])?;
        self.compare("qcow2", &then)?;
        self.qemu_img(&["compare", "-f", "raw", "-F", "raw", &uri, &now])?;
        ensure!(self.compare("raw", &now).is_err(), "the volume as it is now is as it was then");
        let exports = quarry.json(&["export", "list"])?;
        ensure!(exports.as_array().is_some_and(|all| all.len() == 2), "exports that were there: {exports}");
        for words in [["export", "delete", "volume@then"], ["export", "delete", "volume"]] {
            quarry.run(&words)?;
        }
        quarry.run(&["volume", "delete", "volume", "--with-snapshots"])?;
        [then, now].iter().try_for_each(|path| Ok(fs::remove_file(path)?))
    }

    /// Another node has a snapshot of the same name and answers on the first node's socket: a tunnel can lead to that.
    fn other_node(&self, bin_dir: &Path) -> Result<()> {
        self.volume("volume")?;
        self.node.quarry().run(&["snapshot", "create", "volume", "--name", "same"])?;
        let scratch = Scratch::new("images-other")?;
        let device = scratch.device("device.img", DEVICE_BYTES / 8)?;
        let mut other = Node::start(node::options(bin_dir, scratch.path()))?;
        other.quarry().create_pool(POOL, &[device], "copies:1")?;
        other.quarry().create_volume("volume", POOL, IMAGE_BYTES, "flush")?;
        other.quarry().run(&["snapshot", "create", "volume", "--name", "same"])?;
        other.quarry().create_export("volume@same")?;
        let aside = self.scratch.join("aside.sock");
        fs::rename(self.node.socket(), &aside)?;
        symlink(other.socket(), self.node.socket())?;
        let file = self.path("same.raw");
        self.node.quarry().run(&["volume", "export-image", "volume@same", &file])?;
        self.compare("raw", &file)?;
        other.stop()?;
        fs::rename(&aside, self.node.socket())?;
        self.node.quarry().run(&["volume", "delete", "volume", "--with-snapshots"])?;
        Ok(fs::remove_file(file)?)
    }

    /// Fails unless the volumes are these, and there is no snapshot, no export and no unfinished file.
    fn expect_tidy(&self, volumes: &[&str]) -> Result<()> {
        let quarry = self.node.quarry();
        let listed = quarry.json(&["volume", "list"])?;
        let names: Vec<_> =
            listed.as_array().context("no list")?.iter().map(|volume| &volume["name"]).collect();
        ensure!(names == volumes, "the volumes are {names:?}, not {volumes:?}");
        for what in ["snapshot", "export"] {
            let left = quarry.json(&[what, "list"])?;
            ensure!(left == serde_json::json!([]), "there is a {what} left: {left}");
        }
        for entry in fs::read_dir(self.scratch.path())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            ensure!(!name.ends_with(".partial"), "{name} is left");
        }
        Ok(())
    }
}
