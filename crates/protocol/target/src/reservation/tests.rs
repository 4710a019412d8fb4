use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;
use quarry_types::VolumeId;

use super::change::Told;
use super::*;

use ReservationKind::{ExclusiveAccess, WriteExclusive, WriteExclusiveAll, WriteExclusiveRegistrants};

fn initiator(name: &str) -> Initiator {
    Initiator(name.into())
}

fn register(key: u64) -> Action {
    Action::Register { new_key: ReservationKey(key), ignore_existing: false, persists: None }
}

fn preempt(victim: u64, kind: ReservationKind, abort: bool) -> Action {
    Action::Preempt { victim: ReservationKey(victim), kind, abort }
}

fn give(to: &str, new_key: u64, unregister: bool) -> Action {
    let new_key = ReservationKey(new_key);
    Action::Move { to: initiator(to), new_key, unregister, persists: false }
}

/// A state, and what its initiators were told.
#[derive(Default)]
struct Model(ReservationState);

impl Model {
    /// `a`, `b` and `c` under the keys 1, 2 and 3.
    fn registered() -> Self {
        let mut model = Self::default();
        for (name, key) in [("a", 1), ("b", 2), ("c", 3)] {
            model.act(name, 0, register(key)).expect("room");
        }
        model
    }

    fn act(&mut self, name: &str, key: u64, action: Action) -> Result<Vec<(String, Told)>, ReservationError> {
        let change = self.0.change(&initiator(name), ReservationKey(key), action)?;
        self.0 = change.next;
        Ok(change.told.into_iter().map(|(who, told)| (who.0.to_string(), told)).collect())
    }

    fn reserve(&mut self, name: &str, key: u64, kind: ReservationKind) {
        assert_eq!(self.act(name, key, Action::Reserve { kind }), Ok(vec![]));
    }

    /// `rw` for each of `a`, `b`, `c`, and `x`, who is not registered.
    fn rights(&self) -> String {
        let of = |name| match self.0.rights_of(&initiator(name)) {
            (true, true) => "rw ",
            (true, false) => "r- ",
            (false, false) => "-- ",
            (false, true) => "-w ",
        };
        ["a", "b", "c", "x"].map(of).concat().trim_end().to_owned()
    }

    fn names(&self) -> String {
        self.0.registrations.iter().map(|one| one.initiator.0.to_string()).collect()
    }
}

fn told(names: &[&str], what: Told) -> Result<Vec<(String, Told)>, ReservationError> {
    Ok(names.iter().map(|&name| (name.to_owned(), what)).collect())
}

#[test]
fn each_kind_keeps_out_whom_it_should() {
    let expected = ["rw r- r- r-", "rw -- -- --", "rw rw rw r-", "rw rw rw --", "rw rw rw r-", "rw rw rw --"];
    for (kind, expected) in ReservationKind::ALL.into_iter().zip(expected) {
        let mut model = Model::registered();
        assert_eq!(model.rights(), "rw rw rw rw");
        model.reserve("a", 1, kind);
        assert_eq!(model.rights(), expected, "{kind:?}");
        model.reserve("a", 1, kind);
        let others = model.act("b", 2, Action::Reserve { kind });
        let expected = if kind.is_held_by_all() { Ok(vec![]) } else { Err(ReservationError::Conflict) };
        assert_eq!(others, expected, "{kind:?}");
    }
}

#[test]
fn registrations_need_the_right_key() {
    let mut model = Model::default();
    assert_eq!(model.act("a", 5, register(1)), Err(ReservationError::Conflict), "it has no key yet");
    model.act("a", 0, register(1)).expect("it has none");
    assert_eq!(model.act("a", 0, register(2)), Err(ReservationError::Conflict), "it has one");
    model.act("a", 1, register(2)).expect("it is the right one");
    let ignoring =
        Action::Register { new_key: ReservationKey(3), ignore_existing: true, persists: Some(true) };
    model.act("a", 77, ignoring).expect("any key will do");
    assert_eq!((model.0.key_of(&initiator("a")), model.0.persists), (Some(ReservationKey(3)), true));
    assert_eq!(model.0.generation, 3);
    model.act("x", 0, register(0)).expect("nothing happens");
    assert_eq!((model.0.generation, model.names().as_str()), (3, "a"));
    for action in [Action::Clear, Action::Reserve { kind: WriteExclusive }, preempt(3, WriteExclusive, false)]
    {
        assert_eq!(model.act("a", 4, action.clone()), Err(ReservationError::Conflict), "{action:?}");
        assert_eq!(model.act("x", 0, action.clone()), Err(ReservationError::Conflict), "{action:?}");
    }
}

#[test]
fn registrations_are_bounded() {
    let mut model = Model::default();
    for number in 0..REGISTRATIONS_MAX {
        model.act(&number.to_string(), 0, register(1)).expect("room");
    }
    assert_eq!(model.act("one more", 0, register(1)), Err(ReservationError::TooMany));
    model.act("7", 1, register(0)).expect("registered");
    model.act("one more", 0, register(1)).expect("room again");
}

#[test]
fn a_reservation_ends_with_its_holder() {
    for (kind, released) in [(ExclusiveAccess, &[][..]), (WriteExclusiveRegistrants, &["b", "c"])] {
        let mut model = Model::registered();
        model.reserve("a", 1, kind);
        assert_eq!(model.act("a", 1, register(0)), told(released, Told::ReservationReleased), "{kind:?}");
        assert_eq!(model.0.reservation, None);
    }
    let mut model = Model::registered();
    model.reserve("a", 1, WriteExclusiveAll);
    for (name, key) in [("a", 1), ("b", 2)] {
        assert_eq!(model.act(name, key, register(0)), Ok(vec![]));
        assert!(model.0.reservation.is_some(), "others hold it still");
    }
    model.act("c", 3, register(0)).expect("registered");
    assert_eq!(model.0.reservation, None);
}

#[test]
fn only_the_holder_releases_and_only_what_there_is() {
    let release = |kind| Action::Release { kind };
    let mut model = Model::registered();
    assert_eq!(model.act("a", 1, release(WriteExclusive)), Ok(vec![]), "there is nothing to release");
    model.reserve("a", 1, WriteExclusiveRegistrants);
    assert_eq!(model.act("b", 2, release(WriteExclusiveRegistrants)), Ok(vec![]));
    assert!(model.0.reservation.is_some(), "it is another's");
    assert_eq!(model.act("a", 1, release(WriteExclusive)), Err(ReservationError::WrongKind));
    let generation = model.0.generation;
    let others = told(&["b", "c"], Told::ReservationReleased);
    assert_eq!(model.act("a", 1, release(WriteExclusiveRegistrants)), others);
    assert_eq!((model.0.reservation.as_ref(), model.0.generation), (None, generation));
}

#[test]
fn clearing_leaves_nothing() {
    let mut model = Model::registered();
    model.reserve("a", 1, ExclusiveAccess);
    assert_eq!(model.act("b", 2, Action::Clear), told(&["a", "c"], Told::ReservationPreempted));
    assert_eq!((model.names().as_str(), model.rights().as_str()), ("", "rw rw rw rw"));
}

#[test]
fn preempting_takes_over_a_reservation_or_registrations() {
    let mut model = Model::registered();
    model.reserve("a", 1, WriteExclusiveRegistrants);
    assert_eq!(model.act("b", 2, preempt(9, WriteExclusive, false)), Err(ReservationError::Conflict));
    assert_eq!(model.act("b", 2, preempt(0, WriteExclusive, false)), Err(ReservationError::NoVictim));
    assert_eq!(
        model.act("b", 2, preempt(3, WriteExclusive, false)),
        told(&["c"], Told::RegistrationPreempted)
    );
    assert_eq!(model.rights(), "rw rw r- r-", "the reservation stays as it is");
    assert_eq!(
        model.act("b", 2, preempt(1, ExclusiveAccess, false)),
        told(&["a"], Told::RegistrationPreempted)
    );
    assert_eq!((model.names().as_str(), model.rights().as_str()), ("b", "-- rw -- --"));
    assert_eq!(model.act("b", 2, preempt(2, WriteExclusive, false)), Ok(vec![]), "one's own kind changes so");
    assert_eq!((model.names().as_str(), model.rights().as_str()), ("b", "r- rw r- r-"));
}

#[test]
fn who_stays_registered_hears_that_the_kind_has_changed_whatever_it_was() {
    for (before, after) in [(WriteExclusive, ExclusiveAccess), (ExclusiveAccess, WriteExclusive)] {
        let mut model = Model::registered();
        model.reserve("a", 1, before);
        let gone = ("a".to_owned(), Told::RegistrationPreempted);
        let left = ("c".to_owned(), Told::ReservationReleased);
        assert_eq!(model.act("b", 2, preempt(1, after, false)), Ok(vec![gone, left]));
    }
}

/// How clusters fence a node.
#[test]
fn who_holds_a_reservation_keeps_it_when_it_preempts_another() {
    for kind in ReservationKind::ALL {
        let mut model = Model::registered();
        model.reserve("a", 1, kind);
        assert_eq!(model.act("a", 1, preempt(2, kind, true)), told(&["b"], Told::RegistrationPreempted));
        let held = model.0.reservation.clone().expect("it is still held");
        assert_eq!((held.kind, held.holder), (kind, initiator("a")), "{kind:?}");
        assert!(!model.0.rights_of(&initiator("b")).1, "{kind:?}: who is fenced does not write");
    }
}

#[test]
fn who_is_not_registered_changes_nothing_by_the_key_0() {
    let mut model = Model::registered();
    model.0.persists = true;
    let before = model.0.clone();
    let nothing =
        Action::Register { new_key: ReservationKey(0), ignore_existing: false, persists: Some(false) };
    assert_eq!(model.act("d", 0, nothing), Ok(vec![]));
    assert_eq!(model.0, before);
}

#[test]
fn a_reservation_of_all_goes_to_who_preempts_everybody() {
    let mut model = Model::registered();
    model.reserve("a", 1, WriteExclusiveAll);
    assert_eq!(
        model.act("c", 3, preempt(2, ExclusiveAccess, false)),
        told(&["b"], Told::RegistrationPreempted)
    );
    assert_eq!(model.0.reservation.as_ref().map(|held| held.kind), Some(WriteExclusiveAll));
    let change = model.0.change(&initiator("c"), ReservationKey(3), preempt(0, ExclusiveAccess, true));
    let change = change.expect("it is registered");
    assert_eq!(change.aborted, [initiator("a")]);
    model.0 = change.next;
    assert_eq!((model.names().as_str(), model.rights().as_str()), ("c", "-- -- rw --"));
}

#[derive(Default)]
struct Watch(Mutex<Vec<Notice>>);

impl Watch {
    fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.0.lock().expect("not poisoned"))
    }
}

impl Watcher for Watch {
    fn notice(&self, notice: Notice) {
        self.0.lock().expect("not poisoned").push(notice);
    }
}

#[derive(Default)]
struct Store {
    kept: Mutex<Vec<ReservationState>>,
    fails: AtomicBool,
}

impl ReservationStore for Store {
    fn save(&self, _: VolumeId, state: ReservationState) -> BoxFuture<'static, Result<(), StoreError>> {
        let result = match self.fails.load(Ordering::Relaxed) {
            true => Err("as the test wants it".into()),
            false => Ok(()),
        };
        self.kept.lock().expect("not poisoned").push(state);
        Box::pin(async { result })
    }
}

fn volume() -> VolumeId {
    VolumeId::from_random(7)
}

fn act(member: &Member, key: u64, action: Action) -> Result<Done, ReservationError> {
    let done = member.reservations().perform(member.initiator(), ReservationKey(key), action);
    done.now_or_never().expect("nothing waits here")
}

fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    future.poll_unpin(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_change_counts_only_when_it_is_kept() {
    let store = Arc::<Store>::default();
    let table = Reservations::new(store.clone());
    let member = table.of(volume()).attach(initiator("a"), Arc::<Watch>::default());
    let keep = |persists| Action::Register {
        new_key: ReservationKey(1),
        ignore_existing: true,
        persists: Some(persists),
    };
    act(&member, 0, keep(false)).expect("room");
    assert!(store.kept.lock().expect("not poisoned").is_empty(), "it is not to survive anything");
    store.fails.store(true, Ordering::Relaxed);
    assert_eq!(act(&member, 0, keep(true)).err(), Some(ReservationError::NotKept));
    assert!(!member.reservations().state().persists);
    store.fails.store(false, Ordering::Relaxed);
    act(&member, 0, keep(true)).expect("kept");
    act(&member, 1, Action::Reserve { kind: ExclusiveAccess }).expect("kept");
    let kept = store.kept.lock().expect("not poisoned").last().cloned().expect("kept");
    assert_eq!(kept, member.reservations().state());
    act(&member, 0, keep(false)).expect("forgotten");
    assert_eq!(store.kept.lock().expect("not poisoned").last(), Some(&ReservationState::default()));
    let after = Reservations::new(store.clone());
    after.restore(volume(), kept);
    let other = after.of(volume()).attach(initiator("b"), Arc::<Watch>::default());
    assert_eq!((other.may_read(), after.of(volume()).state().generation), (false, 0));
}

#[test]
fn without_a_store_nothing_survives_power_loss() {
    let table = Reservations::default();
    let member = table.of(volume()).attach(initiator("a"), Arc::<Watch>::default());
    let keep = Action::Register { new_key: ReservationKey(1), ignore_existing: false, persists: Some(true) };
    assert_eq!(act(&member, 0, keep).err(), Some(ReservationError::NotKept));
}

#[test]
fn sessions_hear_of_what_others_do_and_preemption_waits_for_their_commands() {
    let table = Reservations::default();
    let (mine, theirs) = (Arc::<Watch>::default(), Arc::<Watch>::default());
    let member = table.of(volume()).attach(initiator("a"), mine.clone());
    let victim = table.of(volume()).attach(initiator("b"), theirs.clone());
    act(&victim, 0, register(2)).expect("room");
    act(&victim, 2, Action::Reserve { kind: WriteExclusive }).expect("free");
    assert!(victim.may_write() && member.may_read() && !member.may_write());
    act(&member, 0, register(1)).expect("room");
    let done = act(&member, 1, preempt(2, WriteExclusive, true)).expect("registered");
    let drained = done.aborted.expect("there is somebody");
    let mut waiting = drained.wait();
    assert!(poll(&mut waiting).is_pending(), "the other session has not seen it");
    assert!(member.may_write() && !victim.may_write());
    let notices = theirs.take();
    assert!(matches!(notices[..], [Notice::RegistrationPreempted, Notice::Abort(_)]), "{notices:?}");
    drop(notices);
    assert!(poll(&mut waiting).is_ready());
    assert!(mine.take().is_empty());
}

#[test]
fn who_has_a_volume_for_itself_loses_it_with_its_session() {
    let table = Reservations::default();
    let attach = |name| table.of(volume()).attach(initiator(name), Arc::<Watch>::default());
    let (first, second) = (attach("a"), attach("a"));
    first.reserve_exclusively().expect("free");
    first.reserve_exclusively().expect("its own");
    assert_eq!(second.reserve_exclusively(), Err(ReservationError::Conflict));
    assert!(first.may_write() && !second.may_read() && second.is_kept_out());
    second.end_exclusive();
    assert!(second.is_kept_out(), "it is another's");
    drop(first);
    assert!(second.may_write());
    second.reserve_exclusively().expect("free again");
    table.of(volume()).end_exclusive();
    let third = attach("c");
    assert!(third.may_write());
    act(&third, 0, register(1)).expect("room");
    assert_eq!(second.reserve_exclusively(), Err(ReservationError::Conflict), "somebody has registered");
}

#[test]
fn a_reservation_is_given_to_another_initiator() {
    let mut model = Model::registered();
    assert_eq!(model.act("a", 1, give("x", 9, false)), Err(ReservationError::NoReservation));
    model.reserve("a", 1, WriteExclusive);
    for (name, key) in [("b", 2), ("a", 7), ("x", 0)] {
        assert_eq!(model.act(name, key, give("x", 9, false)), Err(ReservationError::Conflict), "{name}");
    }
    let generation = model.0.generation;
    assert_eq!(model.act("a", 1, give("x", 9, false)), Ok(vec![]));
    assert_eq!((model.rights().as_str(), model.0.generation), ("r- r- r- rw", generation + 1));
    assert_eq!(model.0.key_of(&initiator("x")), Some(ReservationKey(9)));
    assert_eq!(model.0.key_of(&initiator("a")), Some(ReservationKey(1)), "it stays registered");
    // To one that has a key already, and the former holder leaves.
    assert_eq!(model.act("x", 9, give("b", 5, true)), Ok(vec![]));
    assert_eq!((model.0.key_of(&initiator("x")), model.rights().as_str()), (None, "r- rw r- r-"));
    assert_eq!(model.0.key_of(&initiator("b")), Some(ReservationKey(5)));
}

#[test]
fn what_all_hold_cannot_be_given() {
    let mut model = Model::registered();
    model.reserve("a", 1, WriteExclusiveAll);
    assert_eq!(model.act("a", 1, give("x", 9, false)), Err(ReservationError::Conflict));
}
