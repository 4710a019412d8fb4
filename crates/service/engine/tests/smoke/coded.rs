//! Pools with an erasure code: what was written is read whatever devices are lost, as many as the code allows.

use std::time::Duration;

use quarry_env::Env;
use quarry_pool::MembershipError;
use quarry_types::Protection;
use quarry_volume::{ErrorKind, Volume};

use crate::node::{BLOCK, Chance};
use crate::tested::{SIZE, Tested};

const CODES: [(u8, u8); 4] = [(2, 1), (4, 2), (3, 3), (6, 2)];

fn coded((data, parity): (u8, u8)) -> Protection {
    Protection::Coded { data, parity }
}

fn pool(seed: u64, code: (u8, u8), more: usize) -> Tested {
    let devices = usize::from(code.0 + code.1) + more;
    Tested::protected(seed, coded(code), &vec![64; devices])
}

/// Every set of `count` of so many devices.
fn subsets(devices: usize, count: usize) -> impl Iterator<Item = Vec<usize>> {
    let of = move |mask: u32| (0..devices).filter(move |bit| mask >> bit & 1 == 1).collect();
    (0u32..1 << devices).filter(move |mask| mask.count_ones() as usize == count).map(of)
}

impl Tested {
    fn groups(&self) -> u64 {
        self.node.engine().status().groups
    }

    fn without(&mut self, lost: &[usize]) {
        self.node.kill();
        lost.iter().for_each(|&disk| self.node.world.pull_disk(self.node.disks[disk]));
        self.node.reopen();
    }

    fn again(&mut self, lost: &[usize]) {
        self.node.kill();
        lost.iter().for_each(|&disk| self.node.world.restore_disk(self.node.disks[disk], false));
        self.node.reopen();
    }
}

#[test]
fn full_chunks_are_grouped_and_give_up_their_copies() {
    for code in CODES {
        let mut tested = pool(1, code, 1);
        tested.fill();
        tested.settle();
        let engine = tested.node.engine();
        let (groups, chunks) = (engine.status().groups, engine.status().grouped_chunks);
        assert!(groups > 0 && chunks == groups * u64::from(code.0), "{code:?} {groups} {chunks}");
        let used = |tested: &Tested| -> u64 {
            (0..tested.node.disks.len() as u16).map(|device| tested.used(device)).sum()
        };
        let mut mirrored = Tested::new(1, code.1 + 1, &vec![64; tested.node.disks.len()]);
        mirrored.fill();
        mirrored.settle();
        let saved = chunks * u64::from(code.1 + 1) - groups * u64::from(code.0 + code.1);
        assert!(used(&tested) + saved <= used(&mirrored) + 4, "{code:?}: {}, {saved}", used(&tested));
        tested.check();
        tested.node.verify();
        tested.node.close();
    }
}

#[test]
fn any_devices_that_the_code_allows_may_be_lost() {
    for code in [(2, 1), (4, 2)] {
        let mut tested = pool(2, code, 1);
        tested.fill();
        tested.settle();
        tested.node.flush().expect("flush");
        assert!(tested.groups() > 0);
        for lost in subsets(tested.node.disks.len(), usize::from(code.1)) {
            tested.without(&lost);
            tested.check();
            tested.again(&lost);
        }
        tested.check();
    }
}

#[test]
fn devices_lost_under_load_are_rebuilt_from_the_others() {
    let mut tested = pool(3, (4, 2), 2);
    tested.fill();
    tested.settle();
    tested.node.flush().expect("flush");
    let before = tested.groups();
    for lost in [1, 4] {
        tested.node.world.fail_disk(tested.node.disks[lost]);
    }
    tested.check();
    tested.scribble(60);
    tested.check();
    tested.settle();
    let rehoming = tested.node.engine().rehoming();
    assert_eq!((rehoming.chunks, rehoming.exposed_chunks, rehoming.lost_chunks), (0, 0, 0), "{rehoming:?}");
    assert!(before > 0 && rehoming.copied_bytes > 0);
    tested.check();
    // Now any two of the other six can be lost.
    let others = [0, 2, 3, 5, 6, 7];
    for pair in subsets(others.len(), 2) {
        let lost: Vec<usize> = pair.iter().map(|&index| others[index]).collect();
        tested.without(&[lost[0], lost[1], 1, 4]);
        tested.check();
        tested.again(&lost);
    }
}

#[test]
fn one_device_too_many_loses_what_it_held_and_nothing_else() {
    // How much is lost of one pool is chance: which devices its few groups have left out.
    let counts = (4..8).map(read_with_one_lost_too_many).collect::<Vec<_>>();
    let (good, bad) = counts.iter().fold((0, 0), |all, (good, bad)| (all.0 + good, all.1 + bad));
    assert!(good > bad && bad > 0, "blocks that are read, and that are lost: {counts:?}");
}

/// How many blocks can be read, and how many not, when three devices of a pool with two chunks of parity are lost.
fn read_with_one_lost_too_many(seed: u64) -> (usize, usize) {
    let mut tested = pool(seed, (4, 2), 1);
    tested.fill();
    tested.settle();
    tested.node.flush().expect("flush");
    for lost in [0, 1, 2] {
        tested.node.world.fail_disk(tested.node.disks[lost]);
    }
    let (mut good, mut bad) = (0, 0);
    for block in 0..SIZE / BLOCK {
        let at = block * BLOCK;
        let read = tested.node.with(move |_, volume| async move {
            let views = volume.read(at as u64, BLOCK as u32).await?;
            Ok::<_, quarry_volume::VolumeError>(
                views.iter().flat_map(|view| view.to_vec()).collect::<Vec<u8>>(),
            )
        });
        match read {
            Ok(bytes) => {
                assert!(bytes == tested.model[at..at + BLOCK], "block {block}");
                good += 1;
            }
            Err(error) => {
                assert!(matches!(error.kind, ErrorKind::Corrupt | ErrorKind::Unavailable), "{error:?}");
                bad += 1;
            }
        }
    }
    tested.node.kill();
    for lost in [0, 1, 2] {
        tested.node.world.restore_disk(tested.node.disks[lost], false);
    }
    tested.node.reopen();
    tested.check();
    (good, bad)
}

#[test]
fn rot_is_mended_from_the_group_also_while_a_device_is_missing() {
    let mut tested = pool(5, (4, 2), 1);
    tested.fill();
    tested.settle();
    tested.node.close();
    tested.node.reopen();
    let chance = Chance::new(7);
    for _ in 0..400 {
        let position = (1 << 20) + chance.below(40 << 20);
        tested.node.world.rot(tested.node.disks[3], position, (position % 8) as u32);
    }
    tested.without(&[5]);
    tested.check();
    tested.again(&[5]);
    let engine = tested.node.engine();
    let scrubbed = tested.node.run(|_| async move { engine.scrub(None).await });
    assert!(scrubbed.repaired > 0 && scrubbed.unrepaired == 0 && scrubbed.lost == 0, "{scrubbed:?}");
    let engine = tested.node.engine();
    let again = tested.node.run(|_| async move { engine.scrub(None).await });
    assert_eq!((again.repaired, again.unrepaired, again.lost), (0, 0, 0));
    // Parity was mended too: without any two others it is all there.
    for lost in [[0, 1], [2, 6], [1, 5]] {
        tested.without(&lost);
        tested.check();
        tested.again(&lost);
    }
}

#[test]
fn rot_is_final_only_when_all_that_could_mend_it_were_asked() {
    let mut tested = pool(5, (4, 2), 1);
    tested.fill();
    tested.settle();
    tested.node.close();
    tested.node.reopen();
    let chance = Chance::new(7);
    for _ in 0..400 {
        let position = (1 << 20) + chance.below(40 << 20);
        tested.node.world.rot(tested.node.disks[3], position, (position % 8) as u32);
    }
    tested.without(&[4, 5]);
    let mut away = 0;
    for block in 0..SIZE / BLOCK {
        let at = (block * BLOCK) as u64;
        let read =
            tested.node.with(move |_, volume| async move { volume.read(at, BLOCK as u32).await.map(drop) });
        if let Err(error) = read {
            assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
            away += 1;
        }
    }
    assert!(away > 0);
    assert_eq!(tested.node.engine().damaged_blocks(), []);
    tested.again(&[4, 5]);
    tested.check();
}

#[test]
fn what_is_rotten_behind_a_header_is_not_taken_for_what_was_written() {
    let mut tested = pool(14, (2, 1), 1);
    tested.fill();
    tested.settle();
    assert!(tested.groups() > 0);
    let (disk, mut granule, mut rotten) = (tested.node.disks[0], [0; 4096], 0);
    for offset in (1 << 20..64 << 20).step_by(granule.len()) {
        tested.node.world.peek(disk, offset, &mut granule);
        let is_padded = granule[3072..].iter().all(|&byte| byte == 0);
        if granule.starts_with(b"QRYBATCH") && is_padded {
            tested.node.world.rot(disk, offset + 4000, 3);
            rotten += 1;
        }
    }
    assert!(rotten > 0);
    // What lies there moves, and the others of its groups count on it from then on.
    tested.leave(0).expect("three are left");
    tested.settle();
    tested.remove(0).expect("it is empty");
    for lost in 1..=3 {
        tested.without(&[lost]);
        tested.check();
        tested.again(&[lost]);
    }
}

#[test]
fn a_device_is_drained_and_another_one_takes_its_share() {
    let mut tested = pool(6, (2, 1), 1);
    tested.fill();
    tested.settle();
    assert!(tested.groups() > 0 && tested.used(0) > 0);
    tested.leave(0).expect("three are left");
    tested.settle();
    assert_eq!(tested.used(0), 0, "{:?}", tested.node.engine().rehoming());
    tested.remove(0).expect("it is empty");
    tested.node.verify();
    assert!(matches!(tested.leave(1), Err(MembershipError::TooFewDevices { left: 2, .. })));
    let new = tested.add(64);
    tested.settle();
    assert!(tested.used(new) > 0, "it gets its share");
    tested.check();
    tested.node.verify();
    for lost in 1..4 {
        tested.without(&[lost]);
        tested.check();
        tested.again(&[lost]);
        // What was written without it gets its copies before the next one goes.
        tested.settle();
    }
}

#[test]
fn protection_changes_in_every_direction() {
    let mut tested = Tested::new(7, 1, &[64; 7]);
    tested.fill();
    let steps = [(4, 2), (0, 3), (2, 1), (3, 3), (0, 1), (4, 2), (6, 1), (0, 4), (4, 2)];
    for (index, (data, parity)) in steps.into_iter().enumerate() {
        let protection = if data == 0 { Protection::Copies(parity) } else { coded((data, parity)) };
        tested.change_protection(protection).expect("there are devices enough");
        tested.scribble(10);
        tested.settle();
        assert_eq!(
            tested.node.engine().rehoming().chunks,
            0,
            "{protection}: {:?}",
            tested.node.engine().rehoming()
        );
        assert_eq!(tested.groups() > 0, data > 0, "{protection}");
        tested.check();
        tested.node.verify();
        let most = protection.losses_tolerated();
        let lost: Vec<usize> = (0..most).map(|at| (index + 2 * at) % 7).collect();
        tested.without(&lost);
        tested.check();
        tested.again(&lost);
    }
    tested.node.close();
}

/// A chunk with parity that finds no place keeps nobody from ending its group.
#[test]
fn a_device_is_left_by_groups_that_are_not_wanted_and_fit_on_no_others() {
    let mut tested = pool(8, (2, 2), 0);
    tested.fill();
    tested.settle();
    assert!(tested.groups() > 0);
    tested.change_copies(2).expect("there are devices enough");
    tested.leave(0).expect("three are left");
    tested.settle();
    let rehoming = tested.node.engine().rehoming();
    assert_eq!((tested.used(0), rehoming.chunks, tested.groups()), (0, 0, 0), "{rehoming:?}");
    tested.check();
    tested.node.close();
}

#[test]
fn chunks_of_groups_that_are_not_wanted_may_share_a_device() {
    let mut tested = pool(9, (3, 1), 1);
    tested.fill();
    tested.settle();
    tested.change_protection(coded((2, 1))).expect("there are devices enough");
    tested.node.world.fail_disk(tested.node.disks[2]);
    for _ in 0..200 {
        let engine = tested.node.engine();
        let verified = tested.node.run(|env: Env| async move {
            env.clock.sleep(Duration::from_millis(100)).await;
            engine.verify().await.expect("verify")
        });
        assert_eq!(verified.findings, []);
    }
    tested.check();
}

#[test]
fn conversion_goes_on_after_a_crash_at_any_time() {
    for seed in 0..8 {
        let (mut tested, chance) = (Tested::new(20 + seed, 3, &[64; 7]), Chance::new(seed));
        tested.fill();
        tested.node.flush().expect("flush");
        let mut protection = Protection::Copies(3);
        for round in 0..4 {
            protection = if round % 2 == 0 { coded((4, 2)) } else { Protection::Copies(3) };
            tested.change_protection(protection).expect("there are devices enough");
            // To some moment of the conversion, and to some event of that moment.
            let pause = Duration::from_millis(chance.below(1600));
            tested.node.run(|env: Env| async move { env.clock.sleep(pause).await });
            (0..chance.below(300)).for_each(|_| _ = tested.node.world.step());
            match (seed + round) % 3 {
                0 => tested.node.power_fail(),
                _ => tested.node.kill(),
            }
            tested.node.reopen();
            tested.check();
        }
        tested.settle();
        assert_eq!(tested.node.engine().rehoming().chunks, 0, "seed {seed} {protection}");
        tested.without(&[(seed % 7) as usize, ((seed + 3) % 7) as usize]);
        tested.check();
    }
}

#[test]
fn a_full_pool_goes_on_taking_overwrites() {
    // Room for the volume and what the pool needs, and little else.
    let mut tested = Tested::protected(8, coded((4, 2)), &[33; 7]);
    for _ in 0..8 {
        tested.scribble(400);
        tested.check();
    }
    assert!(tested.groups() > 0);
    tested.settle();
    tested.check();
    tested.node.verify();
    tested.node.close();
}
