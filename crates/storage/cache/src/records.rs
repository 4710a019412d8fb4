//! Stored records by address, bounded in bytes.
//!
//! Addresses are never used again and records never change, so nothing is ever invalid: what is overwritten is not asked for any more, and
//! makes room in its turn. Records are kept as they are stored, compressed and encrypted: what a volume needs to read them from a device it
//! needs to read them from here.
//!
//! A record is kept when it is read for the second time within a while ([`Seen`]), so reading a whole volume once costs marks and no
//! copies, and drives nothing out. Eviction is SIEVE: the hand goes from the oldest to the youngest, spares once what was hit since it came
//! by, and takes the first that was not. A new one counts as hit: it was read twice. Else, where all were hit, the hand would go on to the
//! newest and take them one by one, just before they are read again.
//!
//! Each record has a buffer of its own, a copy: a part of what was read at once would keep all of that in memory.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};

use quarry_env::{BufferPool, View};
use quarry_types::LogAddress;
use quarry_types::limits::BLOCK_BYTES;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::Queue;
use crate::seen::Seen;

/// What a record takes beside its buffer: its places in table and queue, the shared buffer's count, and its part of [`Seen`].
const RECORD_OVERHEAD_BYTES: usize = 128 + 2 * SEEN_PER_RECORD * Seen::MARK_BYTES;
/// What a record takes, however small it is: buffers are no smaller than a block.
const RECORD_BYTES: usize = BLOCK_BYTES + RECORD_OVERHEAD_BYTES;
/// How many times as many records are remembered as are kept.
const SEEN_PER_RECORD: usize = 2;
/// How many records the hand passes at most before it takes the one that it has reached.
const HAND_STEPS_MAX: usize = 64;
/// Reads of more records than this at once go by the cache: what is read in such pieces is bound by bytes and not by requests.
const RECORDS_AT_ONCE_MAX: usize = 16;

/// What the cache has and does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordCacheStatus {
    /// Reads of which all records were there.
    pub hits: u64,
    /// Reads for which a device was asked, those that go by the cache left out.
    pub misses: u64,
    /// Records that it holds.
    pub records: usize,
    /// Memory in use.
    pub used_bytes: usize,
    /// The most that it may use.
    pub budget_bytes: usize,
}

struct Place {
    bytes: View,
    queued: u32,
    /// Hit since the hand came by.
    hit: Cell<bool>,
}

struct Records {
    table: FxHashMap<LogAddress, Place>,
    queue: Queue,
    seen: Seen,
    /// Its own, so that its memory goes back when the budget shrinks, and does not count as buffers of requests.
    buffers: BufferPool,
    records_max: usize,
}

/// See the module. One for each log.
pub struct RecordCache {
    records: RefCell<Records>,
    hits: Cell<u64>,
    misses: Cell<u64>,
    budget_bytes: Cell<usize>,
}

impl RecordCache {
    /// A cache that takes at most `budget_bytes`; with less than one record needs it keeps nothing.
    pub fn new(budget_bytes: usize) -> Self {
        Self {
            records: RefCell::new(Records::new(budget_bytes)),
            hits: Cell::new(0),
            misses: Cell::new(0),
            budget_bytes: Cell::new(budget_bytes),
        }
    }

    /// Changes the bound. Another one begins with nothing.
    pub fn set_budget(&self, budget_bytes: usize) {
        if self.budget_bytes.replace(budget_bytes) != budget_bytes {
            *self.records.borrow_mut() = Records::new(budget_bytes);
        }
    }

    /// What it has and does.
    pub fn status(&self) -> RecordCacheStatus {
        let records = self.records.borrow();
        RecordCacheStatus {
            hits: self.hits.get(),
            misses: self.misses.get(),
            records: records.table.len(),
            used_bytes: records.table.len() * RECORD_BYTES,
            budget_bytes: self.budget_bytes.get(),
        }
    }

    /// The records at these addresses in their order, if all of them are here.
    pub fn find(&self, addresses: impl ExactSizeIterator<Item = LogAddress>) -> Option<SmallVec<[View; 1]>> {
        let records = self.records.borrow();
        if addresses.len() > RECORDS_AT_ONCE_MAX || records.records_max == 0 {
            return None;
        }
        let mut found = SmallVec::new();
        for address in addresses {
            let Some(place) = records.table.get(&address) else {
                self.misses.set(self.misses.get() + 1);
                return None;
            };
            place.hit.set(true);
            found.push(place.bytes.clone());
        }
        self.hits.set(self.hits.get() + 1);
        Some(found)
    }

    /// Takes note of records that were read and verified: address and length of each, and their bytes, one behind the other.
    pub fn note_read(&self, read: impl ExactSizeIterator<Item = (LogAddress, usize)>, views: &[View]) {
        let mut records = self.records.borrow_mut();
        if read.len() > RECORDS_AT_ONCE_MAX || records.records_max == 0 {
            return;
        }
        let (mut views, mut start) = (views.iter().peekable(), 0);
        for (address, bytes) in read {
            let Some(view) = views.peek() else { return };
            let range = start..start + bytes;
            start = range.end;
            if start == view.len() {
                start = 0;
            }
            if bytes <= BLOCK_BYTES && records.seen.note(address) {
                records.insert(address, &view[range]);
            }
            if start == 0 {
                views.next();
            }
        }
    }
}

impl Records {
    fn new(budget_bytes: usize) -> Self {
        let records_max = budget_bytes / RECORD_BYTES;
        Self {
            table: FxHashMap::with_capacity_and_hasher(records_max, Default::default()),
            queue: Queue::default(),
            seen: Seen::new(records_max * SEEN_PER_RECORD),
            buffers: BufferPool::default(),
            records_max,
        }
    }

    fn insert(&mut self, address: LogAddress, bytes: &[u8]) {
        if self.table.contains_key(&address) {
            return;
        }
        if self.table.len() == self.records_max {
            self.evict();
        }
        let bytes = self.buffers.copy_of(bytes);
        let queued = self.queue.push(address);
        self.table.insert(address, Place { bytes, queued, hit: Cell::new(true) });
    }

    fn evict(&mut self) {
        let (mut steps, table) = (0, &self.table);
        let victim = self.queue.advance_hand(|address| {
            steps += 1;
            let spared = table[&address].hit.replace(false) && steps <= HAND_STEPS_MAX;
            !spared
        });
        if let Some(place) = victim.and_then(|address| self.table.remove(&address)) {
            self.queue.remove(place.queued);
        }
    }
}
