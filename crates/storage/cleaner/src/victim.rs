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
    /// What cleaning it is worth.
    pub score: f64,
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

/// The chunks worth cleaning, best first as `policy` says. Segments from `first_kept` on, open ones, and what `cleaner` may not clean are left
/// alone; `now` is the log's count of segments.
pub fn choose(
    table: &SegmentTable,
    geometry: Geometry,
    first_kept: SegmentId,
    cleaner: &Cleaner,
    (policy, now): (Policy, u64),
) -> Vec<Victim> {
    let mut candidates: BTreeMap<ChunkId, Candidate> = BTreeMap::new();
    for (id, segment) in table.iter() {
        for (run, live) in segment.live_by_run() {
            let candidate = candidates.entry(run.chunk.id()).or_insert_with(|| {
                let chunk = run.chunk.clone();
                let victim = Victim { chunk, segments: Vec::new(), live_sectors: 0, score: 0.0 };
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
    let mut victims: Vec<Victim> = candidates
        .into_values()
        .filter(|candidate| !candidate.kept)
        .map(|candidate| {
            let mut victim = candidate.victim;
            let live = f64::from(victim.live_sectors) / f64::from(geometry.segment_sectors());
            let age = now.saturating_sub(victim.chunk.sealed_at.get()) + 1;
            victim.score = policy.order.score(live, age);
            victim
        })
        .filter(|victim| victim.live_sectors <= live_sectors_max(geometry, victim.chunk.packed_table.get().1))
        .collect();
    victims.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.chunk.id().cmp(&b.chunk.id())));
    victims
}
