//! A pool with one engine in a simulated world, and a volume whose content is known.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use quarry_device::{FormatRequest, format_devices};
use quarry_engine::{Engine, EngineError, EngineVolume, Limits, NewKey, verify_slots};
use quarry_env::{DiskKind, Env, View};
use quarry_env_sim::{Config, DiskId, DiskSpec, Process, World};
use quarry_types::{LogId, PoolId, Protection, VolumeId, VolumeSettings};
use quarry_volume::{Result, Volume, WriteFlags};

pub const POOL: PoolId = PoolId(uuid::Uuid::from_u128(0x4040));
pub const VOLUME: VolumeId = VolumeId(uuid::Uuid::from_u128(0x4141));
pub const BLOCK: usize = 4096;
pub const LIMITS: Limits = Limits {
    node_cache_bytes: 1 << 20,
    read_cache_bytes: 0,
    cache_index_bytes: 0,
    overlay_bytes: 1 << 20,
    logs: 1,
};
const LIMIT: Duration = Duration::from_secs(3600);

pub fn path(index: usize) -> PathBuf {
    PathBuf::from(format!("/dev/{index}"))
}

/// A world, its disks, and the process that serves at present.
pub struct Node {
    pub world: World,
    pub disks: Vec<DiskId>,
    pub process: Process,
    engine: RefCell<Option<Rc<Engine>>>,
}

impl Node {
    /// A pool of `copies` copies over disks of these sizes in MiB, with an empty volume of `volume_bytes`.
    pub fn new(seed: u64, copies: u8, disks_mib: &[u64], volume_bytes: u64) -> Self {
        let plain = (VolumeSettings::default(), None);
        Self::with_settings(seed, copies, disks_mib, (volume_bytes, plain))
    }

    /// The same with another protection.
    pub fn protected(seed: u64, protection: Protection, disks_mib: &[u64], volume_bytes: u64) -> Self {
        Self::made(seed, protection, disks_mib, (volume_bytes, (VolumeSettings::default(), None)))
    }

    /// The same where the disks from `buckets` on are buckets.
    pub fn with_buckets(
        seed: u64,
        protection: Protection,
        (disks_mib, buckets): (&[u64], usize),
        volume_bytes: u64,
    ) -> Self {
        let kind = |index| if index < buckets { DiskKind::Block } else { DiskKind::Object };
        Self::of_kinds(seed, protection, (disks_mib, kind), (volume_bytes, (VolumeSettings::default(), None)))
    }

    /// The same with a volume that stores its data in another way.
    pub fn with_settings(
        seed: u64,
        copies: u8,
        disks_mib: &[u64],
        volume: (u64, (VolumeSettings, Option<NewKey>)),
    ) -> Self {
        Self::made(seed, Protection::Copies(copies), disks_mib, volume)
    }

    fn made(
        seed: u64,
        protection: Protection,
        disks_mib: &[u64],
        volume: (u64, (VolumeSettings, Option<NewKey>)),
    ) -> Self {
        Self::of_kinds(seed, protection, (disks_mib, |_| DiskKind::Block), volume)
    }

    fn of_kinds(
        seed: u64,
        protection: Protection,
        (disks_mib, kind): (&[u64], impl Fn(usize) -> DiskKind),
        (volume_bytes, (settings, key)): (u64, (VolumeSettings, Option<NewKey>)),
    ) -> Self {
        let world = World::new(seed, Config::default());
        let add = |(index, &mib): (usize, &u64)| {
            let spec = DiskSpec { kind: kind(index), ..DiskSpec::of_size(mib << 20) };
            world.add_disk(path(index), spec)
        };
        let disks: Vec<DiskId> = disks_mib.iter().enumerate().map(add).collect();
        let process = world.process(1);
        let node = Self { world, disks, process, engine: RefCell::default() };
        let request = FormatRequest {
            pool: POOL,
            pool_name: "tank".to_owned(),
            protection,
            paths: (0..node.disks.len()).map(path).collect(),
            directory_file_bytes: None,
            force: false,
            in_use: BTreeMap::new(),
        };
        let engine = node.run(move |env| async move {
            let devices = format_devices(&env, &request).await.expect("disks are empty");
            let pool = quarry_pool::from_devices(&env, devices);
            let engine = Engine::create(env, pool, LogId(0), LIMITS).await.expect("create");
            engine.create_volume(VOLUME, "one", volume_bytes, settings, key).await.expect("volume");
            engine
        });
        *node.engine.borrow_mut() = Some(engine);
        node
    }

    /// Puts one more disk there.
    pub fn add_disk(&mut self, mib: u64) {
        self.disks.push(self.world.add_disk(path(self.disks.len()), DiskSpec::of_size(mib << 20)));
    }

    pub fn run<T: 'static, F: Future<Output = T> + 'static>(&self, main: impl FnOnce(Env) -> F) -> T {
        let future = main(self.process.env(0));
        self.world.block_on(&self.process, 0, future, LIMIT).unwrap_or_else(|stuck| {
            panic!("{stuck}\n{}", self.world.report());
        })
    }

    pub fn engine(&self) -> Rc<Engine> {
        self.engine.borrow().clone().expect("it is open")
    }

    pub fn volume(&self) -> Rc<EngineVolume> {
        self.engine().volume(VOLUME).expect("it exists")
    }

    /// Runs something on the volume.
    pub fn with<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        main: impl FnOnce(Env, Rc<EngineVolume>) -> F,
    ) -> T {
        let volume = self.volume();
        self.run(|env| main(env, volume))
    }

    pub fn write(&self, offset: u64, bytes: Vec<u8>) -> Result<()> {
        self.with(move |env, volume| async move {
            volume.write(offset, env.buffers.copy_of(&bytes), WriteFlags::default()).await
        })
    }

    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let read = self.with(move |_, volume| async move { volume.read(offset, length as u32).await });
        read.expect("read").iter().flat_map(|view: &View| view.to_vec()).collect()
    }

    pub fn flush(&self) -> Result<()> {
        self.with(|_, volume| async move { volume.flush().await })
    }

    /// Forgets the engine of a process that has ended.
    fn forget(&self) {
        self.engine.borrow_mut().take();
    }

    /// Finds nothing wrong, after a checkpoint and at rest.
    pub fn verify(&self) {
        let engine = self.engine();
        let pool = Rc::clone(engine.pool());
        let verified = self.run(|_| async move {
            engine.checkpoint().await.expect("checkpoint");
            engine.verify().await.expect("verify")
        });
        assert_eq!(verified.findings, []);
        assert_eq!(verify_slots(&pool.shared, &[verified]), []);
    }

    pub fn close(&self) {
        self.verify();
        let engine = self.engine();
        let closed = self.run(|_| async move { engine.close().await });
        closed.expect("close");
        self.kill();
    }

    pub fn kill(&self) {
        self.forget();
        self.world.kill(&self.process);
    }

    pub fn power_fail(&self) {
        self.forget();
        self.world.power_fail();
    }

    /// Opens the pool again in a new process.
    pub fn reopen(&mut self) {
        self.try_reopen().expect("the pool opens");
    }

    pub fn try_reopen(&mut self) -> std::result::Result<(), EngineError> {
        self.process = self.world.process(1);
        let paths: Vec<PathBuf> = (0..self.disks.len()).map(path).collect();
        let opened = self.run(move |env| async move {
            let opened = quarry_pool::open(&env, POOL, &paths).await?;
            assert_eq!(opened.logs.len(), 1);
            Engine::open(env, opened.pool, &opened.logs[0], LIMITS).await
        });
        *self.engine.borrow_mut() = Some(opened?);
        Ok(())
    }
}

/// Bytes that tell their version and place.
pub fn content(version: u64, offset: u64, length: usize) -> Vec<u8> {
    let word = |at: u64| version.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (offset + at);
    (0..length as u64).step_by(8).flat_map(|at| word(at).to_le_bytes()).collect()
}

/// A small generator for the tests' own choices.
pub struct Chance(Cell<u64>);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed * 2 + 1))
    }

    pub fn below(&self, count: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        (x >> 11) % count
    }
}
