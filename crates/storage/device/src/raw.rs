//! Whole-region reads and writes on a disk that is not a [`Device`](crate::Device) yet.

use std::io;

use quarry_env::{BufferPool, Disk, View};

/// Most bytes of zeroes written at once.
const ZEROES_BYTES: u64 = 1 << 20;

/// Reads `length` (> 0) bytes at `offset`, both multiples of the sector.
pub async fn read(disk: &dyn Disk, buffers: &BufferPool, offset: u64, length: u64) -> io::Result<View> {
    let buffer = buffers.allocate(length as usize);
    let (buffer, result) = disk.read(offset, buffer).await;
    result.map(|()| buffer.freeze())
}

/// Writes `length` zero bytes at `offset`, both multiples of the sector.
pub async fn write_zeroes(disk: &dyn Disk, buffers: &BufferPool, offset: u64, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    let zeroes = buffers.allocate_zeroed(length.min(ZEROES_BYTES) as usize).freeze();
    let mut written = 0;
    while written < length {
        let part = (length - written).min(ZEROES_BYTES);
        disk.write(offset + written, vec![zeroes.slice(0..part as usize)]).await?;
        written += part;
    }
    Ok(())
}
