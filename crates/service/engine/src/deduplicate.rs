//! Blocks of a write that are there already: found, compared where the volume wants that, and referred to.
//!
//! Finding one says where it lay. Whether it may be referred to is decided in the same step in which the reference is appended:
//! from then on it is counted, and the record stays.

use std::cell::RefMut;

use quarry_env::{View, yield_now};
use quarry_format::node::Mapped;
use quarry_map::{Run, Runs};
use quarry_reduce::Fingerprint;
use quarry_types::limits::BLOCK_BYTES;
use quarry_types::{Deduplication, KeyId};

use crate::duplicates::Duplicates;
use crate::reduce::is_zero;
use crate::{Engine, EngineVolume};

/// Blocks whose fingerprints are computed before others get their turn.
const BLOCKS_AT_ONCE: usize = 16;
/// The part of the memory for map nodes that the table of fingerprints takes.
pub(crate) const TABLE_PART: usize = 4;

/// What is known of one block of a write.
pub(crate) struct Recognised {
    /// `None` for zeroes, which become holes where they may.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Where the same block was written.
    pub(crate) known: Option<Mapped>,
}

impl Engine {
    /// The table of fingerprints, which begins with its first use.
    pub(crate) fn duplicates(&self) -> RefMut<'_, Duplicates> {
        let duplicates = self.volumes.duplicates.borrow_mut();
        RefMut::map(duplicates, |duplicates| {
            duplicates.get_or_insert_with(|| {
                let mut secret = [0; 32];
                let halves = secret.chunks_exact_mut(16);
                halves.for_each(|half| half.copy_from_slice(&self.env.random.next_u128().to_le_bytes()));
                let bytes = self.limits.get().node_cache_bytes;
                self.cache.set_budget(bytes - bytes / TABLE_PART);
                Duplicates::new(secret, bytes / TABLE_PART)
            })
        })
    }

    /// Whether the record at which a block lay is still there and may get one more reference. The caller must append that before
    /// it waits for anything.
    fn may_share(&self, known: &Mapped, key: KeyId) -> bool {
        let (address, sectors) = (known.entry.address, u32::from(known.entry.stored_sectors));
        if known.entry.key != key || !self.volumes.references.has_room(address) {
            return false;
        }
        // What was written behind it counts as live with the next checkpoint, and dies with one after that.
        if address >= self.durable.borrow().replay_from.address {
            return true;
        }
        let table = self.store.table();
        let live = |segment: &quarry_pool::Segment| {
            segment.live.count(address.sector()..address.sector() + sectors) == sectors
        };
        table.get(address.segment()).is_some_and(live)
    }
}

impl EngineVolume {
    /// Recognises the blocks of `data`; `None` where the volume does not deduplicate.
    pub(crate) async fn recognise(&self, data: &View) -> Option<Vec<Recognised>> {
        let (level, key) = {
            let head = self.state.head.borrow();
            (head.settings.deduplication, head.key)
        };
        if level == Deduplication::Off {
            return None;
        }
        let mut all = Vec::with_capacity(data.len() / BLOCK_BYTES);
        for blocks in data.chunks(BLOCKS_AT_ONCE * BLOCK_BYTES) {
            if !all.is_empty() {
                yield_now().await;
            }
            let mut duplicates = self.engine.duplicates();
            all.extend(blocks.chunks_exact(BLOCK_BYTES).map(|block| {
                if is_zero(block) {
                    return Recognised { fingerprint: None, known: None };
                }
                let fingerprint = duplicates.fingerprints().of(key, block);
                Recognised { fingerprint: Some(fingerprint), known: duplicates.find(fingerprint) }
            }));
        }
        all.iter_mut().for_each(|block| {
            block.known = block.known.filter(|known| self.engine.may_share(known, key));
        });
        if level == Deduplication::Verified {
            Box::pin(self.compare_known(data, &mut all)).await;
        }
        Some(all)
    }

    /// The fingerprint of one block, for those that are written later.
    pub(crate) fn fingerprint(&self, block: &View) -> Option<Fingerprint> {
        let head = self.state.head.borrow();
        let wanted = head.settings.deduplication != Deduplication::Off && !is_zero(block);
        wanted.then(|| self.engine.duplicates().fingerprints().of(head.key, block))
    }

    /// Reads what seems to be the same and forgets what is not, or cannot be read.
    async fn compare_known(&self, data: &View, blocks: &mut [Recognised]) {
        let mut distinct: Vec<Mapped> = blocks.iter().filter_map(|block| block.known).collect();
        distinct.sort_unstable_by_key(|known| known.entry.address);
        distinct.dedup_by_key(|known| known.entry.address);
        if distinct.is_empty() {
            return;
        }
        let runs: Runs = distinct.iter().copied().map(Run::Data).collect();
        let found = match self.read_runs(&runs).await {
            Ok(Ok(views)) => views,
            // Written once more it has a good copy.
            Ok(Err(_)) | Err(_) => {
                blocks.iter_mut().for_each(|block| block.known = None);
                return;
            }
        };
        let found: Vec<View> = found
            .iter()
            .flat_map(|view| (0..view.len()).step_by(BLOCK_BYTES).map(|at| view.slice(at..at + BLOCK_BYTES)))
            .collect();
        for (block, bytes) in blocks.iter_mut().zip(data.chunks_exact(BLOCK_BYTES)) {
            let Some(known) = &block.known else { continue };
            let index = distinct.binary_search_by_key(&known.entry.address, |known| known.entry.address);
            if index.is_ok_and(|index| *found[index] != *bytes) {
                block.known = None;
            }
        }
    }

    /// Takes what may not be referred to any more out of what was recognised some time ago.
    pub(crate) fn still_known(&self, known: &Mapped) -> bool {
        self.engine.may_share(known, self.state.head.borrow().key)
    }
}
