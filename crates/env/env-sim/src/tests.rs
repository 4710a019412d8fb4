//! A world as a whole: replay, processes, time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Address, DetachedStream, Env, OpenMode, completion, yield_now};

use crate::{Config, DiskSpec, Process, Stuck, World};

const MINUTE: Duration = Duration::from_secs(60);

/// Disks, sockets, timers and random numbers, all at once.
async fn busy(env: Env, number: u64) -> u64 {
    let disk = env.disks.open("/dev/a".as_ref(), OpenMode::Exclusive).await.unwrap();
    let mut sum = 0;
    for round in 0..20 {
        let offset = (env.random.next_u64() % 64) * 4096;
        let mut buffer = env.buffers.allocate(4096);
        buffer.fill((number + round) as u8);
        disk.write(offset, vec![buffer.freeze()]).await.unwrap();
        if round % 5 == 4 {
            disk.flush().await.unwrap();
        }
        env.clock.sleep(Duration::from_micros(env.random.next_u64() % 300)).await;
        yield_now().await;
        let (buffer, result) = disk.read(offset, env.buffers.allocate(4096)).await;
        result.unwrap();
        sum += u64::from(buffer[0]);
    }
    sum
}

fn play(seed: u64) -> (u64, u64, u64) {
    let world = World::new(seed, Config::default());
    world.add_disk("/dev/a", DiskSpec::default());
    let process = world.process(2);
    let sum = Rc::new(Cell::new(0));
    let left = Rc::new(Cell::new(8));
    for number in 0..8 {
        let env = process.env(number as usize % 2);
        let (sum, left) = (sum.clone(), left.clone());
        let task = async move {
            sum.set(sum.get() + busy(env, number).await);
            left.set(left.get() - 1);
        };
        process.spawn(number as usize % 2, task).detach();
    }
    world.run_until(|| left.get() == 0, MINUTE).unwrap();
    (world.trace_hash(), world.now().as_nanos() as u64, sum.get())
}

#[test]
fn a_seed_replays_and_other_seeds_differ() {
    let histories: Vec<_> = (0..50).map(play).collect();
    for (seed, history) in histories.iter().enumerate() {
        assert_eq!(play(seed as u64), *history, "seed {seed}");
    }
    let mut hashes: Vec<_> = histories.iter().map(|history| history.0).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 50);
}

struct Witness(Rc<Cell<u32>>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_killed_process_drops_its_tasks_and_leaves_others_alone() {
    let world = World::new(1, Config::default());
    let dropped = Rc::new(Cell::new(0));
    let (one, other) = (world.process(2), world.process(1));
    for core in 0..2 {
        let (env, witness) = (one.env(core), Witness(dropped.clone()));
        let task = async move {
            let _witness = witness;
            let (_completer, never) = completion::<()>();
            env.clock.sleep(Duration::from_millis(1)).await;
            never.await;
        };
        one.spawn(core, task).detach();
    }
    let env = other.env(0);
    let ticks = Rc::new(Cell::new(0));
    let counted = ticks.clone();
    let ticking = async move {
        loop {
            env.clock.sleep(Duration::from_millis(1)).await;
            counted.set(counted.get() + 1);
        }
    };
    other.spawn(0, ticking).detach();
    world.run_for(Duration::from_millis(5)).unwrap();
    world.kill(&one);
    assert_eq!(dropped.get(), 2);
    assert!(!one.is_alive());
    let before = ticks.get();
    world.run_for(Duration::from_millis(5)).unwrap();
    assert!(ticks.get() > before);
}

#[test]
fn a_task_may_kill_its_own_process() {
    let world = Rc::new(World::new(1, Config::default()));
    let process = world.process(1);
    let (inner, victim) = (Rc::downgrade(&world), process.clone());
    let after = Rc::new(Cell::new(false));
    let reached = after.clone();
    let task = async move {
        inner.upgrade().unwrap().kill(&victim);
        yield_now().await;
        reached.set(true);
    };
    process.spawn(0, task).detach();
    let result = world.run_until(|| after.get(), MINUTE);
    assert!(matches!(result, Err(Stuck::Deadlock { .. })), "{result:?}");
    assert!(!process.is_alive());
}

#[test]
fn destructors_of_a_dead_process_may_do_anything_and_reach_nothing() {
    struct LastWords(Env, Rc<dyn quarry_env::Disk>);
    impl Drop for LastWords {
        fn drop(&mut self) {
            let zeroes = self.0.buffers.allocate_zeroed(512).freeze();
            drop(self.1.write(0, vec![zeroes]));
            drop(self.0.clock.sleep(Duration::ZERO));
            let disk = self.1.clone();
            self.0.spawner.spawn(async move { disk.flush().await }).detach();
        }
    }
    let world = World::new(3, Config::default());
    let disk = world.add_disk("/dev/a", DiskSpec::default());
    world.poke(disk, 0, &[7; 512]);
    let process = world.process(1);
    let env = process.env(0);
    let task = async move {
        let disk = env.disks.open("/dev/a".as_ref(), OpenMode::Exclusive).await.unwrap();
        let words = LastWords(env, disk);
        std::future::pending::<()>().await;
        drop(words);
    };
    process.spawn(0, task).detach();
    world.run_for(Duration::from_secs(1)).unwrap();
    world.kill(&process);
    world.run_for(Duration::from_secs(10)).unwrap();
    let mut bytes = [0; 512];
    world.peek(disk, 0, &mut bytes);
    assert_eq!(bytes, [7; 512]);
}

#[test]
fn deadlock_time_limit_and_spinning_are_told_apart() {
    let world = World::new(1, Config { polls_without_event_max: 1_000, ..Config::default() });
    let process = world.process(1);
    let waits = world.block_on(&process, 0, std::future::pending::<()>(), MINUTE);
    assert!(matches!(waits, Err(Stuck::Deadlock { .. })), "{waits:?}");
    let env = process.env(0);
    let sleeps = world.block_on(&process, 0, async move { env.clock.sleep(2 * MINUTE).await }, MINUTE);
    assert!(matches!(sleeps, Err(Stuck::TimeLimit { .. })), "{sleeps:?}");
    let spins = async {
        loop {
            yield_now().await;
        }
    };
    let spins = world.block_on(&process, 0, spins, MINUTE);
    assert!(matches!(spins, Err(Stuck::Spinning { .. })), "{spins:?}");
}

#[test]
fn abandoned_timers_do_not_move_time() {
    let world = World::new(1, Config::default());
    let process = world.process(1);
    let env = process.env(0);
    world.block_on(&process, 0, async move { drop(env.clock.sleep(MINUTE)) }, MINUTE).unwrap();
    assert!(matches!(world.run_until(|| false, 5 * MINUTE), Err(Stuck::Deadlock { .. })));
    assert!(world.now() < Duration::from_secs(1));
}

#[test]
fn time_goes_on_and_the_wall_clock_jumps() {
    let config = Config { wall_jump: 0.5, ..Config::default() };
    let world = World::new(5, config);
    let process = world.process(1);
    let env = process.env(0);
    let task = async move {
        let (mut backwards, mut last) = (0, env.clock.wall());
        for _ in 0..50 {
            let before = env.clock.now();
            env.clock.sleep(Duration::from_secs(1)).await;
            let slept = env.clock.now() - before;
            assert!(slept >= Duration::from_secs(1) && slept < Duration::from_millis(1_001), "{slept:?}");
            let wall = env.clock.wall();
            backwards += u32::from(wall < last);
            last = wall;
        }
        backwards
    };
    let backwards = world.block_on(&process, 0, task, 2 * MINUTE).unwrap();
    assert!(backwards > 0);
}

#[test]
fn cores_run_apart_and_streams_move_between_them() {
    for seed in 0..20 {
        let world = World::new(seed, Config::default());
        let server = world.process(2);
        let client = world.process(1);
        let moved: Rc<RefCell<Option<DetachedStream>>> = Rc::default();
        let address = Address::Tcp("127.0.0.1:10809".parse().unwrap());
        spawn_mover(&server, address.clone(), moved.clone());
        spawn_echo(&server, moved);
        let env = client.env(0);
        let echoed = async move {
            let stream = loop {
                match env.network.connect(&address).await {
                    Ok(stream) => break stream,
                    Err(_) => env.clock.sleep(Duration::from_millis(1)).await,
                }
            };
            stream.send(vec![env.buffers.copy_of(b"hello")]).await.unwrap();
            let (mut buffer, mut filled) = (env.buffers.allocate(5), 0);
            while filled < 5 {
                let (back, received) = stream.receive(buffer, filled).await;
                buffer = back;
                filled += received.unwrap();
            }
            buffer.to_vec()
        };
        assert_eq!(world.block_on(&client, 0, echoed, MINUTE).unwrap(), b"hello");
    }
}

/// Accepts on core 0 and gives the stream away.
fn spawn_mover(server: &Process, address: Address, moved: Rc<RefCell<Option<DetachedStream>>>) {
    let env = server.env(0);
    let task = async move {
        let listener = env.network.listen(&address).await.unwrap();
        let (stream, _peer) = listener.accept().await.unwrap();
        *moved.borrow_mut() = Some(stream.detach());
    };
    server.spawn(0, task).detach();
}

/// Takes the stream over on core 1 and sends back what comes.
fn spawn_echo(server: &Process, moved: Rc<RefCell<Option<DetachedStream>>>) {
    let env = server.env(1);
    let task = async move {
        let detached = loop {
            let found = moved.borrow_mut().take();
            match found {
                Some(detached) => break detached,
                None => env.clock.sleep(Duration::from_micros(100)).await,
            }
        };
        let stream = env.network.attach(detached).unwrap();
        loop {
            let (mut buffer, received) = stream.receive(env.buffers.allocate(100), 0).await;
            match received {
                Ok(0) | Err(_) => return,
                Ok(bytes) => buffer.set_length(bytes),
            }
            if stream.send(vec![buffer.freeze()]).await.is_err() {
                return;
            }
        }
    };
    server.spawn(1, task).detach();
}
