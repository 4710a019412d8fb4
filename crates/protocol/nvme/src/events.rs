//! Asynchronous events (NVMe Base 2.0, 5.2): what a host is told without having asked for it at that moment.
//!
//! An event waits until a request of the host is there to carry it. Once told, its kind is masked until the host reads the
//! log page that the event names, so that a host is never flooded.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::task::{Poll, Waker};

use crate::limits::EVENT_REQUESTS_MAX;
use crate::outcome::Outcome;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::log;

/// Something that a host may want to be told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Namespaces have come, gone or changed.
    NamespacesChanged,
    /// A namespace is in another ANA group.
    AnaChanged,
    /// The discovery log has changed.
    DiscoveryChanged,
    /// A notification about a reservation can be read.
    Reservation,
}

impl Event {
    const ALL: [Event; 4] =
        [Event::NamespacesChanged, Event::AnaChanged, Event::DiscoveryChanged, Event::Reservation];

    /// Its bit in the Asynchronous Event Configuration, where it has one.
    fn configuration(self) -> Option<u32> {
        match self {
            Event::NamespacesChanged => Some(1 << 8),
            Event::AnaChanged => Some(1 << 11),
            Event::DiscoveryChanged => Some(1 << 31),
            // Switched per namespace, by the Reservation Notification Mask.
            Event::Reservation => None,
        }
    }

    /// The log page that says more.
    pub fn log(self) -> u8 {
        match self {
            Event::NamespacesChanged => log::CHANGED_NAMESPACES,
            Event::AnaChanged => log::ANA,
            Event::DiscoveryChanged => log::DISCOVERY,
            Event::Reservation => log::RESERVATIONS,
        }
    }

    /// Dword 0 of the completion: type, information, log page.
    fn result(self) -> u64 {
        let (kind, information) = match self {
            Event::NamespacesChanged => (2, 0x00),
            Event::AnaChanged => (2, 0x03),
            Event::DiscoveryChanged => (2, 0xF0),
            Event::Reservation => (6, 0x00),
        };
        kind | information << 8 | u64::from(self.log()) << 16
    }
}

/// Events of a controller for namespaces (OAES).
pub const IO_EVENTS: u32 = 1 << 8 | 1 << 11;
/// Events of a discovery controller (OAES).
pub const DISCOVERY_EVENTS: u32 = 1 << 31;

#[derive(Default)]
struct State {
    configuration: u32,
    pending: [bool; Event::ALL.len()],
    masked: [bool; Event::ALL.len()],
    /// The requests that wait, oldest first, with their command ids.
    waiting: Vec<(u16, Option<Waker>)>,
    closed: bool,
}

impl State {
    fn wake(&mut self) {
        self.waiting.iter_mut().filter_map(|(_, waker)| waker.take()).for_each(Waker::wake);
    }

    fn next(&mut self) -> Option<Event> {
        let index = Event::ALL.iter().position(|&event| {
            let enabled = event.configuration().is_none_or(|bit| self.configuration & bit != 0);
            self.pending[event as usize] && !self.masked[event as usize] && enabled
        })?;
        self.pending[index] = false;
        self.masked[index] = true;
        Some(Event::ALL[index])
    }
}

/// The events of one controller.
#[derive(Default)]
pub(crate) struct Events(RefCell<State>);

impl Events {
    /// Which events the host wants to be told of.
    pub(crate) fn configuration(&self) -> u32 {
        self.0.borrow().configuration
    }

    pub(crate) fn configure(&self, configuration: u32) {
        let mut state = self.0.borrow_mut();
        state.configuration = configuration;
        state.wake();
    }

    /// Something has happened.
    pub(crate) fn raise(&self, event: Event) {
        let mut state = self.0.borrow_mut();
        state.pending[event as usize] = true;
        state.wake();
    }

    /// The host has read a log page: it knows what there was to know, and may be told of what comes next.
    pub(crate) fn was_read(&self, log: u8) {
        let mut state = self.0.borrow_mut();
        for event in Event::ALL.iter().filter(|event| event.log() == log) {
            state.pending[*event as usize] = false;
            state.masked[*event as usize] = false;
        }
    }

    /// A reset: nothing is configured, pending or waiting any more.
    pub(crate) fn reset(&self) {
        let mut state = self.0.borrow_mut();
        state.wake();
        *state = State::default();
    }

    /// Ends every request; there will be no more of them.
    pub(crate) fn close(&self) {
        let mut state = self.0.borrow_mut();
        state.closed = true;
        state.wake();
    }

    /// Takes in a request, which is answered by the next event.
    pub(crate) fn request(&self, command: u16) -> Result<impl Future<Output = Outcome> + '_, Status> {
        let mut state = self.0.borrow_mut();
        if state.waiting.len() >= EVENT_REQUESTS_MAX {
            return Err(Status::EVENT_LIMIT);
        }
        state.waiting.push((command, None));
        Ok(poll_fn(move |context| {
            let mut state = self.0.borrow_mut();
            let place = state.waiting.iter().position(|(id, _)| *id == command);
            let Some(place) = place else { return Poll::Ready(Status::ABORT_REQUESTED.into()) };
            if state.closed {
                state.waiting.remove(place);
                return Poll::Ready(Status::ABORTED_QUEUE_DELETED.into());
            }
            if let Some(event) = state.next() {
                state.waiting.remove(place);
                return Poll::Ready(Outcome::result(event.result()));
            }
            state.waiting[place].1 = Some(context.waker().clone());
            Poll::Pending
        }))
    }

    /// Ends the request with this command id; whether there was one.
    pub(crate) fn abort(&self, command: u16) -> bool {
        let mut state = self.0.borrow_mut();
        let Some(place) = state.waiting.iter().position(|(id, _)| *id == command) else { return false };
        let (_, waker) = state.waiting.remove(place);
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn poll(future: std::pin::Pin<&mut impl Future<Output = Outcome>>) -> Option<(Status, u64)> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some((outcome.status, outcome.result)),
            Poll::Pending => None,
        }
    }

    #[test]
    fn an_event_is_told_once_until_its_log_was_read() {
        let events = Events::default();
        events.configure(IO_EVENTS);
        let mut first = pin!(events.request(1).unwrap());
        let mut second = pin!(events.request(2).unwrap());
        assert_eq!(poll(first.as_mut()), None);
        events.raise(Event::NamespacesChanged);
        assert_eq!(poll(first), Some((Status::SUCCESS, 0x04_00_02)));
        events.raise(Event::NamespacesChanged);
        assert_eq!(poll(second.as_mut()), None, "masked");
        events.raise(Event::AnaChanged);
        assert_eq!(poll(second), Some((Status::SUCCESS, 0x0C_03_02)), "another kind is not");
        events.was_read(log::CHANGED_NAMESPACES);
        let mut third = pin!(events.request(3).unwrap());
        assert_eq!(poll(third.as_mut()), None, "what was pending has been read");
        events.raise(Event::NamespacesChanged);
        assert_eq!(poll(third), Some((Status::SUCCESS, 0x04_00_02)));
    }

    #[test]
    fn what_is_not_wanted_waits_until_it_is() {
        let events = Events::default();
        events.raise(Event::DiscoveryChanged);
        let mut request = pin!(events.request(1).unwrap());
        assert_eq!(poll(request.as_mut()), None);
        events.configure(DISCOVERY_EVENTS);
        assert_eq!(poll(request), Some((Status::SUCCESS, 0x70_F0_02)));
    }

    #[test]
    fn requests_are_bounded_aborted_and_closed() {
        let events = Events::default();
        let requests: Vec<_> = (0..4).map(|id| events.request(id).unwrap()).collect();
        assert!(events.request(9).is_err_and(|status| status == Status::EVENT_LIMIT));
        assert!(events.abort(2) && !events.abort(2));
        events.close();
        let told: Vec<_> = requests.into_iter().map(|request| poll(pin!(request))).collect();
        let deleted = Some((Status::ABORTED_QUEUE_DELETED, 0));
        assert_eq!(told, [deleted, deleted, Some((Status::ABORT_REQUESTED, 0)), deleted]);
    }
}
