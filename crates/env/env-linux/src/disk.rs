//! Disk operations on the ring.

use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::FsyncFlags;
use quarry_env::{
    Buffer, Completer, Completion, Disk, DiskGeometry, DiskKind, LocalSpawner, View, completion,
};

use crate::blocking::blocking;
use crate::disk_geometry::FileStatus;
use crate::disk_lock::{FileHandle, OpenFile};
use crate::disks::file_of;
use crate::fixed::Target;
use crate::gather::{self, Gather};
use crate::op::Op;
use crate::ring::Ring;

/// `BLOCK_URING_CMD_DISCARD` of linux/blkdev.h, Linux 6.12: `_IO(0x12, 0)`.
const BLOCK_URING_CMD_DISCARD: u32 = 0x1200;
/// `BLKDISCARD` of linux/fs.h: `_IO(0x12, 119)`.
const BLKDISCARD: libc::c_ulong = 0x1277;

/// An open file as one ring sees it. Operations in flight hold it.
pub(crate) struct RingFile {
    ring: Rc<Ring>,
    target: Target,
    slot: Option<u32>,
    file: Arc<OpenFile>,
    geometry: DiskGeometry,
}

impl Drop for RingFile {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.ring.unregister_file(slot);
        }
    }
}

/// A disk on one core.
pub(crate) struct SystemDisk {
    file: Rc<RingFile>,
    spawner: LocalSpawner,
    _handle: FileHandle,
}

impl SystemDisk {
    pub(crate) fn new(
        ring: Rc<Ring>,
        spawner: LocalSpawner,
        handle: FileHandle,
        geometry: DiskGeometry,
        may_block: bool,
    ) -> Self {
        let file = handle.file().clone();
        let (target, slot) = ring.register_file(file.as_raw_fd());
        let target = if may_block { target.by_workers() } else { target };
        Self { file: Rc::new(RingFile { ring, target, slot, file, geometry }), spawner, _handle: handle }
    }
}

impl RingFile {
    /// Whether a request keeps to the disk's alignment and size.
    fn check(&self, offset: u64, length: usize) -> io::Result<()> {
        let sector = u64::from(self.geometry.sector_bytes);
        if !offset.is_multiple_of(sector) || !(length as u64).is_multiple_of(sector) {
            let why = format!("{length} bytes at {offset} are not multiples of the sector size {sector}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(())
    }

    fn check_write(&self, offset: u64, data: &[View]) -> io::Result<()> {
        let length = gather::length(data);
        data.iter().try_for_each(|view| self.check(offset, view.len()))?;
        if offset.checked_add(length as u64).is_none_or(|end| end > self.geometry.size_bytes) {
            let why = format!("{length} bytes at {offset} exceed the disk's {}", self.geometry.size_bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(())
    }
}

impl Disk for SystemDisk {
    fn geometry(&self) -> &DiskGeometry {
        &self.file.geometry
    }

    fn read(&self, offset: u64, buffer: Buffer) -> Completion<(Buffer, io::Result<()>)> {
        if let Err(error) = self.file.check(offset, buffer.len()) {
            return Completion::ready((buffer, Err(error)));
        }
        if buffer.is_empty() {
            return Completion::ready((buffer, Ok(())));
        }
        let (completer, completion) = completion();
        let file = self.file.clone();
        self.file.ring.start(Op::Read(Read { file, offset, buffer, done: 0, completer }));
        completion
    }

    fn write(&self, offset: u64, data: Vec<View>) -> Completion<io::Result<()>> {
        if let Err(error) = self.file.check_write(offset, &data) {
            return Completion::ready(Err(error));
        }
        let length = gather::length(&data);
        if length == 0 {
            return Completion::ready(Ok(()));
        }
        let (completer, completion) = completion();
        let file = self.file.clone();
        let gather = (!gather::is_contiguous(&data)).then(|| file.ring.gathers.take());
        self.file.ring.start(Op::Write(Write { file, offset, data, length, gather, done: 0, completer }));
        completion
    }

    fn flush(&self) -> Completion<io::Result<()>> {
        control(&self.file, Verb::Flush)
    }

    fn discard(&self, offset: u64, length: u64) -> Completion<io::Result<()>> {
        if let Err(error) = self.file.check(offset, length as usize) {
            return Completion::ready(Err(error));
        }
        if self.file.geometry.kind == DiskKind::File {
            control(&self.file, Verb::Punch { offset, length })
        } else {
            self.discard_block(offset, length)
        }
    }

    fn is_at<'a>(&'a self, path: &'a Path) -> Pin<Box<dyn Future<Output = io::Result<bool>> + 'a>> {
        let (file, path) = (self.file.file.clone(), file_of(path).0.to_owned());
        // A file system that does not answer keeps whoever asks for a path waiting.
        Box::pin(async move { blocking(move || leads_to(&path, file.fd())).await.flatten() })
    }
}

fn leads_to(path: &Path, file: &OwnedFd) -> io::Result<bool> {
    match FileStatus::at(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        // What is neither a file nor a block device is another thing than the disk.
        found => {
            let own = FileStatus::of(file)?.identity()?;
            Ok(found?.identity().is_ok_and(|found| found == own))
        }
    }
}

impl SystemDisk {
    /// The file itself.
    pub(crate) fn file(&self) -> &OwnedFd {
        self.file.file.fd()
    }

    /// Whether a write keeps to the disk's alignment and size.
    pub(crate) fn check_write(&self, offset: u64, data: &[View]) -> io::Result<()> {
        self.file.check_write(offset, data)
    }

    /// Discards on the ring where the kernel can (6.12), else by the blocking call.
    fn discard_block(&self, offset: u64, length: u64) -> Completion<io::Result<()>> {
        let (completer, completion) = completion();
        let on_ring = control(&self.file, Verb::DiscardBlock { offset, length });
        let file = self.file.file.clone();
        let task = async move {
            let result = match on_ring.await {
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)) => {
                    blocking(move || block_discard(&file, offset, length)).await.flatten()
                }
                result => result,
            };
            completer.complete(result);
        };
        self.spawner.spawn(task).detach();
        completion
    }
}

fn block_discard(file: &OpenFile, offset: u64, length: u64) -> io::Result<()> {
    let range = [offset, length];
    // SAFETY: BLKDISCARD reads two 64-bit numbers.
    match unsafe { libc::ioctl(file.as_raw_fd(), BLKDISCARD, range.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A read in flight.
pub(crate) struct Read {
    file: Rc<RingFile>,
    offset: u64,
    buffer: Buffer,
    done: usize,
    completer: Completer<(Buffer, io::Result<()>)>,
}

impl Read {
    pub(crate) fn entry(&mut self) -> Entry {
        let (fd, offset) = (self.file.target.fd(), self.offset + self.done as u64);
        let rest = &mut self.buffer[self.done..];
        let (start, length) = (rest.as_mut_ptr(), gather::request_bytes(rest.len()));
        let entry = match self.buffer.registered() {
            Some(slab) => opcode::ReadFixed::new(fd, start, length, slab).offset(offset).build(),
            None => opcode::Read::new(fd, start, length).offset(offset).build(),
        };
        self.file.target.mark(entry)
    }

    pub(crate) fn complete(mut self, result: io::Result<u32>) -> Option<Self> {
        let result = match result {
            Err(error) => Err(error),
            Ok(count) => {
                self.done += count as usize;
                if self.done == self.buffer.len() {
                    Ok(())
                } else if count > 0 && self.done.is_multiple_of(self.file.geometry.sector_bytes as usize) {
                    return Some(self);
                } else {
                    Err(self.unexpected_end())
                }
            }
        };
        self.completer.complete((self.buffer, result));
        None
    }

    fn unexpected_end(&self) -> io::Error {
        let Self { offset, done, .. } = self;
        let why = format!("{done} of {} bytes at {offset}, then the disk ended", self.buffer.len());
        io::Error::new(io::ErrorKind::UnexpectedEof, why)
    }
}

/// A write in flight.
pub(crate) struct Write {
    file: Rc<RingFile>,
    offset: u64,
    data: Vec<View>,
    length: usize,
    done: usize,
    /// Present when the data is not one range of memory.
    gather: Option<Box<Gather>>,
    completer: Completer<io::Result<()>>,
}

impl Write {
    pub(crate) fn entry(&mut self) -> Entry {
        let (fd, offset) = (self.file.target.fd(), self.offset + self.done as u64);
        let entry = match &mut self.gather {
            Some(gather) => {
                gather.point_to(&self.data, self.done);
                let ranges = gather.ranges();
                opcode::Writev::new(fd, ranges.as_ptr(), ranges.len() as u32).offset(offset).build()
            }
            None => {
                let (start, length) = gather::contiguous(&self.data, self.done..self.length);
                match self.data[0].registered() {
                    Some(slab) => opcode::WriteFixed::new(fd, start, length, slab).offset(offset).build(),
                    None => opcode::Write::new(fd, start, length).offset(offset).build(),
                }
            }
        };
        self.file.target.mark(entry)
    }

    pub(crate) fn complete(mut self, result: io::Result<u32>) -> Option<Self> {
        let result = match result {
            Err(error) => Err(error),
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                self.done += count as usize;
                if self.done < self.length {
                    return Some(self);
                }
                Ok(())
            }
        };
        if let Some(gather) = self.gather {
            self.file.ring.gathers.give_back(gather);
        }
        self.completer.complete(result);
        None
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Flush,
    Punch { offset: u64, length: u64 },
    DiscardBlock { offset: u64, length: u64 },
}

/// An operation without data in flight.
pub(crate) struct Control {
    file: Rc<RingFile>,
    verb: Verb,
    completer: Completer<io::Result<()>>,
}

fn control(file: &Rc<RingFile>, verb: Verb) -> Completion<io::Result<()>> {
    let (completer, completion) = completion();
    file.ring.start(Op::Control(Control { file: file.clone(), verb, completer }));
    completion
}

impl Control {
    pub(crate) fn entry(&mut self) -> Entry {
        let fd = self.file.target.fd();
        let entry = match self.verb {
            Verb::Flush => opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build(),
            Verb::Punch { offset, length } => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                opcode::Fallocate::new(fd, length).offset(offset).mode(mode).build()
            }
            Verb::DiscardBlock { offset, length } => {
                // The command's first eight bytes are `addr3` of the submission, the length.
                let mut command = [0; 16];
                command[..8].copy_from_slice(&length.to_ne_bytes());
                opcode::UringCmd16::new(fd, BLOCK_URING_CMD_DISCARD).addr(Some(offset)).cmd(command).build()
            }
        };
        self.file.target.mark(entry)
    }

    pub(crate) fn complete(self, result: io::Result<u32>) {
        self.completer.complete(result.map(drop));
    }
}
