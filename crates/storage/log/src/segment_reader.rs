//! A segment of the tail in memory, while it is being recovered: the first readable copy, corrected from the others.

use futures::stream::{self, StreamExt};
use quarry_env::View;
use quarry_format::anchor::Slot;
use quarry_format::batch::{Batch, decode, header_length};
use quarry_format::chunk::{ChunkContent, ChunkHeader, SegmentStart};
use quarry_format::crc32c;
use quarry_pool::{Chunk, CopyError, Pool, Slots};
use quarry_types::limits::SECTOR_BYTES;
use quarry_types::{BatchNumber, Incarnation, LogAddress, LogId};

use crate::recover::Expectation;

const PIECE_BYTES: usize = 1 << 20;
const PIECES_IN_FLIGHT: usize = 8;

/// A batch that was found, and the copies that do not hold it.
pub(crate) struct Found {
    pub(crate) batch: Batch,
    pub(crate) start: LogAddress,
    /// Slots whose bytes differ from the valid batch.
    pub(crate) missing_on: Vec<Slot>,
}

/// The bytes of one segment from a sector on.
pub(crate) struct SegmentReader<'a> {
    pool: &'a Pool,
    chunk: &'a Chunk,
    slots: Slots,
    first_byte: usize,
    bytes: Vec<u8>,
    /// Whether one copy could be read through: then what is not there is nowhere, as far as copies can be believed.
    read_through: bool,
}

impl<'a> SegmentReader<'a> {
    /// Reads the segment's first readable copy from `from` to the end of the chunk, or to `to_sector` if it is known.
    pub(crate) async fn load(
        pool: &'a Pool,
        chunk: &'a Chunk,
        from: LogAddress,
        to_sector: Option<u32>,
    ) -> Result<Self, CopyError> {
        let slots = readable(pool, chunk);
        let first_byte = from.offset_bytes() as usize;
        let end =
            to_sector.map_or(pool.geometry().segment_bytes as usize, |sector| sector as usize * SECTOR_BYTES);
        let mut failure = None;
        for &slot in &slots {
            match read_range(pool, slot, first_byte, end).await {
                Ok(bytes) => return Ok(Self { pool, chunk, slots, first_byte, bytes, read_through: true }),
                Err(error) => failure = Some(error),
            }
        }
        // Copies that cannot be read through are tried again batch by batch.
        match failure {
            Some(_) => {
                let bytes = vec![0; end - first_byte];
                Ok(Self { pool, chunk, slots, first_byte, bytes, read_through: false })
            }
            None => Err(CopyError::Gone { device: u16::MAX }),
        }
    }

    fn at(&self, sector: u32) -> &[u8] {
        let offset = sector as usize * SECTOR_BYTES - self.first_byte;
        self.bytes.get(offset..).unwrap_or(&[])
    }

    /// How far flushes have come, as the batches of the opening `incarnation` from `start` on say, wherever they lie: behind one that is damaged
    /// there may be others that know that it was durable.
    pub(crate) fn flushed_through(&self, start: LogAddress, incarnation: Incarnation) -> BatchNumber {
        let step = self.pool.geometry().granule_sectors();
        let said =
            (start.sector()..self.pool.geometry().segment_sectors()).step_by(step as usize).map(|sector| {
                let bytes = self.at(sector);
                header_length(bytes)?;
                let header = decode(bytes).ok()?.header;
                let is_ours = header.pool == self.pool.shared.id
                    && header.address == LogAddress::new(start.segment(), sector)
                    && header.incarnation == incarnation;
                is_ours.then_some(header.flushed_through)
            });
        said.flatten().max().unwrap_or_default()
    }

    /// The batch that `expected` describes, from whichever copy holds it whole. With `compare`, says which copies don't.
    /// An error when no copy could be read there.
    pub(crate) async fn batch(
        &mut self,
        expected: &Expectation,
        compare: bool,
    ) -> Result<Option<Found>, CopyError> {
        let sector = expected.address.sector();
        let mut found = valid_batch(self.at(sector), self.pool, self.log(expected), expected);
        if found.is_none() {
            let (mut failure, mut read) = (None, self.read_through);
            for slot in self.slots.clone() {
                match self.patch(slot, expected).await {
                    Ok(false) => read = true,
                    Ok(true) => {
                        found = valid_batch(self.at(sector), self.pool, self.log(expected), expected);
                        break;
                    }
                    Err(error) => failure = Some(error),
                }
            }
            if let (None, false, Some(error)) = (&found, read, failure) {
                return Err(error);
            }
        }
        let Some(batch) = found else { return Ok(None) };
        let missing_on = if compare { self.copies_without(sector, &batch).await } else { Vec::new() };
        Ok(Some(Found { start: expected.address, batch, missing_on }))
    }

    fn log(&self, expected: &Expectation) -> LogId {
        expected.address.segment().log()
    }

    /// Takes the batch's bytes from `slot` if they are valid there.
    async fn patch(&mut self, slot: Slot, expected: &Expectation) -> Result<bool, CopyError> {
        let start = expected.address.offset_bytes() as usize;
        let end = (start + PIECE_BYTES).min(self.first_byte + self.bytes.len());
        let bytes = read_range(self.pool, slot, start, end).await?;
        if valid_batch(&bytes, self.pool, self.log(expected), expected).is_none() {
            return Ok(false);
        }
        let offset = start - self.first_byte;
        self.bytes[offset..offset + bytes.len()].copy_from_slice(&bytes);
        Ok(true)
    }

    async fn copies_without(&self, sector: u32, batch: &Batch) -> Vec<Slot> {
        let length = batch.header.sectors as usize * SECTOR_BYTES;
        let start = sector as usize * SECTOR_BYTES;
        let good = &self.at(sector)[..length];
        let mut missing = Vec::new();
        for &slot in &self.slots {
            match read_range(self.pool, slot, start, start + length).await {
                Ok(bytes) if bytes == good => {}
                _ => missing.push(slot),
            }
        }
        missing
    }

    /// Writes a valid batch over the copies that do not hold it.
    pub(crate) async fn complete(&self, found: &Found) {
        let length = found.batch.header.sectors as usize * SECTOR_BYTES;
        let bytes = &self.at(found.start.sector())[..length];
        for slot in &found.missing_on {
            self.write(slot, found.start.offset_bytes(), bytes).await;
        }
    }

    /// Writes the header of the segment over the copies that do not hold it: without it nobody finds what is in them.
    pub(crate) async fn complete_header(&self, start: SegmentStart) {
        let content = ChunkContent::Segment(start);
        let (pool, log, chunk) = (self.pool.shared.id, start.segment.log(), self.chunk.id());
        let mut granule = vec![0; self.pool.geometry().granule_bytes as usize];
        let header = ChunkHeader { pool, log, chunk, content }.encode();
        granule[..header.len()].copy_from_slice(&header);
        for slot in &self.slots {
            match read_range(self.pool, *slot, 0, granule.len()).await {
                Ok(bytes) if bytes == granule => {}
                _ => self.write(slot, 0, &granule).await,
            }
        }
    }

    async fn write(&self, slot: &Slot, offset: u64, bytes: &[u8]) {
        let Some(device) = self.pool.device(slot.device) else { return };
        let buffers = &self.pool.env.buffers;
        let data: Vec<View> = bytes.chunks(PIECE_BYTES).map(|piece| buffers.copy_of(piece)).collect();
        if let Err(error) = device.write(device.slot_offset(slot.index) + offset, data).await {
            self.pool.shared.fail_device(slot.device, format!("recovery could not write: {error}"));
            self.chunk.drop_copy(slot.device);
        }
    }
}

/// The copies of a chunk on devices that are there.
fn readable(pool: &Pool, chunk: &Chunk) -> Slots {
    let mut slots = chunk.slots();
    slots.retain(|slot| pool.device(slot.device).is_some() && !pool.shared.is_failed(slot.device));
    slots
}

async fn read_range(pool: &Pool, slot: Slot, from: usize, to: usize) -> Result<Vec<u8>, CopyError> {
    let pieces = (from..to).step_by(PIECE_BYTES).map(|start| {
        let length = PIECE_BYTES.min(to - start);
        pool.read_copy(slot, start as u64, length)
    });
    let mut reads = stream::iter(pieces).buffered(PIECES_IN_FLIGHT);
    let mut bytes = Vec::with_capacity(to - from);
    while let Some(buffer) = reads.next().await {
        bytes.extend_from_slice(&buffer?);
    }
    Ok(bytes)
}

/// The batch at the start of `bytes`, if it is the expected one and whole.
fn valid_batch(bytes: &[u8], pool: &Pool, log: LogId, expected: &Expectation) -> Option<Batch> {
    header_length(bytes)?;
    let batch = decode(bytes).ok()?;
    let header = &batch.header;
    let is_next = header.pool == pool.shared.id
        && header.log == log
        && header.address == expected.address
        && header.number == expected.number
        && header.previous_checksum == expected.previous_checksum
        && header.incarnation == expected.incarnation;
    let whole = bytes.get(..header.sectors as usize * SECTOR_BYTES)?;
    if !is_next {
        return None;
    }
    for item in batch.items() {
        let start = item.sector as usize * SECTOR_BYTES;
        let piece = whole.get(start..start.checked_add(item.sectors as usize * SECTOR_BYTES)?)?;
        // Rot in a batch that is known to be durable is a matter for reads and scrubs; it does not end the log.
        if crc32c(piece) != item.checksum && header.number > expected.flushed_through {
            return None;
        }
    }
    Some(batch)
}
