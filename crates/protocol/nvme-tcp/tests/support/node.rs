//! A server on real cores and sockets, whose volumes lie in memory.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use quarry_env::{Address, Env};
use quarry_env_linux::{Core, CoreConfig, CoreHandle, CoreRemote};
use quarry_nvme::{Identity, Subsystem};
use quarry_nvme_tcp::{Connection, Server};
use quarry_target::{Access, Audience, Exports, Fabric, HandOver, Mapping, Reservations, Stop, Volumes};
use quarry_types::VolumeId;
use quarry_volume::Volume;

use super::volume::MemoryVolume;

/// A volume to serve, the core that owns it, and its namespace id.
#[derive(Clone)]
pub struct Served {
    pub name: &'static str,
    pub size_bytes: u64,
    pub read_only: bool,
    pub core: usize,
    pub number: u32,
}

#[derive(Default)]
struct CoreVolumes(RefCell<BTreeMap<VolumeId, Rc<MemoryVolume>>>);

impl Volumes for CoreVolumes {
    fn volume(&self, id: VolumeId) -> Option<Rc<dyn Volume>> {
        self.0.borrow().get(&id).map(|volume| Rc::clone(volume) as Rc<dyn Volume>)
    }
}

thread_local! {
    /// What the core has that this thread is.
    static CORE: OnceCell<(Rc<Server>, Rc<CoreVolumes>)> = const { OnceCell::new() };
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
            CORE.with(|mine| mine.get().expect("each core has a server").0.take_over(connection));
            async {}
        };
        self.remotes.borrow()[core].spawn(take_over).expect("the core lives as long as the node");
    }
}

/// A running node. Dropping it stops it and waits for its end.
pub struct Node {
    pub access: Access,
    pub exports: Exports,
    pub identity: Identity,
    pub addresses: Vec<SocketAddr>,
    remotes: Vec<CoreRemote>,
    stop: Stop,
    cores: Vec<CoreHandle<()>>,
}

impl Node {
    /// A node with `cores` cores that listens at `addresses` and shows everybody `volumes`.
    pub fn start(addresses: &[SocketAddr], cores: usize, volumes: &[Served]) -> Self {
        let (exports, access, stop) = (Exports::default(), Access::default(), Stop::default());
        let identity = Identity::of_node("00000000-0000-4000-8000-00000000beef", "test");
        let subsystem = Subsystem::new(identity.clone(), access.clone(), Reservations::default(), Vec::new());
        let (listening, listens) = mpsc::channel();
        let (mut handles, mut remotes): (Vec<CoreHandle<()>>, Vec<CoreRemote>) = Default::default();
        // Core 0 last, as it hands over to all others.
        for core in (0..cores).rev() {
            let shared = (exports.clone(), subsystem.clone(), stop.clone());
            let mine: Vec<Served> = volumes.iter().filter(|volume| volume.core == core).cloned().collect();
            let (others, listening, addresses) = (remotes.clone(), listening.clone(), addresses.to_vec());
            let handle = Core::start(&format!("core-{core}"), core, &CoreConfig::default(), move |env| {
                run_core(env, core, shared, mine, others, (addresses, listening))
            });
            let handle = handle.expect("a core");
            remotes.insert(0, handle.remote());
            handles.push(handle);
        }
        let addresses = listens.recv_timeout(Duration::from_secs(10)).expect("core 0 listens");
        Self { access, exports, identity, addresses, remotes, stop, cores: handles }
    }

    /// Gives a volume another size.
    pub fn resize(&self, volume: &Served, size_bytes: u64) {
        let id = id(volume.number);
        let resize = move |_| {
            CORE.with(|mine| {
                let volumes = &mine.get().expect("each core has volumes").1;
                volumes.0.borrow()[&id].set_info(|info| info.size_bytes = size_bytes);
            });
            async {}
        };
        self.remotes[volume.core].spawn(resize).expect("the core lives as long as the node");
        self.access.update_size(id, size_bytes);
    }
}

/// The id of the volume that is namespace `number`.
pub fn id(number: u32) -> VolumeId {
    VolumeId::from_random(u128::from_be_bytes(*b"the volume's id.") + u128::from(number))
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
    (exports, subsystem, stop): (Exports, Subsystem, Stop),
    mine: Vec<Served>,
    others: Vec<CoreRemote>,
    (addresses, listening): (Vec<SocketAddr>, mpsc::Sender<Vec<SocketAddr>>),
) {
    let volumes = Rc::new(CoreVolumes::default());
    for served in mine {
        let number = u128::from_be_bytes(*b"the volume's id.") + u128::from(served.number);
        let volume = MemoryVolume::new(env.buffers.clone(), served.name, number, served.size_bytes);
        volume.set_info(|info| info.read_only = served.read_only);
        let mapping = Mapping {
            export: served.name.to_owned(),
            fabric: Fabric::NvmeTcp,
            audience: Audience::Everyone,
            number: served.number,
            volume: volume.info(),
            core,
            read_only: served.read_only,
        };
        volumes.0.borrow_mut().insert(volume.info().id, volume);
        subsystem.access().map(mapping).expect("a new number");
    }
    // Only core 0 hands over, and never to itself: its own place in the list stays unused.
    let remotes = others.first().cloned().into_iter().chain(others).collect();
    let cores = Rc::new(Cores { core, remotes: RefCell::new(remotes) });
    let server = Server::new(env.clone(), exports.clone(), subsystem, volumes.clone(), cores, 256 << 20);
    CORE.with(|mine| mine.set((server.clone(), volumes)).ok().expect("one server a core"));
    if core == 0 {
        let mut bound = Vec::new();
        for address in addresses {
            let listener = env.network.listen(&Address::Tcp(address)).await.expect("a port");
            let Address::Tcp(address) = listener.local_address() else { unreachable!("it is TCP") };
            env.spawner.spawn(server.clone().serve(listener)).detach();
            bound.push(address);
        }
        listening.send(bound).expect("the starter waits");
    }
    stop.stopped().await;
    while !exports.sessions().is_empty() {
        env.clock.sleep(Duration::from_millis(2)).await;
    }
}
