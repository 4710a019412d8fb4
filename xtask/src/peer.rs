//! Other people's NBD servers: what the benchmark measures against and what the tools are tried on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::command;
use crate::server::Server;

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A server of one export without a name, on a unix socket.
#[derive(Debug)]
pub struct Peer {
    /// The process.
    pub server: Server,
    /// Its socket.
    pub socket: PathBuf,
}

impl Peer {
    fn start(name: &str, command: Command, dir: &Path) -> Result<Self> {
        let socket = dir.join(format!("{name}.sock"));
        // A killed server leaves its socket behind.
        let _ = std::fs::remove_file(&socket);
        let mut server = Server::start(name, &command, &dir.join(format!("{name}.log")))?;
        server.wait_for_socket(&socket, START_TIMEOUT)?;
        Ok(Self { server, socket })
    }

    /// The URI of the export.
    pub fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket.display())
    }

    /// qemu-nbd past the page cache with io_uring, as the baselines were measured. `extra` goes before the file.
    pub fn qemu_nbd(name: &str, dir: &Path, format: &str, image: &Path, extra: &[&str]) -> Result<Self> {
        let mut command = Command::new("qemu-nbd");
        command.args(["--persistent", "--format", format, "--cache=none", "--aio=io_uring", "--shared=8"]);
        command.arg("--socket").arg(dir.join(format!("{name}.sock"))).args(extra).arg(image);
        Self::start(name, command, dir)
    }

    /// qemu-nbd on a raw file, with all that the oracle needs: it stands in for quarryd where a tool is tried.
    pub fn stand_in(dir: &Path, image: &Path) -> Result<Self> {
        Self::qemu_nbd("stand-in", dir, "raw", image, &["--discard=unmap"])
    }

    /// nbdkit with a plugin and its arguments.
    pub fn nbdkit(name: &str, dir: &Path, args: &[&str]) -> Result<Self> {
        let mut command = Command::new("nbdkit");
        command.args(["--foreground", "--unix"]).arg(dir.join(format!("{name}.sock"))).args(args);
        Self::start(name, command, dir)
    }

    /// nbdkit on a file, through the page cache.
    pub fn nbdkit_file(name: &str, dir: &Path, file: &Path) -> Result<Self> {
        Self::nbdkit(name, dir, &["file", &file.display().to_string()])
    }
}

/// Makes a qcow2 image.
pub fn create_qcow2(path: &Path, size_bytes: u64) -> Result<()> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2"]).arg(path).arg(size_bytes.to_string());
    command::run(&mut command).map(drop)
}
