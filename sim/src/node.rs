//! The node under test: a pool, an engine on each core, and the NBD server before them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use quarry_cache_disk::CacheDisk;
use quarry_device::{DeviceClass, FormatRequest, format_devices};
use quarry_engine::Engine;
use quarry_env::{Address, Env};
use quarry_nbd::{BUDGET_BYTES_MIN, Connection, Server};
use quarry_pool::LogState;
use quarry_target::{Export, Exports, HandOver, Reservations, Volumes};
use quarry_types::{LogId, PoolId, VolumeId};
use quarry_volume::Volume;

use crate::{Scenario, keys};

/// The pool.
pub const POOL: PoolId = PoolId(uuid::Uuid::from_u128(0x5155_4152_5259));

/// Where the cache disk is.
pub const CACHE_PATH: &str = "/dev/cache";

/// The engines, by core.
pub type Engines = Vec<Rc<Engine>>;

/// Where the server listens.
pub fn address() -> Address {
    Address::Unix(PathBuf::from("/run/quarry.sock"))
}

/// The name under which a volume is exported and kept.
pub fn volume_name(volume: usize) -> String {
    format!("volume-{volume}")
}

/// Makes the pool with its logs and volumes, and closes nothing.
pub async fn create(envs: &[Env], scenario: &Scenario) -> Result<Engines, String> {
    let request = FormatRequest {
        pool: POOL,
        pool_name: "tank".to_owned(),
        protection: scenario.protection,
        paths: scenario.paths(),
        directory_file_bytes: None,
        force: false,
        in_use: BTreeMap::new(),
    };
    let devices = format_devices(&envs[0], &request).await.map_err(text)?;
    let pool = quarry_pool::from_devices(&envs[0], devices);
    let mut engines = Engines::new();
    for (core, env) in envs.iter().enumerate() {
        let pool = match core {
            0 => pool.clone(),
            _ => quarry_pool::attach(env, &pool.shared).await.map_err(text)?,
        };
        let log = LogId(core as u16);
        engines.push(Engine::create(env.clone(), pool, log, scenario.limits).await.map_err(text)?);
    }
    for (index, plan) in scenario.volumes.iter().enumerate() {
        let (id, name) = (scenario.volume_id(index), volume_name(index));
        let key = plan.encrypted.then(|| keys::new_key(index as u128));
        let created = engines[plan.core].create_volume(id, &name, plan.size_bytes, plan.settings, key);
        created.await.map_err(text)?;
    }
    if scenario.cache.is_some() {
        for index in 0..scenario.disks.len() as u16 {
            engines[0].pool().set_class(index, DeviceClass::Hdd).await.map_err(text)?;
        }
    }
    Ok(engines)
}

/// Uses the cache disk, if there is one and it works.
async fn use_cache_disk(envs: &[Env], engines: &Engines, scenario: &Scenario) {
    if scenario.cache.is_none() {
        return;
    }
    if let Ok(disk) = CacheDisk::open(&envs[0], Path::new(CACHE_PATH)).await {
        for engine in engines {
            // The node goes on without it.
            let _ = engine.use_cache_disk(&disk).await;
        }
    }
}

/// Opens the pool again.
pub async fn open(envs: &[Env], scenario: &Scenario) -> Result<Engines, String> {
    let opened = quarry_pool::open(&envs[0], POOL, &scenario.all_paths()).await.map_err(text)?;
    let mut engines = Engines::new();
    for (core, env) in envs.iter().enumerate() {
        let pool = match core {
            0 => opened.pool.clone(),
            _ => quarry_pool::attach(env, &opened.pool.shared).await.map_err(text)?,
        };
        let of_core = |state: &&LogState| usize::from(state.log.0) == core;
        let state = opened.logs.iter().find(of_core).ok_or_else(|| format!("log {core} is gone"))?;
        let engine = Engine::open(env.clone(), pool, state, scenario.limits).await.map_err(text)?;
        keys::open_all(&engine)?;
        engines.push(engine);
    }
    use_cache_disk(envs, &engines, scenario).await;
    Ok(engines)
}

/// An error with everything below it.
pub fn text(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text += &format!(": {error}");
        below = error.source();
    }
    text
}

/// The volumes of one core.
struct CoreVolumes(Rc<Engine>);

impl Volumes for CoreVolumes {
    fn volume(&self, id: VolumeId) -> Option<Rc<dyn Volume>> {
        let volume = self.0.volume(id).ok()?;
        Some(volume)
    }
}

/// The servers of all cores, which share a thread here.
type Servers = Rc<RefCell<Vec<Rc<Server>>>>;

struct Cores {
    core: usize,
    servers: Weak<RefCell<Vec<Rc<Server>>>>,
}

impl HandOver<Connection> for Cores {
    fn core(&self) -> usize {
        self.core
    }

    fn hand_over(&self, core: usize, item: Connection) {
        let server = self.servers.upgrade().map(|servers| servers.borrow()[core].clone());
        if let Some(server) = server {
            server.take_over(item);
        }
    }
}

/// Exports every volume and serves NBD on all cores.
pub async fn serve(envs: &[Env], engines: &Engines, scenario: &Scenario) -> Result<(), String> {
    let exports = Exports::default();
    let servers = Servers::default();
    for (core, engine) in engines.iter().enumerate() {
        let volumes = Rc::new(CoreVolumes(engine.clone()));
        let cores = Rc::new(Cores { core, servers: Rc::downgrade(&servers) });
        let server = Server::new(
            envs[core].clone(),
            exports.clone(),
            volumes,
            cores,
            Reservations::default(),
            BUDGET_BYTES_MIN,
            None,
        );
        servers.borrow_mut().push(server);
    }
    for (index, plan) in scenario.volumes.iter().enumerate() {
        let volume = engines[plan.core].volume(scenario.volume_id(index)).map_err(text)?.info();
        exports.insert(Export { name: volume_name(index), volume, core: plan.core }).map_err(text)?;
    }
    let listener = envs[0].network.listen(&address()).await.map_err(text)?;
    let serving = async move {
        let server = servers.borrow()[0].clone();
        server.serve(listener).await;
    };
    envs[0].spawner.spawn(serving).detach();
    Ok(())
}
