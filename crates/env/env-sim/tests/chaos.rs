//! Everything at once, twice: faults, cuts, kills and power failures replay to the byte.

use std::path::Path;
use std::time::Duration;

use quarry_env::{Address, Env, OpenMode};
use quarry_env_sim::{Config, DiskSpec, FaultKind, FaultPlan, FaultRates, NetworkConfig, Process, World};

const PATHS: [&str; 2] = ["/dev/a", "/dev/b"];

/// Writes, reads and flushes for ever; errors are part of life here.
async fn storage(env: Env, path: &'static str) {
    let disk = loop {
        match env.disks.open(Path::new(path), OpenMode::Exclusive).await {
            Ok(disk) => break disk,
            Err(_) => env.clock.sleep(Duration::from_millis(10)).await,
        }
    };
    loop {
        let offset = env.random.next_u64() % 2_000 * 512;
        let mut buffer = env.buffers.allocate(512 * (1 + env.random.next_u64() as usize % 16));
        buffer.fill(env.random.next_u64() as u8);
        let written = disk.write(offset, vec![buffer.freeze()]).await;
        let (buffer, read) = disk.read(offset, env.buffers.allocate(512)).await;
        // What was read decides what happens next, so that wrong data shows in the trace.
        if written.is_err() || read.is_err() || buffer[0].is_multiple_of(8) {
            drop(disk.flush().await);
        }
        if buffer[0].is_multiple_of(16) {
            drop(disk.discard(offset, 512).await);
        }
    }
}

async fn server(env: Env, address: Address) {
    let Ok(listener) = env.network.listen(&address).await else { return };
    while let Ok((stream, _peer)) = listener.accept().await {
        let buffers = env.buffers.clone();
        let echo = async move {
            loop {
                let (mut buffer, received) = stream.receive(buffers.allocate(3_000), 0).await;
                let Ok(bytes @ 1..) = received else { return };
                buffer.set_length(bytes);
                if stream.send(vec![buffer.freeze()]).await.is_err() {
                    return;
                }
            }
        };
        env.spawner.spawn(echo).detach();
    }
}

async fn client(env: Env, address: Address) {
    loop {
        env.clock.sleep(Duration::from_micros(env.random.next_u64() % 5_000)).await;
        let Ok(stream) = env.network.connect(&address).await else { continue };
        let bytes = env.random.next_u64() as usize % 20_000 + 1;
        let (mut left, data) = (bytes, env.buffers.allocate_zeroed(bytes).freeze());
        let sending = stream.send(vec![data]);
        while left > 0 {
            let (_, received) = stream.receive(env.buffers.allocate(4096), 0).await;
            let Ok(bytes @ 1..) = received else { break };
            left -= bytes;
        }
        stream.shutdown();
        drop(sending.await);
    }
}

fn boot(world: &World) -> [Process; 2] {
    let address = Address::Tcp("127.0.0.1:10809".parse().expect("an address"));
    let node = world.process(2);
    for (core, path) in PATHS.into_iter().enumerate() {
        node.spawn(core, storage(node.env(core), path)).detach();
    }
    node.spawn(0, server(node.env(0), address.clone())).detach();
    let host = world.process(1);
    for _ in 0..3 {
        host.spawn(0, client(host.env(0), address.clone())).detach();
    }
    [node, host]
}

fn play(seed: u64) -> (u64, u64, Vec<String>, usize) {
    let network = NetworkConfig { cut: 0.001, half_dead: 0.02, ..NetworkConfig::default() };
    let world =
        World::new(seed, Config { trace_lines_max: 200, wall_jump: 0.1, network, ..Config::default() });
    let mut faults =
        FaultKind::ALL.into_iter().fold(FaultRates::none(), |rates, kind| rates.with(kind, 0.004));
    faults.stall = Duration::from_millis(1)..Duration::from_millis(50);
    faults.failure = Duration::from_millis(1)..Duration::from_millis(100);
    let disks = PATHS
        .map(|path| world.add_disk(path, DiskSpec { faults: faults.clone(), ..DiskSpec::of_size(1 << 21) }));
    let faults_max = 10_000;
    world.set_fault_plan(FaultPlan { corruptible: disks.into(), failing: disks.into(), faults_max });
    let mut processes = boot(&world);
    for _ in 0..8 {
        world.run_for(Duration::from_micros(world.below(60_000))).expect("time passes");
        match world.below(3) {
            0 => drop(world.power_fail()),
            1 => processes.iter().for_each(|process| world.kill(process)),
            _ => world.kill(&processes[0]),
        }
        processes.iter().for_each(|process| world.kill(process));
        processes = boot(&world);
    }
    (world.trace_hash(), world.trace_events(), world.trace_lines(), world.faults().len())
}

#[test]
fn chaos_replays() {
    let (mut faults, mut events, mut hashes) = (0, 0, Vec::new());
    for seed in 0..40 {
        let history = play(seed);
        assert_eq!(play(seed), history, "seed {seed}");
        faults += history.3;
        events += history.1;
        hashes.push(history.0);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 40);
    assert!(faults > 400 && events > 100_000, "{faults} faults, {events} events");
    println!(
        "{faults} faults, {events} events, {:016x}",
        hashes.iter().fold(0, |all: u64, hash| all.rotate_left(1) ^ hash)
    );
}
