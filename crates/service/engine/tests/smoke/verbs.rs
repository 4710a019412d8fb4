//! Each verb against a byte array.

use std::rc::Rc;

use quarry_engine::EngineError;
use quarry_volume::{ErrorKind, ExtentKind, Volume, WriteFlags, ZeroMode};

use crate::node::{BLOCK, Chance, Node, VOLUME, content};

const SIZE: usize = 4 << 20;

#[test]
fn reads_see_what_writes_of_any_alignment_left() {
    let node = Node::new(1, 1, &[64], SIZE as u64);
    let chance = Chance::new(7);
    let mut model = vec![0; SIZE];
    for version in 1..200 {
        let offset = chance.below(SIZE as u64 / 512) as usize * 512;
        let length = (1 + chance.below(if version % 10 == 0 { 1500 } else { 40 }) as usize) * 512;
        let length = length.min(SIZE - offset);
        let bytes = content(version, offset as u64, length);
        model[offset..offset + length].copy_from_slice(&bytes);
        node.write(offset as u64, bytes).expect("write");
        let offset = chance.below(SIZE as u64 / 512) as usize * 512;
        let length = ((1 + chance.below(200) as usize) * 512).min(SIZE - offset);
        assert!(node.read(offset as u64, length) == model[offset..offset + length], "version {version}");
    }
    assert!(node.read(0, SIZE) == model);
}

#[test]
fn zeroes_and_discards_make_holes_that_extents_show() {
    let node = Node::new(2, 2, &[64, 64], SIZE as u64);
    node.write(0, content(1, 0, 1 << 20)).expect("write");
    node.with(|_, volume| async move {
        let flags = WriteFlags::default();
        volume.write_zeroes(4096, 8192, ZeroMode::MayUnmap, flags).await.expect("zero");
        volume.write_zeroes(512, 1024, ZeroMode::MayUnmap, flags).await.expect("zero a part");
        volume.write_zeroes(65536, 4096, ZeroMode::KeepAllocated, flags).await.expect("keep");
        volume.discard(100 * 4096 + 512, 4096 * 3, flags).await.expect("discard");
    });
    let mut model = content(1, 0, 1 << 20);
    model[4096..12288].fill(0);
    model[512..1536].fill(0);
    model[65536..69632].fill(0);
    model[101 * BLOCK..103 * BLOCK].fill(0);
    assert!(node.read(0, 1 << 20) == model);
    let check = |node: &Node| {
        let found = node.with(|_, volume| async move { volume.extents(0, SIZE as u64, 100).await });
        let found: Vec<(u64, ExtentKind)> = found
            .expect("extents")
            .into_iter()
            .map(|extent| (extent.range.end / 4096, extent.kind))
            .collect();
        let (data, hole) = (ExtentKind::Data, ExtentKind::Hole);
        assert_eq!(found, [(1, data), (3, hole), (101, data), (103, hole), (256, data), (1024, hole)]);
    };
    check(&node);
    let engine = node.engine();
    node.run(|_| async move { engine.checkpoint().await }).expect("checkpoint");
    check(&node);
    assert!(node.read(0, 1 << 20) == model);
}

#[test]
fn a_volume_grows_and_never_shrinks() {
    let node = Node::new(3, 1, &[64], 5 * 512);
    node.write(0, content(1, 0, 5 * 512)).expect("write");
    let volume = node.volume();
    assert_eq!(volume.info().size_bytes, 5 * 512);
    let beyond = node.write(5 * 512, vec![1; 512]).expect_err("outside");
    assert_eq!(beyond.kind, ErrorKind::Invalid);
    let engine = node.engine();
    node.run(|_| async move {
        engine.resize_volume(VOLUME, 1 << 20).await.expect("grow");
        let shrunk = engine.resize_volume(VOLUME, 4096).await;
        assert!(matches!(shrunk, Err(EngineError::Shrink { .. })));
    });
    assert_eq!(volume.info().size_bytes, 1 << 20);
    let mut model = content(1, 0, 5 * 512);
    model.resize(1 << 20, 0);
    assert!(node.read(0, 1 << 20) == model);
}

#[test]
fn requests_that_are_wrong_are_invalid() {
    let node = Node::new(4, 1, &[64], 1 << 20);
    for (offset, length) in
        [(1, 512), (0, 100), (1 << 20, 512), (u64::MAX - 511, 512), ((1 << 20) - 512, 1024)]
    {
        let result = node.with(move |_, volume| async move { volume.read(offset, length).await });
        assert_eq!(result.expect_err("wrong").kind, ErrorKind::Invalid, "{offset}+{length}");
    }
}

#[test]
fn concurrent_writes_are_whole_per_block() {
    let node = Node::new(5, 2, &[64, 64], 1 << 20);
    let volume = node.volume();
    node.run(|env| async move {
        let tasks: Vec<_> = (0..64u64)
            .map(|version| {
                let (volume, buffers) = (Rc::clone(&volume), env.buffers.clone());
                env.spawner.spawn(async move {
                    let data = buffers.copy_of(&vec![version as u8; 3 * 4096]);
                    volume.write((version % 5) * 4096, data, WriteFlags { fua: version % 7 == 0 }).await
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("write");
        }
    });
    for block in node.read(0, 7 * 4096).chunks(4096) {
        assert!(block.iter().all(|&byte| byte == block[0]));
    }
}
