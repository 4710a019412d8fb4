//! One round of cleaning: copy what lives, flush, then point the segments at the copies.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use quarry_format::packed::PackedItem;
use quarry_pool::{Bitmap, Chunk, LogStore, PoolError, Relocation, Run};
use quarry_types::ChunkId;
use quarry_types::limits::SECTOR_BYTES;

use crate::class::Classifier;
use crate::copy::Source;
use crate::output::{Output, cost_bytes, room_bytes_min};
use crate::survivors::{LiveRun, Survivor, survivors};
use crate::{Policy, Victim};

/// What a round did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Relocated {
    /// Chunks that will be free after the next commit.
    pub victims: usize,
    /// The same by the share of the chunk that lived, in tenths.
    pub victims_by_tenth: [u64; 10],
    /// Chunks that were taken.
    pub outputs: usize,
    /// Bytes that were moved, counted once whatever the copies.
    pub moved_bytes: u64,
    /// Bytes that will be free after the next commit, less those that were taken: what was gained.
    pub gained_bytes: i64,
    /// Victims that could not be read, or for which no room was left, and that were left alone.
    pub skipped: usize,
}

/// Chunks that are not full, one for each class of data.
type Open = [Option<Output>; Policy::CLASSES_MAX];

/// How a round goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoundTerms {
    /// Into which classes data is separated.
    pub policy: Policy,
    /// New chunks that may be taken.
    pub chunks_max: usize,
    /// The log's count of segments.
    pub now: u64,
    /// Where what lives on goes, if there is room: as what lay there is read, so it will be.
    pub tier: u8,
}

/// Moves survivors of one log. The chunk that a round did not fill is the first one of the next, for each class of data in each tier.
#[derive(Default)]
pub struct Cleaner {
    open: BTreeMap<u8, Open>,
    classifier: Classifier,
    /// Chunks that could not be read. They are not tried again before the log is opened again.
    unreadable: BTreeSet<ChunkId>,
}

impl Cleaner {
    /// Whether a chunk may be cleaned: it is not being written to, and it could be read so far.
    pub fn may_clean(&self, chunk: ChunkId) -> bool {
        !self.is_filling(chunk) && !self.unreadable.contains(&chunk)
    }

    /// Whether a chunk is being filled.
    pub fn is_filling(&self, chunk: ChunkId) -> bool {
        self.open.values().flatten().flatten().any(|open| open.id() == chunk)
    }

    /// Writes no more to chunks that lie where new ones would not.
    pub fn close_left(&mut self, store: &LogStore) {
        self.open.values_mut().flatten().for_each(|open| _ = open.take_if(|open| !open.is_usable(store)));
    }

    /// Takes another chunk for the next round where `is_gone` says so of the one that is not full.
    pub fn close(&mut self, is_gone: impl Fn(ChunkId) -> bool) {
        self.open.values_mut().flatten().for_each(|open| _ = open.take_if(|open| is_gone(open.id())));
    }

    /// Moves what lives in `victims` elsewhere, as far as it fits.
    pub async fn relocate(
        &mut self,
        store: &LogStore,
        victims: &[Victim],
        terms: RoundTerms,
    ) -> Result<Relocated, PoolError> {
        if victims.is_empty() {
            return Ok(Relocated::default());
        }
        self.close_left(store);
        let mut round = Round::new(store, self.open.remove(&terms.tier).unwrap_or_default(), terms);
        for victim in victims {
            match round.move_victim(victim, &self.classifier).await {
                Ok(true) if victim.is_as_written() => {
                    self.classifier.note_written(terms.now.saturating_sub(victim.chunk.sealed_at.get()));
                }
                Ok(_) => {}
                Err(error @ (PoolError::Corrupt { .. } | PoolError::Unreadable { .. })) => {
                    tracing::error!(chunk = %victim.chunk.id(), %error, "a chunk cannot be cleaned");
                    round.relocated.skipped += 1;
                    self.unreadable.insert(victim.chunk.id());
                }
                // Other logs were quicker. What was moved so far counts.
                Err(PoolError::NoSpace) => {
                    round.relocated.skipped += 1;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let (relocated, open) = round.finish().await?;
        self.open.insert(terms.tier, open);
        Ok(relocated)
    }
}

struct Round<'a> {
    store: &'a LogStore,
    now: u64,
    tier: u8,
    classes: usize,
    /// The chunks that are written to, by class.
    open: Open,
    /// Chunks that are full.
    full: Vec<Output>,
    /// Bytes of the open ones that were taken when the round began.
    taken_before: i64,
    /// More chunks that may be taken.
    chunks_left: usize,
    moved: Vec<Relocation>,
    emptied: Vec<Rc<Chunk>>,
    relocated: Relocated,
}

impl<'a> Round<'a> {
    fn new(store: &'a LogStore, open: Open, terms: RoundTerms) -> Self {
        Self {
            store,
            now: terms.now,
            tier: terms.tier,
            classes: terms.policy.classes(store.pool.shared.capacity_for(store.log).total_chunks),
            taken_before: taken_bytes(&open),
            open,
            full: Vec::new(),
            chunks_left: terms.chunks_max,
            moved: Vec::new(),
            emptied: Vec::new(),
            relocated: Relocated::default(),
        }
    }

    /// Copies what lives in one chunk, all of it or nothing that counts. False when there is no room for it.
    async fn move_victim(&mut self, victim: &Victim, classifier: &Classifier) -> Result<bool, PoolError> {
        let runs = survivors(self.store, &victim.chunk, &victim.segments).await?;
        let class_of = |run: &LiveRun| classifier.class_of(run.segment, self.now, self.classes);
        let mut taken = [(0, 0); Policy::CLASSES_MAX];
        for run in &runs {
            let (items, bytes) = &mut taken[class_of(run)];
            *items += run.survivors.len();
            *bytes += run.survivors.iter().map(|survivor| u64::from(survivor.item.sectors)).sum::<u64>()
                * SECTOR_BYTES as u64;
        }
        let wanted: usize = (0..self.classes).map(|class| self.chunks_for(class, taken[class])).sum();
        if wanted > self.chunks_left {
            self.relocated.skipped += 1;
            return Ok(false);
        }
        let before = self.moved.len();
        let mut source = Source::new(self.store, &victim.chunk);
        // What is moved is read as much as it was.
        let heat_per_sector = victim.chunk.heat.now() / victim.live_sectors.max(1) as f32;
        for run in runs {
            let class = classifier.class_of(run.segment, self.now, self.classes);
            if let Err(error) = self.move_run((class, heat_per_sector), &mut source, run).await {
                // Half a chunk moved gains nothing: all of it stays where it is.
                self.moved.truncate(before);
                return Err(error);
            }
        }
        self.emptied.push(victim.chunk.clone());
        self.relocated.victims += 1;
        let tenth = victim.live_sectors * 10 / self.store.pool.geometry().segment_sectors();
        self.relocated.victims_by_tenth[tenth.min(9) as usize] += 1;
        self.relocated.moved_bytes += taken.iter().map(|(_, bytes)| bytes).sum::<u64>();
        Ok(true)
    }

    /// Chunks that so many items and bytes of a class take at most, besides the one that is open, however the runs are cut.
    fn chunks_for(&self, class: usize, (items, bytes): (usize, u64)) -> usize {
        let lost = room_bytes_min(self.store) + u64::from(self.store.pool.geometry().granule_bytes);
        let open = self.open[class].as_ref().map_or(0, |output| output.room_bytes(self.store));
        let empty = Output::room_bytes_empty(self.store).saturating_sub(lost).max(1);
        cost_bytes(items, bytes).saturating_sub(open.saturating_sub(lost)).div_ceil(empty) as usize
    }

    async fn move_run(
        &mut self,
        (class, heat_per_sector): (usize, f32),
        source: &mut Source<'_>,
        run: LiveRun,
    ) -> Result<(), PoolError> {
        let geometry = self.store.pool.geometry();
        let mut relocation = Relocation {
            segment: run.segment,
            first_sector: run.first_sector,
            from: source.chunk().clone(),
            kept: Bitmap::new(geometry.segment_sectors()),
            runs: Vec::new(),
        };
        for survivor in &run.survivors {
            let (store, Survivor { item, .. }) = (self.store, *survivor);
            let sector = item.address.sector();
            let goes_on = !relocation.runs.is_empty();
            let output = self.output_for(class, &item, goes_on)?;
            if relocation.runs.last().is_none_or(|run| run.chunk.id() != output.id()) {
                // The first run takes the place of the old one, whatever died in front of it.
                let first_sector = if goes_on { sector } else { run.first_sector };
                let (chunk, start_sector) = (output.chunk.clone(), output.end_sector());
                relocation.runs.push(Run { first_sector, chunk, start_sector });
            }
            let bytes = source.read(survivor).await?;
            output.chunk.heat.inherit(heat_per_sector * item.sectors as f32);
            output.push(store, item, &bytes).await?;
            relocation.kept.set(sector, item.sectors);
        }
        self.moved.push(relocation);
        Ok(())
    }

    /// The chunk that takes `item`. A run that `goes_on` fills a chunk to its end; one that begins wants some room.
    fn output_for(
        &mut self,
        class: usize,
        item: &PackedItem,
        goes_on: bool,
    ) -> Result<&mut Output, PoolError> {
        let cost = cost_bytes(1, u64::from(item.sectors) * SECTOR_BYTES as u64);
        let wanted = if goes_on { cost } else { cost.max(room_bytes_min(self.store)) };
        let open = &mut self.open[class];
        if open.as_ref().is_none_or(|output| output.room_bytes(self.store) < wanted) {
            if self.chunks_left == 0 {
                return Err(PoolError::NoSpace);
            }
            self.full.extend(open.replace(Output::new(self.store, self.tier)?));
            self.chunks_left -= 1;
            self.relocated.outputs += 1;
        }
        Ok(open.as_mut().expect("there is one with room"))
    }

    /// Makes the copies safe and points the segments at them. The old chunks wait for the next commit.
    async fn finish(mut self) -> Result<(Relocated, Open), PoolError> {
        let mut devices = BTreeSet::new();
        for output in self.full.iter_mut().chain(self.open.iter_mut().flatten()) {
            output.finish(self.store).await?;
            devices.extend(output.chunk.slots().iter().map(|slot| slot.device));
        }
        let failed = self.store.pool.flush(&devices).await;
        for output in self.full.iter().chain(self.open.iter().flatten()) {
            failed.iter().for_each(|&device| output.chunk.drop_copy(device));
            if output.chunk.healthy_copies() < self.store.copies_now() {
                // The old chunks may have more copies than this one: they stay.
                tracing::warn!(log = %self.store.log, "a device failed during cleaning; what was copied does not count");
                let relocated = Relocated { skipped: self.emptied.len(), ..Relocated::default() };
                return Ok((relocated, Default::default()));
            }
        }
        let outputs = self.full.iter().chain(self.open.iter().flatten());
        outputs.for_each(|output| output.publish(self.now));
        for open in &mut self.open {
            self.full.extend(open.take_if(|open| !open.is_usable(self.store)));
        }
        let segment_bytes = self.store.pool.geometry().segment_bytes as i64;
        let full = segment_bytes * self.full.len() as i64;
        let taken = full + taken_bytes(&self.open) - self.taken_before;
        self.relocated.gained_bytes = segment_bytes * self.relocated.victims as i64 - taken;
        self.store.table_mut().relocate(self.moved);
        self.emptied.into_iter().for_each(|chunk| self.store.retire(chunk));
        Ok((self.relocated, self.open))
    }
}

fn taken_bytes(open: &Open) -> i64 {
    open.iter().flatten().map(|open| open.end_bytes() as i64).sum()
}
