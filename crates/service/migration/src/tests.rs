//! Migrations in a simulated world: hosts go on, processes die, the power fails, and at last everything is judged.

mod model;
mod place;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use quarry_env::Env;
use quarry_env_sim::{Config, DiskSpec, FaultKind, Verb, World};
use quarry_volume::{Comparison, Volume, WriteFlags, ZeroMode};

use crate::copy::REGION_BYTES;
use crate::{Migration, MigrationError, Options, Route};

use model::{Model, content, is_discard};
use place::Place;

const SOURCE: &str = "/dev/source";
const DESTINATION: &str = "/dev/destination";
/// Neither a multiple of a region nor of a block.
const SIZE_BYTES: u64 = 2 * REGION_BYTES + 3 * 512;
const HOSTS: usize = 4;

/// Which side counts, as it is written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Copying,
    Switched,
}

/// What outlives a process.
struct Kept {
    source: Place,
    destination: Place,
    phase: Cell<Phase>,
    copied_bytes: Cell<u64>,
    model: Model,
}

impl Kept {
    fn new(source: Place, destination: Place) -> Rc<Self> {
        Rc::new(Self {
            source,
            destination,
            phase: Cell::new(Phase::Copying),
            copied_bytes: Cell::new(0),
            model: Model::new(&offsets(), SIZE_BYTES),
        })
    }
}

fn offsets() -> Vec<u64> {
    let near = [0, 4096, REGION_BYTES - 4096, REGION_BYTES, 2 * REGION_BYTES - 4096, 2 * REGION_BYTES];
    let spread = (1..10).map(|number| number * 777 * 4096 % (2 * REGION_BYTES - 8192) / 4096 * 4096 + 8192);
    let mut all: Vec<u64> = near.into_iter().chain(spread).collect();
    all.sort_unstable();
    all.dedup();
    all
}

async fn read(volume: &dyn Volume, (offset, bytes): (u64, usize)) -> Vec<u8> {
    let views = volume.read(offset, bytes as u32).await.expect("a read");
    views.iter().flat_map(|view| view.iter().copied()).collect()
}

/// One host of every fourth block: writes of all sorts, some of them given up, reads, flushes.
async fn host(env: Env, volume: Rc<dyn Volume>, kept: Rc<Kept>, number: usize) {
    let model = &kept.model;
    loop {
        let draw = env.random.next_u64();
        let block = draw as usize / 64 % model.len() / HOSTS * HOSTS + number;
        if block >= model.len() {
            continue;
        }
        let (offset, bytes) = model.place(block);
        let fua = draw.is_multiple_of(7);
        match draw % 64 {
            0..8 => {
                let floor = model.floor(block);
                let found = read(&*volume, (offset, bytes)).await;
                model.seen(block, floor, &found, "a read");
            }
            8..12 => {
                let floors = model.floors();
                volume.flush().await.expect("a flush");
                model.flushed(&floors);
            }
            12..16 => compare_and_write(&env, &*volume, model, block).await,
            other => {
                let version = model.issue(block);
                let flags = WriteFlags { fua };
                let data = content(block, version, bytes);
                let change = if !version.is_multiple_of(5) {
                    volume.write(offset, env.buffers.copy_of(&data), flags)
                } else if is_discard(version) {
                    volume.discard(offset, bytes as u64, flags)
                } else {
                    volume.write_zeroes(offset, bytes as u64, ZeroMode::MayUnmap, flags)
                };
                if other < 20 {
                    // Given up: it may happen or not.
                    drop(change);
                } else {
                    change.await.expect("a change");
                    model.acknowledge(block, version, fua);
                }
            }
        }
        env.clock.sleep(Duration::from_micros(draw % 500)).await;
    }
}

async fn compare_and_write(env: &Env, volume: &dyn Volume, model: &Model, block: usize) {
    let Some(known) = model.known(block) else { return };
    let (offset, bytes) = model.place(block);
    let version = model.issue(block);
    let expected = env.buffers.copy_of(&content(block, known, bytes));
    let data = env.buffers.copy_of(&content(block, version, bytes));
    let done = volume.compare_and_write(offset, expected, data, WriteFlags::default()).await;
    assert_eq!(done.expect("a comparison"), Comparison::Written);
    model.acknowledge(block, version, false);
}

/// Serves the volume from where it counts, and moves it on.
async fn live(env: Env, kept: Rc<Kept>, finished: Rc<Cell<bool>>) {
    if kept.phase.get() == Phase::Switched {
        let destination = kept.destination.open(&env).await;
        finished.set(true);
        run_hosts(&env, destination.volume(), &kept);
        return std::future::pending::<()>().await;
    }
    let (source, destination) = (kept.source.open(&env).await, kept.destination.open(&env).await);
    let route = Route::new(source.volume());
    run_hosts(&env, route.clone(), &kept);
    // Some changes are on their way there when the move begins.
    env.clock.sleep(Duration::from_micros(env.random.next_u64() % 3000)).await;
    let copied_bytes = kept.copied_bytes.get();
    let destination_is_blank = copied_bytes == 0 && matches!(kept.destination, Place::Pool(_));
    let options = Options { copied_bytes, destination_is_blank, rate_bytes_per_s: None };
    let migration = Migration::new(env.clone(), source.volume(), destination.volume(), options);
    route.lead_to(Rc::new(migration.clone()));
    source.changes_end().await;
    let (noting, noted) = (migration.clone(), kept.clone());
    let clock = env.clock.clone();
    let _noting = env.spawner.spawn(async move {
        loop {
            clock.sleep(Duration::from_millis(2)).await;
            noted.copied_bytes.set(noting.progress().copied_bytes);
        }
    });
    let frozen = loop {
        migration.run().await.expect("nothing fails");
        let frozen = migration.freeze().await;
        if frozen.is_equal() {
            break frozen;
        }
    };
    frozen.flush().await.expect("both flush");
    kept.phase.set(Phase::Switched);
    frozen.end(Route::new(destination.volume()));
    migration.reads_end().await;
    if let place::Placed::Device(source) = source {
        source.close();
    }
    finished.set(true);
    std::future::pending::<()>().await;
}

fn run_hosts(env: &Env, volume: Rc<dyn Volume>, kept: &Rc<Kept>) {
    for number in 0..HOSTS {
        env.spawner.spawn(host(env.clone(), volume.clone(), kept.clone(), number)).detach();
    }
}

/// A world with both places, which follow from the seed.
fn world(seed: u64, source: Place, destination: Place) -> World {
    let world = World::new(seed, Config::default());
    for place in [source, destination] {
        let (sector_bytes, size_bytes) = match place {
            Place::Device(_) => (512 << (3 * (seed / 4 % 2)), SIZE_BYTES.next_multiple_of(4096) + 4096),
            Place::Pool(_) => (512, 96 << 20),
        };
        world.add_disk(place.path(), DiskSpec { size_bytes, sector_bytes, ..DiskSpec::default() });
        if place == destination {
            // What was there before must not show.
            let disk = world.disk(place.path()).expect("it was added");
            world.poke(disk, 0, &vec![0xa5; SIZE_BYTES.next_multiple_of(4096) as usize]);
        }
        let process = world.process(1);
        let preparing = place.prepare(process.env(0));
        world.block_on(&process, 0, preparing, Duration::from_secs(60)).expect("it is prepared");
        world.kill(&process);
    }
    world
}

fn places(seed: u64) -> (Place, Place) {
    let place = |path, is_pool| if is_pool { Place::Pool(path) } else { Place::Device(path) };
    (place(SOURCE, seed & 1 == 1), place(DESTINATION, seed & 2 == 2))
}

/// Reads everything from where the volume counts.
fn judge(world: &World, kept: &Kept, when: &str) {
    let process = world.process(1);
    let env = process.env(0);
    let place = if kept.phase.get() == Phase::Switched { kept.destination } else { kept.source };
    let reading = async move {
        let volume = place.open(&env).await.volume();
        read(&*volume, (0, SIZE_BYTES as usize)).await
    };
    let found = world.block_on(&process, 0, reading, Duration::from_secs(60));
    let found = found.expect("the volume can be read");
    let mut used = vec![false; SIZE_BYTES.div_ceil(4096) as usize];
    for block in 0..kept.model.len() {
        let (offset, bytes) = kept.model.place(block);
        used[offset as usize / 4096] = true;
        let floor = kept.model.floor(block);
        kept.model.seen(block, floor, &found[offset as usize..offset as usize + bytes], when);
    }
    for (number, bytes) in found.chunks(4096).enumerate() {
        assert!(
            used[number] || bytes.iter().all(|&byte| byte == 0),
            "{when}: block {number} is not as it was"
        );
    }
    world.kill(&process);
}

/// A volume that moves through several lives, each ended at any moment.
fn play(seed: u64) -> bool {
    let (source, destination) = places(seed);
    let world = world(seed, source, destination);
    let kept = Kept::new(source, destination);
    let crashes = world.below(4);
    let finished = Rc::new(Cell::new(false));
    for _ in 0..crashes {
        let process = world.process(1);
        process.spawn(0, live(process.env(0), kept.clone(), finished.clone())).detach();
        world.run_for(Duration::from_micros(world.below(150_000))).expect("it goes on");
        let is_power = world.below(2) == 0;
        match is_power {
            true => _ = world.power_fail(),
            false => world.kill(&process),
        }
        if is_power {
            kept.model.power_failed();
        }
        judge(&world, &kept, &format!("seed {seed}, after a crash ({}), {:?}", is_power, kept.phase.get()));
    }
    finished.set(false);
    let process = world.process(1);
    process.spawn(0, live(process.env(0), kept.clone(), finished.clone())).detach();
    world.run_until(|| finished.get(), Duration::from_secs(60)).expect("it arrives");
    world.run_for(Duration::from_millis(20)).expect("hosts go on at the new place");
    world.kill(&process);
    judge(&world, &kept, &format!("seed {seed}, at the end"));
    kept.phase.get() == Phase::Switched
}

#[test]
fn nothing_acknowledged_is_lost_on_the_way_whatever_ends_the_node() {
    let seeds = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    for seed in 0..seeds {
        assert!(play(seed), "seed {seed}: it never arrived");
    }
}

#[test]
fn a_destination_that_fails_stops_the_move_and_hosts_go_on_and_it_goes_on_when_it_is_well() {
    for seed in 0..10 {
        let (source, _) = places(seed);
        let world = world(seed, source, Place::Device(DESTINATION));
        let destination = world.disk(DESTINATION).expect("it was added");
        let process = world.process(1);
        let kept = Kept::new(source, Place::Device(DESTINATION));
        let verdict = Rc::new(RefCell::new(None));
        let (env, told, known) = (process.env(0), verdict.clone(), kept.clone());
        let mover = async move {
            let (source, destination) = (known.source.open(&env).await, known.destination.open(&env).await);
            let options = Options { copied_bytes: 0, destination_is_blank: false, rate_bytes_per_s: None };
            let migration = Migration::new(env.clone(), source.volume(), destination.volume(), options);
            run_hosts(&env, Rc::new(migration.clone()), &known);
            let first = migration.run().await;
            env.clock.sleep(Duration::from_millis(50)).await;
            let second = migration.run().await;
            let frozen = migration.freeze().await;
            assert!(second.is_err() || frozen.is_equal());
            frozen.flush().await.expect("both flush");
            known.phase.set(Phase::Switched);
            *told.borrow_mut() = Some((first.err(), second.err()));
            std::future::pending::<()>().await;
        };
        process.spawn(0, mover).detach();
        world.script_fault(
            destination,
            FaultKind::WriteError,
            Verb::Write,
            0..SIZE_BYTES,
            3 + seed as u32 * 2,
        );
        world.run_until(|| verdict.borrow().is_some(), Duration::from_secs(60)).expect("it arrives");
        let (first, second) = verdict.borrow_mut().take().expect("it was just there");
        assert!(
            matches!(first, Some(MigrationError::Destination { .. } | MigrationError::Change { .. })),
            "seed {seed}: {first:?}"
        );
        assert!(second.is_none(), "seed {seed}: {second:?}");
        world.kill(&process);
        judge(&world, &kept, &format!("seed {seed}, at the new place after a fault"));
    }
}
