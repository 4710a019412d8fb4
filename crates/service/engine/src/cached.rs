//! Reading what lies on slow devices, by way of the cache disk.

use std::rc::Rc;
use std::sync::Arc;

use quarry_cache_disk::{CacheDisk, CacheDiskError, CacheDiskStatus, Life, LogCache, Owner, Sought};
use quarry_pool::{PoolError, Wanted};
use quarry_volume::Views;

use crate::Engine;

impl Engine {
    /// Uses a cache disk for what is read from slow devices, from now on. What the log had on it before is found again little by little.
    pub async fn use_cache_disk(&self, disk: &Arc<CacheDisk>) -> Result<(), CacheDiskError> {
        let owner = Owner { pool: self.store.pool.shared.id, log: self.store.log };
        let life = Life { incarnation: self.store.incarnation, first_segment: self.first_segment };
        let budget_bytes = self.limits.get().cache_index_bytes;
        let cache = LogCache::attach(&self.env, disk, (owner, life), budget_bytes).await?;
        assert!(self.cache_disk.set(cache).is_ok(), "a log has one cache disk");
        Ok(())
    }

    /// What the cache disk that it uses has and does.
    pub fn cache_disk_status(&self) -> Option<CacheDiskStatus> {
        self.cache_disk.get().map(|cache| cache.disk_status())
    }

    /// Reads records from the cache disk if they are there, else from their devices; then they may be kept.
    pub(crate) async fn read_slow(
        &self,
        cache: &Rc<LogCache>,
        records: &[Wanted],
    ) -> Result<Views, PoolError> {
        let sought: Vec<Sought> = records.iter().map(sought).collect();
        if let Some(views) = cache.read(&sought).await {
            return Ok(views);
        }
        let views = self.store.read_records(records).await?;
        // What was written behind the checkpoint a crash may take back, and something else may come to lie there.
        let settled = self.durable.borrow().replay_from.address;
        cache.note_read(&sought, &views, settled);
        Ok(views)
    }
}

fn sought(record: &Wanted) -> Sought {
    let expected = record.expected;
    Sought { address: record.address, bytes: expected.bytes(), checksum: expected.checksum }
}
