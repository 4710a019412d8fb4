//! How the sessions of one core share its memory, so that clients that do not take their replies starve nobody.
//!
//! The rule is the dynamic threshold of packet switches: a session may hold as much as is still free. However many greedy
//! sessions there are, the n of them end with the n+1st part of the budget each, and one part stays free for the next.
//! Where even that is too little for a request, clients that have taken nothing for a while are cut off.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use quarry_env::Stream;

/// What a session may hold, whatever protocol it speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShareBounds {
    /// Most bytes of one session.
    pub bytes_max: u64,
    /// What it may hold even when its core has no memory left.
    pub bytes_guaranteed: u64,
    /// A client that takes nothing for this long is cut off when others wait for the memory that it holds.
    pub stall_time_max: Duration,
}

/// Something that only the client can end: to take what is sent to it, or to bring what it was asked for.
#[derive(Default)]
struct Duty {
    is_open: Cell<bool>,
    /// What it has done of it: grows with each send that has ended, or with data that has arrived.
    progress: Cell<u64>,
    /// The progress at some moment in the past, and that moment.
    mark: Cell<Option<(u64, Duration)>>,
}

impl Duty {
    fn progressed(&self) {
        self.progress.set(self.progress.get().wrapping_add(1));
    }

    /// Whether nothing has come of it for `time_max`, as far as is known at `now`.
    fn is_stalled(&self, now: Duration, time_max: Duration) -> bool {
        let progress = self.progress.get();
        match self.mark.get() {
            _ if !self.is_open.get() => self.mark.set(None),
            Some((seen, since)) if seen == progress => return now.saturating_sub(since) >= time_max,
            _ => self.mark.set(Some((progress, now))),
        }
        false
    }
}

/// What the budget knows of a session.
struct Member {
    stream: Rc<dyn Stream>,
    held_bytes: Cell<u64>,
    /// To take what is sent.
    takes: Duty,
    /// To bring the data that it was asked for, for which memory is held. Whoever takes answers to other commands meanwhile does
    /// nothing for it.
    brings: Duty,
}

struct Inner {
    limit_bytes: u64,
    bounds: ShareBounds,
    used_bytes: Cell<u64>,
    next: Cell<u64>,
    members: RefCell<BTreeMap<u64, Rc<Member>>>,
    waiters: RefCell<Vec<Waker>>,
}

/// The memory of one core for requests and replies.
#[derive(Clone)]
pub struct Budget(Rc<Inner>);

impl Budget {
    /// `limit_bytes` for sessions of which each is held to `bounds`.
    pub fn new(limit_bytes: u64, bounds: ShareBounds) -> Self {
        Self(Rc::new(Inner {
            limit_bytes,
            bounds,
            used_bytes: Cell::new(0),
            next: Cell::new(0),
            members: RefCell::default(),
            waiters: RefCell::default(),
        }))
    }

    /// The part of a session that serves `stream`.
    pub fn join(&self, stream: Rc<dyn Stream>) -> Share {
        let id = self.0.next.get();
        self.0.next.set(id + 1);
        let member = Rc::new(Member {
            stream,
            held_bytes: Cell::new(0),
            takes: Duty::default(),
            brings: Duty::default(),
        });
        self.0.members.borrow_mut().insert(id, member.clone());
        Share { budget: self.clone(), id, member }
    }

    fn wake_waiters(&self) {
        if self.0.waiters.borrow().is_empty() {
            return;
        }
        let waiters = std::mem::take(&mut *self.0.waiters.borrow_mut());
        waiters.into_iter().for_each(Waker::wake);
    }
}

/// Why a session gets no more memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shortage {
    /// It holds as much as one session may.
    Session,
    /// The others have left too little.
    Core,
}

/// One session's part of the budget. Dropping it gives everything back.
pub struct Share {
    budget: Budget,
    id: u64,
    member: Rc<Member>,
}

impl Share {
    /// Takes `bytes`, if the session may hold them now.
    pub fn try_take(&self, bytes: u64) -> Result<(), Shortage> {
        if bytes == 0 {
            return Ok(());
        }
        let (budget, held) = (&self.budget.0, self.member.held_bytes.get());
        let (used, wanted) = (budget.used_bytes.get(), held + bytes);
        if wanted > budget.bounds.bytes_max {
            return Err(Shortage::Session);
        }
        let free = budget.limit_bytes.saturating_sub(used);
        // When nobody holds anything, no wait would make more room.
        if wanted > free.max(budget.bounds.bytes_guaranteed) && used > 0 {
            return Err(Shortage::Core);
        }
        self.member.held_bytes.set(wanted);
        budget.used_bytes.set(used + bytes);
        Ok(())
    }

    /// Takes `bytes` that are there already, whatever the bounds say. The caller answers for their number.
    pub fn take(&self, bytes: u64) {
        self.member.held_bytes.set(self.member.held_bytes.get() + bytes);
        self.budget.0.used_bytes.set(self.budget.0.used_bytes.get() + bytes);
    }

    /// Gives `bytes` back.
    pub fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let held = self.member.held_bytes.get();
        assert!(bytes <= held, "a session gives back what it took");
        self.member.held_bytes.set(held - bytes);
        let used = &self.budget.0.used_bytes;
        used.set(used.get() - bytes);
        self.budget.wake_waiters();
    }

    /// Has `waker` woken when something is given back.
    pub fn wait(&self, waker: &Waker) {
        let mut waiters = self.budget.0.waiters.borrow_mut();
        if !waiters.iter().any(|waiter| waiter.will_wake(waker)) {
            waiters.push(waker.clone());
        }
    }

    /// A send has begun.
    pub fn send_began(&self) {
        self.member.takes.is_open.set(true);
    }

    /// The client has taken all of it.
    pub fn send_ended(&self) {
        self.member.takes.is_open.set(false);
        self.member.takes.progressed();
    }

    /// Memory is held for data that the client has been asked for, or no more.
    pub fn set_awaits(&self, awaits: bool) {
        self.member.brings.is_open.set(awaits);
    }

    /// Some of the data that the client has been asked for has arrived.
    pub fn arrived(&self) {
        self.member.brings.progressed();
    }

    /// Cuts off the clients that take nothing, or do not send what they were asked for. Called at `now` by a session that has waited for some
    /// time; the first call only takes note of who holds something.
    pub fn cut_off_stalled(&self, now: Duration) {
        for member in self.budget.0.members.borrow().values() {
            if member.held_bytes.get() == 0 {
                member.takes.mark.set(None);
                member.brings.mark.set(None);
                continue;
            }
            let time_max = self.budget.0.bounds.stall_time_max;
            let is_stalled = member.takes.is_stalled(now, time_max) | member.brings.is_stalled(now, time_max);
            if is_stalled {
                member.stream.shutdown();
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.members.borrow_mut().remove(&self.id);
        self.give_back(self.member.held_bytes.get());
    }
}

#[cfg(test)]
mod tests;
