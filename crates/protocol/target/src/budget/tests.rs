use std::io;

use futures::task::noop_waker_ref;
use quarry_env::{Buffer, Completion, DetachedStream, View};

use super::*;
use crate::limits::{SESSION_BYTES_GUARANTEED, SESSION_BYTES_MAX, SHARE, STALL_TIME_MAX};

const MIB: u64 = 1 << 20;

/// Knows whether it was shut down.
#[derive(Default)]
struct Recorder(Cell<bool>);

impl Stream for Recorder {
    fn receive(&self, buffer: Buffer, _: usize) -> Completion<(Buffer, io::Result<usize>)> {
        Completion::ready((buffer, Ok(0)))
    }
    fn send(&self, _: Vec<View>) -> Completion<io::Result<()>> {
        Completion::ready(Ok(()))
    }
    fn shutdown(&self) {
        self.0.set(true);
    }
    fn detach(self: Rc<Self>) -> DetachedStream {
        DetachedStream(Box::new(()))
    }
}

fn join(budget: &Budget) -> (Rc<Recorder>, Share) {
    let stream = Rc::new(Recorder::default());
    (stream.clone(), budget.join(stream))
}

/// Takes MiB after MiB as long as it may; returns how many.
fn grab(share: &Share) -> u64 {
    (0..1000).take_while(|_| share.try_take(MIB).is_ok()).count() as u64
}

#[test]
fn greedy_sessions_leave_a_part_for_the_next() {
    let budget = Budget::new(120 * MIB, SHARE);
    let greedy: Vec<Share> = (0..3).map(|_| join(&budget).1).collect();
    (0..100).for_each(|_| greedy.iter().for_each(|share| _ = share.try_take(MIB)));
    let held: Vec<u64> = greedy.iter().map(|share| share.member.held_bytes.get() / MIB).collect();
    assert_eq!(held, [30, 30, 30]);
    assert!(grab(&join(&budget).1) >= 15);
}

#[test]
fn a_session_alone_is_bounded_by_its_own_limit() {
    let budget = Budget::new(1000 * MIB, SHARE);
    let (_, share) = join(&budget);
    assert_eq!(grab(&share) * MIB, SESSION_BYTES_MAX);
    assert_eq!(share.try_take(1), Err(Shortage::Session));
    share.give_back(MIB);
    assert_eq!(grab(&share), 1);
}

#[test]
fn a_little_is_always_granted_and_all_comes_back() {
    let budget = Budget::new(MIB, SHARE);
    let (_, hog) = join(&budget);
    hog.try_take(32 * MIB).expect("the first one may exceed a small budget");
    let (_, share) = join(&budget);
    assert_eq!(share.try_take(MIB), Err(Shortage::Core));
    assert_eq!(share.try_take(SESSION_BYTES_GUARANTEED), Ok(()));
    drop(hog);
    share.give_back(SESSION_BYTES_GUARANTEED);
    drop(share);
    assert_eq!(budget.0.used_bytes.get(), 0);
    assert!(budget.0.members.borrow().is_empty());
}

#[test]
fn waiters_are_woken_once_each() {
    let budget = Budget::new(MIB, SHARE);
    let (_, share) = join(&budget);
    assert_eq!(share.try_take(MIB), Ok(()));
    share.wait(noop_waker_ref());
    share.wait(noop_waker_ref());
    assert_eq!(budget.0.waiters.borrow().len(), 1);
    share.give_back(MIB);
    assert!(budget.0.waiters.borrow().is_empty());
}

#[test]
fn only_clients_that_take_nothing_are_cut_off() {
    let budget = Budget::new(MIB, SHARE);
    let ((dead, dead_share), (slow, slow_share), (idle, _idle_share)) =
        (join(&budget), join(&budget), join(&budget));
    for share in [&dead_share, &slow_share] {
        assert_eq!(share.try_take(1000), Ok(()));
        share.send_began();
    }
    dead_share.cut_off_stalled(Duration::ZERO);
    slow_share.send_ended();
    slow_share.send_began();
    dead_share.cut_off_stalled(STALL_TIME_MAX - Duration::from_secs(1));
    assert!(!dead.0.get());
    dead_share.cut_off_stalled(STALL_TIME_MAX);
    assert_eq!([dead.0.get(), slow.0.get(), idle.0.get()], [true, false, false]);
}

#[test]
fn clients_that_do_not_send_what_they_were_asked_for_are_cut_off() {
    let budget = Budget::new(MIB, SHARE);
    let ((dead, dead_share), (slow, slow_share)) = (join(&budget), join(&budget));
    for share in [&dead_share, &slow_share] {
        assert_eq!(share.try_take(1000), Ok(()));
        share.set_awaits(true);
    }
    dead_share.cut_off_stalled(Duration::ZERO);
    slow_share.arrived();
    // Whoever takes the answers to other commands does nothing for what it was asked for.
    dead_share.send_began();
    dead_share.send_ended();
    dead_share.cut_off_stalled(STALL_TIME_MAX);
    assert_eq!([dead.0.get(), slow.0.get()], [true, false]);
    slow_share.set_awaits(false);
    slow_share.cut_off_stalled(3 * STALL_TIME_MAX);
    assert!(!slow.0.get(), "nothing is up to it");
}
