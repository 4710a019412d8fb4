//! Size, alignment and kind of an open disk.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use quarry_env::{DiskGeometry, DiskKind};

use crate::disk_lock::FileIdentity;
use crate::sysfs::{self, DeviceNumber};

/// ioctl numbers of linux/fs.h.
const BLKSSZGET: libc::c_ulong = 0x1268;
const BLKPBSZGET: libc::c_ulong = 0x127b;
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;

const SECTOR_BYTES_MIN: u32 = 512;
/// What is safe for direct I/O when the kernel does not say.
const SECTOR_BYTES_UNKNOWN: u32 = 4096;
const PREFERRED_BYTES_MIN: u32 = 4096;

/// What `statx` says of an open file.
pub(crate) struct FileStatus(libc::statx);

impl FileStatus {
    pub(crate) fn of(fd: &OwnedFd) -> io::Result<Self> {
        Self::ask(fd.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
    }

    /// Of what a path leads to.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Self::ask(libc::AT_FDCWD, &CString::new(path.as_os_str().as_bytes())?, 0)
    }

    fn ask(directory: RawFd, path: &CStr, flags: libc::c_int) -> io::Result<Self> {
        // SAFETY: all-zero is a valid statx structure.
        let mut status: libc::statx = unsafe { std::mem::zeroed() };
        let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME | libc::STATX_DIOALIGN;
        // SAFETY: the path is a string that ends with a zero, and `status` takes the answer.
        let result = unsafe { libc::statx(directory, path.as_ptr(), flags, mask, &raw mut status) };
        if result == 0 { Ok(Self(status)) } else { Err(io::Error::last_os_error()) }
    }

    /// File or block device, or an error for anything else.
    pub(crate) fn kind(&self) -> io::Result<DiskKind> {
        match libc::mode_t::from(self.0.stx_mode) & libc::S_IFMT {
            libc::S_IFREG => Ok(DiskKind::File),
            libc::S_IFBLK => Ok(DiskKind::Block),
            _ => {
                let why = "it is neither a regular file nor a block device";
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
        }
    }

    /// What makes two paths lead to the same disk. A block device is known by its own number, under any node.
    pub(crate) fn identity(&self) -> io::Result<FileIdentity> {
        let is_file = self.kind()? == DiskKind::File;
        Ok(if is_file { (self.file_system().0, self.0.stx_ino) } else { (u64::MAX, self.device().0) })
    }

    /// Of a file: its file system, inode and time of creation. The number of an inode is given again, the time is not.
    pub(crate) fn file_identity(&self) -> io::Result<Option<String>> {
        let (device, created) = (self.file_system().0, self.0.stx_btime);
        let identity = || format!("{device:x}:{}:{}.{:09}", self.0.stx_ino, created.tv_sec, created.tv_nsec);
        Ok((self.kind()? == DiskKind::File).then(identity))
    }

    fn file_system(&self) -> DeviceNumber {
        DeviceNumber(libc::makedev(self.0.stx_dev_major, self.0.stx_dev_minor))
    }

    /// The number of the block device that the file is.
    pub(crate) fn device(&self) -> DeviceNumber {
        DeviceNumber(libc::makedev(self.0.stx_rdev_major, self.0.stx_rdev_minor))
    }

    /// The geometry of `fd`, which this is the status of; `direct` says whether it bypasses the page cache.
    pub(crate) fn geometry(&self, fd: &OwnedFd, direct: bool) -> io::Result<DiskGeometry> {
        if self.kind()? == DiskKind::File {
            Ok(self.file_geometry(direct))
        } else {
            self.block_geometry(fd, direct)
        }
    }

    fn file_geometry(&self, direct: bool) -> DiskGeometry {
        let aligned = self.0.stx_mask & libc::STATX_DIOALIGN != 0 && self.0.stx_dio_offset_align > 0;
        let sector_bytes = match (direct, aligned) {
            (false, _) => SECTOR_BYTES_MIN,
            // Buffers come from memory that is aligned to 4096; parts of them are multiples of a sector.
            (true, true) => {
                self.0.stx_dio_offset_align.max(self.0.stx_dio_mem_align.min(4096)).max(SECTOR_BYTES_MIN)
            }
            (true, false) => SECTOR_BYTES_UNKNOWN,
        };
        DiskGeometry {
            kind: DiskKind::File,
            size_bytes: self.0.stx_size,
            sector_bytes,
            preferred_bytes: self.0.stx_blksize.max(PREFERRED_BYTES_MIN).max(sector_bytes),
            rotational: self.file_system().is_rotational(),
            direct,
            identity: None,
        }
    }

    fn block_geometry(&self, fd: &OwnedFd, direct: bool) -> io::Result<DiskGeometry> {
        let mut size_bytes = 0u64;
        let mut logical_bytes: libc::c_int = 0;
        let mut physical_bytes: libc::c_uint = 0;
        // SAFETY: BLKGETSIZE64 writes a 64-bit number.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), BLKGETSIZE64, &raw mut size_bytes) })?;
        // SAFETY: BLKSSZGET writes an int.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), BLKSSZGET, &raw mut logical_bytes) })?;
        // SAFETY: BLKPBSZGET writes an unsigned int.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), BLKPBSZGET, &raw mut physical_bytes) })?;
        let sector_bytes = u32::try_from(logical_bytes).unwrap_or(0).max(SECTOR_BYTES_MIN);
        Ok(DiskGeometry {
            kind: DiskKind::Block,
            size_bytes,
            sector_bytes,
            preferred_bytes: physical_bytes.max(sector_bytes),
            rotational: self.device().is_rotational(),
            direct,
            identity: sysfs::identity(&self.device().directory()),
        })
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
