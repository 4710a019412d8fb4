//! The reservations of one volume, as the sessions of all cores see them.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use futures::lock::Mutex as Turns;
use quarry_types::VolumeId;

use super::change::{Change, Told};
use super::table::ReservationStore;
use super::{Action, Initiator, Notice, ReservationError, ReservationKey, ReservationState};
use crate::{Stop, Stopped};

/// Who hears of what others change: a session. Called from any core, so it takes a note and wakes its session.
pub trait Watcher: Send + Sync {
    /// Something that concerns the session has changed.
    fn notice(&self, notice: Notice);
}

/// Nothing that happens to reservations changes what a session without a key has of them, but its rights, which it looks up.
struct Deaf;

impl Watcher for Deaf {
    fn notice(&self, _: Notice) {}
}

/// Held by everybody whose commands are to end; see [`Notice::Abort`].
#[derive(Clone)]
pub struct Drain {
    last: Arc<Last>,
}

struct Last(Stop);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Drain")
    }
}

/// Resolves when every clone of a [`Drain`] is gone.
#[must_use = "what is to end has not ended yet"]
pub struct Drained(Stop);

impl Drain {
    /// One, and what waits for the end of its last clone.
    pub fn new() -> (Self, Drained) {
        let stop = Stop::default();
        (Self { last: Arc::new(Last(stop.clone())) }, Drained(stop))
    }

    /// What its clones have in common.
    pub fn id(&self) -> DrainId {
        DrainId(Arc::downgrade(&self.last))
    }
}

/// Tells clones of one [`Drain`] from others, and holds up nobody.
pub struct DrainId(Weak<Last>);

impl DrainId {
    /// Whether `drain` is a clone of the one.
    pub fn is(&self, drain: &Drain) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&drain.last))
    }
}

impl Drained {
    /// Waits.
    pub fn wait(&self) -> Stopped {
        self.0.stopped()
    }
}

struct Attached {
    number: u64,
    initiator: Initiator,
    watcher: Arc<dyn Watcher>,
}

#[derive(Default)]
struct Inside {
    state: ReservationState,
    /// The session that has the volume for itself (SPC-2 RESERVE).
    exclusive: Option<u64>,
    members: Vec<Attached>,
    next_member: u64,
}

/// The reservations of one volume.
pub struct VolumeReservations {
    volume: VolumeId,
    store: Arc<dyn ReservationStore>,
    /// Grows with each change, so that sessions know when their rights may be other ones.
    epoch: AtomicU64,
    inside: Mutex<Inside>,
    /// Changes are made one after the other, each saved before it counts.
    turns: Turns<()>,
}

/// What came of an action.
pub struct Done {
    /// Resolves when the commands of preempted sessions have ended.
    pub aborted: Option<Drained>,
}

impl VolumeReservations {
    pub(super) fn new(
        volume: VolumeId,
        store: Arc<dyn ReservationStore>,
        state: ReservationState,
    ) -> Arc<Self> {
        Arc::new(Self {
            volume,
            store,
            epoch: AtomicU64::new(1),
            inside: Mutex::new(Inside { state, ..Inside::default() }),
            turns: Turns::new(()),
        })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("nothing panics while it holds the reservations of a volume")
    }

    /// The state now.
    pub fn state(&self) -> ReservationState {
        self.inside().state.clone()
    }

    /// Takes in a session of `initiator`.
    pub fn attach(self: &Arc<Self>, initiator: Initiator, watcher: Arc<dyn Watcher>) -> Member {
        let mut inside = self.inside();
        inside.next_member += 1;
        let number = inside.next_member;
        inside.members.push(Attached { number, initiator: initiator.clone(), watcher });
        drop(inside);
        let rights = Cell::new(Rights { epoch: 0, read: false, write: false, apart: false });
        Member { volume: self.clone(), number, initiator, rights }
    }

    /// Takes in a session of a protocol that knows no reservations. It is a host without a key: it cannot have one, is kept out as
    /// such a host is, and there is nothing to tell it. `session` is another one for each.
    pub fn attach_keyless(self: &Arc<Self>, session: impl fmt::Display) -> Member {
        self.attach(Initiator(session.to_string().into()), Arc::new(Deaf))
    }

    /// Does `action` for `initiator`, which says that its key is `key`. Complete when it counts.
    pub async fn perform(
        &self,
        initiator: &Initiator,
        key: ReservationKey,
        action: Action,
    ) -> Result<Done, ReservationError> {
        let _turn = self.turns.lock().await;
        let before = self.state();
        let change = before.change(initiator, key, action)?;
        let (kept, keep) = (before.persists, change.next.persists);
        if keep || kept {
            let saved = if keep { change.next.clone() } else { ReservationState::default() };
            self.store.save(self.volume, saved).await.map_err(|error| {
                tracing::error!(volume = %self.volume, %error, "reservations cannot be saved");
                ReservationError::NotKept
            })?;
        }
        Ok(self.publish(change))
    }

    fn publish(&self, change: Change) -> Done {
        let (drain, drained) = Drain::new();
        let mut inside = self.inside();
        inside.state = change.next;
        // Before anybody is told: who hears of it finds its new rights.
        self.epoch.fetch_add(1, Ordering::SeqCst);
        let members =
            |initiator: Initiator| inside.members.iter().filter(move |member| member.initiator == initiator);
        for (initiator, told) in change.told {
            members(initiator).for_each(|member| member.watcher.notice(told.into()));
        }
        let aborts = !change.aborted.is_empty();
        for initiator in change.aborted {
            members(initiator).for_each(|member| member.watcher.notice(Notice::Abort(drain.clone())));
        }
        Done { aborted: aborts.then_some(drained) }
    }

    /// Resolves when what the sessions have under way on the volume now has ended: when somebody has seen the last of it after
    /// access was withdrawn. Sessions of protocols without reservations are not asked.
    pub fn settle(&self) -> Drained {
        let (drain, drained) = Drain::new();
        let members = &self.inside().members;
        members.iter().for_each(|member| member.watcher.notice(Notice::Settle(drain.clone())));
        drained
    }

    /// Whether some session has the volume for itself ([`Member::reserve_exclusively`]).
    pub fn is_exclusive(&self) -> bool {
        self.inside().exclusive.is_some()
    }

    /// Ends what [`Member::reserve_exclusively`] began, whoever it was: a reset of the volume.
    pub fn end_exclusive(&self) {
        if self.inside().exclusive.take().is_some() {
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl From<Told> for Notice {
    fn from(told: Told) -> Self {
        match told {
            Told::ReservationPreempted => Self::ReservationPreempted,
            Told::RegistrationPreempted => Self::RegistrationPreempted,
            Told::ReservationReleased => Self::ReservationReleased,
        }
    }
}

#[derive(Clone, Copy)]
struct Rights {
    epoch: u64,
    read: bool,
    write: bool,
    /// Another session has the volume for itself.
    apart: bool,
}

/// A session's place at a volume. Dropping it is how it leaves; its initiator's registration stays.
pub struct Member {
    volume: Arc<VolumeReservations>,
    number: u64,
    initiator: Initiator,
    rights: Cell<Rights>,
}

impl Member {
    fn rights(&self) -> Rights {
        let rights = self.rights.get();
        if rights.epoch == self.volume.epoch.load(Ordering::Acquire) { rights } else { self.look_again() }
    }

    #[cold]
    fn look_again(&self) -> Rights {
        let inside = self.volume.inside();
        let epoch = self.volume.epoch.load(Ordering::Acquire);
        let apart = inside.exclusive.is_some_and(|number| number != self.number);
        let (read, write) = inside.state.rights_of(&self.initiator);
        let rights = Rights { epoch, read: read && !apart, write: write && !apart, apart };
        self.rights.set(rights);
        rights
    }

    /// Whether it may read.
    pub fn may_read(&self) -> bool {
        self.rights().read
    }

    /// Whether it may change anything.
    pub fn may_write(&self) -> bool {
        self.rights().write
    }

    /// Whether another session has the volume for itself, which keeps out even what persistent reservations allow.
    pub fn is_kept_out(&self) -> bool {
        self.rights().apart
    }

    /// The reservations of the volume.
    pub fn reservations(&self) -> &Arc<VolumeReservations> {
        &self.volume
    }

    /// Whose session it is.
    pub fn initiator(&self) -> &Initiator {
        &self.initiator
    }

    /// Has the volume for itself until [`Self::end_exclusive`] or its end (SPC-2 RESERVE). Not possible where anybody has
    /// registered.
    pub fn reserve_exclusively(&self) -> Result<(), ReservationError> {
        let mut inside = self.volume.inside();
        let taken = inside.exclusive.is_some_and(|number| number != self.number);
        if taken || !inside.state.registrations.is_empty() {
            return Err(ReservationError::Conflict);
        }
        inside.exclusive = Some(self.number);
        self.volume.epoch.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Ends what [`Self::reserve_exclusively`] began, if it was this session.
    pub fn end_exclusive(&self) {
        let mut inside = self.volume.inside();
        if inside.exclusive == Some(self.number) {
            inside.exclusive = None;
            self.volume.epoch.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end_exclusive();
        self.volume.inside().members.retain(|member| member.number != self.number);
    }
}
