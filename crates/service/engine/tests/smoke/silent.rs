//! Devices that do not answer, or are slow: what hosts notice of it, what becomes of writes that land late, and how such a device is
//! used again.

use std::time::Duration;

use quarry_device::Operation;
use quarry_env::Env;
use quarry_env_sim::{FaultKind, FaultPlan, FaultRates};
use quarry_format::anchor::Slot;
use quarry_pool::{DeviceHealth, MemberUse, MembershipError};
use quarry_types::Protection;
use quarry_volume::{Volume, WriteFlags};

use crate::node::{Chance, content};
use crate::tested::{SETTLE, Tested};

const PATIENCE: Duration = Duration::from_secs(15);
/// Looks at devices that pass until something is decided and known on all cores.
const LOOKS: Duration = Duration::from_secs(1);

impl Tested {
    fn hang(&self, device: u16) {
        self.node.world.hang_disk(self.node.disks[usize::from(device)]);
    }

    fn go_on(&self, device: u16) {
        self.node.world.release_disk(self.node.disks[usize::from(device)]);
    }

    fn sleep(&self, time: Duration) {
        self.node.run(|env: Env| async move { env.clock.sleep(time).await });
    }

    fn health(&self, device: u16) -> DeviceHealth {
        let now = self.node.run(|env: Env| async move { env.clock.now() });
        self.node.engine().pool().shared.device_health(device, now)
    }

    fn use_of(&self, device: u16) -> MemberUse {
        self.node.engine().pool().shared.use_of(device)
    }

    /// Does something, and says how long that took.
    fn timed(&mut self, work: impl FnOnce(&mut Self)) -> Duration {
        let before = self.node.world.now();
        work(self);
        self.node.world.now() - before
    }
}

#[test]
fn hosts_wait_no_longer_than_the_bound_and_what_lands_late_harms_nothing() {
    let mut late = 0;
    for seed in 0..12 {
        let mut tested = Tested::new(900 + seed, 2, &[64, 64, 64]);
        tested.scribble(100);
        let device = (seed % 3) as u16;
        tested.hang(device);
        let took = tested.timed(|tested| {
            tested.scribble(10);
            tested.node.flush().expect("the others flush");
        });
        assert!(took <= PATIENCE + LOOKS, "seed {seed}: {took:?}");
        tested.check();
        tested.scribble(60);
        // Segments of the others are used again meanwhile; what was sent to this one is still on its way.
        tested.settle();
        assert_eq!(tested.use_of(device), MemberUse::Out, "seed {seed}");
        let health = tested.health(device);
        assert!(health.was_silent && !health.answers_again, "seed {seed}: {health:?}");
        if health.late_changes > 0 {
            late += 1;
            assert!(matches!(tested.take_back(device), Err(MembershipError::Late { .. })), "seed {seed}");
        }
        tested.go_on(device);
        tested.scribble(20);
        tested.check();
        tested.sleep(2 * PATIENCE);
        tested.sleep(PATIENCE);
        let health = tested.health(device);
        assert!(health.answers_again && health.late_changes == 0, "seed {seed}: {health:?}");
        tested.take_back(device).expect("all that was late has ended");
        assert!(!tested.health(device).was_silent);
        tested.scribble(60);
        tested.settle();
        tested.check();
        tested.node.verify();
        tested.crash_and_check();
        tested.node.close();
    }
    assert!(late > 3, "writes were on their way");
}

#[test]
fn reads_are_answered_by_others() {
    for protection in [Protection::Copies(2), Protection::Coded { data: 2, parity: 1 }] {
        let mut tested = Tested::protected(920, protection, &[64, 64, 64, 64]);
        tested.fill();
        tested.settle();
        tested.hang(1);
        let took = tested.timed(|tested| tested.check());
        // A read may have waited, and what was asked for by then; nobody after that.
        assert!(took <= PATIENCE + LOOKS, "{protection}: {took:?}");
        tested.sleep(PATIENCE + LOOKS);
        let again = tested.timed(|tested| tested.check());
        assert!(again < Duration::from_secs(3), "{protection}: {again:?}");
        assert_eq!(tested.use_of(1), MemberUse::Out, "{protection}");
    }
}

#[test]
fn one_that_is_out_of_use_is_not_asked_before_it_has_answered() {
    let mut tested = Tested::new(925, 2, &[64, 64, 64]);
    tested.scribble(60);
    tested.hang(1);
    tested.sleep(2 * PATIENCE);
    assert_eq!(tested.use_of(1), MemberUse::Out);
    let pool = tested.node.engine().pool().clone();
    let read_all = |tested: &Tested| {
        let pool = pool.clone();
        tested.node.run(|_| async move {
            let mut read = 0;
            for index in 0..40 {
                let slot = Slot { device: 1, index };
                read += usize::from(pool.read_copy_part(slot, 0, 4096).await.is_ok());
            }
            read
        })
    };
    let took = tested.timed(|tested| assert_eq!(read_all(tested), 0));
    assert!(took < Duration::from_secs(1), "{took:?}");
    tested.go_on(1);
    tested.sleep(LOOKS);
    assert_eq!(read_all(&tested), 40, "it may have what nobody else has");
}

#[test]
fn without_another_copy_it_is_waited_for() {
    let mut tested = Tested::new(930, 1, &[64, 64]);
    tested.scribble(60);
    tested.node.flush().expect("flush");
    tested.hang(0);
    let volume = tested.node.volume();
    let bytes = content(1, 0, 1 << 20);
    tested.model[..1 << 20].copy_from_slice(&bytes);
    let data = tested.node.process.env(0).buffers.copy_of(&bytes);
    let writing = async move { volume.write(0, data, WriteFlags::default()).await };
    let write = tested.node.process.spawn(0, writing);
    tested.sleep(10 * PATIENCE);
    assert_eq!(tested.use_of(0), MemberUse::Full, "there is no other copy of what it has");
    let health = tested.health(0);
    assert!(health.is_needed && health.silent.is_some_and(|(_, time)| time > 9 * PATIENCE), "{health:?}");
    tested.go_on(0);
    tested.node.run(|_| write).expect("late, and well");
    tested.sleep(LOOKS);
    let health = tested.health(0);
    assert!(!health.is_needed && health.silent.is_none(), "{health:?}");
    tested.check();
    tested.node.close();
}

#[test]
fn devices_that_are_all_silent_are_all_waited_for() {
    let mut tested = Tested::new(940, 2, &[64, 64, 64]);
    tested.scribble(60);
    (0..3).for_each(|device| tested.hang(device));
    tested.sleep(6 * PATIENCE);
    for device in 0..3 {
        assert_eq!(tested.use_of(device), MemberUse::Full, "it is what leads to them that is broken");
        assert!(tested.health(device).silent.is_some(), "they were asked though nobody wanted anything");
    }
    (0..3).for_each(|device| tested.go_on(device));
    tested.scribble(30);
    tested.check();
    // One alone is given up, and only one of two at a time when both are needed.
    tested.hang(2);
    tested.sleep(6 * PATIENCE);
    assert_eq!(tested.use_of(2), MemberUse::Out);
    tested.settle();
    tested.hang(0);
    tested.sleep(6 * PATIENCE);
    assert_eq!(tested.use_of(0), MemberUse::Out, "the others have got copies by then");
    tested.check();
    tested.hang(1);
    tested.sleep(2 * PATIENCE);
    assert_eq!(tested.use_of(1), MemberUse::Full, "nothing else is left");
    tested.go_on(1);
    tested.check();
}

#[test]
fn an_idle_device_that_dies_is_noticed() {
    let mut tested = Tested::new(950, 2, &[64, 64, 64]);
    tested.scribble(60);
    tested.node.flush().expect("flush");
    tested.sleep(SETTLE);
    tested.node.world.fail_disk(tested.node.disks[1]);
    tested.sleep(Duration::from_secs(8));
    assert_eq!(tested.use_of(1), MemberUse::Out, "by errors");
    tested.hang(2);
    tested.settle();
    assert_eq!(
        tested.use_of(2),
        MemberUse::Full,
        "of some blocks the copies are being made again, or cannot be"
    );
    tested.go_on(2);
    tested.check();
}

#[test]
fn reads_avoid_a_device_that_is_slow_beside_its_peers_until_it_is_quick_again() {
    let mut tested = Tested::new(960, 2, &[64, 64]);
    tested.fill();
    tested.node.flush().expect("flush");
    let millis = Duration::from_millis;
    let mut slow = FaultRates::none().with(FaultKind::Stall, 1.0);
    slow.stall = millis(20)..millis(40);
    tested.node.world.set_fault_plan(FaultPlan { faults_max: u64::MAX, ..FaultPlan::default() });
    tested.node.world.set_fault_rates(tested.node.disks[1], slow);
    let chance = Chance::new(1);
    let read = |tested: &Tested, seconds: u64| {
        let until = tested.node.world.now() + Duration::from_secs(seconds);
        while tested.node.world.now() < until {
            let block = chance.below(5_000) as usize * 4096;
            assert!(tested.node.read(block as u64, 4096) == tested.model[block..block + 4096]);
            tested.sleep(millis(10));
        }
    };
    read(&tested, 45);
    let health = tested.health(1);
    let slow_now = health.slow.expect("it is twenty times as slow");
    assert!(slow_now.mean >= millis(20) && slow_now.peers_mean < millis(5), "{slow_now:?}");
    assert!(health.last_minute.of(Operation::Read).quantile(0.5).is_some_and(|median| median >= millis(20)));
    assert_eq!(tested.use_of(1), MemberUse::Full, "it is used all the same");
    let took = tested.timed(|tested| {
        (0..100).for_each(|block| _ = tested.node.read(block * 4096, 4096));
    });
    assert!(took < millis(1_000), "reads go to the other one: {took:?}");
    tested.node.world.set_fault_rates(tested.node.disks[1], FaultRates::none());
    read(&tested, 20);
    assert!(tested.health(1).slow.is_some(), "not before it was quick for a while");
    read(&tested, 75);
    assert_eq!(tested.health(1).slow, None);
}
