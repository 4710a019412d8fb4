//! Checkpoint images: encode the whole state of a log, write it into fresh chunks, then name it in an anchor.
//!
//! Order of a commit: the log's appends are flushed (the caller does it) -> image on its chunks -> flush -> anchor on all
//! devices -> flush -> what the new image no longer names is released. A crash anywhere leaves the old image or the new
//! one; whatever was written for the other lies in slots that the durable image does not name.

use std::collections::BTreeSet;
use std::rc::Rc;

use quarry_format::anchor::{Anchor, IMAGE_CHUNKS_MAX, Placement};
use quarry_format::chunk::{CHUNK_HEADER_BYTES, ChunkContent, ChunkHeader};
use quarry_format::crc32c;
use quarry_format::detached::Detached;
use quarry_format::image::{Image, ImageSalt, ImageShared, ImageSnapshot, ImageVolume, Position};
use quarry_format::record::KeyRecord;
use quarry_types::{BatchNumber, BlockIndex, ChunkId, LogAddress, SegmentId, SnapshotCounter};

use crate::{Chunk, Geometry, LogStore, OpenError, Pool, PoolError, Purpose, SegmentTable};

/// Bytes that one write of an image takes.
const PIECE_BYTES: usize = 1 << 20;
/// Copies of an image, where there are as many devices.
const IMAGE_COPIES: usize = 2;

/// What an image says besides the store's own tables.
#[derive(Clone)]
pub struct ImageParts {
    /// The tail begins here.
    pub replay_from: Position,
    /// Every batch up to and including this number survives power loss.
    pub flushed_through: BatchNumber,
    /// The segment that is opened next.
    pub next_segment: SegmentId,
    /// Number of the next volume.
    pub next_volume: u32,
    /// Snapshots taken so far.
    pub birth: SnapshotCounter,
    /// Chunks for the segments to come, in order of use.
    pub reserve: Vec<Rc<Chunk>>,
    /// The volumes.
    pub volumes: Vec<ImageVolume>,
    /// The snapshots, in order of their numbers.
    pub snapshots: Vec<ImageSnapshot>,
    /// The snapshot that is being dissolved, and the first block that is not done.
    pub dissolving: Option<(SnapshotCounter, BlockIndex)>,
    /// Subtrees whose space is still to be credited.
    pub detached: Vec<Detached>,
    /// The data keys.
    pub keys: Vec<KeyRecord>,
    /// The salts of all openings, in order; those that nothing needs are left out of the image.
    pub salts: Vec<ImageSalt>,
    /// Records with more than one reference.
    pub shared: Vec<ImageShared>,
    /// References that are gone and do not count as such yet.
    pub owed: Vec<(LogAddress, u32)>,
}

impl LogStore {
    /// Makes the present state of the tables and `parts` durable. Everything that the log has appended must be flushed.
    /// Not to be called twice at the same time.
    pub async fn commit(&self, parts: ImageParts) -> Result<(), PoolError> {
        let shared = &self.pool.shared;
        let (retired, given_up) = (self.take_retired(), shared.take_given_up(self.log));
        // What the image says of packed chunks: it is made before anything is waited for.
        let tables: Vec<(Rc<Chunk>, (u32, u32))> = {
            let table = self.table();
            let chunks = table.iter().flat_map(|(_, segment)| segment.chunks());
            chunks.map(|chunk| (chunk.clone(), chunk.packed_table.get())).collect()
        };
        let result = self.write_image(parts).await;
        if result.is_err() {
            // The old image still counts and may name them.
            retired.into_iter().for_each(|chunk| self.retire(chunk));
            given_up.into_iter().for_each(|slot| shared.give_up(self.log, slot));
        } else {
            shared.free(self.log, given_up);
            tables.into_iter().for_each(|(chunk, table)| chunk.durable_table.set(Some(table)));
        }
        result
    }

    /// What the next image takes, in chunks of the log, as far as the last one tells.
    pub fn image_need_chunks(&self) -> u64 {
        (self.image_chunks().max(1) * self.image_copies()).div_ceil(self.copies_now().max(1)) as u64
    }

    /// Copies that an image gets now.
    pub(crate) fn image_copies(&self) -> usize {
        let shared = &self.pool.shared;
        shared.placed_copies(IMAGE_COPIES.max(self.copies()))
    }

    fn image_of(&self, parts: ImageParts) -> Image {
        let table = self.table();
        let mut chunks: Vec<Rc<Chunk>> =
            table.iter().flat_map(|(_, segment)| segment.chunks().cloned()).collect();
        chunks.extend(parts.reserve.iter().cloned());
        chunks.sort_by_key(|chunk| chunk.id());
        chunks.dedup_by_key(|chunk| chunk.id());
        self.data_chunks.set((chunks.len() - parts.reserve.len()) as u64);
        let groups = self.groups();
        chunks.extend(groups.iter().flat_map(|group| group.members()));
        chunks.sort_by_key(|chunk| chunk.id());
        chunks.dedup_by_key(|chunk| chunk.id());
        Image {
            pool: self.pool.shared.id,
            log: self.log,
            incarnation: self.incarnation,
            chunks_allocated: self.chunks_allocated(),
            replay_from: parts.replay_from,
            flushed_through: parts.flushed_through,
            next_segment: parts.next_segment,
            next_volume: parts.next_volume,
            birth: parts.birth,
            chunks: chunks.iter().map(|chunk| chunk.image()).collect(),
            segments: table.iter().map(|(id, segment)| crate::SegmentTable::image_of(id, segment)).collect(),
            reserve: parts.reserve.iter().map(|chunk| chunk.id()).collect(),
            volumes: parts.volumes,
            snapshots: parts.snapshots,
            dissolving: parts.dissolving,
            detached: parts.detached,
            keys: parts.keys,
            salts: salts_in_use(&parts.salts, &table),
            shared: parts.shared,
            owed: parts.owed,
            groups: groups.iter().map(|group| group.image()).collect(),
        }
    }

    async fn write_image(&self, parts: ImageParts) -> Result<(), PoolError> {
        let geometry = self.pool.geometry();
        let payload_bytes = (geometry.segment_bytes - u64::from(geometry.granule_bytes)) as usize;
        // The number of chunks allocated is part of the image: allocate first, for an image of about this size.
        let mut image = self.image_of(parts);
        let guess = image.encode().len();
        let copies = self.copies();
        let allocate = || {
            // One more than data has is a wish: where all devices but one are full, an image as safe as the data frees what waits for it.
            let wished = self.allocate_chunk(IMAGE_COPIES.max(copies), Purpose::Image, 0);
            wished.or_else(|_| self.allocate_chunk(copies, Purpose::Image, 0))
        };
        let chunks = (0..guess.div_ceil(payload_bytes)).map(|_| allocate()).collect::<Result<Vec<_>, _>>()?;
        image.chunks_allocated = self.chunks_allocated();
        let bytes = image.encode();
        drop(image);
        assert!(chunks.len() <= IMAGE_CHUNKS_MAX && bytes.len() <= chunks.len() * payload_bytes);
        let mut devices = BTreeSet::new();
        for (chunk, part) in chunks.iter().zip(bytes.chunks(payload_bytes)) {
            self.write_image_chunk(chunk, part, &mut devices).await?;
        }
        let failed = self.pool.flush(&devices).await;
        if chunks.iter().any(|chunk| chunk.slots().iter().all(|slot| failed.contains(&slot.device))) {
            return Err(PoolError::NoDevice { log: self.log });
        }
        let anchor = Anchor {
            pool: self.pool.shared.id,
            log: self.log,
            sequence: self.next_image_sequence(),
            incarnation: self.incarnation,
            image_bytes: bytes.len() as u64,
            image_checksum: crc32c(&bytes),
            chunks: chunks.iter().map(|chunk| chunk.placement()).collect(),
        };
        self.pool.write_anchor(&anchor).await?;
        self.set_image(anchor.sequence, chunks, bytes.len());
        Ok(())
    }

    async fn write_image_chunk(
        &self,
        chunk: &Rc<Chunk>,
        part: &[u8],
        devices: &mut BTreeSet<u16>,
    ) -> Result<(), PoolError> {
        let granule = self.pool.geometry().granule_bytes as usize;
        let header = self.chunk_header(chunk.id(), ChunkContent::Image);
        let mut whole = vec![0; granule + part.len().next_multiple_of(granule)];
        whole[..CHUNK_HEADER_BYTES].copy_from_slice(&header.encode());
        whole[granule..granule + part.len()].copy_from_slice(part);
        for (index, piece) in whole.chunks(PIECE_BYTES).enumerate() {
            let view = self.pool.env.buffers.copy_of(piece);
            for device in self.pool.write_copies(chunk, (index * PIECE_BYTES) as u64, &[view]).await {
                chunk.drop_copy(device);
            }
        }
        if chunk.healthy_copies() == 0 {
            return Err(PoolError::NoDevice { log: self.log });
        }
        devices.extend(chunk.slots().iter().map(|slot| slot.device));
        Ok(())
    }

    pub(crate) fn chunk_header(&self, chunk: ChunkId, content: ChunkContent) -> ChunkHeader {
        ChunkHeader { pool: self.pool.shared.id, log: self.log, chunk, content }
    }
}

/// Reads the image that an anchor names, from whichever copies are whole.
pub(crate) async fn read_image(pool: &Pool, anchor: &Anchor) -> Result<Image, OpenError> {
    let failed = |reason: String| OpenError::Image {
        pool: pool.shared.name.clone(),
        log: anchor.log,
        sequence: anchor.sequence,
        reason,
    };
    let geometry = pool.geometry();
    let payload_bytes = geometry.segment_bytes - u64::from(geometry.granule_bytes);
    if anchor.image_bytes > payload_bytes * anchor.chunks.len() as u64 {
        return Err(failed("its length exceeds its chunks".into()));
    }
    // The checksum covers the whole image: with several copies of several chunks, try each copy of each in turn.
    let copies = anchor.chunks.iter().map(|placement| placement.slots.len()).max().unwrap_or(0);
    let mut reason = String::from("it has no copies");
    for copy in 0..copies {
        match read_image_copy(pool, anchor, geometry, copy).await {
            Ok(bytes) if crc32c(&bytes) == anchor.image_checksum => {
                let image = Image::decode(&bytes)?;
                if image.pool != anchor.pool || image.log != anchor.log {
                    return Err(failed("it belongs to another log".into()));
                }
                return Ok(image);
            }
            Ok(_) => reason = format!("copy {copy} fails its checksum"),
            Err(error) => reason = error,
        }
    }
    Err(failed(reason))
}

async fn read_image_copy(
    pool: &Pool,
    anchor: &Anchor,
    geometry: Geometry,
    copy: usize,
) -> Result<Vec<u8>, String> {
    let granule = u64::from(geometry.granule_bytes);
    let mut bytes = Vec::with_capacity(anchor.image_bytes as usize);
    for placement in &anchor.chunks {
        let Placement { slots, .. } = placement;
        let slot = slots.get(copy.min(slots.len().saturating_sub(1))).ok_or("a chunk without copies")?;
        let mut offset = granule;
        while offset < geometry.segment_bytes && bytes.len() < anchor.image_bytes as usize {
            let left = anchor.image_bytes as usize - bytes.len();
            let piece = left.min(PIECE_BYTES).min((geometry.segment_bytes - offset) as usize);
            let padded = piece.next_multiple_of(granule as usize);
            let buffer = pool.read_copy(*slot, offset, padded).await.map_err(|error| error.to_string())?;
            bytes.extend_from_slice(&buffer[..piece]);
            offset += padded as u64;
        }
    }
    Ok(bytes)
}

/// The salts of openings that have begun a segment of the table, and the last.
fn salts_in_use(salts: &[ImageSalt], table: &SegmentTable) -> Vec<ImageSalt> {
    let mut in_use = vec![false; salts.len()];
    for (segment, _) in table.iter() {
        if let Some(index) = salts.partition_point(|salt| salt.first <= segment).checked_sub(1) {
            in_use[index] = true;
        }
    }
    if let Some(last) = in_use.last_mut() {
        *last = true;
    }
    salts.iter().zip(in_use).filter(|(_, in_use)| *in_use).map(|(salt, _)| *salt).collect()
}
