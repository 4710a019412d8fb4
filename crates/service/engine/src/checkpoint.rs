//! Checkpoint: what the tail did to the maps goes into their trees, and the tail begins anew.
//!
//! 1. At once: note the position behind the last record that counts, freeze every overlay, take over the tail's lists of
//!    what lives and what died. All of this is the effect of exactly the records before that position.
//! 2. Merge each frozen overlay into new nodes, appended to the log like everything else; walk a part of what was detached,
//!    and of what only a deleted snapshot holds.
//! 3. Flush the log: nodes and records are durable.
//! 4. At once: install the roots, move the replay position, change the liveness in the segment table.
//! 5. Write an image of that state. If this fails, the state stands and the next image will hold it.
//!
//! When 2 or 3 fails, everything is put back as it was; nodes that were appended are dead, which they were from the start.

use std::collections::BTreeSet;

use quarry_format::detached::Detached;
use quarry_format::image::{ImageSnapshot, ImageVolume};
use quarry_format::node::{Entry, NODE_SLOTS, NodeRef};
use quarry_map::{Dissolved, MergeOutcome, Retired, Version};
use quarry_pool::{Segment, SegmentTable};
use quarry_types::{BlockIndex, SegmentId, SnapshotCounter, VolumeId};

use crate::engine::Durable;
use crate::frozen::Frozen;
use crate::lineage::{Dissolvable, Lineage};
use crate::references::Ended;
use crate::volumes::{Extent, extent_of};
use crate::{Engine, EngineError};

/// Nodes of detached subtrees, and of snapshots that are dissolved, that one checkpoint walks.
const DETACHED_NODES_MAX: usize = 16 << 10;
/// Lost parts of detached subtrees that one checkpoint gives up.
const LOST_AT_ONCE_MAX: usize = 64;
/// Snapshots that one checkpoint dissolves.
const DISSOLVED_MAX: usize = 256;

struct Merged {
    outcomes: Vec<MergeOutcome>,
    detached: Vec<Detached>,
    dead_entries: Vec<Entry>,
    dead_nodes: Vec<NodeRef>,
    /// In order; all but the last as a whole.
    dissolved: Vec<(SnapshotCounter, Dissolved)>,
}

impl Engine {
    /// Merges the tail into the maps and makes the result durable.
    pub async fn checkpoint(&self) -> Result<(), EngineError> {
        let _maintaining = self.maintaining.lock().await;
        self.checkpoint_locked().await.map(|_| ())
    }

    /// The same for who holds the lock. Says how many chunks it has freed.
    pub(crate) async fn checkpoint_locked(&self) -> Result<usize, EngineError> {
        let mut frozen = self.freeze();
        let merged = match self.merge(&mut frozen).await {
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

    async fn merge(&self, frozen: &mut Frozen) -> Result<Merged, EngineError> {
        let mut merged = Merged {
            outcomes: Vec::new(),
            detached: self.durable.borrow().detached.clone(),
            dead_entries: Vec::new(),
            dead_nodes: Vec::new(),
            dissolved: Vec::new(),
        };
        for pending in &frozen.pending {
            let merge = pending.version.merge(pending.volume, pending.floor, &self.nodes, &self.cache);
            let mut outcome = merge.await?;
            pending.version.prepare(outcome.root);
            self.note_lost_parts(pending.volume, &outcome);
            merged.detached.append(&mut outcome.detached);
            merged.outcomes.push(outcome);
        }
        for (version, floor) in &frozen.dropped {
            let detached = root(version).map(|node| Detached { node, first_block: 0, floor: *floor });
            merged.detached.extend(detached);
        }
        self.drop_detached(&mut merged).await;
        merged.dissolved = self.dissolve(&mut frozen.lineage).await;
        Ok(merged)
    }

    /// What was not overwritten of a part of a map that is bad on every copy is lost from now on, also if a copy should come back.
    fn note_lost_parts(&self, volume: VolumeId, outcome: &MergeOutcome) {
        for (first_block, error) in &outcome.lost {
            tracing::error!(log = %self.store.log, %volume, first_block, %error, "what a part of a map led to is lost");
            // Those of them that were written are among these until the next scrub.
            let blocks = *first_block..first_block + NODE_SLOTS as u64;
            self.volumes.find(volume).iter().for_each(|volume| self.note_lost(volume, blocks.clone()));
        }
    }

    /// Walks a part of what was detached.
    async fn drop_detached(&self, merged: &mut Merged) {
        for _ in 0..LOST_AT_ONCE_MAX {
            let dropped = quarry_map::drop_step(
                &self.nodes,
                &self.cache,
                &mut merged.detached,
                DETACHED_NODES_MAX,
                &mut merged.dead_entries,
                &mut merged.dead_nodes,
            );
            let Err(error) = dropped.await else { return };
            let log = self.store.log;
            if !error.is_final() {
                tracing::error!(%log, %error, "freed space cannot be credited now");
                return;
            }
            tracing::error!(%log, %error, "what a lost part of a map led to stays used");
            let is_lost = |detached: &mut Detached| detached.node.address == error.address();
            let lost = merged.detached.extract_if(.., is_lost);
            let is_ours = |lost: &Detached| lost.floor.is_node_above(&lost.blocks(), lost.node.birth);
            merged.dead_nodes.extend(lost.filter(is_ours).map(|lost| lost.node));
        }
    }

    /// Finds what only deleted snapshots hold, or a part of it.
    async fn dissolve(&self, lineage: &mut Lineage) -> Vec<(SnapshotCounter, Dissolved)> {
        let mut all = Vec::new();
        let mut budget_nodes = DETACHED_NODES_MAX;
        while budget_nodes > 0
            && all.len() < DISSOLVED_MAX
            && let Some(Dissolvable { number, version, child, parent, cursor }) = lineage.next()
        {
            let roots = (root(&version), child.as_ref().and_then(|child| root(child)));
            let step =
                quarry_map::dissolve_step(&self.nodes, &self.cache, roots, parent, cursor, &mut budget_nodes);
            match step.await {
                Ok(dissolved) => {
                    for error in &dissolved.lost {
                        tracing::error!(log = %self.store.log, %error, "what a lost part of a deleted snapshot's map led to stays used");
                    }
                    let is_done = dissolved.cursor.is_none();
                    all.push((number, dissolved));
                    if !is_done {
                        break;
                    }
                    lineage.dissolved(number);
                }
                Err(error) => {
                    tracing::error!(log = %self.store.log, %error, "a deleted snapshot cannot be given up now");
                    if !lineage.skip(number) {
                        break;
                    }
                }
            }
        }
        all
    }

    /// The one synchronous step in which the state changes.
    fn install(&self, frozen: Frozen, merged: Merged) -> Vec<Retired> {
        let Merged { outcomes, detached, dead_entries, dead_nodes, dissolved } = merged;
        let mut table = self.store.table_mut();
        for (address, sectors) in &frozen.tail.live {
            table.mark_live(*address, *sectors);
        }
        let (mut dead, mut retired) = (frozen.tail.dead, Vec::new());
        let mut dies = |entries: &[Entry], nodes: &[NodeRef]| {
            dead.extend(entries.iter().map(extent_of));
            dead.extend(nodes.iter().map(|node| (node.address, u32::from(node.sectors))));
            nodes.iter().for_each(|node| self.cache.forget(node.address));
        };
        dies(&dead_entries, &dead_nodes);
        for (pending, outcome) in frozen.pending.iter().zip(outcomes) {
            for (address, sectors) in &outcome.new_nodes {
                table.mark_live(*address, u32::from(*sectors));
            }
            dies(&outcome.dead_entries, &outcome.dead_nodes);
            retired.push(pending.version.install());
        }
        for (_, dissolved) in &dissolved {
            dies(&dissolved.dead_entries, &dissolved.dead_nodes);
        }
        let owed = self.end_references(&mut table, dead);
        drop(table);
        frozen.volumes.iter().for_each(|volume| volume.state.usage.install());
        let mut volumes: Vec<ImageVolume> = frozen
            .volumes
            .into_iter()
            .map(|volume| ImageVolume {
                head: volume.head,
                root: root(&volume.version),
                parent: volume.parent,
            })
            .collect();
        let mut snapshots = frozen.snapshots;
        let mut gone = Vec::new();
        for (number, dissolved) in &dissolved {
            self.volumes.dissolving.set(dissolved.cursor.map(|cursor| (*number, cursor)));
            if dissolved.cursor.is_some() {
                continue;
            }
            gone.push(*number);
        }
        self.statistics.dissolved.set(self.statistics.dissolved.get() + gone.len() as u64);
        let parents = self.volumes.remove_snapshots(&gone);
        snapshots.retain(|(snapshot, _)| !parents.contains_key(&snapshot.number));
        for volume in &mut volumes {
            volume.parent = parents.get(&volume.parent).copied().unwrap_or(volume.parent);
        }
        let snapshots = snapshots.into_iter().map(|(snapshot, head)| ImageSnapshot {
            head,
            root: root(&snapshot.version),
            parent: snapshot.parent.get(),
        });
        *self.durable.borrow_mut() = Durable {
            replay_from: frozen.position,
            volumes,
            snapshots: snapshots.collect(),
            next_volume: frozen.next_volume,
            next_snapshot: frozen.next_snapshot,
            dissolving: self.volumes.dissolving.get(),
            detached,
            keys: frozen.keys,
            owed: owed.clone(),
        };
        self.volumes.dead.borrow_mut().extend(owed);
        self.space.appended_at_checkpoint.set(frozen.appended_bytes);
        self.space.merge_at_checkpoint.set(frozen.merge_bytes);
        self.volumes.note_installed();
        self.space.changed.raise();
        retired
    }

    /// Ends references to records: marks those as dead that have no other one. Says which ends are owed.
    fn end_references(&self, table: &mut SegmentTable, ends: Vec<Extent>) -> Vec<Extent> {
        let references = &self.volumes.references;
        references.settle();
        let mut owed = Vec::new();
        let none_shared = references.is_empty();
        for (address, sectors) in ends {
            match if none_shared { Ended::Dead } else { references.end(address) } {
                Ended::Dead => table.mark_dead(address, sectors),
                Ended::Shared => {}
                Ended::Owed => owed.push((address, sectors)),
            }
        }
        owed
    }

    /// What is left to credit: changes as long as checkpoints get on with it.
    pub(crate) fn uncredited(&self) -> (Vec<Detached>, Option<(SnapshotCounter, BlockIndex)>, u64) {
        let detached = self.durable.borrow().detached.clone();
        (detached, self.volumes.dissolving.get(), self.statistics.dissolved.get())
    }

    /// Whether checkpoints have freed space to credit.
    pub(crate) fn has_uncredited(&self) -> bool {
        !self.durable.borrow().detached.is_empty() || self.volumes.can_dissolve()
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
        self.cleaner.borrow_mut().close(|open| chunks.contains(&open));
        chunks.len()
    }
}

/// The root of a version of which everything below was merged.
fn root(version: &Version) -> Option<NodeRef> {
    version.root().expect("versions are merged in order")
}
