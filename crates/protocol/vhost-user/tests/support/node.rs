//! A server on a real core, whose volume lies in memory.

use std::cell::{Cell, OnceCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use quarry_env_linux::{Core, CoreConfig, CoreHandle, CoreRemote};
use quarry_target::{Export, Exports, Reservations, Stop, Volumes};
use quarry_types::VolumeId;
use quarry_vhost_user::Server;
use quarry_volume::Volume;

use super::volume::MemoryVolume;

pub const NAME: &str = "vm-17";

struct OneVolume(Rc<MemoryVolume>);

impl Volumes for OneVolume {
    fn volume(&self, id: VolumeId) -> Option<Rc<dyn Volume>> {
        (id == self.0.info().id).then(|| Rc::clone(&self.0) as Rc<dyn Volume>)
    }
}

thread_local! {
    static VOLUME: OnceCell<Rc<MemoryVolume>> = const { OnceCell::new() };
}

/// A running node. Dropping it stops it in order.
pub struct Node {
    pub exports: Exports,
    pub reservations: Reservations,
    pub socket: PathBuf,
    remote: CoreRemote,
    stop: Stop,
    core: Option<CoreHandle<()>>,
}

pub fn id() -> VolumeId {
    VolumeId::from_random(u128::from_be_bytes(*b"the volume's id."))
}

impl Node {
    /// A node that serves a volume of `size_bytes` with `content` at its beginning on a socket in `directory`.
    pub fn start(directory: &Path, size_bytes: u64, content: Vec<u8>, read_only: bool) -> Self {
        let (exports, reservations, stop) = (Exports::default(), Reservations::default(), Stop::default());
        let socket = directory.join("vm-17.sock");
        let (ready, is_ready) = mpsc::channel();
        let shared = (exports.clone(), reservations.clone(), stop.clone(), socket.clone());
        let core = Core::start("core", 0, &CoreConfig::default(), move |env| async move {
            let (exports, reservations, stop, socket) = shared;
            let volume = MemoryVolume::new(env.buffers.clone(), NAME, 0, size_bytes);
            volume.set_info(|info| info.id = id());
            volume.records.set(true);
            volume.fill(0, &content);
            let mut info = volume.info();
            info.read_only = read_only;
            exports.insert(Export { name: NAME.to_owned(), volume: info, core: 0 }).expect("a new name");
            VOLUME.with(|mine| mine.set(volume.clone()).ok().expect("one volume a core"));
            let volumes = Rc::new(OneVolume(volume));
            let server = Server::new(env.clone(), exports, volumes, reservations, 512 << 20);
            server.open(NAME, socket).await.expect("a socket");
            ready.send(()).expect("the starter waits");
            stop.stopped().await;
        });
        let core = core.expect("a core");
        is_ready.recv_timeout(Duration::from_secs(10)).expect("it listens");
        Self { exports, reservations, socket, remote: core.remote(), stop, core: Some(core) }
    }

    /// Does something with the volume, on its core.
    pub fn with<T: Send + 'static>(&self, act: impl FnOnce(&MemoryVolume) -> T + Send + 'static) -> T {
        let (sender, receiver) = mpsc::channel();
        let task = move |_| {
            let result = VOLUME.with(|mine| act(mine.get().expect("the core has its volume")));
            sender.send(result).expect("the test waits");
            async {}
        };
        self.remote.spawn(task).expect("the core lives as long as the node");
        receiver.recv_timeout(Duration::from_secs(10)).expect("the core answers")
    }

    /// Waits until the volume says so.
    pub fn until(&self, what: &str, is: impl Fn(&MemoryVolume) -> bool + Copy + Send + 'static) {
        for _ in 0..500 {
            if self.with(is) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it was waited in vain: {what}");
    }

    pub fn content(&self, offset: u64, length: usize) -> Vec<u8> {
        self.with(move |volume| volume.content(offset, length))
    }

    /// What was asked of the volume since the last call: verb, offset, length, FUA or "keep allocated".
    pub fn calls(&self) -> Vec<(&'static str, u64, u64, bool)> {
        self.with(|volume| volume.calls.take())
    }

    /// The process dies: whatever it does ends where it is. Returns what the volume holds.
    pub fn kill(mut self) -> Vec<u8> {
        let bytes = self.with(|volume| volume.content(0, volume.info().size_bytes as usize));
        self.end();
        bytes
    }

    fn end(&mut self) {
        self.stop.stop();
        if let Some(core) = self.core.take() {
            let ended = core.join();
            if !std::thread::panicking() {
                ended.expect("the core ends well");
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.core.is_none() {
            return;
        }
        self.exports.stop();
        let waited = Cell::new(0);
        while !self.exports.sessions().is_empty() && waited.get() < 500 {
            waited.set(waited.get() + 1);
            std::thread::sleep(Duration::from_millis(10));
        }
        self.end();
    }
}
