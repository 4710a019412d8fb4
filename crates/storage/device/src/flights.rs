//! Operations that a device has not answered, when they began, and how long those took that it has.
//!
//! Invariants:
//! - An operation ends when its disk says so, never earlier, and at once, whether somebody looks at its result or not. One that is *given up* has no asker any more, but it stays in the
//!   table, with its buffers alive in the env, until it ends; so does one whose future was dropped.
//! - [`Flights::late_changes`] counts the writes and discards among these: as long as there are any, bytes may still change that
//!   nobody expects to. Whoever uses the device again waits for 0.
//! - Nothing here is allocated for an operation, but when more are on their way than ever before.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quarry_env::{Clock, Completion, Env, Observer};
use quarry_histogram::Histogram;

use crate::Latencies;
use crate::error::Operation;

/// An operation that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unanswered {
    /// What was asked for.
    pub operation: Operation,
    /// Where, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// When, by the clock of the env.
    pub began: Duration,
}

struct Entry {
    what: Unanswered,
    /// Who waits; nobody before the first poll.
    waker: Option<Waker>,
    is_given_up: bool,
}

#[derive(Default)]
struct Table {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
}

impl Table {
    fn insert(&mut self, entry: Option<Entry>) -> usize {
        match self.free.pop() {
            Some(key) => {
                self.entries[key] = entry;
                key
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        }
    }
}

/// The operations of one device on one core.
pub(crate) struct Flights {
    clock: Rc<dyn Clock>,
    table: RefCell<Table>,
    latencies: [Histogram; Operation::ALL.len()],
    answered: Cell<u64>,
    late_changes: Arc<AtomicU32>,
}

impl Observer for Flights {
    fn completed(&self, key: usize) {
        self.end(key);
    }
}

impl Flights {
    pub(crate) fn new(env: &Env) -> Rc<Self> {
        Rc::new(Self {
            clock: env.clock.clone(),
            table: RefCell::default(),
            latencies: Default::default(),
            answered: Cell::new(0),
            late_changes: Arc::default(),
        })
    }

    /// Takes note of an operation that has just been started.
    pub(crate) fn begin<T>(
        self: &Rc<Self>,
        (operation, offset, length): (Operation, u64, u64),
        completion: Completion<T>,
    ) -> Flight<T> {
        let what = Unanswered { operation, offset, length, began: self.clock.turn() };
        let entry = Some(Entry { what, waker: None, is_given_up: false });
        let key = self.table.borrow_mut().insert(entry);
        completion.observe(self.clone(), key);
        Flight { flights: self.clone(), key, completion: Some(completion) }
    }

    /// Its disk has ended an operation.
    fn end(&self, key: usize) {
        let entry = {
            let mut table = self.table.borrow_mut();
            table.free.push(key);
            table.entries[key].take().expect("an operation ends once")
        };
        self.answered.set(self.answered.get() + 1);
        if !entry.is_given_up {
            let took = self.clock.turn().saturating_sub(entry.what.began);
            self.latencies[entry.what.operation as usize].record(took);
        } else if changes(entry.what.operation) {
            self.late_changes.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Why nobody waits any more for an operation that is on its way, if so. Else `waker` is told of what becomes of it.
    fn given_up(&self, key: usize, waker: &Waker) -> Option<io::Error> {
        let mut table = self.table.borrow_mut();
        let entry = table.entries[key].as_mut().expect("it has not ended");
        if entry.is_given_up {
            let waited = self.clock.now().saturating_sub(entry.what.began);
            let what = format!("no answer for {:.1} s", waited.as_secs_f64());
            return Some(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        match &mut entry.waker {
            Some(known) if known.will_wake(waker) => {}
            known => *known = Some(waker.clone()),
        }
        None
    }

    fn note_late(&self, entry: &mut Entry) -> Option<Waker> {
        if !std::mem::replace(&mut entry.is_given_up, true) && changes(entry.what.operation) {
            self.late_changes.fetch_add(1, Ordering::AcqRel);
        }
        entry.waker.take()
    }

    /// Nobody waits any more for those that are `meant`: askers get an error, and the operations end when they end. Says how many it were.
    pub(crate) fn give_up(&self, meant: impl Fn(&Unanswered) -> bool) -> usize {
        let wakers: Vec<Option<Waker>> = {
            let mut table = self.table.borrow_mut();
            let is_meant = |entry: &&mut Entry| !entry.is_given_up && meant(&entry.what);
            let waiting = table.entries.iter_mut().flatten().filter(is_meant);
            waiting.map(|entry| self.note_late(entry)).collect()
        };
        let count = wakers.len();
        wakers.into_iter().flatten().for_each(Waker::wake);
        count
    }

    pub(crate) fn sleep(&self, time: Duration) -> Completion<()> {
        self.clock.sleep(time)
    }

    /// The operation that has been waited for longest, given up or not.
    pub(crate) fn oldest(&self) -> Option<Unanswered> {
        let table = self.table.borrow();
        table.entries.iter().flatten().map(|entry| entry.what).min_by_key(|what| what.began)
    }

    /// Operations that somebody waits for.
    pub(crate) fn waiting(&self) -> usize {
        self.table.borrow().entries.iter().flatten().filter(|entry| !entry.is_given_up).count()
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.get()
    }

    pub(crate) fn latencies(&self) -> Latencies {
        let mut latencies = Latencies::default();
        for operation in Operation::ALL {
            latencies.add(operation, &self.latencies[operation as usize].distribution());
        }
        latencies
    }

    pub(crate) fn late_changes(&self) -> Arc<AtomicU32> {
        self.late_changes.clone()
    }
}

fn changes(operation: Operation) -> bool {
    matches!(operation, Operation::Write | Operation::Discard)
}

/// An operation on its way. An error is that it was given up.
pub(crate) struct Flight<T: 'static> {
    flights: Rc<Flights>,
    key: usize,
    /// Absent when there is nothing to wait for any more.
    completion: Option<Completion<T>>,
}

impl<T> Future for Flight<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let completion = self.completion.as_mut().expect("it was polled after its end");
        if let Poll::Ready(value) = Pin::new(completion).poll(context) {
            self.completion = None;
            return Poll::Ready(Ok(value));
        }
        match self.flights.given_up(self.key, context.waker()) {
            None => Poll::Pending,
            Some(error) => {
                self.leave();
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<T: 'static> Flight<T> {
    /// The operation goes on without an asker, if it has not ended.
    fn leave(&mut self) {
        let Some(completion) = self.completion.take().filter(|completion| !completion.is_done()) else {
            return;
        };
        drop(completion);
        if let Some(entry) = self.flights.table.borrow_mut().entries[self.key].as_mut() {
            self.flights.note_late(entry);
        }
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        self.leave();
    }
}
