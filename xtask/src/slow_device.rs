//! A slow device: a file behind nbdkit, which serves one request at a time and each after a delay, so that its rate is bounded
//! whatever is asked for at once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::server::Server;

/// What serves it.
pub const PROGRAM: &str = "nbdkit";
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts one of so many bytes in a folder; gives its server and what names it as a device.
pub fn start(dir: &Path, size_bytes: u64, delay: Duration) -> Result<(Server, PathBuf)> {
    let (behind, socket) = (dir.join("slow.img"), dir.join("slow.sock"));
    std::fs::File::create(&behind)?.set_len(size_bytes)?;
    let delay = |which: &str| format!("{which}delay={}ms", delay.as_millis());
    let mut nbdkit = Command::new(PROGRAM);
    nbdkit.args(["--foreground", "--exit-with-parent", "--unix"]).arg(&socket);
    nbdkit.args(["--filter=noparallel", "--filter=delay", "file"]).arg(&behind);
    nbdkit.args(["serialize=requests".to_owned(), delay("r"), delay("w")]);
    let mut server = Server::start("the slow device", &nbdkit, &dir.join("slow.log"))?;
    server.wait_for_socket(&socket, START_TIMEOUT)?;
    Ok((server, PathBuf::from(format!("nbd+unix:///?socket={}", socket.display()))))
}
