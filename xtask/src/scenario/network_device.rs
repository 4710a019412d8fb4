//! A pool of a file and the disks of a server, a copy on each, under verified load: the server is restarted, hangs, and goes away.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{finish_undisturbed, require_no_violation};
use crate::command;
use crate::load::Fabric;
use crate::node::{self, Node, NodeOptions, POOL, VOLUME};
use crate::oracle::{self, Access, Load, LoadOptions, Mix, Oracle};
use crate::report::{Steps, seconds};
use crate::scratch::{Scratch, require_space};
use crate::server::Server;
use crate::tgt::{self, Tgt};
use crate::workspace::{self, Profile};

/// Until a server listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Until the pool's state must show that its server is gone: silence and outage of `quarry-network-disk`, and some more.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(40);
/// Until a device that came back has what it missed.
const RETURN_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest that a request may take while the node waits for a server that does not come back: what hosts bear.
const STALL_MAX: Duration = Duration::from_secs(30);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Restarts of the server under load.
    #[arg(long, default_value_t = 5)]
    pub restarts: u64,
    /// Seconds of load between two of them.
    #[arg(long, default_value_t = 2)]
    pub seconds: u64,
    /// Size of each device in MiB.
    #[arg(long, default_value_t = 1024)]
    pub device_mib: u64,
    /// Size of the volume in MiB.
    #[arg(long, default_value_t = 256)]
    pub volume_mib: u64,
    /// Decides the requests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The server.
    #[arg(long, value_enum, default_value = "nbdkit")]
    pub peer: Peer,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Whose server the device is behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Peer {
    /// nbdkit's file plugin, with blocks of 4 KiB and delays.
    Nbdkit,
    /// qemu-nbd.
    QemuNbd,
    /// A volume of another node, over NBD.
    Quarryd,
    /// The same over iSCSI.
    QuarrydIscsi,
    /// The same over NVMe/TCP.
    QuarrydNvmeTcp,
    /// Three of its volumes, one over each protocol, beside each other in one pool.
    QuarrydMixed,
    /// Debian's tgt, over iSCSI.
    Tgt,
}

/// A server over a file, which can be ended and started again.
struct Backend {
    process: Process,
    uris: Vec<String>,
}

enum Process {
    Server { command: Command, socket: PathBuf, log: PathBuf, server: Option<Server> },
    Tgt { image: PathBuf, address: SocketAddr, log: PathBuf, server: Option<Server> },
    Node(Box<Node>),
}

impl Backend {
    fn start(peer: Peer, file: &Path, dir: &Path, bin_dir: &Path) -> Result<Self> {
        let socket = dir.join("backend.sock");
        let log = dir.join("backend.log");
        let command = match peer {
            Peer::Nbdkit => nbdkit(&socket, file),
            Peer::QemuNbd => qemu_nbd(&socket, file),
            Peer::Tgt => {
                let address = node::free_address()?;
                let Tgt { server, unit } = Tgt::start(file, "rdwr", address, &log)?;
                let process = Process::Tgt { image: file.to_owned(), address, log, server: Some(server) };
                return Ok(Self { process, uris: vec![unit.to_string()] });
            }
            Peer::Quarryd | Peer::QuarrydIscsi | Peer::QuarrydNvmeTcp | Peer::QuarrydMixed => {
                return Self::start_node(peer, file, dir, bin_dir);
            }
        };
        let uris = vec![format!("nbd+unix:///?socket={}", socket.display())];
        let process = Process::Server { command, socket, log, server: None };
        let mut backend = Self { process, uris };
        backend.restart()?;
        Ok(backend)
    }

    fn start_node(peer: Peer, file: &Path, dir: &Path, bin_dir: &Path) -> Result<Self> {
        let dir = dir.join("backend");
        std::fs::create_dir(&dir)?;
        let options = NodeOptions { has_fabrics: true, ..node::options(bin_dir, &dir) };
        let over_nbd = peer == Peer::Quarryd || peer == Peer::QuarrydMixed;
        let mut fabrics = vec![Fabric::Iscsi, Fabric::NvmeTcp];
        fabrics.retain(|&fabric| match peer {
            Peer::QuarrydIscsi => fabric == Fabric::Iscsi,
            Peer::QuarrydNvmeTcp => fabric == Fabric::NvmeTcp,
            peer => peer == Peer::QuarrydMixed,
        });
        let count = fabrics.len() as u64 + u64::from(over_nbd);
        let volume_bytes = (std::fs::metadata(file)?.len() * 3 / 4 / count).next_multiple_of(1 << 20);
        let node = node::start_with_volume(options, &[file.to_owned()], "copies:1", volume_bytes, &[])?;
        let mut uris = Vec::new();
        if over_nbd {
            uris.push(format!("nbd+unix:///{VOLUME}?socket={}", node.socket().display()));
        }
        for fabric in fabrics {
            let mut volume = VOLUME.to_owned();
            if !uris.is_empty() {
                volume = fabric.name().to_owned();
                let size = volume_bytes.to_string();
                node.quarry().run(&["volume", "create", &volume, "--pool", POOL, "--size", &size])?;
            }
            uris.push(node.quarry().create_unit(&volume, fabric)?.to_string());
        }
        Ok(Self { process: Process::Node(Box::new(node)), uris })
    }

    fn uris(&self) -> impl Iterator<Item = PathBuf> {
        self.uris.iter().map(PathBuf::from)
    }

    fn restart(&mut self) -> Result<()> {
        match &mut self.process {
            Process::Node(node) => node.restart().map(drop),
            Process::Tgt { image, address, log, server } => {
                *server = Some(Tgt::start(image, "rdwr", *address, log)?.server);
                Ok(())
            }
            Process::Server { command, socket, log, server } => {
                // A socket that a killed server has left keeps the next one from listening.
                let _ = std::fs::remove_file(&*socket);
                let mut started = Server::start("the backend", command, log)?;
                started.wait_for_socket(socket, START_TIMEOUT)?;
                *server = Some(started);
                Ok(())
            }
        }
    }

    fn kill(&mut self) -> Result<()> {
        match &mut self.process {
            Process::Node(node) => node.kill(),
            Process::Server { server, .. } | Process::Tgt { server, .. } => {
                server.take().context("the backend does not run")?.kill()
            }
        }
    }

    /// Starts it again if it has ended by itself, as nbdkit does now and then when it wakes up to find all of its clients gone.
    fn revive(&mut self) -> Result<()> {
        let is_running = match &mut self.process {
            Process::Node(_) => true,
            Process::Server { server, .. } | Process::Tgt { server, .. } => {
                server.as_mut().is_some_and(Server::is_running)
            }
        };
        if is_running { Ok(()) } else { self.restart() }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = match &self.process {
            Process::Node(node) => node.server()?.pid(),
            Process::Server { server, .. } | Process::Tgt { server, .. } => {
                server.as_ref().context("the backend does not run")?.pid()
            }
        };
        let pid = Pid::from_raw(i32::try_from(pid)?).context("a process has an id")?;
        Ok(kill_process(pid, signal)?)
    }
}

fn nbdkit(socket: &Path, file: &Path) -> Command {
    let mut command = Command::new("nbdkit");
    command.args(["--foreground", "--exit-with-parent", "--unix"]).arg(socket);
    command.args(["--filter=blocksize-policy", "--filter=delay", "file"]).arg(file);
    command.args(["blocksize-minimum=4096", "blocksize-error-policy=error", "delay-write=1ms"]);
    command
}

fn qemu_nbd(socket: &Path, file: &Path) -> Command {
    let mut command = Command::new("qemu-nbd");
    command.args(["--persistent", "--shared=64", "--format=raw", "--discard=unmap", "--socket"]);
    command.arg(socket).arg(file);
    command
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("network-device", "a pool of a file and disks of a server, a copy on each");
    match options.peer {
        Peer::Nbdkit => command::require(&["nbdkit"])?,
        Peer::QemuNbd => command::require(&["qemu-nbd"])?,
        Peer::Tgt => {
            ensure!(tgt::is_installed(), "tgtd is needed: scripts/setup-bench.sh installs it on Debian")
        }
        Peer::Quarryd | Peer::QuarrydIscsi | Peer::QuarrydNvmeTcp | Peer::QuarrydMixed => {}
    }
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("network")?;
    let device_bytes = options.device_mib << 20;
    require_space(scratch.path(), 2 * device_bytes)?;
    let files = scratch.devices(2, device_bytes)?;
    let mut backend = Backend::start(options.peer, &files[1], scratch.path(), &bin_dir)?;
    let devices: Vec<PathBuf> = std::iter::once(files[0].clone()).chain(backend.uris()).collect();
    let protection = format!("copies:{}", devices.len());
    let volume_bytes = options.volume_mib << 20;
    let mut node = steps.step("start, every device but the first behind a server", || {
        node::start_with_volume(
            node::options(&bin_dir, scratch.path()),
            &devices,
            &protection,
            volume_bytes,
            &[],
        )
    })?;
    let oracle = Oracle::new(options.seed, 0..volume_bytes);
    steps.step("write the volume once", || oracle::write_all(&oracle, &node.socket(), VOLUME))?;
    steps.step("the server is killed and started again under load, and once stands still", || {
        survive_restarts(options, &mut node, &oracle, &mut backend)
    })?;
    steps.note(reconnects(&node)?);
    steps.step("kill the node, start it again and verify", || {
        node.kill()?;
        node.restart()?;
        ensure!(node.quarry().pool_state(POOL)? == "online", "the pool is not online after a restart");
        verify(&oracle, &node, "after a restart of the node")
    })?;
    let report = steps.step("the server goes away for good under load", || {
        let load = Load::start(&oracle, &load_options(options, &node))?;
        sleep(Duration::from_secs(options.seconds));
        backend.kill()?;
        wait_until(&node, "degraded", NOTICE_TIMEOUT)?;
        sleep(Duration::from_secs(options.seconds));
        finish_undisturbed(load, &oracle, STALL_MAX)
    })?;
    steps.note(format!("the slowest request took {}", seconds(report.slowest)));
    steps.step("verify everything on the file alone", || verify(&oracle, &node, "without the server"))?;
    steps.step("the server is back with what it held; restart the node, verify", || {
        node.stop()?;
        backend.restart()?;
        node.restart()?;
        verify(&oracle, &node, "with the server back")
    })?;
    steps.step("stop", || node.stop())?;
    drop(node);
    steps.pass();
    Ok(())
}

fn load_options(options: &Options, node: &Node) -> LoadOptions {
    LoadOptions {
        access: Access::nbd(node.socket(), VOLUME),
        connections: 3,
        depth: 16,
        seed: options.seed,
        mix: Mix::default(),
    }
}

fn survive_restarts(
    options: &Options,
    node: &mut Node,
    oracle: &Oracle,
    backend: &mut Backend,
) -> Result<()> {
    let load = Load::start(oracle, &load_options(options, node))?;
    let period = Duration::from_secs(options.seconds);
    for _ in 0..options.restarts {
        sleep(period);
        backend.kill()?;
        sleep(Duration::from_millis(500));
        backend.restart()?;
    }
    sleep(period);
    // Longer than the client bears silence: it connects again, and what is in the old connections comes late.
    backend.signal(Signal::STOP)?;
    sleep(Duration::from_secs(12));
    backend.signal(Signal::CONT)?;
    sleep(Duration::from_millis(500));
    backend.revive()?;
    sleep(period);
    finish_undisturbed(load, oracle, STALL_MAX)?;
    // On a machine that is busy with other things the outage may have been so long that the device was given up, and came back.
    wait_until(node, "online", RETURN_TIMEOUT)?;
    node.check_running()
}

fn verify(oracle: &Oracle, node: &Node, when: &'static str) -> Result<()> {
    oracle::verify(oracle, &node.socket(), VOLUME, when)?;
    require_no_violation(oracle)
}

/// What the node's metrics say of the device.
fn reconnects(node: &Node) -> Result<String> {
    let metrics = node.metrics()?;
    let of = |name: &str| -> Result<u64> {
        let line = metrics.lines().find(|line| line.starts_with(name));
        let value =
            line.and_then(|line| line.rsplit(' ').next()).with_context(|| format!("no metric {name}"))?;
        Ok(value.parse()?)
    };
    let reconnects = of("quarry_network_device_reconnects_total{")?;
    ensure!(reconnects > 0, "the metrics know of no reconnect");
    Ok(format!(
        "{reconnects} reconnects, {} requests repeated, {} writes restored, {} held back",
        of("quarry_network_device_repeated_requests_total{")?,
        of("quarry_network_device_restored_writes_total{")?,
        of("quarry_network_device_held_back_total{")?
    ))
}

fn wait_until(node: &Node, state: &str, timeout: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        let now = node.quarry().pool_state(POOL)?;
        if now == state {
            return Ok(());
        }
        if start.elapsed() > timeout {
            let log = node.log_tail();
            bail!(
                "the pool is '{now}' and not '{state}' after {}; its log ends with:\n{log}",
                seconds(timeout)
            );
        }
        sleep(Duration::from_millis(100));
    }
}
