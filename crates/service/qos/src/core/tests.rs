//! Gates on a simulated core.

use std::cell::RefCell;

use futures::future::LocalBoxFuture;
use quarry_env::{Turns, View};
use quarry_env_sim::{Config, World};
use quarry_types::Durability;
use quarry_volume::{Comparison, Extent, Result, Views, Volume, VolumeInfo, WriteFlags, ZeroMode};

use super::*;
use crate::QosVolume;
use crate::scope::{Rates, Scope, ScopeKind};

const LIMIT: Duration = Duration::from_secs(3600);

/// Takes a while for everything, and remembers what was begun.
struct Slow {
    env: Env,
    takes: Duration,
    begun: RefCell<Vec<&'static str>>,
}

impl Slow {
    fn done<T: 'static>(&self, what: &'static str, answer: T) -> LocalBoxFuture<'_, Result<T>> {
        self.begun.borrow_mut().push(what);
        Box::pin(async move {
            self.env.clock.sleep(self.takes).await;
            Ok(answer)
        })
    }
}

impl Volume for Slow {
    fn info(&self) -> VolumeInfo {
        VolumeInfo {
            id: id(1),
            name: "slow".to_owned(),
            size_bytes: 1 << 30,
            preferred_bytes: 4096,
            request_bytes_max: 1 << 20,
            compare_bytes_max: 4096,
            atomic_bytes_max: 4096,
            read_only: false,
            durability: Durability::Flush,
        }
    }
    fn read(&self, _: u64, _: u32) -> LocalBoxFuture<'_, Result<Views>> {
        self.done("read", Views::new())
    }
    fn write(&self, _: u64, _: View, _: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        self.done("write", ())
    }
    fn write_atomic(&self, _: u64, _: View, _: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        self.done("atomic write", ())
    }
    fn compare_and_write(
        &self,
        _: u64,
        _: View,
        _: View,
        _: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<Comparison>> {
        self.done("compare and write", Comparison::Written)
    }
    fn write_zeroes(&self, _: u64, _: u64, _: ZeroMode, _: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        self.done("write zeroes", ())
    }
    fn discard(&self, _: u64, _: u64, _: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        self.done("discard", ())
    }
    fn flush(&self) -> LocalBoxFuture<'_, Result<()>> {
        self.done("flush", ())
    }
    fn extents(&self, _: u64, _: u64, _: usize) -> LocalBoxFuture<'_, Result<Vec<Extent>>> {
        self.done("extents", Vec::new())
    }
}

fn id(number: u64) -> VolumeId {
    VolumeId::from_random(u128::from(number))
}

fn share(rates: Rates, env: &Env) -> Share {
    let now_ns = env.clock.now().as_nanos() as u64;
    Share::new(None, None, [Scope::new(ScopeKind::Volume, rates, now_ns)])
}

fn table(is_sharing: bool, shares: impl IntoIterator<Item = (VolumeId, Share)>) -> Arc<Table> {
    let place = |(id, share)| (id, Place { core: Some(0), share: Some(share) });
    Arc::new(Table { is_sharing, volumes: shares.into_iter().map(place).collect() })
}

fn iops_max(rate: u64) -> Rates {
    Rates { iops_max: Some(rate), ..Rates::default() }
}

/// Runs `task` on a simulated core with a gated volume.
fn on_core<F: Future<Output = ()> + 'static>(task: impl FnOnce(Env, CoreQos, Rc<Slow>, Rc<QosVolume>) -> F) {
    let world = World::new(1, Config::default());
    let process = world.process(1);
    let env = process.env(0);
    let qos = CoreQos::new(env.clone(), 0, Board::new(2));
    let takes = Duration::from_micros(200);
    let below = Rc::new(Slow { env: env.clone(), takes, begun: RefCell::default() });
    let volume = QosVolume::new(below.clone(), qos.gate(id(1)));
    let task = task(env, qos, below, volume);
    world.block_on(&process, 0, task, LIMIT).unwrap_or_else(|stuck| panic!("{stuck}"));
}

#[test]
fn without_settings_the_gate_is_open_and_nothing_is_counted() {
    on_core(|_, qos, below, volume| async move {
        assert!(qos.gate(id(1)).is_open());
        volume.read(0, 4096).await.unwrap();
        volume.flush().await.unwrap();
        assert_eq!(*below.begun.borrow(), ["read", "flush"]);
        assert!(qos.stats().is_empty() && qos.window_units().is_none());
        assert!(qos.turn(Work::Scrub, 1 << 20).is_none());
    });
}

#[test]
fn a_limit_is_kept_by_the_clock_and_every_operation_counts() {
    on_core(|env, qos, below, volume| async move {
        qos.apply(table(false, [(id(1), share(iops_max(100), &env))]));
        let began = env.clock.now();
        let data = || env.buffers.copy_of(&[0; 512]);
        let flags = WriteFlags::default();
        for _ in 0..10 {
            volume.read(0, 4096).await.unwrap();
            volume.write(0, data(), flags).await.unwrap();
            volume.write_atomic(0, data(), flags).await.unwrap();
            volume.compare_and_write(0, data(), data(), flags).await.unwrap();
            volume.write_zeroes(0, 4096, ZeroMode::MayUnmap, flags).await.unwrap();
            volume.discard(0, 4096, flags).await.unwrap();
            volume.flush().await.unwrap();
            volume.extents(0, 4096, 1).await.unwrap();
        }
        let took = env.clock.now() - began;
        assert!((0.76..0.82).contains(&took.as_secs_f64()), "{took:?}");
        assert_eq!(below.begun.borrow().len(), 80);
        let stats = qos.stats()[0].1;
        assert_eq!((stats.ios, stats.waiting, stats.in_flight), (80, 0, 0));
        assert!(stats.waited[Cause::Volume as usize] > Duration::from_millis(700));
        assert_eq!(stats.waited_in_all(), stats.waited[Cause::Volume as usize]);
        // Other settings count at once, none at all too.
        qos.apply(table(false, []));
        assert!(qos.gate(id(1)).is_open());
    });
}

#[test]
fn what_waits_is_not_begun_and_what_is_given_up_never_is() {
    on_core(|env, qos, below, volume| async move {
        qos.apply(table(false, [(id(1), share(iops_max(10), &env))]));
        volume.read(0, 512).await.unwrap();
        let gate = qos.gate(id(1));
        let (mut given_up, mut kept) = (volume.discard(0, 512, WriteFlags::default()), volume.flush());
        assert!(futures::poll!(&mut given_up).is_pending() && futures::poll!(&mut kept).is_pending());
        assert_eq!((gate.waiting(), below.begun.borrow().len()), (2, 1));
        drop(given_up);
        assert_eq!(gate.waiting(), 1);
        kept.await.unwrap();
        assert_eq!(*below.begun.borrow(), ["read", "flush"]);
        // One whose turn comes while nobody looks any more gives it to the next.
        let mut late = volume.read(0, 512);
        assert!(futures::poll!(&mut late).is_pending());
        env.clock.sleep(Duration::from_secs(1)).await;
        drop(late);
        let stats = qos.stats()[0].1;
        assert_eq!((stats.waiting, stats.in_flight), (0, 0));
        volume.read(0, 512).await.unwrap();
        assert_eq!(below.begun.borrow().len(), 3);
    });
}

#[test]
fn a_live_change_lets_go_on_what_waits() {
    on_core(|env, qos, _, volume| async move {
        qos.apply(table(false, [(id(1), share(Rates { iops_max: Some(1), ..Rates::default() }, &env))]));
        volume.read(0, 512).await.unwrap();
        let mut waits = volume.read(0, 512);
        assert!(futures::poll!(&mut waits).is_pending());
        let began = env.clock.now();
        qos.apply(table(false, []));
        waits.await.unwrap();
        assert!(env.clock.now() - began < Duration::from_millis(1));
    });
}

#[test]
fn a_volume_that_another_core_serves_is_not_counted_twice() {
    on_core(|env, qos, _, volume| async move {
        let place = Place { core: Some(1), share: Some(share(iops_max(1), &env)) };
        qos.apply(Arc::new(Table { is_sharing: true, volumes: [(id(1), place)].into() }));
        assert!(qos.gate(id(1)).is_open());
        volume.read(0, 512).await.unwrap();
        volume.read(0, 512).await.unwrap();
    });
}

#[test]
fn background_work_takes_turns_and_none_while_hosts_wait_for_space() {
    on_core(|env, qos, _, volume| async move {
        let rates = Rates { iops_min: Some(100), ..Rates::default() };
        qos.apply(table(true, [(id(1), share(rates, &env))]));
        assert!(!qos.gate(id(9)).is_open(), "all of the core's volumes take turns");
        volume.read(0, 512).await.unwrap();
        // All the room is taken, and whoever has it waits for what the cleaner gains.
        let hog = qos.gate(id(2));
        let mut held = Vec::new();
        while let Some(turn) = futures::FutureExt::now_or_never(hog.turn(Cost::of_bytes(1 << 20))) {
            held.push(turn);
        }
        let began = env.clock.now();
        // The reservation of cleaning needs no room: 64 pieces of 1 MiB at 32 MiB a second.
        for _ in 0..64 {
            let turn = qos.turn(Work::Cleaning, 1 << 20).expect("requests are scheduled");
            drop(turn.await);
        }
        let took = (env.clock.now() - began).as_secs_f64();
        assert!((1.8..2.1).contains(&took), "{took}");
        let mut waits = std::pin::pin!(async { qos.turn(Work::Cleaning, 64 << 20).unwrap().await });
        assert!(futures::poll!(&mut waits).is_pending() || took > 0.0);
        let again = qos.turn(Work::Cleaning, 64 << 20);
        let mut again = again.expect("it still takes turns");
        assert!(futures::poll!(&mut again).is_pending());
        qos.hurry();
        assert!(qos.turn(Work::Cleaning, 1 << 20).is_none());
        assert!(qos.turn(Work::Scrub, 1 << 20).is_some(), "nobody waits for a scrub");
        let before = env.clock.now();
        drop(again.await);
        assert_eq!(env.clock.now(), before);
        env.clock.sleep(Duration::from_secs(2)).await;
        assert!(qos.turn(Work::Cleaning, 1 << 20).is_some());
        drop(held);
    });
}

#[test]
fn a_missed_latency_target_leaves_less_under_way_on_every_core() {
    let world = World::new(1, Config::default());
    let process = world.process(1);
    let env = process.env(0);
    let task = async move {
        let board = Board::new(2);
        let (one, other) = (CoreQos::new(env.clone(), 0, board.clone()), CoreQos::new(env.clone(), 1, board));
        let target = Share::new(None, Some(Duration::from_micros(100)), []);
        let all = table(true, [(id(1), target)]);
        one.apply(all.clone());
        other.apply(all);
        let takes = Duration::from_micros(500);
        let below = Rc::new(Slow { env: env.clone(), takes, begun: RefCell::default() });
        let volume = QosVolume::new(below, one.gate(id(1)));
        let before = one.window_units().unwrap();
        for _ in 0..400 {
            volume.read(0, 512).await.unwrap();
        }
        let after = one.window_units().unwrap();
        assert!(after < before / 4, "{after} {before}");
        let room = |qos: &CoreQos| {
            let (gate, mut held) = (qos.gate(id(7)), Vec::new());
            while let Some(turn) = futures::FutureExt::now_or_never(gate.turn(Cost::of_bytes(512))) {
                held.push(turn);
            }
            held.len()
        };
        assert!(room(&other) <= 8, "{}", room(&other));
        env.clock.sleep(Duration::from_secs(1)).await;
        assert!(room(&other) > 15, "what a core said some time ago does not count any more");
    };
    world.block_on(&process, 0, task, LIMIT).unwrap_or_else(|stuck| panic!("{stuck}"));
}
