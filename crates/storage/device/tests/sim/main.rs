//! The device crate in a simulated world: power failures at every step, faults, and what each refusal says.

mod crash;
mod device;
mod format;
mod open;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use quarry_device::{Device, FormatRequest, format_devices};
use quarry_env::Env;
use quarry_env_sim::{Config, DiskId, DiskSpec, Process, World};
use quarry_types::{PoolId, Protection};

const POOL: PoolId = PoolId(uuid::Uuid::from_u128(0x4040));
const DISK_BYTES: u64 = 33 << 20;
const LIMIT: Duration = Duration::from_secs(3600);

/// A world with disks `/dev/0`, `/dev/1` and so on.
fn world(seed: u64, disks: usize) -> (World, Vec<DiskId>) {
    let world = World::new(seed, Config::default());
    let add = |index| world.add_disk(path(index), DiskSpec::of_size(DISK_BYTES));
    let disks = (0..disks).map(add).collect();
    (world, disks)
}

fn path(index: usize) -> PathBuf {
    PathBuf::from(format!("/dev/{index}"))
}

fn paths(count: usize) -> Vec<PathBuf> {
    (0..count).map(path).collect()
}

fn request(paths: Vec<PathBuf>) -> FormatRequest {
    FormatRequest {
        pool: POOL,
        pool_name: "tank".to_owned(),
        protection: Protection::Copies(1),
        paths,
        directory_file_bytes: None,
        force: false,
        in_use: BTreeMap::new(),
    }
}

/// Runs to its end what must come to one.
fn run<T: 'static, Fut: Future<Output = T> + 'static>(world: &World, main: impl FnOnce(Env) -> Fut) -> T {
    let process = world.process(1);
    let result = run_in(world, &process, main);
    world.kill(&process);
    result
}

fn run_in<T: 'static, Fut: Future<Output = T> + 'static>(
    world: &World,
    process: &Process,
    main: impl FnOnce(Env) -> Fut,
) -> T {
    let future = main(process.env(0));
    world.block_on(process, 0, future, LIMIT).unwrap_or_else(|stuck| panic!("{stuck}: {}", world.report()))
}

/// Makes the pool over the first `count` disks.
async fn make(env: &Env, count: usize) -> Vec<Device> {
    format_devices(env, &request(paths(count))).await.expect("blank disks")
}
