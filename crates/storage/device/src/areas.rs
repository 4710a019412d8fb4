//! The parts of a disk in which signatures live: its beginning and its end.

use std::io;

use quarry_env::{BufferPool, Disk, View};

use crate::raw;

/// Bytes looked at from the beginning.
pub const HEAD_BYTES: u64 = 1 << 20;
/// Bytes looked at before the end: enough for an md 0.90 superblock, which lies 64 to 128 KiB before it.
pub const TAIL_BYTES: u64 = 128 << 10;

/// Beginning and end of a disk. Between them nothing is known.
pub struct Areas<'a> {
    /// Size of the disk in bytes.
    pub size_bytes: u64,
    /// Its first bytes.
    pub head: &'a [u8],
    /// Its last bytes; empty where the head covers all.
    pub tail: &'a [u8],
}

impl Areas<'_> {
    /// `length` bytes at `offset`, where they lie in one of the areas.
    pub fn get(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let tail_offset = self.size_bytes - self.tail.len() as u64;
        let (area, start) = match offset.checked_sub(tail_offset) {
            Some(start) => (self.tail, start),
            None => (self.head, offset),
        };
        let start = usize::try_from(start).ok()?;
        area.get(start..start.checked_add(length)?)
    }

    /// A byte at `offset`.
    pub fn u8_at(&self, offset: u64) -> Option<u8> {
        Some(self.get(offset, 1)?[0])
    }

    /// A little-endian number at `offset`.
    pub fn u32_at(&self, offset: u64) -> Option<u32> {
        Some(u32::from_le_bytes(self.get(offset, 4)?.try_into().ok()?))
    }

    /// A little-endian number at `offset`.
    pub fn u64_at(&self, offset: u64) -> Option<u64> {
        Some(u64::from_le_bytes(self.get(offset, 8)?.try_into().ok()?))
    }

    /// Offset of the first byte that is not zero.
    pub fn first_data(&self) -> Option<u64> {
        let tail_offset = self.size_bytes - self.tail.len() as u64;
        let in_head = self.head.iter().position(|&byte| byte != 0).map(|at| at as u64);
        in_head.or_else(|| self.tail.iter().position(|&byte| byte != 0).map(|at| tail_offset + at as u64))
    }
}

/// The areas as they were read, with the memory that holds them.
pub struct AreasRead {
    size_bytes: u64,
    head: Option<View>,
    tail: Option<View>,
}

impl AreasRead {
    /// Reads both areas of a disk, as far as it has them.
    pub async fn read(disk: &dyn Disk, buffers: &BufferPool) -> io::Result<Self> {
        let sector_bytes = u64::from(disk.geometry().sector_bytes);
        let size_bytes = disk.geometry().size_bytes / sector_bytes * sector_bytes;
        let head_bytes = size_bytes.min(HEAD_BYTES.next_multiple_of(sector_bytes));
        let tail_bytes = (size_bytes - head_bytes).min(TAIL_BYTES.next_multiple_of(sector_bytes));
        Ok(Self {
            size_bytes,
            head: read(disk, buffers, 0, head_bytes).await?,
            tail: read(disk, buffers, size_bytes - tail_bytes, tail_bytes).await?,
        })
    }

    /// The bytes.
    pub fn areas(&self) -> Areas<'_> {
        Areas {
            size_bytes: self.size_bytes,
            head: self.head.as_deref().unwrap_or_default(),
            tail: self.tail.as_deref().unwrap_or_default(),
        }
    }
}

async fn read(disk: &dyn Disk, buffers: &BufferPool, offset: u64, length: u64) -> io::Result<Option<View>> {
    if length == 0 {
        return Ok(None);
    }
    raw::read(disk, buffers, offset, length).await.map(Some)
}
