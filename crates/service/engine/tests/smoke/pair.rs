//! Two logs of one pool that is full: each goes on with what it may, and neither hinders the other.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use quarry_device::{FormatRequest, LogPolicy, format_devices};
use quarry_engine::{Engine, EngineVolume, Limits};
use quarry_env::Env;
use quarry_env_sim::{Config, DiskSpec, Process, World};
use quarry_pool::HeldBytes;
use quarry_types::{LogId, Protection, VolumeId, VolumeSettings};
use quarry_volume::{ErrorKind, Volume, WriteFlags};

use crate::node::{BLOCK, Chance, POOL, VOLUME, content, path};

const BALLAST: VolumeId = VolumeId(uuid::Uuid::from_u128(0x4343));
const MIB: u64 = 1 << 20;
/// What a host writes at once.
const STEP: u64 = 256 << 10;
const LIMIT: Duration = Duration::from_secs(3600);
/// The longest that a refusal may take when nothing else goes on, and beside a host of the other log that discards and so keeps
/// the hope of space alive.
const AT_ONCE: Duration = Duration::from_secs(1);
const AT_ONCE_LOADED: Duration = Duration::from_secs(3);

/// A pool of two logs, with a volume under load in the first and the ballast in the second.
struct Pair {
    world: World,
    process: Process,
    engines: [Rc<Engine>; 2],
    load_bytes: u64,
    /// What each block holds.
    load: Rc<RefCell<Vec<u64>>>,
    ballast: RefCell<BTreeMap<u64, u64>>,
    version: Rc<Cell<u64>>,
    chance: Rc<Chance>,
}

/// How a write ended.
struct Wrote {
    refused: bool,
    took: Duration,
}

async fn write(env: &Env, volume: &EngineVolume, offset: u64, bytes: Vec<u8>) -> Wrote {
    let began = env.clock.now();
    let result = volume.write(offset, env.buffers.copy_of(&bytes), WriteFlags::default()).await;
    let took = env.clock.now().saturating_sub(began);
    let refused = result.is_err();
    if let Err(error) = result {
        assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
    }
    Wrote { refused, took }
}

impl Pair {
    fn new(seed: u64, copies: u8, disks_mib: &[u64]) -> Self {
        let world = World::new(seed, Config::default());
        for (index, &mib) in disks_mib.iter().enumerate() {
            world.add_disk(path(index), DiskSpec::of_size(mib << 20));
        }
        let process = world.process(1);
        let request = FormatRequest {
            pool: POOL,
            pool_name: "tank".to_owned(),
            protection: Protection::Copies(copies),
            paths: (0..disks_mib.len()).map(path).collect(),
            directory_file_bytes: None,
            force: false,
            in_use: BTreeMap::new(),
        };
        let load_bytes = disks_mib.iter().sum::<u64>() / u64::from(copies) * MIB / 16;
        let env = process.env(0);
        let made = world.block_on(
            &process,
            0,
            async move {
                let devices = format_devices(&env, &request).await.expect("disks are empty");
                let pool = quarry_pool::from_devices(&env, devices);
                let limits = Limits {
                    logs: 2,
                    read_cache_bytes: 0,
                    cache_index_bytes: 0,
                    node_cache_bytes: 8 << 20,
                    overlay_bytes: 8 << 20,
                };
                let create = |log| Engine::create(env.clone(), pool.clone(), LogId(log), limits);
                let engines = [create(0).await.expect("create"), create(1).await.expect("create")];
                let settings = VolumeSettings::default();
                let load = engines[0].create_volume(VOLUME, "load", load_bytes, settings, None);
                load.await.expect("volume");
                engines
            },
            LIMIT,
        );
        let engines = made.unwrap_or_else(|stuck| panic!("{stuck}"));
        let blocks = (load_bytes / BLOCK as u64) as usize;
        Self {
            world,
            process,
            engines,
            load_bytes,
            load: Rc::new(RefCell::new(vec![0; blocks])),
            ballast: RefCell::default(),
            version: Rc::new(Cell::new(1)),
            chance: Rc::new(Chance::new(seed)),
        }
    }

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let ran = self.world.block_on(&self.process, 0, main, LIMIT);
        ran.unwrap_or_else(|stuck| panic!("{stuck}\n{}", self.world.report()))
    }

    /// Has a log keep its own number of copies, or that of the pool.
    fn keep(&self, log: usize, copies: Option<u8>) {
        let (engine, held) = (self.engines[log].clone(), self.held());
        let policy = LogPolicy { protection: copies.map(Protection::Copies), tier_policy: None };
        let keeping = async move { engine.pool().change_log_policy(engine.log_id(), policy, &held).await };
        self.run(keeping).expect("there is room");
    }

    fn held(&self) -> HeldBytes {
        self.engines.iter().map(|engine| (engine.log_id(), engine.status().held_bytes())).collect()
    }

    fn create_ballast(&self) {
        let engine = self.engines[1].clone();
        let settings = VolumeSettings::default();
        self.run(async move { engine.create_volume(BALLAST, "ballast", 1 << 30, settings, None).await })
            .expect("volume");
    }

    fn delete_ballast(&self) {
        let engine = self.engines[1].clone();
        self.run(async move { engine.delete_volume(BALLAST, false).await }).expect("delete");
        self.ballast.borrow_mut().clear();
    }

    fn discard(&self, range: Range<u64>) {
        let volume = self.engines[1].volume(BALLAST).expect("it exists");
        let Range { start, end } = range;
        self.run(async move { volume.discard(start, end - start, WriteFlags::default()).await })
            .expect("discard");
        self.ballast.borrow_mut().retain(|offset, _| !range.contains(offset));
    }

    /// Random writes to the first volume until `done`.
    fn load(&self, done: Rc<Cell<bool>>) -> impl Future<Output = (u64, u64)> + use<> {
        let (volume, env) = (self.engines[0].volume(VOLUME).expect("it exists"), self.process.env(0));
        let (version, chance, model) = (self.version.clone(), self.chance.clone(), self.load.clone());
        let blocks = self.load_bytes / BLOCK as u64;
        async move {
            let (mut written, mut refused) = (0, 0);
            while !done.get() {
                let count = 1 + chance.below(16);
                let first = chance.below(blocks - count);
                version.set(version.get() + 1);
                let version = version.get();
                let bytes = (first..first + count)
                    .flat_map(|block| content(version, block * BLOCK as u64, BLOCK))
                    .collect();
                if write(&env, &volume, first * BLOCK as u64, bytes).await.refused {
                    refused += 1;
                    env.clock.sleep(Duration::from_millis(1)).await;
                    continue;
                }
                written += 1;
                (first..first + count).for_each(|block| model.borrow_mut()[block as usize] = version);
                if chance.below(16) == 0 {
                    let first = chance.below(blocks - count);
                    let bytes = count * BLOCK as u64;
                    let at = first * BLOCK as u64;
                    volume.discard(at, bytes, WriteFlags::default()).await.expect("discard");
                    (first..first + count).for_each(|block| model.borrow_mut()[block as usize] = 0);
                }
            }
            (written, refused)
        }
    }

    /// Writes a range of the ballast, beside load where `loaded`, until a write is refused. Says where, and how long that took.
    fn write(&self, range: Range<u64>, loaded: bool) -> Option<(u64, Duration)> {
        let (volume, env) = (self.engines[1].volume(BALLAST).expect("it exists"), self.process.env(0));
        let done = Rc::new(Cell::new(!loaded));
        let load = self.load(done.clone());
        self.version.set(self.version.get() + 1);
        let version = self.version.get();
        let fill = async move {
            let mut written = Vec::new();
            let mut refused = None;
            for offset in range.step_by(STEP as usize) {
                let wrote = write(&env, &volume, offset, content(version, offset, STEP as usize)).await;
                if wrote.refused {
                    refused = Some((offset, wrote.took));
                    break;
                }
                written.push(offset);
            }
            done.set(true);
            (written, refused)
        };
        let ((written, refused), _) = self.run(futures::future::join(fill, load));
        self.ballast.borrow_mut().extend(written.into_iter().map(|offset| (offset, version)));
        refused
    }

    fn verify(&self) {
        let (load, ballast) = (self.engines[0].volume(VOLUME), self.engines[1].volume(BALLAST));
        let (model, written) = (self.load.borrow().clone(), self.ballast.borrow().clone());
        self.run(async move {
            let read = async |volume: &EngineVolume, offset, bytes: u64| {
                let views = volume.read(offset, bytes as u32).await.expect("read");
                views.iter().flat_map(|view| view.to_vec()).collect::<Vec<u8>>()
            };
            let load = load.expect("it exists");
            for (block, &version) in model.iter().enumerate() {
                let offset = (block * BLOCK) as u64;
                let wanted = if version == 0 { vec![0; BLOCK] } else { content(version, offset, BLOCK) };
                assert!(read(&load, offset, BLOCK as u64).await == wanted, "load at {offset}");
            }
            for (&offset, &version) in &written {
                let ballast = ballast.as_ref().expect("it exists");
                let found = read(ballast, offset, STEP).await;
                assert!(found == content(version, offset, STEP as usize), "ballast at {offset}");
            }
        });
    }

    /// Fills the pool; says how far.
    fn fill(&self, from: u64, loaded: bool) -> (u64, Duration) {
        self.write(from..1 << 30, loaded).expect("more than the pool holds fitted in")
    }
}

/// Fills the pool again and again, under load.
fn fill_again_and_again(pair: &Pair, seed: u64) {
    for round in 0..4 {
        let what = format!("seed {seed}, round {round}");
        pair.create_ballast();
        let (end, first) = pair.fill(0, true);
        // What the cleaner gains meanwhile is taken too.
        let (end, second) = pair.fill(end, true);
        let (end, _) = pair.fill(end, false);
        let (end, last) = pair.fill(end, false);
        assert!(last < AT_ONCE, "{what}: a refusal took {last:?}");
        let slowest = first.max(second);
        assert!(slowest < AT_ONCE_LOADED, "{what}: a refusal under load took {slowest:?}");
        let from = end / 2 / STEP * STEP;
        let refused = pair.write(from..from + end / 16 / STEP * STEP, false);
        assert_eq!(refused, None, "{what}: of {end} bytes, from {from} on");
        pair.verify();
        if round % 2 == 0 {
            pair.discard(0..end / 2 / STEP * STEP);
            let refused = pair.write(0..end / 4 / STEP * STEP, true);
            assert_eq!(refused, None, "{what}: after a discard");
            pair.verify();
        }
        pair.delete_ballast();
    }
}

#[test]
fn a_full_pool_of_two_logs_goes_on_with_overwrites_and_refuses_the_rest_at_once() {
    for (seed, copies) in [(7, 1), (2, 2)] {
        fill_again_and_again(&Pair::new(seed, copies, &[96; 2]), seed);
    }
}

#[test]
fn a_full_pool_of_logs_that_are_kept_differently_does_too() {
    for (seed, disks, of_pool, of_log, of_other) in [
        (3, &[96; 3][..], 1, None, Some(3)),
        (4, &[96; 3], 2, Some(3), Some(1)),
        (5, &[160, 64, 64], 2, Some(1), None),
    ] {
        let pair = Pair::new(seed, of_pool, disks);
        pair.keep(0, of_log);
        pair.keep(1, of_other);
        fill_again_and_again(&pair, seed);
    }
}
