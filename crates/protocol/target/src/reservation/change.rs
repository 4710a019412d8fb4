//! The state machine: what becomes of a state by an action, and who is to be told.

use super::{
    Action, Initiator, Registration, Reservation, ReservationError, ReservationKey, ReservationKind,
    ReservationState,
};
use crate::limits::REGISTRATIONS_MAX;

/// Why somebody is told, apart from the end of what they have under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    ReservationPreempted,
    RegistrationPreempted,
    ReservationReleased,
}

/// What an action comes to.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Change {
    pub(super) next: ReservationState,
    pub(super) told: Vec<(Initiator, Told)>,
    /// Whose commands are to end first.
    pub(super) aborted: Vec<Initiator>,
}

impl ReservationState {
    /// What `action` of `initiator`, which says that its key is `key`, makes of this state.
    pub(super) fn change(
        &self,
        initiator: &Initiator,
        key: ReservationKey,
        action: Action,
    ) -> Result<Change, ReservationError> {
        let mut change = Change { next: self.clone(), told: Vec::new(), aborted: Vec::new() };
        if let Action::Register { new_key, ignore_existing, persists } = action {
            let own = self.key_of(initiator);
            if !ignore_existing && own.unwrap_or_default() != key {
                return Err(ReservationError::Conflict);
            }
            if own.is_none() && new_key == ReservationKey(0) {
                // Who is not registered does not become so by the key 0: nothing changes, nor what survives power loss.
                return Ok(change);
            }
            change.register(initiator, new_key)?;
            change.next.persists = persists.unwrap_or(self.persists);
            return Ok(change);
        }
        if self.key_of(initiator) != Some(key) {
            return Err(ReservationError::Conflict);
        }
        match action {
            Action::Register { .. } => unreachable!("it was dealt with above"),
            Action::Reserve { kind } => change.reserve(initiator, kind)?,
            Action::Release { kind } => change.release(initiator, kind)?,
            Action::Move { to, new_key, unregister, persists } => {
                change.give(initiator, to, new_key, unregister)?;
                change.next.persists = persists;
            }
            Action::Clear => change.clear(initiator),
            Action::Preempt { victim, kind, abort } => change.preempt(initiator, victim, kind, abort)?,
        }
        Ok(change)
    }
}

impl Change {
    fn register(&mut self, initiator: &Initiator, new_key: ReservationKey) -> Result<(), ReservationError> {
        let next = &mut self.next;
        let place = next.registrations.iter().position(|one| one.initiator == *initiator);
        match (place, new_key) {
            (None, key) => {
                if next.registrations.len() >= REGISTRATIONS_MAX {
                    return Err(ReservationError::TooMany);
                }
                next.registrations.push(Registration { initiator: initiator.clone(), key });
            }
            (Some(place), ReservationKey(0)) => {
                next.registrations.remove(place);
                self.unregistered(initiator);
            }
            (Some(place), key) => next.registrations[place].key = key,
        }
        self.count();
        Ok(())
    }

    fn count(&mut self) {
        self.next.generation = self.next.generation.wrapping_add(1);
    }

    /// A reservation ends with the registration of its holder; one that all hold with the last.
    fn unregistered(&mut self, initiator: &Initiator) {
        let Some(reservation) = &self.next.reservation else { return };
        let ends = match reservation.kind.is_held_by_all() {
            true => self.next.registrations.is_empty(),
            false => reservation.holder == *initiator,
        };
        if ends {
            self.end_reservation(initiator);
        }
    }

    /// Ends the reservation, and tells those who had a part in it, apart from `initiator`.
    fn end_reservation(&mut self, initiator: &Initiator) {
        let Some(reservation) = self.next.reservation.take() else { return };
        if reservation.kind.is_for_registrants() {
            self.tell_released(initiator);
        }
    }

    fn tell_released(&mut self, initiator: &Initiator) {
        let others = self.next.registrations.iter().filter(|one| one.initiator != *initiator);
        self.told.extend(others.map(|one| (one.initiator.clone(), Told::ReservationReleased)));
    }

    fn reserve(&mut self, initiator: &Initiator, kind: ReservationKind) -> Result<(), ReservationError> {
        match &self.next.reservation {
            None => {
                self.next.reservation = Some(Reservation { kind, holder: initiator.clone() });
                Ok(())
            }
            Some(reservation) if reservation.kind == kind && self.next.is_holder(initiator) => Ok(()),
            Some(_) => Err(ReservationError::Conflict),
        }
    }

    fn release(&mut self, initiator: &Initiator, kind: ReservationKind) -> Result<(), ReservationError> {
        if !self.next.is_holder(initiator) {
            return Ok(());
        }
        if self.next.reservation.as_ref().is_some_and(|reservation| reservation.kind != kind) {
            return Err(ReservationError::WrongKind);
        }
        self.end_reservation(initiator);
        Ok(())
    }

    /// REGISTER AND MOVE (SPC-5 5.13.8). Whoever gets the reservation hears nothing of it: the two have agreed on it.
    fn give(
        &mut self,
        initiator: &Initiator,
        to: Initiator,
        new_key: ReservationKey,
        unregister: bool,
    ) -> Result<(), ReservationError> {
        let Some(held) = self.next.reservation.clone() else { return Err(ReservationError::NoReservation) };
        if held.kind.is_held_by_all() || held.holder != *initiator {
            return Err(ReservationError::Conflict);
        }
        self.register(&to, new_key)?;
        self.next.reservation = Some(Reservation { holder: to, ..held });
        if unregister {
            self.next.registrations.retain(|one| one.initiator != *initiator);
        }
        Ok(())
    }

    fn clear(&mut self, initiator: &Initiator) {
        let all = std::mem::take(&mut self.next.registrations).into_iter();
        let others = all.map(|one| one.initiator).filter(|one| one != initiator);
        self.told.extend(others.map(|one| (one, Told::ReservationPreempted)));
        self.next.reservation = None;
        self.count();
    }

    fn preempt(
        &mut self,
        initiator: &Initiator,
        victim: ReservationKey,
        kind: ReservationKind,
        abort: bool,
    ) -> Result<(), ReservationError> {
        let held = self.next.reservation.clone();
        let by_all = held.as_ref().is_some_and(|held| held.kind.is_held_by_all());
        if victim == ReservationKey(0) && !by_all {
            return Err(ReservationError::NoVictim);
        }
        let takes_over = match &held {
            None => false,
            Some(_) if by_all => victim == ReservationKey(0),
            Some(held) => self.next.key_of(&held.holder) == Some(victim),
        };
        let before = self.next.registrations.len();
        let everybody = victim == ReservationKey(0);
        let (gone, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.next.registrations).into_iter().partition(|one| {
                let meant = everybody || one.key == victim;
                // Who takes over the reservation stays registered.
                meant && !(takes_over && one.initiator == *initiator)
            });
        self.next.registrations = left;
        if self.next.registrations.len() == before && !takes_over {
            return Err(ReservationError::Conflict);
        }
        let others = gone.into_iter().map(|one| one.initiator).filter(|one| one != initiator);
        for other in others {
            if abort {
                self.aborted.push(other.clone());
            }
            self.told.push((other, Told::RegistrationPreempted));
        }
        if takes_over {
            // SPC-5 5.13.11.3: whatever the type was, those who stay registered hear that it is another one.
            if held.is_some_and(|held| held.kind != kind) {
                self.tell_released(initiator);
            }
            self.next.reservation = Some(Reservation { kind, holder: initiator.clone() });
        } else if by_all && self.next.registrations.is_empty() {
            // It was the last registration of those who hold it together. That of a single holder cannot have gone: who preempts
            // that takes over.
            self.end_reservation(initiator);
        }
        self.count();
        Ok(())
    }
}
