//! Deduplicated volumes: what is there already takes no more, and stays as long as one block refers to it.

use std::rc::Rc;
use std::time::Duration;

use quarry_engine::{DataKey, Engine, NewKey, NewSnapshot};
use quarry_types::{Compression, Deduplication, SnapshotId, VolumeId, VolumeSettings};
use quarry_volume::{Volume, WriteFlags};

use crate::node::{BLOCK, Node, VOLUME, content};

const SIZE: u64 = 16 << 20;
const BLOCKS: usize = 64;
const BYTES: usize = BLOCKS * BLOCK;
const OTHER: VolumeId = VolumeId(uuid::Uuid::from_u128(0x88));
const LEVELS: [Deduplication; 2] = [Deduplication::Verified, Deduplication::Hashed];

fn settings(deduplication: Deduplication) -> VolumeSettings {
    VolumeSettings { deduplication, ..VolumeSettings::default() }
}

fn new_key(number: u8) -> NewKey {
    let (name, key) = ("safe/1".to_owned(), DataKey::new([number; 32]));
    NewKey { wrapped: DataKey::new([8; 32]).wrap(&key, &name, 1).to_vec(), name, key }
}

fn node(settings: VolumeSettings) -> Node {
    Node::with_settings(5, 1, &[64], (SIZE, (settings, None)))
}

fn live_bytes(node: &Node) -> u64 {
    node.verify();
    node.engine().status().live_bytes
}

fn shared(node: &Node) -> usize {
    node.verify();
    node.engine().status().shared_records
}

/// Lets everything that was freed be credited.
fn settle(node: &Node) {
    let engine = node.engine();
    node.run(|_| async move { engine.settle_space(Duration::from_secs(60)).await }).expect("settle");
}

#[test]
fn what_is_written_twice_is_stored_once_until_the_last_block_goes() {
    let bytes = content(1, 0, BYTES);
    for (level, compression, encrypted) in [
        (Deduplication::Verified, Compression::Off, false),
        (Deduplication::Verified, Compression::Lz4, true),
        (Deduplication::Hashed, Compression::Off, false),
        (Deduplication::Hashed, Compression::Zstd, true),
    ] {
        let settings = VolumeSettings { compression, ..settings(level) };
        let key = encrypted.then(|| new_key(9));
        let node = Node::with_settings(5, 1, &[64], (SIZE, (settings, key)));
        node.write(0, bytes.clone()).expect("write");
        let once = live_bytes(&node);
        assert_eq!(shared(&node), 0);
        for place in 1..5 {
            node.write(place * BYTES as u64, bytes.clone()).expect("write");
        }
        let nodes = 4 << 10;
        assert!(live_bytes(&node) < once + 6 * nodes, "{level:?}: {} after {once}", live_bytes(&node));
        assert_eq!(shared(&node), BLOCKS);
        assert_eq!(node.engine().status().deduplicated_bytes, 4 * BYTES as u64);
        // The first goes, then the others one by one, in another way each.
        node.write(0, content(2, 0, BYTES)).expect("write");
        for place in 1..5 {
            assert_eq!(node.read(place * BYTES as u64, BYTES), bytes, "{level:?}, {place}");
        }
        node.with(|_, volume| async move {
            volume.discard(BYTES as u64, BYTES as u64, WriteFlags::default()).await.expect("discard");
        });
        node.write(2 * BYTES as u64 + 512, vec![7; 512]).expect("write");
        let mut changed = bytes.clone();
        changed[512..1024].fill(7);
        assert_eq!(node.read(2 * BYTES as u64, BYTES), changed);
        assert_eq!(shared(&node), BLOCKS);
        node.with(|_, volume| async move {
            let (from, length) = (2 * BYTES as u64, 2 * BYTES as u64);
            volume.discard(from, length, WriteFlags::default()).await.expect("discard");
        });
        assert_eq!(node.read(4 * BYTES as u64, BYTES), bytes);
        assert_eq!(shared(&node), 0);
        node.with(|_, volume| async move { volume.discard(0, SIZE, WriteFlags::default()).await })
            .expect("discard");
        settle(&node);
        assert_eq!(live_bytes(&node), 0);
        node.close();
    }
}

#[test]
fn references_survive_the_end_of_the_process() {
    for level in LEVELS {
        let mut node = node(settings(level));
        let bytes = content(1, 0, BYTES);
        node.write(0, bytes.clone()).expect("write");
        node.write(BYTES as u64, bytes.clone()).expect("write");
        node.kill();
        node.reopen();
        assert_eq!(shared(&node), BLOCKS, "replayed");
        node.write(0, content(2, 0, BYTES)).expect("write");
        node.close();
        node.reopen();
        assert_eq!((shared(&node), node.read(BYTES as u64, BYTES)), (0, bytes.clone()));
        // Nothing that was written before this opening is recognised, and nothing goes wrong with that.
        node.write(0, bytes.clone()).expect("write");
        node.write(2 * BYTES as u64, bytes.clone()).expect("write");
        assert_eq!(shared(&node), BLOCKS);
        assert_eq!(node.read(2 * BYTES as u64, BYTES), bytes);
        node.close();
    }
}

#[test]
fn the_same_written_to_the_same_place_again_changes_nothing() {
    let node = node(settings(Deduplication::Verified));
    let bytes = content(1, 0, BYTES);
    for round in 0..6 {
        node.write(0, bytes.clone()).expect("write");
        if round % 2 == 1 {
            node.verify();
        }
    }
    assert_eq!(shared(&node), 0);
    assert_eq!(node.read(0, BYTES), bytes);
    node.with(|_, volume| async move { volume.discard(0, SIZE, WriteFlags::default()).await })
        .expect("discard");
    settle(&node);
    assert_eq!(live_bytes(&node), 0);
    node.close();
}

#[test]
fn snapshots_hold_references_of_their_own() {
    let node = node(settings(Deduplication::Hashed));
    let (one, two) = (content(1, 0, BYTES), content(2, 0, BYTES));
    let ids = [1, 2].map(|number| SnapshotId(uuid::Uuid::from_u128(number)));
    node.write(0, one.clone()).expect("write");
    for (id, name) in ids.into_iter().zip(["a", "b"]) {
        let engine = node.engine();
        let new = NewSnapshot { id, name: name.to_owned(), locked_until_s: 0, set: None };
        node.run(|_| async move { engine.create_snapshot(VOLUME, new).await }).expect("snapshot");
        // The same at the same place, and something else at another one that comes back.
        node.write(0, one.clone()).expect("write");
        node.write(BYTES as u64, two.clone()).expect("write");
        node.write(BYTES as u64, one.clone()).expect("write");
    }
    assert_eq!(shared(&node), BLOCKS);
    for id in ids {
        let engine = node.engine();
        node.run(|_| async move { engine.delete_snapshot(id).await }).expect("delete");
        settle(&node);
        node.verify();
        assert_eq!((node.read(0, BYTES), node.read(BYTES as u64, BYTES)), (one.clone(), one.clone()));
    }
    node.with(|_, volume| async move { volume.discard(0, SIZE, WriteFlags::default()).await })
        .expect("discard");
    settle(&node);
    assert_eq!(live_bytes(&node), 0);
    node.close();
}

async fn write(engine: &Rc<Engine>, env: &quarry_env::Env, id: VolumeId, offset: u64, bytes: &[u8]) {
    let volume = engine.volume(id).expect("it exists");
    volume.write(offset, env.buffers.copy_of(bytes), WriteFlags::default()).await.expect("write");
}

#[test]
fn volumes_share_and_outlive_each_other() {
    let node = node(settings(Deduplication::Verified));
    let (engine, bytes) = (node.engine(), content(1, 0, BYTES));
    node.write(0, bytes.clone()).expect("write");
    let written = bytes.clone();
    node.run(|env| async move {
        let settings = settings(Deduplication::Hashed);
        engine.create_volume(OTHER, "other", SIZE, settings, None).await.expect("create");
        write(&engine, &env, OTHER, 1 << 20, &written).await;
        engine.delete_volume(VOLUME, false).await.expect("delete");
        engine.settle_space(Duration::from_secs(60)).await.expect("settle");
        let other = engine.volume(OTHER).expect("it exists");
        let read = other.read(1 << 20, BYTES as u32).await.expect("read");
        assert_eq!(read.iter().flat_map(|view| view.to_vec()).collect::<Vec<u8>>(), written);
    });
    assert_eq!(shared(&node), 0);
    node.close();
}

/// A record whose last block was overwritten is referred to once more, at each moment of the checkpoint that finds it dead.
#[test]
fn what_is_referred_to_while_it_goes_stays() {
    for level in LEVELS {
        let node = node(settings(level));
        let mut shared = 0;
        for round in 0..80u64 {
            let (bytes, next) = (content(2 * round, 0, BLOCK), content(2 * round + 1, 0, BLOCK));
            let (engine, written) = (node.engine(), bytes.clone());
            node.run(|env| async move {
                write(&engine, &env, VOLUME, 0, &written).await;
                engine.checkpoint().await.expect("checkpoint");
                write(&engine, &env, VOLUME, 0, &next).await;
                let share = async {
                    env.clock.sleep(Duration::from_micros(20 * round)).await;
                    write(&engine, &env, VOLUME, BLOCK as u64, &written).await;
                };
                let checkpoint = async { engine.checkpoint().await.expect("checkpoint") };
                futures::join!(share, checkpoint);
                // Space that is free is used again.
                write(&engine, &env, VOLUME, 1 << 20, &content(1000 + round, 0, 4 << 20)).await;
                engine.checkpoint().await.expect("checkpoint");
            });
            assert!(node.read(BLOCK as u64, BLOCK) == bytes, "{level:?}, round {round}");
            node.verify();
            let deduplicated = node.engine().status().deduplicated_bytes;
            shared += usize::from(deduplicated > 0);
        }
        assert!(shared > 0);
        node.close();
    }
}

#[test]
fn blocks_under_another_key_are_others_also_when_it_has_the_number_of_one_that_is_gone() {
    for level in LEVELS {
        let node = Node::with_settings(5, 1, &[64], (SIZE, (settings(level), Some(new_key(9)))));
        let (engine, bytes) = (node.engine(), content(1, 0, BYTES));
        node.write(0, bytes.clone()).expect("write");
        let written = bytes.clone();
        node.run(|env| async move {
            let first = engine.keys()[0].0.key;
            engine.delete_volume(VOLUME, false).await.expect("delete");
            for unused in engine.unused_keys().await.expect("unused") {
                engine.forget_key(unused.key).await.expect("forget");
            }
            let key = Some(new_key(10));
            engine.create_volume(OTHER, "other", SIZE, settings(level), key).await.expect("create");
            assert_eq!(engine.keys()[0].0.key, first, "the number is used again");
            write(&engine, &env, OTHER, 0, &written).await;
            let other = engine.volume(OTHER).expect("it exists");
            let read = other.read(0, BYTES as u32).await.expect("read");
            assert_eq!(read.iter().flat_map(|view| view.to_vec()).collect::<Vec<u8>>(), written);
        });
        assert_eq!(shared(&node), 0);
        node.close();
    }
}

#[test]
fn what_cannot_be_read_is_stored_once_more() {
    let node = node(settings(Deduplication::Verified));
    let bytes = content(1, 0, BYTES);
    node.write(0, bytes.clone()).expect("write");
    node.flush().expect("flush");
    for at in (1 << 20..40 << 20).step_by(4 << 10) {
        node.world.rot(node.disks[0], at + 100, 1);
    }
    node.write(BYTES as u64, bytes.clone()).expect("write");
    assert_eq!(node.read(BYTES as u64, BYTES), bytes);
    assert_eq!(node.engine().status().deduplicated_bytes, 0);
}

#[test]
fn zeroes_are_holes_and_not_shared() {
    let node = node(settings(Deduplication::Verified));
    node.write(0, vec![7; BLOCK]).expect("write");
    // Parts that leave a block of zeroes.
    node.write(0, vec![0; 2048]).expect("write");
    node.write(2048, vec![0; 2048]).expect("write");
    node.write(BYTES as u64, vec![0; BYTES]).expect("write");
    assert_eq!(shared(&node), 0);
    assert!(node.engine().volumes()[0].mapped_bytes <= BLOCK as u64);
    assert_eq!(node.engine().status().deduplicated_bytes, 0);
    node.close();
}
