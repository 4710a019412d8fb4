//! Disks: files, block devices, and whatever a simulation makes of them.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;

use crate::{Buffer, Completion, View};

/// What a path turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskKind {
    /// A regular file.
    File,
    /// A block device.
    Block,
    /// A file that is persistent memory: it is written through a mapping.
    Pmem,
    /// Something that another machine serves.
    Network,
    /// A bucket of an object store.
    Object,
}

/// Facts that do not change while a disk is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskGeometry {
    /// File, block device, or something behind a network.
    pub kind: DiskKind,
    /// Size in bytes when it was opened.
    pub size_bytes: u64,
    /// Offsets, lengths and buffers of I/O are multiples of this many bytes.
    pub sector_bytes: u32,
    /// Writes that are not a multiple of this cost more than their size (file system block, physical sector).
    pub preferred_bytes: u32,
    /// Whether the operating system calls it a spinning disk, where it says so.
    pub rotational: Option<bool>,
    /// Whether the cache of the operating system is bypassed.
    pub direct: bool,
    /// What the disk is called wherever it is attached: a world-wide name or a serial number, of a partition with where it begins.
    /// `None` for what has no such name, as files.
    pub identity: Option<String>,
}

/// How to open a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// Read only and without the lock, to look at what is there.
    Probe,
    /// Read and write, with the exclusive lock; waits, for a bounded time, until the I/O of a dying process has ended, or that of disks
    /// which this process has closed.
    Exclusive,
    /// Create a file of this many bytes with its space allocated, then as [`OpenMode::Exclusive`].
    Create {
        /// Size of the new file.
        size_bytes: u64,
    },
}

/// An open disk. All offsets and lengths are in bytes and multiples of [`DiskGeometry::sector_bytes`].
///
/// Operations on one disk are not ordered against each other, except that a [`Disk::flush`] covers every write whose
/// completion came before the flush was asked for.
pub trait Disk {
    /// Its size, alignment and kind.
    fn geometry(&self) -> &DiskGeometry;
    /// Fills the whole of `buffer` from `offset`. A short read is an error.
    fn read(&self, offset: u64, buffer: Buffer) -> Completion<(Buffer, io::Result<()>)>;
    /// Writes all of `data`, one view behind the other, at `offset`.
    fn write(&self, offset: u64, data: Vec<View>) -> Completion<io::Result<()>>;
    /// Makes every completed write survive power loss.
    fn flush(&self) -> Completion<io::Result<()>>;
    /// Keeps other processes from a disk that was opened without a lock because it has none, from now on until it is closed: by
    /// a claim on it, in the place that the format of a device sets aside. It may wait until a former holder's writes have
    /// ended, and fails when there is another holder. A disk that was locked when it was opened has nothing to do.
    fn hold(&self) -> Local<'_, io::Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// Tells the disk that a range is not needed; its content is undefined afterwards.
    fn discard(&self, offset: u64, length: u64) -> Completion<io::Result<()>>;
    /// Whether `path` leads to this disk still. A file that was deleted or replaced serves who has it open as if nothing were wrong,
    /// until it is closed: then everything on it is gone. Of what a server has nobody can tell but by opening it, so it is there.
    fn is_at<'a>(&'a self, _path: &'a Path) -> Local<'a, io::Result<bool>> {
        Box::pin(std::future::ready(Ok(true)))
    }
}

/// A future on one core, boxed for use behind `dyn`.
pub(crate) type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Opens disks and looks at paths. None of this is on an I/O path.
pub trait Disks {
    /// Opens a file or block device. Two opens of one path in one process share its lock, unless all disks of the first are closed
    /// and requests of theirs have not ended: then the lock is still held, so that nothing lands late on what is opened now.
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> Local<'a, io::Result<Rc<dyn Disk>>>;
    /// Whether `path` is a directory.
    fn is_directory(&self, path: &Path) -> io::Result<bool>;
    /// Free bytes of the file system that holds `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Whether something exists at `path`.
    fn exists(&self, path: &Path) -> bool;
    /// Removes a file that this product created.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The one name of what `path` leads to: absolute, without symbolic links, so that two paths to one file or block
    /// device compare equal. Where a world has no links, the path itself.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_path_buf())
    }
    /// Whether both paths lead to one file or block device, under whatever names.
    fn is_same(&self, one: &Path, other: &Path) -> bool {
        let name = |path: &Path| self.canonical(path).unwrap_or_else(|_| path.to_path_buf());
        name(one) == name(other)
    }
    /// What tells the file at `path` from another one that may come to lie there; `None` of what is no file.
    fn file_identity(&self, _path: &Path) -> io::Result<Option<String>> {
        Ok(None)
    }
    /// Block devices of the machine, by canonical path, and whether each is in use (mounted, or held by another driver).
    fn scan(&self) -> io::Result<Vec<(PathBuf, Option<String>)>>;
}
