//! Something has changed: look again.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::task::{Poll, Waker};

/// A counter that tasks of one core wait for. Raising it wakes all of them; each looks for itself at what has changed.
///
/// To wait without missing anything: take [`Signal::version`], look, and if there is nothing wait for [`Signal::after`].
#[derive(Default)]
pub struct Signal {
    version: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Wakes everybody who waits.
    pub fn raise(&self) {
        self.version.set(self.version.get() + 1);
        for waker in self.wakers.take() {
            waker.wake();
        }
    }

    /// How often it was raised.
    pub fn version(&self) -> u64 {
        self.version.get()
    }

    /// Completes once it has been raised more than `version` times.
    pub fn after(&self, version: u64) -> impl Future<Output = ()> + '_ {
        poll_fn(move |context| {
            if self.version.get() > version {
                return Poll::Ready(());
            }
            let mut wakers = self.wakers.borrow_mut();
            if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
    }
}
