//! What must fail, how it must fail, and that nothing of it is left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::World;
use crate::command;
use crate::node::POOL;
use crate::report::Steps;

/// Until a command that was interrupted has cleaned up.
const END_TIMEOUT: Duration = Duration::from_secs(20);
const INTERRUPTED: i32 = 130;

pub(super) fn run(world: &World<'_>, steps: &mut Steps) -> Result<()> {
    steps.step("sources that are none", || world.bad_sources())?;
    steps.step("an image that was cut off", || world.cut_off())?;
    steps.step("an image that names other files", || world.backing())?;
    steps.step("a name that is taken, a pool that is too small", || world.no_room())?;
    steps.step("files that exist are not replaced", || world.existing_files())?;
    steps.step("without qemu-img the package is named", || world.no_qemu_img())?;
    steps.step("a copy that fails leaves nothing", || world.failing_copy())?;
    steps.step("Ctrl-C leaves nothing", || world.interrupted())
}

impl World<'_> {
    /// Runs what must end with `exit` and say `part`.
    fn fails(&self, words: &[&str], path: Option<&str>, exit: i32, part: &str) -> Result<()> {
        let mut command = self.node.quarry().command();
        command.args(words);
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let output = command::output(&mut command)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ended = output.status.code() == Some(exit) && said.contains(part) && output.stdout.is_empty();
        ensure!(ended, "{words:?} ended with {}, not {exit} and \"{part}\":\n{said}", output.status);
        Ok(())
    }

    fn import_fails(&self, source: &str, more: &[&str], exit: i32, part: &str) -> Result<()> {
        let words = ["volume", "import", source, "--pool", POOL, "--name", "new"];
        self.fails(&[&words, more].concat(), None, exit, part)
    }

    fn bad_sources(&self) -> Result<()> {
        let empty = self.path("empty.raw");
        fs::write(&empty, [])?;
        let no_qcow2 = &["--source-format", "qcow2"];
        self.import_fails(self.image(), no_qcow2, 1, "Image is not in qcow2 format")?;
        self.import_fails(&self.path("gone.raw"), &[], 3, "No such file")?;
        self.import_fails(&self.path(""), &[], 2, "is a directory")?;
        self.import_fails(&empty, &[], 2, "is empty")?;
        self.import_fails("nbd://127.0.0.1:1/x", &[], 1, "Connection refused")?;
        self.import_fails("http://127.0.0.1:1/x", &[], 1, "cannot be read as an image")?;
        fs::remove_file(empty)?;
        self.expect_tidy(&[])
    }

    fn cut_off(&self) -> Result<()> {
        for format in ["qcow2", "vmdk", "vdi", "vhdx", "vpc"] {
            let image = self.path("cut");
            self.qemu_img(&["convert", "-f", "raw", "-O", format, self.image(), &image])?;
            let file = fs::File::options().write(true).open(&image)?;
            file.set_len(file.metadata()?.len() / 2)?;
            self.import_fails(&image, &["--source-format", format], 1, "cut'")?;
        }
        fs::remove_file(self.path("cut"))?;
        self.expect_tidy(&[])
    }

    fn backing(&self) -> Result<()> {
        let top = self.path("top.qcow2");
        self.qemu_img(&["create", "-q", "-f", "qcow2", "-b", self.image(), "-F", "raw", &top])?;
        self.import_fails(&top, &[], 2, "names another file")?;
        let words = ["volume", "import", &top, "--pool", POOL, "--name", "new", "--with-backing"];
        self.node.quarry().run(&words)?;
        self.compare("raw", &self.node.quarry().create_export("new")?)?;
        self.node.quarry().run(&["export", "delete", "new"])?;
        self.node.quarry().run(&["volume", "delete", "new"])?;
        Ok(fs::remove_file(top)?)
    }

    fn no_room(&self) -> Result<()> {
        let quarry = self.node.quarry();
        quarry.create_volume("new", POOL, 4096, "flush")?;
        self.import_fails(self.image(), &[], 4, "exists already")?;
        quarry.run(&["volume", "delete", "new"])?;
        let device = self.scratch.device("small.img", 32 << 20)?;
        quarry.create_pool("small", &[device], "copies:1")?;
        let words = ["volume", "import", self.image(), "--pool", "small", "--name", "new"];
        self.fails(&words, None, 6, "does not fit into pool 'small'")?;
        let forced = [&words[..], &["--skip-space-check", "--no-progress"]].concat();
        self.fails(&forced, None, 6, "No space left on device")?;
        self.expect_tidy(&[])?;
        self.fails(&[&forced[..], &["--keep"]].concat(), None, 6, "is kept as 'new.import-")?;
        let kept =
            quarry.json(&["volume", "list"])?[0]["name"].as_str().context("nothing was kept")?.to_owned();
        quarry.run(&["volume", "delete", &kept])?;
        quarry.run(&["pool", "delete", "small"]).map(drop)
    }

    fn existing_files(&self) -> Result<()> {
        self.volume("volume")?;
        let file = self.path("there.raw");
        fs::write(&file, "old")?;
        let words = ["volume", "export-image", "volume", &file];
        self.fails(&words, None, 4, "--force")?;
        self.fails(&["volume", "export-image", "volume", "/dev/null"], None, 2, "is not a file")?;
        self.fails(&["volume", "export-image", "gone", &self.path("x.raw")], None, 3, "gone")?;
        ensure!(fs::read(&file)? == b"old", "the file was touched");
        self.node.quarry().run(&[&words[..], &["--force"]].concat())?;
        self.compare("raw", &file)?;
        fs::remove_file(&file)?;
        self.expect_tidy(&["volume"])?;
        self.node.quarry().run(&["volume", "delete", "volume"]).map(drop)
    }

    fn no_qemu_img(&self) -> Result<()> {
        let words = ["volume", "import", self.image(), "--pool", POOL, "--name", "new"];
        self.fails(&words, Some("/nonexistent"), 1, "apt install qemu-utils")?;
        self.expect_tidy(&[])
    }

    /// A `qemu-img` that does `instead` when it is to convert, in a folder for the front of the path.
    fn false_qemu_img(&self, instead: &str) -> Result<String> {
        let folder = self.scratch.join("false");
        fs::create_dir_all(&folder)?;
        let (program, real) = (folder.join("qemu-img"), real_qemu_img()?);
        let script = format!("#!/bin/sh\n[ \"$1\" = convert ] && {{ {instead}; }}\nexec {real} \"$@\"\n");
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(format!("{}:{}", folder.display(), std::env::var("PATH")?))
    }

    fn failing_copy(&self) -> Result<()> {
        self.volume("volume")?;
        let path = self.false_qemu_img("echo 'qemu-img: the cable is loose' >&2; exit 1")?;
        let import = ["volume", "import", self.image(), "--pool", POOL, "--name", "new"];
        self.fails(&import, Some(&path), 1, "cause: the cable is loose")?;
        let export = ["volume", "export-image", "volume", &self.path("x.raw")];
        self.fails(&export, Some(&path), 1, "cause: the cable is loose")?;
        ensure!(!Path::new(&self.path("x.raw")).exists(), "the image is there");
        self.expect_tidy(&["volume"])
    }

    fn interrupted(&self) -> Result<()> {
        let started = self.path("started");
        let path = self.false_qemu_img(&format!("touch {started}; exec sleep 60"))?;
        let import = ["volume", "import", self.image(), "--pool", POOL, "--name", "new"];
        let file = self.path("x.raw");
        for words in [&import[..], &["volume", "export-image", "volume", &file]] {
            for signal in [Signal::INT, Signal::TERM] {
                self.interrupt(words, &path, &started, signal)?;
                self.expect_tidy(&["volume"])?;
                ensure!(!Path::new(&file).exists(), "the image is there");
            }
        }
        self.node.quarry().run(&["volume", "delete", "volume"]).map(drop)
    }

    /// Runs a command until its copy is under way, and interrupts it there.
    fn interrupt(&self, words: &[&str], path: &str, started: &str, signal: Signal) -> Result<()> {
        let mut command = self.node.quarry().command();
        command.args(words).env("PATH", path).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let begin = Instant::now();
        while !Path::new(started).exists() {
            ensure!(begin.elapsed() < END_TIMEOUT, "{words:?} does not begin to copy");
            sleep(Duration::from_millis(5));
        }
        fs::remove_file(started)?;
        kill_process(Pid::from_child(&child), signal)?;
        let code = wait(&mut child)?;
        ensure!(code == Some(INTERRUPTED), "{words:?} ended with {code:?} after {signal:?}");
        Ok(())
    }
}

fn wait(child: &mut Child) -> Result<Option<i32>> {
    let begin = Instant::now();
    while begin.elapsed() < END_TIMEOUT {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        sleep(Duration::from_millis(5));
    }
    child.kill()?;
    bail!("it did not end within {END_TIMEOUT:?}")
}

fn real_qemu_img() -> Result<String> {
    let path = std::env::var_os("PATH").context("no PATH")?;
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("qemu-img")).find(|path| path.is_file());
    Ok(found.context("qemu-img is not installed: run `make setup`")?.display().to_string())
}
