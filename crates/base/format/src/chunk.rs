//! The header of a chunk: its first granule on every slot that holds a copy.

use quarry_types::limits::SEGMENT_SECTORS_MAX;
use quarry_types::{BatchNumber, ChunkId, Incarnation, LogAddress, LogId, PoolId, SegmentId};

use crate::{FormatError, Reader, Writer};

const MAGIC: u64 = u64::from_le_bytes(*b"QRYCHUNK");
const VERSION: u16 = 1;
const NAME: &str = "chunk header";
/// Bytes of every chunk header, without the padding to a granule.
pub const CHUNK_HEADER_BYTES: usize = 128;

/// What identifies a chunk and what it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkHeader {
    /// The pool.
    pub pool: PoolId,
    /// The log that owns it.
    pub log: LogId,
    /// The chunk; also the generation of the slot.
    pub chunk: ChunkId,
    /// What follows.
    pub content: ChunkContent,
}

/// What a chunk holds behind its header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChunkContent {
    /// A whole segment: batches, one behind the other.
    Segment(SegmentStart),
    /// Survivors of several segments, put here by the cleaner.
    Packed,
    /// Part of a checkpoint image.
    Image,
    /// Parity of a group, told of by the [`crate::parity::ParityTable`] behind the header.
    Parity,
}

/// How a segment continues the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentStart {
    /// The segment.
    pub segment: SegmentId,
    /// The opening of the log that wrote it.
    pub incarnation: Incarnation,
    /// Number of its first batch.
    pub first_batch: BatchNumber,
    /// Where the log went on from: behind the last batch that counts. Bytes beyond it never count again.
    pub previous_end: LogAddress,
    /// Checksum of the last header before [`Self::previous_end`].
    pub previous_checksum: u32,
    /// Every batch up to and including this number survives power loss.
    pub flushed_through: BatchNumber,
}

impl ChunkHeader {
    /// The bytes, [`CHUNK_HEADER_BYTES`] of them.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(MAGIC, VERSION);
        writer.raw(&self.pool.to_bytes()).u16(self.log.0).u64(self.chunk.0);
        match &self.content {
            ChunkContent::Segment(start) => {
                writer.u8(1).u64(start.segment.0).u64(start.incarnation.0).u64(start.first_batch.0);
                writer.u64(start.previous_end.0).u32(start.previous_checksum).u64(start.flushed_through.0);
            }
            ChunkContent::Packed => _ = writer.u8(2),
            ChunkContent::Image => _ = writer.u8(3),
            ChunkContent::Parity => _ = writer.u8(4),
        }
        writer.raw(&vec![0; CHUNK_HEADER_BYTES - writer.len()]);
        writer.finish()
    }

    /// Reads the header at the start of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let available = bytes.len();
        let bytes = bytes.get(..CHUNK_HEADER_BYTES).ok_or(FormatError::Short {
            structure: NAME,
            needed: CHUNK_HEADER_BYTES,
            available,
        })?;
        let mut reader = Reader::new(NAME, MAGIC, VERSION, bytes)?;
        let pool = PoolId::from_bytes(reader.id()?);
        let (log, chunk) = (LogId(reader.u16()?), ChunkId(reader.u64()?));
        let content = match reader.u8()? {
            1 => ChunkContent::Segment(SegmentStart {
                segment: SegmentId(reader.u64()?),
                incarnation: Incarnation(reader.u64()?),
                first_batch: BatchNumber(reader.u64()?),
                previous_end: LogAddress(reader.u64()?),
                previous_checksum: reader.u32()?,
                flushed_through: BatchNumber(reader.u64()?),
            }),
            2 => ChunkContent::Packed,
            3 => ChunkContent::Image,
            4 => ChunkContent::Parity,
            other => return Err(reader.field("content", u64::from(other))),
        };
        reader.zero("padding", reader.remaining())?;
        Ok(Self { pool, log, chunk, content })
    }
}

const _: () = assert!(SEGMENT_SECTORS_MAX as usize * quarry_types::SECTOR_BYTES > CHUNK_HEADER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_damage_is_noticed() {
        let start = SegmentStart {
            segment: SegmentId::new(LogId(1), 9),
            incarnation: Incarnation(4),
            first_batch: BatchNumber(100),
            previous_end: LogAddress(0),
            previous_checksum: 5,
            flushed_through: BatchNumber(90),
        };
        let others = [ChunkContent::Packed, ChunkContent::Image, ChunkContent::Parity];
        for content in others.into_iter().chain([ChunkContent::Segment(start)]) {
            let header =
                ChunkHeader { pool: PoolId::from_random(1), log: LogId(1), chunk: ChunkId(7), content };
            let bytes = header.encode();
            assert_eq!(bytes.len(), CHUNK_HEADER_BYTES);
            assert_eq!(ChunkHeader::decode(&bytes), Ok(header));
            for index in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[index] ^= 1;
                assert!(ChunkHeader::decode(&damaged).is_err());
            }
        }
    }
}
