//! Bounds of volumes: quotas are kept, reservations honoured, and overwrites go on in a full pool.

use std::rc::Rc;

use futures::future::join_all;
use quarry_engine::{Engine, NewSnapshot};
use quarry_types::{SnapshotId, VolumeId, VolumeSettings};
use quarry_volume::{ErrorKind, Result, Volume, VolumeError, WriteFlags, ZeroMode};

use crate::node::{BLOCK, Chance, Node, VOLUME, content};

const OTHER: VolumeId = VolumeId(uuid::Uuid::from_u128(0x4242));
const MIB: u64 = 1 << 20;

fn set(node: &Node, id: VolumeId, quota_bytes: u64, reserved_bytes: u64) {
    let engine = node.engine();
    let settings = VolumeSettings { quota_bytes, reserved_bytes, ..VolumeSettings::default() };
    node.run(|_| async move { engine.change_volume(id, settings).await }).expect("settings");
}

fn add_other(node: &Node, bytes: u64) {
    let engine = node.engine();
    let settings = VolumeSettings::default();
    node.run(|_| async move { engine.create_volume(OTHER, "other", bytes, settings, None).await })
        .expect("volume");
}

fn mapped(node: &Node, id: VolumeId) -> u64 {
    let volumes = node.engine().volumes();
    volumes.iter().find(|volume| volume.id == id).expect("it exists").mapped_bytes
}

fn checkpoint(node: &Node) {
    let engine = node.engine();
    node.run(|_| async move { engine.checkpoint().await }).expect("checkpoint");
}

async fn write_to(engine: Rc<Engine>, id: VolumeId, offset: u64, bytes: Vec<u8>) -> Result<()> {
    let volume = engine.volume(id).expect("it exists");
    let buffer = engine.pool().env.buffers.copy_of(&bytes);
    volume.write(offset, buffer, WriteFlags::default()).await
}

fn write(node: &Node, id: VolumeId, offset: u64, bytes: Vec<u8>) -> Result<()> {
    let engine = node.engine();
    node.run(|_| write_to(engine, id, offset, bytes))
}

/// Writes from a byte on until there is no space; says where that was.
fn fill(node: &Node, id: VolumeId, from: u64, to: u64, step: u64) -> u64 {
    for offset in (from..to).step_by(step as usize) {
        if let Err(error) = write(node, id, offset, content(1, offset, step as usize)) {
            assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
            return offset;
        }
    }
    panic!("{to} bytes fitted in");
}

fn no_space(result: Result<()>) -> VolumeError {
    let error = result.expect_err("there is no space");
    assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
    error
}

#[test]
fn a_quota_is_kept_to_the_block_and_names_itself() {
    let mut node = Node::new(1, 1, &[64], 64 * MIB);
    set(&node, VOLUME, 4 * MIB, 0);
    for offset in (0..4 * MIB).step_by(64 << 10) {
        node.write(offset, content(1, offset, 64 << 10)).expect("within the quota");
    }
    let refused = no_space(node.write(8 * MIB, content(1, 8 * MIB, BLOCK)));
    assert!(refused.to_string().contains("volume one has reached its quota of 4 MiB"), "{refused}");
    assert_eq!(no_space(node.write(8 * MIB + 512, vec![1; 512])).kind, ErrorKind::NoSpace);
    // What is there may be written again, in whole blocks and in part, before and after a checkpoint and a restart.
    let overwrite = |node: &Node, version| {
        for offset in (0..4 * MIB).step_by(128 << 10) {
            node.write(offset, content(version, offset, 64 << 10)).expect("an overwrite");
        }
        node.write(512, vec![1; 512]).expect("a part of a block");
        no_space(node.write(4 * MIB - 4096, content(1, 0, 2 * BLOCK)));
        assert_eq!(mapped(node, VOLUME), 4 * MIB);
    };
    overwrite(&node, 2);
    checkpoint(&node);
    overwrite(&node, 3);
    node.kill();
    node.reopen();
    overwrite(&node, 4);
    // A discard makes room for as much.
    node.with(|_, volume| async move { volume.discard(0, MIB, WriteFlags::default()).await })
        .expect("discard");
    for offset in (8 * MIB..9 * MIB).step_by(BLOCK) {
        node.write(offset, content(1, offset, BLOCK)).expect("there is room again");
    }
    no_space(node.write(0, content(1, 0, BLOCK)));
    let zero = |mode| {
        node.with(move |_, volume| async move {
            volume.write_zeroes(2 * MIB, 8192, mode, WriteFlags::default()).await
        })
    };
    zero(ZeroMode::KeepAllocated).expect("an overwrite");
    zero(ZeroMode::MayUnmap).expect("a hole");
    assert_eq!(mapped(&node, VOLUME), 4 * MIB - 8192);
    set(&node, VOLUME, 0, 0);
    node.write(20 * MIB, content(1, 20 * MIB, 1 << 20)).expect("no quota any more");
    node.verify();
}

#[test]
fn a_quota_is_kept_under_many_writes_at_once() {
    for seed in 0..4 {
        let node = Node::new(10 + seed, 1, &[64], 64 * MIB);
        set(&node, VOLUME, 2 * MIB, 0);
        let chance = Chance::new(seed);
        let mut refused = 0;
        for _ in 0..60 {
            let offsets: Vec<u64> = (0..32).map(|_| chance.below(1024) * BLOCK as u64).collect();
            let engine = node.engine();
            let results = node.run(|_| async move {
                let writes = offsets
                    .iter()
                    .map(|&offset| write_to(engine.clone(), VOLUME, offset, content(1, offset, BLOCK)));
                join_all(writes).await
            });
            refused += results.iter().filter(|result| result.is_err()).count();
            results
                .into_iter()
                .filter_map(Result::err)
                .for_each(|error| assert_eq!(error.kind, ErrorKind::NoSpace));
            assert!(mapped(&node, VOLUME) <= 2 * MIB, "seed {seed}: {}", mapped(&node, VOLUME));
        }
        checkpoint(&node);
        assert_eq!(mapped(&node, VOLUME), 2 * MIB, "seed {seed}: all of it can be used");
        assert!(refused > 100, "seed {seed}: {refused}");
        node.verify();
    }
}

#[test]
fn a_reservation_can_be_used_whatever_others_write() {
    for (seed, reserved_mib, step) in [(1, 4, 64 << 10), (2, 8, BLOCK as u64), (3, 14, 1 << 20)] {
        let mut node = Node::new(20 + seed, 1, &[64], 64 * MIB);
        add_other(&node, 1 << 30);
        let free = fill(&node, OTHER, 0, 1 << 30, 64 << 10);
        node.with(|_, volume| async move { volume.flush().await }).expect("flush");
        let engine = node.engine();
        let discard = node.run(move |_| async move {
            let other = engine.volume(OTHER).expect("it exists");
            other.discard(0, 64 * MIB, WriteFlags::default()).await?;
            engine.settle_space(std::time::Duration::from_secs(9)).await.expect("settle");
            Ok::<_, VolumeError>(())
        });
        discard.expect("discard");
        set(&node, VOLUME, 0, reserved_mib * MIB);
        let mut at = fill(&node, OTHER, 0, 1 << 30, 64 << 10);
        assert!(at + reserved_mib * MIB <= free, "{at} of {free} bytes beside {reserved_mib} MiB");
        node.kill();
        node.reopen();
        // What a restart or the cleaner gains the other one may have, but no more.
        at = fill(&node, OTHER, at, 1 << 30, 64 << 10);
        for offset in (0..reserved_mib * MIB).step_by(step as usize) {
            let wrote = node.write(offset, content(3, offset, step as usize));
            wrote.unwrap_or_else(|error| panic!("seed {seed}: at {offset} of {reserved_mib} MiB: {error}"));
            if offset % (2 * MIB) == 0 {
                at = fill(&node, OTHER, at, 1 << 30, 64 << 10);
            }
        }
        assert!(at + reserved_mib * MIB <= free + MIB, "{at} of {free} bytes beside {reserved_mib} MiB");
        for offset in (0..reserved_mib * MIB).step_by(step as usize) {
            assert!(node.read(offset, step as usize) == content(3, offset, step as usize), "at {offset}");
        }
        for offset in (0..at).step_by(64 << 10) {
            let engine = node.engine();
            let read = node.run(move |_| async move {
                engine.volume(OTHER).expect("it exists").read(offset, 64 << 10).await.map(|views| views.len())
            });
            read.expect("read");
        }
        node.verify();
    }
}

/// A pool with 12 MiB left of what another volume may take, which takes them step by step.
fn nearly_full(seed: u64) -> (Node, u64) {
    let free = {
        let node = Node::new(seed, 1, &[64], 64 * MIB);
        add_other(&node, 1 << 30);
        fill(&node, OTHER, 0, 1 << 30, 64 << 10)
    };
    let node = Node::new(seed, 1, &[64], 64 * MIB);
    add_other(&node, 1 << 30);
    let at = free - 12 * MIB;
    for offset in (0..at).step_by(64 << 10) {
        write(&node, OTHER, offset, content(1, offset, 64 << 10)).expect("it is not full");
    }
    (node, at)
}

#[test]
fn a_reservation_holds_from_the_creation_of_its_volume_on() {
    let (node, at) = nearly_full(40);
    let (engine, id) = (node.engine(), VolumeId(uuid::Uuid::from_u128(9)));
    let settings = VolumeSettings { reserved_bytes: 10 * MIB, ..VolumeSettings::default() };
    node.run(|_| async move { engine.create_volume(id, "kept", 16 * MIB, settings, None).await })
        .expect("volume");
    let end = fill(&node, OTHER, at, 1 << 30, 64 << 10);
    assert!(end <= at + 2 * MIB, "{} KiB of what was kept are gone", (end - at) >> 10);
    for offset in (0..10 * MIB).step_by(64 << 10) {
        write(&node, id, offset, content(2, offset, 64 << 10)).expect("it is kept");
    }
    node.verify();
}

#[test]
fn a_reservation_holds_from_a_rollback_on() {
    let node = Node::new(41, 1, &[64], 64 * MIB);
    add_other(&node, 1 << 30);
    set(&node, VOLUME, 0, 10 * MIB);
    let (engine, id) = (node.engine(), SnapshotId::from_random(3));
    let new = NewSnapshot { id, name: "empty".to_owned(), locked_until_s: 0, set: None };
    node.run(|_| async move { engine.create_snapshot(VOLUME, new).await }).expect("snapshot");
    for offset in (0..10 * MIB).step_by(64 << 10) {
        write(&node, VOLUME, offset, content(2, offset, 64 << 10)).expect("it is kept");
    }
    let engine = node.engine();
    let kept = || node.engine().status().kept_bytes;
    assert_eq!(kept(), 0);
    node.run(|_| async move { engine.roll_back_volume(VOLUME, id).await }).expect("rollback");
    assert!(kept() > 10 * MIB);
    fill(&node, OTHER, 0, 1 << 30, 64 << 10);
    for offset in (0..10 * MIB).step_by(64 << 10) {
        write(&node, VOLUME, offset, content(2, offset, 64 << 10)).expect("it is kept");
    }
    node.verify();
}

#[test]
fn overwrites_of_what_nobody_else_holds_go_on_in_a_full_pool() {
    let mut node = Node::new(30, 1, &[64], 1 << 30);
    let end = fill(&node, VOLUME, 0, 1 << 30, 64 << 10);
    assert!(node.engine().status().full);
    let chance = Chance::new(9);
    let blocks = end / BLOCK as u64;
    let mut versions = vec![1; blocks as usize];
    for version in 2..6000u64 {
        let block = chance.below(blocks);
        let offset = block * BLOCK as u64;
        let wrote = node.write(offset, content(version, offset, BLOCK));
        wrote.unwrap_or_else(|error| panic!("overwrite {version} of {blocks} blocks: {error}"));
        versions[block as usize] = version;
    }
    node.kill();
    node.reopen();
    for (block, &version) in versions.iter().enumerate() {
        let offset = (block * BLOCK) as u64;
        let found = node.read(offset, BLOCK);
        let expected = match version {
            1 => content(1, offset & !0xffff, 64 << 10)[(offset & 0xffff) as usize..][..BLOCK].to_vec(),
            version => content(version, offset, BLOCK),
        };
        assert!(found == expected, "block {block}");
    }
    node.verify();
}

#[test]
fn overwrites_go_on_however_thinly_they_spread_garbage_in_a_full_pool() {
    // Each chunk gets a little garbage, long before one of them has enough to be cleaned.
    let node = Node::new(32, 1, &[160], 1 << 30);
    let end = fill(&node, VOLUME, 0, 1 << 30, 256 << 10);
    let blocks = end / BLOCK as u64;
    for version in 2..6000u64 {
        // Steps of the golden ratio: as even as can be.
        let offset = (version * 0x9e37_79b9 % blocks) * BLOCK as u64;
        let wrote = node.write(offset, content(version, offset, BLOCK));
        wrote.unwrap_or_else(|error| panic!("overwrite {version} of {blocks} blocks: {error}"));
    }
    node.verify();
}

#[test]
fn what_a_snapshot_holds_is_not_overwritten_in_a_full_pool_until_it_is_deleted() {
    let node = Node::new(31, 1, &[64], 1 << 30);
    let half = 8 * MIB;
    for offset in (0..half).step_by(64 << 10) {
        node.write(offset, content(1, offset, 64 << 10)).expect("there is space");
    }
    let id = SnapshotId::from_random(5);
    let new = NewSnapshot { id, name: "s".to_owned(), locked_until_s: 0, set: None };
    let engine = node.engine();
    node.run(|_| async move { engine.create_snapshot(VOLUME, new).await }).expect("snapshot");
    let end = fill(&node, VOLUME, half, 1 << 30, 64 << 10);
    let refused = no_space(
        (0..64)
            .try_for_each(|index| node.write(index * (64 << 10), content(2, index * (64 << 10), 64 << 10))),
    );
    assert!(refused.to_string().contains("pool tank is full"), "{refused}");
    node.write(end - (64 << 10), content(2, end - (64 << 10), 64 << 10)).expect("this is the volume's own");
    let engine = node.engine();
    node.run(|_| async move { engine.delete_snapshot(id).await }).expect("delete");
    for offset in (0..4 * MIB).step_by(64 << 10) {
        node.write(offset, content(3, offset, 64 << 10)).expect("nobody else holds it any more");
    }
    node.verify();
}

#[test]
fn what_is_set_aside_for_a_reservation_is_what_others_cannot_have() {
    let node = Node::new(42, 1, &[64], 64 * MIB);
    add_other(&node, 1 << 30);
    set(&node, VOLUME, 0, 10 * MIB);
    fill(&node, OTHER, 0, 1 << 30, 64 << 10);
    checkpoint(&node);
    let (engine, status) = (node.engine(), node.engine().status());
    let shared = &engine.pool().shared;
    let total = shared.capacity_for(engine.log_id()).total_chunks * shared.geometry.segment_bytes;
    let left = total.saturating_sub(status.live_bytes + status.reserved_bytes + status.set_aside_bytes);
    assert!(status.full && left < 4 * MIB, "{} KiB seem to be left of {status:?}", left >> 10);
}
