//! What happens when memory that is shared with a peer is taken away by the peer: the kernel sends SIGBUS to whoever uses it
//! next. A node that serves many hosts must not die of what one of them does to its own file.
//!
//! Mappings that are guarded stand in a table. When one of them faults, zero pages take its place, and it is marked as lost.
//! Every other fault is left to whoever handled the signal before.

use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Most guarded mappings of the process.
const GUARDS_MAX: usize = 4096;

struct Slot {
    taken: AtomicBool,
    start: AtomicUsize,
    /// 0 while nothing is guarded.
    length: AtomicUsize,
    lost: AtomicBool,
}

static SLOTS: [Slot; GUARDS_MAX] = [const {
    Slot {
        taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        length: AtomicUsize::new(0),
        lost: AtomicBool::new(false),
    }
}; GUARDS_MAX];

/// What the signal did before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// A guarded mapping. It is to be dropped before the memory is unmapped.
pub(crate) struct Guard {
    slot: usize,
}

impl Guard {
    /// Guards `length` bytes at `start`.
    ///
    /// # Safety
    /// They must be a shared mapping of the caller's own, which may be replaced by other pages at any moment.
    pub(crate) unsafe fn new(start: usize, length: usize) -> io::Result<Self> {
        install()?;
        let free = SLOTS.iter().position(|slot| !slot.taken.swap(true, Ordering::AcqRel));
        let Some(slot) = free else {
            let what = format!("{GUARDS_MAX} pieces of memory are shared with peers already");
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, what));
        };
        SLOTS[slot].lost.store(false, Ordering::Relaxed);
        SLOTS[slot].start.store(start, Ordering::Relaxed);
        SLOTS[slot].length.store(length, Ordering::Release);
        Ok(Self { slot })
    }

    /// Whether the memory was taken away and then used.
    pub(crate) fn is_lost(&self) -> bool {
        SLOTS[self.slot].lost.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        SLOTS[self.slot].length.store(0, Ordering::Release);
        SLOTS[self.slot].taken.store(false, Ordering::Release);
    }
}

/// Takes the signal over, once for the process.
fn install() -> io::Result<()> {
    let mut failure = None;
    BEFORE.get_or_init(|| {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: all-zero is a valid sigaction; the handler is a function with the signature that SA_SIGINFO asks for, and
        // both structures outlive the calls.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            if libc::sigaction(libc::SIGBUS, &raw const action, before.as_mut_ptr()) != 0 {
                failure = Some(io::Error::last_os_error());
            }
            before.assume_init()
        }
    });
    failure.map_or(Ok(()), Err)
}

/// Runs on the thread that has used the memory. Only loads, stores and two system calls that may be made here.
extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid structure to a handler with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    if !give_zeroes(address)
        && let Some(before) = BEFORE.get()
    {
        // SAFETY: it is what sigaction returned. The instruction faults again, and that handler gets it.
        unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
    }
}

/// Puts zero pages in place of the guarded mapping that holds `address`, if there is one.
fn give_zeroes(address: usize) -> bool {
    for slot in &SLOTS {
        let (length, start) = (slot.length.load(Ordering::Acquire), slot.start.load(Ordering::Relaxed));
        if length == 0 || !(start..start + length).contains(&address) {
            continue;
        }
        slot.lost.store(true, Ordering::Release);
        // SAFETY: the range is a mapping whose owner has agreed to this; as a whole, so that it is aligned for any page size.
        let mapped = unsafe {
            libc::mmap(
                start as *mut libc::c_void,
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        return mapped != libc::MAP_FAILED;
    }
    false
}
