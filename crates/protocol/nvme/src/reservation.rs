//! Reservations in the words of NVMe (Base 2.0, 8.19; commands 7.2 to 7.5): who is told of what, and what a report says. The
//! rules themselves are in `quarry_target`.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Context;

use futures::task::AtomicWaker;
use quarry_target::{Drain, Initiator, Notice, ReservationKind, ReservationState, Watcher};
use quarry_types::VolumeId;

use crate::limits::RESERVATION_NOTICES_MAX;
use quarry_nvme_wire::bytes::Page;
use quarry_nvme_wire::constants::EVERY_NAMESPACE;

/// The initiator that a host is: its identifier, in hexadecimal digits.
pub(crate) fn initiator(host_id: [u8; 16]) -> Initiator {
    let digits: String = host_id.iter().map(|byte| format!("{byte:02x}")).collect();
    Initiator(digits.into())
}

/// The identifier of the host that an initiator is; zeroes for an initiator of another protocol.
fn host_id(initiator: &Initiator) -> [u8; 16] {
    let digits = initiator.0.as_bytes();
    if digits.len() != 32 {
        return [0; 16];
    }
    let value = u128::from_str_radix(&initiator.0, 16);
    value.map(u128::to_be_bytes).unwrap_or_default()
}

/// The number of a kind of reservation (RTYPE).
pub(crate) fn number_of(kind: ReservationKind) -> u8 {
    match kind {
        ReservationKind::WriteExclusive => 1,
        ReservationKind::ExclusiveAccess => 2,
        ReservationKind::WriteExclusiveRegistrants => 3,
        ReservationKind::ExclusiveAccessRegistrants => 4,
        ReservationKind::WriteExclusiveAll => 5,
        ReservationKind::ExclusiveAccessAll => 6,
    }
}

/// The kind with this number.
pub(crate) fn kind_of(number: u8) -> Option<ReservationKind> {
    ReservationKind::ALL.into_iter().find(|&kind| number_of(kind) == number)
}

/// Reservation Status, extended: a header and the registered controllers. `controllers` says which controllers a host has.
pub(crate) fn report(state: &ReservationState, controllers: impl Fn([u8; 16]) -> Vec<u16>) -> Vec<u8> {
    /// A registrant whose controller is not there.
    const NO_CONTROLLER: u16 = 0xFFFF;
    let mut entries = Vec::new();
    for registration in &state.registrations {
        let host = host_id(&registration.initiator);
        let there = controllers(host);
        let there = if there.is_empty() { vec![NO_CONTROLLER] } else { there };
        let holds = state.is_holder(&registration.initiator);
        entries.extend(there.into_iter().map(|controller| (controller, holds, registration.key, host)));
    }
    let mut page = Page::new(64 * (entries.len() + 1));
    let kind = state.reservation.as_ref().map_or(0, |reservation| number_of(reservation.kind));
    page.u32(0, state.generation)
        .u8(4, kind)
        .u16(5, entries.len().min(0xFFFF) as u16)
        .u8(9, state.persists.into());
    for (index, (controller, holds, key, host)) in entries.into_iter().enumerate() {
        let at = 64 * (index + 1);
        page.u16(at, controller).u8(at + 2, holds.into()).u64(at + 8, key.0).bytes(at + 16, &host);
    }
    page.into_vec()
}

/// What others have done to the reservations of one namespace.
pub(crate) struct Noticed {
    pub(crate) namespace: u32,
    pub(crate) volume: VolumeId,
    pub(crate) notice: Notice,
}

/// Where notices wait for the queue that they are for. They come from any core.
#[derive(Default)]
pub(crate) struct Mailbox {
    notices: Mutex<Vec<Noticed>>,
    reader: AtomicWaker,
}

impl Mailbox {
    fn notices(&self) -> MutexGuard<'_, Vec<Noticed>> {
        self.notices.lock().expect("nothing panics while it holds the notices of a queue")
    }

    /// What has come; `context` is woken for what comes from now on.
    pub(crate) fn take(&self, context: &Context<'_>) -> Vec<Noticed> {
        self.reader.register(context.waker());
        mem::take(&mut self.notices())
    }
}

/// Takes notes about one namespace.
pub(crate) struct NamespaceWatcher {
    pub(crate) namespace: u32,
    pub(crate) volume: VolumeId,
    pub(crate) mailbox: Arc<Mailbox>,
}

impl Watcher for NamespaceWatcher {
    fn notice(&self, notice: Notice) {
        let noticed = Noticed { namespace: self.namespace, volume: self.volume, notice };
        self.mailbox.notices().push(noticed);
        self.mailbox.reader.wake();
    }
}

/// A kind of notification, by its number in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Notification {
    RegistrationPreempted = 1,
    ReservationReleased = 2,
    ReservationPreempted = 3,
}

impl Notification {
    /// What a notice is to hosts; `None` for one that only concerns commands under way.
    pub(crate) fn of(notice: &Notice) -> Option<Self> {
        match notice {
            Notice::RegistrationPreempted => Some(Self::RegistrationPreempted),
            Notice::ReservationReleased => Some(Self::ReservationReleased),
            Notice::ReservationPreempted => Some(Self::ReservationPreempted),
            Notice::Abort(_) | Notice::Settle(_) => None,
        }
    }
}

/// The Reservation Notification log of a controller, and what its host does not want to hear of.
#[derive(Default)]
pub(crate) struct Notifications {
    waiting: VecDeque<(u64, Notification, u32)>,
    count: u64,
    masks: BTreeMap<u32, u32>,
}

impl Notifications {
    /// Takes a note; whether there is something new to read.
    pub(crate) fn push(&mut self, notification: Notification, namespace: u32) -> bool {
        if self.mask(namespace) & 1 << notification as u32 != 0 {
            return false;
        }
        // The count of the next one tells a host that some are missing.
        self.count += 1;
        if self.waiting.len() < RESERVATION_NOTICES_MAX {
            self.waiting.push_back((self.count, notification, namespace));
        }
        true
    }

    /// Which notifications about a namespace are not wanted.
    pub(crate) fn mask(&self, namespace: u32) -> u32 {
        self.masks.get(&namespace).copied().unwrap_or_default()
    }

    /// Says so, of some of the namespaces that there are.
    pub(crate) fn set_mask(&mut self, namespace: u32, all: impl Iterator<Item = u32>, mask: u32) {
        let concerned = all.filter(|&one| namespace == EVERY_NAMESPACE || one == namespace);
        self.masks.extend(concerned.map(|one| (one, mask)));
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The page of the oldest notification, which is taken off unless it is to be retained.
    pub(crate) fn page(&mut self, retain: bool) -> Vec<u8> {
        let mut page = Page::new(64);
        let behind = self.waiting.len().saturating_sub(1).min(255) as u8;
        if let Some(&(count, notification, namespace)) = self.waiting.front() {
            page.u64(0, count).u8(8, notification as u8).u8(9, behind).u32(12, namespace);
        }
        if !retain {
            self.waiting.pop_front();
        }
        page.into_vec()
    }
}

/// The commands of one volume that are under way, so that somebody can wait for the end of those that were there first.
#[derive(Default)]
pub(crate) struct Activity(RefCell<Rc<()>>);

impl Activity {
    /// Held by a command while it is carried out.
    pub(crate) fn begin(&self) -> Rc<()> {
        self.0.borrow().clone()
    }

    /// The commands that have begun until now.
    pub(crate) fn so_far(&self) -> Weak<()> {
        Rc::downgrade(&self.0.replace(Rc::default()))
    }
}

/// Somebody waits for the end of commands.
pub(crate) struct Draining {
    pub(crate) commands: Weak<()>,
    pub(crate) _drain: Drain,
}

#[cfg(test)]
mod tests;
