//! Persistent reservations (SPC-5 5.13, NVMe Base 2.0 8.19), for every protocol alike.
//!
//! What it is: [`ReservationState`], a pure state machine of one volume: who is registered under which key, who holds the
//! reservation, of which kind; [`VolumeReservations`], that state shared by the sessions of all cores; [`Reservations`], the
//! table of a node, with the hook by which states survive power loss ([`ReservationStore`]).
//!
//! Invariants:
//! - A command that no reservation concerns costs one load of an atomic ([`Member::may_read`], [`Member::may_write`]).
//! - A change counts, and is answered, only when the store has it, if it is to survive power loss.
//! - Whoever holds the reservation is registered, except where every registrant holds it.
//! - At most [`REGISTRATIONS_MAX`](crate::limits::REGISTRATIONS_MAX) registrations a volume.

mod change;
mod shared;
mod table;

use std::fmt;
use std::sync::Arc;

use crate::limits::REGISTRATIONS_MAX;

pub use shared::{Done, Drain, DrainId, Drained, Member, VolumeReservations, Watcher};
pub use table::{ReservationStore, Reservations, StoreError};

/// Who registers: an initiator port of iSCSI (`NAME,i,0xISID`, as SPC-5 7.6.4.6 writes it) or a host identifier of NVMe in
/// hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Initiator(pub Arc<str>);

impl fmt::Display for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number under which an initiator registers; 0 stands for none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ReservationKey(pub u64);

/// Whom a reservation keeps out, and from what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReservationKind {
    /// The holder writes, all read.
    WriteExclusive,
    /// The holder writes and reads.
    ExclusiveAccess,
    /// Registrants write, all read.
    WriteExclusiveRegistrants,
    /// Registrants write and read.
    ExclusiveAccessRegistrants,
    /// Registrants write, all read; every registrant holds the reservation.
    WriteExclusiveAll,
    /// Registrants write and read; every registrant holds the reservation.
    ExclusiveAccessAll,
}

impl ReservationKind {
    /// Every kind, for tables that map all of them.
    pub const ALL: [Self; 6] = [
        Self::WriteExclusive,
        Self::ExclusiveAccess,
        Self::WriteExclusiveRegistrants,
        Self::ExclusiveAccessRegistrants,
        Self::WriteExclusiveAll,
        Self::ExclusiveAccessAll,
    ];

    /// Whether others may read.
    pub fn lets_others_read(self) -> bool {
        matches!(self, Self::WriteExclusive | Self::WriteExclusiveRegistrants | Self::WriteExclusiveAll)
    }

    /// Whether registrants may do what the holder may.
    pub fn is_for_registrants(self) -> bool {
        !matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }

    /// Whether every registrant is a holder.
    pub fn is_held_by_all(self) -> bool {
        matches!(self, Self::WriteExclusiveAll | Self::ExclusiveAccessAll)
    }
}

/// An initiator and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Who.
    pub initiator: Initiator,
    /// Under which key, never 0.
    pub key: ReservationKey,
}

/// The reservation of a volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// Whom it keeps out.
    pub kind: ReservationKind,
    /// Who made it. Of the kinds that are held by all, any registrant is a holder, and this one may be gone.
    pub holder: Initiator,
}

/// What is registered and reserved of a volume: what a store keeps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReservationState {
    /// Grows with each change of registrations; 0 after a restart.
    pub generation: u32,
    /// Whether all of it is to survive power loss.
    pub persists: bool,
    /// In order of registration.
    pub registrations: Vec<Registration>,
    /// The reservation, if there is one.
    pub reservation: Option<Reservation>,
}

/// A change that an initiator asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Registers under `new_key`, or ends the registration where that is 0.
    Register {
        /// The new key.
        new_key: ReservationKey,
        /// Whether the key that the initiator has does not matter.
        ignore_existing: bool,
        /// Whether everything is to survive power loss from now on; `None` leaves that as it is.
        persists: Option<bool>,
    },
    /// Reserves the volume.
    Reserve {
        /// Whom it keeps out.
        kind: ReservationKind,
    },
    /// Gives the reservation back.
    Release {
        /// The kind that it has.
        kind: ReservationKind,
    },
    /// Gives the reservation to another initiator, which need not be registered yet. Not one that is held by all.
    Move {
        /// Who gets it.
        to: Initiator,
        /// The key under which that one is registered then, not 0.
        new_key: ReservationKey,
        /// Whether the registration of whoever gives it ends.
        unregister: bool,
        /// Whether everything is to survive power loss from now on.
        persists: bool,
    },
    /// Ends the reservation and all registrations.
    Clear,
    /// Ends the registrations under a key, and takes over the reservation if it is theirs.
    Preempt {
        /// Their key; 0 for everybody else, where the reservation is held by all.
        victim: ReservationKey,
        /// The kind that the reservation has afterwards.
        kind: ReservationKind,
        /// Whether what they have asked for already is to end first.
        abort: bool,
    },
}

/// Why a change is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReservationError {
    /// Another initiator stands in the way, or the key is not the initiator's.
    #[error("the volume is reserved, or the key is another one")]
    Conflict,
    /// The reservation is of another kind than the one to be released.
    #[error("the reservation is of another kind")]
    WrongKind,
    /// There is no reservation to be moved.
    #[error("there is no reservation")]
    NoReservation,
    /// The key of those to be preempted is 0.
    #[error("nobody has the key 0")]
    NoVictim,
    /// The table is full.
    #[error("a volume has at most {REGISTRATIONS_MAX} registrations")]
    TooMany,
    /// The store cannot keep the change, so it does not count.
    #[error("the reservations cannot be kept over a loss of power")]
    NotKept,
}

/// What a session is told when others have changed what concerns it.
#[derive(Clone, Debug)]
pub enum Notice {
    /// All registrations and the reservation were cleared.
    ReservationPreempted,
    /// Its registration was taken away.
    RegistrationPreempted,
    /// The reservation that it had a part in is gone, or became another one.
    ReservationReleased,
    /// What it has under way on the volume must end. Whoever asked for it waits until every clone of the value is dropped.
    Abort(Drain),
    /// Whoever sent it waits in the same way for the end of what the session has under way on the volume, which goes on.
    Settle(Drain),
}

impl ReservationState {
    /// The key of an initiator, if it is registered.
    pub fn key_of(&self, initiator: &Initiator) -> Option<ReservationKey> {
        let found = self.registrations.iter().find(|registration| registration.initiator == *initiator);
        found.map(|registration| registration.key)
    }

    /// Whether an initiator holds the reservation.
    pub fn is_holder(&self, initiator: &Initiator) -> bool {
        self.reservation.as_ref().is_some_and(|reservation| match reservation.kind.is_held_by_all() {
            true => self.key_of(initiator).is_some(),
            false => reservation.holder == *initiator,
        })
    }

    /// Whether an initiator may read, and whether it may write.
    pub fn rights_of(&self, initiator: &Initiator) -> (bool, bool) {
        let Some(Reservation { kind, .. }) = self.reservation else { return (true, true) };
        let registered = || self.key_of(initiator).is_some();
        let inside = self.is_holder(initiator) || (kind.is_for_registrants() && registered());
        (inside || kind.lets_others_read(), inside)
    }
}

#[cfg(test)]
mod tests;
