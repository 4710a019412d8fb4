//! Memory that is shared with a peer: files that live in memory, mapped.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::rc::Rc;

use quarry_env::{PeerEvent, PeerFile, SharedMemory, Sharing};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use crate::guard::Guard;
use crate::network::SystemNetwork;
use crate::peer_event::SystemEvent;

/// `f_type` of statfs(2) for the file systems whose pages are memory.
const TMPFS: i64 = 0x0102_1994;
const HUGETLBFS: i64 = 0x9584_58f6;

/// A mapping. The guard goes before the pages do.
struct Mapping {
    guard: Option<Guard>,
    /// The whole pages that were mapped.
    pages: NonNull<u8>,
    pages_bytes: usize,
    /// Where in them the part begins that was asked for.
    skip: usize,
    length: usize,
}

impl SharedMemory for Mapping {
    fn start(&self) -> NonNull<u8> {
        // SAFETY: `skip` is inside of the mapping.
        unsafe { self.pages.add(self.skip) }
    }

    fn length(&self) -> usize {
        self.length
    }

    fn is_lost(&self) -> bool {
        self.guard.as_ref().is_some_and(Guard::is_lost)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard = None;
        // SAFETY: mapped by `map` with this length, and nobody has the address but through this value. Unmapping what was
        // mapped does not fail.
        let _ = unsafe { munmap(self.pages.as_ptr().cast(), self.pages_bytes) };
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn map(file: &OwnedFd, offset: u64, length: usize) -> io::Result<Mapping> {
    let system = rustix::fs::fstatfs(file)?;
    if ![TMPFS, HUGETLBFS].contains(&system.f_type) {
        return Err(invalid("shared memory has to be a memfd, or a file on tmpfs or hugetlbfs".to_owned()));
    }
    let size = rustix::fs::fstat(file)?.st_size as u64;
    let end = offset.checked_add(length as u64).filter(|&end| length > 0 && end <= size);
    let Some(end) = end else {
        return Err(invalid(format!("{length} bytes at {offset} of a file of {size} bytes")));
    };
    // The page size of hugetlbfs, or of memory.
    let page = u64::try_from(system.f_bsize).unwrap_or(4096).max(4096);
    let (first, last) = (offset / page * page, end.next_multiple_of(page));
    let pages_bytes = (last - first) as usize;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let start = unsafe {
        mmap(
            std::ptr::null_mut(),
            pages_bytes,
            protection,
            MapFlags::SHARED | MapFlags::NORESERVE,
            file,
            first,
        )?
    };
    let pages = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
    // The memory of others has no place in a dump of ours. Best effort.
    // SAFETY: the range was mapped just now, and the advice changes nothing in it.
    let _ = unsafe { madvise(start, pages_bytes, Advice::LinuxDontDump) };
    let mut mapping = Mapping { guard: None, pages, pages_bytes, skip: (offset - first) as usize, length };
    // SAFETY: the mapping is ours, and it is used as volatile memory only, which may become zeroes at any time.
    mapping.guard = Some(unsafe { Guard::new(start as usize, pages_bytes)? });
    Ok(mapping)
}

impl Sharing for SystemNetwork {
    fn map(&self, file: &PeerFile, offset: u64, length: usize) -> io::Result<Rc<dyn SharedMemory>> {
        let file = file.0.downcast_ref::<OwnedFd>().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Rc::new(map(file, offset, length)?))
    }

    fn create(&self, length: usize) -> io::Result<(PeerFile, Rc<dyn SharedMemory>)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("quarry-shared", flags)?;
        rustix::fs::ftruncate(&file, length as u64)?;
        rustix::fs::fcntl_add_seals(file.as_fd(), SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mapping = map(&file, 0, length)?;
        Ok((PeerFile(Box::new(file)), Rc::new(mapping)))
    }

    fn event(&self, file: PeerFile) -> io::Result<Rc<dyn PeerEvent>> {
        SystemEvent::open(self.ring.clone(), file)
    }
}
