//! A pool that is small for what is written to it.

use quarry_volume::{ErrorKind, Volume, WriteFlags};

use crate::node::{BLOCK, Chance, Node, content};

#[test]
fn overwrites_go_on_for_many_times_the_capacity() {
    let blocks = 2500;
    let mut node = Node::new(1, 1, &[33], blocks * BLOCK as u64);
    let chance = Chance::new(3);
    let mut versions = vec![0; blocks as usize];
    for version in 1..25_000u64 {
        let block = chance.below(blocks);
        let offset = block * BLOCK as u64;
        node.write(offset, content(version, offset, BLOCK)).expect("write");
        versions[block as usize] = version;
    }
    let status = node.engine().status();
    assert!(status.checkpoints > 3 && status.cleaned_chunks > 20, "{status:?}");
    node.verify();
    node.kill();
    node.reopen();
    for (block, &version) in versions.iter().enumerate().filter(|(_, version)| **version > 0) {
        let offset = (block * BLOCK) as u64;
        assert!(node.read(offset, BLOCK) == content(version, offset, BLOCK), "block {block}");
    }
}

#[test]
fn chunks_that_are_more_than_half_alive_are_cleaned_too() {
    // Two thirds of the pool live, evenly spread: no two victims' survivors fit into one chunk whole.
    let mib = 96;
    let blocks = 66 * 256;
    let mut node = Node::new(4, 1, &[mib], (blocks * BLOCK) as u64);
    let step = 256 << 10;
    for offset in (0..blocks * BLOCK).step_by(step) {
        node.write(offset as u64, content(1, offset as u64, step)).expect("fill");
    }
    let chance = Chance::new(5);
    let mut versions = vec![1; blocks];
    for version in 2..20_000u64 {
        let block = chance.below(blocks as u64);
        let offset = block * BLOCK as u64;
        node.write(offset, content(version, offset, BLOCK)).expect("there is garbage to be had");
        versions[block as usize] = version;
    }
    let status = node.engine().status();
    assert!(status.cleaned_chunks > 20 && !status.full, "{status:?}");
    node.verify();
    node.kill();
    node.reopen();
    node.verify();
    for (block, &version) in versions.iter().enumerate() {
        let offset = (block * BLOCK) as u64;
        assert!(node.read(offset, BLOCK) == content(version, offset, BLOCK), "block {block}");
    }
}

#[test]
fn a_full_pool_says_so_until_something_is_discarded() {
    let mut node = Node::new(2, 2, &[40, 40], 1 << 30);
    let mut full_at = None;
    let step = 64 << 10;
    for offset in (0..64 << 20).step_by(step) {
        if let Err(error) = node.write(offset, content(1, offset, step)) {
            assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
            full_at = Some(offset);
            break;
        }
    }
    let full_at = full_at.expect("40 MiB do not hold 64");
    assert!(full_at > 12 << 20, "only {full_at} bytes fit");
    assert!(node.engine().status().full);
    node.flush().expect("flush");
    node.kill();
    node.reopen();
    for offset in (0..full_at).step_by(step) {
        assert!(node.read(offset, step) == content(1, offset, step), "at {offset}");
    }
    node.with(|_, volume| async move { volume.discard(0, 8 << 20, WriteFlags::default()).await })
        .expect("discard");
    for offset in (0..4 << 20).step_by(step) {
        node.write(offset, content(2, offset, step)).expect("there is space again");
    }
    for offset in (8 << 20..full_at).step_by(step) {
        assert!(node.read(offset, step) == content(1, offset, step), "at {offset}");
    }
    node.verify();
}

#[test]
fn segments_are_filled_to_their_ends() {
    // With its header such a write takes 176 KiB, so the sixth in a segment of 1 MiB does not fit in whole.
    let (step, writes) = (172 << 10, 170);
    let node = Node::new(6, 1, &[64], 32 << 20);
    for offset in (0..writes).map(|write| write * step as u64) {
        node.write(offset, content(1, offset, step)).expect("write");
    }
    let segments = node.engine().status().segments;
    assert!(segments <= 31, "{segments} segments where 34 would have a sixth of each empty");
    for offset in (0..writes).map(|write| write * step as u64) {
        assert!(node.read(offset, step) == content(1, offset, step), "at {offset}");
    }
    node.verify();
}
