//! Finding again what former lives of a log have left on the cache disk.

use std::collections::hash_map::Entry;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use quarry_format::cache_disk::{CACHE_BLOCK_BYTES, CACHE_ENTRY_BYTES, CacheEntry, CacheRegion};
use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};

use crate::LogCache;
use crate::log_cache::Place;
use crate::region::Region;

impl LogCache {
    /// Takes over these regions, the newest first, as far as memory allows.
    pub(crate) async fn load(&self, found: Vec<(u32, CacheRegion)>) {
        let regions: Vec<(Rc<Region>, CacheRegion)> = found
            .into_iter()
            .map(|(index, table)| (Rc::new(Region::new(&self.shared, index, table.sequence)), table))
            .collect();
        // A log that has not come so far yet was copied back from an older time: it goes another way from there.
        if regions.iter().any(|(_, table)| table.incarnation >= self.life.incarnation) {
            tracing::warn!(log = %self.owner.log, "the cache disk is of a later time than the pool; nothing of it is used");
            return;
        }
        for (region, table) in regions {
            match self.entries(&region, &table).await {
                Ok(entries) => {
                    if !self.take_over(region, table, &entries) {
                        return;
                    }
                }
                Err(error) => self.shared.note(Some(&error)),
            }
        }
    }

    async fn entries(&self, region: &Region, table: &CacheRegion) -> io::Result<Vec<CacheEntry>> {
        let label = &self.shared.label;
        if table.entries as usize > label.entries_max() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a region with too many entries"));
        }
        let length =
            (table.entries as usize * CACHE_ENTRY_BYTES).next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES);
        let offset = region.offset() + CACHE_BLOCK_BYTES as u64;
        let (bytes, done) = self.disk.read(offset, self.env.buffers.allocate(length)).await;
        done?;
        let entries = CacheEntry::decode_all(table, &bytes);
        entries.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Whether there was memory for it.
    fn take_over(&self, region: Rc<Region>, table: CacheRegion, entries: &[CacheEntry]) -> bool {
        let label = &self.shared.label;
        let mut known = self.known.borrow_mut();
        if known.records.len() + entries.len() > known.records_max {
            return false;
        }
        let sectors = u64::from(label.table_bytes()) / SECTOR_BYTES as u64
            ..u64::from(label.region_bytes) / SECTOR_BYTES as u64;
        let is_whole = |entry: &&CacheEntry| {
            let end = u64::from(entry.sector) + u64::from(entry.sectors);
            sectors.contains(&entry.sector.into()) && end <= sectors.end
        };
        // What was written behind the end that a recovery has found is not in the log.
        let is_there = |entry: &&CacheEntry| entry.address.segment() < self.life.first_segment;
        let mut new = 0;
        for entry in entries.iter().filter(is_whole).filter(is_there) {
            // What is there already is newer.
            if let Entry::Vacant(vacant) = known.records.entry(entry.address) {
                vacant.insert(Place { region: region.index, sector: entry.sector });
                region.addresses.borrow_mut().push(entry.address);
                new += 1;
            }
        }
        self.shared.figures.records.fetch_add(new, Ordering::Relaxed);
        region.table.replace(Some(table));
        known.regions.insert(region.index, region.clone());
        known.sealed.push_front(region);
        true
    }
}
