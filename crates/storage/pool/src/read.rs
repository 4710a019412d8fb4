//! Reading from one copy, verifying, and repairing a bad copy from a good one.
//!
//! A repair writes the verified bytes over the bad ones in the same slot. The slot cannot have another owner, because the
//! reader holds the chunk; and writing the same sectors again is what makes a drive replace those it cannot read.

use std::ops::Range;

use quarry_env::{Buffer, View};
use quarry_format::anchor::Slot;
use quarry_format::crc32c;
use quarry_types::limits::SECTOR_BYTES;

use crate::{Chunk, CopyError, Pool, PoolError};

/// A piece of a read: so many bytes with this checksum, then padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Bytes that the checksum covers.
    pub bytes: u32,
    /// Sectors with padding.
    pub sectors: u32,
    /// CRC-32C.
    pub checksum: u32,
}

impl Expected {
    fn padded_bytes(&self) -> usize {
        self.sectors as usize * SECTOR_BYTES
    }

    fn holds(&self, piece: &[u8]) -> bool {
        crc32c(&piece[..self.bytes as usize]) == self.checksum
    }
}

/// The ranges of the pieces in a read that holds them one behind the other.
fn ranges(pieces: &[Expected]) -> impl Iterator<Item = (&Expected, Range<usize>)> {
    pieces.iter().scan(0, |start, piece| {
        let range = *start..*start + piece.padded_bytes();
        *start = range.end;
        Some((piece, range))
    })
}

impl Pool {
    /// Reads `pieces`, one behind the other from sector `sector` of a chunk, and verifies each of them.
    pub async fn read_verified(
        &self,
        chunk: &Chunk,
        sector: u32,
        pieces: &[Expected],
    ) -> Result<View, PoolError> {
        let offset = u64::from(sector) * SECTOR_BYTES as u64;
        let bytes: usize = pieces.iter().map(Expected::padded_bytes).sum();
        let order = chunk.read_order(self);
        let Some((&first, others)) = order.split_first() else {
            return Err(PoolError::Unreadable { chunk: chunk.id(), offset, source: None });
        };
        match self.read_copy(first, offset, bytes).await {
            Ok(buffer) => {
                if ranges(pieces).all(|(piece, range)| piece.holds(&buffer[range])) {
                    return Ok(buffer.freeze());
                }
                self.mend(chunk, first, others, offset, pieces, buffer).await
            }
            Err(error) => {
                tracing::warn!(device = first.device, chunk = %chunk.id(), offset, %error, "read failed, trying another copy");
                if others.is_empty() {
                    return Err(PoolError::Unreadable { chunk: chunk.id(), offset, source: Some(error) });
                }
                // All pieces count as bad: each comes from another copy and is written back.
                let buffer = self.env.buffers.allocate(bytes);
                self.mend(chunk, first, others, offset, pieces, buffer).await
            }
        }
    }

    /// Reads bytes of one copy as they are.
    pub async fn read_copy(&self, slot: Slot, offset: u64, bytes: usize) -> Result<Buffer, CopyError> {
        let Some(device) = self.device(slot.device) else {
            return Err(CopyError::Gone { device: slot.device });
        };
        self.count_read(slot.device, true);
        let result =
            device.read(device.slot_offset(slot.index) + offset, self.env.buffers.allocate(bytes)).await;
        self.count_read(slot.device, false);
        self.shared.note_read(slot.device, result.as_ref().err().map(|error| error as _));
        Ok(result?)
    }

    /// Replaces the pieces of `buffer` that do not hold by those of other copies, and writes them over the bad ones.
    async fn mend(
        &self,
        chunk: &Chunk,
        bad: Slot,
        others: &[Slot],
        offset: u64,
        pieces: &[Expected],
        mut buffer: Buffer,
    ) -> Result<View, PoolError> {
        let mut mended = Vec::new();
        for (piece, range) in ranges(pieces) {
            if piece.holds(&buffer[range.clone()]) {
                continue;
            }
            let at = offset + range.start as u64;
            let good = self.find_good_copy(chunk, others, at, piece).await?;
            buffer[range.clone()].copy_from_slice(&good);
            mended.push(range);
        }
        let view = buffer.freeze();
        for range in mended {
            self.repair(chunk, bad, offset + range.start as u64, view.slice(range)).await;
        }
        Ok(view)
    }

    async fn find_good_copy(
        &self,
        chunk: &Chunk,
        slots: &[Slot],
        offset: u64,
        piece: &Expected,
    ) -> Result<Buffer, PoolError> {
        let mut source = None;
        for &slot in slots {
            match self.read_copy(slot, offset, piece.padded_bytes()).await {
                Ok(buffer) if piece.holds(&buffer) => return Ok(buffer),
                Ok(_) => {}
                Err(error) => source = Some(error),
            }
        }
        let bytes = piece.bytes as usize;
        Err(match source {
            None => PoolError::Corrupt { chunk: chunk.id(), offset, bytes, copies: slots.len() + 1 },
            Some(error) => PoolError::Unreadable { chunk: chunk.id(), offset, source: Some(error) },
        })
    }

    /// Writes verified bytes over a bad copy. That it fails is no error of the reader, who has good bytes.
    async fn repair(&self, chunk: &Chunk, slot: Slot, offset: u64, data: View) {
        if self.shared.is_failed(slot.device) || !chunk.slots().contains(&slot) {
            return;
        }
        let Some(device) = self.device(slot.device) else { return };
        let bytes = data.len();
        match device.write(device.slot_offset(slot.index) + offset, vec![data]).await {
            Ok(()) => tracing::warn!(
                device = slot.device, chunk = %chunk.id(), offset, bytes, "bad copy repaired from a good one"
            ),
            Err(error) => self.shared.fail_device(slot.device, format!("repair failed: {error}")),
        }
    }
}
