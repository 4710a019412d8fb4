//! Scrub: reads every copy of everything that lives, mends what is bad from what is good, and reports what has no good copy.
//!
//! It goes from chunk to chunk as they were when it began. A chunk that was cleaned meanwhile was read and verified by that; one
//! that was filled since is young. Hosts, checkpoints and cleaning go on. Chunks are read in the order of their numbers: so whoever has kept
//! the report of a scrub that the end of a node cut off goes on behind the chunk that it had come to.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use quarry_format::node::Entry;
use quarry_pool::{Chunk, Expected, Group};
use quarry_types::limits::BLOCK_BYTES;
use quarry_types::{ChunkId, LogAddress, SegmentId, VolumeId};

use crate::Engine;
use crate::volume::VolumeState;

/// Addresses without a good copy that a report names; it counts the others.
const LOST_NAMED_MAX: usize = 1000;
/// Map nodes that are walked at once to find the blocks of lost records.
const NODES_AT_ONCE: usize = 4096;

/// How to scrub.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScrubTerms {
    /// So many bytes a second at most.
    pub bytes_per_s: Option<u64>,
    /// The labels of the pool's devices as well: for one log of a pool, on the core where labels are written.
    pub labels: bool,
}

/// A scrub under way or done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScrubReport {
    /// Seconds since 1970 at which it began.
    pub began_s: u64,
    /// And ended, if it did.
    pub ended_s: Option<u64>,
    /// Whether it goes on.
    pub running: bool,
    /// The last chunk that was looked at.
    pub passed: Option<ChunkId>,
    /// Chunks looked at.
    pub chunks_done: u64,
    /// Chunks to look at in all.
    pub chunks: u64,
    /// Bytes read and checked, every copy counted.
    pub bytes: u64,
    /// Bad copies that were written again from a good one.
    pub repaired: u64,
    /// Bad copies that could not be written again, though another copy is good.
    pub unrepaired: u64,
    /// Records of which no copy is good.
    pub lost: u64,
    /// Where the first of them belong.
    pub lost_blocks: Vec<LostBlock>,
}

/// Something of which no copy is good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostBlock {
    /// Who reads it; one of them if there are several. `None` for a node of a map.
    pub place: Option<LostPlace>,
    /// The record.
    pub address: LogAddress,
}

/// A block of a volume or snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostPlace {
    /// The volume or snapshot.
    pub volume: VolumeId,
    /// Its name.
    pub name: String,
    /// The first byte.
    pub offset: u64,
}

/// What a scrub has found lost.
#[derive(Default)]
struct Lost {
    /// Records, the first of them.
    addresses: Vec<LogAddress>,
    /// Chunks of which nothing tells what is in them, and the segments that lie there. The maps tell of what is a block.
    untold: BTreeMap<ChunkId, Vec<SegmentId>>,
}

impl Lost {
    fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.untold.is_empty()
    }
}

/// Where lost records belong, as far as that is known.
type Places = BTreeMap<LogAddress, Option<LostPlace>>;

/// The scrub of an engine.
#[derive(Default)]
pub(crate) struct Scrub {
    report: RefCell<ScrubReport>,
    stop: Cell<bool>,
    running: Cell<bool>,
}

impl Engine {
    /// The scrub that runs, or the last one since the engine was opened.
    pub fn scrub_report(&self) -> Option<ScrubReport> {
        let report = self.scrub.report.borrow();
        (report.began_s > 0).then(|| ScrubReport { running: self.scrub.running.get(), ..report.clone() })
    }

    /// Ends a scrub that runs, soon.
    pub fn stop_scrub(&self) {
        self.scrub.stop.set(true);
    }

    /// Scrubs everything of the log, at `bytes_per_s` at most. Where one runs already, says so by returning its report as it is.
    pub async fn scrub(&self, bytes_per_s: Option<u64>) -> ScrubReport {
        self.resume_scrub(ScrubReport::default(), ScrubTerms { bytes_per_s, labels: false }).await
    }

    /// The same, where `before` is left of a scrub that ended with another life of the engine. What that has found lost is looked for
    /// again, from the beginning: it has not been named.
    pub async fn resume_scrub(&self, before: ScrubReport, terms: ScrubTerms) -> ScrubReport {
        if self.scrub.running.replace(true) {
            return self.scrub.report.borrow().clone();
        }
        self.scrub.stop.set(false);
        let before = match before.lost {
            0 => before,
            _ => ScrubReport { began_s: before.began_s, ..ScrubReport::default() },
        };
        if before.ended_s.is_some() {
            *self.scrub.report.borrow_mut() = before;
        } else {
            self.scrub_all(before, terms).await;
        }
        // One that ends with the engine is not over: it goes on when that is opened again.
        let is_cut_off = self.closing.get() && !self.scrub.stop.get();
        self.scrub.running.set(is_cut_off && self.scrub.report.borrow().ended_s.is_none());
        self.scrub.report.borrow().clone()
    }

    async fn scrub_all(&self, before: ScrubReport, ScrubTerms { bytes_per_s, labels }: ScrubTerms) {
        // What is known to be lost may have been written again since.
        if !self.damaged_blocks().is_empty()
            && let Err(error) = self.checkpoint().await
        {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(log = %self.store.log, error, "a scrub begins without a checkpoint");
        }
        let mut chunks = self.chunks();
        chunks.retain(|id, _| before.passed.is_none_or(|passed| *id > passed));
        *self.scrub.report.borrow_mut() = ScrubReport {
            began_s: if before.began_s > 0 { before.began_s } else { self.env.clock.wall().as_secs() },
            chunks: before.chunks_done + chunks.len() as u64,
            ..before
        };
        if labels {
            let mended = self.store.pool.mend_labels().await;
            self.scrub.report.borrow_mut().repaired += mended;
        }
        let mut lost = Lost::default();
        for (id, segments) in chunks {
            if self.scrub.stop.get() || self.closing.get() {
                return;
            }
            let began = self.env.clock.now();
            let bytes = self.scrub_chunk(id, segments, &mut lost).await;
            {
                let mut report = self.scrub.report.borrow_mut();
                report.chunks_done += 1;
                report.passed = Some(id);
            }
            self.pace(bytes_per_s, began, bytes).await;
        }
        for group in self.store.groups() {
            if self.scrub.stop.get() || self.closing.get() {
                return;
            }
            let began = self.env.clock.now();
            let bytes = self.scrub_parity(&group).await;
            self.pace(bytes_per_s, began, bytes).await;
        }
        if !lost.is_empty() {
            self.forget_duplicates();
        }
        let mut lost_blocks = self.name_lost(lost).await;
        let by_maps = self.lost_by_maps().await;
        self.scrub.report.borrow_mut().lost += by_maps.len() as u64;
        lost_blocks.extend(
            by_maps.into_iter().map(|place| LostBlock { place: Some(place), address: LogAddress::LOST }),
        );
        self.damage.replace(lost_blocks.iter().filter_map(|lost| lost.place.clone()));
        lost_blocks.truncate(LOST_NAMED_MAX);
        let mut report = self.scrub.report.borrow_mut();
        report.lost_blocks = lost_blocks;
        report.ended_s = Some(self.env.clock.wall().as_secs());
    }

    /// The chunks of the segment table and the segments in each, without the one that is being filled.
    fn chunks(&self) -> BTreeMap<ChunkId, Vec<SegmentId>> {
        let table = self.store.table();
        let is_sealed = |id: &SegmentId| table.get(*id).is_some_and(|segment| segment.end_sector > 0);
        let chunks = table.by_chunk().into_iter().filter(|(_, (_, segments))| segments.iter().all(is_sealed));
        chunks.map(|(id, (_, segments))| (id, segments)).collect()
    }

    /// The chunk, if some of these segments still lie in it, and which.
    fn chunk_now(&self, id: ChunkId, segments: &[SegmentId]) -> Option<(Rc<Chunk>, Vec<SegmentId>)> {
        let table = self.store.table();
        let chunk_of = |segment: SegmentId| {
            table.get(segment).and_then(|segment| segment.chunks().find(|chunk| chunk.id() == id))
        };
        let here: Vec<SegmentId> = segments.iter().copied().filter(|&one| chunk_of(one).is_some()).collect();
        let chunk = chunk_of(*here.first()?)?.clone();
        Some((chunk, here))
    }

    /// Keeps to a rate.
    async fn pace(&self, bytes_per_s: Option<u64>, began: Duration, bytes: u64) {
        if let Some(rate) = bytes_per_s {
            let due = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            self.env.clock.sleep(due.saturating_sub(self.env.clock.now() - began)).await;
        }
    }

    /// Compares the parity of a group with its data, which has been scrubbed; says how many bytes that were. What cannot be told of
    /// has been reported then.
    async fn scrub_parity(&self, group: &Group) -> u64 {
        let mut contents = Vec::new();
        for chunk in group.data() {
            match quarry_cleaner::whole_contents(&self.store, &chunk).await {
                Ok(told) => contents.push(told),
                Err(error) => {
                    tracing::error!(chunk = %chunk.id(), %error, "the parity of a group cannot be checked");
                    return 0;
                }
            }
        }
        let scrubbed = match self.store.scrub_parity(group, &contents).await {
            Ok(scrubbed) => scrubbed,
            Err(error) => {
                tracing::error!(group = %group.id(), %error, "the parity of a group cannot be checked");
                return 0;
            }
        };
        let mut report = self.scrub.report.borrow_mut();
        report.bytes += scrubbed.bytes;
        report.repaired += scrubbed.repaired;
        report.unrepaired += scrubbed.unrepaired;
        scrubbed.bytes
    }

    /// Scrubs one chunk if it is still there; says how many bytes that were.
    async fn scrub_chunk(&self, id: ChunkId, segments: Vec<SegmentId>, lost: &mut Lost) -> u64 {
        let Some((chunk, here)) = self.chunk_now(id, &segments) else { return 0 };
        let mut pieces = quarry_cleaner::live_pieces(&self.store, &chunk, &here).await;
        if pieces.is_err() {
            // It may have been cleaned while it was looked at, or be one that the cleaner still fills: read by that, or young.
            let Some((chunk, here)) = self.chunk_now(id, &segments) else { return 0 };
            if !self.cleaner.borrow().may_clean(id) {
                return 0;
            }
            pieces = quarry_cleaner::live_pieces(&self.store, &chunk, &here).await;
        }
        let pieces = match pieces {
            Ok(pieces) => pieces,
            Err(error) => {
                tracing::error!(chunk = %id, %error, "what is in a chunk cannot be told");
                // What would have told it.
                self.scrub.report.borrow_mut().lost += 1;
                lost.untold.insert(id, segments);
                return 0;
            }
        };
        let expected: Vec<(u32, Expected)> =
            pieces.iter().map(|piece| (piece.sector, piece.expected)).collect();
        let scrubbed = self.store.pool.scrub(&chunk, &expected).await;
        let mut report = self.scrub.report.borrow_mut();
        report.bytes += scrubbed.bytes;
        report.repaired += scrubbed.repaired;
        report.unrepaired += scrubbed.unrepaired;
        // What tells of records was read from a good copy just now.
        let records: Vec<LogAddress> =
            scrubbed.lost.iter().filter_map(|&index| pieces[index].address).collect();
        report.lost += records.len() as u64;
        lost.addresses.extend(records);
        lost.addresses.truncate(LOST_NAMED_MAX);
        scrubbed.bytes
    }

    /// Finds out which blocks of which volumes lost records belong to, and which blocks of chunks that tell nothing are lost.
    async fn name_lost(&self, lost: Lost) -> Vec<LostBlock> {
        if lost.is_empty() {
            return Vec::new();
        }
        let mut places: Places = lost.addresses.into_iter().map(|address| (address, None)).collect();
        let mut untold = Untold::new(lost.untold);
        for volume in self.readers() {
            self.find_blocks(&volume, &mut places, &mut untold).await;
        }
        places.into_iter().map(|(address, place)| LostBlock { place, address }).collect()
    }

    async fn find_blocks(&self, volume: &VolumeState, places: &mut Places, untold: &mut Untold) {
        let (root, mut from) = (volume.map.below().newest_root(), Some(0));
        while let Some(start) = from {
            let is_wanted = |address| places.contains_key(&address) || untold.is_new(address);
            let found =
                quarry_map::blocks_at(&self.nodes, &self.cache, root, start, NODES_AT_ONCE, is_wanted);
            let (blocks, rest) = match found.await {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!(volume = %volume.id, %error, "lost records cannot be named: its map is damaged too");
                    return;
                }
            };
            for (block, entry) in blocks {
                if untold.is_new(entry.address) && self.is_lost(&entry, untold).await {
                    self.scrub.report.borrow_mut().lost += 1;
                    if places.len() < LOST_NAMED_MAX {
                        places.insert(entry.address, None);
                    }
                }
                if let Some(place) = places.get_mut(&entry.address) {
                    place.get_or_insert_with(|| LostPlace {
                        volume: volume.id,
                        name: volume.head.borrow().name.clone(),
                        offset: block * BLOCK_BYTES as u64,
                    });
                }
            }
            from = rest;
        }
    }

    /// Whether a block of a chunk that tells nothing has no good copy. What is bad of it is mended from what is good.
    async fn is_lost(&self, entry: &Entry, untold: &mut Untold) -> bool {
        let place = {
            let table = self.store.table();
            table.resolve(entry.address).map(|(chunk, sector)| (chunk.clone(), sector))
        };
        untold.seen.insert(entry.address);
        let Some((chunk, sector)) = place.filter(|(chunk, _)| untold.chunks.contains(&chunk.id())) else {
            return false;
        };
        let expected = Expected { sectors: u32::from(entry.stored_sectors), checksum: entry.checksum };
        let scrubbed = self.store.pool.scrub(&chunk, &[(sector, expected)]).await;
        let mut report = self.scrub.report.borrow_mut();
        report.bytes += scrubbed.bytes;
        report.repaired += scrubbed.repaired;
        report.unrepaired += scrubbed.unrepaired;
        !scrubbed.lost.is_empty()
    }
}

/// Chunks of which nothing but the maps tells what is in them.
struct Untold {
    chunks: BTreeSet<ChunkId>,
    segments: BTreeSet<SegmentId>,
    /// Records of these segments that were looked at: several blocks, and several volumes, may have one.
    seen: BTreeSet<LogAddress>,
}

impl Untold {
    fn new(chunks: BTreeMap<ChunkId, Vec<SegmentId>>) -> Self {
        let segments = chunks.values().flatten().copied().collect();
        Self { chunks: chunks.into_keys().collect(), segments, seen: BTreeSet::new() }
    }

    /// Whether a record may lie there and was not looked at.
    fn is_new(&self, address: LogAddress) -> bool {
        self.segments.contains(&address.segment()) && !self.seen.contains(&address)
    }
}
