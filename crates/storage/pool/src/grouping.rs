//! Making groups of chunks that are full, and ending them.
//!
//! Order: the parity, and copies where a chunk has to lie on another device, are written and flushed; then the group counts, and each of
//! its chunks has one copy; what the chunks had besides is free when an image is durable that names the group. Until then a crash
//! leaves the chunks as they were.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use quarry_ec::{Code, Shape};
use quarry_env::Work;
use quarry_format::anchor::Slot;
use quarry_types::limits::SECTOR_BYTES;
use quarry_types::{ChunkId, SegmentId};

use crate::coded::{Told, told_of, windows};
use crate::matching::{Place, places};
use crate::{Chunk, Contents, Group, LogStore, Pool, PoolError};

/// A chunk that is full and in no group.
#[derive(Clone)]
pub struct Candidate {
    /// The chunk.
    pub chunk: Rc<Chunk>,
    /// The segments of which something lies in it.
    pub segments: Vec<SegmentId>,
}

/// Chunks on their way into a group.
pub struct Grouping {
    shape: Shape,
    candidates: Vec<Candidate>,
    places: Vec<Place>,
    /// The chunks with parity.
    parity: Vec<Rc<Chunk>>,
    ends: Vec<usize>,
    /// How often the devices on which this relies had failed before.
    failures: Vec<(u16, u32)>,
}

/// What came of coding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Coded {
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Pieces that are bad wherever they lie; they are coded as they are.
    pub lost_pieces: u64,
}

impl Grouping {
    /// The chunks with data, in the order of the code.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The chunks with data, each to be read where it stays.
    fn told<'a>(&'a self, contents: &'a [Contents]) -> Vec<(Told<'a>, Option<Slot>)> {
        let places = self.candidates.iter().zip(&self.places).zip(&self.ends).zip(contents);
        let told = places.map(|(((candidate, place), &end), contents)| {
            (Told { chunk: &candidate.chunk, contents, end }, place.kept())
        });
        told.collect()
    }

    fn slots(&self) -> impl Iterator<Item = Slot> {
        let parity = self.parity.iter().flat_map(|chunk| chunk.slots());
        self.places.iter().map(Place::slot).chain(parity)
    }
}

impl LogStore {
    /// Takes what is needed to make a group of as many chunks as the code has with data. `None` when there are too few devices or too
    /// little space for it.
    pub fn plan_group(&self, shape: Shape, candidates: Vec<Candidate>) -> Option<Grouping> {
        assert_eq!(candidates.len(), shape.data(), "a group has so many chunks with data");
        let shared = &self.pool.shared;
        let tier_of = |candidate: &Candidate| shared.tiers_of_slots(&candidate.chunk.slots()).1;
        let tier = candidates.iter().map(tier_of).max().unwrap_or(0);
        let places = places(shared, (self.log, tier), &candidates)?;
        let mut taken: Vec<u16> = places.iter().map(|place| place.slot().device).collect();
        let mut parity = Vec::new();
        for _ in 0..shape.parity() {
            let slot = shared.allocate_coded(self.log, &taken, tier)?;
            taken.push(slot.device);
            parity.push(Rc::new(Chunk::with_slots(shared, (self.log, self.next_chunk_id()), &[slot])));
        }
        let ends = candidates.iter().map(|candidate| self.end_of(candidate)).collect();
        let mut grouping = Grouping { shape, candidates, places, parity, ends, failures: Vec::new() };
        grouping.failures =
            grouping.slots().map(|slot| (slot.device, shared.failures_of(slot.device))).collect();
        Some(grouping)
    }

    /// Bytes of a chunk that count.
    fn end_of(&self, candidate: &Candidate) -> usize {
        let granule = self.pool.geometry().granule_bytes as usize;
        let table = self.table();
        let end = match (candidate.chunk.packed_table.get(), &candidate.segments[..]) {
            ((_, 0), [segment]) => {
                table.get(*segment).map_or(0, |segment| segment.end_sector as usize * SECTOR_BYTES)
            }
            ((sector, bytes), _) => sector as usize * SECTOR_BYTES + bytes as usize,
        };
        end.next_multiple_of(granule)
    }

    /// Computes and writes the parity of chunks that tell of `contents`.
    pub async fn write_group(&self, grouping: &Grouping, contents: &[Contents]) -> Result<Coded, PoolError> {
        let (pool, code) = (&self.pool, Code::new(grouping.shape));
        let granule = pool.geometry().granule_bytes as usize;
        let data = grouping.told(contents);
        let ids: Vec<ChunkId> = grouping.parity.iter().map(|chunk| chunk.id()).collect();
        let mut coded = Coded::default();
        let granules = pool.parity_granules(self.log, &data, &ids).await?;
        for (chunk, bytes) in grouping.parity.iter().zip(granules) {
            coded.written_bytes += bytes.len() as u64;
            pool.write_slot(chunk.slots()[0], 0, bytes).await?;
        }
        for (place, (told, _)) in grouping.places.iter().zip(&data) {
            if let Place::Fresh(fresh) = place {
                let header = pool.canonical(told, None, 0..granule).await?;
                coded.written_bytes += granule as u64;
                pool.write_slot(fresh.slot(), 0, header.bytes).await?;
            }
        }
        for range in windows(granule, grouping.ends.iter().copied().max().unwrap_or(0)) {
            let _passed = pool.turn(Work::Grouping, (range.len() * (data.len() + ids.len())) as u64).await;
            let window = pool.coded_window(&code, &data, range.clone()).await?;
            coded.lost_pieces += window.lost();
            let mut writes = Vec::new();
            for (index, canonical) in window.data.into_iter().enumerate() {
                let end = data[index].0.end.clamp(range.start, range.end);
                let place = &grouping.places[index];
                if end > range.start && (canonical.differs || place.kept().is_none()) {
                    let mut bytes = canonical.bytes;
                    bytes.set_length(end - range.start);
                    writes.push((place.slot(), bytes));
                }
            }
            let parity = grouping.parity.iter().zip(window.parity);
            writes.extend(parity.map(|(chunk, bytes)| (chunk.slots()[0], bytes)));
            coded.written_bytes += writes.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
            let writes = writes.into_iter().map(|(slot, bytes)| pool.write_slot(slot, range.start, bytes));
            futures::future::try_join_all(writes).await?;
        }
        Ok(coded)
    }

    /// Makes groups count whose parity was written, once it has been flushed. What their chunks had besides waits for the next
    /// commit. Says how many chunks were grouped.
    pub async fn finish_groups(&self, groupings: Vec<Grouping>) -> usize {
        let devices: BTreeSet<u16> =
            groupings.iter().flat_map(Grouping::slots).map(|slot| slot.device).collect();
        let failed = self.pool.flush(&devices).await;
        let shared = &self.pool.shared;
        let mut grouped = 0;
        for grouping in groupings {
            let is_as_before = |(device, failures): &(u16, u32)| {
                !failed.contains(device) && shared.failures_of(*device) == *failures
            };
            let is_there = |(place, candidate): (&Place, &Candidate)| match place.kept() {
                Some(slot) => candidate.chunk.slots().contains(&slot),
                None => true,
            };
            let is_safe = grouping.failures.iter().all(is_as_before)
                && grouping.places.iter().zip(&grouping.candidates).all(is_there);
            if is_safe {
                grouped += grouping.candidates.len();
                self.begin_group(grouping);
            }
        }
        grouped
    }

    fn begin_group(&self, grouping: Grouping) {
        let Grouping { shape, candidates, places, parity, ends, .. } = grouping;
        let mut members = Vec::with_capacity(shape.members());
        for (candidate, place) in candidates.into_iter().zip(places) {
            let next = candidate.chunk.succeed(&[place.into_slot()]);
            self.table_mut().replace_chunk(&candidate.segments, &candidate.chunk, &next);
            self.retire(candidate.chunk);
            members.push(next);
        }
        members.extend(parity);
        self.add_group(Group::new(shape, members, ends));
    }

    /// Ends groups in which nothing lives, and those that are not wanted and whose living chunks all have their copies. What
    /// belonged to them waits for the next commit. Says how many.
    pub fn end_groups(&self) -> usize {
        let wanted = self.pool.shared.shape_of(self.log);
        let copies = self.pool.shared.copies_now(self.log);
        let living: BTreeSet<ChunkId> =
            self.table().iter().flat_map(|(_, segment)| segment.chunks().map(|chunk| chunk.id())).collect();
        let is_over = |group: &Rc<Group>| {
            let mut data = group.data().into_iter().filter(|chunk| living.contains(&chunk.id()));
            match Some(group.shape()) == wanted {
                true => data.next().is_none(),
                false => data.all(|chunk| chunk.staying_copies() >= copies),
            }
        };
        let over: Vec<Rc<Group>> = self.groups().into_iter().filter(is_over).collect();
        for group in &over {
            self.remove_group(group);
            for chunk in group.members() {
                // What lives has copies again. What does not is of the group for as long as somebody reads it.
                match living.contains(&chunk.id()) {
                    true => chunk.leave_group(),
                    false => self.retire(chunk),
                }
            }
        }
        over.len()
    }

    /// Chunks of groups in which nothing lives, and chunks with parity: they are in no segment.
    pub fn chunks_without_segments(&self) -> BTreeMap<ChunkId, Rc<Chunk>> {
        let living: BTreeSet<ChunkId> =
            self.table().iter().flat_map(|(_, segment)| segment.chunks().map(|chunk| chunk.id())).collect();
        let members = self.groups().into_iter().flat_map(|group| group.members());
        members.filter(|chunk| !living.contains(&chunk.id())).map(|chunk| (chunk.id(), chunk)).collect()
    }
}

impl Pool {
    /// Writes a member of a group to other slots. `contents` is what the chunk tells of; of one with parity what each chunk with data
    /// does.
    pub(crate) async fn copy_member(
        &self,
        group: &Group,
        chunk: &Rc<Chunk>,
        contents: &[Contents],
        slots: &[Slot],
    ) -> Result<Coded, PoolError> {
        let granule = self.geometry().granule_bytes as usize;
        let data = group.data();
        let index = group.index_of(chunk).expect("it is a member");
        let is_parity = index >= data.len();
        let all = told_of(group, &data, contents);
        let own = contents.first().map(|contents| Told { chunk, contents, end: group.end(index) });
        let own = own.expect("something is told of each chunk");
        let mut coded = Coded::default();
        let ranges = std::iter::once(0..granule).chain(windows(granule, group.end(index)));
        for range in ranges {
            let read = if is_parity { data.len() } else { 1 };
            let _passed = self.turn(Work::Rebuild, (range.len() * (read + slots.len())) as u64).await;
            let bytes = if !is_parity {
                let canonical = self.canonical(&own, None, range.clone()).await?;
                coded.lost_pieces += canonical.lost;
                let mut bytes = canonical.bytes;
                bytes.set_length(range.end.min(own.end) - range.start);
                bytes
            } else if range.start == 0 {
                let log = chunk.log();
                let ids: Vec<ChunkId> =
                    group.members()[data.len()..].iter().map(|chunk| chunk.id()).collect();
                self.parity_granules(log, &all, &ids).await?.swap_remove(index - data.len())
            } else {
                let mut window = self.coded_window(group.code(), &all, range.clone()).await?;
                coded.lost_pieces += window.lost();
                window.parity.swap_remove(index - data.len())
            };
            for &slot in slots {
                let copy = self.env.buffers.copy_of(&bytes).try_thaw();
                let copy = copy.unwrap_or_else(|_| unreachable!("nobody else has it"));
                coded.written_bytes += copy.len() as u64;
                self.write_slot(slot, range.start, copy).await?;
            }
        }
        Ok(coded)
    }
}
