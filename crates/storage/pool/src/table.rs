//! The segment table of a log: where the bytes of every segment lie, and which of them live.
//!
//! Liveness here is that of the last mutation of the log's durable state (see [`LogStore`](crate::LogStore)): a bit is set
//! when a record is published or replayed, and cleared only together with the map roots that stop referring to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::rc::Rc;

use quarry_format::image::{ImageRun, ImageSegment};
use quarry_types::{ChunkId, LogAddress, SegmentId};
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;

use crate::{Bitmap, Chunk, Geometry};

/// Some sectors of a segment, in order and one behind the other in one chunk.
#[derive(Clone)]
pub struct Run {
    /// First sector of the segment that may be in it; the next run's is the first that is not.
    pub first_sector: u32,
    /// The chunk.
    pub chunk: Rc<Chunk>,
    /// First sector of the run in the chunk.
    pub start_sector: u32,
}

impl Run {
    /// What an image says of it.
    fn image(&self) -> ImageRun {
        ImageRun { first_sector: self.first_sector, chunk: self.chunk.id(), start_sector: self.start_sector }
    }
}

/// A segment.
#[derive(Clone)]
pub struct Segment {
    /// Where its bytes lie: runs in order of their sectors.
    pub(crate) runs: SmallVec<[Run; 1]>,
    /// The sectors that are in the runs; `None` for all of them, in one run, as they were written.
    pub(crate) kept: Option<Bitmap>,
    /// Sectors written, header included; 0 while it is open.
    pub end_sector: u32,
    /// Which sectors live.
    pub live: Bitmap,
}

impl Segment {
    /// A segment that begins in `chunk`.
    pub fn open(chunk: Rc<Chunk>, geometry: Geometry) -> Self {
        let runs = SmallVec::from_buf([Run { first_sector: 0, chunk, start_sector: 0 }]);
        Self { runs, kept: None, end_sector: 0, live: Bitmap::new(geometry.segment_sectors()) }
    }

    /// The chunks in which it lies; one of them may come twice.
    pub fn chunks(&self) -> impl Iterator<Item = &Rc<Chunk>> {
        self.runs.iter().map(|run| &run.chunk)
    }

    /// The chunk in which it was written, if it still lies there.
    pub fn written_chunk(&self) -> Option<&Rc<Chunk>> {
        if self.kept.is_none() { self.chunks().next() } else { None }
    }

    /// Each run and how many of its sectors live.
    pub fn live_by_run(&self) -> impl Iterator<Item = (&Run, u32)> {
        self.runs.iter().enumerate().map(|(index, run)| {
            let live =
                if self.runs.len() == 1 { self.live.ones() } else { self.live.count(self.range(index)) };
            (run, live)
        })
    }

    /// The sectors that may be in run `index`.
    fn range(&self, index: usize) -> Range<u32> {
        let end = self.runs.get(index + 1).map_or(self.live.sectors(), |next| next.first_sector);
        self.runs[index].first_sector..end
    }

    /// Joins runs that lie one behind the other in one chunk.
    fn join_runs(&mut self) {
        let Some(kept) = &self.kept else { return };
        self.runs.dedup_by(|next, run| {
            let sectors = kept.count(run.first_sector..next.first_sector);
            Rc::ptr_eq(&run.chunk, &next.chunk) && run.start_sector + sectors == next.start_sector
        });
    }
}

/// A run that was copied elsewhere, perhaps in parts.
pub struct Relocation {
    /// The segment.
    pub segment: SegmentId,
    /// First sector of the run.
    pub first_sector: u32,
    /// The chunk in which it lay.
    pub from: Rc<Chunk>,
    /// The sectors that were copied.
    pub kept: Bitmap,
    /// Where they are now, in order.
    pub runs: Vec<Run>,
}

/// The segments of one log.
#[derive(Default)]
pub struct SegmentTable {
    segments: HashMap<SegmentId, Segment, FxBuildHasher>,
    live_sectors: u64,
}

impl SegmentTable {
    /// Adds or replaces a segment.
    pub fn insert(&mut self, id: SegmentId, segment: Segment) {
        self.live_sectors += u64::from(segment.live.ones());
        if let Some(old) = self.segments.insert(id, segment) {
            self.live_sectors -= u64::from(old.live.ones());
        }
    }

    /// Takes a segment out.
    pub fn remove(&mut self, id: SegmentId) -> Option<Segment> {
        let segment = self.segments.remove(&id)?;
        self.live_sectors -= u64::from(segment.live.ones());
        Some(segment)
    }

    /// A segment.
    pub fn get(&self, id: SegmentId) -> Option<&Segment> {
        self.segments.get(&id)
    }

    /// Seals a segment at `end_sector`.
    pub fn seal(&mut self, id: SegmentId, end_sector: u32) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.end_sector = end_sector;
            if let Some(chunk) = segment.written_chunk() {
                chunk.sealed_at.set(id.sequence() + 1);
            }
        }
    }

    /// Points segments at where runs of them were copied. Segments that are gone stay gone.
    ///
    /// # Panics
    /// When a segment has no such run: its bytes would be lost together with the chunk that was copied.
    pub fn relocate(&mut self, relocations: Vec<Relocation>) {
        let moved: BTreeSet<SegmentId> = relocations.iter().map(|relocation| relocation.segment).collect();
        relocations.into_iter().for_each(|relocation| self.relocate_run(relocation));
        // Only now: a run that is still to be relocated must be found as it was.
        for segment in moved {
            if let Some(segment) = self.segments.get_mut(&segment) {
                segment.join_runs();
            }
        }
    }

    fn relocate_run(&mut self, relocation: Relocation) {
        let Relocation { segment, first_sector, from, kept, runs } = relocation;
        let Some(segment) = self.segments.get_mut(&segment) else { return };
        let is_it = |run: &Run| run.first_sector == first_sector && Rc::ptr_eq(&run.chunk, &from);
        let index =
            segment.runs.iter().position(is_it).expect("only the cleaner moves runs, one round at a time");
        let range = segment.range(index);
        let mut all = segment.kept.take().unwrap_or_else(|| Bitmap::new(kept.sectors()));
        all.clear(range.start, range.len() as u32);
        all.unite(&kept);
        segment.kept = Some(all);
        segment.runs.remove(index);
        segment.runs.insert_many(index, runs);
    }

    /// Puts `next` into the place of a chunk in which these segments lie.
    pub fn replace_chunk(&mut self, segments: &[SegmentId], chunk: &Rc<Chunk>, next: &Rc<Chunk>) {
        for id in segments {
            let Some(segment) = self.segments.get_mut(id) else { continue };
            let here = segment.runs.iter_mut().filter(|run| Rc::ptr_eq(&run.chunk, chunk));
            here.for_each(|run| run.chunk = next.clone());
        }
    }

    /// The chunks of all segments and which of these lie in each. An open segment, whose chunk is being written to, has no end yet.
    pub fn by_chunk(&self) -> BTreeMap<ChunkId, (Rc<Chunk>, Vec<SegmentId>)> {
        let mut chunks: BTreeMap<ChunkId, (Rc<Chunk>, Vec<SegmentId>)> = BTreeMap::new();
        for (id, segment) in self.iter() {
            for chunk in segment.chunks() {
                let (_, segments) = chunks.entry(chunk.id()).or_insert_with(|| (chunk.clone(), Vec::new()));
                if segments.last() != Some(&id) {
                    segments.push(id);
                }
            }
        }
        chunks
    }

    /// Segments in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (SegmentId, &Segment)> {
        let mut ids: Vec<_> = self.segments.iter().map(|(id, segment)| (*id, segment)).collect();
        ids.sort_unstable_by_key(|(id, _)| *id);
        ids.into_iter()
    }

    /// How many segments there are.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Sectors that live.
    pub fn live_sectors(&self) -> u64 {
        self.live_sectors
    }

    /// Bytes of memory that the table takes.
    pub fn memory_bytes(&self) -> usize {
        let bitmaps = |segment: &Segment| {
            segment.live.heap_bytes() + segment.kept.as_ref().map_or(0, Bitmap::heap_bytes)
        };
        self.segments.values().map(bitmaps).sum::<usize>() + self.segments.len() * (size_of::<Segment>() + 64)
    }

    /// Marks a record's sectors as live. Marking twice is the same as once.
    pub fn mark_live(&mut self, address: LogAddress, sectors: u32) {
        let segment =
            self.segments.get_mut(&address.segment()).expect("records are published into known segments");
        let before = segment.live.ones();
        segment.live.set(address.sector(), sectors);
        self.live_sectors += u64::from(segment.live.ones() - before);
    }

    /// Marks a record's sectors as dead. A segment that is gone was dead already.
    pub fn mark_dead(&mut self, address: LogAddress, sectors: u32) {
        if let Some(segment) = self.segments.get_mut(&address.segment()) {
            let before = segment.live.ones();
            segment.live.clear(address.sector(), sectors);
            self.live_sectors -= u64::from(before - segment.live.ones());
        }
    }

    /// The chunk and the sector in it where the record at `address` lies; `None` when it is not in the table.
    pub fn resolve(&self, address: LogAddress) -> Option<(&Rc<Chunk>, u32)> {
        let (run, sector) = self.resolve_run(address)?;
        Some((&run.chunk, sector))
    }

    /// The run in which the record at `address` lies, and its sector in the run's chunk.
    pub fn resolve_run(&self, address: LogAddress) -> Option<(&Run, u32)> {
        let segment = self.segments.get(&address.segment())?;
        let Some(kept) = &segment.kept else {
            let run = segment.runs.first()?;
            return Some((run, run.start_sector + address.sector()));
        };
        let sector = address.sector();
        if !kept.get(sector) {
            return None;
        }
        let runs = &segment.runs;
        let run = &runs[runs.partition_point(|run| run.first_sector <= sector).checked_sub(1)?];
        Some((run, run.start_sector + kept.count(run.first_sector..sector)))
    }

    /// What an image says of a segment.
    pub(crate) fn image_of(id: SegmentId, segment: &Segment) -> ImageSegment {
        ImageSegment {
            segment: id,
            runs: segment.runs.iter().map(Run::image).collect(),
            end_sector: segment.end_sector,
            kept: segment.kept.as_ref().map_or_else(Vec::new, |kept| kept.words().to_vec()),
            live: segment.live.words().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests;
