//! The result of an operation that somebody else finishes: a one-shot channel inside one core.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Learns when operations complete, also those whose result nobody has looked at yet, or ever will.
pub trait Observer {
    /// The operation that it calls `key` has completed.
    fn completed(&self, key: usize);
}

/// Who is told, and by which name.
type Observed = (Rc<dyn Observer>, usize);

enum State<T> {
    Pending(Option<Waker>, Option<Observed>),
    Done(T),
    Taken,
}

/// Waits for the value that the [`Completer`] brings. Dropping it does not cancel the operation.
///
/// A completion whose completer was dropped never resolves: it is what a dead process sees of its last I/O.
#[must_use = "an operation's result must be looked at"]
pub struct Completion<T>(Rc<RefCell<State<T>>>);

/// Delivers the value of a [`Completion`].
pub struct Completer<T>(Rc<RefCell<State<T>>>);

/// A connected pair.
pub fn completion<T>() -> (Completer<T>, Completion<T>) {
    let state = Rc::new(RefCell::new(State::Pending(None, None)));
    (Completer(state.clone()), Completion(state))
}

impl<T> Completion<T> {
    /// One that is done already.
    pub fn ready(value: T) -> Self {
        Self(Rc::new(RefCell::new(State::Done(value))))
    }

    /// Whether the value is there.
    pub fn is_done(&self) -> bool {
        matches!(*self.0.borrow(), State::Done(_))
    }

    /// Has `observer` told when the operation completes; at once if it has. There is one observer.
    pub fn observe(&self, observer: Rc<dyn Observer>, key: usize) {
        if let State::Pending(_, observed) = &mut *self.0.borrow_mut() {
            *observed = Some((observer, key));
            return;
        }
        observer.completed(key);
    }
}

impl<T> Completer<T> {
    /// Delivers the value and wakes whoever waits.
    pub fn complete(self, value: T) {
        let previous = std::mem::replace(&mut *self.0.borrow_mut(), State::Done(value));
        if let State::Pending(waker, observed) = previous {
            if let Some((observer, key)) = observed {
                observer.completed(key);
            }
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Whether nobody waits for the value any more.
    pub fn is_abandoned(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }
}

impl<T> Future for Completion<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.borrow_mut();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(value) => Poll::Ready(value),
            State::Pending(Some(waker), observed) if waker.will_wake(context.waker()) => {
                *state = State::Pending(Some(waker), observed);
                Poll::Pending
            }
            State::Pending(_, observed) => {
                *state = State::Pending(Some(context.waker().clone()), observed);
                Poll::Pending
            }
            State::Taken => panic!("a completion was polled after it had given its value"),
        }
    }
}
