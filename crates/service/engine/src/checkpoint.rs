//! Checkpoint: what the tail did to the maps goes into their trees, and the tail begins anew.
//!
//! 1. At once: note the position behind the last record that counts, freeze every overlay, take over the tail's lists of
//!    what lives and what died. All of this is the effect of exactly the records before that position.
//! 2. Merge each frozen overlay into new nodes, appended to the log like everything else; walk a part of what was detached.
//! 3. Flush the log: nodes and records are durable.
//! 4. At once: install the roots, move the replay position, change the liveness in the segment table.
//! 5. Write an image of that state. If this fails, the state stands and the next image will hold it.
//!
//! When 2 or 3 fails, everything is put back as it was; nodes that were appended are dead, which they were from the start.

use std::collections::BTreeSet;
use std::rc::Rc;

use quarry_format::image::{ImageVolume, Position};
use quarry_format::node::MAP_BLOCKS_MAX;
use quarry_format::node::{Entry, NodeRef};
use quarry_map::{MergeOutcome, Retired};
use quarry_pool::Segment;
use quarry_types::{LogAddress, SegmentId};

use crate::apply::Tail;
use crate::volume::VolumeState;
use crate::{Engine, EngineError};

/// Nodes of detached subtrees that one checkpoint walks.
const DETACHED_NODES_MAX: usize = 16 << 10;

struct Frozen {
    position: Position,
    appended_bytes: u64,
    next_volume: u32,
    volumes: Vec<Rc<VolumeState>>,
    heads: Vec<quarry_format::batch::VolumeHead>,
    tail: Tail,
}

struct Merged {
    outcomes: Vec<MergeOutcome>,
    detached: Vec<NodeRef>,
    dead_entries: Vec<Entry>,
    dead_nodes: Vec<NodeRef>,
}

impl Engine {
    /// Merges the tail into the maps and makes the result durable.
    pub async fn checkpoint(&self) -> Result<(), EngineError> {
        let _maintaining = self.maintaining.lock().await;
        self.checkpoint_locked().await.map(|_| ())
    }

    /// The same for who holds the lock. Says how many chunks it has freed.
    pub(crate) async fn checkpoint_locked(&self) -> Result<usize, EngineError> {
        let frozen = self.freeze();
        let merged = match self.merge(&frozen).await {
            Ok(merged) => merged,
            Err(error) => {
                self.thaw(frozen);
                return Err(error);
            }
        };
        if let Err(error) = self.log.flush().await {
            self.thaw(frozen);
            return Err(error.into());
        }
        let retired = self.install(frozen, merged);
        let forgotten = self.forget_dead_segments();
        self.statistics.checkpoints.set(self.statistics.checkpoints.get() + 1);
        self.commit().await?;
        for overlay in retired {
            overlay.release().await;
        }
        Ok(forgotten)
    }

    fn freeze(&self) -> Frozen {
        let volumes = self.volumes.all();
        let heads = volumes.iter().map(|volume| volume.head.borrow().clone()).collect();
        volumes.iter().for_each(|volume| volume.map.freeze(self.birth.get()));
        let mut tail = self.volumes.take_tail();
        for volume in &tail.deleted {
            volume.map.unmap(0..MAP_BLOCKS_MAX, &mut |entry: Entry| {
                tail.dead.push((entry.address, u32::from(entry.stored_sectors)));
            });
        }
        Frozen {
            position: self.log.published(),
            appended_bytes: self.log.appended_bytes.get(),
            next_volume: self.volumes.next_number.get(),
            volumes,
            heads,
            tail,
        }
    }

    fn thaw(&self, frozen: Frozen) {
        let mut died = Vec::new();
        for volume in &frozen.volumes {
            volume.map.abandon(&mut |entry: Entry| {
                died.push((entry.address, u32::from(entry.stored_sectors)));
            });
        }
        let mut tail = frozen.tail;
        tail.dead.extend(died);
        self.volumes.put_back_tail(tail);
    }

    async fn merge(&self, frozen: &Frozen) -> Result<Merged, EngineError> {
        let mut merged = Merged {
            outcomes: Vec::new(),
            detached: self.durable.borrow().detached.clone(),
            dead_entries: Vec::new(),
            dead_nodes: Vec::new(),
        };
        for volume in &frozen.volumes {
            let mut outcome = volume.map.merge(&self.nodes, &self.cache).await?;
            merged.detached.append(&mut outcome.detached);
            merged.outcomes.push(outcome);
        }
        for volume in &frozen.tail.deleted {
            merged.detached.extend(volume.map.root());
        }
        quarry_map::drop_step(
            &self.nodes,
            &self.cache,
            &mut merged.detached,
            DETACHED_NODES_MAX,
            &mut merged.dead_entries,
            &mut merged.dead_nodes,
        )
        .await
        .unwrap_or_else(|error| {
            tracing::error!(log = %self.store.log, %error, "freed space cannot be credited now");
        });
        Ok(merged)
    }

    /// The one synchronous step in which the state changes.
    fn install(&self, frozen: Frozen, merged: Merged) -> Vec<Retired> {
        let Frozen { position, appended_bytes, next_volume, volumes, heads, tail } = frozen;
        let Merged { outcomes, detached, dead_entries, dead_nodes } = merged;
        let mut table = self.store.table_mut();
        for (address, sectors) in &tail.live {
            table.mark_live(*address, *sectors);
        }
        let mut dead: Vec<(LogAddress, u32)> = tail.dead;
        dead.extend(dead_entries.iter().map(|entry| (entry.address, u32::from(entry.stored_sectors))));
        dead.extend(dead_nodes.iter().map(|node| (node.address, u32::from(node.sectors))));
        let (mut image_volumes, mut retired) = (Vec::new(), Vec::new());
        for ((volume, head), outcome) in volumes.iter().zip(heads).zip(outcomes) {
            for (address, sectors) in &outcome.new_nodes {
                table.mark_live(*address, u32::from(*sectors));
            }
            let entries = outcome.dead_entries.iter();
            dead.extend(entries.map(|entry| (entry.address, u32::from(entry.stored_sectors))));
            dead.extend(outcome.dead_nodes.iter().map(|node| (node.address, u32::from(node.sectors))));
            retired.push(volume.map.install(outcome.root));
            image_volumes.push(ImageVolume { head, root: outcome.root });
        }
        for (address, sectors) in dead {
            table.mark_dead(address, sectors);
        }
        drop(table);
        *self.durable.borrow_mut() =
            crate::engine::Durable { replay_from: position, volumes: image_volumes, next_volume, detached };
        self.space.appended_at_checkpoint.set(appended_bytes);
        self.space.changed.raise();
        retired
    }

    /// Takes segments in which nothing lives out of the table; their chunks are free after the next image. Says how many
    /// chunks these are.
    pub(crate) fn forget_dead_segments(&self) -> usize {
        let first_kept = self.durable.borrow().replay_from.address.segment();
        let mut table = self.store.table_mut();
        let is_dead = |id: SegmentId, segment: &Segment| {
            id < first_kept && segment.end_sector > 0 && segment.live.ones() == 0
        };
        let dead: Vec<_> =
            table.iter().filter(|(id, segment)| is_dead(*id, segment)).map(|(id, _)| id).collect();
        let mut chunks = BTreeSet::new();
        for segment in dead.into_iter().filter_map(|id| table.remove(id)) {
            for chunk in segment.chunks() {
                chunks.insert(chunk.id());
                self.store.retire(chunk.clone());
            }
        }
        if chunks.is_empty() {
            return 0;
        }
        // A packed chunk may hold other segments.
        let rest = table.iter().flat_map(|(_, segment)| segment.chunks());
        rest.for_each(|chunk| _ = chunks.remove(&chunk.id()));
        let mut cleaner = self.cleaner.borrow_mut();
        if cleaner.open_chunk().is_some_and(|open| chunks.contains(&open)) {
            cleaner.close();
        }
        chunks.len()
    }
}
