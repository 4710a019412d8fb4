//! Where a volume lies: how much of it in which tier, and which decisions brought it there.
//!
//! A volume may have billions of blocks, so it is judged by a sample, evenly spread. Small volumes are looked at block by block.

use std::collections::{BTreeMap, BTreeSet};

use quarry_device::DeviceClass;
use quarry_map::Run;
use quarry_types::ChunkId;
use quarry_types::limits::BLOCK_BYTES;
use quarry_volume::Result;

use crate::{EngineVolume, TierDecision};

/// Blocks that are looked up at most.
const SAMPLES_MAX: u64 = 4096;
/// Decisions that are given at most.
const DECISIONS_SHOWN_MAX: usize = 64;

/// What of a volume lies in a tier.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TierShare {
    /// The tier.
    pub class: DeviceClass,
    /// Blocks of the sample that lie there.
    pub blocks: u64,
    /// Reads of the last minutes of the chunks in which they lie, for each chunk, the recent ones counting more.
    pub heat: f32,
}

/// Where a volume lies.
#[derive(Clone, PartialEq, Debug)]
pub struct Placement {
    /// Blocks that were looked up.
    pub sampled_blocks: u64,
    /// Of these, blocks with data whose place is known.
    pub found_blocks: u64,
    /// Whether all blocks were looked up.
    pub is_exact: bool,
    /// By tier, the fastest first.
    pub tiers: Vec<TierShare>,
    /// What was decided about chunks in which sampled blocks lie, the newest first.
    pub decisions: Vec<TierDecision>,
}

impl EngineVolume {
    /// Where it lies now.
    pub async fn placement(&self) -> Result<Placement> {
        let size_bytes = self.state.head.borrow().size_bytes;
        let blocks = size_bytes.div_ceil(BLOCK_BYTES as u64);
        let sampled_blocks = blocks.min(SAMPLES_MAX);
        let shared = &self.engine.store.pool.shared;
        let tiers = shared.tiers();
        let mut shares: Vec<(u64, BTreeMap<ChunkId, f32>)> = vec![Default::default(); tiers.len()];
        let mut chunks: BTreeSet<ChunkId> = BTreeSet::new();
        for sample in 0..sampled_blocks {
            // In 128 bits: the product may not fit into 64.
            let block = (u128::from(sample) * u128::from(blocks) / u128::from(sampled_blocks)) as u64;
            let runs = self.lookup(block..block + 1).await?;
            let Some(Run::Data(mapped)) = runs.first() else { continue };
            let table = self.engine.store.table();
            let Some((chunk, _)) = table.resolve(mapped.entry.address) else { continue };
            let (_, slowest) = shared.tiers_of_slots(&chunk.slots());
            let Some((blocks, heats)) = shares.get_mut(usize::from(slowest)) else { continue };
            *blocks += 1;
            heats.insert(chunk.id(), chunk.heat.now());
            chunks.insert(chunk.id());
        }
        let share = |((blocks, heats), class): ((u64, BTreeMap<ChunkId, f32>), DeviceClass)| TierShare {
            class,
            blocks,
            // From 0.0: the sum of nothing is -0.0.
            heat: heats.values().fold(0.0, |sum, heat| sum + heat) / heats.len().max(1) as f32,
        };
        let classes = tiers.iter().map(|tier| tier.class);
        let tiers: Vec<TierShare> = shares.into_iter().zip(classes).map(share).collect();
        let concerns = |decision: &TierDecision| decision.chunks.iter().any(|chunk| chunks.contains(chunk));
        Ok(Placement {
            sampled_blocks,
            found_blocks: tiers.iter().map(|tier| tier.blocks).sum(),
            is_exact: sampled_blocks == blocks,
            tiers,
            decisions: self.engine.tier_decisions(DECISIONS_SHOWN_MAX, concerns),
        })
    }
}
