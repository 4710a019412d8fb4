//! The segment table of a log: where the bytes of every segment lie, and which of them live.
//!
//! Liveness here is that of the last mutation of the log's durable state (see [`LogStore`](crate::LogStore)): a bit is set
//! when a record is published or replayed, and cleared only together with the map roots that stop referring to it.

use std::collections::HashMap;
use std::rc::Rc;

use quarry_format::image::ImageSegment;
use quarry_types::{LogAddress, SegmentId};
use rustc_hash::FxBuildHasher;

use crate::{Bitmap, Chunk, Geometry};

/// Where the bytes of a segment lie: a run of one chunk.
#[derive(Clone)]
pub struct Run {
    /// The chunk.
    pub chunk: Rc<Chunk>,
    /// First sector of the run in the chunk.
    pub start_sector: u32,
    /// The granules of the segment that are in the run, in order; `None` for all of them, as they were written.
    pub kept: Option<Rc<Bitmap>>,
}

/// A segment.
#[derive(Clone)]
pub struct Segment {
    /// Where its bytes lie.
    pub run: Run,
    /// Sectors written, header included; 0 while it is open.
    pub end_sector: u32,
    /// The log's count of segments when it was sealed.
    pub sealed_at: u64,
    /// Which granules live.
    pub live: Bitmap,
}

impl Segment {
    /// A segment that begins in `chunk`.
    pub fn open(chunk: Rc<Chunk>, geometry: Geometry) -> Self {
        let run = Run { chunk, start_sector: 0, kept: None };
        Self { run, end_sector: 0, sealed_at: 0, live: Bitmap::new(geometry.segment_granules()) }
    }
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
    pub fn seal(&mut self, id: SegmentId, end_sector: u32, sealed_at: u64) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.end_sector = end_sector;
            segment.sealed_at = sealed_at;
        }
    }

    /// Moves a segment to another run.
    pub fn relocate(&mut self, id: SegmentId, run: Run) {
        self.segments.get_mut(&id).expect("only segments of the table are moved").run = run;
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
        let run = &self.segments.get(&address.segment())?.run;
        let Some(kept) = &run.kept else {
            return Some((&run.chunk, run.start_sector + address.sector()));
        };
        let granule = self.geometry.granule_sectors();
        let index = address.sector() / granule;
        kept.get(index).then(|| (&run.chunk, run.start_sector + kept.rank(index) * granule))
    }

    /// What an image says of a segment.
    pub(crate) fn image_of(id: SegmentId, segment: &Segment) -> ImageSegment {
        ImageSegment {
            segment: id,
            chunk: segment.run.chunk.id(),
            start_sector: segment.run.start_sector,
            end_sector: segment.end_sector,
            sealed_at: segment.sealed_at,
            kept: segment.run.kept.as_ref().map_or_else(Vec::new, |kept| kept.words().to_vec()),
            live: segment.live.words().to_vec(),
        }
    }
}
