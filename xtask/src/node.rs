//! A quarryd of our own: started, watched, killed and started again on the same data.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::quarry::Quarry;
use crate::server::{Server, log_tail};

/// Until a fresh or killed daemon serves, waiting for the old process's I/O included.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Until a daemon has written its checkpoint and closed.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Of one look at the health page.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Folder with `quarryd` and `quarry`.
    pub bin_dir: PathBuf,
    /// Folder for the data directory, the socket and the log.
    pub dir: PathBuf,
    /// `--cores`; all of them when absent.
    pub cores: Option<u32>,
    /// `--memory`; quarryd's default when absent.
    pub memory: Option<String>,
    /// `--iscsi`.
    pub iscsi: Option<SocketAddr>,
    /// `--keyring-passphrase-file`.
    pub passphrase: Option<PathBuf>,
    /// Whether it serves iSCSI and NVMe/TCP, too.
    pub has_fabrics: bool,
    /// `--advertise`, each of them.
    pub advertise: Vec<String>,
    /// Further arguments of quarryd.
    pub more: Vec<String>,
    /// `--device-timeout`, in seconds.
    pub device_timeout: Option<u64>,
    /// Variables of quarryd's environment.
    pub environment: Vec<(&'static str, String)>,
}

/// A node on loopback and a unix socket of its own.
#[derive(Debug)]
pub struct Node {
    options: NodeOptions,
    api: SocketAddr,
    nbd: SocketAddr,
    iscsi: SocketAddr,
    nvme_tcp: SocketAddr,
    server: Option<Server>,
}

impl Node {
    /// Starts a node and waits until it serves.
    pub fn start(options: NodeOptions) -> Result<Self> {
        let mut node = Self {
            options,
            api: free_address()?,
            nbd: free_address()?,
            iscsi: free_address()?,
            nvme_tcp: free_address()?,
            server: None,
        };
        node.restart()?;
        Ok(node)
    }

    /// Starts the stopped or killed node again; returns the time from exec until it said that it is healthy.
    pub fn restart(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.spawn()?;
        self.wait_ready()?;
        Ok(start.elapsed())
    }

    /// From the next start on.
    pub fn set_passphrase(&mut self, file: Option<PathBuf>) {
        self.options.passphrase = file;
    }

    /// Starts the process without waiting for it.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "the node runs already");
        let options = &self.options;
        let mut command = Command::new(options.bin_dir.join("quarryd"));
        command.env("NO_COLOR", "1").envs(options.environment.iter().cloned());
        command.arg("--data-dir").arg(options.dir.join("data"));
        command.args(["--api", &self.api.to_string(), "--nbd", &self.nbd.to_string()]);
        command.arg("--nbd-unix").arg(self.socket());
        if let Some(cores) = options.cores {
            command.args(["--cores", &cores.to_string()]);
        }
        if let Some(memory) = &options.memory {
            command.args(["--memory", memory]);
        }
        if let Some(iscsi) = options.iscsi {
            command.args(["--iscsi", &iscsi.to_string()]);
        }
        if let Some(passphrase) = &options.passphrase {
            command.arg("--keyring-passphrase-file").arg(passphrase);
        }
        if options.has_fabrics {
            command.args(["--iscsi", &self.iscsi.to_string(), "--nvme-tcp", &self.nvme_tcp.to_string()]);
        }
        if let Some(timeout) = options.device_timeout {
            command.args(["--device-timeout", &timeout.to_string()]);
        }
        for address in &options.advertise {
            command.args(["--advertise", address]);
        }
        command.args(&options.more);
        self.server = Some(Server::start("quarryd", &command, &self.log_path())?);
        Ok(())
    }

    /// Waits until the health page answers 200.
    pub fn wait_ready(&mut self) -> Result<()> {
        let api = self.api;
        self.server_mut()?.wait_until(START_TIMEOUT, || is_healthy(api))
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().context("the node does not run")?.kill()
    }

    /// SIGTERM; the node must end with success.
    pub fn stop(&mut self) -> Result<()> {
        let mut server = self.server.take().context("the node does not run")?;
        let status = server.terminate(STOP_TIMEOUT)?;
        ensure!(status.success(), "quarryd ended with {status} on SIGTERM:\n{}", server.log_tail());
        Ok(())
    }

    /// `quarryd check` of the stopped or killed node, which must find nothing.
    pub fn check(&self) -> Result<()> {
        ensure!(self.server.is_none(), "a node that runs cannot be checked");
        let mut command = Command::new(self.options.bin_dir.join("quarryd"));
        command.env("NO_COLOR", "1").envs(self.options.environment.iter().cloned());
        command.arg("check").arg("--data-dir").arg(self.options.dir.join("data"));
        let output = command.output().context("quarryd check")?;
        let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
        ensure!(output.status.success(), "quarryd check ended with {}:\n{text}", output.status);
        Ok(())
    }

    /// The process.
    pub fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("the node does not run")
    }

    fn server_mut(&mut self) -> Result<&mut Server> {
        self.server.as_mut().context("the node does not run")
    }

    /// Fails when the process ended on its own.
    pub fn check_running(&mut self) -> Result<()> {
        let server = self.server_mut()?;
        ensure!(server.is_running(), "quarryd died on its own; its log ends with:\n{}", server.log_tail());
        Ok(())
    }

    /// The command line for this node.
    pub fn quarry(&self) -> Quarry {
        Quarry::new(&self.options.bin_dir, &format!("http://{}", self.api))
    }

    /// Where it listens for the API.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// What a page answers to somebody without a token, its head included.
    pub fn page_without_token(&self, path: &str) -> Result<String> {
        Ok(get(self.api, path, None)?)
    }

    /// The figures for Prometheus.
    pub fn metrics(&self) -> Result<String> {
        let path = self.options.dir.join("data").join("admin.token");
        let token =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(get(self.api, "/metrics", Some(token.trim()))?)
    }

    /// Path of the NBD unix socket.
    pub fn socket(&self) -> PathBuf {
        self.options.dir.join("nbd.sock")
    }

    /// The URI of a volume's export on the unix socket.
    pub fn uri(&self, volume: &str) -> String {
        format!("nbd+unix:///{volume}?socket={}", self.socket().display())
    }

    /// The URI of a volume's export over TCP.
    pub fn tcp_uri(&self, volume: &str) -> String {
        format!("nbd://{}/{volume}", self.nbd)
    }

    /// Where it listens for NBD over TCP.
    pub fn nbd(&self) -> SocketAddr {
        self.nbd
    }

    /// Where it listens for iSCSI, if it has fabrics.
    pub fn iscsi(&self) -> SocketAddr {
        self.iscsi
    }

    /// Where it listens for NVMe/TCP, if it has fabrics.
    pub fn nvme_tcp(&self) -> SocketAddr {
        self.nvme_tcp
    }

    /// Path of the log, to which each start appends.
    pub fn log_path(&self) -> PathBuf {
        self.options.dir.join("quarryd.log")
    }

    /// The end of that log, for error messages.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log_path())
    }
}

/// What the page at `path` answers, its head included.
fn get(api: SocketAddr, path: &str, token: Option<&str>) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&api, HEALTH_TIMEOUT)?;
    stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
    let proof = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {api}\r\n{proof}Connection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A loopback address with a port that was free a moment ago.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Whether `GET /v1/health` answers 200.
pub fn is_healthy(api: SocketAddr) -> bool {
    get(api, "/v1/health", None).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}

/// Writes a passphrase for a keyring into `dir`; says where.
pub fn write_passphrase(dir: &Path, text: &str) -> Result<PathBuf> {
    let path = dir.join("passphrase");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// A node in a scratch folder with file devices, one pool and one exported volume, created with `more` options: what most
/// scenarios start from.
pub fn start_with_volume(
    options: NodeOptions,
    devices: &[PathBuf],
    protection: &str,
    volume_bytes: u64,
    more: &[&str],
) -> Result<Node> {
    let node = Node::start(options)?;
    let quarry = node.quarry();
    quarry.create_pool(POOL, devices, protection)?;
    let size = volume_bytes.to_string();
    let words = ["volume", "create", VOLUME, "--pool", POOL, "--size", &size];
    quarry.run(&[&words, more].concat())?;
    quarry.create_export(VOLUME)?;
    Ok(node)
}

/// Name of the pool that [`start_with_volume`] makes.
pub const POOL: &str = "pool";
/// Name of the volume that [`start_with_volume`] makes.
pub const VOLUME: &str = "volume";

/// Options for a node of the binaries in `bin_dir` with all its files under `dir`.
pub fn options(bin_dir: &Path, dir: &Path) -> NodeOptions {
    NodeOptions {
        bin_dir: bin_dir.to_owned(),
        dir: dir.to_owned(),
        cores: None,
        memory: None,
        iscsi: None,
        passphrase: None,
        has_fabrics: false,
        advertise: Vec::new(),
        more: Vec::new(),
        device_timeout: None,
        environment: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_the_status_line_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 503 Service Unavailable\r\n\r\n"];
        let server = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                // All of it: a socket that is closed with something unread takes the answer back.
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert!(is_healthy(address));
        assert!(!is_healthy(address));
        server.join().unwrap();
        assert!(!is_healthy(free_address().unwrap()));
    }
}
