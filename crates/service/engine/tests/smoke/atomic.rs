//! Atomic writes: all of one is there or nothing, for readers and after a loss of power.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use quarry_engine::{DataKey, NewKey};
use quarry_types::limits::ATOMIC_BYTES_MAX;
use quarry_types::{Compression, Deduplication, VolumeSettings};
use quarry_volume::{ErrorKind, Volume, WriteFlags};

use crate::node::{BLOCK, Node, content};

const SIZE: u64 = 16 << 20;
const FLAGS: WriteFlags = WriteFlags { fua: false };
/// Regions of the volume, each of which atomic writes replace as a whole.
const REGIONS: u64 = 8;
/// What a region lies apart from the next one: room for a plain write between them.
const STRIDE: u64 = 2 * ATOMIC_BYTES_MAX as u64;
/// Versions of a region that are tried when one is looked at.
const VERSIONS: u64 = 400;

/// What a block of a region holds: of each version some compress, some do not, some are zeroes, some look the same everywhere, so
/// that it is stored by records of every kind. The first one tells the versions apart.
fn block(version: u64, index: usize) -> Vec<u8> {
    match (index as u64 + version) % 5 {
        0 if index > 0 => vec![0; BLOCK],
        1 if index > 0 => content(3, 0, BLOCK),
        2 => (version + 1).to_le_bytes().repeat(BLOCK / 8),
        _ => {
            let word =
                |at: u64| (version << 32 | (index as u64) << 16 | at).wrapping_mul(0x2545_f491_4f6c_dd1d);
            (0..BLOCK as u64 / 8).flat_map(|at| (word(at) ^ word(at) >> 29).to_le_bytes()).collect()
        }
    }
}

fn region(version: u64, blocks: usize) -> Vec<u8> {
    (0..blocks).flat_map(|index| block(version, index)).collect()
}

/// Which version of at least `oldest` a region shows from its first block to its last; 0 stands for zeroes.
fn shown(found: &[u8], oldest: u64) -> Option<u64> {
    let is = |version: u64| match version {
        0 => found.iter().all(|&byte| byte == 0),
        version => found.chunks(BLOCK).enumerate().all(|(index, found)| found == block(version, index)),
    };
    (oldest..VERSIONS).find(|&version| is(version))
}

fn new_key() -> NewKey {
    let (name, key) = ("safe/1".to_owned(), DataKey::new([9; 32]));
    NewKey { wrapped: DataKey::new([8; 32]).wrap(&key, &name, 1).to_vec(), name, key }
}

fn settings(seed: u64) -> (VolumeSettings, Option<NewKey>) {
    let (compression, deduplication) = match seed % 3 {
        0 => (Compression::Off, Deduplication::Off),
        1 => (Compression::Lz4, Deduplication::Off),
        _ => (Compression::Lz4, Deduplication::Hashed),
    };
    let settings = VolumeSettings { compression, deduplication, ..VolumeSettings::default() };
    (settings, (seed % 2 == 1).then(new_key))
}

#[test]
fn only_whole_blocks_and_no_more_than_fit_into_a_batch() {
    let node = Node::new(1, 1, &[64], SIZE);
    for (offset, bytes) in [(512, BLOCK), (0, 512), (0, BLOCK + 512), (0, ATOMIC_BYTES_MAX + BLOCK)] {
        let refused = node.with(move |env, volume| async move {
            volume.write_atomic(offset, env.buffers.copy_of(&vec![1; bytes]), FLAGS).await
        });
        assert_eq!(refused.expect_err("not atomic").kind, ErrorKind::Invalid, "{bytes} bytes at {offset}");
    }
    let data = content(1, 0, ATOMIC_BYTES_MAX);
    let model = data.clone();
    node.with(move |env, volume| async move {
        volume.write_atomic(SIZE - data.len() as u64, env.buffers.copy_of(&data), FLAGS).await
    })
    .expect("the largest");
    assert!(node.read(SIZE - ATOMIC_BYTES_MAX as u64, ATOMIC_BYTES_MAX) == model);
    node.close();
}

/// Hosts write regions again and again, others write between them so that batches are full at any place, and the power fails
/// somewhere: every region is one that was written, from its first block to its last, and no older one than was flushed.
#[test]
fn after_a_loss_of_power_all_of_a_write_is_there_or_nothing() {
    let mut newer = 0;
    for seed in 0..60 {
        let mut node = Node::with_settings(seed, 1 + (seed % 2) as u8, &[64, 64], (SIZE, settings(seed)));
        let blocks = [64, 17, 33, 2][(seed % 4) as usize];
        let flushed = write_for(&node, blocks, Duration::from_micros(seed * 137 + 50));
        node.power_fail();
        node.reopen();
        for (record, _) in node.engine().keys() {
            node.engine().open_key(record.key, new_key().key);
        }
        for (index, flushed) in (0..REGIONS).zip(flushed) {
            let version = shown(&node.read(index * STRIDE, blocks * BLOCK), flushed);
            assert!(
                version.is_some(),
                "seed {seed}: region {index} is torn, or older than version {flushed}"
            );
            newer += u64::from(version > Some(flushed));
        }
        node.close();
    }
    assert!(newer > 20, "what was not flushed hardly ever survived, so nothing could be torn: {newer}");
}

/// Has a host write each region over and over, for so long; which versions were flushed by then.
fn write_for(node: &Node, blocks: usize, time: Duration) -> [u64; REGIONS as usize] {
    node.with(move |env, volume| async move {
        let flushed = Rc::new(Cell::new([0; REGIONS as usize]));
        for index in 0..REGIONS {
            let (host, volume, flushed) = (env.clone(), volume.clone(), flushed.clone());
            let writes = async move {
                for version in 1..VERSIONS {
                    let data = host.buffers.copy_of(&region(version, blocks));
                    volume.write_atomic(index * STRIDE, data, FLAGS).await.expect("an atomic write");
                    let noise = content(version, 0, (version as usize % 9 + 1) * BLOCK);
                    let beside = index * STRIDE + STRIDE / 2;
                    volume.write(beside, host.buffers.copy_of(&noise), FLAGS).await.expect("a write");
                    if version % 4 == 0 {
                        volume.flush().await.expect("a flush");
                        let mut all = flushed.get();
                        all[index as usize] = version;
                        flushed.set(all);
                    }
                }
            };
            env.spawner.spawn(writes).detach();
        }
        env.clock.sleep(time).await;
        flushed.get()
    })
}

/// While a region is written again and again, every read of all of it is of one version.
#[test]
fn readers_see_all_of_a_write_or_nothing() {
    for seed in 0..6 {
        let node = Node::with_settings(seed, 1, &[128], (SIZE, settings(seed)));
        node.with(move |env, volume| async move {
            let write = async {
                for version in 1..40 {
                    let data = env.buffers.copy_of(&region(version, 64));
                    volume.write_atomic(0, data, FLAGS).await.expect("write");
                }
            };
            let reads = (0..4).map(|reader| {
                let (env, volume) = (env.clone(), volume.clone());
                async move {
                    for round in 0..60 {
                        env.clock.sleep(Duration::from_micros(round * 7 + reader)).await;
                        let views = volume.read(0, ATOMIC_BYTES_MAX as u32).await.expect("read");
                        let found: Vec<u8> = views.iter().flat_map(|view| view.to_vec()).collect();
                        assert!(shown(&found, 0).is_some(), "seed {seed}: a reader saw a part of a write");
                    }
                }
            });
            futures::join!(write, join_all(reads));
        });
        node.close();
    }
}
