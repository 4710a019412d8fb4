//! Signals between processes: an eventfd with one end here, watched and written by the ring.
//!
//! A peer may give any file and do anything to it. So it is never waited for by a read or written by a system call, which
//! could make the core wait; a wait is an edge-triggered poll, which ends when somebody signals and at no other time, whatever
//! the state of the file; and at most one write is on its way.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::{Rc, Weak};

use io_uring::squeue::Entry;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use quarry_env::{Completer, Completion, PeerEvent, PeerFile, completion};

use crate::op::Op;
use crate::ring::Ring;

/// What is added to the count of an eventfd.
static ONE: [u8; 8] = 1u64.to_ne_bytes();

/// Signals on their way to peers whose events are gone here: more are cut off.
const ORPHANS_MAX: usize = 64;

/// Our end of a signal.
pub(crate) struct SystemEvent {
    ring: Rc<Ring>,
    state: Rc<State>,
}

/// What operations in flight hold of it.
struct State {
    file: OwnedFd,
    /// The ring's slot of the watch, while there is one.
    watch: Cell<Option<u32>>,
    /// A signal that nobody has waited for.
    arrived: Cell<bool>,
    waiter: RefCell<Option<Completer<io::Result<()>>>>,
    /// Set when the watch has ended: what every wait is told.
    failed: Cell<Option<i32>>,
    /// Our end is gone.
    dropped: Cell<bool>,
    /// The ring's slot of a write on its way, and whether another one is to follow.
    signalling: Cell<Option<u32>>,
    signal_again: Cell<bool>,
}

impl SystemEvent {
    pub(crate) fn open(ring: Rc<Ring>, file: PeerFile) -> io::Result<Rc<dyn PeerEvent>> {
        let file = file.0.downcast::<OwnedFd>().map_err(|_| io::ErrorKind::InvalidInput)?;
        let name = rustix::fs::readlinkat(
            rustix::fs::CWD,
            format!("/proc/self/fd/{}", file.as_raw_fd()),
            Vec::new(),
        )?;
        if name.as_bytes() != b"anon_inode:[eventfd]" {
            let what = format!("a signal has to be an eventfd, and this is {name:?}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let state = State {
            file: *file,
            watch: Cell::new(None),
            arrived: Cell::new(false),
            waiter: RefCell::default(),
            failed: Cell::new(None),
            dropped: Cell::new(false),
            signalling: Cell::new(None),
            signal_again: Cell::new(false),
        };
        Ok(Rc::new(Self { ring, state: Rc::new(state) }))
    }

    /// Begins to watch with the first wait: an event that is only given is not watched.
    fn watch(&self) {
        if self.state.watch.get().is_none() && self.state.failed.get().is_none() {
            let slot = self.ring.start(Op::Watch(Watch { state: self.state.clone() }));
            self.state.watch.set(Some(slot));
        }
    }
}

impl PeerEvent for SystemEvent {
    fn wait(&self) -> Completion<io::Result<()>> {
        self.watch();
        if let Some(code) = self.state.failed.get() {
            return Completion::ready(Err(io::Error::from_raw_os_error(code)));
        }
        if self.state.arrived.take() {
            return Completion::ready(Ok(()));
        }
        let (completer, completion) = completion();
        *self.state.waiter.borrow_mut() = Some(completer);
        completion
    }

    fn signal(&self) {
        if self.state.signalling.get().is_some() {
            return self.state.signal_again.set(true);
        }
        let op = Signal { state: self.state.clone(), ring: Rc::downgrade(&self.ring) };
        self.state.signalling.set(Some(self.ring.start(Op::Signal(op))));
    }
}

impl Drop for SystemEvent {
    fn drop(&mut self) {
        self.state.dropped.set(true);
        if let Some(slot) = self.state.watch.get() {
            self.ring.cancel(slot);
        }
        let Some(slot) = self.state.signalling.get() else { return };
        // A last signal is still given. One that the peer does not let us give must not stay for ever.
        let orphans = &self.ring.orphaned_signals;
        orphans.set(orphans.get() + 1);
        if orphans.get() > ORPHANS_MAX {
            self.ring.cancel(slot);
        }
    }
}

impl State {
    fn notice(&self) {
        match self.waiter.take() {
            Some(waiter) if !waiter.is_abandoned() => waiter.complete(Ok(())),
            _ => self.arrived.set(true),
        }
    }
}

/// A watch in flight.
pub(crate) struct Watch {
    state: Rc<State>,
}

impl Watch {
    pub(crate) fn entry(&mut self) -> Entry {
        let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
        opcode::PollAdd::new(Fd(self.state.file.as_raw_fd()), events).multi(true).build()
    }

    /// A signal has come, and the watch goes on.
    pub(crate) fn progress(&self, result: i32) {
        if result >= 0 {
            self.state.notice();
        }
    }

    /// The watch has ended, because nobody waits any more or for a reason of the kernel's; then it begins anew.
    pub(crate) fn complete(self, result: io::Result<u32>) -> Option<Self> {
        if self.state.dropped.get() {
            self.state.watch.set(None);
            return None;
        }
        match result {
            Ok(_) => {
                self.state.notice();
                Some(self)
            }
            Err(error) => {
                self.state.watch.set(None);
                self.state.failed.set(Some(error.raw_os_error().unwrap_or(libc::EIO)));
                if let Some(waiter) = self.state.waiter.take() {
                    waiter.complete(Err(error));
                }
                None
            }
        }
    }
}

/// A signal in flight to a peer.
pub(crate) struct Signal {
    state: Rc<State>,
    ring: Weak<Ring>,
}

impl Signal {
    pub(crate) fn entry(&mut self) -> Entry {
        let file = Fd(self.state.file.as_raw_fd());
        opcode::Write::new(file, ONE.as_ptr(), ONE.len() as u32).offset(u64::MAX).build()
    }

    /// What a peer has done to its own file is its own loss: an error is no reason to do anything.
    pub(crate) fn complete(self, result: &io::Result<u32>) -> Option<Self> {
        let ring = self.ring.upgrade()?;
        let is_cut_off = result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ECANCELED));
        // One that was asked for while this one was on its way may be the last one: it is given also when our end is gone.
        if self.state.signal_again.take() && !is_cut_off {
            return Some(self);
        }
        if self.state.dropped.get() {
            ring.orphaned_signals.set(ring.orphaned_signals.get() - 1);
        }
        self.state.signalling.set(None);
        None
    }
}

/// Whether a completion is not the last one of its operation.
pub(crate) fn goes_on(flags: u32) -> bool {
    cqueue::more(flags)
}
