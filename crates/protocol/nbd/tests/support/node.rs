//! A server on real cores and sockets, whose volumes lie in memory.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use quarry_env::{Address, Env};
use quarry_env_linux::{Core, CoreConfig, CoreHandle, CoreRemote};
use quarry_nbd::{Connection, Server};
use quarry_target::{Export, Exports, HandOver, Reservations, Stop, Volumes};
use quarry_tls::ServerTls;
use quarry_types::VolumeId;
use quarry_volume::Volume;

use super::volume::MemoryVolume;

/// A volume to serve, and the core that owns it.
#[derive(Clone)]
pub struct Served {
    pub name: &'static str,
    pub size_bytes: u64,
    pub read_only: bool,
    pub core: usize,
}

impl Served {
    pub fn new(name: &'static str, size_bytes: u64) -> Self {
        Self { name, size_bytes, read_only: false, core: 0 }
    }
}

#[derive(Default)]
struct CoreVolumes(RefCell<BTreeMap<VolumeId, Rc<MemoryVolume>>>);

impl Volumes for CoreVolumes {
    fn volume(&self, id: VolumeId) -> Option<Rc<dyn Volume>> {
        self.0.borrow().get(&id).map(|volume| Rc::clone(volume) as Rc<dyn Volume>)
    }
}

thread_local! {
    /// The server of the core that this thread is.
    static SERVER: OnceCell<Rc<Server>> = const { OnceCell::new() };
}

struct Cores {
    core: usize,
    remotes: RefCell<Vec<CoreRemote>>,
}

impl HandOver<Connection> for Cores {
    fn core(&self) -> usize {
        self.core
    }
    fn hand_over(&self, core: usize, connection: Connection) {
        let take_over = move |_| {
            SERVER.with(|server| server.get().expect("each core has a server").take_over(connection));
            async {}
        };
        self.remotes.borrow()[core].spawn(take_over).expect("the core lives as long as the node");
    }
}

/// A running node. Dropping it stops it and waits for its end.
pub struct Node {
    pub exports: Exports,
    pub socket: PathBuf,
    pub tcp: SocketAddr,
    stop: Stop,
    cores: Vec<CoreHandle<()>>,
}

impl Node {
    /// Serves `volumes` on `cores` cores, at a unix socket in `directory` and on a port of the loopback.
    pub fn start(directory: &Path, cores: usize, volumes: &[Served]) -> Self {
        Self::start_with(directory, cores, volumes, None)
    }

    /// The same where connections over TCP have to be encrypted.
    pub fn start_with(directory: &Path, cores: usize, volumes: &[Served], tls: Option<ServerTls>) -> Self {
        let (exports, stop, socket) = (Exports::default(), Stop::default(), directory.join("nbd.sock"));
        let (listening, listens) = mpsc::channel();
        let mut handles: Vec<CoreHandle<()>> = Vec::new();
        let mut remotes: Vec<CoreRemote> = Vec::new();
        // Core 0 comes last: it accepts, and needs the way to the others.
        for core in (0..cores).rev() {
            let (exports, stop, socket) = (exports.clone(), stop.clone(), socket.clone());
            let mine: Vec<Served> = volumes.iter().filter(|volume| volume.core == core).cloned().collect();
            let (others, listening, tls) = (remotes.clone(), listening.clone(), tls.clone());
            let handle = Core::start(&format!("core-{core}"), core, &CoreConfig::default(), move |env| {
                run_core(env, core, exports, stop, mine, others, (socket, listening, tls))
            });
            let handle = handle.expect("a core");
            remotes.insert(0, handle.remote());
            handles.push(handle);
        }
        let tcp = listens.recv_timeout(Duration::from_secs(10)).expect("core 0 listens");
        Self { exports, socket, tcp, stop, cores: handles }
    }

    /// The URI of an export at the unix socket.
    pub fn uri(&self, export: &str) -> String {
        quarry_nbd::uri(&Address::Unix(self.socket.clone()), export, false)
    }

    /// The URI of an export on TCP.
    pub fn tcp_uri(&self, export: &str) -> String {
        quarry_nbd::uri(&Address::Tcp(self.tcp), export, false)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.exports.stop();
        self.stop.stop();
        for core in self.cores.drain(..) {
            let ended = core.join();
            if !std::thread::panicking() {
                ended.expect("the core ends well");
            }
        }
    }
}

async fn run_core(
    env: Env,
    core: usize,
    exports: Exports,
    stop: Stop,
    mine: Vec<Served>,
    others: Vec<CoreRemote>,
    (socket, listening, tls): (PathBuf, mpsc::Sender<SocketAddr>, Option<ServerTls>),
) {
    let volumes = Rc::new(CoreVolumes::default());
    for served in mine {
        let number = u128::from_be_bytes(*b"the volume's id.") + exports.list().len() as u128;
        let volume = MemoryVolume::new(env.buffers.clone(), served.name, number, served.size_bytes);
        volume.set_info(|info| info.read_only = served.read_only);
        let export = Export { name: served.name.to_owned(), volume: volume.info(), core };
        volumes.0.borrow_mut().insert(volume.info().id, volume);
        exports.insert(export).expect("a new name");
    }
    // Only core 0 hands over, and never to itself: its own place in the list stays unused.
    let remotes = others.first().cloned().into_iter().chain(others).collect();
    let cores = Rc::new(Cores { core, remotes: RefCell::new(remotes) });
    let server =
        Server::new(env.clone(), exports.clone(), volumes, cores, Reservations::default(), 256 << 20, tls);
    SERVER.with(|mine| mine.set(server.clone()).ok().expect("one server a core"));
    if core == 0 {
        let unix = env.network.listen(&Address::Unix(socket)).await.expect("a unix socket");
        let loopback = Address::Tcp("127.0.0.1:0".parse().expect("an address"));
        let tcp = env.network.listen(&loopback).await.expect("a port");
        let Address::Tcp(address) = tcp.local_address() else { unreachable!("it is TCP") };
        env.spawner.spawn(server.clone().serve(unix)).detach();
        env.spawner.spawn(server.serve(tcp)).detach();
        listening.send(address).expect("the starter waits");
    }
    stop.stopped().await;
    while !exports.sessions().is_empty() {
        env.clock.sleep(Duration::from_millis(2)).await;
    }
}
