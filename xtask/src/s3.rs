//! A real S3 server, `s3s-fs` (crates.io), which keeps each object in a file. `scripts/setup-s3.sh` installs it.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::node;
use crate::server::Server;

/// Its program.
pub const PROGRAM: &str = "s3s-fs";
/// Its only bucket.
pub const BUCKET: &str = "cold";
const ACCESS_KEY: &str = "AKEXAMPLE";
const SECRET_KEY: &str = "SKEXAMPLE";
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub struct S3 {
    address: SocketAddr,
    root: PathBuf,
    log: PathBuf,
    server: Option<Server>,
}

impl S3 {
    /// Starts one with an empty bucket, whose files are in `dir`.
    pub fn start(dir: &Path) -> Result<Self> {
        let root = dir.join("s3");
        std::fs::create_dir_all(root.join(BUCKET))?;
        let mut s3 = Self { address: node::free_address()?, root, log: dir.join("s3.log"), server: None };
        s3.restart()?;
        Ok(s3)
    }

    /// Starts it again, where it was killed.
    pub fn restart(&mut self) -> Result<()> {
        let mut command = Command::new(PROGRAM);
        command.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, "--host", "127.0.0.1"]);
        command.args(["--port", &self.address.port().to_string()]).arg(&self.root);
        let mut server = Server::start("the S3 server", &command, &self.log)?;
        let address = self.address;
        server.wait_until(START_TIMEOUT, || TcpStream::connect(address).is_ok())?;
        self.server = Some(server);
        Ok(())
    }

    /// Kills it.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().context("the S3 server does not run")?.kill()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder of its bucket.
    pub fn bucket(&self) -> PathBuf {
        self.root.join(BUCKET)
    }

    /// By which variables of its environment a node knows the keys.
    pub fn environment() -> Vec<(&'static str, String)> {
        vec![("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned())]
    }
}
