//! Chunks as the code sees them: what they tell of, verified, and zeroes between; and the parity over that.
//!
//! One routine computes parity, whether a group is made, a lost chunk with parity is made again, or a scrub compares: so what is
//! compared is what was written.

use std::ops::Range;
use std::rc::Rc;

use futures::future::{join_all, try_join_all};
use quarry_ec::Code;
use quarry_env::Buffer;
use quarry_format::anchor::Slot;
use quarry_format::chunk::{CHUNK_HEADER_BYTES, ChunkContent, ChunkHeader};
use quarry_format::parity::{CodedMember, ParityTable};
use quarry_types::limits::SECTOR_BYTES;
use quarry_types::{ChunkId, LogId};

use crate::{Chunk, Contents, Expected, Group, Pool, PoolError};

/// Bytes of each member that are in memory at once.
pub(crate) const WINDOW_BYTES: usize = 512 << 10;

/// A chunk with data, what it tells of, and up to where it counts.
pub(crate) struct Told<'a> {
    pub(crate) chunk: &'a Chunk,
    pub(crate) contents: &'a Contents,
    pub(crate) end: usize,
}

/// Some bytes of a chunk as the code sees them.
pub(crate) struct Canonical {
    pub(crate) bytes: Buffer,
    /// Whether the copy that was read has others.
    pub(crate) differs: bool,
    /// Pieces that are bad on every copy; they are as they were read.
    pub(crate) lost: u64,
}

/// The same range of all chunks of a group.
pub(crate) struct CodedWindow {
    pub(crate) data: Vec<Canonical>,
    pub(crate) parity: Vec<Buffer>,
}

impl CodedWindow {
    pub(crate) fn lost(&self) -> u64 {
        self.data.iter().map(|data| data.lost).sum()
    }
}

/// The chunks with data of a group, as they are to be read.
pub(crate) fn told_of<'a>(
    group: &Group,
    chunks: &'a [Rc<Chunk>],
    contents: &'a [Contents],
) -> Vec<(Told<'a>, Option<Slot>)> {
    let told = chunks.iter().zip(contents).enumerate();
    told.map(|(index, (chunk, contents))| (Told { chunk, contents, end: group.end(index) }, None)).collect()
}

impl Told<'_> {
    /// The pieces of which something lies in a range.
    fn pieces_in(&self, range: &Range<usize>) -> impl Iterator<Item = (usize, &Expected)> {
        let pieces =
            self.contents.pieces.iter().map(|(sector, piece)| (*sector as usize * SECTOR_BYTES, piece));
        pieces.filter(move |(start, piece)| *start < range.end && start + piece.bytes() > range.start)
    }
}

/// The windows of a group whose longest chunk has so many bytes, behind the first granules.
pub(crate) fn windows(granule: usize, end: usize) -> impl Iterator<Item = Range<usize>> {
    (granule..end).step_by(WINDOW_BYTES).map(move |start| start..end.min(start + WINDOW_BYTES))
}

impl Pool {
    /// Whole granules of a chunk as the code sees them, best read from `slot`.
    pub(crate) async fn canonical(
        &self,
        told: &Told<'_>,
        slot: Option<Slot>,
        range: Range<usize>,
    ) -> Result<Canonical, PoolError> {
        let granule = self.geometry().granule_bytes as usize;
        let there = range.start..range.end.min(told.end);
        let mut canonical =
            Canonical { bytes: self.env.buffers.allocate_zeroed(range.len()), differs: false, lost: 0 };
        if there.is_empty() {
            return Ok(canonical);
        }
        // Pieces that begin before the range or end behind it are verified as a whole.
        let first = told.pieces_in(&there).map(|(start, _)| start).fold(there.start, usize::min);
        let last =
            told.pieces_in(&there).map(|(start, piece)| start + piece.bytes()).fold(there.end, usize::max);
        let (first, last) = (first - first % granule, last.next_multiple_of(granule));
        let read = self.read_any(told.chunk, slot, first, last - first).await?;
        for (start, piece) in told.pieces_in(&there) {
            let mut bytes = &read[start - first..start - first + piece.bytes()];
            let found;
            if !piece.holds(bytes) {
                match self.find_good_copy(told.chunk, &told.chunk.slots(), start as u64, piece).await {
                    Ok(good) => {
                        found = good;
                        bytes = &found;
                    }
                    Err(_) => canonical.lost += 1,
                }
            }
            let wanted = start.max(there.start)..(start + piece.bytes()).min(there.end);
            canonical.bytes[wanted.start - range.start..wanted.end - range.start]
                .copy_from_slice(&bytes[wanted.start - start..wanted.end - start]);
        }
        let as_read = &read[there.start - first..there.end - first];
        canonical.differs = as_read != &canonical.bytes[..there.len()];
        Ok(canonical)
    }

    /// Granules of a chunk from wherever they can be read, not verified.
    async fn read_any(
        &self,
        chunk: &Chunk,
        slot: Option<Slot>,
        offset: usize,
        bytes: usize,
    ) -> Result<Buffer, PoolError> {
        let mut source = None;
        for slot in slot.into_iter().chain(chunk.read_order(self)) {
            if self.shared.is_failed(slot.device) {
                continue;
            }
            match self.read_copy_apart(slot, offset as u64, bytes).await {
                Ok(buffer) => return Ok(buffer),
                Err(error) => source = Some(error),
            }
        }
        let decoded = self.decode_unverified(chunk, offset as u64, bytes).await;
        decoded.ok_or(PoolError::Unreadable { chunk: chunk.id(), offset: offset as u64, source })
    }

    /// A range of all chunks of a group, with the parity over it.
    pub(crate) async fn coded_window(
        &self,
        code: &Code,
        data: &[(Told<'_>, Option<Slot>)],
        range: Range<usize>,
    ) -> Result<CodedWindow, PoolError> {
        let reads = data.iter().map(|(told, slot)| self.canonical(told, *slot, range.clone()));
        let data = try_join_all(reads).await?;
        let mut parity: Vec<Buffer> =
            (0..code.shape().parity()).map(|_| self.env.buffers.allocate_zeroed(range.len())).collect();
        let inputs: Vec<&[u8]> = data.iter().map(|canonical| &canonical.bytes[..]).collect();
        let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(|buffer| &mut buffer[..]).collect();
        code.encode(&inputs, &mut outputs);
        Ok(CodedWindow { data, parity })
    }

    /// The first granules of the chunks with parity.
    pub(crate) async fn parity_granules(
        &self,
        log: LogId,
        data: &[(Told<'_>, Option<Slot>)],
        parity: &[ChunkId],
    ) -> Result<Vec<Buffer>, PoolError> {
        let granule = self.geometry().granule_bytes as usize;
        let reads = data.iter().map(|(told, slot)| self.canonical(told, *slot, 0..granule));
        let headers: Vec<Result<Canonical, PoolError>> = join_all(reads).await;
        let mut members = Vec::with_capacity(data.len());
        for ((told, _), header) in data.iter().zip(headers) {
            let header = header?.bytes[..CHUNK_HEADER_BYTES].try_into().expect("a granule holds a header");
            members.push(CodedMember {
                chunk: told.chunk.id(),
                sectors: (told.end / SECTOR_BYTES) as u32,
                header,
            });
        }
        let granules = parity.iter().enumerate().map(|(index, &chunk)| {
            let table =
                ParityTable { parity: parity.len() as u8, index: index as u8, members: members.clone() };
            let content = ChunkContent::Parity;
            let header = ChunkHeader { pool: self.shared.id, log, chunk, content }.encode();
            let mut bytes = self.env.buffers.allocate_zeroed(granule);
            let table = table.encode();
            bytes[..header.len()].copy_from_slice(&header);
            bytes[header.len()..header.len() + table.len()].copy_from_slice(&table);
            bytes
        });
        Ok(granules.collect())
    }

    /// Writes granules of a chunk to one slot. A device that fails is out of use.
    pub(crate) async fn write_slot(&self, slot: Slot, offset: usize, bytes: Buffer) -> Result<(), PoolError> {
        let device = self.device(slot.device).filter(|_| !self.shared.is_failed(slot.device));
        let Some(device) = device else { return Err(PoolError::TargetFailed) };
        let at = device.slot_offset(slot.index) + offset as u64;
        device.write(at, vec![bytes.freeze()]).await.map_err(|error| {
            self.shared.fail_device(slot.device, format!("write failed: {error}"));
            PoolError::TargetFailed
        })
    }
}
