//! Devices that join, leave, fail, come back and grow, and copies that follow.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use quarry_device::LogPolicy;
use quarry_engine::{Losses, NewSnapshot};
use quarry_env::Env;
use quarry_env_sim::{FaultKind, Verb};
use quarry_pool::MembershipError;
use quarry_volume::Volume;

use quarry_types::{LogId, Protection, SnapshotId, VolumeId, VolumeSettings};

use crate::node::{Chance, VOLUME};
use crate::tested::{SETTLE, Tested};

#[test]
fn a_device_that_leaves_is_empty_afterwards_and_can_be_removed() {
    let mut tested = Tested::new(1, 2, &[64, 64, 64]);
    tested.scribble(200);
    assert!(tested.used(0) > 0);
    assert!(matches!(tested.remove(0), Err(MembershipError::NotEmpty { .. })));
    tested.leave(0).expect("two others are left");
    tested.scribble(20);
    tested.settle();
    assert_eq!(tested.used(0), 0, "{:?}", tested.node.engine().rehoming());
    tested.check();
    tested.scribble(200);
    assert_eq!(tested.used(0), 0, "nothing new is placed on it");
    tested.remove(0).expect("it is empty");
    tested.node.verify();
    // What it held is nowhere else: two copies of everything are on the others.
    tested.node.world.pull_disk(tested.node.disks[0]);
    tested.crash_and_check();
    for lost in [1, 2] {
        tested.node.kill();
        tested.node.world.pull_disk(tested.node.disks[lost]);
        tested.node.reopen();
        tested.check();
        tested.node.world.restore_disk(tested.node.disks[lost], false);
    }
    tested.node.kill();
    tested.node.reopen();
    tested.node.close();
}

#[test]
fn leaving_goes_on_after_a_crash() {
    for seed in 0..6 {
        let mut tested = Tested::new(100 + seed, 2, &[64, 64, 64]);
        tested.scribble(150);
        tested.leave(1).expect("two others are left");
        let pause = Duration::from_millis(20 * seed);
        tested.node.run(|env: Env| async move { env.clock.sleep(pause).await });
        tested.crash_and_check();
        assert!(tested.node.engine().pool().shared.is_leaving(1), "the labels say so");
        tested.scribble(20);
        tested.settle();
        assert_eq!(tested.used(1), 0, "seed {seed}");
        tested.check();
        tested.node.close();
    }
}

#[test]
fn what_a_failed_device_had_is_copied_elsewhere() {
    let mut tested = Tested::new(2, 2, &[64, 64, 64]);
    tested.scribble(200);
    tested.node.flush().expect("flush");
    tested.node.world.fail_disk(tested.node.disks[1]);
    tested.scribble(50);
    tested.settle();
    let rehoming = tested.node.engine().rehoming();
    assert_eq!((rehoming.chunks, rehoming.exposed_chunks, rehoming.lost_chunks), (0, 0, 0));
    assert!(rehoming.copied_bytes > 0);
    tested.check();
    // Now either of the others can do without the other.
    for lost in [0, 2] {
        tested.node.kill();
        tested.node.world.pull_disk(tested.node.disks[lost]);
        tested.node.reopen();
        tested.check();
        tested.node.world.restore_disk(tested.node.disks[lost], false);
    }
}

#[test]
fn a_new_device_takes_over_from_a_failed_one() {
    let mut tested = Tested::new(3, 2, &[64, 64]);
    tested.scribble(100);
    tested.node.flush().expect("flush");
    tested.node.world.fail_disk(tested.node.disks[0]);
    tested.scribble(50);
    tested.settle();
    let rehoming = tested.node.engine().rehoming();
    assert_eq!((rehoming.chunks, rehoming.exposed_chunks), (0, 0), "there is nowhere to copy to");
    assert!(rehoming.short_chunks > 0, "and they are not as they should be");
    assert!(matches!(tested.leave(0), Err(MembershipError::TooFewDevices { left: 1, .. })));
    let new = tested.add(64);
    assert_eq!(new, 2);
    tested.leave(0).expect("the new one takes over");
    tested.settle();
    let rehoming = tested.node.engine().rehoming();
    assert_eq!((tested.used(0), rehoming.chunks, rehoming.short_chunks), (0, 0, 0));
    tested.remove(0).expect("nothing is on it");
    tested.check();
    tested.node.world.pull_disk(tested.node.disks[0]);
    tested.node.kill();
    tested.node.world.pull_disk(tested.node.disks[1]);
    tested.node.reopen();
    tested.check();
    tested.scribble(50);
    tested.check();
}

#[test]
fn a_device_that_joins_gets_its_share() {
    let mut tested = Tested::new(4, 2, &[64, 64]);
    tested.scribble(300);
    let before = tested.node.engine().pool().shared.capacity().total_chunks;
    let new = tested.add(64);
    assert!(tested.node.engine().pool().shared.capacity().total_chunks > before);
    tested.settle();
    let used = [tested.used(0), tested.used(1), tested.used(new)];
    assert!(used[2] > 0 && used[0].abs_diff(used[2]) <= 8, "{used:?}");
    tested.check();
    tested.crash_and_check();
    // The number of one that has gone is free for another.
    tested.leave(0).expect("two others are left");
    tested.settle();
    tested.remove(0).expect("it is empty");
    let again = tested.add(64);
    assert_eq!(again, 0);
    tested.settle();
    tested.check();
    tested.crash_and_check();
    tested.node.close();
}

/// Settles, checks, and can do without as many devices as may be lost.
fn loses_devices(tested: &mut Tested, losses: usize) {
    tested.scribble(20);
    tested.settle();
    assert_eq!(tested.node.engine().rehoming().chunks, 0, "{losses} losses");
    tested.check();
    tested.crash_and_check();
    tested.node.kill();
    (0..losses).for_each(|lost| tested.node.world.pull_disk(tested.node.disks[lost]));
    tested.node.reopen();
    tested.check();
    tested.node.kill();
    (0..losses).for_each(|lost| tested.node.world.restore_disk(tested.node.disks[lost], false));
    tested.node.reopen();
}

#[test]
fn a_log_follows_its_own_protection_and_its_pools_where_it_has_none() {
    let mut tested = Tested::new(15, 1, &[64, 64, 64, 64]);
    tested.scribble(200);
    let code = Protection::Coded { data: 2, parity: 1 };
    for (own, losses) in [(Protection::Copies(3), 2), (code, 1), (Protection::Copies(2), 1)] {
        tested.change_own_protection(Some(own)).expect("there are as many devices");
        loses_devices(&mut tested, losses);
        assert_eq!(tested.node.engine().pool().shared.protection(), Protection::Copies(1));
    }
    tested.change_copies(3).expect("there are as many devices");
    tested.change_own_protection(None).expect("there is room");
    loses_devices(&mut tested, 2);
    let refused = tested.change_own_protection(Some(Protection::Coded { data: 4, parity: 2 }));
    assert!(matches!(refused, Err(MembershipError::TooFewDevices { left: 4, .. })), "{refused:?}");
    tested.node.close();
}

/// Parity and copies lie on distinct devices, of which some are small: what takes fewer slots may fit worse.
#[test]
fn what_does_not_fit_on_distinct_devices_is_refused() {
    const MIB: u64 = 1 << 20;
    let mut tested = Tested::sized(16, Protection::Copies(2), &[384, 384, 34], 96 << 20);
    tested.fill();
    let code = Protection::Coded { data: 2, parity: 1 };
    for refused in
        [tested.change_own_protection(Some(code)), tested.change_own_protection(Some(Protection::Copies(3)))]
    {
        assert!(matches!(refused, Err(MembershipError::NoRoom { .. })), "{refused:?}");
    }
    let (engine, held) = (tested.node.engine(), tested.held());
    let room = |copies| {
        let policy = LogPolicy { protection: Some(Protection::Copies(copies)), tier_policy: None };
        engine.pool().room_for(engine.log_id(), policy, &held).expect("labels")
    };
    let [one, two, three] = [1, 2, 3].map(room);
    assert!(three == 0 && 50 * MIB < two && 2 * two <= one && one < 802 * MIB, "{one} {two} {three}");
    // A log that is to be made has needs of its own.
    let policy = LogPolicy::default();
    let another = engine.pool().room_for(LogId(7), policy, &held).expect("labels");
    assert!(another < two && another + 60 * MIB > two, "{another} {two}");
    tested.change_own_protection(Some(Protection::Copies(1))).expect("that takes less");
    tested.check();
}

#[test]
fn copies_follow_their_number() {
    let mut tested = Tested::new(5, 1, &[64, 64, 64]);
    tested.scribble(200);
    for copies in [3, 2, 1, 2] {
        tested.change_copies(copies).expect("there are as many devices");
        loses_devices(&mut tested, usize::from(copies) - 1);
        assert_eq!(tested.node.engine().pool().shared.protection().copies(), usize::from(copies));
    }
    tested.leave(0).expect("two are left");
    assert!(matches!(tested.change_copies(3), Err(MembershipError::TooFewDevices { left: 2, .. })));
}

#[test]
fn a_device_that_comes_back_gets_only_what_it_missed() {
    let mut tested = Tested::new(6, 2, &[64, 64, 64]);
    tested.scribble(150);
    tested.node.flush().expect("flush");
    let all = tested.used(0);
    tested.node.world.pull_disk(tested.node.disks[0]);
    tested.scribble(10);
    tested.node.flush().expect("flush");
    assert!(tested.node.engine().pool().shared.is_failed(0));
    tested.node.world.restore_disk(tested.node.disks[0], false);
    tested.take_back(0).expect("it is back");
    tested.settle();
    let copied = tested.node.engine().rehoming().copied_bytes >> 20;
    assert!(tested.used(0) + 8 >= all && copied < all / 2, "{copied} of {all} chunks");
    tested.scribble(100);
    tested.check();
    tested.crash_and_check();
    tested.node.kill();
    tested.node.world.pull_disk(tested.node.disks[1]);
    tested.node.reopen();
    tested.check();
}

#[test]
fn a_device_that_is_full_of_others_data_is_not_left() {
    let mut tested = Tested::new(7, 2, &[64, 64, 34]);
    for _ in 0..3 {
        tested.scribble(200);
    }
    let room = tested.leave(0);
    assert!(matches!(room, Err(MembershipError::NoRoom { .. })), "{room:?}");
    tested.check();
}

#[test]
fn a_device_grows() {
    let mut tested = Tested::new(8, 1, &[40]);
    tested.scribble(40);
    let before = tested.node.engine().pool().shared.capacity().total_chunks;
    tested.node.world.grow_disk(tested.node.disks[0], 80 << 20);
    let engine = tested.node.engine();
    let grown = tested.node.run(|_| async move {
        let grown = engine.pool().grow_member(0).await.expect("a label");
        let capacity = engine.pool().shared.capacity();
        assert_eq!(
            capacity.total_chunks, before,
            "what is new of it is not used yet, and the rest as before"
        );
        engine.pool().attach_member(0).await.expect("it opens");
        engine.pool().admit_member(0).expect("it is used");
        grown
    });
    assert!(grown);
    assert_eq!(tested.node.engine().pool().shared.capacity().total_chunks, before + 40);
    tested.scribble(200);
    tested.check();
    tested.crash_and_check();
    assert_eq!(tested.node.engine().pool().shared.capacity().total_chunks, before + 40);
    assert!(tested.node.volume().info().size_bytes > 0);
}

#[test]
fn rot_on_the_source_is_not_copied() {
    let mut tested = Tested::new(9, 2, &[64, 64, 64]);
    tested.scribble(200);
    tested.node.flush().expect("flush");
    let chance = Chance::new(77);
    for _ in 0..400 {
        let position = (1 << 20) + chance.below(50 << 20);
        tested.node.world.rot(tested.node.disks[1], position, (chance.below(8)) as u32);
    }
    tested.leave(0).expect("two others are left");
    tested.settle();

    assert_eq!(tested.used(0), 0, "{:?}", tested.node.engine().rehoming());
    tested.remove(0).expect("it is empty");
    tested.node.world.pull_disk(tested.node.disks[0]);
    tested.node.kill();
    // What was rotten on one of them is good on the other one, and the copies made of it are good too.
    tested.node.reopen();
    tested.check();
}

#[test]
fn a_device_that_fails_while_its_label_changes_stays_out_of_use() {
    let mut tested = Tested::new(10, 2, &[64, 64, 64]);
    tested.scribble(20);
    let labels = 0..1 << 20;
    tested.node.world.script_fault(tested.node.disks[0], FaultKind::WriteError, Verb::Write, labels, 0);
    tested.leave(0).expect("the labels of the others say so");
    let shared = tested.node.engine().pool().shared.clone();
    assert!(shared.is_failed(0) && shared.is_leaving(0) && shared.degraded_reason().is_none());
    tested.scribble(20);
    tested.crash_and_check();
}

#[test]
fn a_device_may_be_missing_after_a_crash_in_a_commit_and_come_back() {
    for events in (1..).step_by(3) {
        let mut tested = Tested::new(11, 2, &[64, 64]);
        tested.scribble(10);
        tested.node.flush().expect("flush");
        let (engine, done) = (tested.node.engine(), Rc::new(Cell::new(false)));
        let (place, end) = (done.clone(), tested.node.world.trace_events() + events);
        let commit = async move {
            engine.checkpoint().await.expect("checkpoint");
            place.set(true);
        };
        tested.node.process.spawn(0, commit).detach();
        let is_time = || done.get() || tested.node.world.trace_events() >= end;
        tested.node.world.run_until(is_time, SETTLE).expect("it is done soon");
        // The power fails, and a device is missing at the next opening: perhaps the only one with the new anchor.
        let missing = tested.node.disks[(events / 3 % 2) as usize];
        tested.node.power_fail();
        tested.node.world.pull_disk(missing);
        tested.node.reopen();
        tested.check();
        tested.scribble(2);
        tested.node.flush().expect("flush");
        tested.node.power_fail();
        tested.node.world.restore_disk(missing, false);
        tested.node.reopen();
        tested.check();
        if done.get() {
            break;
        }
    }
}

#[test]
fn a_segment_that_is_being_written_does_not_count_as_to_be_moved() {
    let mut tested = Tested::new(12, 2, &[64, 64]);
    tested.scribble(3);
    // So much emptier that everything should go there.
    tested.add(256);
    for _ in 0..2 {
        tested.settle();
        let rehoming = tested.node.engine().rehoming();
        assert!(rehoming.chunks == 0 && !rehoming.stuck, "{rehoming:?}");
        tested.scribble(3);
    }
    tested.check();
}

#[test]
fn copies_are_given_up_only_where_those_that_stay_are_good() {
    let mut tested = Tested::new(13, 2, &[64, 64]);
    tested.scribble(100);
    tested.node.flush().expect("flush");
    let chance = Chance::new(78);
    for _ in 0..400 {
        let position = (2 << 20) + chance.below(40 << 20);
        tested.node.world.rot(tested.node.disks[0], position, (chance.below(8)) as u32);
    }
    tested.change_copies(1).expect("one is enough");
    tested.settle();
    assert_eq!(tested.node.engine().rehoming().chunks, 0);
    tested.check();
    tested.crash_and_check();
}

#[test]
fn a_device_is_drained_though_the_others_are_full_of_garbage() {
    let mut tested = Tested::new(31, 2, &[64, 64, 64, 64]);
    // Many times what the pool holds, so that all of it is taken and most of it dead.
    for _ in 0..12 {
        tested.scribble(200);
    }
    let before = tested.node.engine().pool().shared.capacity();
    assert!(before.free_chunks < before.total_chunks / 3, "{before:?}");
    tested.leave(3).expect("three others are left");
    for _ in 0..4 {
        tested.settle();
    }
    let shared = tested.node.engine().pool().shared.clone();
    let rehoming = tested.node.engine().rehoming();
    assert_eq!(
        tested.used(3),
        0,
        "{rehoming:?}, {:?}, {} needed",
        shared.capacity(),
        shared.needed_chunks(tested.node.engine().log_id())
    );
    assert!(
        shared.capacity().free_chunks >= shared.needed_chunks(tested.node.engine().log_id()),
        "{:?}",
        shared.capacity()
    );
    tested.check();
    tested.scribble(200);
    tested.check();
    tested.node.verify();
}

#[test]
fn what_only_a_device_that_is_back_may_have_lost_does_not_count_as_flushed() {
    let mut refused = 0;
    for device in [0, 1] {
        let mut tested = Tested::new(41, 1, &[64, 64]);
        tested.scribble(5);
        let engine = tested.node.engine();
        let shared = engine.pool().shared.clone();
        shared.fail_device(device, "somebody else has noticed it".to_owned());
        let disk = tested.node.disks[usize::from(device)];
        tested.node.world.pull_disk(disk);
        tested.node.world.restore_disk(disk, true);
        tested.node.run(|_| async move {
            engine.forget_device(device).await.expect("a commit");
            engine.pool().take_back(device).await.expect("it is back");
            engine.pool().admit_member(device).expect("it is used");
        });
        match tested.node.flush() {
            Err(_) => refused += 1,
            Ok(()) => tested.check(),
        }
    }
    assert_eq!(refused, 1, "one of the two had the only copy");
}

#[test]
fn whose_the_last_copies_are_is_told() {
    let mut tested = Tested::new(11, 1, &[64, 64]);
    let engine = tested.node.engine();
    tested.node.run(|_| async move {
        let settings = VolumeSettings::default();
        let other = VolumeId::from_random(7);
        engine.create_volume(other, "untouched", 1 << 20, settings, None).await.expect("create");
    });
    tested.fill();
    tested.node.flush().expect("flush");
    let engine = tested.node.engine();
    let new =
        NewSnapshot { id: SnapshotId::from_random(8), name: "s".to_owned(), locked_until_s: 0, set: None };
    tested.node.run(|_| async move { engine.create_snapshot(VOLUME, new).await }).expect("snapshot");
    let losses = |within| {
        let engine = tested.node.engine();
        tested.node.run(move |_| async move { engine.losses(within).await })
    };
    assert_eq!(losses(SETTLE), Losses::default(), "nothing is lost yet");
    tested.node.engine().pool().shared.fail_device(1, "a test says so".to_owned());
    let lost = losses(SETTLE);
    assert_eq!(lost, Losses { names: vec!["one".to_owned(), "one@s".to_owned()], not_looked_at: Vec::new() });
}

#[test]
fn a_rate_that_is_raised_counts_at_once() {
    let mut tested = Tested::new(12, 1, &[64, 64, 64]);
    tested.fill();
    tested.node.flush().expect("flush");
    tested.node.engine().set_rehoming_rate(Some(1));
    let pass = |tested: &Tested| {
        tested.node.run(|env: Env| async move { env.clock.sleep(Duration::from_secs(5)).await });
    };
    tested.leave(0).expect("two others are left");
    pass(&tested);
    // That was a step, and at a byte a second the next one is days away.
    tested.leave(1).expect("another one is left");
    pass(&tested);
    assert!(tested.used(1) > 0);
    tested.node.engine().set_rehoming_rate(None);
    tested.settle();
    assert_eq!((tested.used(0), tested.used(1)), (0, 0));
}
