//! Alignment, bounds and locks.

use super::*;

fn misuse(spec: DiskSpec, act: impl FnOnce(&Bench)) {
    act(&Bench::new(1, spec));
}

#[test]
#[should_panic(expected = "not aligned to sectors of 512")]
fn an_unaligned_offset_is_caught() {
    misuse(DiskSpec::default(), |bench| drop(bench.read(100, 512)));
}

#[test]
#[should_panic(expected = "not aligned to sectors of 4096")]
fn a_short_write_on_large_sectors_is_caught() {
    misuse(DiskSpec { sector_bytes: 4096, ..DiskSpec::default() }, |bench| drop(bench.write(0, 1, 512)));
}

#[test]
#[should_panic(expected = "unaligned memory")]
fn unaligned_memory_is_caught() {
    misuse(DiskSpec::default(), |bench| {
        let view = bench.process.env(0).buffers.allocate(4096).freeze();
        drop(bench.disk.write(0, vec![view.slice(100..612)]));
    });
}

#[test]
#[should_panic(expected = "unaligned memory")]
fn a_view_of_odd_length_is_caught_even_if_the_sum_is_even() {
    misuse(DiskSpec::default(), |bench| {
        let buffers = bench.process.env(0).buffers;
        let data = vec![buffers.allocate(256).freeze(), buffers.allocate(256).freeze()];
        drop(bench.disk.write(0, data));
    });
}

#[test]
#[should_panic(expected = "leaves the disk")]
fn a_read_across_the_end_is_caught() {
    misuse(DiskSpec::of_size(1 << 20), |bench| drop(bench.read((1 << 20) - 512, 1024)));
}

#[test]
#[should_panic(expected = "for probing only")]
fn a_write_by_a_prober_is_caught() {
    misuse(DiskSpec::default(), |bench| {
        let disk = open(&bench.world, &bench.process, PATH, OpenMode::Probe).unwrap();
        drop(disk.flush());
    });
}

#[test]
fn writes_of_many_views_read_back_in_one_piece() {
    let bench = Bench::new(1, DiskSpec::default());
    let buffers = bench.process.env(0).buffers;
    let mut data = Vec::new();
    for (number, length) in [512, 4096, 1024, 8192, 512].into_iter().enumerate() {
        let mut buffer = buffers.allocate(length);
        buffer.fill(number as u8 + 1);
        data.push(buffer.freeze());
    }
    let expected: Vec<u8> = data.iter().flat_map(|view| view.to_vec()).collect();
    bench.run(bench.disk.write(1536, data)).unwrap();
    assert_eq!(bench.read(1536, expected.len()).unwrap(), expected);
    assert!(all(&bench.read(0, 1536).unwrap(), 0));
    assert!(all(&bench.read(1536 + expected.len() as u64, 512).unwrap(), 0));
}

#[test]
fn a_living_holder_keeps_others_out_and_a_process_shares_its_own_lock() {
    let bench = Bench::new(1, DiskSpec::default());
    let second = open(&bench.world, &bench.process, PATH, OpenMode::Exclusive).unwrap();
    let other = bench.world.process(1);
    let refused = open(&bench.world, &other, PATH, OpenMode::Exclusive).map(drop).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    assert!(open(&bench.world, &other, PATH, OpenMode::Probe).is_ok());
    drop(second);
    assert!(open(&bench.world, &other, PATH, OpenMode::Exclusive).is_err());
    let Bench { world, disk, .. } = bench;
    drop(disk);
    assert!(open(&world, &other, PATH, OpenMode::Exclusive).is_ok());
}

#[test]
fn a_process_waits_for_what_its_closed_disks_were_sent() {
    let Bench { world, process, id, disk } = Bench::new(6, DiskSpec::default());
    world.hang_disk(id);
    let mut data = process.env(0).buffers.allocate(4096);
    data.fill(9);
    drop(disk.write(0, vec![data.freeze()]));
    let other =
        open(&world, &process, PATH, OpenMode::Exclusive).expect("it shares the lock of one that is open");
    drop((disk, other));
    let refused =
        open(&world, &process, PATH, OpenMode::Exclusive).map(|_| ()).expect_err("a write is on its way");
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    world.release_disk(id);
    open(&world, &process, PATH, OpenMode::Exclusive).expect("it has ended");
}

#[test]
fn operations_overtake_each_other() {
    let mut overtaken = 0;
    for seed in 0..20 {
        let bench = Bench::new(seed, DiskSpec::default());
        let zeroes = || bench.process.env(0).buffers.allocate_zeroed(4096).freeze();
        let first = bench.disk.write(0, vec![zeroes()]);
        let second = bench.disk.write(4096, vec![zeroes()]);
        let env = bench.process.env(0);
        overtaken += bench.run(async move {
            let done = Rc::new(std::cell::Cell::new(false));
            let seen = done.clone();
            let task = env.spawner.spawn(async move {
                first.await.unwrap();
                seen.set(true);
            });
            second.await.unwrap();
            let overtook = !done.get();
            task.await;
            u32::from(overtook)
        });
    }
    assert!((3..18).contains(&overtaken), "{overtaken} of 20");
}
