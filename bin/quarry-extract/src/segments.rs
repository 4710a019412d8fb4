//! The segment table: where the bytes of a log address lie.

use std::collections::BTreeMap;

use quarry_format::anchor::Slot;
use quarry_format::image::{Image, ImageGroup, ImageRun};
use quarry_format::label::GRANULE_SECTORS;
use quarry_types::{ChunkId, LogAddress, SECTOR_BYTES, SegmentId};

use crate::code;
use crate::pool::Pool;

/// A segment, as an image or the tail says.
pub struct Segment {
    runs: Vec<ImageRun>,
    /// The sectors that are in the runs; absent: all, as they were written.
    kept: Option<Kept>,
    /// Sectors written; 0 where that is not known.
    pub end_sector: u32,
}

/// One bit a sector, or a granule.
struct Kept {
    words: Vec<u64>,
    unit_sectors: u32,
}

/// See the module.
pub struct Segments {
    chunks: BTreeMap<ChunkId, Vec<Slot>>,
    all: BTreeMap<SegmentId, Segment>,
    groups: Vec<ImageGroup>,
    /// The group of a coded chunk with data, and which member it is.
    coded: BTreeMap<ChunkId, (usize, usize)>,
}

impl Kept {
    fn new(words: &[u64], sectors: u32) -> Option<Self> {
        let unit_sectors = sectors.checked_div(words.len() as u32 * 64)?;
        let fits =
            [1, GRANULE_SECTORS].contains(&unit_sectors) && words.len() as u32 * 64 * unit_sectors == sectors;
        fits.then(|| Self { words: words.to_vec(), unit_sectors })
    }

    fn has(&self, sector: u32) -> bool {
        let bit = sector / self.unit_sectors;
        self.words.get(bit as usize / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// How many sectors from `from` up to `to` are kept. Both are kept ones, or the start of a run.
    fn count(&self, from: u32, to: u32) -> u32 {
        // Whole words by counting their bits: this is asked for every block.
        let before = |sector: u32| {
            let bit = (sector / self.unit_sectors) as usize;
            let whole: u32 = self.words.iter().take(bit / 64).map(|word| word.count_ones()).sum();
            let part =
                self.words.get(bit / 64).map_or(0, |word| (word & ((1 << (bit % 64)) - 1)).count_ones());
            let inside = if self.has(sector) { sector % self.unit_sectors } else { 0 };
            (whole + part) * self.unit_sectors + inside
        };
        before(to).saturating_sub(before(from))
    }
}

impl Segments {
    /// The table of an image.
    pub fn new(pool: &Pool, image: &Image) -> Result<Self, String> {
        let chunks = image.chunks.iter().map(|chunk| (chunk.placement.chunk, chunk.placement.slots.clone()));
        let mut all = BTreeMap::new();
        for segment in &image.segments {
            let kept = match &segment.kept[..] {
                [] => None,
                words => Some(
                    Kept::new(words, pool.segment_sectors())
                        .ok_or_else(|| format!("segment {} has a bitmap of a wrong size", segment.segment))?,
                ),
            };
            let runs = segment.runs.clone();
            all.insert(segment.segment, Segment { runs, kept, end_sector: segment.end_sector });
        }
        let groups = image.groups.clone();
        let members = groups.iter().enumerate().flat_map(|(group, coded)| {
            coded.data.iter().enumerate().map(move |(member, (chunk, _))| (*chunk, (group, member)))
        });
        let coded = members.collect();
        Ok(Self { chunks: chunks.collect(), all, groups, coded })
    }

    /// A segment of the tail that the image does not know.
    pub fn add(&mut self, id: SegmentId, chunk: ChunkId) {
        let runs = vec![ImageRun { first_sector: 0, chunk, start_sector: 0 }];
        self.all.entry(id).or_insert(Segment { runs, kept: None, end_sector: 0 });
    }

    /// The copies of a chunk.
    pub fn slots(&self, chunk: ChunkId) -> &[Slot] {
        self.chunks.get(&chunk).map_or(&[], Vec::as_slice)
    }

    /// The segments from `first` on that lie as they were written, with their chunks.
    pub fn written_from(&self, first: SegmentId) -> impl Iterator<Item = (SegmentId, ChunkId)> {
        let as_written = |(id, segment): (&SegmentId, &Segment)| match (&segment.kept, &segment.runs[..]) {
            (None, [run]) => Some((*id, run.chunk)),
            _ => None,
        };
        self.all.range(first..).filter_map(as_written)
    }

    pub fn get(&self, id: SegmentId) -> Option<&Segment> {
        self.all.get(&id)
    }

    /// The chunk of the record at `address`, and its sector in it.
    pub fn resolve(&self, address: LogAddress) -> Option<(ChunkId, u32)> {
        let segment = self.all.get(&address.segment())?;
        let (sector, index) = match &segment.kept {
            None => (address.sector(), 0),
            Some(kept) if kept.has(address.sector()) => {
                let after = segment.runs.partition_point(|run| run.first_sector <= address.sector());
                let index = after.checked_sub(1)?;
                (kept.count(segment.runs[index].first_sector, address.sector()), index)
            }
            Some(_) => return None,
        };
        let run = segment.runs.get(index)?;
        Some((run.chunk, run.start_sector.checked_add(sector)?))
    }

    /// Bytes that lie `offset` bytes into a chunk and pass `check`: of one of its copies, or computed from others of its group, from any
    /// combination of them.
    pub fn read<T>(
        &self,
        pool: &Pool,
        chunk: ChunkId,
        (offset, length): (u64, usize),
        check: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        let wrong = match pool.read_checked(self.slots(chunk), offset, length, &check) {
            Ok(value) => return Ok(value),
            Err(wrong) => wrong,
        };
        let Some(&(group, wanted)) = self.coded.get(&chunk) else { return Err(wrong) };
        let group = &self.groups[group];
        let (data, members) = (group.data.len(), group.data.len() + group.parity.len());
        let others = (0..members).filter(|&member| member != wanted);
        let sources: Vec<(usize, Vec<u8>)> = others
            .filter_map(|member| Some((member, self.member_bytes(pool, group, member, (offset, length))?)))
            .collect();
        for mask in (0u32..1 << sources.len()).filter(|mask| mask.count_ones() as usize == data) {
            let chosen = sources.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1);
            let chosen: Vec<(usize, Vec<u8>)> = chosen.map(|(_, source)| source.clone()).collect();
            if let Ok(value) = check(&code::recover(data, members, wanted, &chosen)) {
                return Ok(value);
            }
        }
        let found = sources.len();
        Err(format!(
            "{wrong}; {found} other chunks of its group of {data}+{} do not tell it",
            group.parity.len()
        ))
    }

    /// The bytes of a member of a group: zeroes behind its end.
    fn member_bytes(
        &self,
        pool: &Pool,
        group: &ImageGroup,
        member: usize,
        (offset, length): (u64, usize),
    ) -> Option<Vec<u8>> {
        let (chunk, end) = match group.data.get(member) {
            Some((chunk, sectors)) => (*chunk, u64::from(*sectors) * SECTOR_BYTES as u64),
            None => (group.parity[member - group.data.len()], pool.label.segment_bytes),
        };
        let there = end.saturating_sub(offset).min(length as u64) as usize;
        let mut bytes =
            pool.read_checked(self.slots(chunk), offset, there, |bytes| Ok(bytes.to_vec())).ok()?;
        bytes.resize(length, 0);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use quarry_types::LogId;

    use super::*;

    fn table(words: Vec<u64>, runs: &[(u32, u64, u32)]) -> Segments {
        let run = |&(first_sector, chunk, start_sector)| ImageRun {
            first_sector,
            chunk: ChunkId(chunk),
            start_sector,
        };
        let kept = (!words.is_empty()).then(|| Kept::new(&words, 2048).expect("a size that fits"));
        let segment = Segment { runs: runs.iter().map(run).collect(), kept, end_sector: 0 };
        Segments {
            chunks: BTreeMap::new(),
            all: [(SegmentId::new(LogId(0), 5), segment)].into(),
            groups: Vec::new(),
            coded: BTreeMap::new(),
        }
    }

    fn place(table: &Segments, sector: u32) -> Option<(u64, u32)> {
        let (chunk, sector) = table.resolve(LogAddress::new(SegmentId::new(LogId(0), 5), sector))?;
        Some((chunk.0, sector))
    }

    #[test]
    fn a_survivor_is_found_by_its_rank_in_the_run() {
        let written = table(Vec::new(), &[(0, 1, 0)]);
        assert_eq!(place(&written, 77), Some((1, 77)));
        // A bit a granule: granules 1, 2 and 64.
        let coarse = table(vec![0b110, 1, 0, 0], &[(0, 2, 8), (512, 3, 100)]);
        assert_eq!(place(&coarse, 8), Some((2, 8)));
        assert_eq!(place(&coarse, 19), Some((2, 19)));
        assert_eq!(place(&coarse, 512), Some((3, 100)));
        assert_eq!(place(&coarse, 24), None);
        // A bit a sector: sectors 3, 5 and 6.
        let mut words = vec![0; 32];
        words[0] = 0b110_1000;
        let fine = table(words, &[(0, 2, 40)]);
        assert_eq!(
            [3, 4, 5, 6].map(|sector| place(&fine, sector)),
            [Some((2, 40)), None, Some((2, 41)), Some((2, 42))]
        );
        assert_eq!(place(&fine, 2047), None);
    }

    #[test]
    fn bitmaps_of_a_wrong_size_are_refused() {
        for words in [0, 1, 3, 5, 31, 33] {
            assert!(Kept::new(&vec![0; words], 2048).is_none(), "{words}");
        }
    }
}
