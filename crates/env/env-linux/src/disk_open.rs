//! Opening and creating disks. Runs on a thread of its own, since every call in it may block.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quarry_env::{DiskGeometry, DiskKind, OpenMode};
use rustix::fs::{FallocateFlags, OFlags, fallocate, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::disk_geometry::FileStatus;
use crate::disk_lock::{Attempt, FileHandle, OpenFile};
use crate::scan;

/// How often a held lock is tried.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// Why a disk was not opened, where the operating system's error alone does not say it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the disk open, or requests of this one have not ended that nobody waits for.
    #[error(
        "{} is held by another process, or by requests that it has not answered yet (waited {} s): stop the process that uses it, or see \
         why it does not answer",
        path.display(),
        waited.as_secs()
    )]
    Held {
        /// The disk.
        path: PathBuf,
        /// How long its lock was tried.
        waited: Duration,
    },
    /// A block device is mounted, or part of something else.
    #[error("{} is in use: {holder}", path.display())]
    InUse {
        /// The disk.
        path: PathBuf,
        /// Who uses it.
        holder: String,
    },
    /// The file system cannot hold the new file.
    #[error("no space for {} of {size_bytes} bytes on its file system", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
    },
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        let kind = match &error {
            OpenError::Held { .. } => io::ErrorKind::WouldBlock,
            OpenError::InUse { .. } => io::ErrorKind::ResourceBusy,
            OpenError::NoSpace { .. } => io::ErrorKind::StorageFull,
        };
        io::Error::new(kind, error)
    }
}

/// A file that is open, and locked unless it was opened as [`OpenMode::Probe`].
pub(crate) struct Opened {
    pub file: FileHandle,
    pub geometry: DiskGeometry,
    /// Submitting an operation may wait for a server or another process; see [`may_block`].
    pub may_block: bool,
}

/// File systems that never make who submits an operation wait, by `f_type` of statfs(2): ext4, xfs, btrfs, f2fs, tmpfs.
const PROMPT_FILE_SYSTEMS: [u64; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];

/// Whether submitting an operation on a file may wait for somebody: FUSE, for instance, waits inside io_uring_enter for the lock of a file
/// that a flush holds, and with it the core. Of what is not known to behave, that is assumed.
fn may_block(fd: &OwnedFd, kind: DiskKind) -> bool {
    let is_prompt = |system: rustix::fs::StatFs| PROMPT_FILE_SYSTEMS.contains(&(system.f_type as u64));
    kind == DiskKind::File && !rustix::fs::fstatfs(fd).is_ok_and(is_prompt)
}

/// How a disk is opened beside [`OpenMode`].
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// For how long its lock is tried.
    pub lock_wait: Duration,
    /// Whether the page cache is bypassed, where the file system can.
    pub wants_direct: bool,
}

/// Opens `path`; blocks, for the lock at most as long as the terms say.
pub(crate) fn open(path: &Path, mode: OpenMode, terms: Terms) -> io::Result<Opened> {
    match mode {
        OpenMode::Probe => {
            let fd: OwnedFd = options(false).open(path)?.into();
            let geometry = FileStatus::of(&fd)?.geometry(&fd, terms.wants_direct && set_direct(&fd))?;
            let may_block = may_block(&fd, geometry.kind);
            Ok(Opened { file: OpenFile::unlocked(fd), geometry, may_block })
        }
        OpenMode::Exclusive => open_exclusive(path, terms),
        OpenMode::Create { size_bytes } => create(path, size_bytes, terms),
    }
}

fn options(write: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    // Without O_NONBLOCK, opening a named pipe by mistake would wait for its other end.
    options.read(true).write(write).custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK);
    options
}

/// Bypasses the page cache from now on, where the file system can; says whether it can.
fn set_direct(fd: &OwnedFd) -> bool {
    fcntl_getfl(fd).is_ok_and(|flags| fcntl_setfl(fd, (flags - OFlags::NONBLOCK) | OFlags::DIRECT).is_ok())
}

fn open_exclusive(path: &Path, terms: Terms) -> io::Result<Opened> {
    let lock_wait = terms.lock_wait;
    let probe: OwnedFd = options(false).open(path)?.into();
    let status = FileStatus::of(&probe)?;
    let (kind, identity) = (status.kind()?, status.identity()?);
    if let Some(file) = OpenFile::of_process(identity) {
        return opened(file, terms);
    }
    if kind == DiskKind::Block
        && let Some(holder) = scan::holder(status.device())
    {
        return Err(OpenError::InUse { path: path.to_owned(), holder }.into());
    }
    drop(probe);
    let deadline = Instant::now() + lock_wait;
    loop {
        // A claimed block device refuses O_EXCL until its holder is gone, like a lock.
        let flags = if kind == DiskKind::Block { libc::O_EXCL } else { 0 };
        match options(true).custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK | flags).open(path) {
            Ok(file) => {
                if let Some(file) = lock_until(file.into(), deadline)? {
                    return opened(file, terms);
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                // The claim may be that of another core, which has opened it in the meantime.
                if let Some(file) = OpenFile::of_process(identity) {
                    return opened(file, terms);
                }
            }
            Err(error) => return Err(error),
        }
        if Instant::now() >= deadline {
            return Err(OpenError::Held { path: path.to_owned(), waited: lock_wait }.into());
        }
        std::thread::sleep(LOCK_POLL);
    }
}

/// Tries to lock until it works; `None` when the time is over.
fn lock_until(mut fd: OwnedFd, deadline: Instant) -> io::Result<Option<FileHandle>> {
    let identity = FileStatus::of(&fd)?.identity()?;
    loop {
        match OpenFile::try_lock(fd, identity)? {
            Attempt::Ours(file) => return Ok(Some(file)),
            Attempt::Held(_) if Instant::now() >= deadline => return Ok(None),
            Attempt::Held(unlocked) => fd = unlocked,
        }
        std::thread::sleep(LOCK_POLL);
    }
}

/// The geometry is read behind the lock: the previous holder may have changed the size.
fn opened(file: FileHandle, terms: Terms) -> io::Result<Opened> {
    let fd = file.file().fd();
    let geometry = FileStatus::of(fd)?.geometry(fd, terms.wants_direct && set_direct(fd))?;
    let may_block = may_block(fd, geometry.kind);
    Ok(Opened { file, geometry, may_block })
}

fn create(path: &Path, size_bytes: u64, terms: Terms) -> io::Result<Opened> {
    let lock_wait = terms.lock_wait;
    let fd: OwnedFd = options(true).create_new(true).mode(0o600).open(path)?.into();
    let created = allocate(path, &fd, size_bytes).and_then(|()| {
        rustix::fs::fsync(&fd)?;
        sync_directory_of(path)?;
        match lock_until(fd, Instant::now() + lock_wait)? {
            Some(file) => opened(file, terms),
            None => Err(OpenError::Held { path: path.to_owned(), waited: lock_wait }.into()),
        }
    });
    if created.is_err() {
        // What is half made is of no use; the first error is the one to report.
        let _ = std::fs::remove_file(path);
    }
    created
}

/// Gives the file its size, with space for all of it.
fn allocate(path: &Path, fd: &OwnedFd, size_bytes: u64) -> io::Result<()> {
    // Looked at first: a file system that runs full on the way has no space for anybody until it notices.
    let status = rustix::fs::fstatvfs(fd)?;
    if size_bytes > status.f_bavail.saturating_mul(status.f_frsize) {
        return Err(OpenError::NoSpace { path: path.to_owned(), size_bytes }.into());
    }
    loop {
        return match fallocate(fd, FallocateFlags::empty(), 0, size_bytes) {
            Ok(()) => Ok(()),
            Err(Errno::INTR) => continue,
            Err(Errno::NOSPC | Errno::FBIG | Errno::DQUOT) => {
                Err(OpenError::NoSpace { path: path.to_owned(), size_bytes }.into())
            }
            Err(Errno::OPNOTSUPP) => write_zeroes(path, fd, size_bytes),
            Err(error) => Err(error.into()),
        };
    }
}

/// What allocates space on a file system that has no call for it.
fn write_zeroes(path: &Path, fd: &OwnedFd, size_bytes: u64) -> io::Result<()> {
    let zeroes = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < size_bytes {
        let length = (size_bytes - offset).min(zeroes.len() as u64) as usize;
        match rustix::io::pwrite(fd, &zeroes[..length], offset) {
            Ok(count) => offset += count as u64,
            Err(Errno::INTR) => {}
            Err(Errno::NOSPC | Errno::DQUOT) => {
                return Err(OpenError::NoSpace { path: path.to_owned(), size_bytes }.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes the entry of `path` in its directory survive power loss.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}
