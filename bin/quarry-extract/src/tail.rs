//! The tail of a log: the batches behind its image, in the order in which they count.
//!
//! A batch counts if number, place, opening and chain fit, and if its payloads match or it is known to have survived a flush; the
//! first one that is not whole on any copy ends the log. Which segments the tail may lie in the image says: those that it knows,
//! and the chunks that it reserves.

use anyhow::{Result, bail};
use quarry_format::anchor::Slot;
use quarry_format::batch::{Batch, decode, header_length};
use quarry_format::chunk::{CHUNK_HEADER_BYTES, ChunkContent, ChunkHeader, SegmentStart};
use quarry_format::image::{Image, Position};
use quarry_format::label::GRANULE_SECTORS;
use quarry_format::{FormatError, crc32c};
use quarry_types::limits::{BATCH_HEADER_BYTES_MAX, SECTOR_BYTES};
use quarry_types::{BatchNumber, ChunkId, Incarnation, LogAddress, SegmentId};

use crate::image::is_newer;
use crate::pool::Pool;
use crate::segments::Segments;
use crate::state::State;

/// A segment in which the tail may lie.
struct Candidate {
    chunk: ChunkId,
    start: SegmentStart,
}

struct Walk<'a> {
    pool: &'a Pool,
    image: &'a Image,
    segments: &'a mut Segments,
    state: &'a mut State,
    candidates: Vec<Candidate>,
    position: Position,
    flushed_through: BatchNumber,
    batches: u64,
}

/// Applies the tail; says how many batches it has, and what is wrong with it.
pub fn replay(
    pool: &Pool,
    image: &Image,
    segments: &mut Segments,
    state: &mut State,
) -> Result<(u64, Option<String>)> {
    let candidates = candidates(pool, image, segments)?;
    for candidate in &candidates {
        segments.add(candidate.start.segment, candidate.chunk);
    }
    let flushed = candidates.iter().map(|candidate| candidate.start.flushed_through);
    let flushed_through = flushed.fold(image.flushed_through, BatchNumber::max);
    let position = image.replay_from;
    let mut walk = Walk { pool, image, segments, state, candidates, position, flushed_through, batches: 0 };
    walk.run()?;
    let lost = (walk.position.batch < walk.flushed_through).then(|| {
        let (found, known) = (walk.position.batch, walk.flushed_through);
        format!(
            "log {}: it ends with batch {found}, but batches up to {known} were durable: changes are lost",
            image.log
        )
    });
    Ok((walk.batches, lost))
}

fn candidates(pool: &Pool, image: &Image, segments: &Segments) -> Result<Vec<Candidate>> {
    let first = image.replay_from.address.segment();
    let known = segments.written_from(first).map(|(segment, chunk)| (Some(segment), chunk));
    let chunks = known.chain(image.reserve.iter().map(|&chunk| (None, chunk)));
    let mut candidates = Vec::new();
    for (known, chunk) in chunks {
        let check = |bytes: &[u8]| match ChunkHeader::decode(bytes) {
            Ok(header) if header.pool == pool.label.pool && header.chunk == chunk => Ok(Ok(header)),
            Ok(_) => Err("it belongs to another chunk".to_owned()),
            Err(error) if is_newer(&error) => Ok(Err(error)),
            Err(error) => Err(error.to_string()),
        };
        match pool.read_checked(segments.slots(chunk), 0, CHUNK_HEADER_BYTES, check) {
            Ok(Ok(ChunkHeader { content: ChunkContent::Segment(start), .. }))
                if known.is_none_or(|known| known == start.segment) =>
            {
                candidates.push(Candidate { chunk, start });
            }
            Ok(Err(error)) => bail!("log {}: {error}", image.log),
            // A chunk that was reserved and not used yet.
            _ => {}
        }
    }
    candidates.sort_by_key(|candidate| candidate.start.segment);
    Ok(candidates)
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        let first = self.position.address.segment();
        if let Some(index) = self.candidates.iter().position(|candidate| candidate.start.segment == first) {
            self.segment(index, self.position.address)?;
        }
        while let Some(next) = self.successor() {
            let before = self.position.batch;
            self.segment(next, LogAddress::new(self.candidates[next].start.segment, GRANULE_SECTORS))?;
            if self.position.batch == before {
                break;
            }
        }
        Ok(())
    }

    /// The latest segment that goes on from the present position.
    fn successor(&self) -> Option<usize> {
        let at = &self.position;
        self.candidates
            .iter()
            .rposition(|Candidate { start, .. }| start.segment > at.address.segment() && follows(start, at))
    }

    /// Follows the batches of one segment from `start` on and applies those that count.
    fn segment(&mut self, index: usize, start: LogAddress) -> Result<()> {
        let Candidate { chunk, start: SegmentStart { segment, incarnation, .. } } = self.candidates[index];
        let end = self.segments.get(segment).map(|segment| segment.end_sector).filter(|&end| end > 0);
        let limit = end.unwrap_or(self.pool.segment_sectors());
        let said = self.said_flushed(chunk, (start, limit), incarnation);
        self.flushed_through = self.flushed_through.max(said);
        let mut at = Position { address: start, ..self.position };
        let mut found = Vec::new();
        while at.address.sector() < limit {
            let fits = |batch: &Batch| {
                let header = &batch.header;
                header.pool == self.pool.label.pool
                    && header.log == self.image.log
                    && header.address == at.address
                    && header.number == at.batch.next()
                    && header.previous_checksum == at.checksum
                    && header.incarnation == incarnation
            };
            let Some(batch) = self.batch(chunk, at.address, fits)? else { break };
            let (number, next) = (batch.header.number, at.address.sector() + batch.header.sectors);
            let begin = at.address;
            at = Position { address: address(segment, next)?, batch: number, checksum: batch.checksum };
            found.push((begin, batch, at));
        }
        // All count, unless a later segment says that the log went on from an earlier one.
        let later = self.candidates.iter().rev().filter(|candidate| candidate.start.segment > segment);
        let last = later
            .filter_map(|candidate| found.iter().rposition(|(_, _, end)| follows(&candidate.start, end)))
            .next()
            .map_or(found.len(), |last| last + 1);
        for (begin, batch, end) in found.into_iter().take(last) {
            self.state.apply(&batch, begin);
            self.position = end;
            self.batches += 1;
        }
        Ok(())
    }

    /// How far flushes have come, as the batches of one opening say that lie in a segment from `start` on, also behind one that is damaged.
    fn said_flushed(
        &self,
        chunk: ChunkId,
        (start, limit): (LogAddress, u32),
        incarnation: Incarnation,
    ) -> BatchNumber {
        let mut said = BatchNumber::default();
        let mut first = [0; SECTOR_BYTES];
        for sector in (start.sector()..limit).step_by(GRANULE_SECTORS as usize) {
            let here = LogAddress::new(start.segment(), sector);
            for &slot in self.segments.slots(chunk) {
                let is_read = self.pool.read_slot(slot, here.offset_bytes(), &mut first).is_ok();
                let Some(length) = header_length(&first).filter(|_| is_read) else { continue };
                let mut bytes = vec![0; length.next_multiple_of(SECTOR_BYTES)];
                if self.pool.read_slot(slot, here.offset_bytes(), &mut bytes).is_err() {
                    continue;
                }
                let Ok(Batch { header, .. }) = decode(&bytes) else { continue };
                let is_ours = header.pool == self.pool.label.pool
                    && header.address == here
                    && header.incarnation == incarnation;
                said = said.max(if is_ours { header.flushed_through } else { said });
            }
        }
        said
    }

    /// The batch at `address` that `fits`, from the first copy that holds it whole.
    fn batch(
        &self,
        chunk: ChunkId,
        address: LogAddress,
        fits: impl Fn(&Batch) -> bool,
    ) -> Result<Option<Batch>> {
        for &slot in self.segments.slots(chunk) {
            match self.batch_of_copy(slot, address, &fits) {
                Ok(Some(batch)) => return Ok(Some(batch)),
                Ok(None) => {}
                Err(error) => bail!("log {}, batch at {address:?}: {error}", self.image.log),
            }
        }
        Ok(None)
    }

    /// The same from one copy. An error for what a newer version has written.
    fn batch_of_copy(
        &self,
        slot: Slot,
        address: LogAddress,
        fits: impl Fn(&Batch) -> bool,
    ) -> Result<Option<Batch>, FormatError> {
        let offset = address.offset_bytes();
        let room = (self.pool.label.segment_bytes - offset).min(BATCH_HEADER_BYTES_MAX as u64) as usize;
        let mut bytes = vec![0; room];
        if self.pool.read_slot(slot, offset, &mut bytes).is_err() || header_length(&bytes).is_none() {
            return Ok(None);
        }
        let batch = match decode(&bytes) {
            Ok(batch) if fits(&batch) => batch,
            // Whole, but with something that this version does not know: to end the log here would be to guess.
            Err(error @ FormatError::Field { .. }) => return Err(error),
            Err(error) if is_newer(&error) => return Err(error),
            _ => return Ok(None),
        };
        bytes.resize(batch.header.sectors as usize * SECTOR_BYTES, 0);
        if self.pool.read_slot(slot, offset, &mut bytes).is_err() {
            return Ok(None);
        }
        let is_durable = batch.header.number <= self.flushed_through;
        let is_whole = batch.items().iter().all(|item| {
            let start = item.sector as usize * SECTOR_BYTES;
            let piece = bytes.get(start..start + item.sectors as usize * SECTOR_BYTES);
            piece.is_some_and(|piece| is_durable || crc32c(piece) == item.checksum)
        });
        Ok(is_whole.then_some(batch))
    }
}

/// Whether a segment goes on from a position.
fn follows(start: &SegmentStart, at: &Position) -> bool {
    start.previous_end == at.address
        && start.previous_checksum == at.checksum
        && start.first_batch == at.batch.next()
}

fn address(segment: SegmentId, sector: u32) -> Result<LogAddress> {
    if sector >= quarry_types::limits::SEGMENT_SECTORS_MAX {
        bail!("a batch of segment {segment} ends beyond it");
    }
    Ok(LogAddress::new(segment, sector))
}
