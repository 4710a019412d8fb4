//! The segment table of a log: where the bytes of every segment lie, and which of them live.
//!
//! Liveness here is that of the last mutation of the log's durable state (see [`LogStore`](crate::LogStore)): a bit is set
//! when a record is published or replayed, and cleared only together with the map roots that stop referring to it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::rc::Rc;

use quarry_format::image::{ImageRun, ImageSegment};
use quarry_types::{LogAddress, SegmentId};
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;

use crate::{Bitmap, Chunk, Geometry};

/// Some granules of a segment, in order and one behind the other in one chunk.
#[derive(Clone)]
pub struct Run {
    /// First granule of the segment that may be in it; the next run's is the first that is not.
    pub first_granule: u32,
    /// The chunk.
    pub chunk: Rc<Chunk>,
    /// First sector of the run in the chunk.
    pub start_sector: u32,
}

impl Run {
    /// What an image says of it.
    fn image(&self) -> ImageRun {
        ImageRun {
            first_granule: self.first_granule,
            chunk: self.chunk.id(),
            start_sector: self.start_sector,
        }
    }
}

/// A segment.
#[derive(Clone)]
pub struct Segment {
    /// Where its bytes lie: runs in order of their granules.
    pub(crate) runs: SmallVec<[Run; 1]>,
    /// The granules that are in the runs; `None` for all of them, in one run, as they were written.
    pub(crate) kept: Option<Bitmap>,
    /// Sectors written, header included; 0 while it is open.
    pub end_sector: u32,
    /// Which granules live.
    pub live: Bitmap,
}

impl Segment {
    /// A segment that begins in `chunk`.
    pub fn open(chunk: Rc<Chunk>, geometry: Geometry) -> Self {
        let runs = SmallVec::from_buf([Run { first_granule: 0, chunk, start_sector: 0 }]);
        Self { runs, kept: None, end_sector: 0, live: Bitmap::new(geometry.segment_granules()) }
    }

    /// The chunks in which it lies; one of them may come twice.
    pub fn chunks(&self) -> impl Iterator<Item = &Rc<Chunk>> {
        self.runs.iter().map(|run| &run.chunk)
    }

    /// The chunk in which it was written, if it still lies there.
    pub fn written_chunk(&self) -> Option<&Rc<Chunk>> {
        if self.kept.is_none() { self.chunks().next() } else { None }
    }

    /// Each run and how many of its granules live.
    pub fn live_by_run(&self) -> impl Iterator<Item = (&Run, u32)> {
        self.runs.iter().enumerate().map(|(index, run)| {
            let live =
                if self.runs.len() == 1 { self.live.ones() } else { self.live.count(self.range(index)) };
            (run, live)
        })
    }

    /// The granules that may be in run `index`.
    fn range(&self, index: usize) -> Range<u32> {
        let end = self.runs.get(index + 1).map_or(self.live.bits(), |next| next.first_granule);
        self.runs[index].first_granule..end
    }

    /// Joins runs that lie one behind the other in one chunk.
    fn join_runs(&mut self, granule_sectors: u32) {
        let Some(kept) = &self.kept else { return };
        self.runs.dedup_by(|next, run| {
            let granules = kept.count(run.first_granule..next.first_granule);
            Rc::ptr_eq(&run.chunk, &next.chunk)
                && run.start_sector + granules * granule_sectors == next.start_sector
        });
    }
}

/// A run that was copied elsewhere, perhaps in parts.
pub struct Relocation {
    /// The segment.
    pub segment: SegmentId,
    /// First granule of the run.
    pub first_granule: u32,
    /// The chunk in which it lay.
    pub from: Rc<Chunk>,
    /// The granules that were copied.
    pub kept: Bitmap,
    /// Where they are now, in order.
    pub runs: Vec<Run>,
}

/// The segments of one log.
pub struct SegmentTable {
    geometry: Geometry,
    segments: HashMap<SegmentId, Segment, FxBuildHasher>,
    live_granules: u64,
}

impl SegmentTable {
    /// An empty table.
    pub fn new(geometry: Geometry) -> Self {
        Self { geometry, segments: HashMap::default(), live_granules: 0 }
    }

    /// Adds or replaces a segment.
    pub fn insert(&mut self, id: SegmentId, segment: Segment) {
        self.live_granules += u64::from(segment.live.ones());
        if let Some(old) = self.segments.insert(id, segment) {
            self.live_granules -= u64::from(old.live.ones());
        }
    }

    /// Takes a segment out.
    pub fn remove(&mut self, id: SegmentId) -> Option<Segment> {
        let segment = self.segments.remove(&id)?;
        self.live_granules -= u64::from(segment.live.ones());
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
                segment.join_runs(self.geometry.granule_sectors());
            }
        }
    }

    fn relocate_run(&mut self, relocation: Relocation) {
        let Relocation { segment, first_granule, from, kept, runs } = relocation;
        let Some(segment) = self.segments.get_mut(&segment) else { return };
        let is_it = |run: &Run| run.first_granule == first_granule && Rc::ptr_eq(&run.chunk, &from);
        let index =
            segment.runs.iter().position(is_it).expect("only the cleaner moves runs, one round at a time");
        let range = segment.range(index);
        let mut all = segment.kept.take().unwrap_or_else(|| Bitmap::new(kept.bits()));
        all.clear(range.start, range.len() as u32);
        all.unite(&kept);
        segment.kept = Some(all);
        segment.runs.remove(index);
        segment.runs.insert_many(index, runs);
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

    /// Granules that live.
    pub fn live_granules(&self) -> u64 {
        self.live_granules
    }

    /// Bytes of memory that the table takes.
    pub fn memory_bytes(&self) -> usize {
        let bitmap = self.geometry.segment_granules() as usize / 8;
        self.segments.len() * (2 * bitmap + size_of::<Segment>() + 64)
    }

    fn granules(&self, address: LogAddress, sectors: u32) -> (u32, u32) {
        let granule = self.geometry.granule_sectors();
        (address.sector() / granule, sectors.div_ceil(granule))
    }

    /// Marks a record's sectors as live. Marking twice is the same as once.
    pub fn mark_live(&mut self, address: LogAddress, sectors: u32) {
        let (first, count) = self.granules(address, sectors);
        let segment =
            self.segments.get_mut(&address.segment()).expect("records are published into known segments");
        let before = segment.live.ones();
        segment.live.set(first, count);
        self.live_granules += u64::from(segment.live.ones() - before);
    }

    /// Marks a record's sectors as dead. A segment that is gone was dead already.
    pub fn mark_dead(&mut self, address: LogAddress, sectors: u32) {
        let (first, count) = self.granules(address, sectors);
        if let Some(segment) = self.segments.get_mut(&address.segment()) {
            let before = segment.live.ones();
            segment.live.clear(first, count);
            self.live_granules -= u64::from(before - segment.live.ones());
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
        let granule = self.geometry.granule_sectors();
        let index = address.sector() / granule;
        if !kept.get(index) {
            return None;
        }
        let runs = &segment.runs;
        let run = &runs[runs.partition_point(|run| run.first_granule <= index).checked_sub(1)?];
        Some((run, run.start_sector + kept.count(run.first_granule..index) * granule))
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
