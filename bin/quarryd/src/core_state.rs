//! What lives on one core: its way to the pools, its engines and its servers.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quarry_engine::{Engine, Hold, Limits};
use quarry_env::{Address, Env, JoinHandle, Listener};
use quarry_nbd::Server;
use quarry_node_api::{ErrorKind, NodeError};
use quarry_pool::{LogState, Pool, PoolShared};
use quarry_qos::{Board, CoreQos, QosVolume};
use quarry_target::Volumes;
use quarry_tls::ServerTls;
use quarry_types::{LogId, PoolId, SnapshotId, SnapshotSetId, VolumeId};
use quarry_volume::Volume;

use crate::core_places::Places;
use crate::cores::{Cores, Memory, Tables, ToCores};
use crate::remote_volume::RemoteVolumes;

/// Shares of a core's memory beside the caches of data, in percent; the rest is for the tables of segments and for what nobody counts.
const NODE_CACHE_PERCENT: u64 = 40;
const OVERLAY_PERCENT: u64 = 20;
const BUFFER_PERCENT: u64 = 25;
/// Among which the last share is divided: NBD, iSCSI, NVMe/TCP, vhost-user.
const PROTOCOLS: u64 = 4;

/// How long writes are held back at most: hosts must not hang on a set of snapshots that nobody completes.
const HOLD_TIME_MAX: Duration = Duration::from_secs(5);

thread_local! {
    static CURRENT: RefCell<Option<Rc<CoreState>>> = const { RefCell::new(None) };
}

/// Makes `state` that of the calling core.
pub fn install(state: Rc<CoreState>) {
    CURRENT.set(Some(state));
}

/// Ends the state of the calling core.
pub fn clear() {
    if let Some(state) = CURRENT.take() {
        state.end_servers();
    }
}

/// The state of the calling core; `None` while it stops.
pub fn current() -> Option<Rc<CoreState>> {
    CURRENT.with_borrow(Clone::clone)
}

/// What lives on one core.
pub struct CoreState {
    pub index: usize,
    pub env: Env,
    tables: Tables,
    memory: Memory,
    pools: RefCell<BTreeMap<PoolId, Rc<Pool>>>,
    /// Held by who opens the devices of a pool on this core.
    attaching: RefCell<BTreeMap<PoolId, Rc<futures::lock::Mutex<()>>>>,
    engines: RefCell<BTreeMap<(PoolId, LogId), Rc<Engine>>>,
    server: RefCell<Option<Rc<Server>>>,
    iscsi: RefCell<Option<Rc<quarry_iscsi::Server>>>,
    nvme_tcp: RefCell<Option<Rc<quarry_nvme_tcp::Server>>>,
    vhost_user: RefCell<Option<Rc<quarry_vhost_user::Server>>>,
    holds: RefCell<BTreeMap<SnapshotSetId, Held>>,
    /// The way to the volumes of other cores.
    others: OnceCell<Rc<RemoteVolumes>>,
    pub places: Places,
    /// In which order requests go to the volumes of this core.
    pub qos: CoreQos,
}

/// Volumes whose writes are held back for a set of snapshots.
struct Held {
    _volumes: Vec<Hold>,
    /// Ends the holds when nobody else does.
    timer: JoinHandle<()>,
}

impl CoreState {
    pub fn new(index: usize, env: Env, tables: Tables, memory: Memory, board: Board) -> Self {
        let qos = CoreQos::new(env.clone(), index, board);
        Self {
            index,
            env,
            tables,
            memory,
            pools: RefCell::default(),
            attaching: RefCell::default(),
            engines: RefCell::default(),
            server: RefCell::default(),
            iscsi: RefCell::default(),
            nvme_tcp: RefCell::default(),
            vhost_user: RefCell::default(),
            holds: RefCell::default(),
            others: OnceCell::new(),
            places: Places::default(),
            qos,
        }
    }

    /// Lets go of the servers, which hold the state as the state holds them.
    fn end_servers(&self) {
        self.server.take();
        self.iscsi.take();
        self.nvme_tcp.take();
        self.vhost_user.take();
    }

    /// The NBD server of this core, once it serves.
    pub fn server(&self) -> Option<Rc<Server>> {
        self.server.borrow().clone()
    }

    /// Begins to serve: connections of other cores from now on, and those of `addresses` if there are any.
    pub async fn serve(
        self: Rc<Self>,
        cores: Cores,
        addresses: Vec<Address>,
        tls: Option<ServerTls>,
    ) -> Result<(), NodeError> {
        self.ways_to_others(&cores);
        let to_cores = Rc::new(ToCores { index: self.index, cores });
        let budget = self.budget_bytes();
        let exports = self.tables.exports.clone();
        let (env, reservations) = (self.env.clone(), self.tables.reservations.clone());
        let server = Server::new(env, exports, self.clone(), to_cores, reservations, budget, tls);
        *self.server.borrow_mut() = Some(server.clone());
        for address in addresses {
            let listener = self.listen("NBD", &address).await?;
            self.env.spawner.spawn(server.clone().serve(listener)).detach();
        }
        Ok(())
    }

    /// The way to the volumes of other cores.
    pub fn ways_to_others(&self, cores: &Cores) -> &Rc<RemoteVolumes> {
        let (access, buffers) = (&self.tables.access, &self.env.buffers);
        self.others.get_or_init(|| RemoteVolumes::new(cores.clone(), access.clone(), buffers.clone()))
    }

    async fn listen(&self, protocol: &str, address: &Address) -> Result<Rc<dyn Listener>, NodeError> {
        self.env.network.listen(address).await.map_err(|error| {
            NodeError::new(ErrorKind::Unavailable, format!("{protocol} cannot listen on {address}"))
                .caused_by(&error)
        })
    }

    /// Memory for the requests of one protocol.
    fn budget_bytes(&self) -> u64 {
        self.memory.beside_caches() * BUFFER_PERCENT / 100 / PROTOCOLS
    }

    /// The iSCSI server of this core, once it serves.
    pub fn iscsi_server(&self) -> Option<Rc<quarry_iscsi::Server>> {
        self.iscsi.borrow().clone()
    }

    /// Begins to serve iSCSI: connections of other cores from now on, and those of `addresses` if there are any.
    pub async fn serve_iscsi(
        self: Rc<Self>,
        cores: Cores,
        target: quarry_iscsi::Target,
        addresses: Vec<Address>,
    ) -> Result<(), NodeError> {
        let to_cores = Rc::new(ToCores { index: self.index, cores });
        let budget = self.budget_bytes();
        let server = quarry_iscsi::Server::new(self.env.clone(), target, self.clone(), to_cores, budget);
        *self.iscsi.borrow_mut() = Some(server.clone());
        for address in addresses {
            let listener = self.listen("iSCSI", &address).await?;
            self.env.spawner.spawn(server.clone().serve(listener)).detach();
        }
        Ok(())
    }

    /// The NVMe/TCP server of this core, once it serves.
    pub fn nvme_tcp_server(&self) -> Option<Rc<quarry_nvme_tcp::Server>> {
        self.nvme_tcp.borrow().clone()
    }

    /// Begins to serve NVMe/TCP: queues of other cores from now on, and those of `addresses` if there are any.
    pub async fn serve_nvme_tcp(
        self: Rc<Self>,
        cores: Cores,
        subsystem: quarry_nvme::Subsystem,
        addresses: Vec<Address>,
    ) -> Result<(), NodeError> {
        let to_cores = Rc::new(ToCores { index: self.index, cores });
        let budget = self.budget_bytes();
        let (env, exports) = (self.env.clone(), self.tables.exports.clone());
        let server = quarry_nvme_tcp::Server::new(env, exports, subsystem, self.clone(), to_cores, budget);
        *self.nvme_tcp.borrow_mut() = Some(server.clone());
        for address in addresses {
            let listener = self.listen("NVMe/TCP", &address).await?;
            self.env.spawner.spawn(server.clone().serve(listener)).detach();
        }
        Ok(())
    }

    /// Serves a volume of this core over vhost-user on a socket at `path`.
    pub async fn open_vhost_user(self: Rc<Self>, export: &str, path: PathBuf) -> Result<(), NodeError> {
        let new = || {
            let (exports, reservations) = (self.tables.vhost_user.clone(), self.tables.reservations.clone());
            let (env, budget) = (self.env.clone(), self.budget_bytes());
            quarry_vhost_user::Server::new(env, exports, self.clone(), reservations, budget)
        };
        let server = self.vhost_user.borrow_mut().get_or_insert_with(new).clone();
        server.open(export, path.clone()).await.map_err(|error| {
            let what = format!("vhost-user cannot listen on {}", path.display());
            NodeError::new(ErrorKind::Unavailable, what).caused_by(&error)
        })
    }

    /// Takes the socket of an export over vhost-user away.
    pub fn close_vhost_user(&self, export: &str) {
        if let Some(server) = self.vhost_user.borrow().as_ref() {
            server.close(export);
        }
    }

    /// The pool on this core; opens its devices here if that was not done yet. Of one pool there is one on a core, whoever asks at the same
    /// time: devices that join and leave are told to that one.
    pub async fn pool(&self, shared: &Arc<PoolShared>) -> Result<Rc<Pool>, NodeError> {
        let attaching = self.attaching.borrow_mut().entry(shared.id).or_default().clone();
        let _attaching = attaching.lock().await;
        if let Some(pool) = self.opened_pool(shared.id) {
            return Ok(pool);
        }
        let pool = quarry_pool::attach(&self.env, shared).await.map_err(|error| {
            NodeError::new(ErrorKind::Unavailable, format!("pool '{}' cannot be opened", shared.name))
                .caused_by(&error)
        })?;
        self.add_pool(pool.clone());
        Ok(pool)
    }

    /// A pool, if it is open on this core.
    pub fn opened_pool(&self, id: PoolId) -> Option<Rc<Pool>> {
        self.pools.borrow().get(&id).cloned()
    }

    /// Keeps a pool that was opened on this core.
    pub fn add_pool(&self, pool: Rc<Pool>) {
        pool.set_turns(Rc::new(self.qos.clone()));
        self.pools.borrow_mut().insert(pool.shared.id, pool);
    }

    /// Makes a log of a pool on this core.
    pub async fn create_log(&self, shared: &Arc<PoolShared>, log: LogId, logs: u16) -> Result<(), NodeError> {
        let pool = self.pool(shared).await?;
        let engine = Engine::create(self.env.clone(), pool, log, self.limits(1, logs)).await;
        self.add_engine(shared, log, engine).await
    }

    /// Opens a log of a pool on this core; says how many batches it replayed.
    pub async fn open_log(
        &self,
        shared: &Arc<PoolShared>,
        state: LogState,
        logs: u16,
    ) -> Result<(), NodeError> {
        let pool = self.pool(shared).await?;
        let engine = Engine::open(self.env.clone(), pool, &state, self.limits(1, logs)).await;
        self.add_engine(shared, state.log, engine).await
    }

    async fn add_engine(
        &self,
        shared: &Arc<PoolShared>,
        log: LogId,
        engine: Result<Rc<Engine>, quarry_engine::EngineError>,
    ) -> Result<(), NodeError> {
        let engine = engine.map_err(|error| {
            let what = format!("log {log} of pool '{}' cannot be opened", shared.name);
            NodeError::new(ErrorKind::Unavailable, what).caused_by(&error)
        })?;
        self.engines.borrow_mut().insert((shared.id, log), engine.clone());
        self.share_memory();
        // Nobody has to wait for a cache, and nobody goes without a log for the want of one.
        if let Some(disk) = self.tables.cache_disk.get()
            && let Err(error) = engine.use_cache_disk(disk).await
        {
            tracing::error!(%log, pool = %shared.name, %error, "the log does without the cache disk");
        }
        Ok(())
    }

    /// Memory that each engine may take when there are `engines` on this core.
    fn limits(&self, engines: u64, logs: u16) -> Limits {
        let share = self.memory.beside_caches() / engines.max(1);
        Limits {
            node_cache_bytes: (share * NODE_CACHE_PERCENT / 100) as usize,
            overlay_bytes: (share * OVERLAY_PERCENT / 100) as usize,
            read_cache_bytes: (self.memory.read_cache_bytes / engines.max(1)) as usize,
            cache_index_bytes: (self.memory.cache_index_bytes / engines.max(1)) as usize,
            logs,
        }
    }

    /// Divides the memory anew. How many logs share a pool is a matter of that pool: an engine that were told the number of
    /// another one would claim all free space for its own log, and hosts of the others would wait for ever.
    fn share_memory(&self) {
        let engines = self.engines.borrow();
        for engine in engines.values() {
            engine.set_limits(self.limits(engines.len() as u64, engine.limits().logs));
        }
    }

    /// A pool has so many logs now.
    pub fn set_logs(&self, pool: PoolId, logs: u16) {
        let engines = self.engines.borrow();
        for engine in engines.iter().filter(|((of, _), _)| *of == pool).map(|(_, engine)| engine) {
            engine.set_limits(Limits { logs, ..engine.limits() });
        }
    }

    /// An engine of this core.
    pub fn engine(&self, pool: PoolId, log: LogId) -> Result<Rc<Engine>, NodeError> {
        self.engines.borrow().get(&(pool, log)).cloned().ok_or_else(|| {
            NodeError::new(ErrorKind::Unavailable, format!("log {log} of the pool is not open"))
        })
    }

    /// A volume of a log of this core.
    pub fn engine_volume(&self, pool: PoolId, log: LogId, id: VolumeId) -> Option<Rc<dyn Volume>> {
        let volume = self.engine(pool, log).ok()?.volume(id).ok()?;
        Some(volume)
    }

    /// The same for the node's own purposes, which are not those of a host.
    pub fn engine_volume_apart(&self, pool: PoolId, log: LogId, id: VolumeId) -> Option<Rc<dyn Volume>> {
        let volume = self.engine(pool, log).ok()?.volume(id).ok()?;
        Some(Rc::new(volume.apart()))
    }

    /// Every pool that is open on this core.
    pub fn pools(&self) -> Vec<Rc<Pool>> {
        self.pools.borrow().values().cloned().collect()
    }

    /// Every engine of this core with its pool.
    pub fn engines(&self) -> Vec<(PoolId, Rc<Engine>)> {
        self.engines.borrow().iter().map(|((pool, _), engine)| (*pool, engine.clone())).collect()
    }

    /// Holds the writes of volumes back until [`Self::release`], but no longer than [`HOLD_TIME_MAX`].
    pub fn hold(
        self: &Rc<Self>,
        set: SnapshotSetId,
        volumes: &[(PoolId, LogId, VolumeId)],
    ) -> Result<(), NodeError> {
        let hold = |&(pool, log, volume): &(PoolId, LogId, VolumeId)| {
            self.engine(pool, log)?.hold(volume).map_err(|error| {
                NodeError::new(ErrorKind::NotFound, "a volume of the set is gone").caused_by(&error)
            })
        };
        let holds = volumes.iter().map(hold).collect::<Result<Vec<Hold>, NodeError>>()?;
        let (end, state) = (self.env.clock.sleep(HOLD_TIME_MAX), Rc::downgrade(self));
        let timer = self.env.spawner.spawn(async move {
            end.await;
            let late = state.upgrade().and_then(|state| state.take_hold(set));
            if let Some(held) = late {
                tracing::warn!(%set, "writes were held back for too long; they go on without the snapshots");
                // A task does not cancel itself.
                held.timer.detach();
            }
        });
        self.holds.borrow_mut().insert(set, Held { _volumes: holds, timer });
        Ok(())
    }

    /// Whether the writes are still held back for a set.
    pub fn holds(&self, set: SnapshotSetId) -> bool {
        self.holds.borrow().contains_key(&set)
    }

    /// Lets the writes go on; says whether they were held back until now.
    pub fn release(&self, set: SnapshotSetId) -> bool {
        self.take_hold(set).is_some()
    }

    fn take_hold(&self, set: SnapshotSetId) -> Option<Held> {
        self.holds.borrow_mut().remove(&set)
    }

    /// Closes what this core has of a pool, or of all pools.
    pub async fn close(&self, pool: Option<PoolId>) -> Result<(), NodeError> {
        let closing: Vec<(PoolId, LogId)> = self
            .engines
            .borrow()
            .keys()
            .filter(|(id, _)| pool.is_none_or(|pool| pool == *id))
            .copied()
            .collect();
        let mut failure = None;
        for key in closing {
            let engine = self.engines.borrow_mut().remove(&key);
            if let Some(engine) = engine
                && let Err(error) = engine.close().await
            {
                let what = format!("log {} was closed without a checkpoint", key.1);
                failure = Some(NodeError::new(ErrorKind::Internal, what).caused_by(&error));
            }
        }
        match pool {
            Some(pool) => _ = self.pools.borrow_mut().remove(&pool),
            None => self.pools.borrow_mut().clear(),
        }
        failure.map_or(Ok(()), Err)
    }
}

impl CoreState {
    /// The volume with this id, or the snapshot, if this core owns it and it is open.
    pub fn own_volume(&self, id: VolumeId) -> Option<Rc<dyn Volume>> {
        let way = self.places.way(id).map(|way| way as Rc<dyn Volume>);
        let volume = way.or_else(|| Some(self.places.lay(id, self.unrouted_volume(id)?) as Rc<dyn Volume>));
        if let Some(volume) = volume {
            return Some(QosVolume::new(volume, self.qos.gate(id)));
        }
        // A snapshot is served under its own id, and does not move. What is read of it counts as read of its volume.
        let engines = self.engines.borrow();
        let (engine, snapshot) = engines
            .values()
            .find_map(|engine| Some((engine, engine.snapshot_volume(SnapshotId(id.0)).ok()?)))?;
        let counted = engine.volume_of_snapshot(SnapshotId(id.0)).unwrap_or(id);
        Some(QosVolume::new(snapshot, self.qos.gate(counted)))
    }

    /// A volume of this core where it is, without the way that a move could lead elsewhere.
    pub fn unrouted_volume(&self, id: VolumeId) -> Option<Rc<dyn Volume>> {
        if let Some(image) = self.places.image(id) {
            return Some(Rc::new(image));
        }
        let engines = self.engines.borrow();
        let mut counting = engines.iter().filter(|(log, _)| self.places.counts(id, **log));
        counting.find_map(|(_, engine)| engine.volume(id).ok()).map(|volume| volume as Rc<dyn Volume>)
    }

    /// The way to the volumes of other cores, once it serves.
    #[cfg(test)]
    pub fn others(&self) -> Option<&Rc<RemoteVolumes>> {
        self.others.get()
    }
}

impl Volumes for CoreState {
    fn volume(&self, id: VolumeId) -> Option<Rc<dyn Volume>> {
        self.own_volume(id).or_else(|| self.others.get()?.volume(id, self.index))
    }
}
