//! A signal that is given once and that any number of tasks, on any core, can wait for.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct Waiters {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

#[derive(Default)]
struct Inner {
    stopped: AtomicBool,
    waiters: Mutex<Waiters>,
}

impl Inner {
    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().expect("nothing panics while it holds the waiters")
    }
}

/// The signal. Clones are the same signal.
#[derive(Clone, Default)]
pub struct Stop(Arc<Inner>);

impl Stop {
    /// Gives the signal. Repeating it changes nothing.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        let wakers = std::mem::take(&mut self.0.waiters().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    /// Whether it was given.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Relaxed)
    }

    /// Resolves once it is given; may be polled again afterwards.
    pub fn stopped(&self) -> Stopped {
        Stopped { stop: self.clone(), ticket: None }
    }
}

/// Waits for a [`Stop`].
#[must_use = "futures do nothing unless polled"]
pub struct Stopped {
    stop: Stop,
    ticket: Option<(u64, Waker)>,
}

impl Future for Stopped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.stop.is_stopped() {
            return Poll::Ready(());
        }
        if self.ticket.as_ref().is_some_and(|(_, waker)| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        let stop = self.stop.clone();
        let mut waiters = stop.0.waiters();
        let id = match &self.ticket {
            Some((id, _)) => *id,
            None => {
                waiters.next += 1;
                waiters.next
            }
        };
        waiters.wakers.insert(id, context.waker().clone());
        self.ticket = Some((id, context.waker().clone()));
        // The signal may have been given between the first look and the registration.
        if stop.0.stopped.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some((id, _)) = self.ticket {
            self.stop.0.waiters().wakers.remove(&id);
        }
    }
}
