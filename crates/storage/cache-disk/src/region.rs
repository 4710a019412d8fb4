//! One region in the hands of a log.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use quarry_format::cache_disk::CacheRegion;
use quarry_types::LogAddress;

use crate::CacheDisk;

/// How long a read waits for a cache disk.
pub const READ_TIME_MAX: Duration = Duration::from_millis(300);

/// A region. It is free when this is dropped, unless it was kept.
pub(crate) struct Region {
    pub(crate) index: u32,
    pub(crate) sequence: u64,
    /// What it was filled with, so that the table of records forgets it with the region.
    pub(crate) addresses: RefCell<Vec<LogAddress>>,
    /// Its table, once that is written.
    pub(crate) table: RefCell<Option<CacheRegion>>,
    is_kept: Cell<bool>,
    shared: Arc<CacheDisk>,
}

impl Region {
    pub(crate) fn new(shared: &Arc<CacheDisk>, index: u32, sequence: u64) -> Self {
        let (addresses, table, is_kept) = Default::default();
        Self { index, sequence, addresses, table, is_kept, shared: shared.clone() }
    }

    /// Where it begins on the disk.
    pub(crate) fn offset(&self) -> u64 {
        self.shared.label.offset(self.index)
    }

    /// It stays its owner's, who has gone.
    pub(crate) fn keep(&self) {
        self.is_kept.set(true);
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if !self.is_kept.get() {
            self.shared.directory().free(self.index);
        }
    }
}
