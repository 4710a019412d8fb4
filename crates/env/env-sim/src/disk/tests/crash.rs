//! Power failure.

use std::cell::RefCell;

use super::*;
use crate::Losses;

#[test]
fn flushed_data_survives_and_the_rest_is_kept_lost_or_torn() {
    let mut losses = Losses::default();
    let mut sectors = [0u32; 2];
    for seed in 0..1_000 {
        let bench = Bench::new(seed, DiskSpec::default());
        for block in 0..8u64 {
            bench.write(block * 8192, 1, 8192).unwrap();
        }
        bench.flush().unwrap();
        for block in 0..4u64 {
            bench.write(block * 8192, 2, 8192).unwrap();
        }
        losses += bench.world.power_fail();
        for block in 0..8u64 {
            for sector in bench.peek(block * 8192, 8192).chunks(512) {
                assert!(all(sector, 1) || (all(sector, 2) && block < 4), "seed {seed}, block {block}");
                if block < 4 {
                    sectors[usize::from(sector[0] - 1)] += 1;
                }
            }
        }
    }
    let Losses { kept, lost, torn } = losses;
    assert!(kept + lost + torn >= 4_000, "a write may land in two parts");
    assert!(kept > 800 && lost > 800 && torn > 800, "{losses:?}");
    assert!(sectors.iter().all(|&count| count > 20_000), "{sectors:?}");
}

/// What one block may hold after a power failure.
#[derive(Clone, Copy, Default)]
struct Expected {
    /// Generation that a completed flush covers.
    durable: u8,
    completed: u8,
    issued: u8,
}

/// Writers of ascending generations, one for each block, and a flusher; power fails at any moment.
fn flush_promise(seed: u64, spec: DiskSpec) -> u32 {
    const BLOCKS: usize = 6;
    let bench = Bench::new(seed, spec);
    let expected = Rc::new(RefCell::new([Expected::default(); BLOCKS]));
    for block in 0..BLOCKS {
        let (env, disk, expected) = (bench.process.env(0), bench.disk.clone(), expected.clone());
        let writer = async move {
            for generation in 1..=100 {
                let mut buffer = env.buffers.allocate(5120);
                buffer.fill(generation);
                expected.borrow_mut()[block].issued = generation;
                // Neighbours share a page, so that sectors of one page have different histories.
                disk.write(block as u64 * 5120, vec![buffer.freeze()]).await.unwrap();
                expected.borrow_mut()[block].completed = generation;
            }
        };
        bench.process.spawn(0, writer).detach();
    }
    let (disk, kept) = (bench.disk.clone(), expected.clone());
    let flusher = async move {
        loop {
            let before = *kept.borrow();
            disk.flush().await.unwrap();
            let mut now = kept.borrow_mut();
            (0..BLOCKS).for_each(|block| now[block].durable = before[block].completed);
        }
    };
    bench.process.spawn(0, flusher).detach();
    let moment = Duration::from_micros(bench.world.below(6_000));
    bench.world.run_for(moment).unwrap();
    bench.world.power_fail();
    let mut torn = 0;
    for (block, &Expected { durable, issued, .. }) in expected.borrow().iter().enumerate() {
        let bytes = bench.peek(block as u64 * 5120, 5120);
        for sector in bytes.chunks(512) {
            assert!(all(sector, sector[0]), "seed {seed}: a sector is torn");
            assert!(
                (durable..=issued).contains(&sector[0]),
                "seed {seed}: {} in {durable}..={issued}",
                sector[0]
            );
        }
        torn += u32::from(!all(&bytes, bytes[0]));
    }
    torn
}

#[test]
fn a_flush_covers_what_completed_before_it() {
    let torn: u32 = (0..1_000).map(|seed| flush_promise(seed, DiskSpec::default())).sum();
    assert!(torn > 500, "{torn}");
    for seed in 0..200 {
        flush_promise(seed, DiskSpec { cache_bytes: 8192, ..DiskSpec::default() });
        flush_promise(seed, DiskSpec { latency: crate::Latency::rotating(), ..DiskSpec::default() });
    }
}

#[test]
fn a_disk_without_a_volatile_cache_keeps_what_it_completed() {
    for seed in 0..200 {
        let bench = Bench::new(seed, DiskSpec { cache_bytes: 0, ..DiskSpec::default() });
        bench.write(0, 1, 65_536).unwrap();
        bench.world.power_fail();
        assert!(all(&bench.peek(0, 65_536), 1), "seed {seed}");
    }
}

#[test]
fn sectors_break_in_the_middle_only_where_it_is_asked_for() {
    let mut broken = 0;
    for seed in 0..100 {
        let bench = Bench::new(seed, DiskSpec { sector_tear: 0.5, ..DiskSpec::default() });
        bench.write(0, 1, 4096).unwrap();
        bench.world.power_fail();
        broken += bench.peek(0, 4096).chunks(512).filter(|sector| !all(sector, sector[0])).count();
    }
    assert!(broken > 50, "{broken}");
}

#[test]
fn units_of_4096_bytes_stay_whole_where_the_disk_promises_it() {
    for seed in 0..200 {
        let bench = Bench::new(seed, DiskSpec { atomic_bytes: 4096, ..DiskSpec::default() });
        bench.write(2048, 1, 16_384).unwrap();
        bench.world.power_fail();
        let bytes = bench.peek(0, 20_480);
        for (unit, bytes) in bytes.chunks(4096).enumerate() {
            let written = if unit == 0 {
                &bytes[2048..]
            } else if unit == 4 {
                &bytes[..2048]
            } else {
                bytes
            };
            assert!(all(written, written[0]), "seed {seed}, unit {unit}");
        }
    }
}

#[test]
fn disks_open_again_after_a_power_failure() {
    let bench = Bench::new(1, DiskSpec::default());
    bench.write(0, 5, 4096).unwrap();
    bench.flush().unwrap();
    drop(bench.disk.flush());
    bench.world.power_fail();
    assert!(!bench.process.is_alive());
    let bench = bench.restart();
    assert!(all(&bench.read(0, 4096).unwrap(), 5));
}
