//! What deletions have left is told until it is given up, and not longer.

use std::time::Duration;

use futures::future::join_all;
use quarry_engine::{CloneOf, Freeing};
use quarry_types::{VolumeId, VolumeSettings};
use quarry_volume::{Volume, WriteFlags};

use crate::node::{BLOCK, Node, VOLUME, content};
use crate::snapshots::new_snapshot;

const SIZE: u64 = 4 << 20;
const BLOCKS: u64 = SIZE / BLOCK as u64;
/// Blocks of one leaf of the map.
const LEAF_BLOCKS: u64 = 128;

impl Node {
    fn freeing(&self) -> Freeing {
        self.engine().status().freeing
    }

    fn checkpoint(&self) {
        let engine = self.engine();
        self.run(|_| async move { engine.checkpoint().await }).expect("checkpoint");
    }

    fn delete_volume(&self, id: VolumeId) {
        let engine = self.engine();
        self.run(|_| async move { engine.delete_volume(id, true).await }).expect("delete");
    }

    /// Two blocks in each of so many leaves of the map.
    fn write_leaves(&self, leaves: u64, version: u64) {
        self.with(move |env, volume| async move {
            for first in (0..leaves).step_by(64) {
                let writes = (first..leaves.min(first + 64)).map(|leaf| {
                    let offset = leaf * LEAF_BLOCKS * BLOCK as u64;
                    let bytes = env.buffers.copy_of(&content(version, offset, 2 * BLOCK));
                    volume.write(offset, bytes, WriteFlags::default())
                });
                join_all(writes).await.into_iter().for_each(|written| written.expect("write"));
            }
        });
    }
}

#[test]
fn a_deleted_volume_is_told_until_it_is_credited() {
    let mut node = Node::new(61, 1, &[64], SIZE);
    node.write(0, content(1, 0, SIZE as usize)).expect("write");
    node.checkpoint();
    assert_eq!(node.freeing(), Freeing::default());
    node.delete_volume(VOLUME);
    assert_eq!(node.freeing(), Freeing { trees: 1, tree_blocks: BLOCKS, ..Freeing::default() });
    // It is not forgotten with the process.
    node.kill();
    node.reopen();
    assert!(node.freeing().trees > 0);
    node.settle();
    assert_eq!(node.freeing(), Freeing::default());
    assert_eq!(node.engine().status().live_bytes, 0);
}

#[test]
fn a_checkpoint_under_way_hides_nothing() {
    let node = Node::new(64, 1, &[64], SIZE);
    node.write(0, content(1, 0, SIZE as usize)).expect("write");
    node.checkpoint();
    let (engine, other) = (node.engine(), VolumeId::from_random(5));
    let looks = node.run(|env| async move {
        let settings = VolumeSettings::default();
        engine.create_volume(other, "two", SIZE, settings, None).await.expect("create");
        // Something for the checkpoint to write, so that it takes a moment.
        let bytes = env.buffers.copy_of(&content(2, 0, BLOCK));
        let two = engine.volume(other).expect("it exists");
        two.write(0, bytes, WriteFlags::default()).await.expect("write");
        let deleting = engine.clone();
        env.spawner.spawn(async move { deleting.delete_volume(VOLUME, false).await }).detach();
        while engine.volume(VOLUME).is_ok() {
            env.clock.sleep(Duration::from_micros(5)).await;
        }
        let mut looks = 0;
        while engine.status().live_bytes >= SIZE {
            assert_eq!(engine.status().freeing.tree_blocks, BLOCKS);
            looks += 1;
            env.clock.sleep(Duration::from_micros(5)).await;
        }
        looks
    });
    assert!(looks > 1, "nobody looked");
}

#[test]
fn a_deleted_snapshot_that_clones_share_stays_and_is_not_waited_for() {
    let node = Node::new(62, 1, &[64], SIZE);
    node.write(0, content(1, 0, SIZE as usize)).expect("write");
    let snapshot = node.snapshot(VOLUME, new_snapshot(1, "s"));
    let (engine, clone) = (node.engine(), VolumeId::from_random(5));
    node.run(|_| async move { engine.clone_volume(CloneOf::Snapshot(snapshot), clone, "two").await })
        .expect("clone");
    node.write(0, content(2, 0, SIZE as usize)).expect("write");
    node.delete_snapshot(snapshot).expect("delete");
    node.settle();
    assert_eq!(node.freeing(), Freeing { shared_snapshots: 1, ..Freeing::default() });
    node.delete_volume(clone);
    let freeing = node.freeing();
    assert_eq!(
        (freeing.snapshots, freeing.snapshot_blocks, freeing.shared_snapshots),
        (1, BLOCKS, 0),
        "{freeing:?}"
    );
    node.settle();
    assert_eq!(node.freeing(), Freeing::default());
}

#[test]
fn a_large_snapshot_shows_how_far_it_is() {
    const LEAVES: u64 = 36_000;
    let mut node = Node::new(63, 1, &[1000], LEAVES * LEAF_BLOCKS * BLOCK as u64);
    node.write_leaves(LEAVES, 1);
    let snapshot = node.snapshot(VOLUME, new_snapshot(1, "s"));
    node.write_leaves(LEAVES, 2);
    node.checkpoint();
    node.delete_snapshot(snapshot).expect("delete");
    assert_eq!((node.freeing().snapshots, node.freeing().snapshot_blocks), (1, 2 * LEAVES));
    node.checkpoint();
    let first = node.freeing();
    let dissolving = first.dissolving.expect("one checkpoint does not do it");
    assert!(0 < dissolving.blocks_done && dissolving.blocks_done < dissolving.blocks, "{first:?}");
    assert_eq!(dissolving.blocks, LEAVES * LEAF_BLOCKS);
    let left = dissolving.blocks - dissolving.blocks_done;
    assert_eq!((first.snapshots, first.snapshot_blocks), (1, 2 * left / LEAF_BLOCKS), "{first:?}");
    node.kill();
    node.reopen();
    assert_eq!(node.freeing().dissolving, Some(dissolving));
    node.settle();
    assert_eq!(node.freeing(), Freeing::default());
    node.verify();
}
