//! Writing to the cache disk: what waits, the region that is filled, and its table. One task of each log does all of it.

use std::io;
use std::mem;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use quarry_format::cache_disk::{CACHE_BLOCK_BYTES, CacheEntry, CacheRegion};
use quarry_format::crc32c;
use quarry_types::LogAddress;
use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};
use rustc_hash::FxHashSet;

use crate::LogCache;
use crate::log_cache::Place;
use crate::region::Region;

/// What is written at once.
const BATCH_BYTES: usize = 128 << 10;
/// The most that waits to be written; what comes then is not kept.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// Records that wait to be written.
#[derive(Default)]
pub(crate) struct Pending {
    records: Vec<(LogAddress, usize)>,
    waiting: FxHashSet<LogAddress>,
    bytes: Vec<u8>,
}

impl Pending {
    pub(crate) fn push(&mut self, address: LogAddress, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() <= PENDING_BYTES_MAX && self.waiting.insert(address) {
            self.records.push((address, bytes.len()));
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub(crate) fn is_a_batch(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// The region that is filled.
pub(crate) struct Open {
    pub(crate) region: Rc<Region>,
    /// Where the next record goes, in bytes from the start of the region.
    next: usize,
    entries: Vec<CacheEntry>,
}

impl LogCache {
    /// Gives back what was asked for, and writes what waits.
    pub(crate) async fn turn(&self) {
        self.give_back();
        let Pending { records, bytes, .. } = mem::take(&mut self.known.borrow_mut().pending);
        let (mut records, mut bytes) = (&records[..], &bytes[..]);
        while !records.is_empty() && !self.shared.is_failed() && self.has_room().await {
            let count = self.fitting(records);
            let (batch, others) = records.split_at(count);
            let length = batch.iter().map(|(_, bytes)| bytes).sum();
            if let Err(error) = self.append(batch, &bytes[..length]).await {
                self.shared.note(Some(&error));
                return self.abandon();
            }
            (records, bytes) = (others, &bytes[length..]);
        }
    }

    /// How many of these records are written at once: one at least, for which there is room.
    fn fitting(&self, records: &[(LogAddress, usize)]) -> usize {
        let known = self.known.borrow();
        let label = &self.shared.label;
        let Some(open) = &known.open else { return 0 };
        let entries = label.entries_max() - open.entries.len();
        let most = entries.min(known.records_max.saturating_sub(known.records.len())).max(1);
        let room = (label.region_bytes as usize - open.next).min(BATCH_BYTES);
        let ends = records.iter().take(most).scan(0, |end, (_, bytes)| {
            *end += bytes;
            Some(*end)
        });
        ends.take_while(|&end| end <= room).count().max(1)
    }

    /// Writes records into the open region, where they can be found then.
    async fn append(&self, batch: &[(LogAddress, usize)], bytes: &[u8]) -> io::Result<()> {
        let (region, start) = {
            let known = self.known.borrow();
            let open = known.open.as_ref().expect("there is room in it");
            (open.region.clone(), open.next)
        };
        let length = bytes.len().next_multiple_of(BLOCK_BYTES);
        let mut buffer = self.env.buffers.allocate(length);
        buffer[..bytes.len()].copy_from_slice(bytes);
        buffer[bytes.len()..].fill(0);
        self.disk.write(region.offset() + start as u64, vec![buffer.freeze()]).await?;
        self.shared.note(None);
        self.shared.figures.written_bytes.fetch_add(length as u64, Ordering::Relaxed);
        let mut known = self.known.borrow_mut();
        let (mut at, mut new) = (start, 0);
        for &(address, bytes) in batch {
            let sector = (at / SECTOR_BYTES) as u32;
            at += bytes;
            let place = Place { region: region.index, sector };
            new += u64::from(known.records.insert(address, place).is_none());
            region.addresses.borrow_mut().push(address);
            let entry = CacheEntry { address, sector, sectors: (bytes / SECTOR_BYTES) as u32 };
            known.open.as_mut().expect("it was there").entries.push(entry);
        }
        known.open.as_mut().expect("it was there").next = start + length;
        self.shared.figures.records.fetch_add(new, Ordering::Relaxed);
        Ok(())
    }

    /// Whether a block more can be written: begins another region if need be.
    async fn has_room(&self) -> bool {
        let is_full = {
            let known = self.known.borrow();
            let label = &self.shared.label;
            known.open.as_ref().is_none_or(|open| {
                open.next + BLOCK_BYTES > label.region_bytes as usize
                    || open.entries.len() == label.entries_max()
                    || known.records.len() >= known.records_max
            })
        };
        if !is_full {
            return true;
        }
        self.seal_open().await;
        self.make_room_in_memory();
        if self.known.borrow().records.len() >= self.known.borrow().records_max {
            return false;
        }
        let take = || self.shared.directory().take(self.owner);
        let Some((index, sequence)) = take().or_else(|| {
            self.give_back();
            take()
        }) else {
            return false;
        };
        let region = Rc::new(Region::new(&self.shared, index, sequence));
        if let Err(error) = self.clear(&region).await {
            self.shared.note(Some(&error));
            return false;
        }
        let mut known = self.known.borrow_mut();
        known.regions.insert(index, region.clone());
        known.open =
            Some(Open { region, next: self.shared.label.table_bytes() as usize, entries: Vec::new() });
        true
    }

    /// Makes the table that lies in a region be no more, durably.
    async fn clear(&self, region: &Region) -> io::Result<()> {
        let zeroes = self.env.buffers.allocate_zeroed(CACHE_BLOCK_BYTES).freeze();
        self.disk.write(region.offset(), vec![zeroes]).await?;
        self.disk.flush().await
    }

    /// Gives up the oldest regions until another one can be filled within the bound of memory.
    fn make_room_in_memory(&self) {
        let label = &self.shared.label;
        let of_a_region = label.entries_max().min(label.region_bytes as usize / BLOCK_BYTES);
        loop {
            let oldest = {
                let known = self.known.borrow();
                let is_enough = known.records.len() + of_a_region <= known.records_max;
                let oldest = known.sealed.front().map(|region| region.index);
                oldest.filter(|_| !is_enough)
            };
            match oldest {
                Some(index) => self.give_up(index),
                None => return,
            }
        }
    }

    /// Ends the open region: its records are durable, then its table is written.
    pub(crate) async fn seal_open(&self) {
        let Some(Open { region, entries, .. }) = self.known.borrow_mut().open.take() else { return };
        if entries.is_empty() {
            return self.give_up(region.index);
        }
        match self.write_table(&region, &entries).await {
            Ok(table) => {
                region.table.replace(Some(table));
                self.known.borrow_mut().sealed.push_back(region);
            }
            Err(error) => {
                self.shared.note(Some(&error));
                self.give_up(region.index);
            }
        }
    }

    async fn write_table(&self, region: &Region, entries: &[CacheEntry]) -> io::Result<CacheRegion> {
        self.disk.flush().await?;
        let bytes = CacheEntry::encode_all(entries);
        let table = CacheRegion {
            disk: self.shared.label.disk,
            pool: self.owner.pool,
            log: self.owner.log,
            incarnation: self.life.incarnation,
            sequence: region.sequence,
            entries: entries.len() as u32,
            entries_checksum: crc32c(&bytes),
        };
        let length = (CACHE_BLOCK_BYTES + bytes.len()).next_multiple_of(BLOCK_BYTES);
        let mut buffer = self.env.buffers.allocate_zeroed(length);
        buffer[..CACHE_BLOCK_BYTES].copy_from_slice(&table.encode());
        buffer[CACHE_BLOCK_BYTES..][..bytes.len()].copy_from_slice(&bytes);
        self.disk.write(region.offset(), vec![buffer.freeze()]).await?;
        Ok(table)
    }

    /// Gives up the open region, into which nothing can be written.
    fn abandon(&self) {
        let open = self.known.borrow_mut().open.take();
        if let Some(open) = open {
            self.give_up(open.region.index);
        }
    }

    /// Gives back the regions that others need.
    fn give_back(&self) {
        let leaving = self.shared.directory().leaving(self.owner);
        leaving.into_iter().for_each(|index| self.give_up(index));
    }

    /// Forgets a region and what is in it. It is free when nobody reads it any more.
    fn give_up(&self, index: u32) {
        let mut known = self.known.borrow_mut();
        let Some(region) = known.regions.remove(&index) else { return };
        if known.open.as_ref().is_some_and(|open| open.region.index == index) {
            known.open = None;
        }
        known.sealed.retain(|sealed| sealed.index != index);
        let mut gone = 0;
        for address in region.addresses.take() {
            if known.records.get(&address).is_some_and(|place| place.region == index) {
                known.records.remove(&address);
                gone += 1;
            }
        }
        self.shared.figures.records.fetch_sub(gone, Ordering::Relaxed);
    }
}
