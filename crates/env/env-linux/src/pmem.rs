//! Persistent memory: a file that is written by storing into a mapping of it, without system calls.
//!
//! On a file system with DAX the mapping is the memory itself, and `MAP_SYNC` promises that its place in the file survives power loss: a
//! write goes past the caches of the CPU, and has nothing left for a flush to do. Anywhere else it is the page cache, and a flush asks the
//! file system, as for every file. Reads ask the file system in both cases: what the memory has lost is an error of that read alone.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::ptr::NonNull;

use quarry_env::{Buffer, Completion, Disk, DiskGeometry, DiskKind, View};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::disk::SystemDisk;
use crate::guard::Guard;

/// The whole of a file in memory. The guard goes before the pages do.
struct Mapping {
    guard: Option<Guard>,
    start: NonNull<u8>,
    length: usize,
    /// Whether what is stored past the caches survives power loss.
    is_synchronous: bool,
}

impl Mapping {
    /// Maps `length` bytes of a file, all of which have their space.
    fn of(file: &OwnedFd, length: u64) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let map = |flags: MapFlags| {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
            unsafe { mmap(std::ptr::null_mut(), length, protection, flags, file, 0) }
        };
        let synchronous = match cfg!(target_arch = "x86_64") {
            true => map(MapFlags::SHARED_VALIDATE | MapFlags::SYNC),
            false => Err(Errno::OPNOTSUPP),
        };
        let is_synchronous = synchronous.is_ok();
        let start = match synchronous {
            Err(Errno::OPNOTSUPP | Errno::INVAL) => map(MapFlags::SHARED)?,
            mapped => mapped?,
        };
        let pages = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut mapping = Self { guard: None, start: pages, length, is_synchronous };
        // SAFETY: the mapping is ours, nobody has references into it, and what was stored into other pages is reported as failed.
        mapping.guard = Some(unsafe { Guard::new(start as usize, length)? });
        Ok(mapping)
    }

    /// Stores all of `data` at `offset`, where the mapping has so much.
    fn store(&self, offset: u64, data: &[View]) -> io::Result<()> {
        let mut at = offset as usize;
        for view in data {
            debug_assert!(at + view.len() <= self.length, "it was checked against the size");
            // SAFETY: the range is inside of the mapping, and no reference leads there.
            unsafe {
                let to = self.start.add(at);
                match self.is_synchronous {
                    true => store_past_caches(to, view),
                    false => to.copy_from_nonoverlapping(NonNull::from(&view[..]).cast(), view.len()),
                }
            }
            at += view.len();
        }
        if self.is_synchronous {
            fence();
        }
        self.check()
    }

    /// Fails when a store found no memory behind the mapping: the file was cut off, or the memory is broken.
    fn check(&self) -> io::Result<()> {
        match self.guard.as_ref().is_some_and(Guard::is_lost) {
            true => Err(io::Error::other("the memory behind the file is gone")),
            false => Ok(()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard = None;
        // SAFETY: mapped with this length, and nobody has the address but through this value. Unmapping what was mapped does not fail.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Copies so that nothing of it stays in the caches of the CPU (Intel SDM volume 1, section 10.4.6.2: non-temporal stores).
///
/// # Safety
/// `to` has room for all of it and is a multiple of 16, as is the length.
#[cfg(target_arch = "x86_64")]
unsafe fn store_past_caches(to: NonNull<u8>, from: &[u8]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
    for (index, word) in from.chunks_exact(size_of::<__m128i>()).enumerate() {
        // SAFETY: 16 bytes are read from the chunk, and written where the caller has room, aligned as the instruction wants it.
        unsafe {
            _mm_stream_si128(to.cast::<__m128i>().as_ptr().add(index), _mm_loadu_si128(word.as_ptr().cast()))
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn store_past_caches(_: NonNull<u8>, _: &[u8]) {
    unreachable!("no mapping is synchronous here");
}

/// What was stored before is in the memory's own domain of power when this returns.
fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// A file as persistent memory, on one core.
pub(crate) struct PmemDisk {
    disk: SystemDisk,
    mapping: Mapping,
    geometry: DiskGeometry,
}

impl PmemDisk {
    /// The file that `disk` has open, whose space is allocated as a whole: no store may find the file system full.
    pub(crate) fn new(disk: SystemDisk) -> io::Result<Self> {
        let mut geometry = DiskGeometry { kind: DiskKind::Pmem, ..disk.geometry().clone() };
        if disk.geometry().kind != DiskKind::File {
            let what = "persistent memory is used through a file on a file system that is mounted with DAX";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let file = disk.file();
        loop {
            match fallocate(file, FallocateFlags::empty(), 0, geometry.size_bytes) {
                Err(Errno::INTR) => {}
                allocated => break allocated?,
            }
        }
        let mapping = Mapping::of(file, geometry.size_bytes)?;
        geometry.direct = mapping.is_synchronous;
        Ok(Self { disk, mapping, geometry })
    }
}

impl Disk for PmemDisk {
    fn geometry(&self) -> &DiskGeometry {
        &self.geometry
    }

    fn read(&self, offset: u64, buffer: Buffer) -> Completion<(Buffer, io::Result<()>)> {
        self.disk.read(offset, buffer)
    }

    fn write(&self, offset: u64, data: Vec<View>) -> Completion<io::Result<()>> {
        let stored = self.disk.check_write(offset, &data).and_then(|()| self.mapping.store(offset, &data));
        Completion::ready(stored)
    }

    fn flush(&self) -> Completion<io::Result<()>> {
        match self.mapping.check() {
            Err(lost) => Completion::ready(Err(lost)),
            Ok(()) if self.mapping.is_synchronous => Completion::ready(Ok(())),
            Ok(()) => self.disk.flush(),
        }
    }

    /// Nothing: the space stays allocated.
    fn discard(&self, _: u64, _: u64) -> Completion<io::Result<()>> {
        Completion::ready(Ok(()))
    }

    fn is_at<'a>(&'a self, path: &'a Path) -> Pin<Box<dyn Future<Output = io::Result<bool>> + 'a>> {
        self.disk.is_at(path)
    }
}
