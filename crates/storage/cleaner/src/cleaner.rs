//! One round of cleaning: copy what lives, flush, then point the segments at the copies.

use std::collections::BTreeSet;
use std::rc::Rc;

use quarry_format::packed::PackedItem;
use quarry_pool::{Bitmap, Chunk, LogStore, PoolError, Relocation, Run};
use quarry_types::ChunkId;
use quarry_types::limits::SECTOR_BYTES;

use crate::Victim;
use crate::copy::Source;
use crate::output::{Output, cost_bytes, room_bytes_min};
use crate::survivors::{LiveRun, Survivor, survivors};

/// What a round did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Relocated {
    /// Chunks that will be free after the next commit.
    pub victims: usize,
    /// Chunks that were taken.
    pub outputs: usize,
    /// Bytes that were moved, counted once whatever the copies.
    pub moved_bytes: u64,
    /// Bytes that will be free after the next commit, less those that were taken: what was gained.
    pub gained_bytes: i64,
    /// Victims that could not be read, or for which no room was left, and that were left alone.
    pub skipped: usize,
}

/// Moves survivors of one log. The chunk that a round did not fill is the first one of the next.
#[derive(Default)]
pub struct Cleaner {
    open: Option<Output>,
    /// Chunks that could not be read. They are not tried again before the log is opened again.
    unreadable: BTreeSet<ChunkId>,
}

impl Cleaner {
    /// Whether a chunk may be cleaned: it is not being written to, and it could be read so far.
    pub fn may_clean(&self, chunk: ChunkId) -> bool {
        self.open_chunk() != Some(chunk) && !self.unreadable.contains(&chunk)
    }

    /// The chunk that is not full yet.
    pub fn open_chunk(&self) -> Option<ChunkId> {
        self.open.as_ref().map(Output::id)
    }

    /// Takes another chunk for the next round.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// Moves what lives in `victims` elsewhere, as far as it fits into `chunks_max` new chunks.
    pub async fn relocate(
        &mut self,
        store: &LogStore,
        victims: &[Victim],
        chunks_max: usize,
    ) -> Result<Relocated, PoolError> {
        if victims.is_empty() {
            return Ok(Relocated::default());
        }
        let open = self.open.take().filter(|open| open.is_usable(store));
        let mut round = Round::new(store, open, chunks_max);
        for victim in victims {
            match round.move_victim(victim).await {
                Ok(()) => {}
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
        self.open = open;
        Ok(relocated)
    }
}

struct Round<'a> {
    store: &'a LogStore,
    /// Chunks that are written to, the last one now.
    outputs: Vec<Output>,
    /// Bytes of the first of them that were taken when the round began.
    taken_before: i64,
    /// More chunks that may be taken.
    chunks_left: usize,
    moved: Vec<Relocation>,
    emptied: Vec<Rc<Chunk>>,
    relocated: Relocated,
}

impl<'a> Round<'a> {
    fn new(store: &'a LogStore, open: Option<Output>, chunks_left: usize) -> Self {
        Self {
            store,
            taken_before: open.as_ref().map_or(0, |open| open.end_bytes() as i64),
            outputs: open.into_iter().collect(),
            chunks_left,
            moved: Vec::new(),
            emptied: Vec::new(),
            relocated: Relocated::default(),
        }
    }

    /// Copies what lives in one chunk, all of it or nothing that counts.
    async fn move_victim(&mut self, victim: &Victim) -> Result<(), PoolError> {
        let runs = survivors(self.store, &victim.chunk, &victim.segments).await?;
        let all = || runs.iter().flat_map(|run| &run.survivors);
        let bytes = all().map(|survivor| u64::from(survivor.item.sectors)).sum::<u64>() * SECTOR_BYTES as u64;
        let cost = cost_bytes(all().count(), bytes);
        if cost > self.room_bytes() {
            self.relocated.skipped += 1;
            return Ok(());
        }
        let before = self.moved.len();
        let mut source = Source::new(self.store, &victim.chunk);
        for run in runs {
            if let Err(error) = self.move_run(&mut source, run).await {
                // Half a chunk moved gains nothing: all of it stays where it is.
                self.moved.truncate(before);
                return Err(error);
            }
        }
        self.emptied.push(victim.chunk.clone());
        self.relocated.victims += 1;
        self.relocated.moved_bytes += bytes;
        Ok(())
    }

    /// Bytes that fit in for certain, however the runs are cut.
    fn room_bytes(&self) -> u64 {
        let lost = room_bytes_min(self.store) + u64::from(self.store.pool.geometry().granule_bytes);
        let open = self.outputs.last().map_or(0, |output| output.room_bytes(self.store));
        let empty = Output::room_bytes_empty(self.store).saturating_sub(lost);
        open.saturating_sub(lost) + empty * self.chunks_left as u64
    }

    async fn move_run(&mut self, source: &mut Source<'_>, run: LiveRun) -> Result<(), PoolError> {
        let geometry = self.store.pool.geometry();
        let granule = geometry.granule_sectors();
        let mut relocation = Relocation {
            segment: run.segment,
            first_granule: run.first_granule,
            from: source.chunk().clone(),
            kept: Bitmap::new(geometry.segment_granules()),
            runs: Vec::new(),
        };
        for survivor in &run.survivors {
            let (store, Survivor { item, .. }) = (self.store, *survivor);
            let index = item.address.sector() / granule;
            let goes_on = !relocation.runs.is_empty();
            let output = self.output_for(&item, goes_on)?;
            if relocation.runs.last().is_none_or(|run| run.chunk.id() != output.id()) {
                // The first run takes the place of the old one, whatever died in front of it.
                let first_granule = if goes_on { index } else { run.first_granule };
                let (chunk, start_sector) = (output.chunk.clone(), output.end_sector());
                relocation.runs.push(Run { first_granule, chunk, start_sector });
            }
            let bytes = source.read(survivor).await?;
            output.push(store, item, &bytes).await?;
            relocation.kept.set(index, item.sectors / granule);
        }
        self.moved.push(relocation);
        Ok(())
    }

    /// The chunk that takes `item`. A run that `goes_on` fills a chunk to its end; one that begins wants some room.
    fn output_for(&mut self, item: &PackedItem, goes_on: bool) -> Result<&mut Output, PoolError> {
        let cost = cost_bytes(1, u64::from(item.sectors) * SECTOR_BYTES as u64);
        let wanted = if goes_on { cost } else { cost.max(room_bytes_min(self.store)) };
        if self.outputs.last().is_none_or(|output| output.room_bytes(self.store) < wanted) {
            if self.chunks_left == 0 {
                return Err(PoolError::NoSpace);
            }
            self.outputs.push(Output::new(self.store)?);
            self.chunks_left -= 1;
            self.relocated.outputs += 1;
        }
        Ok(self.outputs.last_mut().expect("there is one with room"))
    }

    /// Makes the copies safe and points the segments at them. The old chunks wait for the next commit.
    async fn finish(mut self) -> Result<(Relocated, Option<Output>), PoolError> {
        let mut devices = BTreeSet::new();
        for output in &mut self.outputs {
            output.finish(self.store).await?;
            devices.extend(output.chunk.slots().iter().map(|slot| slot.device));
        }
        let failed = self.store.pool.flush(&devices).await;
        for output in &self.outputs {
            failed.iter().for_each(|&device| output.chunk.drop_copy(device));
            if output.chunk.healthy_copies() < self.store.pool.shared.copies_now() {
                // The old chunks may have more copies than this one: they stay.
                tracing::warn!(log = %self.store.log, "a device failed during cleaning; what was copied does not count");
                return Ok((Relocated { skipped: self.emptied.len(), ..Relocated::default() }, None));
            }
        }
        self.outputs.iter().for_each(Output::publish);
        let open = self.outputs.pop_if(|output| output.is_usable(self.store));
        let segment_bytes = self.store.pool.geometry().segment_bytes as i64;
        let full = segment_bytes * self.outputs.len() as i64;
        let taken = full + open.as_ref().map_or(0, |open| open.end_bytes() as i64) - self.taken_before;
        self.relocated.gained_bytes = segment_bytes * self.relocated.victims as i64 - taken;
        self.store.table_mut().relocate(self.moved);
        self.emptied.into_iter().for_each(|chunk| self.store.retire(chunk));
        Ok((self.relocated, open))
    }
}
