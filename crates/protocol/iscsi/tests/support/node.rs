//! A target on real cores and sockets, whose volumes lie in memory.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use futures::future::BoxFuture;
use quarry_env::{Address, Env};
use quarry_env_linux::{Core, CoreConfig, CoreHandle, CoreRemote};
use quarry_iscsi::{Connection, Server, Target, uri};
use quarry_target::{
    Access, Audience, Exports, Fabric, HandOver, Mapping, ReservationState, ReservationStore, Reservations,
    Stop, StoreError, Volumes,
};
use quarry_types::VolumeId;
use quarry_volume::Volume;

use super::volume::MemoryVolume;

/// A volume to serve, and the core that owns it.
#[derive(Clone)]
pub struct Served {
    pub name: &'static str,
    pub lun: u32,
    pub size_bytes: u64,
    pub read_only: bool,
    pub core: usize,
    pub audience: Audience,
}

impl Served {
    pub fn new(name: &'static str, lun: u32, size_bytes: u64) -> Self {
        Self { name, lun, size_bytes, read_only: false, core: 0, audience: Audience::Everyone }
    }
}

#[derive(Default)]
struct CoreVolumes(RefCell<BTreeMap<VolumeId, Rc<MemoryVolume>>>);

impl Volumes for CoreVolumes {
    fn volume(&self, id: VolumeId) -> Option<Rc<dyn Volume>> {
        self.0.borrow().get(&id).map(|volume| Rc::clone(volume) as Rc<dyn Volume>)
    }
}

/// Keeps reservations as long as the test runs.
struct Kept;

impl ReservationStore for Kept {
    fn save(&self, _: VolumeId, _: ReservationState) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
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
    pub target: Target,
    pub access: Access,
    pub portals: Vec<SocketAddr>,
    stop: Stop,
    cores: Vec<CoreHandle<()>>,
}

impl Node {
    /// Serves `volumes` on `cores` cores, at two ports of the loopback.
    pub fn start(cores: usize, volumes: &[Served]) -> Self {
        let (exports, access, stop) = (Exports::default(), Access::default(), Stop::default());
        let reservations = Reservations::new(Arc::new(Kept));
        let target = Target::new("test", Vec::new(), exports, access.clone(), reservations);
        let (listening, listens) = mpsc::channel();
        let mut handles: Vec<CoreHandle<()>> = Vec::new();
        let mut remotes: Vec<CoreRemote> = Vec::new();
        // Core 0 comes last: it accepts, and needs the way to the others.
        for core in (0..cores).rev() {
            let (target, stop, listening) = (target.clone(), stop.clone(), listening.clone());
            let mine: Vec<Served> = volumes.iter().filter(|volume| volume.core == core).cloned().collect();
            let others = remotes.clone();
            let handle = Core::start(&format!("core-{core}"), core, &CoreConfig::default(), move |env| {
                run_core(env, core, target, stop, mine, others, listening)
            });
            let handle = handle.expect("a core");
            remotes.insert(0, handle.remote());
            handles.push(handle);
        }
        // Each core says when its volumes are there; core 0 says where it listens.
        let said = || listens.recv_timeout(Duration::from_secs(10)).expect("every core begins");
        let portals = (0..cores).flat_map(|_| said()).collect();
        Self { target, access, portals, stop, cores: handles }
    }

    /// The URI of a unit.
    pub fn uri(&self, lun: u32) -> String {
        uri(self.portals[0], &self.target.name, lun)
    }

    /// The URI of a unit for somebody with a name and a secret, at one of the portals.
    pub fn uri_of(&self, portal: usize, lun: u32, credentials: &str) -> String {
        uri(self.portals[portal], &self.target.name, lun)
            .replace("iscsi://", &format!("iscsi://{credentials}"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.target.exports.stop();
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
    target: Target,
    stop: Stop,
    mine: Vec<Served>,
    others: Vec<CoreRemote>,
    listening: mpsc::Sender<Vec<SocketAddr>>,
) {
    let volumes = Rc::new(CoreVolumes::default());
    for served in mine {
        let number = u128::from_be_bytes(*b"the volume's id.") + u128::from(served.lun);
        let volume = MemoryVolume::new(env.buffers.clone(), served.name, number, served.size_bytes);
        volume.set_info(|info| info.read_only = served.read_only);
        let mapping = Mapping {
            export: served.name.to_owned(),
            fabric: Fabric::Iscsi,
            audience: served.audience,
            number: served.lun,
            volume: volume.info(),
            core,
            read_only: false,
        };
        volumes.0.borrow_mut().insert(volume.info().id, volume);
        target.access.map(mapping).expect("a free number");
    }
    // Only core 0 hands over, and never to itself: its own place in the list stays unused.
    let remotes = others.first().cloned().into_iter().chain(others).collect();
    let cores = Rc::new(Cores { core, remotes: RefCell::new(remotes) });
    let server = Server::new(env.clone(), target.clone(), volumes, cores, 256 << 20);
    SERVER.with(|mine| mine.set(server.clone()).ok().expect("one server a core"));
    let mut portals = Vec::new();
    if core == 0 {
        for _ in 0..2 {
            let loopback = Address::Tcp("127.0.0.1:0".parse().expect("an address"));
            let listener = env.network.listen(&loopback).await.expect("a port");
            let Address::Tcp(address) = listener.local_address() else { unreachable!("it is TCP") };
            portals.push(address);
            env.spawner.spawn(server.clone().serve(listener)).detach();
        }
    }
    listening.send(portals).expect("the starter waits");
    stop.stopped().await;
    while !target.exports.sessions().is_empty() {
        env.clock.sleep(Duration::from_millis(2)).await;
    }
}
