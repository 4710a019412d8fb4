//! What the nexuses of all cores share of a unit: its reservations, its mode, and who is to be told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use quarry_target::{Drain, Drained, Reservations, VolumeReservations};
use quarry_types::VolumeId;

use crate::attention::{Attention, Mailbox};
use crate::sanitizing::Sanitizing;
use crate::threshold::{SoftThreshold, Threshold};

/// One volume as a logical unit.
pub struct SharedUnit {
    pub(crate) reservations: Arc<VolumeReservations>,
    pub(crate) sanitizing: Sanitizing,
    pub(crate) threshold: Threshold,
    write_protected: AtomicBool,
    mailboxes: Mutex<Vec<Weak<Mailbox>>>,
}

impl SharedUnit {
    fn mailboxes(&self) -> MutexGuard<'_, Vec<Weak<Mailbox>>> {
        self.mailboxes.lock().expect("nothing panics while it holds the list")
    }

    pub(crate) fn join(&self, mailbox: &Arc<Mailbox>) {
        let mut mailboxes = self.mailboxes();
        mailboxes.retain(|one| one.strong_count() > 0);
        mailboxes.push(Arc::downgrade(mailbox));
        drop(mailboxes);
        if self.threshold.is_reached() {
            mailbox.raise(Attention::SoftThreshold);
        }
    }

    fn for_each(&self, mut act: impl FnMut(&Arc<Mailbox>)) {
        let mailboxes = self.mailboxes().clone();
        mailboxes.iter().filter_map(Weak::upgrade).for_each(|mailbox| act(&mailbox));
    }

    /// Tells every nexus but that of `except`.
    pub(crate) fn tell_others(&self, except: &Arc<Mailbox>, attention: Attention) {
        self.for_each(|mailbox| {
            if !Arc::ptr_eq(mailbox, except) {
                mailbox.raise(attention);
            }
        });
    }

    /// LOGICAL UNIT RESET (SAM-6 7.7): every command of every nexus is to end, which the result waits for, and all are told.
    pub(crate) fn reset(&self) -> Drained {
        let (drain, drained): (Drain, Drained) = Drain::new();
        self.reservations.end_exclusive();
        self.protect(false);
        self.for_each(|mailbox| {
            mailbox.abort(drain.clone());
            mailbox.raise(Attention::Reset);
        });
        drained
    }

    /// Resolves when every command that any nexus has under way now has ended. `begun` is told by what before anybody is asked.
    pub(crate) fn settle(&self, begun: impl FnOnce(&Drain)) -> Drained {
        let (drain, drained) = Drain::new();
        begun(&drain);
        self.for_each(|mailbox| mailbox.settle(drain.clone()));
        drained
    }

    /// Whether an initiator has forbidden writes (SWP of the control mode page).
    pub(crate) fn is_write_protected(&self) -> bool {
        self.write_protected.load(Ordering::Acquire)
    }

    /// Forbids writes, or allows them again; whether that changed anything.
    pub(crate) fn protect(&self, protect: bool) -> bool {
        self.write_protected.swap(protect, Ordering::AcqRel) != protect
    }
}

struct Inner {
    reservations: Reservations,
    units: Mutex<BTreeMap<VolumeId, Weak<SharedUnit>>>,
    /// Those that have something to remember when nobody uses them: a sanitize operation that is under way or has failed.
    kept: Mutex<BTreeMap<VolumeId, Arc<SharedUnit>>>,
}

/// The units of a node that somebody uses. Clones are the same table. Asked when a nexus meets a unit, not by I/O.
#[derive(Clone)]
pub struct Units(Arc<Inner>);

impl Units {
    /// An empty table, over the reservations of the node.
    pub fn new(reservations: Reservations) -> Self {
        Self(Arc::new(Inner { reservations, units: Mutex::default(), kept: Mutex::default() }))
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<VolumeId, Arc<SharedUnit>>> {
        self.0.kept.lock().expect("nothing panics while it holds the table of kept units")
    }

    /// The pool behind a volume is so full. Everybody who uses it is told when that is too full.
    pub fn note_threshold(&self, volume: VolumeId, threshold: SoftThreshold) {
        let unit = {
            let units = self.0.units.lock().expect("nothing panics while it holds the table of units");
            units.get(&volume).and_then(Weak::upgrade)
        };
        if let Some(unit) = unit
            && unit.threshold.note(threshold)
        {
            unit.for_each(|mailbox| mailbox.raise(Attention::SoftThreshold));
        }
    }

    /// Remembers a unit also when nobody uses it, until it is released.
    pub(crate) fn keep(&self, volume: VolumeId, unit: &Arc<SharedUnit>) {
        self.kept().insert(volume, unit.clone());
    }

    /// The unit has nothing to remember any more.
    pub(crate) fn release(&self, volume: VolumeId) {
        self.kept().remove(&volume);
    }

    pub(crate) fn of(&self, volume: VolumeId) -> Arc<SharedUnit> {
        let mut units = self.0.units.lock().expect("nothing panics while it holds the table of units");
        if let Some(unit) = units.get(&volume).and_then(Weak::upgrade) {
            return unit;
        }
        units.retain(|_, unit| unit.strong_count() > 0);
        let unit = Arc::new(SharedUnit {
            reservations: self.0.reservations.of(volume),
            sanitizing: Sanitizing::default(),
            threshold: Threshold::default(),
            write_protected: AtomicBool::new(false),
            mailboxes: Mutex::default(),
        });
        units.insert(volume, Arc::downgrade(&unit));
        unit
    }
}
