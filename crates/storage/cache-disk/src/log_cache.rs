//! What one log has on the cache disk, on its own core: what it knows of it, and reading from it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{Either, select};
use quarry_cache::Seen;
use quarry_env::{Buffer, Completion, Disk, Env, JoinHandle, Signal, View};
use quarry_format::cache_disk::CacheRegion;
use quarry_format::crc32c;
use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};
use quarry_types::{Incarnation, LogAddress, SegmentId};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::append::{Open, Pending};
use crate::directory::Owner;
use crate::region::{READ_TIME_MAX, Region};
use crate::{CacheDisk, CacheDiskError, CacheDiskStatus};

/// What a record takes: its place in the table, its address in the region's list, and its part of [`Seen`].
const RECORD_BYTES: usize = 48;
/// Reads of more records than this at once go by the cache: what is read in such pieces is bound by bytes and not by requests.
const RECORDS_AT_ONCE_MAX: usize = 16;
/// What is read in the oldest of so many parts of a log's regions is written again.
const RENEWED_PART: usize = 4;
/// How often the keeper looks by itself.
const TURN: Duration = Duration::from_secs(1);
/// How long the end waits for the disk.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// A record that is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sought {
    /// Where it is in the log.
    pub address: LogAddress,
    /// Its length as it is stored.
    pub bytes: usize,
    /// CRC-32C of that.
    pub checksum: u32,
}

/// A life of a log: what is older than it, it may have on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// The opening.
    pub incarnation: Incarnation,
    /// The first segment that it may write.
    pub first_segment: SegmentId,
}

/// Where a record is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) region: u32,
    /// In the region.
    pub(crate) sector: u32,
}

/// A record that a read has found.
struct Found {
    /// It stays as long as this is held.
    region: Rc<Region>,
    sector: u32,
}

type Reading = Completion<(Buffer, io::Result<()>)>;

pub(crate) struct Known {
    pub(crate) records: FxHashMap<LogAddress, Place>,
    pub(crate) regions: FxHashMap<u32, Rc<Region>>,
    /// Regions that are full, the oldest first.
    pub(crate) sealed: VecDeque<Rc<Region>>,
    pub(crate) open: Option<Open>,
    pub(crate) pending: Pending,
    pub(crate) records_max: usize,
    seen: Seen,
}

/// The records of one log on the cache disk.
pub struct LogCache {
    pub(crate) env: Env,
    pub(crate) shared: Arc<CacheDisk>,
    pub(crate) disk: Rc<dyn Disk>,
    pub(crate) owner: Owner,
    pub(crate) life: Life,
    pub(crate) known: RefCell<Known>,
    pub(crate) wake: Signal,
    closing: Cell<bool>,
    keeper: RefCell<Option<JoinHandle<()>>>,
}

impl LogCache {
    /// Begins to use `shared` for a log: what it has there from former lives is found again little by little.
    pub async fn attach(
        env: &Env,
        shared: &Arc<CacheDisk>,
        (owner, life): (Owner, Life),
        budget_bytes: usize,
    ) -> Result<Rc<Self>, CacheDiskError> {
        let disk = shared.disk(env).await?;
        let cache = Rc::new(Self {
            env: env.clone(),
            shared: shared.clone(),
            disk,
            owner,
            life,
            known: RefCell::new(Known::new(Self::records_max(shared, budget_bytes))),
            wake: Signal::default(),
            closing: Cell::new(false),
            keeper: RefCell::default(),
        });
        let found = shared.directory().attach(owner);
        let weak = Rc::downgrade(&cache);
        let (keeping, clock) = (weak.clone(), env.clock.clone());
        let keep = async move {
            if let Some(cache) = weak.upgrade() {
                cache.load(found).await;
            }
            loop {
                let Some(cache) = keeping.upgrade() else { return };
                let version = cache.wake.version();
                cache.turn().await;
                if cache.closing.get() {
                    return cache.seal_open().await;
                }
                let woken = cache.wake.after(version);
                select(std::pin::pin!(woken), clock.sleep(TURN)).await;
            }
        };
        *cache.keeper.borrow_mut() = Some(env.spawner.spawn(keep));
        Ok(cache)
    }

    fn records_max(shared: &CacheDisk, budget_bytes: usize) -> usize {
        // Compressed blocks are smaller than a block; more than two for the room of one is little to gain.
        let bytes = u64::from(shared.label.regions) * u64::from(shared.label.region_bytes);
        (budget_bytes / RECORD_BYTES).min((bytes / BLOCK_BYTES as u64) as usize * 2)
    }

    /// Changes the bound of memory. What is too much leaves with the next region.
    pub fn set_budget(&self, budget_bytes: usize) {
        let records_max = Self::records_max(&self.shared, budget_bytes);
        let mut known = self.known.borrow_mut();
        if records_max != known.records_max {
            known.records_max = records_max;
            known.seen = Seen::new(records_max);
        }
    }

    /// What the whole disk has and does.
    pub fn disk_status(&self) -> CacheDiskStatus {
        self.shared.status()
    }

    /// Memory that it takes.
    pub fn used_bytes(&self) -> usize {
        let known = self.known.borrow();
        known.records.len() * RECORD_BYTES + known.pending.bytes()
    }

    /// The records, one view each, if all of them are here, are what they should be and come in time.
    pub async fn read(&self, sought: &[Sought]) -> Option<SmallVec<[View; 1]>> {
        if self.shared.is_failed() || sought.len() > RECORDS_AT_ONCE_MAX {
            return None;
        }
        let figures = &self.shared.figures;
        let Some(found) = self.find(sought) else {
            figures.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        // All are begun before the first is waited for.
        let reads: SmallVec<[_; 1]> =
            sought.iter().zip(&found).map(|(record, found)| self.begin(record, found)).collect();
        let mut views: SmallVec<[View; 1]> = SmallVec::new();
        let mut late = self.env.clock.sleep(READ_TIME_MAX);
        for (record, (read, skipped)) in sought.iter().zip(reads) {
            let read = match select(read, &mut late).await {
                Either::Left(((buffer, done), _)) => done.and_then(|()| {
                    let view = buffer.freeze().slice(skipped..skipped + record.bytes);
                    let is_it = crc32c(&view) == record.checksum;
                    is_it.then_some(view).ok_or_else(|| io::Error::other("a record is not what was written"))
                }),
                Either::Right(_) => {
                    let what = format!("a read was not answered in {} ms", READ_TIME_MAX.as_millis());
                    Err(io::Error::new(io::ErrorKind::TimedOut, what))
                }
            };
            match read {
                Ok(view) => views.push(view),
                Err(error) => {
                    self.shared.note(Some(&error));
                    self.forget(record.address);
                    figures.misses.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
            }
        }
        self.shared.note(None);
        figures.hits.fetch_add(1, Ordering::Relaxed);
        self.renew(sought, &found, &views);
        Some(views)
    }

    /// Where all of them are; the regions stay while they are held.
    fn find(&self, sought: &[Sought]) -> Option<SmallVec<[Found; 1]>> {
        let known = self.known.borrow();
        let place = |record: &Sought| {
            let place = known.records.get(&record.address)?;
            Some(Found { region: known.regions.get(&place.region)?.clone(), sector: place.sector })
        };
        sought.iter().map(place).collect()
    }

    /// Begins to read a record; gives where it begins in what is read.
    fn begin(&self, record: &Sought, found: &Found) -> (Reading, usize) {
        let start = found.sector as usize * SECTOR_BYTES;
        let first = start - start % BLOCK_BYTES;
        let length = (start + record.bytes).next_multiple_of(BLOCK_BYTES) - first;
        let buffer = self.env.buffers.allocate(length);
        (self.disk.read(found.region.offset() + first as u64, buffer), start - first)
    }

    fn forget(&self, address: LogAddress) {
        if self.known.borrow_mut().records.remove(&address).is_some() {
            self.shared.figures.records.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Has what lies in the oldest regions written again.
    fn renew(&self, sought: &[Sought], found: &[Found], views: &[View]) {
        let mut known = self.known.borrow_mut();
        let Some(young) = known.sealed.get(known.sealed.len() / RENEWED_PART).map(|region| region.sequence)
        else {
            return;
        };
        for ((record, found), view) in sought.iter().zip(found).zip(views) {
            if found.region.sequence < young {
                known.pending.push(record.address, view);
            }
        }
        self.wake_if_enough(&known);
    }

    /// Takes note of records that were read from a slow device and verified, and of their bytes, one behind the other. Those before
    /// `settled` can be kept.
    pub fn note_read(&self, read: &[Sought], views: &[View], settled: LogAddress) {
        if self.shared.is_failed() || read.len() > RECORDS_AT_ONCE_MAX {
            return;
        }
        let mut known = self.known.borrow_mut();
        let (mut views, mut start) = (views.iter(), 0);
        let mut view = views.next();
        for record in read {
            let Some(bytes) = view.and_then(|view| view.get(start..start + record.bytes)) else { return };
            if record.address < settled && record.bytes <= BLOCK_BYTES {
                let is_new = !known.records.contains_key(&record.address);
                if is_new && known.seen.note(record.address) {
                    known.pending.push(record.address, bytes);
                }
            }
            start += record.bytes;
            if view.is_some_and(|view| view.len() == start) {
                (view, start) = (views.next(), 0);
            }
        }
        self.wake_if_enough(&known);
    }

    fn wake_if_enough(&self, known: &Known) {
        if known.pending.is_a_batch() {
            self.wake.raise();
        }
    }

    /// Writes what waits, and what the next life needs to find all of it. In bounded time: a disk that does not answer is left alone.
    pub async fn close(&self) {
        self.closing.set(true);
        self.wake.raise();
        let Some(keeper) = self.keeper.take() else { return };
        if let Either::Right((_, keeper)) = select(keeper, self.env.clock.sleep(CLOSE_TIME_MAX)).await {
            // It ends by itself, if ever the disk answers. Its regions stay taken as long.
            keeper.detach();
            tracing::warn!(
                "the cache disk does not answer; what was written to it last will be missing from it"
            );
            return;
        }
        let mut known = self.known.borrow_mut();
        let regions: Vec<Rc<Region>> = known.sealed.drain(..).collect();
        known.regions.clear();
        self.shared.figures.records.fetch_sub(known.records.len() as u64, Ordering::Relaxed);
        known.records.clear();
        let tables: Vec<(u32, CacheRegion)> =
            regions.iter().filter_map(|region| Some((region.index, (*region.table.borrow())?))).collect();
        self.shared.directory().detach(self.owner, &tables);
        // They stay the log's.
        regions.iter().for_each(|region| region.keep());
    }
}

impl Known {
    fn new(records_max: usize) -> Self {
        let records = FxHashMap::with_capacity_and_hasher(records_max, Default::default());
        let (regions, sealed, open, pending) = Default::default();
        Self { records, regions, sealed, open, pending, records_max, seen: Seen::new(records_max) }
    }
}
