//! An anchor: which checkpoint image of a log counts. Two alternate in the header of every device.

use quarry_types::limits::{COPIES_MAX, DEVICES_MAX};
use quarry_types::{ChunkId, Incarnation, LogId, PoolId};

use crate::{FormatError, Reader, Writer};

const MAGIC: u64 = u64::from_le_bytes(*b"QRYANCHR");
const VERSION: u16 = 1;
const NAME: &str = "anchor";
/// Bytes of an anchor on a device.
pub const ANCHOR_BYTES: usize = 4096;
/// Most chunks that one image can fill: 3.75 GiB of image with full-size chunks.
pub const IMAGE_CHUNKS_MAX: usize = 120;

const _: () = assert!(
    16 + 16 + 2 + 8 * 4 + 4 + 8 + IMAGE_CHUNKS_MAX * (8 + 1 + COPIES_MAX * 6) <= ANCHOR_BYTES,
    "an anchor holds the places of the largest image"
);

/// A place of one chunk on one device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot {
    /// Index of the device in its pool.
    pub device: u16,
    /// The slot, counted from the first behind the device's header.
    pub index: u32,
}

/// A chunk and where its copies are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    /// The chunk.
    pub chunk: ChunkId,
    /// One slot a copy, on distinct devices.
    pub slots: Vec<Slot>,
}

impl Placement {
    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.u64(self.chunk.0).u8(self.slots.len() as u8);
        for slot in &self.slots {
            writer.u16(slot.device).u32(slot.index);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let chunk = ChunkId(reader.u64()?);
        let count = reader.u8()?;
        if usize::from(count) > COPIES_MAX {
            return Err(reader.field("copies", u64::from(count)));
        }
        let mut slots = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let slot = Slot { device: reader.u16()?, index: reader.u32()? };
            if usize::from(slot.device) >= DEVICES_MAX {
                return Err(reader.field("device", u64::from(slot.device)));
            }
            slots.push(slot);
        }
        Ok(Self { chunk, slots })
    }
}

/// Names the image that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// The pool.
    pub pool: PoolId,
    /// The log.
    pub log: LogId,
    /// Counts the images of the log; the highest valid one counts.
    pub sequence: u64,
    /// The opening of the log that wrote it.
    pub incarnation: Incarnation,
    /// Length of the image.
    pub image_bytes: u64,
    /// CRC-32C of the image.
    pub image_checksum: u32,
    /// The chunks that hold it, in order, each behind its header granule.
    pub chunks: Vec<Placement>,
}

impl Anchor {
    /// The bytes, [`ANCHOR_BYTES`] of them.
    ///
    /// # Panics
    /// With more than [`IMAGE_CHUNKS_MAX`] chunks or [`COPIES_MAX`] copies.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.chunks.len() <= IMAGE_CHUNKS_MAX);
        let mut writer = Writer::new(MAGIC, VERSION);
        writer.raw(&self.pool.to_bytes()).u16(self.log.0).u64(self.sequence).u64(self.incarnation.0);
        writer.u64(self.image_bytes).u32(self.image_checksum).u32(self.chunks.len() as u32);
        self.chunks.iter().for_each(|placement| placement.encode(&mut writer));
        writer.raw(&vec![0; ANCHOR_BYTES - writer.len()]);
        writer.finish()
    }

    /// Reads an anchor that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(NAME, MAGIC, VERSION, bytes)?;
        let pool = PoolId::from_bytes(reader.id()?);
        let log = LogId(reader.u16()?);
        let (sequence, incarnation) = (reader.u64()?, Incarnation(reader.u64()?));
        let (image_bytes, image_checksum) = (reader.u64()?, reader.u32()?);
        let count = reader.count(9)?;
        if count > IMAGE_CHUNKS_MAX {
            return Err(reader.field("chunks", count as u64));
        }
        let chunks = (0..count).map(|_| Placement::decode(&mut reader)).collect::<Result<_, _>>()?;
        reader.zero("padding", reader.remaining())?;
        Ok(Self { pool, log, sequence, incarnation, image_bytes, image_checksum, chunks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_come_back_and_damage_is_noticed() {
        let slots = (0..COPIES_MAX as u16).map(|device| Slot { device, index: u32::MAX }).collect::<Vec<_>>();
        let anchor = Anchor {
            pool: PoolId::from_random(1),
            log: LogId(1),
            sequence: 7,
            incarnation: Incarnation(2),
            image_bytes: 1 << 30,
            image_checksum: 9,
            chunks: (0..IMAGE_CHUNKS_MAX as u64)
                .map(|chunk| Placement { chunk: ChunkId(chunk), slots: slots.clone() })
                .collect(),
        };
        let bytes = anchor.encode();
        assert_eq!(bytes.len(), ANCHOR_BYTES);
        assert_eq!(Anchor::decode(&bytes), Ok(anchor));
        for index in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x80;
            assert!(Anchor::decode(&damaged).is_err());
        }
    }
}
