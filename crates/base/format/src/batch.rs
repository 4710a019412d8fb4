//! A batch: the unit of append. Header and record table, then the payloads in the order of their records.
//!
//! The header is padded to the pool's granule, so that payload blocks are aligned; payloads are whole sectors; nothing in the
//! table says where one lies, because order and size do (see [`Layout`]): a batch can be moved to another segment by encoding
//! its header again. The checksum of a header covers the checksums of all payloads, and each header carries the
//! checksum of the one before it: a chain from the first batch of an incarnation to the last.

use quarry_types::limits::{BATCH_HEADER_BYTES_MAX, BLOCK_SECTORS, SECTOR_BYTES};
use quarry_types::{
    BatchNumber, Incarnation, KeyId, LogAddress, LogId, PoolId, SegmentId, SnapshotCounter, Tag, VolumeNumber,
};

use crate::bytes::PREFIX_BYTES;
use crate::label::{GRANULE_BYTES, GRANULE_SECTORS};
use crate::record::{Record, StoredBlock, encode_stored, encode_write};
use crate::{FormatError, Reader, Writer};

const MAGIC: u64 = u64::from_le_bytes(*b"QRYBATCH");
const VERSION: u16 = 4;
const NAME: &str = "batch header";
/// Bytes of a header in front of its records.
pub const FIXED_BYTES: usize = PREFIX_BYTES + 4 + 16 + 2 + 8 + 8 + 8 + 4 + 4 + 4 + 8 + 4;

/// The fixed part of a header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// The pool.
    pub pool: PoolId,
    /// The log.
    pub log: LogId,
    /// The opening of the log that wrote it.
    pub incarnation: Incarnation,
    /// Its number in the log.
    pub number: BatchNumber,
    /// Where the header itself lies, so that a misdirected write is noticed.
    pub address: LogAddress,
    /// Sectors of the whole batch with all padding.
    pub sectors: u32,
    /// Checksum of the header before this one.
    pub previous_checksum: u32,
    /// Every batch up to and including this number survives power loss.
    pub flushed_through: BatchNumber,
}

/// The record table of a batch while it is being filled; independent of where the batch will lie.
pub struct RecordTable {
    writer: Writer,
    count: u32,
}

impl Default for RecordTable {
    fn default() -> Self {
        let mut writer = Writer::new(MAGIC, VERSION);
        writer.raw(&[0; FIXED_BYTES - PREFIX_BYTES]);
        Self { writer, count: 0 }
    }
}

impl RecordTable {
    /// Bytes that a write of `blocks` blocks takes in the table.
    pub const fn write_bytes(blocks: usize) -> usize {
        1 + 4 + 8 + 4 + 2 + 2 + 4 * blocks
    }

    /// Appends a write without building a [`Record`].
    pub fn push_write(
        &mut self,
        volume: VolumeNumber,
        first_block: u64,
        birth: SnapshotCounter,
        key: KeyId,
        checksums: &[u32],
    ) {
        self.count += 1;
        encode_write(&mut self.writer, volume, first_block, (birth, key), checksums);
    }

    /// Bytes that a write of so many stored blocks takes in the table at most.
    pub const fn stored_bytes_max(blocks: usize) -> usize {
        Self::write_bytes(0) + (StoredBlock::BYTES + Tag::BYTES) * blocks
    }

    /// Appends a write of so many stored blocks, which [`Self::set_stored`] describes before the table is encoded: says where.
    pub fn push_stored(
        &mut self,
        volume: VolumeNumber,
        first_block: u64,
        birth: SnapshotCounter,
        key: KeyId,
        blocks: usize,
    ) -> impl Iterator<Item = usize> + use<> {
        self.count += 1;
        let begun = self.writer.len() + Self::write_bytes(0);
        encode_stored(
            &mut self.writer,
            volume,
            first_block,
            (birth, key),
            &vec![StoredBlock::default(); blocks],
        );
        (begun..self.writer.len()).step_by(StoredBlock::bytes(key))
    }

    /// Describes a stored block that [`Self::push_stored`] has put at `at`.
    pub fn set_stored(&mut self, at: usize, block: &StoredBlock, key: KeyId) {
        let mut bytes = [0; StoredBlock::BYTES + Tag::BYTES];
        self.writer.overwrite(at, block.to_bytes(key, &mut bytes));
    }

    /// Appends any record.
    pub fn push(&mut self, record: &Record) {
        record.encode(&mut self.writer);
        self.count += 1;
    }

    /// Bytes of header and table so far, without padding.
    pub fn len(&self) -> usize {
        self.writer.len()
    }

    /// Whether no record was appended.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The header's bytes for a batch at `header.address`, without padding, and their checksum for the chain.
    pub fn encode(&self, header: &BatchHeader) -> (Vec<u8>, u32) {
        let mut fixed = Writer::new(MAGIC, VERSION);
        fixed.u32(self.writer.len() as u32).raw(&header.pool.to_bytes()).u16(header.log.0);
        fixed.u64(header.incarnation.0).u64(header.number.0);
        fixed.u64(header.address.segment().0).u32(header.address.sector()).u32(header.sectors);
        fixed.u32(header.previous_checksum).u64(header.flushed_through.0).u32(self.count);
        debug_assert_eq!(fixed.len(), FIXED_BYTES);
        let bytes = self.writer.finish_with(fixed);
        let checksum = checksum_field(&bytes);
        (bytes, checksum)
    }
}

fn checksum_field(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[12..16].try_into().expect("a prefix has 16 bytes"))
}

/// A decoded header with its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The fixed part.
    pub header: BatchHeader,
    /// Its checksum, which the next header repeats.
    pub checksum: u32,
    /// Bytes of the header without padding.
    pub header_bytes: usize,
    /// What happened.
    pub records: Vec<Record>,
}

/// Bytes of the header at the start of `bytes`, as far as its prefix can be trusted; `None` when there is none.
pub fn header_length(bytes: &[u8]) -> Option<usize> {
    let magic = bytes.get(..8)?;
    let length = bytes.get(PREFIX_BYTES..PREFIX_BYTES + 4)?;
    if magic != MAGIC.to_le_bytes() {
        return None;
    }
    let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    (FIXED_BYTES..=BATCH_HEADER_BYTES_MAX).contains(&length).then_some(length)
}

/// Decodes the header at the start of `bytes`, which may be followed by anything.
pub fn decode(bytes: &[u8]) -> Result<Batch, FormatError> {
    let Some(length) = header_length(bytes) else {
        let magic =
            bytes.get(..8).map_or(0, |magic| u64::from_le_bytes(magic.try_into().expect("eight bytes")));
        return Err(FormatError::Magic { structure: NAME, found: magic });
    };
    let Some(bytes) = bytes.get(..length) else {
        return Err(FormatError::Short { structure: NAME, needed: length, available: bytes.len() });
    };
    let mut reader = Reader::new(NAME, MAGIC, VERSION, bytes)?;
    reader.u32()?;
    let pool = PoolId::from_bytes(reader.id()?);
    let log = LogId(reader.u16()?);
    let (incarnation, number) = (Incarnation(reader.u64()?), BatchNumber(reader.u64()?));
    let (segment, sector, sectors) = (SegmentId(reader.u64()?), reader.u32()?, reader.u32()?);
    if sector >= quarry_types::limits::SEGMENT_SECTORS_MAX {
        return Err(reader.field("sector", u64::from(sector)));
    }
    let header = BatchHeader {
        pool,
        log,
        incarnation,
        number,
        address: LogAddress::new(segment, sector),
        sectors,
        previous_checksum: reader.u32()?,
        flushed_through: BatchNumber(reader.u64()?),
    };
    let count = reader.count(1)?;
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        records.push(Record::decode(&mut reader)?);
    }
    reader.finish()?;
    Ok(Batch { header, checksum: checksum_field(bytes), header_bytes: length, records })
}

/// One piece of payload: where it lies in the batch and what its bytes must add up to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    /// Sector of its first byte, counted from the start of the batch.
    pub sector: u32,
    /// Sectors of it.
    pub sectors: u32,
    /// CRC-32C of all of them.
    pub checksum: u32,
}

/// Where the payloads of a batch lie: behind the header those that are whole granules, in the order of their records, then, packed
/// by sectors, the others. So blocks as they are stay aligned, and smaller things waste nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    whole: u32,
    packed: u32,
}

impl Layout {
    /// The layout behind a header of `header_sectors` sectors, with `whole_sectors` sectors of payloads that are whole granules.
    pub fn new(header_sectors: u32, whole_sectors: u32) -> Self {
        Self { whole: header_sectors, packed: header_sectors.saturating_add(whole_sectors) }
    }

    /// The place of the next payload, in sectors from the start of the batch.
    pub fn place(&mut self, sectors: u32) -> u32 {
        let cursor = if is_whole(sectors) { &mut self.whole } else { &mut self.packed };
        let place = *cursor;
        *cursor = cursor.saturating_add(sectors);
        place
    }
}

/// Whether a payload of so many sectors is one of whole granules.
pub fn is_whole(sectors: u32) -> bool {
    sectors.is_multiple_of(GRANULE_SECTORS)
}

impl Batch {
    /// Sectors of the padded header.
    pub fn header_sectors(&self) -> u32 {
        (self.header_bytes.next_multiple_of(GRANULE_BYTES as usize) / SECTOR_BYTES) as u32
    }

    /// Where its payloads lie.
    pub fn layout(&self) -> Layout {
        let whole = |sectors: u32| if is_whole(sectors) { sectors } else { 0 };
        let sectors = self.records.iter().map(|record| match record {
            Record::Write { checksums, .. } => BLOCK_SECTORS * checksums.len() as u32,
            Record::WriteStored { blocks, .. } => {
                blocks.iter().map(|block| whole(u32::from(block.sectors))).sum()
            }
            Record::Node { sectors, .. } => whole(u32::from(*sectors)),
            _ => 0,
        });
        Layout::new(self.header_sectors(), sectors.fold(0, u32::saturating_add))
    }

    /// The payloads in the order of their records. They may go beyond [`BatchHeader::sectors`] if the header lies: check before
    /// use.
    pub fn items(&self) -> Vec<Item> {
        let mut layout = self.layout();
        let mut items = Vec::new();
        let mut push = |sectors: u32, checksum: u32| {
            items.push(Item { sector: layout.place(sectors), sectors, checksum });
        };
        for record in &self.records {
            match record {
                Record::Write { checksums, .. } => {
                    checksums.iter().for_each(|&checksum| push(BLOCK_SECTORS, checksum));
                }
                Record::WriteStored { blocks, .. } => {
                    blocks.iter().for_each(|block| push(u32::from(block.sectors), block.checksum));
                }
                Record::Node { sectors, checksum, .. } => push(u32::from(*sectors), *checksum),
                _ => {}
            }
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (RecordTable, BatchHeader, Vec<Record>) {
        let records = crate::record::samples();
        let mut table = RecordTable::default();
        records.iter().for_each(|record| table.push(record));
        let header = BatchHeader {
            pool: PoolId::from_random(1),
            log: LogId(2),
            incarnation: Incarnation(3),
            number: BatchNumber(4),
            address: LogAddress::new(SegmentId::new(LogId(2), 5), 16),
            sectors: 40,
            previous_checksum: 0xdead_beef,
            flushed_through: BatchNumber(1),
        };
        (table, header, records)
    }

    #[test]
    fn what_was_encoded_decodes_to_the_same() {
        let (table, header, records) = sample();
        let (mut bytes, checksum) = table.encode(&header);
        let length = bytes.len();
        bytes.extend_from_slice(&[0x55; 100]);
        let batch = decode(&bytes).expect("valid");
        assert_eq!(batch, Batch { header, checksum, header_bytes: length, records });
        let items = batch.items();
        // Three blocks; a small one and a whole one; a small one; a node of two sectors, and one of a granule.
        assert_eq!(items.iter().map(|item| item.sectors).collect::<Vec<_>>(), [8, 8, 8, 3, 8, 3, 2, 8]);
        assert_eq!(
            items.iter().map(|item| item.sector).collect::<Vec<_>>(),
            [0, 8, 16, 40, 24, 43, 46, 32].map(|at| at + batch.header_sectors())
        );
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let (table, header, _) = sample();
        let (bytes, _) = table.encode(&header);
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x10;
            assert!(decode(&damaged).is_err(), "byte {index}");
            assert!(decode(&bytes[..index]).is_err(), "length {index}");
        }
    }
}
