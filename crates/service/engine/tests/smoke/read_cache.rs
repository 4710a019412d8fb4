//! Blocks that hosts read again are answered from memory, and are what was written last, whatever happened to them meanwhile.

use quarry_engine::{DataKey, Limits, NewKey, RecordCacheStatus};
use quarry_types::{Compression, ReadCache, VolumeSettings};
use quarry_volume::Volume;

use crate::node::{BLOCK, LIMITS, Node, VOLUME, content};
use crate::snapshots::new_snapshot;

const SIZE: u64 = 16 << 20;
const BLOCKS: u64 = 128;

fn status(node: &Node) -> RecordCacheStatus {
    node.engine().status().read_cache
}

fn with_cache(node: &Node, bytes: usize) {
    node.engine().set_limits(Limits { read_cache_bytes: bytes, ..LIMITS });
}

fn read_all(node: &Node, version: u64) {
    for block in 0..BLOCKS {
        let expected = content(version, 0, BLOCKS as usize * BLOCK);
        let at = block as usize * BLOCK;
        assert!(node.read(at as u64, BLOCK) == expected[at..at + BLOCK], "block {block}");
    }
}

fn write_all(node: &Node, version: u64) {
    node.write(0, content(version, 0, BLOCKS as usize * BLOCK)).expect("write");
}

#[test]
fn what_is_read_again_needs_no_device() {
    let node = Node::new(60, 1, &[64], SIZE);
    with_cache(&node, 4 << 20);
    write_all(&node, 1);
    (0..3).for_each(|_| read_all(&node, 1));
    let seen = status(&node);
    assert!(seen.hits > BLOCKS * 8 / 10 && seen.hits < BLOCKS + 1, "{seen:?}");
    node.world.fail_disk(node.disks[0]);
    let before = status(&node).hits;
    let answered = (0..BLOCKS).filter(|block| {
        let offset = block * BLOCK as u64;
        node.with(move |_, volume| async move { volume.read(offset, BLOCK as u32).await.is_ok() })
    });
    assert_eq!(answered.count() as u64, status(&node).hits - before, "the device answers nothing");
    assert!(status(&node).hits - before > BLOCKS * 8 / 10);
}

#[test]
fn a_volume_without_a_part_in_the_cache_takes_none_of_it() {
    let settings = VolumeSettings { read_cache: ReadCache::Off, ..VolumeSettings::default() };
    let mut node = Node::with_settings(63, 1, &[64], (SIZE, (settings, None)));
    with_cache(&node, 4 << 20);
    write_all(&node, 1);
    (0..3).for_each(|_| read_all(&node, 1));
    let seen = status(&node);
    assert_eq!((seen.hits, seen.records), (0, 0), "{seen:?}");
    // The setting is kept, and may be changed while the volume is served.
    node.close();
    node.reopen();
    with_cache(&node, 4 << 20);
    (0..3).for_each(|_| read_all(&node, 1));
    assert_eq!(status(&node).hits, 0);
    let engine = node.engine();
    node.run(|_| async move { engine.change_volume(VOLUME, VolumeSettings::default()).await.unwrap() });
    (0..3).for_each(|_| read_all(&node, 1));
    assert!(status(&node).hits > BLOCKS * 8 / 10);
}

#[test]
fn what_was_overwritten_cleaned_or_rolled_back_is_never_answered_with_what_was_there() {
    let node = Node::new(61, 1, &[48], SIZE);
    with_cache(&node, 4 << 20);
    for version in 1..12 {
        write_all(&node, version);
        (0..3).for_each(|_| read_all(&node, version));
        if version == 3 {
            let engine = node.engine();
            node.run(
                |_| async move { engine.create_snapshot(VOLUME, new_snapshot(1, "then")).await.unwrap() },
            );
        }
    }
    assert!(status(&node).hits > 9 * BLOCKS, "{:?}", status(&node));
    let engine = node.engine();
    node.run(|_| async move { engine.roll_back_volume(VOLUME, new_snapshot(1, "").id).await.unwrap() });
    (0..3).for_each(|_| read_all(&node, 3));
    node.verify();
}

#[test]
fn compressed_and_encrypted_blocks_are_kept_as_they_are_stored() {
    let key = DataKey::new([9; 32]);
    let name = "safe/1".to_owned();
    let wrapped = DataKey::new([8; 32]).wrap(&key, &name, 1).to_vec();
    let settings = VolumeSettings { compression: Compression::Lz4, ..VolumeSettings::default() };
    let node = Node::with_settings(62, 1, &[64], (SIZE, (settings, Some(NewKey { wrapped, name, key }))));
    with_cache(&node, 4 << 20);
    let mut bytes = content(5, 0, BLOCKS as usize * BLOCK);
    bytes.chunks_exact_mut(BLOCK).for_each(|block| block[BLOCK / 2..].fill(0x20));
    node.write(0, bytes.clone()).expect("write");
    for _ in 0..4 {
        for at in (0..bytes.len()).step_by(2 * BLOCK) {
            assert!(node.read(at as u64 + 512, BLOCK) == bytes[at + 512..at + 512 + BLOCK]);
        }
    }
    assert!(status(&node).hits > BLOCKS / 2, "{:?}", status(&node));
}

#[test]
fn reading_everything_once_leaves_what_is_read_often() {
    let node = Node::new(63, 1, &[64], SIZE);
    with_cache(&node, 1 << 20);
    node.write(0, content(1, 0, 8 << 20)).expect("write");
    let often = |node: &Node| {
        let before = status(node).hits;
        (0..100u64).for_each(|block| _ = node.read(block * BLOCK as u64, BLOCK));
        status(node).hits - before
    };
    (0..3).for_each(|_| _ = often(&node));
    let hits = often(&node);
    assert!(hits > 80, "{hits}");
    (0..2048u64).for_each(|block| _ = node.read(block * BLOCK as u64, BLOCK));
    assert!(often(&node) >= hits);
    assert!(status(&node).used_bytes <= 1 << 20);
}
