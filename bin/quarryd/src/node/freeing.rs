//! What deletions have left behind, in words of the API.

use quarry_api_types::Freeing;
use quarry_engine::EngineStatus;
use quarry_types::limits::BLOCK_BYTES;

/// What they have left in the logs of a pool.
pub(super) fn freeing(engines: &[EngineStatus]) -> Freeing {
    let mut sum = Freeing::default();
    engines.iter().for_each(|engine| sum += in_words(&engine.freeing));
    sum
}

fn in_words(left: &quarry_engine::Freeing) -> Freeing {
    let bytes = |blocks: u64| blocks * BLOCK_BYTES as u64;
    Freeing {
        snapshots: left.snapshots,
        snapshot_bytes: bytes(left.snapshot_blocks),
        dissolved_bytes: left.dissolving.map_or(0, |under_way| bytes(under_way.blocks_done)),
        dissolving_bytes: left.dissolving.map_or(0, |under_way| bytes(under_way.blocks)),
        trees: left.trees,
        tree_bytes: bytes(left.tree_blocks),
        shared_snapshots: left.shared_snapshots,
    }
}
