//! Ends a core's sleep from another thread, with a system call only when the core sleeps.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Shared between a core and everybody who makes its tasks ready.
///
/// The core announces its sleep, looks at its queues once more, and sleeps; others queue first and look for the
/// announcement then. Both are sequentially consistent, so one of the two sees the other.
pub(crate) struct Waker {
    asleep: AtomicBool,
    event: OwnedFd,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { asleep: AtomicBool::new(false), event })
    }

    /// The eventfd that the ring polls.
    pub(crate) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Called by others, after they have queued something for the core.
    pub(crate) fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // The only failure is a counter at its end (EAGAIN), and then the ring has been notified before.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Called by the core before it looks at its queues for the last time.
    pub(crate) fn announce_sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// Called by the core when it is awake again.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}
