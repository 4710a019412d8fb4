//! Writing an image of the present state.

use quarry_pool::{ImageParts, Purpose};

use crate::{Engine, EngineError};

/// Chunks that are kept reserved for the segments to come, at most.
const RESERVE_MAX: usize = 16;
/// And at least, where the pool has them.
const RESERVE_MIN: usize = 6;
/// And as long as not all logs of the pool are open.
const RESERVE_AT_OPENING: usize = 2;

impl Engine {
    /// Makes the present tables durable, with fresh chunks in reserve. Roots and replay position stay those of the last
    /// checkpoint; so whatever has been appended since needs no flush: recovery reads it again.
    pub(crate) async fn commit(&self) -> Result<(), EngineError> {
        let _committing = self.committing.lock().await;
        self.store.end_groups();
        let fresh = self.fresh_reserve();
        let durable = self.durable.borrow().clone();
        let mut reserve = self.log.reserve();
        reserve.extend(fresh.iter().cloned());
        let parts = ImageParts {
            replay_from: durable.replay_from,
            flushed_through: self.log.flushed_through(),
            next_segment: self.log.next_segment(),
            next_volume: durable.next_volume,
            birth: durable.next_snapshot,
            reserve,
            volumes: durable.volumes,
            snapshots: durable.snapshots,
            dissolving: durable.dissolving,
            detached: durable.detached,
            keys: durable.keys,
            salts: self.volumes.keys.salts(),
            shared: self.volumes.references.image(),
            owed: durable.owed,
        };
        let result = self.store.commit(parts).await;
        match &result {
            Ok(()) => self.log.add_reserve(fresh),
            // The image may have become durable all the same.
            Err(_) => {
                fresh.into_iter().for_each(|chunk| self.store.retire(chunk));
                self.log.check_devices();
            }
        }
        self.space.update(self);
        Ok(result?)
    }

    /// Chunks to be held ready for the log. They come after what the cleaner, the images and other logs need, unless the
    /// log has none left. The cleaner's may be among those that this commit frees: it writes nothing before.
    fn fresh_reserve(&self) -> Vec<std::rc::Rc<quarry_pool::Chunk>> {
        let shared = &self.store.pool.shared;
        let wanted =
            (shared.capacity_for(self.store.log).total_chunks as usize / 32).clamp(RESERVE_MIN, RESERVE_MAX);
        // Logs that have not been opened yet have not told what they need.
        let all_known = shared.staked_logs() >= usize::from(self.limits.get().logs);
        let wanted = if all_known { wanted } else { RESERVE_AT_OPENING };
        let ready = self.log.reserve_chunks();
        // What hosts write is likely to be read soon.
        let allocate = |purpose| self.store.allocate_chunk(self.store.copies(), purpose, 0).ok();
        let purpose = Purpose::ReadySegment { freed_soon: self.store.chunks_freed_soon() };
        let mut fresh: Vec<_> = (ready..wanted).map_while(|_| allocate(purpose)).collect();
        if ready == 0 && fresh.is_empty() {
            fresh.extend(allocate(Purpose::NextSegment));
        }
        fresh
    }
}
