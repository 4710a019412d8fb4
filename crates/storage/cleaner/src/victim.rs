//! Which chunks to clean, and which ones cannot be cleaned with gain.

use std::collections::BTreeMap;
use std::rc::Rc;

use quarry_format::packed;
use quarry_pool::{Chunk, Geometry, SegmentTable};
use quarry_types::limits::{BLOCK_SECTORS, SECTOR_BYTES};
use quarry_types::{ChunkId, SegmentId};

use crate::output::ROOM_SHARE_MIN;
use crate::{Cleaner, Policy};

/// From this live share on, cleaning gains too little for what it costs.
const LIVE_SHARE_MAX: f64 = 0.97;
/// Tables that a packed chunk has at most if victims fill much of it: one for each round in which it was written to.
const TABLES_MAX: u64 = 3;

/// A chunk that may be cleaned.
pub struct Victim {
    /// The chunk.
    pub chunk: Rc<Chunk>,
    /// The segments of which runs lie in it.
    pub segments: Vec<SegmentId>,
    /// Sectors that live in it.
    pub live_sectors: u32,
    /// The part that lives of what becomes free with it: of the chunk, or of all with data of its group.
    pub live_share: f64,
}

impl Victim {
    /// Whether it holds a segment as that was written.
    pub(crate) fn is_as_written(&self) -> bool {
        self.chunk.packed_table.get() == (0, 0)
    }
}

struct Candidate {
    victim: Victim,
    kept: bool,
}

/// Sectors of a chunk that live at most if cleaning is to gain something: fewer than a packed chunk of such pieces holds that was
/// closed because it was full. Else what was packed would be packed again, and nothing would ever be gained. The smaller the pieces
/// of a packed chunk are, the longer is its table, now `table_bytes`.
fn live_sectors_max(geometry: Geometry, table_bytes: u32) -> u32 {
    let granule = u64::from(geometry.granule_bytes);
    let of_blocks = packed::encoded_bytes((geometry.segment_sectors() / BLOCK_SECTORS) as usize) as u64;
    let table = of_blocks.max(u64::from(table_bytes));
    let lost =
        granule + TABLES_MAX * table.next_multiple_of(granule) + geometry.segment_bytes / ROOM_SHARE_MIN;
    let packed = geometry.segment_bytes.saturating_sub(lost) / SECTOR_BYTES as u64;
    packed.min((f64::from(geometry.segment_sectors()) * LIVE_SHARE_MAX) as u64) as u32
}

/// The same in bytes, for whole blocks. As long as the chunks of a log hold less on average, there is one that can be cleaned.
pub fn live_bytes_max(geometry: Geometry) -> u64 {
    u64::from(live_sectors_max(geometry, 0)) * SECTOR_BYTES as u64
}

/// Chunks that become free together: one by itself, or those with data of a group.
struct Together {
    /// The chunk, or the group.
    id: ChunkId,
    chunks: u32,
    /// Sectors that live in them, and most that may if cleaning them is to gain something.
    live_sectors: u32,
    live_sectors_max: u32,
    /// The log's count of segments when the last of them was filled.
    sealed_at: u64,
    /// One of them is left alone, so that cleaning the others would gain nothing.
    kept: bool,
}

impl Together {
    fn of(chunk: &Rc<Chunk>, candidates: &BTreeMap<ChunkId, Candidate>, geometry: Geometry) -> Self {
        let group = chunk.group();
        let (id, chunks) =
            group.map_or_else(|| (chunk.id(), vec![chunk.clone()]), |group| (group.id(), group.data()));
        // What is no candidate is dead.
        let found = || chunks.iter().filter_map(|chunk| candidates.get(&chunk.id()));
        let most = |chunk: &Rc<Chunk>| live_sectors_max(geometry, chunk.packed_table.get().1);
        Self {
            id,
            chunks: chunks.len() as u32,
            live_sectors: found().map(|candidate| candidate.victim.live_sectors).sum(),
            live_sectors_max: chunks.iter().map(most).sum(),
            sealed_at: chunks.iter().map(|chunk| chunk.sealed_at.get()).max().unwrap_or(0),
            kept: found().any(|candidate| candidate.kept),
        }
    }
}

/// The chunks worth cleaning, best first as `policy` says; those of a group one behind the other, because they become free together.
/// Segments from `first_kept` on, open ones, and what `cleaner` may not clean are left alone; `now` is the log's count of segments.
pub fn choose(
    table: &SegmentTable,
    geometry: Geometry,
    first_kept: SegmentId,
    cleaner: &Cleaner,
    (policy, now): (Policy, u64),
) -> Vec<Victim> {
    let candidates = candidates(table, first_kept, cleaner);
    let mut victims: Vec<(ChunkId, (f64, f64), ChunkId)> = Vec::new();
    for (id, candidate) in &candidates {
        let together = Together::of(&candidate.victim.chunk, &candidates, geometry);
        if together.kept || together.live_sectors > together.live_sectors_max {
            continue;
        }
        let sectors = f64::from(geometry.segment_sectors() * together.chunks);
        let age = now.saturating_sub(together.sealed_at) + 1;
        let live_share = f64::from(together.live_sectors) / sectors;
        victims.push((together.id, (policy.order.score(live_share, age), live_share), *id));
    }
    victims.sort_by(|(one, (a, _), first), (other, (b, _), second)| {
        b.total_cmp(a).then_with(|| (one, first).cmp(&(other, second)))
    });
    let mut candidates = candidates;
    let victim = |(_, (_, live_share), id)| {
        let victim = candidates.remove(&id).expect("each is chosen once").victim;
        Victim { live_share, ..victim }
    };
    victims.into_iter().map(victim).collect()
}

/// All chunks of segments, and whether they are to be left alone.
fn candidates(
    table: &SegmentTable,
    first_kept: SegmentId,
    cleaner: &Cleaner,
) -> BTreeMap<ChunkId, Candidate> {
    let mut candidates: BTreeMap<ChunkId, Candidate> = BTreeMap::new();
    for (id, segment) in table.iter() {
        for (run, live) in segment.live_by_run() {
            let candidate = candidates.entry(run.chunk.id()).or_insert_with(|| {
                let chunk = run.chunk.clone();
                let victim = Victim { chunk, segments: Vec::new(), live_sectors: 0, live_share: 0.0 };
                Candidate { victim, kept: !cleaner.may_clean(run.chunk.id()) }
            });
            let victim = &mut candidate.victim;
            if victim.segments.last() != Some(&id) {
                victim.segments.push(id);
            }
            victim.live_sectors += live;
            candidate.kept |= segment.end_sector == 0 || id >= first_kept;
        }
    }
    candidates
}
