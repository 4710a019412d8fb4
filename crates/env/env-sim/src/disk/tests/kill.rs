//! Death of a process: its I/O goes on without it.

use super::*;

/// What the sectors of four blocks that were in flight at the kill hold in the end: none, some or all of the new data.
fn kill_in_flight(seed: u64) -> [u32; 3] {
    let bench = Bench::new(seed, DiskSpec::default());
    bench.write(1 << 20, 9, 4096).unwrap();
    let buffers = bench.process.env(0).buffers;
    for block in 0..4u64 {
        let mut buffer = buffers.allocate(8192);
        buffer.fill(1);
        drop(bench.disk.write(block * 8192, vec![buffer.freeze()]));
    }
    bench.world.run_for(Duration::from_micros(bench.world.below(60))).unwrap();
    bench.world.kill(&bench.process);
    let killed = bench.world.now();
    let bench = bench.restart();
    assert!(bench.world.now() - killed < Duration::from_secs(3), "the wait for the lock is bounded");
    let at_open = bench.peek(0, 32_768);
    bench.world.run_for(Duration::from_secs(30)).unwrap();
    assert_eq!(bench.peek(0, 32_768), at_open, "seed {seed}: a write landed behind the lock");
    assert!(all(&bench.read(1 << 20, 4096).unwrap(), 9), "seed {seed}: a completed write is lost");
    let mut counts = [0; 3];
    for block in at_open.chunks(8192) {
        let landed = block.chunks(512).filter(|sector| all(sector, 1)).count();
        counts[match landed {
            0 => 0,
            16 => 2,
            _ => 1,
        }] += 1;
    }
    counts
}

#[test]
fn writes_in_flight_land_later_whole_in_part_or_not_and_the_lock_waits_for_them() {
    let mut sum = [0; 3];
    for seed in 0..500 {
        let counts = kill_in_flight(seed);
        (0..3).for_each(|kind| sum[kind] += counts[kind]);
    }
    assert!(sum.iter().all(|&count| count > 150), "{sum:?}");
}

#[test]
fn a_prober_sees_the_late_landing() {
    let mut late = 0;
    for seed in 0..50 {
        let bench = Bench::new(seed, DiskSpec::default());
        let zeroes = bench.process.env(0).buffers.copy_of(&[1; 4096]);
        drop(bench.disk.write(0, vec![zeroes]));
        bench.world.kill(&bench.process);
        let before = bench.peek(0, 4096);
        bench.world.run_for(Duration::from_secs(3)).unwrap();
        late += u32::from(before != bench.peek(0, 4096));
    }
    assert!(late > 20, "{late}");
}

#[test]
fn power_may_fail_while_a_dead_process_still_writes() {
    for seed in 0..100 {
        let bench = Bench::new(seed, DiskSpec::default());
        let data = bench.process.env(0).buffers.copy_of(&[1; 4096]);
        drop(bench.disk.write(0, vec![data]));
        bench.world.kill(&bench.process);
        bench.world.run_for(Duration::from_millis(bench.world.below(1_000))).unwrap();
        bench.world.power_fail();
        let after = bench.peek(0, 4096);
        let bench = bench.restart();
        bench.world.run_for(Duration::from_secs(5)).unwrap();
        assert_eq!(bench.read(0, 4096).unwrap(), after);
    }
}
