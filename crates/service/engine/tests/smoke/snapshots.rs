//! Snapshots and clones: what they show never changes, and what nobody holds any more is free.

use std::collections::BTreeMap;
use std::rc::Rc;

use quarry_engine::{CloneOf, EngineError, EngineVolume, NewSnapshot};
use quarry_types::{SnapshotId, VolumeId};
use quarry_volume::{ErrorKind, Volume, WriteFlags};

use crate::node::{BLOCK, Chance, Node, VOLUME, content};

const SIZE: usize = 4 << 20;

pub fn new_snapshot(id: u128, name: &str) -> NewSnapshot {
    NewSnapshot { id: SnapshotId::from_random(id), name: name.to_owned(), locked_until_s: 0, set: None }
}

impl Node {
    fn volume_of(&self, id: VolumeId) -> Rc<EngineVolume> {
        self.engine().volume(id).expect("it exists")
    }

    fn write_to(&self, volume: Rc<EngineVolume>, offset: u64, bytes: Vec<u8>) {
        let written = self.run(|env| async move {
            volume.write(offset, env.buffers.copy_of(&bytes), WriteFlags::default()).await
        });
        written.expect("write");
    }

    fn read_all(&self, volume: Rc<EngineVolume>) -> Vec<u8> {
        let length = volume.info().size_bytes as u32;
        let read = self.run(|_| async move { volume.read(0, length).await });
        read.expect("read").iter().flat_map(|view| view.to_vec()).collect()
    }

    pub fn snapshot(&self, volume: VolumeId, new: NewSnapshot) -> SnapshotId {
        let (engine, id) = (self.engine(), new.id);
        self.run(|_| async move { engine.create_snapshot(volume, new).await }).expect("snapshot");
        id
    }

    pub fn delete_snapshot(&self, id: SnapshotId) -> Result<(), EngineError> {
        let engine = self.engine();
        self.run(|_| async move { engine.delete_snapshot(id).await })
    }

    pub fn settle(&self) {
        let engine = self.engine();
        let limit = std::time::Duration::from_secs(60);
        self.run(|_| async move { engine.settle_space(limit).await }).expect("settle");
    }
}

#[test]
fn a_snapshot_shows_what_was_and_a_clone_goes_its_own_way() {
    let mut node = Node::new(1, 2, &[64, 64], SIZE as u64);
    node.write(0, content(1, 0, 64 * BLOCK)).expect("write");
    let before = node.snapshot(VOLUME, new_snapshot(1, "before"));
    node.write(0, content(2, 0, 8 * BLOCK)).expect("write");
    node.write(512, vec![9; 512]).expect("a part of a block");
    let engine = node.engine();
    let clone = VolumeId::from_random(5);
    node.run(|_| async move { engine.clone_volume(CloneOf::Snapshot(before), clone, "two").await })
        .expect("clone");
    node.write_to(node.volume_of(clone), 10 * BLOCK as u64, content(3, 0, BLOCK));
    for round in 0..3 {
        let snapshot = node.engine().snapshot_volume(before).expect("it is there");
        assert!(snapshot.info().read_only);
        let was = node.read_all(snapshot.clone());
        assert!(was[..64 * BLOCK] == content(1, 0, 64 * BLOCK), "round {round}");
        let refused = node.run(|env| async move {
            snapshot.write(0, env.buffers.copy_of(&[1; 512]), WriteFlags::default()).await
        });
        assert_eq!(refused.expect_err("it is a snapshot").kind, ErrorKind::ReadOnly);
        let two = node.read_all(node.volume_of(clone));
        assert!(
            two[..10 * BLOCK] == was[..10 * BLOCK] && two[10 * BLOCK..11 * BLOCK] == content(3, 0, BLOCK)
        );
        let mut now = content(2, 0, 8 * BLOCK);
        now[512..1024].fill(9);
        assert!(node.read(0, 8 * BLOCK) == now);
        match round {
            0 => node.verify(),
            1 => {
                node.kill();
                node.reopen();
            }
            _ => node.verify(),
        }
    }
}

#[test]
fn what_only_a_snapshot_held_is_freed_with_it() {
    let node = Node::new(2, 1, &[64], SIZE as u64);
    let live = |node: &Node| {
        node.settle();
        node.engine().status().live_bytes
    };
    node.write(0, content(1, 0, SIZE)).expect("write");
    let alone = live(&node);
    let ids: Vec<SnapshotId> = (0..4u64)
        .map(|index| {
            let id = node.snapshot(VOLUME, new_snapshot(u128::from(index), &format!("s{index}")));
            node.write(index * SIZE as u64 / 8, content(10 + index, 0, SIZE / 4)).expect("write");
            id
        })
        .collect();
    let with_snapshots = live(&node);
    assert!(with_snapshots >= alone + SIZE as u64, "{alone} -> {with_snapshots}");
    let engine = node.engine();
    let shown = node.run(|_| async move { engine.snapshots(VOLUME).await }).expect("list");
    assert_eq!(shown.iter().map(|shown| shown.name.as_str()).collect::<Vec<_>>(), ["s0", "s1", "s2", "s3"]);
    assert!(shown.iter().all(|shown| shown.referenced_bytes == SIZE as u64));
    // Each write covers half of the one before: that half is in one snapshot only, the other half is s0's too.
    let half = SIZE as u64 / 8;
    let unique: Vec<u64> = shown.iter().filter_map(|shown| shown.unique_bytes).collect();
    assert_eq!(unique, [2 * half, half, half, half]);
    node.verify();
    for (index, id) in [2, 0, 3, 1].into_iter().zip(4u64..).map(|(index, _)| (index, ids[index])) {
        node.delete_snapshot(id).expect("delete");
        assert!(matches!(node.delete_snapshot(id), Err(EngineError::NoSnapshot { .. })), "{index}");
        node.verify();
    }
    assert_eq!(live(&node), alone);
}

#[test]
fn a_deleted_origin_lives_on_in_its_clones() {
    let mut node = Node::new(3, 1, &[64], SIZE as u64);
    node.write(0, content(1, 0, SIZE)).expect("write");
    let engine = node.engine();
    let (one, two) = (VolumeId::from_random(5), VolumeId::from_random(6));
    node.run(|_| async move {
        engine.clone_volume(CloneOf::Volume(VOLUME), one, "one").await.expect("clone");
        engine.clone_volume(CloneOf::Volume(one), two, "two").await.expect("clone of the clone");
        engine.delete_volume(VOLUME, false).await.expect("delete");
    });
    node.settle();
    node.verify();
    for id in [one, two] {
        assert!(node.read_all(node.volume_of(id)) == content(1, 0, SIZE));
    }
    let engine = node.engine();
    node.run(|_| async move { engine.delete_volume(one, false).await }).expect("delete");
    node.settle();
    node.kill();
    node.reopen();
    assert!(node.read_all(node.volume_of(two)) == content(1, 0, SIZE));
    let engine = node.engine();
    node.run(|_| async move { engine.delete_volume(two, false).await }).expect("delete");
    node.settle();
    assert_eq!(node.engine().status().live_bytes, 0);
}

#[test]
fn rollback_promote_and_locks_keep_their_word() {
    let node = Node::new(4, 1, &[64], SIZE as u64);
    let engine = node.engine();
    node.write(0, content(1, 0, BLOCK)).expect("write");
    let first = node.snapshot(VOLUME, new_snapshot(1, "first"));
    node.write(0, content(2, 0, BLOCK)).expect("write");
    let later = engine.clone();
    let locked_until_s = node.run(|env| async move { env.clock.wall().as_secs() + 1000 });
    let second = NewSnapshot { locked_until_s, ..new_snapshot(2, "second") };
    let second = node.snapshot(VOLUME, second);
    assert!(matches!(node.delete_snapshot(second), Err(EngineError::Locked { .. })));
    let changed = node.run(|_| async move { later.change_snapshot(second, None, Some(5)).await });
    assert!(matches!(changed, Err(EngineError::Locked { .. })));
    let all = engine.clone();
    let deleted = node.run(|_| async move { all.delete_volume(VOLUME, true).await });
    assert!(matches!(deleted, Err(EngineError::Locked { .. })));
    let back = engine.clone();
    node.run(|_| async move { back.roll_back_volume(VOLUME, first).await }).expect("rollback");
    assert!(node.read(0, BLOCK) == content(1, 0, BLOCK));
    // What is newer than the snapshot stays.
    let back = engine.clone();
    node.run(|_| async move { back.roll_back_volume(VOLUME, second).await }).expect("forward again");
    assert!(node.read(0, BLOCK) == content(2, 0, BLOCK));
    let (clone, promoting) = (VolumeId::from_random(5), engine.clone());
    node.run(|_| async move {
        promoting.clone_volume(CloneOf::Snapshot(second), clone, "two").await.expect("clone");
        assert!(matches!(promoting.promote_volume(VOLUME).await, Err(EngineError::NoClone { .. })));
        // A snapshot of its own does not hide from it what it stands on.
        promoting.create_snapshot(clone, new_snapshot(3, "own")).await.expect("snapshot");
        let origin = promoting.volumes().into_iter().find_map(|volume| volume.origin);
        assert_eq!(origin.and_then(|(_, snapshot)| snapshot).as_deref(), Some("second"));
        assert_eq!(promoting.snapshot(second).await.expect("it is there").clones, 1);
        promoting.promote_volume(clone).await.expect("promote");
        assert_eq!(promoting.snapshots(clone).await.expect("list").len(), 3);
        assert_eq!(promoting.snapshots(VOLUME).await.expect("list").len(), 0);
        promoting.delete_volume(VOLUME, false).await.expect("it has no snapshots any more");
    });
    let names = node.run(|_| async move { engine.snapshots(clone).await }).expect("list");
    assert_eq!(names.iter().map(|shown| shown.name.as_str()).collect::<Vec<_>>(), ["first", "second", "own"]);
    node.verify();
}

#[test]
fn changes_are_what_differs() {
    let node = Node::new(5, 1, &[64], SIZE as u64);
    node.write(0, content(1, 0, 64 * BLOCK)).expect("write");
    let old = node.snapshot(VOLUME, new_snapshot(1, "old"));
    node.write(8 * BLOCK as u64, content(2, 0, 2 * BLOCK)).expect("write");
    node.with(|_, volume| async move {
        volume.discard(20 * BLOCK as u64, 4 * BLOCK as u64, WriteFlags::default()).await
    })
    .expect("discard");
    let new = node.snapshot(VOLUME, new_snapshot(2, "new"));
    node.write(0, content(3, 0, BLOCK)).expect("write");
    let list = |old, new| {
        let engine = node.engine();
        let changes =
            node.run(move |_| async move { engine.changes(VOLUME, (old, new), 0).await }).expect("changes");
        assert_eq!(changes.next, None);
        let in_blocks = |range: std::ops::Range<u64>| (range.start / BLOCK as u64, range.end / BLOCK as u64);
        changes.ranges.into_iter().map(|change| (in_blocks(change.range), change.data)).collect::<Vec<_>>()
    };
    assert_eq!(list(Some(old), Some(new)), [((8, 10), true), ((20, 24), false)]);
    assert_eq!(list(Some(new), None), [((0, 1), true)]);
    assert_eq!(list(None, Some(old)), [((0, 64), true)]);
    assert_eq!(list(Some(new), Some(new)), []);
}

/// Everything at random, with crashes; every volume and snapshot has a model.
#[test]
fn random_histories_keep_every_version() {
    for seed in 0..12 {
        history(seed);
    }
}

struct History {
    node: Node,
    chance: Chance,
    volumes: BTreeMap<VolumeId, Vec<u8>>,
    snapshots: BTreeMap<SnapshotId, (VolumeId, Vec<u8>)>,
    version: u64,
}

fn history(seed: u64) {
    const BYTES: usize = 1 << 20;
    let node = Node::new(seed + 100, 1 + (seed % 2) as u8, &[64, 64], BYTES as u64);
    let volumes = BTreeMap::from([(VOLUME, vec![0; BYTES])]);
    let mut history =
        History { node, chance: Chance::new(seed), volumes, snapshots: BTreeMap::new(), version: 0 };
    for round in 0..6 {
        for _ in 0..60 {
            history.step();
        }
        history.check();
        match (seed + round) % 4 {
            0 => history.node.close(),
            1 => history.node.kill(),
            2 => {
                let engine = history.node.engine();
                let volume =
                    engine.volume(*history.volumes.keys().next().expect("one is left")).expect("open");
                history.node.run(|_| async move { volume.flush().await }).expect("flush");
                drop(engine);
                history.node.power_fail();
            }
            _ => {
                history.node.verify();
                history.node.kill();
            }
        }
        history.node.reopen();
        history.check();
        history.node.verify();
    }
    history.end();
}

impl History {
    fn pick<T: Copy>(&self, all: impl Iterator<Item = T>) -> Option<T> {
        let all: Vec<T> = all.collect();
        (!all.is_empty()).then(|| all[self.chance.below(all.len() as u64) as usize])
    }

    fn step(&mut self) {
        self.version += 1;
        let engine = self.node.engine();
        let Some(volume) = self.pick(self.volumes.keys().copied()) else { return };
        let snapshot = self.pick(self.snapshots.keys().copied());
        match (self.chance.below(21), snapshot) {
            (0..9, _) => self.write(volume),
            (9..11, _) => self.discard(volume),
            (11..14, _) => {
                let new = new_snapshot(u128::from(self.version), &format!("s{}", self.version));
                let id = self.node.snapshot(volume, new);
                self.snapshots.insert(id, (volume, self.volumes[&volume].clone()));
            }
            (14..16, Some(id)) => {
                self.snapshots.remove(&id);
                self.node.delete_snapshot(id).expect("delete");
            }
            (16, Some(id)) if self.volumes.len() < 6 => {
                let clone = VolumeId::from_random(u128::from(self.version));
                let made = self
                    .node
                    .run(|_| async move { engine.clone_volume(CloneOf::Snapshot(id), clone, "c").await });
                made.expect("clone");
                self.volumes.insert(clone, self.snapshots[&id].1.clone());
            }
            (20, _) if self.volumes.len() < 6 => {
                let clone = VolumeId::from_random(u128::from(self.version));
                let made = self
                    .node
                    .run(|_| async move { engine.clone_volume(CloneOf::Volume(volume), clone, "c").await });
                made.expect("clone");
                self.volumes.insert(clone, self.volumes[&volume].clone());
            }
            (17, _) if self.volumes.len() > 1 => {
                let deleted = self.node.run(|_| async move { engine.delete_volume(volume, true).await });
                deleted.expect("delete");
                self.volumes.remove(&volume);
                self.snapshots.retain(|_, (owner, _)| *owner != volume);
            }
            (18, Some(id)) if self.volumes.contains_key(&self.snapshots[&id].0) => {
                let (owner, content) = self.snapshots[&id].clone();
                let back = self.node.run(|_| async move { engine.roll_back_volume(owner, id).await });
                back.expect("rollback");
                self.volumes.insert(owner, content);
            }
            (19, _) => self.node.run(|_| async move { engine.checkpoint().await }).expect("checkpoint"),
            _ => {}
        }
    }

    fn write(&mut self, volume: VolumeId) {
        let content_now = self.volumes.get_mut(&volume).expect("it is known");
        let offset = self.chance.below(content_now.len() as u64 / 512) as usize * 512;
        let length = ((1 + self.chance.below(100) as usize) * 512).min(content_now.len() - offset);
        let bytes = content(self.version, offset as u64, length);
        content_now[offset..offset + length].copy_from_slice(&bytes);
        self.node.write_to(self.node.volume_of(volume), offset as u64, bytes);
    }

    fn discard(&mut self, volume: VolumeId) {
        let content_now = self.volumes.get_mut(&volume).expect("it is known");
        let blocks = content_now.len() / BLOCK;
        let first = self.chance.below(blocks as u64) as usize;
        let count = (1 + self.chance.below(200) as usize).min(blocks - first);
        content_now[first * BLOCK..(first + count) * BLOCK].fill(0);
        let volume = self.node.volume_of(volume);
        let (offset, length) = ((first * BLOCK) as u64, (count * BLOCK) as u64);
        let discarded =
            self.node.run(|_| async move { volume.discard(offset, length, WriteFlags::default()).await });
        discarded.expect("discard");
    }

    fn check(&self) {
        for (id, content) in &self.volumes {
            assert!(self.node.read_all(self.node.volume_of(*id)) == *content, "volume {id}");
        }
        for (id, (_, content)) in &self.snapshots {
            let snapshot = self.node.engine().snapshot_volume(*id).expect("it is there");
            assert!(self.node.read_all(snapshot) == *content, "snapshot {id}");
        }
    }

    /// Everything is deleted, and nothing is left.
    fn end(self) {
        for id in self.volumes.keys().copied() {
            let engine = self.node.engine();
            self.node.run(|_| async move { engine.delete_volume(id, true).await }).expect("delete");
        }
        self.node.settle();
        self.node.verify();
        assert_eq!(self.node.engine().status().live_bytes, 0);
    }
}
