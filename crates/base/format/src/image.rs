//! A checkpoint image: everything that a log needs to serve again, but for what its tail adds.
//!
//! One image is written whole into fresh chunks; then an anchor names it. It holds the segment table (where every live
//! byte of the log lies), the volumes with the roots of their maps, the point from which the tail is replayed, and the
//! chunks reserved for segments that may have been opened since.

use quarry_types::limits::{
    BLOCK_SECTORS, CODE_DATA_MAX, CODE_DATA_MIN, CODE_PARITY_MAX, CODE_PARITY_MIN, SEGMENT_SECTORS_MAX,
};
use quarry_types::{
    BatchNumber, ChunkId, Incarnation, LogAddress, LogId, PoolId, SegmentId, SnapshotCounter,
};

use crate::anchor::Placement;
use crate::detached::{Detached, Floor};
use crate::node::NodeRef;
use crate::record::{KeyRecord, SnapshotHead, VolumeHead};
use crate::{FormatError, Reader, Writer};

const MAGIC: u64 = u64::from_le_bytes(*b"QRYIMAGE");
const VERSION: u16 = 6;
/// The version before: it knew no groups. Still read.
const VERSION_WITHOUT_GROUPS: u16 = 5;
const NAME: &str = "checkpoint image";

/// A position between two batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// Behind the last batch before it.
    pub address: LogAddress,
    /// Number of the last batch before it.
    pub batch: BatchNumber,
    /// Checksum of that batch's header.
    pub checksum: u32,
}

/// One checkpoint image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// The pool.
    pub pool: PoolId,
    /// The log.
    pub log: LogId,
    /// The opening of the log that wrote it.
    pub incarnation: Incarnation,
    /// Chunks that this opening has allocated so far.
    pub chunks_allocated: u64,
    /// The tail begins here.
    pub replay_from: Position,
    /// Every batch up to and including this number survives power loss.
    pub flushed_through: BatchNumber,
    /// The segment that is opened next, unless the tail holds it already.
    pub next_segment: SegmentId,
    /// Number of the next volume.
    pub next_volume: u32,
    /// Snapshots taken so far.
    pub birth: SnapshotCounter,
    /// Every chunk of the log except those of the image itself.
    pub chunks: Vec<ImageChunk>,
    /// The segment table, in order of segments.
    pub segments: Vec<ImageSegment>,
    /// Chunks for the segments to come, in order of use.
    pub reserve: Vec<ChunkId>,
    /// The volumes.
    pub volumes: Vec<ImageVolume>,
    /// The snapshots, in order of their numbers.
    pub snapshots: Vec<ImageSnapshot>,
    /// The hidden snapshot that is being dissolved, and the first block that is not done: what it alone held before that is
    /// credited.
    pub dissolving: Option<(SnapshotCounter, u64)>,
    /// Subtrees of maps that nothing refers to any more and whose space is still to be credited.
    pub detached: Vec<Detached>,
    /// The data keys of encrypted volumes, in order of their numbers.
    pub keys: Vec<KeyRecord>,
    /// The salts of the openings of the log that began segments which are still there, and of the present one; in order.
    pub salts: Vec<ImageSalt>,
    /// Records with more than one reference, in order of segments.
    pub shared: Vec<ImageShared>,
    /// References to records that are gone and do not count as such yet, with their length in sectors: when they went, others
    /// were on their way.
    pub owed: Vec<(LogAddress, u32)>,
    /// The groups of coded chunks. Their chunks are among [`Self::chunks`], also those with parity and those in which nothing lives.
    pub groups: Vec<ImageGroup>,
}

/// Chunks that are coded together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageGroup {
    /// The chunks with data in the order of the code, and of each the sectors that count: behind them it counts as zeroes.
    pub data: Vec<(ChunkId, u32)>,
    /// The chunks with parity, in the order of the code.
    pub parity: Vec<ChunkId>,
}

/// Most references to one record.
pub const REFERENCES_MAX: u32 = 1 << 30;

/// The records of one segment that more than one block refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageShared {
    /// The segment.
    pub segment: SegmentId,
    /// The sector of each record and its references beyond the first, at least 1; in order of sectors.
    pub records: Vec<(u32, u32)>,
}

/// What the keys of one opening of a log are derived with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageSalt {
    /// The first segment that this opening may have begun; it has all up to the first of the next opening.
    pub first: SegmentId,
    /// Drawn by chance.
    pub salt: [u8; 16],
}

/// A chunk and, if it is packed, where its table lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageChunk {
    /// The copies.
    pub placement: Placement,
    /// Sector and bytes of the table of a packed chunk; zeroes for a segment as it was written.
    pub packed_table: (u32, u32),
    /// The log's count of segments when it was filled: its age. 0 while it is being filled.
    pub sealed_at: u64,
}

/// A segment: where its bytes are and which of them live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageSegment {
    /// The segment.
    pub segment: SegmentId,
    /// Where its bytes lie, in order of their sectors; each run begins behind the sectors of the one before.
    pub runs: Vec<ImageRun>,
    /// Sectors written, header included; 0 while it is open.
    pub end_sector: u32,
    /// One bit a granule or a sector: which of the segment are in the runs. Empty: all of them, as they were written.
    pub kept: Vec<u64>,
    /// One bit a granule or a sector: which live.
    pub live: Vec<u64>,
}

/// A part of a segment that lies in one chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageRun {
    /// First sector of the segment that may be in it.
    pub first_sector: u32,
    /// The chunk.
    pub chunk: ChunkId,
    /// First sector of the run in the chunk.
    pub start_sector: u32,
}

/// A volume and the root of its map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageVolume {
    /// What describes it.
    pub head: VolumeHead,
    /// The root, absent when nothing is mapped.
    pub root: Option<NodeRef>,
    /// The snapshot on which it stands; 0 for none.
    pub parent: SnapshotCounter,
}

/// A snapshot and the root of its map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageSnapshot {
    /// What describes it.
    pub head: SnapshotHead,
    /// The root, absent when nothing is mapped.
    pub root: Option<NodeRef>,
    /// The snapshot on which it stands; 0 for none.
    pub parent: SnapshotCounter,
}

/// Bytes of a run.
const RUN_BYTES: usize = 4 + 8 + 4;
/// Bytes of a segment without runs and with bitmaps of one kind.
const SEGMENT_BYTES_MIN: usize = 8 + 4 + 4 + 2 * (4 + 1);

const EMPTY: u8 = 0;
const FULL: u8 = 1;
const BITS: u8 = 2;

/// Bitmaps are mostly all zero or all one; `bits` says how long they are.
fn encode_bits(writer: &mut Writer, words: &[u64]) {
    writer.u32(words.len() as u32);
    if words.iter().all(|&word| word == 0) {
        writer.u8(EMPTY);
    } else if words.iter().all(|&word| word == u64::MAX) {
        writer.u8(FULL);
    } else {
        writer.u8(BITS);
        words.iter().for_each(|&word| _ = writer.u64(word));
    }
}

fn decode_bits(reader: &mut Reader<'_>) -> Result<Vec<u64>, FormatError> {
    let count = reader.u32()?;
    if count > quarry_types::limits::SEGMENT_SECTORS_MAX / 64 {
        return Err(reader.field("bitmap words", u64::from(count)));
    }
    let count = count as usize;
    match reader.u8()? {
        EMPTY => Ok(vec![0; count]),
        FULL => Ok(vec![u64::MAX; count]),
        BITS => (0..count).map(|_| reader.u64()).collect(),
        other => Err(reader.field("bitmap kind", u64::from(other))),
    }
}

fn encode_node(writer: &mut Writer, node: &NodeRef) {
    writer.raw(&node.to_bytes());
}

fn decode_node(reader: &mut Reader<'_>) -> Result<Option<NodeRef>, FormatError> {
    let bytes = reader.raw(NodeRef::BYTES)?;
    NodeRef::from_bytes(bytes.try_into().expect("raw returns the length asked for"))
        .map_err(|_| reader.field("node reference", 0))
}

impl Position {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.address.0).u64(self.batch.0).u32(self.checksum);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            address: LogAddress(reader.u64()?),
            batch: BatchNumber(reader.u64()?),
            checksum: reader.u32()?,
        })
    }
}

impl Image {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(MAGIC, VERSION);
        writer.raw(&self.pool.to_bytes()).u16(self.log.0).u64(self.incarnation.0).u64(self.chunks_allocated);
        self.replay_from.encode(&mut writer);
        writer.u64(self.flushed_through.0).u64(self.next_segment.0).u32(self.next_volume).u32(self.birth.0);
        writer.u32(self.chunks.len() as u32);
        for chunk in &self.chunks {
            chunk.placement.encode(&mut writer);
            writer.u32(chunk.packed_table.0).u32(chunk.packed_table.1).u64(chunk.sealed_at);
        }
        writer.u32(self.segments.len() as u32);
        self.segments.iter().for_each(|segment| segment.encode(&mut writer));
        writer.u32(self.reserve.len() as u32);
        self.reserve.iter().for_each(|chunk| _ = writer.u64(chunk.0));
        writer.u32(self.volumes.len() as u32);
        for volume in &self.volumes {
            volume.head.encode(&mut writer);
            encode_node(&mut writer, &volume.root.unwrap_or_default());
            writer.u32(volume.parent.0);
        }
        writer.u32(self.snapshots.len() as u32);
        for snapshot in &self.snapshots {
            snapshot.head.encode(&mut writer);
            encode_node(&mut writer, &snapshot.root.unwrap_or_default());
            writer.u32(snapshot.parent.0);
        }
        let (dissolving, cursor) = self.dissolving.unwrap_or_default();
        writer.u32(dissolving.0).u64(cursor);
        writer.u32(self.detached.len() as u32);
        for Detached { node, first_block, floor } in &self.detached {
            encode_node(&mut writer, node);
            writer.u64(*first_block).u32(floor.before.0).u64(floor.cursor).u32(floor.from.0);
        }
        writer.u32(self.keys.len() as u32);
        self.keys.iter().for_each(|key| key.encode(&mut writer));
        writer.u32(self.salts.len() as u32);
        self.salts.iter().for_each(|salt| _ = writer.u64(salt.first.0).raw(&salt.salt));
        writer.u32(self.shared.len() as u32);
        self.shared.iter().for_each(|shared| shared.encode(&mut writer));
        writer.u32(self.owed.len() as u32);
        self.owed.iter().for_each(|(address, sectors)| _ = writer.u64(address.0).u32(*sectors));
        writer.u32(self.groups.len() as u32);
        self.groups.iter().for_each(|group| group.encode(&mut writer));
        writer.finish()
    }

    /// Reads an image that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let versions = [VERSION_WITHOUT_GROUPS, VERSION];
        let (mut reader, version) = Reader::of_either(NAME, MAGIC, versions, bytes)?;
        let reader = &mut reader;
        let mut image = Self {
            pool: PoolId::from_bytes(reader.id()?),
            log: LogId(reader.u16()?),
            incarnation: Incarnation(reader.u64()?),
            chunks_allocated: reader.u64()?,
            replay_from: Position::decode(reader)?,
            flushed_through: BatchNumber(reader.u64()?),
            next_segment: SegmentId(reader.u64()?),
            next_volume: reader.u32()?,
            birth: SnapshotCounter(reader.u32()?),
            chunks: Vec::new(),
            segments: Vec::new(),
            reserve: Vec::new(),
            volumes: Vec::new(),
            snapshots: Vec::new(),
            dissolving: None,
            detached: Vec::new(),
            keys: Vec::new(),
            salts: Vec::new(),
            shared: Vec::new(),
            owed: Vec::new(),
            groups: Vec::new(),
        };
        for _ in 0..reader.count(25)? {
            let placement = Placement::decode(reader)?;
            let packed_table = (reader.u32()?, reader.u32()?);
            image.chunks.push(ImageChunk { placement, packed_table, sealed_at: reader.u64()? });
        }
        for _ in 0..reader.count(SEGMENT_BYTES_MIN)? {
            image.segments.push(ImageSegment::decode(reader)?);
        }
        for _ in 0..reader.count(8)? {
            image.reserve.push(ChunkId(reader.u64()?));
        }
        for _ in 0..reader.count(VolumeHead::BYTES_MIN + NodeRef::BYTES + 4)? {
            let head = VolumeHead::decode(reader)?;
            let (root, parent) = (decode_node(reader)?, SnapshotCounter(reader.u32()?));
            image.volumes.push(ImageVolume { head, root, parent });
        }
        for _ in 0..reader.count(SnapshotHead::BYTES_MIN + NodeRef::BYTES + 4)? {
            let head = SnapshotHead::decode(reader)?;
            let (root, parent) = (decode_node(reader)?, SnapshotCounter(reader.u32()?));
            image.snapshots.push(ImageSnapshot { head, root, parent });
        }
        let (dissolving, cursor) = (SnapshotCounter(reader.u32()?), reader.u64()?);
        image.dissolving = (dissolving.0 > 0).then_some((dissolving, cursor));
        for _ in 0..reader.count(NodeRef::BYTES + 24)? {
            let node = decode_node(reader)?.ok_or_else(|| reader.field("detached node", 0))?;
            let first_block = reader.u64()?;
            let (before, cursor) = (SnapshotCounter(reader.u32()?), reader.u64()?);
            let floor = Floor { before, cursor, from: SnapshotCounter(reader.u32()?) };
            image.detached.push(Detached { node, first_block, floor });
        }
        for _ in 0..reader.count(KeyRecord::BYTES_MIN)? {
            image.keys.push(KeyRecord::decode(reader)?);
        }
        for _ in 0..reader.count(8 + 16)? {
            image.salts.push(ImageSalt { first: SegmentId(reader.u64()?), salt: reader.id()? });
        }
        for _ in 0..reader.count(8 + 4)? {
            let shared = ImageShared::decode(reader)?;
            if image.shared.last().is_some_and(|before| before.segment >= shared.segment) {
                return Err(reader.field("segment of shared records", shared.segment.0));
            }
            image.shared.push(shared);
        }
        for _ in 0..reader.count(8 + 4)? {
            let (address, sectors) = (LogAddress(reader.u64()?), reader.u32()?);
            let is_inside = address.sector() + sectors.min(BLOCK_SECTORS) <= SEGMENT_SECTORS_MAX;
            if address.0 == 0 || !(1..=BLOCK_SECTORS).contains(&sectors) || !is_inside {
                return Err(reader.field("owed record", address.0));
            }
            image.owed.push((address, sectors));
        }
        let groups = if version > VERSION_WITHOUT_GROUPS { reader.count(ImageGroup::BYTES_MIN)? } else { 0 };
        for _ in 0..groups {
            image.groups.push(ImageGroup::decode(reader)?);
        }
        match reader.remaining() {
            0 => Ok(image),
            rest => Err(reader.field("trailing bytes", rest as u64)),
        }
    }
}

impl ImageGroup {
    const BYTES_MIN: usize = 2 + CODE_DATA_MIN * (8 + 4) + CODE_PARITY_MIN * 8;

    fn encode(&self, writer: &mut Writer) {
        writer.u8(self.data.len() as u8).u8(self.parity.len() as u8);
        self.data.iter().for_each(|(chunk, sectors)| _ = writer.u64(chunk.0).u32(*sectors));
        self.parity.iter().for_each(|chunk| _ = writer.u64(chunk.0));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let (data, parity) = (usize::from(reader.u8()?), usize::from(reader.u8()?));
        if !(CODE_DATA_MIN..=CODE_DATA_MAX).contains(&data) {
            return Err(reader.field("data members", data as u64));
        }
        if !(CODE_PARITY_MIN..=CODE_PARITY_MAX).contains(&parity) {
            return Err(reader.field("parity members", parity as u64));
        }
        let mut group = Self { data: Vec::with_capacity(data), parity: Vec::with_capacity(parity) };
        for _ in 0..data {
            let (chunk, sectors) = (ChunkId(reader.u64()?), reader.u32()?);
            if sectors > SEGMENT_SECTORS_MAX {
                return Err(reader.field("sectors of a member", u64::from(sectors)));
            }
            group.data.push((chunk, sectors));
        }
        for _ in 0..parity {
            group.parity.push(ChunkId(reader.u64()?));
        }
        Ok(group)
    }
}

impl ImageShared {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.segment.0).u32(self.records.len() as u32);
        self.records.iter().for_each(|(sector, references)| _ = writer.u32(*sector).u32(*references));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let segment = SegmentId(reader.u64()?);
        let mut records: Vec<(u32, u32)> = Vec::new();
        for _ in 0..reader.count(8)? {
            let (sector, references) = (reader.u32()?, reader.u32()?);
            let is_next = records.last().is_none_or(|(before, _)| *before < sector);
            if !is_next || sector >= SEGMENT_SECTORS_MAX {
                return Err(reader.field("sector of a shared record", u64::from(sector)));
            }
            if !(1..=REFERENCES_MAX).contains(&references) {
                return Err(reader.field("references", u64::from(references)));
            }
            records.push((sector, references));
        }
        match records.is_empty() {
            true => Err(reader.field("shared records", 0)),
            false => Ok(Self { segment, records }),
        }
    }
}

impl ImageSegment {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.segment.0).u32(self.end_sector).u32(self.runs.len() as u32);
        for run in &self.runs {
            writer.u32(run.first_sector).u64(run.chunk.0).u32(run.start_sector);
        }
        encode_bits(writer, &self.kept);
        encode_bits(writer, &self.live);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let (segment, end_sector) = (SegmentId(reader.u64()?), reader.u32()?);
        let mut runs = Vec::new();
        for _ in 0..reader.count(RUN_BYTES)? {
            runs.push(ImageRun {
                first_sector: reader.u32()?,
                chunk: ChunkId(reader.u64()?),
                start_sector: reader.u32()?,
            });
        }
        let (kept, live) = (decode_bits(reader)?, decode_bits(reader)?);
        Ok(Self { segment, runs, end_sector, kept, live })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image {
            pool: PoolId::from_random(1),
            log: LogId(1),
            incarnation: Incarnation(2),
            chunks_allocated: 7,
            replay_from: Position::default(),
            flushed_through: BatchNumber(3),
            next_segment: SegmentId::new(LogId(1), 4),
            next_volume: 1,
            birth: SnapshotCounter(0),
            chunks: Vec::new(),
            segments: Vec::new(),
            reserve: vec![ChunkId(5)],
            volumes: Vec::new(),
            snapshots: Vec::new(),
            dissolving: None,
            detached: Vec::new(),
            keys: Vec::new(),
            salts: Vec::new(),
            shared: Vec::new(),
            owed: Vec::new(),
            groups: Vec::new(),
        }
    }

    fn group(data: u64, parity: u64) -> ImageGroup {
        ImageGroup {
            data: (0..data).map(|chunk| (ChunkId(chunk), 2040)).collect(),
            parity: (100..100 + parity).map(ChunkId).collect(),
        }
    }

    #[test]
    fn groups_come_back_and_impossible_ones_do_not() {
        let coded = Image { groups: vec![group(2, 1), group(8, 3)], ..image() };
        assert_eq!(Image::decode(&coded.encode()), Ok(coded));
        for (data, parity) in [(1, 1), (9, 1), (2, 0), (2, 4)] {
            let wrong = Image { groups: vec![group(data, parity)], ..image() };
            assert!(Image::decode(&wrong.encode()).is_err(), "{data}+{parity}");
        }
        let mut long = Image { groups: vec![group(2, 1)], ..image() };
        long.groups[0].data[1].1 = SEGMENT_SECTORS_MAX + 1;
        assert!(Image::decode(&long.encode()).is_err());
    }

    #[test]
    fn an_image_of_the_version_before_has_no_groups() {
        let bytes = image().encode();
        // It ends in front of the count of groups.
        let mut before = Writer::new(MAGIC, VERSION_WITHOUT_GROUPS);
        before.raw(&bytes[crate::bytes::PREFIX_BYTES..bytes.len() - 4]);
        assert_eq!(Image::decode(&before.finish()), Ok(image()));
        let mut older = Writer::new(MAGIC, VERSION_WITHOUT_GROUPS - 1);
        older.raw(&bytes[crate::bytes::PREFIX_BYTES..]);
        assert!(matches!(Image::decode(&older.finish()), Err(FormatError::Version { found: 4, .. })));
    }
}
