//! Full chunks become groups: k of them get m chunks of parity, and give up the copies that they have besides.
//!
//! Only what nobody writes to any more and no recovery follows by its copies: sealed segments in front of the replay position, and
//! packed chunks that are closed. What is left over, fewer than k chunks, keeps its copies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use quarry_ec::Shape;
use quarry_pool::{Candidate, Chunk, Coded, Contents, Grouping, PoolError};
use quarry_types::{ChunkId, SegmentId};

use crate::{Engine, EngineError};

/// What a step has done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Grouped {
    /// Chunks that are in a group now.
    pub(crate) chunks: usize,
    /// Bytes that were written.
    pub(crate) bytes: u64,
}

impl Engine {
    /// The code of the log, if there are devices enough for it.
    fn shape(&self) -> Option<Shape> {
        let shared = &self.store.pool.shared;
        shared.shape_of(self.store.log).filter(|shape| shared.usable_devices() >= shape.members())
    }

    /// The chunks that can be grouped now, those with the fewest good copies first, then the oldest: what was written together dies
    /// together.
    fn candidates(&self) -> Vec<Candidate> {
        let first_kept = self.durable.borrow().replay_from.address.segment();
        let is_before = |segment: &SegmentId| *segment < first_kept;
        let mut candidates = self.full_chunks();
        candidates
            .retain(|candidate| candidate.chunk.is_recorded() && candidate.segments.iter().all(is_before));
        candidates.sort_by_key(|Candidate { chunk, .. }| {
            (chunk.healthy_copies(), chunk.sealed_at.get(), chunk.id())
        });
        candidates
    }

    /// The chunks in no group that nobody writes to.
    fn full_chunks(&self) -> Vec<Candidate> {
        let chunks = self.store.table().by_chunk();
        let candidates = chunks.into_values().map(|(chunk, segments)| Candidate { chunk, segments });
        let is_full = |Candidate { chunk, segments }: &Candidate| {
            !chunk.is_coded()
                && chunk.healthy_copies() > 0
                && !self.rehomer.ungroupable.borrow().contains(&chunk.id())
                && !self.is_being_written(chunk.id(), segments)
        };
        candidates.filter(is_full).collect()
    }

    /// The chunks that can be grouped now, as many as make a group at a time. What hosts have written and what was moved because it
    /// lives long are kept apart, because a group becomes free as a whole, and so are tiers, because it lies in one; where `mixed`, what
    /// is left over of all goes together.
    fn batches(&self, shape: Shape, mixed: bool) -> VecDeque<Vec<Candidate>> {
        let shared = &self.store.pool.shared;
        let mut classes: BTreeMap<(bool, u8), Vec<Candidate>> = BTreeMap::new();
        for candidate in self.candidates() {
            let is_moved = candidate.chunk.packed_table.get() != (0, 0);
            let tier = shared.tiers_of_slots(&candidate.chunk.slots()).1;
            classes.entry((is_moved, tier)).or_default().push(candidate);
        }
        let (mut batches, mut rest) = (VecDeque::new(), Vec::new());
        for class in classes.into_values() {
            let whole = class.chunks_exact(shape.data());
            rest.extend_from_slice(whole.remainder());
            batches.extend(whole.map(<[Candidate]>::to_vec));
        }
        if mixed {
            batches.extend(rest.chunks_exact(shape.data()).map(<[Candidate]>::to_vec));
        }
        batches
    }

    /// The chunks that the next steps will group, so that nothing else needs to be done about them.
    pub(crate) fn grouped_soon(&self) -> BTreeSet<ChunkId> {
        let Some(shape) = self.shape().filter(|_| !self.rehomer.is_grouping_stuck.get()) else {
            return BTreeSet::new();
        };
        self.batches(shape, false).into_iter().flatten().map(|candidate| candidate.chunk.id()).collect()
    }

    /// Whether there may be chunks to be grouped that nobody has looked at.
    pub(crate) fn is_grouping_due(&self) -> bool {
        self.shape().is_some() && self.rehomer.grouping_looked.get() != self.grouping_version()
    }

    /// Changes when there may be more chunks to be grouped.
    fn grouping_version(&self) -> (u64, u64) {
        (self.store.chunks_allocated(), self.statistics.checkpoints.get())
    }

    /// Makes groups for `time`, at least one where one can be made, and commits; also of chunks that should not be together where
    /// `mixed`. The caller holds the lock of maintenance.
    pub(crate) async fn group_some(&self, time: Duration, mixed: bool) -> Result<Grouped, EngineError> {
        let Some(shape) = self.shape() else { return Ok(Grouped::default()) };
        let began = self.env.clock.now();
        self.rehomer.grouping_looked.set(self.grouping_version());
        let (mut batches, mut groupings, mut bytes) = (self.batches(shape, mixed), Vec::new(), 0);
        while let Some(candidates) = batches.pop_front().filter(|_| !self.closing.get()) {
            if !groupings.is_empty() && self.env.clock.now() - began >= time {
                // The rest is for the next step.
                self.rehomer.grouping_looked.take();
                break;
            }
            let Some(grouping) = self.store.plan_group(shape, candidates) else {
                self.rehomer.is_grouping_stuck.set(groupings.is_empty());
                break;
            };
            match self.write_group(&grouping).await {
                Ok(coded) => {
                    bytes += coded.written_bytes;
                    groupings.push(grouping);
                }
                Err(error) => {
                    tracing::error!(log = %self.store.log, %error, "chunks cannot be grouped; they keep their copies");
                }
            }
        }
        if groupings.is_empty() {
            return Ok(Grouped::default());
        }
        let chunks = self.store.finish_groups(groupings).await;
        if chunks > 0 {
            self.rehomer.is_grouping_stuck.set(false);
            self.rehomer.grouped.set(self.rehomer.grouped.get() + chunks as u64);
            self.commit().await?;
        }
        Ok(Grouped { chunks, bytes })
    }

    /// Computes and writes the parity of a group. What cannot be told of is left alone from then on.
    async fn write_group(&self, grouping: &Grouping) -> Result<Coded, PoolError> {
        let mut contents = Vec::new();
        for candidate in grouping.candidates() {
            match quarry_cleaner::whole_contents(&self.store, &candidate.chunk).await {
                Ok(told) => contents.push(told),
                Err(error) => {
                    self.rehomer.ungroupable.borrow_mut().insert(candidate.chunk.id());
                    return Err(error);
                }
            }
        }
        self.store.write_group(grouping, &contents).await
    }

    /// How many groups there are, how many chunks with data are in them, and how many chunks of segments are in none.
    pub(crate) fn chunks_in_groups(&self) -> (u64, u64, u64) {
        let groups = self.store.groups();
        let grouped: usize = groups.iter().map(|group| group.shape().data()).sum();
        let coded = |chunk: &(Rc<Chunk>, Vec<SegmentId>)| chunk.0.is_coded();
        let chunks = self.store.table().by_chunk();
        let ungrouped = chunks.values().filter(|chunk| !coded(chunk)).count();
        (groups.len() as u64, grouped as u64, ungrouped as u64)
    }

    /// What a chunk tells of that is to be moved; of one with parity what each chunk with data of its group does.
    pub(crate) async fn contents_of(
        &self,
        chunk: &Rc<Chunk>,
        segments: &[SegmentId],
    ) -> Result<Vec<Contents>, PoolError> {
        let Some(group) = chunk.group() else {
            let first_kept = self.durable.borrow().replay_from.address.segment();
            return Ok(vec![quarry_cleaner::contents(&self.store, chunk, segments, first_kept).await?]);
        };
        let told = if group.is_parity(chunk) { group.data() } else { vec![chunk.clone()] };
        let mut contents = Vec::with_capacity(told.len());
        for chunk in told {
            contents.push(quarry_cleaner::whole_contents(&self.store, &chunk).await?);
        }
        Ok(contents)
    }

    /// Makes a checkpoint that lets chunks be grouped which are full, if hosts have done nothing since the last look.
    pub(crate) async fn release_tail(&self) -> Result<(), EngineError> {
        let looked = (self.host_bytes(), self.store.chunks_allocated());
        let (hosts_before, chunks_before) = self.rehomer.tail_looked.replace(looked);
        let is_new = self.rehomer.tail_refused.get() != Some(looked.1);
        if looked != (hosts_before, chunks_before) || !is_new || self.tail_bytes() == 0 {
            return Ok(());
        }
        let Some(shape) = self.shape() else { return Ok(()) };
        if self.full_chunks().len() < shape.data() || !self.batches(shape, false).is_empty() {
            self.rehomer.tail_refused.set(Some(looked.1));
            return Ok(());
        }
        self.checkpoint().await
    }
}
