//! A lock that goes to whoever has waited longest.
//!
//! With one that can be taken again at once by who has just given it back, a task that does so in a loop has it for ever: cleaning that never
//! ends under load kept rebuilding, and the return of a device, from ever beginning.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use futures::channel::oneshot;

/// The lock. For tasks of one core.
#[derive(Default)]
pub(crate) struct FairLock {
    is_held: Cell<bool>,
    waiting: RefCell<VecDeque<oneshot::Sender<Held>>>,
}

/// Whoever has this has the lock, until it is dropped.
pub(crate) struct Held(Rc<FairLock>);

impl FairLock {
    /// Waits for its turn.
    pub(crate) async fn lock(self: &Rc<Self>) -> Held {
        if !self.is_held.replace(true) {
            return Held(self.clone());
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push_back(sender);
        receiver.await.expect("who has the lock gives it to those that wait")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let next = self.0.waiting.borrow_mut().pop_front();
        match next {
            // If nobody waits there any more, what comes back is dropped here, and goes to the next.
            Some(sender) => drop(sender.send(Self(self.0.clone()))),
            None => self.0.is_held.set(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn whoever_gives_it_back_has_it_again_behind_all_that_wait() {
        let lock = Rc::new(FairLock::default());
        let first = lock.lock().now_or_never().expect("it is free");
        let mut second = Box::pin(lock.lock());
        assert!(second.as_mut().now_or_never().is_none());
        let mut third = Box::pin(lock.lock());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        let mut first = Box::pin(lock.lock());
        assert!(first.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        let held = second.as_mut().now_or_never().expect("it is the second one's turn");
        // The third does not want it any more.
        drop(third);
        drop(held);
        let held = first.as_mut().now_or_never().expect("nobody else waits");
        drop(held);
        assert!(lock.lock().now_or_never().is_some());
    }

    #[test]
    fn one_that_was_given_and_never_taken_is_not_lost() {
        let lock = Rc::new(FairLock::default());
        let first = lock.lock().now_or_never().expect("it is free");
        let mut second = Box::pin(lock.lock());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        drop(second);
        assert!(lock.lock().now_or_never().is_some());
    }
}
