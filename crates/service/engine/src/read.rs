//! Read: look the blocks up, take their records from memory, or read them in few device reads and verify every block.

use std::ops::Range;
use std::rc::Rc;

use quarry_cache::RecordCache;
use quarry_cache_disk::LogCache;
use quarry_format::node::Entry;
use quarry_map::{Lookup, NodeReadError, Run, Runs};
use quarry_pool::{Expected, PoolError, Wanted};
use quarry_types::ReadCache;
use quarry_types::limits::{BLOCK_BYTES, REQUEST_BYTES_MAX};
use quarry_volume::{ErrorKind, Result, Stage, Verb, Views, VolumeError};
use smallvec::SmallVec;

use crate::EngineVolume;
use crate::course::Course;
use crate::engine::ZERO_BYTES;
use crate::unpack::is_plain;

/// A read that finds its record moved away under it looks it up again; more than once cannot happen in a row.
const LOOKUPS_MAX: usize = 3;

impl EngineVolume {
    #[expect(
        clippy::manual_async_fn,
        reason = "what it is given would be in the future of an async fn twice"
    )]
    pub(crate) fn read_range(&self, offset: u64, length: u32) -> impl Future<Output = Result<Views>> + '_ {
        async move {
            // One future and no second one around it: see the bound of its size.
            let course = Course::begin(self, Verb::Read);
            let blocks = match self.check_read(offset, length) {
                Ok(blocks) => blocks,
                Err(error) => {
                    course.end(offset, u64::from(length), false);
                    return Err(error);
                }
            };
            let read = self.read_blocks(&course, blocks).await;
            course.end(offset, u64::from(length), read.is_ok());
            let mut views = read?;
            trim(&mut views, (offset % BLOCK_BYTES as u64) as usize, length as usize);
            let read = &self.engine.statistics.read_bytes;
            read.set(read.get() + u64::from(length));
            Ok(views)
        }
    }

    fn check_read(&self, offset: u64, length: u32) -> Result<Range<u64>> {
        let blocks = self.check("read", offset, u64::from(length))?;
        if length as usize > REQUEST_BYTES_MAX {
            let what = format!("{length} bytes at once; at most {REQUEST_BYTES_MAX}");
            return Err(VolumeError::new(ErrorKind::Invalid, "read", what));
        }
        Ok(blocks)
    }

    /// Whole blocks.
    #[expect(
        clippy::manual_async_fn,
        reason = "what it is given would be in the future of an async fn twice"
    )]
    pub(crate) fn read_blocks<'a>(
        &'a self,
        course: &'a Course<'_>,
        blocks: Range<u64>,
    ) -> impl Future<Output = Result<Views>> + 'a {
        async move {
            for _ in 0..LOOKUPS_MAX {
                // Not a function of its own: what it is given would be in the future twice.
                let read = match self.lookup(blocks.clone()).await {
                    Ok(runs) => {
                        course.reach(Stage::Lookup);
                        let read = self.read_runs(&runs).await;
                        course.reach(Stage::Device);
                        read
                    }
                    Err(error) => Ok(Err(error)),
                };
                match read {
                    Err(PoolError::Dangling { .. }) => {}
                    Ok(Err(error)) if error.kind == ErrorKind::Corrupt => {
                        Box::pin(self.note_damage(blocks)).await;
                        return Err(error);
                    }
                    Ok(result) => return result,
                    Err(error) => {
                        if error.is_loss() {
                            Box::pin(self.note_damage(blocks)).await;
                        }
                        return Err(self.pool_error(error));
                    }
                }
            }
            let what = format!("blocks {blocks:?} of volume {}: records keep moving away", self.state.id);
            Err(VolumeError::new(ErrorKind::Internal, "read", what))
        }
    }

    fn pool_error(&self, error: PoolError) -> VolumeError {
        let kind = match &error {
            PoolError::Corrupt { .. } | PoolError::Lost => ErrorKind::Corrupt,
            PoolError::Unreadable { .. } | PoolError::NoDevice { .. } | PoolError::TargetFailed => {
                ErrorKind::Unavailable
            }
            PoolError::NoSpace => ErrorKind::NoSpace,
            PoolError::Dangling { .. } => ErrorKind::Internal,
        };
        VolumeError::new(kind, "read", format!("volume {}", self.state.head.borrow().name)).with_source(error)
    }

    pub(crate) async fn try_read(&self, blocks: Range<u64>) -> std::result::Result<Result<Views>, PoolError> {
        match self.lookup(blocks).await {
            Ok(runs) => self.read_runs(&runs).await,
            Err(error) => Ok(Err(error)),
        }
    }

    /// The blocks of `runs`.
    pub(crate) async fn read_runs(&self, runs: &Runs) -> std::result::Result<Result<Views>, PoolError> {
        let records = records(runs);
        let views = match records.is_empty() {
            true => Views::new(),
            false => match self.find_in_memory(&records) {
                Some(views) => views,
                None => {
                    let views = match self.cache_disk(&records) {
                        Some(cache) => Box::pin(self.engine.read_slow(cache, &records)).await?,
                        None => self.engine.store.read_records(&records).await?,
                    };
                    self.note_read(&records, &views);
                    views
                }
            },
        };
        let is_plain = |run: &Run| matches!(run, Run::Data(mapped) if is_plain(&mapped.entry));
        Ok(if runs.iter().all(is_plain) { Ok(views) } else { self.unpack(runs, views) })
    }

    /// The read cache, if the volume has a part in it.
    fn read_cache(&self) -> Option<&RecordCache> {
        let is_on = self.state.head.borrow().settings.read_cache == ReadCache::On;
        is_on.then_some(&self.engine.records)
    }

    /// The cache disk, if there is one, the volume has a part in it, and one of the records lies on slow devices.
    fn cache_disk(&self, records: &[Wanted]) -> Option<&Rc<LogCache>> {
        let cache = self.engine.cache_disk.get()?;
        let is_of_use = self.read_cache().is_some() && self.engine.store.lie_on_slow(records);
        is_of_use.then_some(cache)
    }

    fn find_in_memory(&self, records: &[Wanted]) -> Option<Views> {
        self.read_cache()?.find(records.iter().map(|record| record.address))
    }

    fn note_read(&self, records: &[Wanted], views: &Views) {
        if let Some(cache) = self.read_cache() {
            cache.note_read(records.iter().map(|record| (record.address, record.expected.bytes())), views);
        }
    }

    /// What each of `blocks` is mapped to: at once when the nodes are in memory.
    pub(crate) async fn lookup(&self, blocks: Range<u64>) -> Result<Runs> {
        let (map, engine) = (&self.state.map, &self.engine);
        let found = map.lookup(blocks.clone(), &engine.cache);
        engine.courses.note_lookup(matches!(found, Lookup::NeedNode(_)));
        if let Lookup::Ready(runs) = found {
            return Ok(runs);
        }
        Box::pin(map.resolve(blocks, &engine.cache, &engine.nodes))
            .await
            .map_err(|error| self.map_error("read", &error))
    }

    pub(crate) fn map_error(&self, operation: &'static str, error: &NodeReadError) -> VolumeError {
        let kind = if error.is_corrupt() { ErrorKind::Corrupt } else { ErrorKind::Unavailable };
        let what = format!("the map of volume {}", self.state.head.borrow().name);
        VolumeError::new(kind, operation, what).with_source(error.clone())
    }

    pub(crate) fn zero_views(&self, blocks: u64) -> Views {
        let mut left = blocks as usize * BLOCK_BYTES;
        let mut views = Views::new();
        while left > 0 {
            let view = self.engine.zeroes(left.min(ZERO_BYTES));
            left -= view.len();
            views.push(view);
        }
        views
    }
}

/// The records that hold the data of `runs`.
fn records(runs: &[Run]) -> SmallVec<[Wanted; 1]> {
    let mut records = SmallVec::with_capacity(runs.len());
    records.extend(runs.iter().filter_map(|run| match run {
        Run::Data(mapped) => Some(wanted(&mapped.entry)),
        Run::Hole { .. } => None,
    }));
    records
}

fn wanted(entry: &Entry) -> Wanted {
    let expected = Expected { sectors: u32::from(entry.stored_sectors), checksum: entry.checksum };
    Wanted { address: entry.address, expected }
}

/// Cuts `skipped` bytes off the front of `views` and everything beyond `length` off their end.
fn trim(views: &mut Views, mut skipped: usize, length: usize) {
    let mut left = length;
    views.retain_mut(|view| {
        if skipped >= view.len() {
            skipped -= view.len();
            return false;
        }
        let taken = (view.len() - skipped).min(left);
        if skipped > 0 || taken < view.len() {
            *view = view.slice(skipped..skipped + taken);
        }
        skipped = 0;
        left -= taken;
        taken > 0
    });
}
