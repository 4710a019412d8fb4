//! The ring: submits operations, owns them while the kernel works on them, and delivers their results.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode};

use crate::fixed::{BufferTable, FileTable, Target};
use crate::gather::Gathers;
use crate::op::{Op, Slab};
use crate::peer_event;
use crate::setup::{self, QueueSizes};
use crate::wait_policy::Batch;

/// `user_data` of the poll for wake-ups by other threads.
const WAKE: u64 = u64::MAX;
/// `user_data` of requests whose answer does not matter.
const IGNORED: u64 = u64::MAX - 1;

/// How long [`Ring::enter`] may sleep.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// Until something completes, `timeout` has passed, or, with a batch, as [`Batch`] says.
    Until { timeout: Option<Duration>, batch: Option<Batch> },
}

/// What one reaping found, for the wait policy.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Reaped {
    /// Operations that the kernel answered.
    pub operations: u32,
    /// Bytes that they moved.
    pub bytes: u64,
}

/// One io_uring and its operations in flight.
pub(crate) struct Ring {
    uring: RefCell<IoUring>,
    operations: RefCell<Slab>,
    /// Submissions that found the queue full.
    delayed: RefCell<VecDeque<Entry>>,
    /// Operations in flight that end by themselves.
    prompt: Cell<usize>,
    /// Set at the end: what waits for a peer is not tried again.
    ending: Cell<bool>,
    files: FileTable,
    buffers: BufferTable,
    min_wait_works: bool,
    wake_fd: RawFd,
    /// Signals on their way whose event is gone.
    pub(crate) orphaned_signals: Cell<usize>,
    /// Vectors of finished operations, for the next ones.
    pub(crate) gathers: Gathers,
}

impl Ring {
    /// A ring of the calling thread that polls `wake_fd`, an eventfd which must outlive it.
    pub(crate) fn new(sizes: QueueSizes, slabs_max: u16, wake_fd: RawFd) -> io::Result<Self> {
        let uring = setup::build(sizes)?;
        let ring = Self {
            files: FileTable::new(&uring),
            buffers: BufferTable::new(&uring, slabs_max),
            min_wait_works: uring.params().is_feature_min_timeout(),
            uring: RefCell::new(uring),
            operations: RefCell::default(),
            delayed: RefCell::default(),
            prompt: Cell::new(0),
            ending: Cell::new(false),
            wake_fd,
            orphaned_signals: Cell::new(0),
            gathers: Gathers::default(),
        };
        ring.poll_wake();
        Ok(ring)
    }

    /// Starts an operation. It is submitted with the next [`Self::enter`]. Returns its slot, for [`Self::cancel`].
    pub(crate) fn start(&self, op: Op) -> u32 {
        self.prompt.set(self.prompt.get() + usize::from(op.is_prompt()));
        let slot = self.operations.borrow_mut().insert(op);
        self.submit(slot);
        slot
    }

    /// Asks the kernel to end the operation in `slot`, which is in flight. It completes as any other.
    pub(crate) fn cancel(&self, slot: u32) {
        self.push(opcode::AsyncCancel::new(u64::from(slot)).build().user_data(IGNORED));
    }

    fn submit(&self, slot: u32) {
        let entry = self.operations.borrow_mut().get_mut(slot).entry().user_data(u64::from(slot));
        self.push(entry);
    }

    /// Queues a submission; never loses it, and keeps the order.
    fn push(&self, entry: Entry) {
        let mut delayed = self.delayed.borrow_mut();
        if delayed.is_empty() && self.try_push(&entry) {
            return;
        }
        delayed.push_back(entry);
        drop(delayed);
        // A full queue empties by telling the kernel. When that fails for now, the loop's next enter does it.
        let _ = self.enter_raw(0, EnterFlags::empty(), &SubmitArgs::new());
        self.push_delayed();
    }

    fn try_push(&self, entry: &Entry) -> bool {
        let mut uring = self.uring.borrow_mut();
        // SAFETY: the entry's pointers are to memory owned by an operation in the slab (or to none); the slab keeps
        // it until the completion is reaped, and the driver drains the ring before the slab is dropped.
        unsafe { uring.submission().push(entry) }.is_ok()
    }

    fn push_delayed(&self) {
        let mut delayed = self.delayed.borrow_mut();
        while let Some(entry) = delayed.front() {
            if !self.try_push(entry) {
                return;
            }
            delayed.pop_front();
        }
    }

    /// Operations in flight that end by themselves: disk I/O.
    pub(crate) fn prompt_in_flight(&self) -> usize {
        self.prompt.get()
    }

    /// Whether submissions have not reached the kernel.
    fn has_unsubmitted(&self) -> bool {
        !self.uring.borrow_mut().submission().is_empty() || !self.delayed.borrow().is_empty()
    }

    /// Submits everything, lets the kernel finish what it has deferred, and sleeps as `wait` says.
    pub(crate) fn enter(&self, wait: Wait) -> io::Result<()> {
        self.push_delayed();
        let mut args = SubmitArgs::new();
        let mut want = 0;
        let mut timespec = Timespec::new();
        if let Wait::Until { timeout, batch } = wait
            && self.delayed.borrow().is_empty()
        {
            want = 1;
            if let Some(batch) = batch.filter(|_| self.min_wait_works) {
                want = batch.completions;
                args = args.min_wait_usec(batch.wait_us);
            }
            if let Some(timeout) = timeout {
                timespec = timespec.sec(timeout.as_secs()).nsec(timeout.subsec_nanos());
                return self.answer(self.enter_raw(want, EnterFlags::GETEVENTS, &args.timespec(&timespec)));
            }
        }
        self.answer(self.enter_raw(want, EnterFlags::GETEVENTS, &args))
    }

    /// What is no failure: a signal, a time-out, and a kernel that is short of memory or completion space for now.
    fn answer(&self, entered: io::Result<usize>) -> io::Result<()> {
        match entered {
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY)
                ) =>
            {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    fn enter_raw(&self, want: u32, flags: EnterFlags, args: &SubmitArgs<'_, '_>) -> io::Result<usize> {
        let mut uring = self.uring.borrow_mut();
        let unsubmitted = uring.submission().len() as u32;
        let flags = flags | EnterFlags::EXT_ARG;
        // SAFETY: `args` is the structure that EXT_ARG announces; entries are valid as in `try_push`.
        unsafe { uring.submitter().enter(unsubmitted, want, flags.bits(), Some(args)) }
    }

    /// Delivers every result that has arrived. `entries` is scratch space.
    pub(crate) fn reap(&self, entries: &mut Vec<cqueue::Entry>) -> Reaped {
        entries.clear();
        entries.extend(self.uring.borrow_mut().completion());
        let mut reaped = Reaped::default();
        for entry in entries.drain(..) {
            match entry.user_data() {
                WAKE if !cqueue::more(entry.flags()) && !self.ending.get() => self.poll_wake(),
                WAKE | IGNORED => {}
                slot if peer_event::goes_on(entry.flags()) => {
                    reaped.operations += 1;
                    self.progress(slot as u32, entry.result());
                }
                slot => {
                    reaped.operations += 1;
                    reaped.bytes += entry.result().max(0) as u64;
                    self.finish(slot as u32, entry.result(), entry.flags());
                }
            }
        }
        reaped
    }

    /// An operation has brought something and goes on.
    fn progress(&self, slot: u32, result: i32) {
        let op = self.operations.borrow_mut().take(slot);
        op.progress(result);
        self.operations.borrow_mut().put_back(slot, op);
    }

    fn finish(&self, slot: u32, result: i32, flags: u32) {
        // Nothing is borrowed while the operation is delivered or dropped: that may close files of this ring.
        let op = self.operations.borrow_mut().take(slot);
        let prompt = op.is_prompt();
        let again = if matches!(-result, libc::EINTR | libc::EAGAIN) && self.may_repeat(prompt) {
            Some(op)
        } else {
            let result = u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            op.complete(result, flags)
        };
        match again {
            Some(op) if self.may_repeat(prompt) => {
                self.operations.borrow_mut().put_back(slot, op);
                self.submit(slot);
            }
            abandoned => {
                self.prompt.set(self.prompt.get() - usize::from(prompt));
                self.operations.borrow_mut().release(slot);
                drop(abandoned);
            }
        }
    }

    fn may_repeat(&self, prompt: bool) -> bool {
        prompt || !self.ending.get()
    }

    /// Ends the ring's work: cancels what waits for peers and waits until the kernel uses no memory of ours.
    pub(crate) fn drain(&self) {
        self.ending.set(true);
        let waiting = self.operations.borrow().waiting();
        for slot in waiting {
            self.cancel(slot);
        }
        let mut entries = Vec::new();
        while self.operations.borrow().len() > 0 || self.has_unsubmitted() {
            let timeout = Some(Duration::from_millis(100));
            if let Err(error) = self.enter(Wait::Until { timeout, batch: None }) {
                // The kernel refuses the ring itself. Freeing memory that it may still write to is not an option.
                panic!("io_uring_enter failed while operations were in flight: {error}");
            }
            self.reap(&mut entries);
        }
    }

    /// Watches the eventfd. Edge triggered and multishot: neither re-armed nor read after a wake-up.
    fn poll_wake(&self) {
        let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
        let fd = io_uring::types::Fd(self.wake_fd);
        self.push(opcode::PollAdd::new(fd, events).multi(true).build().user_data(WAKE));
    }

    /// Registers a file, as far as there is room, and says how operations name it.
    pub(crate) fn register_file(&self, fd: RawFd) -> (Target, Option<u32>) {
        self.files.register(&self.uring.borrow(), fd)
    }

    /// Undoes [`Self::register_file`]. No operation on the file may be in flight.
    pub(crate) fn unregister_file(&self, slot: u32) {
        self.files.unregister(&self.uring.borrow(), slot);
    }

    /// Registers I/O memory; see [`BufferTable::register`].
    ///
    /// # Safety
    /// The memory must stay allocated as long as the ring lives.
    pub(crate) unsafe fn register_slab(&self, start: *mut u8, bytes: usize) -> Option<u16> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.buffers.register(&self.uring.borrow(), start, bytes) }
    }
}
