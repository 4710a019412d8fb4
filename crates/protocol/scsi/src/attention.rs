//! Unit attentions (SAM-6 5.14): what an initiator is told by failing its next command, once.
//!
//! They are bits of one word for each unit of each nexus, so that they are bounded, and that a command which meets none pays one
//! load. Any core may raise them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use futures::task::AtomicWaker;
use quarry_target::{Drain, Notice, Watcher};

use crate::sense::{Code, Sense};

/// What has happened, most important first: the order in which they are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Attention {
    /// The nexus is new.
    PowerOn,
    /// The unit or the target was reset.
    Reset,
    /// The nexus was reset.
    NexusLost,
    /// Other units are there than before.
    LunsChanged,
    /// The unit has another size.
    CapacityChanged,
    /// Another initiator has changed mode parameters.
    ModeParametersChanged,
    /// All registrations were cleared.
    ReservationsPreempted,
    /// The registration was taken away.
    RegistrationsPreempted,
    /// The reservation is gone.
    ReservationsReleased,
    /// The pool behind the unit is fuller than its warning level.
    SoftThreshold,
}

const CODES: [Code; 10] = [
    Code::POWER_ON,
    Code::RESET,
    Code::NEXUS_LOST,
    Code::LUNS_CHANGED,
    Code::CAPACITY_CHANGED,
    Code::MODE_PARAMETERS_CHANGED,
    Code::RESERVATIONS_PREEMPTED,
    Code::REGISTRATIONS_PREEMPTED,
    Code::RESERVATIONS_RELEASED,
    Code::SOFT_THRESHOLD_REACHED,
];

/// Wakes a session and says that one of its units has something for it to do.
#[derive(Default)]
pub struct Signal {
    raised: AtomicBool,
    waker: AtomicWaker,
}

impl Signal {
    fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether it was raised since the last time; has `waker` woken when it is raised again.
    pub fn take(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.raised.load(Ordering::Acquire) && self.raised.swap(false, Ordering::AcqRel)
    }
}

/// What others have to say to one unit of one nexus.
pub struct Mailbox {
    attentions: AtomicU32,
    aborts: Mutex<Vec<Drain>>,
    settles: Mutex<Vec<Drain>>,
    signal: Arc<Signal>,
}

impl Mailbox {
    pub(crate) fn new(signal: Arc<Signal>) -> Arc<Self> {
        Arc::new(Self {
            attentions: AtomicU32::new(1 << Attention::PowerOn as u32),
            aborts: Mutex::default(),
            settles: Mutex::default(),
            signal,
        })
    }

    pub(crate) fn raise(&self, attention: Attention) {
        self.attentions.fetch_or(1 << attention as u32, Ordering::AcqRel);
    }

    /// Whether there is any attention.
    pub(crate) fn has_attention(&self) -> bool {
        self.attentions.load(Ordering::Acquire) != 0
    }

    /// The most important one, which is told now.
    pub(crate) fn take_attention(&self) -> Option<Sense> {
        let bits = self.attentions.load(Ordering::Acquire);
        if bits == 0 {
            return None;
        }
        let first = bits.trailing_zeros();
        self.attentions.fetch_and(!(1 << first), Ordering::AcqRel);
        Some(Sense::attention(CODES[first as usize]))
    }

    /// The most important one, which stays, and how many there are.
    pub(crate) fn pending(&self) -> Option<(Sense, u32)> {
        let bits = self.attentions.load(Ordering::Acquire);
        let first = CODES.get(bits.trailing_zeros() as usize)?;
        Some((Sense::attention(*first), bits.count_ones()))
    }

    /// One that need not be told any more.
    pub(crate) fn forget(&self, attention: Attention) {
        self.attentions.fetch_and(!(1 << attention as u32), Ordering::AcqRel);
    }

    /// Asks the session to end what it has under way on the unit.
    pub(crate) fn abort(&self, drain: Drain) {
        list(&self.aborts).push(drain);
        self.signal.raise();
    }

    /// Who waits for the end of what the session has under way on the unit, which is to be given up.
    pub(crate) fn take_aborts(&self) -> Vec<Drain> {
        std::mem::take(&mut *list(&self.aborts))
    }

    /// Asks the session to say when what it has under way on the unit has ended by itself.
    pub(crate) fn settle(&self, drain: Drain) {
        list(&self.settles).push(drain);
        self.signal.raise();
    }

    /// Who waits for the end of what the session has under way on the unit, which goes on.
    pub(crate) fn take_settles(&self) -> Vec<Drain> {
        std::mem::take(&mut *list(&self.settles))
    }
}

fn list(drains: &Mutex<Vec<Drain>>) -> MutexGuard<'_, Vec<Drain>> {
    drains.lock().expect("nothing panics while it holds the list")
}

impl Watcher for Mailbox {
    fn notice(&self, notice: Notice) {
        match notice {
            Notice::ReservationPreempted => self.raise(Attention::ReservationsPreempted),
            Notice::RegistrationPreempted => self.raise(Attention::RegistrationsPreempted),
            Notice::ReservationReleased => self.raise(Attention::ReservationsReleased),
            Notice::Abort(drain) => self.abort(drain),
            Notice::Settle(drain) => self.settle(drain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_the_most_important_first() {
        let mailbox = Mailbox::new(Arc::default());
        mailbox.raise(Attention::CapacityChanged);
        mailbox.raise(Attention::LunsChanged);
        mailbox.raise(Attention::CapacityChanged);
        mailbox.notice(Notice::RegistrationPreempted);
        let told: Vec<Code> =
            std::iter::from_fn(|| mailbox.take_attention()).map(|sense| sense.code).collect();
        let expected =
            [Code::POWER_ON, Code::LUNS_CHANGED, Code::CAPACITY_CHANGED, Code::REGISTRATIONS_PREEMPTED];
        assert_eq!(told, expected);
        assert!(!mailbox.has_attention());
    }

    #[test]
    fn an_abort_wakes_the_session() {
        let signal = Arc::<Signal>::default();
        let mailbox = Mailbox::new(signal.clone());
        assert!(!signal.take(Waker::noop()));
        let (drain, _drained) = Drain::new();
        mailbox.notice(Notice::Abort(drain));
        assert!(signal.take(Waker::noop()) && !signal.take(Waker::noop()));
        assert_eq!((mailbox.take_aborts().len(), mailbox.take_aborts().len()), (1, 0));
    }
}
