//! Block status: which ranges hold data.

use quarry_types::limits::BLOCK_BYTES;
use quarry_volume::{Extent, ExtentKind, Result};

use crate::EngineVolume;

impl EngineVolume {
    pub(crate) async fn list_extents(
        &self,
        offset: u64,
        length: u64,
        extents_max: usize,
    ) -> Result<Vec<Extent>> {
        let blocks = self.check("block status", offset, length)?;
        let found = self
            .state
            .map
            .extents(blocks, extents_max, &self.engine.cache, &self.engine.nodes)
            .await
            .map_err(|error| self.map_error("block status", &error))?;
        let (start, end) = (offset, offset + length);
        let in_bytes = |block: u64| (block * BLOCK_BYTES as u64).clamp(start, end);
        let kind = |data: bool| if data { ExtentKind::Data } else { ExtentKind::Hole };
        Ok(found
            .into_iter()
            .map(|extent| Extent {
                range: in_bytes(extent.blocks.start)..in_bytes(extent.blocks.end),
                kind: kind(extent.mapped),
            })
            .collect())
    }
}
