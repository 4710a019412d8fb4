//! Tables of files and buffers that the ring has registered: the kernel then need not look them up, count references
//! or pin pages for each request.

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;

use io_uring::IoUring;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;

/// Most files and sockets that a ring registers; more work too, at a higher price.
pub(crate) const FILES_MAX: u32 = 4096;

/// What an operation names as its file: a registered slot, or a plain descriptor.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    number: i32,
    flags: Flags,
}

impl Target {
    pub(crate) fn fd(self) -> Fd {
        Fd(self.number)
    }

    /// The same, for a file whose operations may hold up who submits them: the kernel's workers do it all.
    pub(crate) fn by_workers(self) -> Self {
        Self { flags: self.flags | Flags::ASYNC, ..self }
    }

    /// Marks `entry`, which was built with [`Self::fd`], as naming a slot when it does.
    pub(crate) fn mark(self, entry: Entry) -> Entry {
        entry.flags(self.flags)
    }
}

/// The free indices of a sparse table in the kernel. Empty when the kernel refused the table.
pub(crate) struct Slots(RefCell<Vec<u32>>);

impl Slots {
    fn new(count: u32) -> Self {
        Self(RefCell::new((0..count).rev().collect()))
    }

    fn take(&self) -> Option<u32> {
        self.0.borrow_mut().pop()
    }

    fn give_back(&self, slot: u32) {
        self.0.borrow_mut().push(slot);
    }
}

/// Registered files of one ring.
pub(crate) struct FileTable(Slots);

impl FileTable {
    pub(crate) fn new(ring: &IoUring) -> Self {
        let granted = ring.submitter().register_files_sparse(FILES_MAX).is_ok();
        Self(Slots::new(if granted { FILES_MAX } else { 0 }))
    }

    /// Registers `fd`, as far as there is room.
    pub(crate) fn register(&self, ring: &IoUring, fd: RawFd) -> (Target, Option<u32>) {
        let plain = Target { number: fd, flags: Flags::empty() };
        let Some(slot) = self.0.take() else { return (plain, None) };
        match ring.submitter().register_files_update(slot, &[fd]) {
            Ok(_) => (Target { number: slot as i32, flags: Flags::FIXED_FILE }, Some(slot)),
            Err(_) => {
                self.0.give_back(slot);
                (plain, None)
            }
        }
    }

    /// Takes the file out of the table. No operation on it may be in flight.
    pub(crate) fn unregister(&self, ring: &IoUring, slot: u32) {
        // A slot that the kernel does not clear is not used again; the file in it stays open until the ring ends.
        if ring.submitter().register_files_update(slot, &[-1]).is_ok() {
            self.0.give_back(slot);
        }
    }
}

/// Registered I/O memory of one ring. Slabs are registered once and stay.
pub(crate) struct BufferTable(Slots);

impl BufferTable {
    pub(crate) fn new(ring: &IoUring, slabs_max: u16) -> Self {
        let count = u32::from(slabs_max);
        let granted = count > 0 && ring.submitter().register_buffers_sparse(count).is_ok();
        Self(Slots::new(if granted { count } else { 0 }))
    }

    /// Registers a slab; `None` when the table is full or the kernel refuses (`RLIMIT_MEMLOCK`): the slab then works as
    /// ordinary memory.
    ///
    /// # Safety
    /// The memory must stay allocated as long as the ring lives.
    pub(crate) unsafe fn register(&self, ring: &IoUring, start: *mut u8, bytes: usize) -> Option<u16> {
        let slot = self.0.take()?;
        let slab = libc::iovec { iov_base: start.cast(), iov_len: bytes };
        // SAFETY: the caller keeps the memory.
        let updated: io::Result<()> =
            unsafe { ring.submitter().register_buffers_update(slot, &[slab], None) };
        match updated {
            Ok(()) => Some(slot as u16),
            Err(_) => {
                self.0.give_back(slot);
                None
            }
        }
    }
}
