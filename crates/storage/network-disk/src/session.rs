//! A disk's requests, over one connection after the other.
//!
//! Life of a request: taken ([`Session::submit`]: from now on its range is in the table), waiting, sent, answered. When
//! the connection ends it waits again, in its old place, and its range is haunted for a time. Life of a write after its
//! answer: unflushed, until a flush that was asked for later is answered; until then its data is kept, and a new connection
//! begins with writing it again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quarry_env::{Completer, Env, Signal, View};

use crate::address::DiskAddress;
use crate::limits::{
    CONFLICT_PAUSE, IN_FLIGHT_BYTES_MAX, LATE_TIME_MAX, OUTAGE_TIME_MAX, REQUESTS_IN_FLIGHT_MAX,
    RESPONSE_TIME_MAX, UNFLUSHED_BYTES_MAX,
};
use crate::ranges::{Conflict, Owner};
use crate::remote::Remote;
use crate::request::{Request, Work};
use crate::terms::Terms;
use crate::transport::Initiator;

/// A write that no flush has covered.
struct Unflushed {
    data: Vec<View>,
    length: u32,
    /// How many writes had completed, itself included.
    order: u64,
}

/// Why a request was not taken yet.
enum Refusal {
    Range(Conflict),
    TooMuchUnflushed,
}

#[derive(Default)]
struct State {
    /// Why nothing is done any more, if so.
    lost: Option<Arc<str>>,
    is_closing: bool,
    is_held: bool,
    /// For the claim; they go first.
    claiming: VecDeque<Request>,
    /// Requests that wait for their range.
    held_back: usize,
    waiting: VecDeque<Request>,
    in_flight: BTreeMap<u64, Request>,
    in_flight_bytes: u64,
    /// What a new connection has to write again before anything else.
    restoring: VecDeque<Request>,
    restores_in_flight: usize,
    unflushed: BTreeMap<u64, Unflushed>,
    /// Of writes: taken and not answered, or answered and not flushed.
    kept_bytes: u64,
    writes_completed: u64,
    flushes_wanted: usize,
    next_cookie: u64,
    /// Since when no request was answered, while there is no connection or a new one.
    outage_began: Option<Duration>,
}

/// The requests of one disk.
pub struct Session {
    pub env: Env,
    pub address: DiskAddress,
    /// Who it is to the server.
    pub initiator: Initiator,
    pub remote: Arc<Remote>,
    pub terms: Terms,
    owner: Owner,
    /// Flushes of the disk that had failed when it was opened. One more, over any connection, and what was written over this one may
    /// be lost as well: a server says it once.
    flush_failures: u64,
    state: RefCell<State>,
    /// Raised whenever there may be something to do.
    pub changed: Signal,
    /// When the server was heard last.
    pub heard: Cell<Duration>,
}

impl Session {
    pub fn new(
        env: Env,
        address: DiskAddress,
        initiator: Initiator,
        remote: Arc<Remote>,
        terms: Terms,
    ) -> Rc<Self> {
        let owner = remote.new_owner();
        let flush_failures = remote.flush_failures();
        let heard = Cell::new(env.clock.now());
        Rc::new(Self {
            env,
            address,
            initiator,
            remote,
            terms,
            owner,
            flush_failures,
            state: RefCell::default(),
            changed: Signal::default(),
            heard,
        })
    }

    fn now(&self) -> Duration {
        self.env.clock.now()
    }

    /// Takes a request, at once or when its range is free.
    pub fn submit(self: &Rc<Self>, work: Work, offset: u64, length: u32) {
        let request = Request::new(work, offset, length, self.now());
        match self.take(&request) {
            Ok(()) => self.enqueue(request),
            Err(refusal) => {
                self.state.borrow_mut().held_back += 1;
                self.env.spawner.spawn(self.clone().hold_back(request, refusal)).detach();
            }
        }
    }

    /// A flush of everything that has completed.
    pub fn submit_flush(self: &Rc<Self>, completer: Option<Completer<io::Result<()>>>) {
        let covers = {
            let mut state = self.state.borrow_mut();
            state.flushes_wanted += 1;
            state.writes_completed
        };
        self.submit(Work::Flush { covers, completer }, 0, 0);
    }

    fn take(&self, request: &Request) -> Result<(), Refusal> {
        let mut state = self.state.borrow_mut();
        if state.lost.is_some() || !request.changes_range() {
            return Ok(());
        }
        let bytes = request.payload_bytes();
        if state.kept_bytes > 0 && state.kept_bytes + bytes > UNFLUSHED_BYTES_MAX {
            return Err(Refusal::TooMuchUnflushed);
        }
        let taken = self.remote.ranges().begin(request.range(), self.owner, self.now());
        taken.map_err(Refusal::Range)?;
        state.kept_bytes += bytes;
        Ok(())
    }

    fn enqueue(&self, request: Request) {
        let mut state = self.state.borrow_mut();
        match state.lost.clone() {
            None if request.is_for_claim() => state.claiming.push_back(request),
            None => state.waiting.push_back(request),
            Some(reason) => {
                drop(state);
                request.fail(lost_error(&reason));
            }
        }
        self.changed.raise();
    }

    /// Waits until the request can be taken. Its time counts from then.
    async fn hold_back(self: Rc<Self>, mut request: Request, mut refusal: Refusal) {
        self.remote.note_held_back();
        if let Refusal::Range(Conflict::Haunted(until)) = refusal {
            let wait_ms = until.saturating_sub(self.now()).as_millis() as u64;
            let (offset, length) = (request.offset, request.length);
            tracing::warn!(device = %self.address, offset, length, wait_ms, "a write waits: an older one may still be on its way");
        }
        loop {
            match refusal {
                Refusal::Range(Conflict::Haunted(until)) => {
                    self.env.clock.sleep(until.saturating_sub(self.now())).await;
                }
                // It may be another core's, which cannot wake this one.
                Refusal::Range(Conflict::InFlight) => self.env.clock.sleep(CONFLICT_PAUSE).await,
                Refusal::Range(Conflict::Unflushed) | Refusal::TooMuchUnflushed => self.want_room().await,
            }
            match self.take(&request) {
                Ok(()) => break,
                Err(again) => refusal = again,
            }
        }
        request.begun = self.now();
        self.state.borrow_mut().held_back -= 1;
        self.enqueue(request);
    }

    /// Sees to it that a flush is on its way, and waits until something has changed.
    async fn want_room(self: &Rc<Self>) {
        let version = self.changed.version();
        let wants_flush = {
            let state = self.state.borrow();
            state.flushes_wanted == 0 && !state.unflushed.is_empty()
        };
        if wants_flush {
            self.submit_flush(None);
        }
        self.changed.after(version).await;
    }

    /// The next request to send, and its cookie. It counts as sent from now on.
    pub fn next_to_send<T>(&self, use_it: impl FnOnce(u64, &Request) -> T) -> Option<T> {
        let is_barred = self.is_barred();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut request = match state.claiming.pop_front() {
            Some(claiming) => claiming,
            None if is_barred => return None,
            None if !state.restoring.is_empty() => {
                state.restores_in_flight += 1;
                state.restoring.pop_front()?
            }
            None if state.restores_in_flight > 0 => return None,
            None => {
                let bytes = state.waiting.front()?.payload_bytes();
                let fits = state.in_flight_bytes == 0 || state.in_flight_bytes + bytes <= IN_FLIGHT_BYTES_MAX;
                if !fits || state.in_flight.len() >= REQUESTS_IN_FLIGHT_MAX {
                    return None;
                }
                state.waiting.pop_front()?
            }
        };
        if state.in_flight.is_empty() {
            self.heard.set(self.now());
        }
        request.sent = self.now();
        let cookie = state.next_cookie;
        state.next_cookie += 1;
        state.in_flight_bytes += request.payload_bytes();
        let used = use_it(cookie, &request);
        state.in_flight.insert(cookie, request);
        Some(used)
    }

    /// Whether the claim is not known to be ours any more. Nothing is sent then but what concerns it.
    pub fn is_barred(&self) -> bool {
        self.state.borrow().is_held && self.now() >= self.remote.lease_until()
    }

    /// Whether data of a request may be sent that was begun before: not when the disk was given up, and of what depends on the claim
    /// only while that is known to be ours.
    pub fn may_send_data(&self, cookie: u64) -> bool {
        if self.state.borrow().lost.is_some() {
            return false;
        }
        !self.is_barred() || self.with_request(cookie, |request| request.is_for_claim()) == Some(true)
    }

    /// Whether nothing is sent until the claim is renewed, although something waits.
    pub fn waits_for_claim(&self) -> bool {
        self.is_barred() && self.state.borrow().lost.is_none()
    }

    /// From now on what is sent depends on the claim.
    pub fn set_held(&self) {
        self.state.borrow_mut().is_held = true;
    }

    /// Whether it depends on the claim.
    pub fn is_held(&self) -> bool {
        self.state.borrow().is_held
    }

    /// Whether no more is asked of it.
    pub fn is_closing_or_lost(&self) -> bool {
        let state = self.state.borrow();
        state.is_closing || state.lost.is_some()
    }

    /// Whether the disk was closed and all it was asked is done.
    pub fn is_done(&self) -> bool {
        let state = self.state.borrow();
        let is_idle = state.waiting.is_empty() && state.claiming.is_empty() && state.in_flight.is_empty();
        state.is_closing && state.held_back == 0 && is_idle
    }

    /// When the oldest request was sent that has no answer; where there is none, since when the oldest waits to be sent.
    pub fn oldest(&self) -> Option<Duration> {
        let state = self.state.borrow();
        let sent = state.in_flight.values().map(|request| request.sent).min();
        sent.or_else(|| state.waiting.iter().chain(&state.claiming).map(|request| request.begun).min())
    }

    /// Whether the server owes an answer.
    pub fn is_owed(&self) -> bool {
        !self.state.borrow().in_flight.is_empty()
    }

    /// No more requests will come.
    pub fn close(&self) {
        self.state.borrow_mut().is_closing = true;
        self.changed.raise();
    }

    /// Something of a request in flight.
    pub fn with_request<T>(&self, cookie: u64, use_it: impl FnOnce(&mut Request) -> T) -> Option<T> {
        self.state.borrow_mut().in_flight.get_mut(&cookie).map(use_it)
    }

    /// The last of an answer has come.
    pub fn finish(self: &Rc<Self>, cookie: u64) {
        let Some(mut request) = self.state.borrow_mut().in_flight.remove(&cookie) else { return };
        let now = self.now();
        self.remote.note_reply(now.saturating_sub(request.sent));
        let bytes = request.payload_bytes();
        self.state.borrow_mut().in_flight_bytes -= bytes;
        match request.error.take() {
            Some(error) => self.finish_failed(request, error),
            None => self.finish_well(request),
        }
        self.changed.raise();
    }

    fn finish_well(self: &Rc<Self>, request: Request) {
        let mut state = self.state.borrow_mut();
        if !matches!(request.work, Work::Restore { .. }) {
            state.outage_began = None;
        }
        match request.work {
            Work::Read { buffer, completer, .. } | Work::ReadClaim { buffer, completer, .. } => {
                completer.complete((buffer.expect("it is back when all of it has come"), Ok(())));
            }
            Work::Write { data, completer } => {
                self.remote.ranges().finish(request.offset, self.owner, true);
                state.writes_completed += 1;
                let (order, length) = (state.writes_completed, request.length);
                // One that stood there was of a range that another core had in between: it is never written again.
                let stale = state.unflushed.insert(request.offset, Unflushed { data, length, order });
                state.kept_bytes -= stale.map_or(0, |stale| u64::from(stale.length));
                let wants_flush = state.kept_bytes > UNFLUSHED_BYTES_MAX / 2 && state.flushes_wanted == 0;
                drop(state);
                if wants_flush {
                    self.submit_flush(None);
                }
                completer.complete(Ok(()));
            }
            Work::Restore { .. } => {
                self.remote.ranges().finish(request.offset, self.owner, true);
                state.restores_in_flight -= 1;
            }
            Work::Flush { completer, .. } if self.remote.flush_failures() != self.flush_failures => {
                drop(state);
                self.lose("a flush failed over another connection");
                if let Some(completer) = completer {
                    completer.complete(Err(lost_error("a flush failed over another connection")));
                }
            }
            Work::Flush { covers, completer } => {
                self.forget_flushed(&mut state, covers);
                if let Some(completer) = completer {
                    completer.complete(Ok(()));
                }
            }
            Work::Trim { completer } => {
                self.remote.ranges().finish(request.offset, self.owner, false);
                completer.complete(Ok(()));
            }
            Work::WriteClaim { completer, .. } => completer.complete(Ok(())),
        }
    }

    fn forget_flushed(&self, state: &mut State, covers: u64) {
        state.flushes_wanted -= 1;
        let mut ranges = self.remote.ranges();
        let mut flushed_bytes = 0;
        state.unflushed.retain(|&start, write| {
            let is_covered = write.order <= covers;
            if is_covered {
                ranges.flushed(start, self.owner);
                flushed_bytes += u64::from(write.length);
            }
            !is_covered
        });
        state.kept_bytes -= flushed_bytes;
    }

    fn finish_failed(self: &Rc<Self>, request: Request, error: io::Error) {
        match request.work {
            // Nobody knows what the server has of what was written since its last good flush, and it may not say it again.
            Work::Flush { .. } => {
                self.remote.note_flush_failure();
                self.lose(&format!("a flush failed ({error})"));
                request.fail(error);
            }
            Work::Restore { .. } => {
                self.lose(&format!(
                    "a write that was answered before the connection ended cannot be repeated ({error})"
                ));
            }
            Work::Write { .. } | Work::Trim { .. } => {
                self.remote.ranges().finish(request.offset, self.owner, false);
                self.state.borrow_mut().kept_bytes -= request.payload_bytes();
                request.fail(error);
            }
            Work::Read { .. } | Work::ReadClaim { .. } | Work::WriteClaim { .. } => request.fail(error),
        }
    }

    /// A connection is there: what has to be written again comes first.
    pub fn begin_connection(&self) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut ranges = self.remote.ranges();
        ranges.sweep(self.now());
        let now = self.now();
        let mut given_up_bytes = 0;
        state.unflushed.retain(|&start, write| {
            let is_ours = ranges.repeat(start, self.owner);
            if is_ours {
                let work = Work::Restore { data: write.data.clone() };
                state.restoring.push_back(Request::new(work, start, write.length, now));
            } else {
                given_up_bytes += u64::from(write.length);
            }
            is_ours
        });
        state.kept_bytes -= given_up_bytes;
        self.remote.note_restored(state.restoring.len() as u64);
        self.heard.set(now);
    }

    /// The connection has ended: what it left unanswered waits again, and haunts.
    pub fn end_connection(&self) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let now = self.now();
        let until = now + LATE_TIME_MAX;
        let mut ranges = self.remote.ranges();
        for request in state.restoring.drain(..) {
            ranges.finish(request.offset, self.owner, true);
        }
        let unanswered = std::mem::take(&mut state.in_flight);
        self.remote.note_disconnected(unanswered.len() as u64);
        for (_, mut request) in unanswered.into_iter().rev() {
            let is_kept = !matches!(request.work, Work::Restore { .. });
            if request.changes_range() {
                ranges.haunt(request.offset, self.owner, until, is_kept);
            }
            if is_kept {
                request.begin_again();
                let queue = if request.is_for_claim() { &mut state.claiming } else { &mut state.waiting };
                queue.push_front(request);
            }
        }
        (state.in_flight_bytes, state.restores_in_flight) = (0, 0);
        state.outage_began.get_or_insert(now);
    }

    /// Whether those who wait have waited long enough. An outage in which nobody wants anything may last.
    pub fn is_hopeless(&self) -> bool {
        let state = self.state.borrow();
        let waiting = state.waiting.iter().chain(&state.claiming);
        let Some(oldest) = waiting.map(|request| request.begun).min() else { return false };
        let began = state.outage_began.unwrap_or(oldest).max(oldest);
        let now = self.now();
        now > began + OUTAGE_TIME_MAX || now > oldest + RESPONSE_TIME_MAX + OUTAGE_TIME_MAX
    }

    /// Whether it was closed and wants no connection any more, or was given up.
    pub fn is_over(&self) -> bool {
        self.state.borrow().lost.is_some() || self.is_done()
    }

    /// Gives the disk up for good: everything fails, now and later.
    pub fn lose(&self, reason: &str) {
        let waiting = {
            let mut state = self.state.borrow_mut();
            if state.lost.is_some() {
                return;
            }
            state.lost = Some(reason.into());
            take_waiting(&mut state)
        };
        tracing::error!(device = %self.address, reason, "the server of a device is given up");
        self.remote.note_lost();
        waiting.into_iter().for_each(|request| request.fail(lost_error(reason)));
        self.changed.raise();
    }

    /// The end: nothing will be sent any more. What the last connection has left unanswered fails.
    pub fn leave(&self) {
        let (waiting, reason) = {
            let mut state = self.state.borrow_mut();
            assert!(state.in_flight.is_empty(), "the connection has ended before");
            (take_waiting(&mut state), state.lost.clone())
        };
        self.remote.ranges().leave(self.owner);
        for request in waiting {
            request.fail(lost_error(reason.as_deref().unwrap_or("its disk was closed")));
        }
    }

    /// Why it was given up.
    pub fn lost(&self) -> Option<Arc<str>> {
        self.state.borrow().lost.clone()
    }
}

fn take_waiting(state: &mut State) -> Vec<Request> {
    state.claiming.drain(..).chain(state.waiting.drain(..)).collect()
}

fn lost_error(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the server was given up: {reason}"))
}
