//! Chunks that go where they are read, between devices of different tiers; in a world where the devices are equally fast, so that the
//! labels alone say which is which.

use quarry_device::{DeviceClass, TierPolicy};
use quarry_engine::{Placement, TierDecision, TierReason};
use quarry_types::Protection;

use crate::tested::Tested;

const FAST: DeviceClass = DeviceClass::Nvme;
const SLOW: DeviceClass = DeviceClass::Hdd;
const MIB: usize = 1 << 20;

/// The first `fast` devices are fast, the others slow.
fn say_tiers(tested: &Tested, fast: u16) {
    let engine = tested.node.engine();
    let devices = tested.node.disks.len() as u16;
    tested.node.run(|_| async move {
        for index in 0..devices {
            let class = if index < fast { FAST } else { SLOW };
            engine.pool().set_class(index, class).await.expect("a label");
        }
    });
    assert_eq!(tested.node.engine().pool().shared.tiers().len(), 2);
}

fn pin(tested: &Tested, policy: TierPolicy) {
    let engine = tested.node.engine();
    tested.node.run(|_| async move { engine.pool().set_tier_policy(policy).await.expect("a label") });
}

fn placement(tested: &Tested) -> Placement {
    tested.node.with(|_, volume| async move { volume.placement().await.expect("its map can be read") })
}

fn decisions(tested: &Tested, reason: TierReason) -> Vec<TierDecision> {
    tested.node.engine().tier_decisions(usize::MAX, |one| one.reason == reason)
}

/// Reads a part of the volume again and again, a block at a time.
fn read_much(tested: &Tested, from: usize, to: usize, times: usize) {
    for _ in 0..times {
        for offset in (from..to).step_by(64 << 10) {
            tested.node.read(offset as u64, 4096);
        }
    }
}

/// Everything is there without one of the devices, which comes back then.
fn check_without(tested: &mut Tested, lost: usize) {
    tested.node.kill();
    tested.node.world.pull_disk(tested.node.disks[lost]);
    tested.node.reopen();
    tested.check();
    tested.node.kill();
    tested.node.world.restore_disk(tested.node.disks[lost], false);
    tested.node.reopen();
    // What it has missed comes to it before another one goes.
    tested.settle();
}

#[test]
fn what_is_read_much_moves_to_the_fast_device_and_the_rest_makes_room() {
    let mut tested = Tested::sized(40, Protection::Copies(1), &[34, 192], 48 * MIB);
    say_tiers(&tested, 1);
    tested.fill();
    tested.node.flush().expect("flush");
    assert!(tested.used(0) >= 8 && tested.used(1) > 8, "it fills the fast one first: {}", tested.used(0));
    tested.settle();
    // The last part was written when the fast device was full.
    read_much(&tested, 40 * MIB, 48 * MIB, 8);
    // What has moved to make room for writes rests for as long.
    tested.settle();
    tested.settle();
    let hot = decisions(&tested, TierReason::Hot);
    assert!(
        !hot.is_empty() && hot.iter().all(|one| one.from == SLOW && one.to == FAST && one.moved),
        "{hot:?}"
    );
    assert!(hot.iter().all(|one| one.heat >= one.other_heat), "{hot:?}");
    let moves = tested.node.engine().tier_moves();
    assert!(moves.promoted_chunks >= 5 && moves.demoted_chunks >= 5, "{moves:?}");
    assert!(moves.copied_bytes > 10 << 20, "{moves:?}");
    tested.check();
    tested.settle();
    assert_eq!(tested.node.engine().tier_moves(), moves, "and then it is quiet");
    let lies = placement(&tested);
    assert_eq!((lies.sampled_blocks, lies.found_blocks, lies.is_exact), (4096, 4096, false), "{lies:?}");
    assert!(lies.tiers[0].heat > 2.0 * lies.tiers[1].heat, "what is fast is hot: {:?}", lies.tiers);
    assert!(!lies.decisions.is_empty());
    tested.node.kill();
    tested.node.reopen();
    // The labels say what is fast, and nothing is known of heat: nothing moves.
    assert_eq!(tested.node.engine().pool().shared.tiers().len(), 2);
    tested.settle();
    assert_eq!(tested.node.engine().tier_moves().promoted_chunks, 0);
    tested.check();
    tested.node.verify();
}

#[test]
fn garbage_keeps_nothing_hot_out_of_the_fast_tier() {
    let mut tested = Tested::sized(46, Protection::Copies(1), &[34, 192], 24 * MIB);
    say_tiers(&tested, 1);
    tested.fill();
    for _ in 0..2 {
        tested.scribble(200);
    }
    tested.node.flush().expect("flush");
    let of_fast = |tested: &Tested| {
        let tiers = placement(tested).tiers;
        tiers[0].blocks as f64 / tiers.iter().map(|tier| tier.blocks).sum::<u64>() as f64
    };
    // All of it would fit, but for what was overwritten.
    let before = of_fast(&tested);
    assert!(before < 0.7, "{before}");
    for _ in 0..6 {
        read_much(&tested, 0, 24 * MIB, 4);
        tested.settle();
    }
    let status = tested.node.engine().status();
    let total = tested.node.engine().pool().shared.capacity();
    assert!(total.free_chunks > total.total_chunks / 2, "the pool has space: {total:?}");
    assert!(status.cleaned_chunks > 0, "{status:?}");
    let after = of_fast(&tested);
    assert!(after > 0.85, "{before} to {after}");
    tested.check();
    tested.crash_and_check();
    tested.node.verify();
}

#[test]
fn a_full_fast_tier_refuses_nothing() {
    let mut tested = Tested::sized(41, Protection::Copies(1), &[34, 192], 64 * MIB);
    say_tiers(&tested, 1);
    tested.fill();
    tested.settle();
    assert!(!decisions(&tested, TierReason::Room).is_empty(), "the coldest leave for what is written");
    for _ in 0..6 {
        tested.scribble(300);
    }
    tested.settle();
    assert!(tested.used(1) > 0 && tested.node.engine().pool().shared.tier_slots(0).free >= 2);
    tested.check();
    tested.crash_and_check();
}

#[test]
fn moves_between_tiers_survive_a_crash_at_any_moment() {
    for seed in 0..8 {
        let mut tested = Tested::new(200 + seed, 2, &[40, 40, 64, 64]);
        say_tiers(&tested, 2);
        tested.fill();
        tested.node.flush().expect("flush");
        pin(&tested, TierPolicy::Pinned(SLOW));
        let pause = std::time::Duration::from_millis(40 * seed);
        tested.node.run(|env: quarry_env::Env| async move { env.clock.sleep(pause).await });
        tested.crash_and_check();
        assert_eq!(
            tested.node.engine().pool().shared.tier_policy(),
            TierPolicy::Pinned(SLOW),
            "the labels say so"
        );
        tested.scribble(10);
        tested.settle();
        let lies = placement(&tested);
        assert!(lies.tiers[1].blocks * 10 >= lies.found_blocks * 9, "seed {seed}: {:?}", lies.tiers);
        tested.check();
        // Both copies of a chunk are in the tier, on two devices.
        for lost in [2, 3] {
            check_without(&mut tested, lost);
            // What was written without it is not on it.
            if tested.node.engine().pool().shared.is_failed(lost as u16) {
                tested.take_back(lost as u16).expect("it is back");
            }
            tested.settle();
        }
        tested.node.close();
    }
}

#[test]
fn a_group_of_coded_chunks_lies_in_one_tier() {
    let mut tested =
        Tested::protected(50, Protection::Coded { data: 2, parity: 1 }, &[48, 48, 48, 64, 64, 64]);
    say_tiers(&tested, 3);
    tested.fill();
    tested.fill();
    tested.settle();
    assert!(tested.node.engine().status().groups > 0);
    for (policy, tier) in [(SLOW, 1), (FAST, 0)] {
        pin(&tested, TierPolicy::Pinned(policy));
        tested.scribble(10);
        tested.settle();
        let engine = tested.node.engine();
        let shared = &engine.pool().shared;
        assert!(engine.status().groups > 0, "they stay groups");
        let lies = placement(&tested);
        assert!(lies.tiers[tier].blocks * 10 >= lies.found_blocks * 7, "{:?}", lies.tiers);
        let groups = engine.groups_by_tier();
        assert!(groups.iter().all(|&(fastest, slowest)| fastest == slowest), "{groups:?}");
        assert!(groups.iter().filter(|&&(fastest, _)| usize::from(fastest) == tier).count() > 0);
        assert!(shared.degraded_reason().is_none());
        tested.check();
        tested.crash_and_check();
    }
    (0..6).for_each(|lost| check_without(&mut tested, lost));
}

#[test]
fn what_a_failed_fast_device_had_goes_to_the_slow_tier() {
    let mut tested = Tested::new(60, 2, &[64, 64, 64, 64]);
    say_tiers(&tested, 2);
    tested.scribble(100);
    tested.node.flush().expect("flush");
    tested.node.world.fail_disk(tested.node.disks[0]);
    tested.scribble(30);
    tested.settle();
    let rehoming = tested.node.engine().rehoming();
    assert_eq!((rehoming.chunks, rehoming.exposed_chunks), (0, 0), "there is room elsewhere");
    tested.check();
    tested.node.kill();
    tested.node.world.pull_disk(tested.node.disks[1]);
    tested.node.reopen();
    tested.check();
}
