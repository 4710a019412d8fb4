//! Compressed and encrypted volumes: what they hold comes back, takes less, and is on no disk in clear.

use quarry_engine::{CloneOf, DataKey, NewKey, NewSnapshot};
use quarry_types::{Compression, SnapshotId, VolumeId, VolumeSettings};
use quarry_volume::{ErrorKind, ExtentKind, Volume, WriteFlags, ZeroMode};

use crate::node::{BLOCK, Node, VOLUME, content};

const SIZE: u64 = 16 << 20;
const BLOCKS: usize = 512;
const CLONE: VolumeId = VolumeId(uuid::Uuid::from_u128(0x77));

fn settings(compression: Compression) -> VolumeSettings {
    VolumeSettings { compression, ..VolumeSettings::default() }
}

fn outer() -> DataKey {
    DataKey::new([8; 32])
}

fn new_key() -> NewKey {
    let (name, key) = ("safe/1".to_owned(), DataKey::new([9; 32]));
    NewKey { wrapped: outer().wrap(&key, &name, 1).to_vec(), name, key }
}

fn node(compression: Compression, encrypted: bool, copies: u8) -> Node {
    let stored = (settings(compression), encrypted.then(new_key));
    Node::with_settings(5, copies, &vec![64; usize::from(copies)], (SIZE, stored))
}

/// Blocks of which the second half is the same everywhere.
fn half(version: u64) -> Vec<u8> {
    let mut bytes = content(version, 0, BLOCKS * BLOCK);
    bytes.chunks_exact_mut(BLOCK).for_each(|block| block[BLOCK / 2..].fill(0x20));
    bytes
}

fn live_bytes(node: &Node) -> u64 {
    node.verify();
    node.engine().status().live_bytes
}

#[test]
fn what_is_compressible_takes_less_and_comes_back() {
    for compression in [Compression::Lz4, Compression::Zstd] {
        let mut node = node(compression, false, 1);
        node.write(0, half(1)).expect("write");
        assert_eq!(node.read(0, BLOCKS * BLOCK), half(1));
        let bytes = live_bytes(&node);
        assert!(bytes < (BLOCKS * BLOCK * 7 / 10) as u64, "{compression:?}: {bytes}");
        let status = node.engine().status();
        assert_eq!(status.reduced_from_bytes, (BLOCKS * BLOCK) as u64);
        assert!(status.reduced_to_bytes < status.reduced_from_bytes * 7 / 10, "{status:?}");
        // Parts of blocks, blocks that cannot be made smaller, and single blocks in between.
        let random = content(7, 0, 3 * BLOCK);
        node.write(5 * BLOCK as u64 + 512, random.clone()).expect("write");
        let mut expected = half(1);
        expected[5 * BLOCK + 512..8 * BLOCK + 512].copy_from_slice(&random);
        assert_eq!(node.read(0, BLOCKS * BLOCK), expected);
        node.kill();
        node.reopen();
        assert_eq!(node.read(0, BLOCKS * BLOCK), expected);
        assert_eq!(node.read(6 * BLOCK as u64 + 1024, 4096), expected[6 * BLOCK + 1024..][..4096]);
        node.close();
        node.reopen();
        assert_eq!(node.read(0, BLOCKS * BLOCK), expected);
        node.close();
    }
}

#[test]
fn zeroes_become_holes_unless_they_are_to_stay() {
    let node = node(Compression::Lz4, false, 1);
    let extents = |node: &Node| {
        node.with(|_, volume| async move { volume.extents(0, 64 * BLOCK as u64, 10).await }).expect("extents")
    };
    node.write(0, half(1)).expect("write");
    let mut bytes = half(2)[..64 * BLOCK].to_vec();
    bytes[8 * BLOCK..16 * BLOCK].fill(0);
    node.write(0, bytes.clone()).expect("write");
    assert_eq!(node.read(0, bytes.len()), bytes);
    let found: Vec<_> = extents(&node).into_iter().map(|extent| (extent.range, extent.kind)).collect();
    let block = BLOCK as u64;
    assert_eq!(
        found,
        [
            (0..8 * block, ExtentKind::Data),
            (8 * block..16 * block, ExtentKind::Hole),
            (16 * block..64 * block, ExtentKind::Data)
        ]
    );
    let zeroes = node.with(|_, volume| async move {
        volume.write_zeroes(0, 64 * BLOCK as u64, ZeroMode::KeepAllocated, WriteFlags::default()).await
    });
    zeroes.expect("zeroes");
    assert_eq!(extents(&node).len(), 1);
    assert_eq!(extents(&node)[0].kind, ExtentKind::Data);
    assert!(node.read(0, 64 * BLOCK).iter().all(|&byte| byte == 0));
    node.close();
}

/// Whether some disk has these bytes anywhere.
fn is_on_a_disk(node: &Node, wanted: &[u8]) -> bool {
    node.disks.iter().any(|&disk| {
        let mut buffer = vec![0; 64 << 20];
        node.world.peek(disk, 0, &mut buffer);
        buffer.chunks_exact(8).any(|word| word == &wanted[..8])
    })
}

#[test]
fn an_encrypted_volume_is_on_no_disk_in_clear_and_closed_without_its_key() {
    for compression in [Compression::Off, Compression::Lz4] {
        let mut node = node(compression, true, 2);
        let bytes = half(3);
        node.write(0, bytes.clone()).expect("write");
        node.write(BLOCK as u64 * 9 + 512, vec![0x77; 1024]).expect("write");
        let mut expected = bytes.clone();
        expected[9 * BLOCK + 512..9 * BLOCK + 1536].fill(0x77);
        assert_eq!(node.read(0, expected.len()), expected);
        node.flush().expect("flush");
        assert!(!is_on_a_disk(&node, &bytes[24 * BLOCK..]), "clear text");
        assert!(!is_on_a_disk(&node, &[0x20; 8]) && !is_on_a_disk(&node, &[0x77; 8]), "clear text");
        assert!(!is_on_a_disk(&node, &[9; 8]), "the data key");
        node.close();
        node.reopen();

        let read = node.with(|_, volume| async move { volume.read(0, 4096).await.map(|_| ()) });
        let error = read.expect_err("the key is not there");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.to_string().contains("safe/1"), "{error}");
        assert_eq!(node.write(0, vec![1; 4096]).expect_err("no key").kind, ErrorKind::Unavailable);
        let keys = node.engine().keys();
        let [(record, false)] = &keys[..] else { panic!("one key, closed: {keys:?}") };
        let key = outer()
            .unwrap(&record.wrapped.as_slice().try_into().expect("60 bytes"), &record.name)
            .expect("the right one");
        node.engine().open_key(record.key, key);
        assert_eq!(node.read(0, expected.len()), expected);
        node.close();
        node.reopen();
        // With another key nothing is read, rather than something else.
        node.engine().open_key(record.key, DataKey::new([10; 32]));
        let read = node.with(|_, volume| async move { volume.read(0, 4096).await.map(|_| ()) });
        assert_eq!(read.expect_err("another key").kind, ErrorKind::Corrupt);
        node.close();
    }
}

#[test]
fn clones_and_snapshots_keep_the_key_and_the_last_one_lets_it_go() {
    let mut node = node(Compression::Lz4, true, 1);
    node.write(0, half(1)).expect("write");
    let engine = node.engine();
    let id = SnapshotId(uuid::Uuid::from_u128(5));
    node.run(move |_| async move {
        let new = NewSnapshot { id, name: "s".to_owned(), locked_until_s: 0, set: None };
        engine.create_snapshot(VOLUME, new).await.expect("snapshot");
        engine.clone_volume(CloneOf::Snapshot(id), CLONE, "two").await.expect("clone");
    });
    node.write(0, half(2)).expect("write");
    let engine = node.engine();
    let forgotten = node.run(move |_| async move {
        engine.delete_volume(VOLUME, true).await.expect("delete");
        engine.unused_keys().await.expect("unused")
    });
    assert_eq!(forgotten, [], "the clone has it");
    node.kill();
    node.reopen();
    let engine = node.engine();
    // Under another key-encryption key: the data stays as it is.
    let other = DataKey::new([11; 32]);
    let (mut record, _) = engine.keys().remove(0);
    let key = outer()
        .unwrap(&record.wrapped.as_slice().try_into().expect("60 bytes"), &record.name)
        .expect("the right one");
    engine.open_key(record.key, key.clone());
    record.name = "safe/2".to_owned();
    record.wrapped = other.wrap(&key, &record.name, 2).to_vec();
    let rewrapped = record.clone();
    node.run(move |_| async move { engine.rewrap_key(rewrapped).await.expect("rewrap") });
    node.kill();
    node.reopen();
    let engine = node.engine();
    assert_eq!(engine.keys(), [(record.clone(), false)]);
    let key = other
        .unwrap(&record.wrapped.as_slice().try_into().expect("60 bytes"), &record.name)
        .expect("the new one");
    engine.open_key(record.key, key);
    let read = node.run(|_| async move {
        let clone = engine.volume(CLONE).expect("the clone");
        clone.read(0, (BLOCKS * BLOCK) as u32).await.expect("read")
    });
    assert_eq!(read.iter().flat_map(|view| view.to_vec()).collect::<Vec<u8>>(), half(1));
    let engine = node.engine();
    let forgotten = node.run(|_| async move {
        engine.delete_volume(CLONE, false).await.expect("delete");
        engine.settle_space(std::time::Duration::from_secs(60)).await.expect("settle");
        let unused = engine.unused_keys().await.expect("unused");
        assert_eq!(unused.len(), 1);
        engine.forget_key(unused[0].key).await.expect("forget");
        unused[0].name.clone()
    });
    assert_eq!(forgotten, "safe/2");
    assert!(node.engine().keys().is_empty());
    node.close();
}

#[test]
fn a_bad_copy_of_a_packed_block_is_mended_from_the_other() {
    let mut node = node(Compression::Lz4, true, 2);
    node.write(0, half(4)).expect("write");
    node.close();
    node.reopen();
    let (record, _) = node.engine().keys().remove(0);
    node.engine().open_key(
        record.key,
        outer().unwrap(&record.wrapped.as_slice().try_into().expect("60 bytes"), &record.name).expect("key"),
    );
    // Everything of one copy beyond its labels is bad in places, and every block comes from the other.
    let disk = node.disks[0];
    for at in (2 << 20..40 << 20).step_by(24 << 10) {
        node.world.rot(disk, at, 2);
    }
    for _ in 0..4 {
        assert_eq!(node.read(0, BLOCKS * BLOCK), half(4));
    }
    let engine = node.engine();
    let report = node.run(|_| async move { engine.scrub(None).await });
    assert_eq!((report.unrepaired, report.lost), (0, 0), "{report:?}");
    let engine = node.engine();
    let again = node.run(|_| async move { engine.scrub(None).await });
    assert_eq!((again.repaired, again.lost), (0, 0), "{again:?}");
}
