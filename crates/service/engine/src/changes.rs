//! Which bytes differ between two snapshots, or a snapshot and its volume.

use std::ops::Range;

use quarry_types::limits::BLOCK_BYTES;
use quarry_types::{SnapshotId, VolumeId};

use crate::{Engine, EngineError};

/// Map nodes that one answer reads.
const NODES_MAX: usize = 4096;

/// Bytes that were written, or freed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedRange {
    /// The bytes, in whole blocks of 4 KiB but for the end of the volume.
    pub range: Range<u64>,
    /// Whether they hold data now; else they read as zeroes.
    pub data: bool,
}

/// A part of the differences.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changes {
    /// What differs, in order.
    pub ranges: Vec<ChangedRange>,
    /// From where on to ask again; `None` when this was all.
    pub next: Option<u64>,
}

impl Engine {
    /// What differs in `volume` from byte `from` on between snapshot `old` (`None`: an empty volume) and snapshot `new` (`None`:
    /// the volume as it is now). Costs as much as there are differences, not as the volume is large.
    pub async fn changes(
        &self,
        volume: VolumeId,
        (old, new): (Option<SnapshotId>, Option<SnapshotId>),
        from: u64,
    ) -> Result<Changes, EngineError> {
        let volume = self.find(volume)?;
        let versions = || -> Result<_, EngineError> {
            let old = old.map(|old| Ok(self.find_snapshot(old)?.version.clone()));
            let new = match new {
                None => (volume.map.below(), volume.head.borrow().size_bytes),
                Some(new) => {
                    let found = self.find_snapshot(new)?;
                    let size_bytes = found.head.borrow().size_bytes;
                    (found.version.clone(), size_bytes)
                }
            };
            Ok((old.transpose().map_err(|error: EngineError| error)?, new))
        };
        let (mut old_version, (mut version, mut size_bytes)) = versions()?;
        let is_behind = new.is_none() && !volume.map.is_clean();
        // Also one that is being merged just now: its tree is not to be had before that counts.
        if is_behind || version.is_pending() || old_version.as_ref().is_some_and(|old| old.is_pending()) {
            self.checkpoint().await?;
            (old_version, (version, size_bytes)) = versions()?;
        }
        let roots = (old_version.and_then(|old| old.newest_root()), version.newest_root());
        let block = BLOCK_BYTES as u64;
        let (found, rest) =
            quarry_map::changes(&self.nodes, &self.cache, roots, from / block, NODES_MAX).await?;
        let in_bytes = |blocks: Range<u64>| blocks.start * block..(blocks.end * block).min(size_bytes);
        let ranges = found
            .into_iter()
            .map(|change| ChangedRange { range: in_bytes(change.blocks), data: change.mapped })
            .filter(|change| !change.range.is_empty());
        Ok(Changes {
            ranges: ranges.collect(),
            next: rest.map(|rest| rest * block).filter(|&at| at < size_bytes),
        })
    }
}
