//! Rounds of cleaning: whose turn it is, what came of it, and the commit that makes the victims free.
//!
//! Rounds are made when the pool is short of space ([`crate::maintenance`]), in whatever tier most is gained. Where a fast tier is short while
//! the pool is not, garbage keeps from it what is read much; then rounds are made in that tier alone ([`crate::tiering`]), of chunks that
//! hold so much garbage that less is copied than by moving chunks away.

use std::collections::BTreeMap;

use quarry_cleaner::{RoundTerms, Victim};
use quarry_pool::{Chunk, Purpose};

use crate::{Engine, EngineError};

/// Most chunks that one round takes.
const VICTIMS_MAX: usize = 16;
/// In a fast tier alone, what lives in more than this part of a chunk is not copied for the rest: four times as much as is gained.
const TIER_LIVE_SHARE_MAX: f64 = 0.8;

impl Engine {
    /// Moves the survivors of the best victims and commits. Whether there is more free space now than ever since `balance` began.
    pub(crate) async fn clean(&self, balance: &mut Balance) -> Result<bool, EngineError> {
        let cleaned = self.clean_where(|_, _| true).await?;
        Ok(if cleaned.victims > 0 { balance.add(cleaned.gained_bytes) } else { cleaned.retired > 0 })
    }

    /// One round in a tier. Says how many bytes were copied, if any chunk was emptied.
    pub(crate) async fn clean_tier(&self, tier: u8) -> Result<Option<u64>, EngineError> {
        let _maintaining = self.maintaining.lock().await;
        let is_worth_it = |victim: &Victim, of: u8| of == tier && victim.live_share <= TIER_LIVE_SHARE_MAX;
        let cleaned = self.clean_where(is_worth_it).await?;
        Ok((cleaned.victims > 0).then_some(cleaned.moved_bytes))
    }

    /// One round with the best victims for which something holds: all of one tier, because what lives on stays there.
    async fn clean_where(&self, holds: impl Fn(&Victim, u8) -> bool) -> Result<Cleaned, EngineError> {
        let geometry = self.store.pool.geometry();
        let first_kept = self.durable.borrow().replay_from.address.segment();
        let now = self.log.next_segment().sequence();
        let (policy, mut cleaner) = (self.policy.get(), self.cleaner.take());
        let chosen =
            quarry_cleaner::choose(&self.store.table(), geometry, first_kept, &cleaner, (policy, now));
        let mut tiers: Vec<u8> = Vec::new();
        let mut victims: BTreeMap<u8, Vec<Victim>> = BTreeMap::new();
        for victim in chosen {
            let tier = self.slowest_tier_of(&victim.chunk);
            if holds(&victim, tier) {
                if !tiers.contains(&tier) {
                    tiers.push(tier);
                }
                victims.entry(tier).or_default().push(victim);
            }
        }
        // What is written leaves room for the image that frees the victims.
        let spare = self.store.pool.shared.spare_chunks(self.store.log, Purpose::Packed);
        let chunks_max = self.space.cleaner_chunks(self).min(spare) as usize;
        let mut cleaned = Cleaned::default();
        // The tier of the best one first; where nothing of it can be moved, the next.
        for tier in tiers {
            let mut victims = victims.remove(&tier).unwrap_or_default();
            victims.truncate(VICTIMS_MAX);
            let terms = RoundTerms { policy, chunks_max, now, tier };
            let relocated = cleaner.relocate(&self.store, &victims, terms).await?;
            let statistics = &self.statistics;
            statistics.cleaned_chunks.set(statistics.cleaned_chunks.get() + relocated.victims as u64);
            let mut by_tenth = statistics.cleaned_by_tenth.get();
            by_tenth.iter_mut().zip(relocated.victims_by_tenth).for_each(|(all, more)| *all += more);
            statistics.cleaned_by_tenth.set(by_tenth);
            statistics.moved_bytes.set(statistics.moved_bytes.get() + relocated.moved_bytes);
            tracing::debug!(log = %self.store.log, tier, ?relocated, spare = self.spare_chunks(), "cleaned");
            cleaned.victims = relocated.victims;
            cleaned.moved_bytes = relocated.moved_bytes;
            cleaned.gained_bytes = relocated.gained_bytes;
            if relocated.victims > 0 {
                break;
            }
        }
        self.cleaner.replace(cleaner);
        drop(victims);
        cleaned.retired = self.store.retired_chunks();
        if cleaned.retired > 0 {
            self.commit().await?;
        }
        Ok(cleaned)
    }

    /// The slowest tier in which a chunk lies, or another one of its group.
    fn slowest_tier_of(&self, chunk: &Chunk) -> u8 {
        let shared = &self.store.pool.shared;
        let slowest = |chunk: &Chunk| shared.tiers_of_slots(&chunk.slots()).1;
        match chunk.group() {
            Some(group) => group.members().iter().map(|chunk| slowest(chunk)).max().unwrap_or(0),
            None => slowest(chunk),
        }
    }
}

/// What a round did.
#[derive(Default)]
struct Cleaned {
    victims: usize,
    moved_bytes: u64,
    gained_bytes: i64,
    /// Chunks that the commit behind it has freed.
    retired: usize,
}

/// What several rounds of cleaning have gained. One round may gain what the next one loses, because it leaves a chunk half
/// written that the next one has to close: only more than ever before is progress.
#[derive(Default)]
pub(crate) struct Balance {
    bytes: i64,
    best_bytes: i64,
}

impl Balance {
    fn add(&mut self, gained_bytes: i64) -> bool {
        self.bytes += gained_bytes;
        let is_best = self.bytes > self.best_bytes;
        self.best_bytes = self.best_bytes.max(self.bytes);
        is_best
    }
}
