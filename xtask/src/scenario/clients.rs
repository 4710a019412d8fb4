//! The NBD clients that people have, against the running product.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::command;
use crate::node::{self, Node, POOL};
use crate::report::Steps;
use crate::sample;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const VOLUME_BYTES: u64 = 256 << 20;
const DEVICE_BYTES: u64 = 1 << 30;

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("clients", "libnbd's and QEMU's tools");
    command::require(&["nbdinfo", "nbdcopy", "nbdsh", "qemu-img", "qemu-io", "fio"])?;
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("clients")?;
    require_space(scratch.path(), 3 * DEVICE_BYTES + 4 * VOLUME_BYTES)?;
    let devices = scratch.devices(3, DEVICE_BYTES)?;
    let mut node = Node::start(node::options(&bin_dir, scratch.path()))?;
    node.quarry().create_pool(POOL, &devices, "copies:2")?;
    let image = scratch.join("image.raw");
    make_image(&image)?;
    let tools = Tools { node: &node, image: &image, scratch: &scratch };
    steps.step("quarry export create prints a URI that works", || tools.printed_uri())?;
    steps.step("nbdinfo: size, flags, list, json; over TCP too", || tools.nbdinfo())?;
    steps.step("nbdinfo of an export that is not there fails", || tools.unknown_export())?;
    steps.step("nbdcopy in and out", || tools.nbdcopy())?;
    steps.step("nbdinfo --map shows data and holes", || tools.map())?;
    steps.step("qemu-img convert, compare, map, info", || tools.qemu_img())?;
    steps.step("qemu-img bench", || tools.qemu_bench())?;
    steps.step("qemu-io: patterns, zeroes, discard, flush, any alignment", || tools.qemu_io())?;
    steps.step("nbdsh: every command and flag", || tools.nbdsh())?;
    steps.step("fio with verification", || tools.fio())?;
    node.check_running()?;
    steps.step("stop", || node.stop())?;
    steps.pass();
    Ok(())
}

/// An image with data, a long hole, more data and an odd end.
fn make_image(path: &Path) -> Result<()> {
    let file = File::create(path)?;
    file.set_len(VOLUME_BYTES)?;
    let mut offset = 0;
    for sample in sample::files(100 << 20, 4096)? {
        let bytes = fs::read(sample)?;
        let gap = if offset < 50 << 20 { 0 } else { 40 << 20 };
        if offset + gap + bytes.len() as u64 > VOLUME_BYTES {
            break;
        }
        file.write_all_at(&bytes, offset + gap)?;
        offset += bytes.len() as u64;
    }
    file.write_all_at(&[0xee; 512], VOLUME_BYTES - 512)?;
    Ok(())
}

struct Tools<'a> {
    node: &'a Node,
    image: &'a Path,
    scratch: &'a Scratch,
}

impl Tools<'_> {
    /// The URI of a volume of its own for one test.
    fn volume(&self, name: &str) -> Result<String> {
        let quarry = self.node.quarry();
        quarry.create_volume(name, POOL, VOLUME_BYTES, "flush")?;
        quarry.create_export(name)?;
        Ok(self.node.uri(name))
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        command::run(Command::new(program).args(args).current_dir(self.scratch.path()))
    }

    fn image(&self) -> &str {
        self.image.to_str().expect("scratch paths are UTF-8")
    }

    fn printed_uri(&self) -> Result<()> {
        let quarry = self.node.quarry();
        quarry.create_volume("printed", POOL, VOLUME_BYTES, "flush")?;
        let uri = quarry.create_export("printed")?;
        let size = self.run("nbdinfo", &["--size", &uri])?;
        ensure!(size.trim() == VOLUME_BYTES.to_string(), "nbdinfo says {size}");
        Ok(())
    }

    fn nbdinfo(&self) -> Result<()> {
        let uri = self.volume("info")?;
        for uri in [uri.as_str(), &self.node.tcp_uri("info")] {
            let size = self.run("nbdinfo", &["--size", uri])?;
            ensure!(size.trim() == VOLUME_BYTES.to_string(), "nbdinfo --size says {size}");
            for can in ["flush", "fua", "trim", "zero", "fast-zero", "df", "multi-conn", "cache", "write"] {
                self.run("nbdinfo", &["--can", can, uri])?;
            }
            self.run("nbdinfo", &["--can", "structured-reply", uri])?;
        }
        let list = self.run("nbdinfo", &["--list", "--json", &self.node.uri("")])?;
        ensure!(list.contains("\"info\""), "nbdinfo --list does not show the export: {list}");
        let full = self.run("nbdinfo", &[&uri])?;
        ensure!(full.contains("base:allocation"), "no base:allocation in {full}");
        Ok(())
    }

    fn unknown_export(&self) -> Result<()> {
        let result = self.run("nbdinfo", &[&self.node.uri("nowhere")]);
        ensure!(result.is_err(), "nbdinfo found an export that does not exist: {result:?}");
        Ok(())
    }

    fn nbdcopy(&self) -> Result<()> {
        let uri = self.volume("copied")?;
        let copy = self.scratch.join("copied-out.raw");
        self.run("nbdcopy", &["--flush", self.image(), &uri])?;
        self.run("nbdcopy", &[&uri, copy.to_str().expect("UTF-8")])?;
        ensure!(sample::is_same(self.image, &copy)?, "what nbdcopy brought back differs");
        fs::remove_file(copy)?;
        let second = self.volume("copied-again")?;
        self.run("nbdcopy", &[&uri, &second])?;
        self.compare(&second)
    }

    fn compare(&self, uri: &str) -> Result<()> {
        self.run("qemu-img", &["compare", "-f", "raw", "-F", "raw", self.image(), uri]).map(drop)
    }

    fn map(&self) -> Result<()> {
        let map = self.run("nbdinfo", &["--map", "--totals", &self.node.uri("copied")])?;
        ensure!(map.contains("data") && map.contains("hole"), "the map shows no data or no hole: {map}");
        Ok(())
    }

    fn qemu_img(&self) -> Result<()> {
        let uri = self.volume("converted")?;
        self.run("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", self.image(), &uri])?;
        self.compare(&uri)?;
        self.run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &uri, "out.qcow2"])?;
        self.run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", "out.qcow2", self.image()])?;
        self.run(
            "qemu-img",
            &["convert", "-n", "-W", "-m", "16", "-f", "qcow2", "-O", "raw", "out.qcow2", &uri],
        )?;
        self.compare(&uri)?;
        fs::remove_file(self.scratch.join("out.qcow2"))?;
        let map = self.run("qemu-img", &["map", "-f", "raw", "--output=json", &uri])?;
        ensure!(map.contains("\"data\": false"), "qemu-img map shows no hole: {map}");
        let info = self.run("qemu-img", &["info", "-f", "raw", &uri])?;
        ensure!(info.contains("256 MiB"), "qemu-img info says {info}");
        Ok(())
    }

    fn qemu_bench(&self) -> Result<()> {
        let uri = self.volume("benched")?;
        let bench = |extra: &[&str]| {
            let args = ["bench", "-f", "raw", "-t", "none", "-c", "5000", "-d", "32"];
            self.run("qemu-img", &[&args, extra, &[uri.as_str()]].concat())
        };
        bench(&["-w", "-s", "4096"])?;
        bench(&["-w", "-s", "4096", "--flush-interval=64"])?;
        bench(&["-s", "4096"])?;
        bench(&["-s", "65536", "-S", "262144"]).map(drop)
    }

    fn qemu_io(&self) -> Result<()> {
        let uri = self.volume("poked")?;
        let script = [
            "write -P 0xa1 0 1M",
            "write -P 0xb2 -f 512 512",
            "read -P 0xa1 0 512",
            "read -P 0xb2 512 512",
            "read -P 0xa1 1024 1047552",
            "aio_write -P 0xc3 2M 64k",
            "aio_write -P 0xc4 2162688 64k",
            "aio_flush",
            "read -P 0xc3 2M 64k",
            "read -P 0xc4 2162688 64k",
            "write -z 4096 8192",
            "read -P 0 4096 8192",
            "write -z -u 65536 65536",
            "read -P 0 65536 65536",
            "discard 131072 131072",
            "read -P 0 131072 131072",
            "write -P 0xd5 268434944 512",
            "read -P 0xd5 268434944 512",
            "flush",
        ];
        let mut command = Command::new("qemu-io");
        command.args(["-f", "raw", "-t", "none", "-d", "unmap"]);
        for line in script {
            command.args(["-c", line]);
        }
        let printed = command::run(command.arg(&uri))?;
        ensure!(!printed.contains("Pattern verification failed"), "{printed}");
        ensure!(!printed.contains("failed:"), "{printed}");
        Ok(())
    }

    fn nbdsh(&self) -> Result<()> {
        let uri = self.volume("scripted")?;
        let script = self.scratch.join("clients.py");
        fs::write(&script, include_str!("clients.py"))?;
        let command = format!("exec(open({:?}).read())", script.display().to_string());
        let mut nbdsh = Command::new("nbdsh");
        nbdsh.args(["--base-allocation", "--uri", &uri, "--command", &command]);
        // The distribution's Python has the module; another one may come first in the path.
        let path = std::env::var("PATH").unwrap_or_default();
        command::run(nbdsh.env("PATH", format!("/usr/bin:{path}"))).map(drop)
    }

    fn fio(&self) -> Result<()> {
        let uri = self.volume("fio")?;
        let uri = format!("--uri={uri}");
        let args = [
            "--name=verify",
            "--ioengine=nbd",
            &uri,
            "--rw=randwrite",
            "--bsrange=512-128k",
            "--bs_unaligned=0",
            "--iodepth=16",
            "--size=64M",
            "--verify=crc32c",
            "--do_verify=1",
            "--verify_fatal=1",
            "--blockalign=512",
        ];
        self.run("fio", &args).map(drop)
    }
}
