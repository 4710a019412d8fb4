//! Recovery: the longest valid prefix of the tail, brought to full protection.
//!
//! From the image's replay position on, batches are followed by number, address and the chain of header checksums. Where a
//! segment ends is said by the header of its successor; among several successors that name it (a failed append can leave
//! one that never counted) the latest counts. A batch that is damaged on one copy is taken from another. In the part that
//! no flush is known to have covered (what batches say of that counts wherever they lie, also behind one that is damaged), every copy is compared and completed, then all are flushed: only then may the
//! result be served, and the caller makes it durable by an image that seals these segments.

use std::collections::BTreeSet;
use std::rc::Rc;

use futures::future::join_all;
use quarry_format::chunk::{CHUNK_HEADER_BYTES, ChunkContent, ChunkHeader, SegmentStart};
use quarry_format::image::Position;
use quarry_pool::{Chunk, Pool, PoolError, Segment, SegmentTable};
use quarry_types::limits::BLOCK_SECTORS;
use quarry_types::{BatchNumber, Incarnation, LogAddress, SegmentId};

use crate::segment_reader::{Found, SegmentReader};
use crate::{Applied, Apply, RecoverError};
use quarry_format::batch::Batch;
use quarry_format::node::{Entry, Mapped};
use quarry_format::record::{Record, StoredBlock};

/// The result of a recovery.
pub struct Recovered {
    /// Behind the last batch that counts. All before it is durable.
    pub position: Position,
    /// A segment that was never used.
    pub next_segment: SegmentId,
    /// Batches replayed.
    pub batches: u64,
    /// Bytes of these batches.
    pub bytes: u64,
    /// Batches that were missing on a copy and were completed.
    pub completed: u64,
    /// Chunks of segments that do not count, which the durable image may name.
    pub discarded: Vec<Rc<Chunk>>,
}

/// What the next batch must say of itself.
pub(crate) struct Expectation {
    pub(crate) address: LogAddress,
    pub(crate) number: BatchNumber,
    pub(crate) previous_checksum: u32,
    pub(crate) incarnation: Incarnation,
    pub(crate) flushed_through: BatchNumber,
}

/// A segment that may be part of the tail.
struct Candidate {
    chunk: Rc<Chunk>,
    start: SegmentStart,
}

struct Walk<'a> {
    pool: &'a Pool,
    candidates: Vec<Candidate>,
    apply: &'a dyn Apply,
    position: Position,
    /// Up to here a flush has covered everything, as anything says that was found.
    flushed_through: BatchNumber,
    recovered: Recovered,
    /// Segments of the tail with their ends.
    ends: Vec<(SegmentId, u32)>,
}

/// Recovers the tail of a log from `from` on. `table` holds the segments that the image knows; `reserve` the chunks in
/// which later ones may have begun. Afterwards `table` holds exactly the segments that count, all sealed.
pub async fn recover(
    pool: &Pool,
    table: &std::cell::RefCell<SegmentTable>,
    reserve: &[Rc<Chunk>],
    from: Position,
    (flushed_through, next_segment): (BatchNumber, SegmentId),
    apply: &dyn Apply,
) -> Result<Recovered, RecoverError> {
    let chunks = chunks_of_tail(&table.borrow(), reserve, from.address.segment());
    let candidates = find_candidates(pool, chunks).await?;
    let newest = candidates.iter().map(|candidate| candidate.start.segment.next()).max();
    let flushed_through = candidates
        .iter()
        .map(|candidate| candidate.start.flushed_through)
        .fold(flushed_through, BatchNumber::max);
    let recovered = Recovered {
        position: from,
        next_segment: newest.map_or(next_segment, |newest| newest.max(next_segment)),
        batches: 0,
        bytes: 0,
        completed: 0,
        discarded: Vec::new(),
    };
    // Segments must be known before records are applied to them.
    for candidate in &candidates {
        let id = candidate.start.segment;
        if table.borrow().get(id).is_none() {
            table.borrow_mut().insert(id, Segment::open(candidate.chunk.clone(), pool.geometry()));
        }
    }
    let mut walk =
        Walk { pool, candidates, apply, position: from, flushed_through, recovered, ends: Vec::new() };
    walk.run(table, from).await?;
    walk.finish(table, from).await
}

/// The chunks that may hold a segment of the tail, and which one if the table knows.
fn chunks_of_tail(
    table: &SegmentTable,
    reserve: &[Rc<Chunk>],
    first: SegmentId,
) -> Vec<(Option<SegmentId>, Rc<Chunk>)> {
    let mut chunks: Vec<(Option<SegmentId>, Rc<Chunk>)> = table
        .iter()
        .filter(|(id, _)| *id >= first)
        .filter_map(|(id, segment)| Some((Some(id), segment.written_chunk()?.clone())))
        .collect();
    chunks.extend(reserve.iter().map(|chunk| (None, chunk.clone())));
    chunks
}

/// Reads the headers of these chunks; those of segments are candidates.
async fn find_candidates(
    pool: &Pool,
    chunks: Vec<(Option<SegmentId>, Rc<Chunk>)>,
) -> Result<Vec<Candidate>, PoolError> {
    let headers = chunks.into_iter().map(async |(known, chunk)| {
        let start = segment_start(pool, &chunk).await?;
        let start = start.filter(|start| known.is_none_or(|known| known == start.segment));
        Ok(start.map(|start| Candidate { chunk, start }))
    });
    let found: Result<Vec<Option<Candidate>>, PoolError> = join_all(headers).await.into_iter().collect();
    let mut candidates: Vec<Candidate> = found?.into_iter().flatten().collect();
    candidates.sort_by_key(|candidate| candidate.start.segment);
    Ok(candidates)
}

/// The header of a segment, from the first copy that has a valid one; `None` when a copy says that there is none.
async fn segment_start(pool: &Pool, chunk: &Rc<Chunk>) -> Result<Option<SegmentStart>, PoolError> {
    let granule = pool.geometry().granule_bytes as usize;
    let (mut failure, mut read) = (None, false);
    for slot in chunk.slots() {
        let bytes = match pool.read_copy(slot, 0, granule).await {
            Ok(bytes) => bytes,
            Err(error) => {
                failure = Some(error);
                continue;
            }
        };
        read = true;
        let Ok(header) = ChunkHeader::decode(&bytes[..CHUNK_HEADER_BYTES]) else { continue };
        let ours = header.pool == pool.shared.id && header.chunk == chunk.id();
        if let (true, ChunkContent::Segment(start)) = (ours, header.content) {
            return Ok(Some(start));
        }
    }
    match failure {
        // What cannot be read may have been acknowledged.
        Some(error) if !read => {
            Err(PoolError::Unreadable { chunk: chunk.id(), offset: 0, source: Some(error) })
        }
        _ => Ok(None),
    }
}

impl Walk<'_> {
    async fn run(
        &mut self,
        table: &std::cell::RefCell<SegmentTable>,
        from: Position,
    ) -> Result<(), RecoverError> {
        // The segment in which the tail begins, unless the log was empty or the position is its very end.
        let first = from.address.segment();
        if let Some(index) = self.candidates.iter().position(|candidate| candidate.start.segment == first) {
            let end = known_end(table, first);
            self.segment(index, from.address, end).await?;
        } else if table.borrow().get(first).is_some_and(|segment| segment.end_sector == 0) {
            return Err(RecoverError::NoSegment { segment: first });
        }
        while let Some(next) = self.successor() {
            let start =
                LogAddress::new(self.candidates[next].start.segment, self.pool.geometry().granule_sectors());
            let end = known_end(table, start.segment());
            let before = self.position.batch;
            self.segment(next, start, end).await?;
            if self.position.batch == before {
                // Its header came through, its first batch did not: the log ends here.
                break;
            }
        }
        Ok(())
    }

    /// The latest segment that goes on from the present position.
    fn successor(&self) -> Option<usize> {
        self.candidates.iter().rposition(|candidate| {
            candidate.start.previous_end == self.position.address
                && candidate.start.segment > self.position.address.segment()
                && candidate.start.previous_checksum == self.position.checksum
                && candidate.start.first_batch == self.position.batch.next()
        })
    }

    /// Follows the batches of one segment from `start` on and applies those that count.
    async fn segment(
        &mut self,
        index: usize,
        start: LogAddress,
        end: Option<u32>,
    ) -> Result<(), RecoverError> {
        let chunk = self.candidates[index].chunk.clone();
        let incarnation = self.candidates[index].start.incarnation;
        let mut reader = SegmentReader::load(self.pool, &chunk, start, end).await.map_err(|source| {
            PoolError::Unreadable { chunk: chunk.id(), offset: start.offset_bytes(), source: Some(source) }
        })?;
        // Before anything is compared: a copy of a durable batch with bad data must not be taken for what the others lack.
        self.flushed_through = self.flushed_through.max(reader.flushed_through(start, incarnation));
        let mut batches: Vec<(Found, Position)> = Vec::new();
        let mut at = Position { address: start, ..self.position };
        let limit = end.unwrap_or(self.pool.geometry().segment_sectors());
        while at.address.sector() < limit {
            let expected = Expectation {
                address: at.address,
                number: at.batch.next(),
                previous_checksum: at.checksum,
                incarnation,
                flushed_through: self.flushed_through,
            };
            let compare = expected.number > self.flushed_through;
            let found = reader.batch(&expected, compare).await.map_err(|source| {
                let offset = at.address.offset_bytes();
                PoolError::Unreadable { chunk: chunk.id(), offset, source: Some(source) }
            })?;
            let Some(found) = found else { break };
            let header = &found.batch.header;
            at = Position {
                address: at.address.plus(header.sectors),
                batch: header.number,
                checksum: found.batch.checksum,
            };
            batches.push((found, at));
        }
        let last = self.last_that_counts(start, &batches);
        if last > 0 {
            reader.complete_header(self.candidates[index].start).await;
        }
        for (found, end) in batches.into_iter().take(last) {
            if !found.missing_on.is_empty() {
                reader.complete(&found).await;
                self.recovered.completed += 1;
            }
            self.apply_batch(&found.batch, found.start);
            self.position = end;
            self.recovered.batches += 1;
            self.recovered.bytes += u64::from(found.batch.header.sectors) * quarry_types::SECTOR_BYTES as u64;
        }
        self.ends.push((start.segment(), self.position.address.sector()));
        if self.position.address.segment() != start.segment() {
            self.ends.pop();
        }
        Ok(())
    }

    /// How many of the batches found count: all, unless a successor says that the log went on from an earlier one.
    fn last_that_counts(&self, start: LogAddress, batches: &[(Found, Position)]) -> usize {
        let ends = |candidate: &Candidate| {
            let next = &candidate.start;
            batches.iter().rposition(|(_, end)| {
                next.previous_end == end.address
                    && next.previous_checksum == end.checksum
                    && next.first_batch == end.batch.next()
            })
        };
        self.candidates
            .iter()
            .rev()
            .filter(|candidate| candidate.start.segment > start.segment())
            .find_map(ends)
            .map_or(batches.len(), |index| index + 1)
    }

    fn apply_batch(&self, batch: &Batch, start: LogAddress) {
        let mut layout = batch.layout();
        for record in &batch.records {
            match record {
                Record::Write { volume, first_block, birth, key, checksums } => {
                    let sector = layout.place(BLOCK_SECTORS * checksums.len() as u32);
                    self.apply.apply(Applied::Write {
                        volume: *volume,
                        first_block: *first_block,
                        address: start.plus(sector),
                        birth: *birth,
                        key: *key,
                        checksums,
                    });
                }
                Record::WriteStored { volume, first_block, birth, key, blocks } => {
                    let mapped = blocks.iter().map(|&StoredBlock { method, sectors, checksum, tag }| {
                        let address = start.plus(layout.place(u32::from(sectors)));
                        let (birth, key, stored_sectors) = (*birth, *key, sectors);
                        Mapped { entry: Entry { address, checksum, birth, key, stored_sectors, method }, tag }
                    });
                    let mapped: Vec<Mapped> = mapped.collect();
                    let (volume, first_block) = (*volume, *first_block);
                    self.apply.apply(Applied::Stored { volume, first_block, mapped: &mapped, marks: &[] });
                }
                Record::Node { sectors, .. } => _ = layout.place(u32::from(*sectors)),
                other => self.apply.apply(Applied::Other(other)),
            }
        }
    }

    /// Seals what counts, forgets what does not, and flushes.
    async fn finish(
        self,
        table: &std::cell::RefCell<SegmentTable>,
        from: Position,
    ) -> Result<Recovered, RecoverError> {
        let Self { pool, position, flushed_through, mut recovered, ends, candidates, .. } = self;
        if position.batch < flushed_through {
            return Err(RecoverError::Lost {
                found: position.batch,
                address: position.address,
                flushed: flushed_through,
            });
        }
        let (devices, discarded) =
            seal_tail(pool, &mut table.borrow_mut(), &candidates, &ends, from.address.segment());
        recovered.discarded.extend(discarded);
        let failed = pool.flush(&devices).await;
        for candidate in &candidates {
            failed.iter().for_each(|&device| candidate.chunk.drop_copy(device));
            if candidate.chunk.healthy_copies() == 0 && position.batch > from.batch {
                return Err(PoolError::NoDevice { log: candidate.start.segment.log() }.into());
            }
        }
        recovered.position = position;
        Ok(recovered)
    }
}

/// Seals the segments that count at their ends and gives up copies on devices that are gone. Returns the devices that hold
/// the tail, and the chunks of segments that do not count.
fn seal_tail(
    pool: &Pool,
    table: &mut SegmentTable,
    candidates: &[Candidate],
    ends: &[(SegmentId, u32)],
    first: SegmentId,
) -> (BTreeSet<u16>, Vec<Rc<Chunk>>) {
    let mut devices = BTreeSet::new();
    for candidate in candidates {
        let id = candidate.start.segment;
        let Some((_, end)) = ends.iter().find(|(segment, _)| *segment == id) else { continue };
        table.seal(id, *end);
        for slot in candidate.chunk.slots() {
            if pool.device(slot.device).is_none() || pool.shared.is_failed(slot.device) {
                candidate.chunk.drop_copy(slot.device);
            } else {
                devices.insert(slot.device);
            }
        }
    }
    // Also those that the image knows and whose header did not come through.
    let counts = |id: SegmentId| id <= first || ends.iter().any(|(end, _)| *end == id);
    let rest: Vec<SegmentId> = table.iter().map(|(id, _)| id).filter(|id| !counts(*id)).collect();
    let discarded = rest.into_iter().filter_map(|id| table.remove(id));
    let discarded = discarded.flat_map(|segment| segment.chunks().cloned().collect::<Vec<_>>()).collect();
    (devices, discarded)
}

/// Where a segment ends, if the image has sealed it.
fn known_end(table: &std::cell::RefCell<SegmentTable>, segment: SegmentId) -> Option<u32> {
    table.borrow().get(segment).map(|segment| segment.end_sector).filter(|&end| end > 0)
}
