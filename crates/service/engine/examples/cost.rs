//! What reads and writes of 4 KiB cost the engine, to be counted under callgrind (`cargo xtask instructions`): everything that
//! happens inside `measured`, over a simulated disk.
//!
//! `cost read|write SNAPSHOTS all|spread|without|ongoing OPERATIONS [gated]`: over a volume that has so many snapshots, taken all at once,
//! spread over random writes before or (without) not taken beside these, or spread over the measured operations. With `gated`
//! behind them, through an open gate of quality of service, as a node serves it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use quarry_device::{FormatRequest, format_devices};
use quarry_engine::{Engine, Limits, NewSnapshot};
use quarry_env::Env;
use quarry_env_sim::{Config, DiskSpec, Process, World};
use quarry_qos::{Board, CoreQos, QosVolume};
use quarry_types::{LogId, PoolId, Protection, SnapshotId, VolumeId, VolumeSettings};
use quarry_volume::{Volume, WriteFlags};
use uuid::Uuid;

const VOLUME: VolumeId = VolumeId(Uuid::from_u128(0x41));
const VOLUME_BYTES: u64 = 256 << 20;
/// So large that segments are.
const DISK_BYTES: u64 = 32 << 30;
const BLOCK: u64 = 4096;
/// Random writes between two snapshots that are spread.
const WRITES_BETWEEN: u64 = 20;
const LIMIT: Duration = Duration::from_secs(1 << 20);

/// SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

struct Subject {
    env: Env,
    engine: Rc<Engine>,
    volume: Rc<dyn Volume>,
    chance: u64,
}

impl Subject {
    async fn new(env: Env, is_gated: bool) -> Self {
        let request = FormatRequest {
            pool: PoolId(Uuid::from_u128(0x40)),
            pool_name: "pool".to_owned(),
            protection: Protection::Copies(1),
            paths: vec![PathBuf::from("/disk")],
            directory_file_bytes: None,
            force: false,
            in_use: BTreeMap::new(),
        };
        let devices = format_devices(&env, &request).await.expect("the disk is empty");
        let pool = quarry_pool::from_devices(&env, devices);
        let limits = Limits {
            node_cache_bytes: 64 << 20,
            read_cache_bytes: 0,
            cache_index_bytes: 0,
            overlay_bytes: 64 << 20,
            logs: 1,
        };
        let engine = Engine::create(env.clone(), pool, LogId(0), limits).await.expect("create");
        let settings = VolumeSettings::default();
        engine.create_volume(VOLUME, "volume", VOLUME_BYTES, settings, None).await.expect("volume");
        let mut volume: Rc<dyn Volume> = engine.volume(VOLUME).expect("it exists");
        if is_gated {
            let qos = CoreQos::new(env.clone(), 0, Board::new(1));
            volume = QosVolume::new(volume, qos.gate(VOLUME));
        }
        Self { env, engine, volume, chance: 7 }
    }

    fn block(&mut self) -> u64 {
        random(&mut self.chance) % (VOLUME_BYTES / BLOCK) * BLOCK
    }

    async fn write(&mut self, offset: u64, length: u64) {
        let mut data = self.env.buffers.allocate(length as usize);
        data.fill(random(&mut self.chance) as u8);
        self.volume.write(offset, data.freeze(), WriteFlags::default()).await.expect("write");
    }

    async fn snapshot(&mut self, number: u64) {
        let id = SnapshotId(Uuid::from_u128(u128::from(number) << 16));
        let new = NewSnapshot { id, name: format!("s{number}"), locked_until_s: 0, set: None };
        self.engine.create_snapshot(VOLUME, new).await.expect("snapshot");
    }
}

async fn prepare(env: Env, is_gated: bool, snapshots: u64, (writes_between, takes): (u64, bool)) -> Subject {
    let mut subject = Subject::new(env, is_gated).await;
    for offset in (0..VOLUME_BYTES).step_by(1 << 20) {
        subject.write(offset, 1 << 20).await;
    }
    for number in 0..snapshots {
        for _ in 0..writes_between {
            let offset = subject.block();
            subject.write(offset, BLOCK).await;
        }
        if takes {
            subject.snapshot(number).await;
        }
    }
    subject.engine.checkpoint().await.expect("checkpoint");
    // Until the simulated world has forgotten every timer that nobody waits for any more.
    subject.env.clock.sleep(Duration::from_secs(60)).await;
    subject
}

/// Nothing but this is counted.
#[inline(never)]
fn measured(world: &World, process: &Process, work: impl Future<Output = ()> + 'static) {
    world.block_on(process, 0, work, LIMIT).unwrap_or_else(|stuck| panic!("{stuck}"));
    black_box(world);
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_gated = arguments.pop_if(|last| last == "gated").is_some();
    let [verb, snapshots, how, operations] = &arguments[..] else {
        panic!("cost read|write SNAPSHOTS all|spread|without|ongoing OPERATIONS [gated]")
    };
    let (reads, how) = (verb == "read", how.clone());
    let snapshots: u64 = snapshots.parse().expect("a number of snapshots");
    let operations: u64 = operations.parse().expect("a number of operations");
    let world = World::new(1, Config::default());
    world.add_disk("/disk", DiskSpec::of_size(DISK_BYTES));
    let process = world.process(1);
    let ongoing = if how == "ongoing" { snapshots } else { 0 };
    let writes_between = if how == "spread" || how == "without" { WRITES_BETWEEN } else { 0 };
    let before = prepare(process.env(0), is_gated, snapshots - ongoing, (writes_between, how != "without"));
    let mut subject = world.block_on(&process, 0, before, LIMIT).unwrap_or_else(|stuck| panic!("{stuck}"));
    measured(&world, &process, async move {
        for number in 0..operations {
            if ongoing > 0 && number % (operations / ongoing) == 0 {
                subject.snapshot(number).await;
            }
            let offset = subject.block();
            match reads {
                true => _ = black_box(subject.volume.read(offset, BLOCK as u32).await.expect("read")),
                false => subject.write(offset, BLOCK).await,
            }
        }
    });
}
