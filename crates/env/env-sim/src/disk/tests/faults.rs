//! Each kind of fault does what its name says, where it is asked for and where the plan allows it.

use super::*;
use crate::{DiskStatus, FaultKind, FaultPlan, FaultRates, Verb};

/// A disk with blocks of 1, 2, 3 ... that are durable, and one scripted fault.
fn scripted(seed: u64, fault: FaultKind, verb: Verb) -> Bench {
    let bench = Bench::new(seed, DiskSpec::of_size(64 << 10));
    for block in 0..16u64 {
        bench.write(block * 4096, block as u8 + 1, 4096).unwrap();
    }
    bench.flush().unwrap();
    bench.world.script_fault(bench.id, fault, verb, 4096..8192, 0);
    bench
}

fn is_eio<T: std::fmt::Debug>(result: io::Result<T>) -> bool {
    result.unwrap_err().raw_os_error() == Some(5)
}

#[test]
fn a_read_error_comes_once_and_only_in_its_range() {
    let bench = scripted(1, FaultKind::ReadError, Verb::Read);
    assert!(bench.read(0, 4096).is_ok());
    assert!(is_eio(bench.read(4096, 4096)));
    assert!(all(&bench.read(4096, 4096).unwrap(), 2));
    let faults = bench.world.faults();
    assert_eq!(
        (faults.len(), faults[0].kind, faults[0].range.clone()),
        (1, FaultKind::ReadError, 4096..8192)
    );
    assert!(bench.world.report().contains("ReadError"));
}

#[test]
fn a_scripted_fault_can_skip_operations() {
    let bench = Bench::new(1, DiskSpec::default());
    bench.world.script_fault(bench.id, FaultKind::WriteError, Verb::Write, 0..4096, 2);
    let failed: Vec<bool> = (0..4).map(|_| bench.write(0, 1, 512).is_err()).collect();
    assert_eq!(failed, [false, false, true, false]);
}

#[test]
fn a_write_error_leaves_the_old_data_the_new_or_both() {
    let mut seen = [0; 3];
    for seed in 0..100 {
        let bench = scripted(seed, FaultKind::WriteError, Verb::Write);
        assert!(is_eio(bench.write(4096, 99, 4096)));
        let bytes = bench.read(4096, 4096).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 2 || byte == 99));
        seen[if all(&bytes, 2) {
            0
        } else if all(&bytes, 99) {
            1
        } else {
            2
        }] += 1;
    }
    assert!(seen.iter().all(|&count| count > 10), "{seen:?}");
}

#[test]
fn a_failed_flush_keeps_drops_or_pretends() {
    let (mut kept, mut dropped, mut pretended) = (0, 0, 0);
    for seed in 0..200 {
        let bench = scripted(seed, FaultKind::FlushError, Verb::Flush);
        bench.write(0, 99, 4096).unwrap();
        assert!(is_eio(bench.flush()));
        let at_once = bench.read(0, 4096).unwrap();
        assert!(bench.flush().is_ok(), "the error is reported once");
        bench.world.run_for(Duration::from_secs(11)).unwrap();
        let later = bench.read(0, 4096).unwrap();
        bench.world.power_fail();
        let after = bench.peek(0, 4096);
        match (at_once[0], later[0], after[0]) {
            (99, 99, 99) => kept += 1,
            (1, 1, 1) => dropped += 1,
            (99, 1, 1) => pretended += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
        assert!([at_once, later, after].iter().all(|bytes| all(bytes, bytes[0])));
    }
    assert!(kept > 30 && dropped > 30 && pretended > 30, "{kept} {dropped} {pretended}");
}

#[test]
fn data_written_again_after_a_failed_flush_is_safe() {
    for seed in 0..200 {
        let bench = scripted(seed, FaultKind::FlushError, Verb::Flush);
        bench.write(512, 99, 1024).unwrap();
        assert!(is_eio(bench.flush()));
        bench.write(512, 99, 1024).unwrap();
        bench.flush().unwrap();
        bench.world.run_for(Duration::from_secs(11)).unwrap();
        assert!(all(&bench.read(512, 1024).unwrap(), 99), "seed {seed}");
        bench.world.power_fail();
        let bytes = bench.peek(0, 4096);
        assert!(all(&bytes[..512], 1) && all(&bytes[512..1536], 99) && all(&bytes[1536..], 1), "seed {seed}");
    }
}

#[test]
fn a_lost_write_is_acknowledged_and_gone() {
    let bench = scripted(1, FaultKind::LostWrite, Verb::Write);
    bench.write(4096, 99, 4096).unwrap();
    assert!(all(&bench.read(4096, 4096).unwrap(), 2));
}

#[test]
fn a_misdirected_write_lands_elsewhere() {
    for seed in 0..50 {
        let bench = scripted(seed, FaultKind::MisdirectedWrite, Verb::Write);
        bench.write(4096, 99, 2048).unwrap();
        let moved_to = bench.world.faults()[0].moved_to.unwrap();
        assert!(moved_to.is_multiple_of(512) && moved_to != 4096);
        assert!(all(&bench.peek(moved_to, 2048), 99));
        let overlap = moved_to.abs_diff(4096) < 2048;
        assert!(overlap || all(&bench.read(4096, 2048).unwrap(), 2), "seed {seed}");
    }
}

#[test]
fn a_misdirected_read_brings_other_data_once() {
    let mut wrong = 0;
    for seed in 0..20 {
        let bench = scripted(seed, FaultKind::MisdirectedRead, Verb::Read);
        wrong += u32::from(!all(&bench.read(4096, 512).unwrap(), 2));
        assert!(all(&bench.read(4096, 4096).unwrap(), 2));
    }
    assert!(wrong > 10, "{wrong}");
}

#[test]
fn rot_stays_and_is_in_the_log() {
    for seed in 0..20 {
        let bench = scripted(seed, FaultKind::BitRot, Verb::Read);
        bench.read(4096, 4096).unwrap();
        let place = bench.world.faults()[0].range.start;
        let healthy = (place / 4096) as u8 + 1;
        let rotten = bench.peek(place, 1)[0];
        let flips = (healthy ^ rotten).count_ones();
        assert!(flips <= 4, "seed {seed}");
        bench.flush().unwrap();
        bench.world.power_fail();
        assert_eq!(bench.peek(place, 1)[0], rotten);
    }
    let bench = scripted(1, FaultKind::BitRot, Verb::Read);
    bench.world.rot(bench.id, 5000, 3);
    assert_eq!(bench.read(4096, 4096).unwrap()[5000 - 4096], 2 ^ 8);
}

#[test]
fn a_failed_device_answers_nothing_until_it_returns() {
    let bench = scripted(1, FaultKind::DeviceFailure, Verb::Read);
    assert!(is_eio(bench.read(4096, 512)));
    assert_eq!(bench.world.disk_status(bench.id), DiskStatus::Failed);
    assert!(is_eio(bench.read(0, 512)) && is_eio(bench.write(0, 9, 512)) && is_eio(bench.flush()));
    assert!(open(&bench.world, &bench.process, PATH, OpenMode::Probe).is_err());
    bench.world.restore_disk(bench.id, false);
    assert!(all(&bench.read(0, 4096).unwrap(), 1));
    bench.world.pull_disk(bench.id);
    assert!(!bench.process.env(0).disks.exists(PATH.as_ref()));
    assert!(is_eio(bench.read(0, 512)));
}

#[test]
fn what_is_under_way_when_a_device_fails_never_succeeds() {
    let mut failed = 0;
    for seed in 0..100 {
        let bench = Bench::new(seed, DiskSpec::default());
        let data = bench.process.env(0).buffers.copy_of(&[1; 4096]);
        let write = bench.disk.write(0, vec![data]);
        let done = Rc::new(std::cell::Cell::new(None));
        let result = done.clone();
        bench.process.spawn(0, async move { result.set(Some(write.await.is_ok())) }).detach();
        bench.world.run_for(Duration::from_micros(bench.world.below(150))).unwrap();
        let before = done.get();
        bench.world.fail_disk(bench.id);
        bench.world.restore_disk(bench.id, true);
        bench.world.run_for(Duration::from_secs(1)).unwrap();
        assert_eq!(done.get(), before.or(Some(false)), "seed {seed}");
        failed += u32::from(before.is_none());
    }
    assert!((20..80).contains(&failed), "{failed}");
}

#[test]
fn a_device_that_fails_by_chance_may_return_by_itself() {
    let bench = Bench::new(1, DiskSpec::default());
    let mut rates = FaultRates::none().with(FaultKind::DeviceFailure, 1.0);
    rates.failure = Duration::from_secs(1)..Duration::from_secs(2);
    bench.world.set_fault_rates(bench.id, rates);
    bench.world.set_failing([bench.id]);
    assert!(is_eio(bench.write(0, 1, 512)));
    bench.world.set_faults_enabled(false);
    bench.world.run_for(Duration::from_secs(2)).unwrap();
    bench.write(0, 1, 512).unwrap();
}

#[test]
fn a_stall_is_late_and_never_is_never_until_the_process_dies() {
    let bench = scripted(1, FaultKind::Stall, Verb::Read);
    let before = bench.world.now();
    bench.read(4096, 512).unwrap();
    assert!(bench.world.now() - before >= Duration::from_millis(100));
    bench.world.script_fault(bench.id, FaultKind::Never, Verb::Write, 0..512, 0);
    let data = bench.process.env(0).buffers.allocate_zeroed(512).freeze();
    let write = bench.disk.write(0, vec![data]);
    assert!(bench.world.block_on(&bench.process, 0, write, 10 * MINUTE).is_err());
    bench.world.kill(&bench.process);
    bench.restart();
}

#[test]
fn a_disk_that_hangs_answers_nothing_until_it_goes_on_and_then_lands_what_it_was_sent() {
    let bench = scripted(1, FaultKind::Hang, Verb::Write);
    let write = |byte: u8| {
        let mut data = bench.process.env(0).buffers.allocate(4096);
        data.fill(byte);
        bench.disk.write(4096, vec![data.freeze()])
    };
    let ask = |future| bench.world.block_on(&bench.process, 0, future, 10 * MINUTE);
    // Who asked does not wait any more.
    assert!(ask(write(77)).is_err());
    assert!(bench.world.is_hanging(bench.id) && ask(write(77)).is_err());
    assert!(all(&bench.peek(4096, 4096), 2));
    bench.world.release_disk(bench.id);
    bench.world.run_for(MINUTE).unwrap();
    assert!(all(&bench.peek(4096, 4096), 77), "it lands late");
    assert!(bench.write(4096, 3, 4096).is_ok());
    // By chance for a while, and for good only until the power fails.
    let mut rates = FaultRates::none().with(FaultKind::Hang, 1.0);
    rates.hang = MINUTE..2 * MINUTE;
    bench.world.set_fault_plan(plan(false, true, 1));
    bench.world.set_fault_rates(bench.id, rates);
    let before = bench.world.now();
    bench.run_long(bench.disk.flush()).unwrap();
    assert!((MINUTE..3 * MINUTE).contains(&(bench.world.now() - before)));
    bench.world.hang_disk(bench.id);
    bench.world.power_fail();
    assert!(!bench.world.is_hanging(bench.id));
}

#[test]
fn chance_keeps_to_the_plan() {
    let rates = || {
        let kinds = [FaultKind::ReadError, FaultKind::WriteError, FaultKind::LostWrite, FaultKind::BitRot];
        kinds.into_iter().fold(FaultRates::none(), |rates, kind| rates.with(kind, 0.2))
    };
    let mut counts = [0; 3];
    for (case, plan) in [(0, FaultPlan::default()), (1, plan(true, false, 1_000)), (2, plan(false, true, 5))]
    {
        let bench = Bench::new(7, DiskSpec { faults: rates(), ..DiskSpec::default() });
        bench.world.set_fault_plan(plan);
        for round in 0..100 {
            drop(bench.write(round * 512, 1, 512));
            drop(bench.read(round * 512, 512));
        }
        let faults = bench.world.faults();
        counts[case] = faults.len();
        let silent = [FaultKind::LostWrite, FaultKind::BitRot];
        assert!(faults.iter().all(|fault| silent.contains(&fault.kind) == (case == 1)), "case {case}");
    }
    assert_eq!(counts[0], 0);
    assert!(counts[1] > 30, "{counts:?}");
    assert_eq!(counts[2], 5);
}

fn plan(corruptible: bool, failing: bool, faults_max: u64) -> FaultPlan {
    let disk = |yes: bool| yes.then_some(DiskId(0)).into_iter().collect();
    FaultPlan { corruptible: disk(corruptible), failing: disk(failing), faults_max }
}

#[test]
fn every_kind_befalls_each_of_its_verbs_without_a_panic() {
    for seed in 0..20 {
        for kind in FaultKind::ALL {
            for &verb in kind.verbs() {
                let bench = scripted(seed, kind, verb);
                let data = bench.process.env(0).buffers.copy_of(&[9; 4096]);
                drop(bench.disk.write(4096, vec![data]));
                drop(bench.disk.read(4096, bench.process.env(0).buffers.allocate(4096)));
                drop(bench.disk.flush());
                drop(bench.disk.discard(4096, 4096));
                bench.world.run_for(Duration::from_millis(1)).unwrap();
                match seed % 2 {
                    0 => bench.world.kill(&bench.process),
                    _ => drop(bench.world.power_fail()),
                }
                bench.world.run_for(MINUTE).unwrap();
                bench.world.restore_disk(bench.id, seed % 4 < 2);
                assert_eq!(bench.world.faults().len(), 1, "{kind:?} of {verb:?}");
            }
        }
    }
}
