//! Everything at once, against a model: each block holds what was last answered, or what is on its way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Disk, Env};

use super::Stage;
use super::server::Manner;

const BLOCK: usize = 4096;
const BLOCKS: usize = 24;
const WORKERS: usize = 6;

/// What is known of the blocks of one worker.
#[derive(Default)]
struct Known {
    /// Of each block: the last version that was answered.
    answered: Vec<Cell<u64>>,
    failed: Cell<bool>,
    writes: Cell<u64>,
}

fn content(version: u64) -> Vec<u8> {
    version.to_le_bytes().repeat(BLOCK / 8)
}

fn version_of(block: &[u8]) -> u64 {
    let version = u64::from_le_bytes(block[..8].try_into().expect("8 bytes"));
    assert!(block == content(version), "a block is of one write: {:?}", &block[..16]);
    version
}

/// Writes, reads and flushes blocks of its own until it is told to stop or the device fails.
async fn work(env: Env, disk: Rc<dyn Disk>, worker: usize, known: Rc<Known>, stop: Rc<Cell<bool>>) {
    let mut version = worker as u64 * 1_000_000;
    while !stop.get() {
        let chance = env.random.next_u64();
        let block = (chance as usize % (BLOCKS / WORKERS)) * WORKERS + worker;
        let offset = (block * BLOCK) as u64;
        let answered = &known.answered[block];
        let result = match chance >> 32 & 7 {
            0..=3 => {
                version += 1;
                let written = disk.write(offset, vec![env.buffers.copy_of(&content(version))]).await;
                known.writes.set(known.writes.get() + 1);
                written.map(|()| answered.set(version))
            }
            4 => disk.flush().await,
            _ => {
                let (read, result) = disk.read(offset, env.buffers.allocate(BLOCK)).await;
                result.map(|()| assert_eq!(version_of(&read), answered.get(), "block {block}"))
            }
        };
        if result.is_err() {
            known.failed.set(true);
            return;
        }
        env.clock.sleep(Duration::from_millis(chance >> 40 & 63)).await;
    }
}

/// One history: two cores, cuts, frozen connections, crashes of the server that lose its cache.
fn play(seed: u64, late: bool) -> (u64, u64, bool) {
    let late_one_in = if late { 10 } else { 0 };
    let manner = Manner {
        structured: seed.is_multiple_of(2),
        late_one_in,
        late: Duration::from_secs(18),
        nonsense_one_in: if seed.is_multiple_of(3) { 200 } else { 0 },
        ..Manner::default()
    };
    let stage = Stage::new(seed, BLOCKS * BLOCK, manner);
    let answered = (0..BLOCKS).map(|_| Cell::new(0)).collect();
    let known = Rc::new(Known { answered, ..Known::default() });
    let stop = Rc::new(Cell::new(false));
    let running = Rc::new(RefCell::new(Vec::new()));
    for core in 0..2 {
        let disk = stage.open(core);
        for worker in (0..WORKERS).filter(|worker| worker % 2 == core) {
            let work = work(stage.env(core), disk.clone(), worker, known.clone(), stop.clone());
            running.borrow_mut().push(stage.client.spawn(core, work));
        }
    }
    for _ in 0..6 {
        stage.world.run_for(Duration::from_millis(200 + stage.world.below(8_000))).expect("no spin");
        let connections = stage.world.connections();
        match stage.world.below(3) {
            0 => {
                stage.kill_server(true);
                stage.world.run_for(Duration::from_millis(stage.world.below(3_000))).expect("no spin");
                stage.restart_server();
            }
            1 => connections.into_iter().for_each(|connection| stage.world.cut(connection)),
            _ => connections.into_iter().for_each(|connection| stage.world.set_frozen(connection, true)),
        }
    }
    stop.set(true);
    let ending = running.take();
    stage.run(0, async move {
        for worker in ending {
            worker.await;
        }
    });
    // What is late has landed by now.
    stage.world.run_for(Duration::from_secs(120)).expect("no spin");
    if !known.failed.get() {
        let medium = stage.medium.borrow();
        for (block, bytes) in medium.bytes.chunks(BLOCK).enumerate() {
            assert_eq!(version_of(bytes), known.answered[block].get(), "seed {seed}, block {block}");
        }
    }
    (known.writes.get(), stage.stats().reconnects, known.failed.get())
}

#[test]
fn nothing_answered_is_lost_and_nothing_old_returns() {
    let (mut writes, mut reconnects, mut failures) = (0, 0, 0);
    for seed in 0..150 {
        let (written, reconnected, failed) = play(seed, seed.is_multiple_of(5));
        (writes, reconnects) = (writes + written, reconnects + reconnected);
        failures += u64::from(failed);
    }
    println!(
        "{writes} writes, {reconnects} reconnects, {failures} histories in which the device was given up"
    );
    assert!(writes > 5_000 && reconnects > 500 && failures < 75, "{writes} {reconnects} {failures}");
}
