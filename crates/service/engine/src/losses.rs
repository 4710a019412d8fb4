//! Which volumes lose something if devices that are away do not come back.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use quarry_types::SegmentId;

use crate::Engine;
use crate::volume::VolumeState;

/// Map nodes that are walked before others get their turn and it is looked at the clock.
const NODES_AT_ONCE: usize = 4096;

/// Volumes and snapshots of which a part has no copy that can be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Losses {
    /// Their names.
    pub names: Vec<String>,
    /// Those that could not be looked at in the time.
    pub not_looked_at: Vec<String>,
}

impl Engine {
    /// What belongs to the chunks that cannot be read now, as far as that is found out `within` a time: maps are read for it.
    pub async fn losses(&self, within: Duration) -> Losses {
        let mut losses = Losses::default();
        let lost = self.lost_segments();
        if lost.is_empty() {
            return losses;
        }
        // What no checkpoint has told the maps of is not found in them.
        let is_told = self.checkpoint().await.is_ok();
        let end = self.env.clock.now() + within;
        for reader in self.readers() {
            let found = if is_told { self.loses(&reader, &lost, end).await } else { None };
            let name = reader.head.borrow().name.clone();
            match found {
                Some(true) => losses.names.push(name),
                Some(false) => {}
                None => losses.not_looked_at.push(name),
            }
        }
        losses
    }

    /// All that can be read: volumes and the snapshots that people see.
    pub(crate) fn readers(&self) -> Vec<Rc<VolumeState>> {
        let snapshots = self.volumes.snapshots().into_iter();
        let visible = snapshots.filter(|snapshot| !snapshot.head.borrow().hidden);
        self.volumes.all().into_iter().chain(visible.map(|snapshot| snapshot.reader.clone())).collect()
    }

    fn lost_segments(&self) -> BTreeSet<SegmentId> {
        let shared = &self.store.pool.shared;
        let chunks = self.store.table().by_chunk().into_values();
        chunks.filter(|(chunk, _)| chunk.is_lost(shared)).flat_map(|(_, segments)| segments).collect()
    }

    /// Whether one of its blocks, or a part of its map, lies there; `None` where that took too long.
    async fn loses(&self, reader: &VolumeState, lost: &BTreeSet<SegmentId>, end: Duration) -> Option<bool> {
        let (root, mut from) = (reader.map.below().newest_root(), Some(0));
        while let Some(start) = from {
            let is_wanted = |address: quarry_types::LogAddress| lost.contains(&address.segment());
            let found =
                quarry_map::blocks_at(&self.nodes, &self.cache, root, start, NODES_AT_ONCE, is_wanted).await;
            // A map that cannot be read leads nowhere.
            let Ok((blocks, rest)) = found else { return Some(true) };
            if !blocks.is_empty() {
                return Some(true);
            }
            if rest.is_some() && self.env.clock.now() >= end {
                return None;
            }
            from = rest;
        }
        Some(false)
    }
}
