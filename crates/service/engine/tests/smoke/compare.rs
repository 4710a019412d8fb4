//! Compare and write: nothing comes between the comparison and the write.

use futures::future::join_all;
use quarry_types::{Compression, VolumeSettings};
use quarry_volume::{Comparison, ErrorKind, Volume, WriteFlags};

use crate::node::{BLOCK, Node, content};

const SIZE: u64 = 4 << 20;
const FLAGS: WriteFlags = WriteFlags { fua: false };

#[test]
fn it_writes_only_what_was_expected() {
    let node = Node::new(1, 1, &[64], SIZE);
    node.write(0, content(1, 0, 3 * BLOCK)).expect("write");
    let compare = |offset: u64, expected: Vec<u8>, data: Vec<u8>| {
        node.with(move |env, volume| async move {
            let (expected, data) = (env.buffers.copy_of(&expected), env.buffers.copy_of(&data));
            volume.compare_and_write(offset, expected, data, FLAGS).await
        })
    };
    let mut model = content(1, 0, 3 * BLOCK);
    let range = 512..512 + 2 * BLOCK;
    let new = content(2, 512, 2 * BLOCK);
    let written = compare(512, model[range.clone()].to_vec(), new.clone()).expect("compare");
    assert_eq!(written, Comparison::Written);
    model[range.clone()].copy_from_slice(&new);
    assert!(node.read(0, 3 * BLOCK) == model);

    let mut other = new.clone();
    other[5000] ^= 1;
    let differs = compare(512, other, content(3, 0, 2 * BLOCK)).expect("compare");
    assert_eq!(differs, Comparison::Differs { at: 5000 });
    assert!(node.read(0, 3 * BLOCK) == model, "nothing was written");
    let hole = compare(1 << 20, vec![0; 512], vec![7; 512]).expect("a hole reads as zeroes");
    assert_eq!(hole, Comparison::Written);
    assert_eq!(node.read(1 << 20, 1024), [vec![7; 512], vec![0; 512]].concat());

    let uneven = compare(0, vec![0; 1024], vec![0; 512]).expect_err("not as long");
    assert_eq!(uneven.kind, ErrorKind::Invalid);
    let long = compare(0, vec![0; 128 << 10], vec![0; 128 << 10]).expect_err("too long");
    assert_eq!(long.kind, ErrorKind::Invalid);
    let outside = compare(SIZE, vec![0; 512], vec![0; 512]).expect_err("outside");
    assert_eq!(outside.kind, ErrorKind::Invalid);
    node.close();
}

/// Sixteen hosts count in one sector, each by what it has read; another one writes the same block meanwhile, elsewhere in
/// it and as a whole.
#[test]
fn hosts_that_count_in_one_sector_lose_no_count() {
    let compressed = VolumeSettings { compression: Compression::Lz4, ..VolumeSettings::default() };
    for (seed, settings) in [(1, VolumeSettings::default()), (2, compressed)] {
        let mut node = Node::with_settings(seed, 2, &[64, 64], (SIZE, (settings, None)));
        let counted = node.with(|env, volume| async move {
            let count = |host: u64| {
                let (env, volume) = (env.clone(), volume.clone());
                async move {
                    let mut refused = 0;
                    for _ in 0..20 {
                        loop {
                            let found = volume.read(0, 512).await.expect("read");
                            let mut next = found[0].to_vec();
                            let count = u64::from_le_bytes(next[..8].try_into().expect("eight")) + 1;
                            next[..8].copy_from_slice(&count.to_le_bytes());
                            next[8] = host as u8;
                            let data = env.buffers.copy_of(&next);
                            let done = volume.compare_and_write(0, found[0].clone(), data, FLAGS).await;
                            if done.expect("compare and write") == Comparison::Written {
                                break;
                            }
                            refused += 1;
                        }
                        volume
                            .write(2048, env.buffers.copy_of(&[host as u8; 512]), FLAGS)
                            .await
                            .expect("write");
                    }
                    refused
                }
            };
            join_all((0..16).map(count)).await.into_iter().sum::<u64>()
        });
        assert!(counted > 0, "nobody was ever in the way of another: the test shows nothing");
        let counter = |node: &Node| u64::from_le_bytes(node.read(0, 8 * 64)[..8].try_into().expect("eight"));
        assert_eq!(counter(&node), 320);
        node.kill();
        node.reopen();
        assert_eq!(counter(&node), 320, "what was acknowledged is there");
        node.close();
    }
}

/// A whole block that is written while its comparison is under way comes before or after it.
#[test]
fn a_plain_write_is_before_or_after_a_comparison() {
    for seed in 0..40 {
        let node = Node::new(seed, 2, &[64, 64], SIZE);
        let (exchanged, found) = node.with(move |env, volume| async move {
            let zero = env.buffers.copy_of(&[0; 512]);
            let exchange = volume.compare_and_write(0, zero, env.buffers.copy_of(&[1; 512]), FLAGS);
            let write = async {
                env.clock.sleep(std::time::Duration::from_micros(seed * 3)).await;
                volume.write(0, env.buffers.copy_of(&[2; BLOCK]), FLAGS).await
            };
            let (exchanged, written) = futures::join!(exchange, write);
            written.expect("write");
            let found = volume.read(0, BLOCK as u32).await.expect("read")[0].to_vec();
            (exchanged.expect("compare and write"), found)
        });
        match exchanged {
            // The comparison saw the zeroes from before the write, which then replaced all of it.
            Comparison::Written => assert!(found == [2; BLOCK], "seed {seed}"),
            Comparison::Differs { at } => assert_eq!((at, found[0]), (0, 2), "seed {seed}"),
        }
    }
}
