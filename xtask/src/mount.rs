//! A volume as a file, a block device and a mounted file system, each undone when its guard is dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{self, privileged};
use crate::peer::Peer;
use crate::server::Server;

const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections of nbdfuse to the server.
const CONNECTIONS: &str = "4";

/// An NBD export as a file, by nbdfuse.
#[derive(Debug)]
pub struct FuseFile {
    folder: PathBuf,
    server: Option<Server>,
}

impl FuseFile {
    /// Mounts `uri` on the folder `dir/NAME` as the file `disk`.
    pub fn mount(uri: &str, dir: &Path, name: &str) -> Result<Self> {
        let folder = dir.join(name);
        fs::create_dir_all(&folder)?;
        let mut command = Command::new("nbdfuse");
        command.args(["--connections", CONNECTIONS]).arg(folder.join("disk")).arg(uri);
        let log = dir.join(format!("{name}.log"));
        let server = Server::start("nbdfuse", &command, &log)?;
        let mut file = Self { folder, server: Some(server) };
        let path = file.path();
        let server = file.server.as_mut().expect("just started");
        server.wait_until(START_TIMEOUT, || path.is_file())?;
        Ok(file)
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// Unmounts and waits until nbdfuse has ended.
    pub fn unmount(mut self) -> Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        command::run(Command::new("fusermount3").arg("-u").arg(&self.folder))?;
        server.wait_for_end(STOP_TIMEOUT).map(drop)
    }
}

impl Drop for FuseFile {
    fn drop(&mut self) {
        if self.undo().is_err() {
            // Its files may be open still; a lazy unmount lets go of the folder all the same.
            let _ = command::run(Command::new("fusermount3").arg("-uz").arg(&self.folder));
        }
    }
}

/// A file as a block device.
#[derive(Debug)]
pub struct LoopDevice {
    path: Option<PathBuf>,
}

impl LoopDevice {
    /// Attaches `file`, past the page cache.
    pub fn attach(file: &Path) -> Result<Self> {
        let mut command = privileged("losetup");
        command.args(["--find", "--show", "--direct-io=on"]).arg(file);
        let printed = command::run(&mut command)?;
        Ok(Self { path: Some(PathBuf::from(printed.trim())) })
    }

    /// The block device.
    pub fn path(&self) -> &Path {
        self.path.as_deref().expect("attached until it is dropped")
    }

    /// Detaches.
    pub fn detach(mut self) -> Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> Result<()> {
        let Some(path) = self.path.take() else { return Ok(()) };
        command::run(privileged("losetup").arg("--detach").arg(path)).map(drop)
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            eprintln!("{error:#}");
        }
    }
}

/// A mounted file system.
#[derive(Debug)]
pub struct Mount {
    folder: Option<PathBuf>,
}

impl Mount {
    /// Mounts `device` on `folder`, which is made.
    pub fn attach(device: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        command::run(privileged("mount").arg(device).arg(folder))?;
        Ok(Self { folder: Some(folder.to_owned()) })
    }

    /// Unmounts.
    pub fn unmount(mut self) -> Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> Result<()> {
        let Some(folder) = self.folder.take() else { return Ok(()) };
        command::run(privileged("umount").arg(&folder)).map(drop)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            eprintln!("{error:#}");
        }
    }
}

/// A device file whose I/O can be made to fail: nbdkit's error filter behind nbdfuse.
#[derive(Debug)]
pub struct FaultyDevice {
    // Dropped in this order: first the mount, then what serves it.
    file: FuseFile,
    server: Peer,
    switch: PathBuf,
}

impl FaultyDevice {
    /// A device over the file `backing`.
    pub fn new(backing: &Path, dir: &Path, name: &str) -> Result<Self> {
        let switch = dir.join(format!("{name}.fail"));
        let backing = backing.display().to_string();
        let error_file = format!("error-file={}", switch.display());
        let args = ["--filter=error", "file", &backing, "error=EIO", "error-rate=100%", &error_file];
        let server = Peer::nbdkit(&format!("{name}-nbdkit"), dir, &args)?;
        let file = FuseFile::mount(&server.uri(), dir, name)?;
        Ok(Self { file, server, switch })
    }

    /// The device file.
    pub fn path(&self) -> PathBuf {
        self.file.path()
    }

    /// From now on every read, write and flush fails with EIO.
    pub fn fail(&self) -> Result<()> {
        fs::write(&self.switch, b"").context("cannot turn the device's errors on")
    }

    /// Nothing is answered until what this gives is told to go on, or dropped: who has the file open cannot be ended before.
    pub fn hang(&self) -> Result<Hang<'_>> {
        self.signal(Signal::STOP)?;
        Ok(Hang { device: self })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.server.server.pid().try_into()?).context("a process has a number")?;
        kill_process(pid, signal).context("the device's server cannot be stopped or continued")
    }

    /// Takes it away, which nobody can as long as somebody has it open.
    pub fn unmount(self) -> Result<()> {
        self.file.unmount()
    }

    /// The device works again.
    pub fn heal(&self) -> Result<()> {
        fs::remove_file(&self.switch).context("cannot turn the device's errors off")
    }
}

/// A device that does not answer.
#[derive(Debug)]
pub struct Hang<'a> {
    device: &'a FaultyDevice,
}

impl Hang<'_> {
    /// It answers again, what it was asked for meanwhile as well.
    pub fn go_on(self) -> Result<()> {
        self.device.signal(Signal::CONT)
    }
}

impl Drop for Hang<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.device.signal(Signal::CONT) {
            eprintln!("{error:#}");
        }
    }
}

/// Fails when block devices cannot be attached here.
pub fn require_root() -> Result<()> {
    let is_root =
        command::output(privileged("true").env("LC_ALL", "C")).is_ok_and(|out| out.status.success());
    ensure!(is_root, "this needs root for losetup and mount: run it as root or with sudo set up");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_faulty_device_fails_when_told_and_heals() {
        let scratch = Scratch::new("mount-test").unwrap();
        let backing = scratch.device("backing", 8 << 20).unwrap();
        let device = FaultyDevice::new(&backing, scratch.path(), "faulty").unwrap();
        let mut bytes = [7; 4096];
        let open = || File::options().read(true).write(true).open(device.path()).unwrap();
        open().write_all_at(&bytes, 4096).unwrap();
        device.fail().unwrap();
        let file = open();
        assert!(file.write_all_at(&bytes, 8192).is_err() || file.sync_all().is_err());
        drop(file);
        device.heal().unwrap();
        open().read_exact_at(&mut bytes, 4096).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 7));
    }
}
