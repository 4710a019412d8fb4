//! Scrub: bad copies are mended, and what has no good copy is named, and nothing else suffers from it.

use std::time::Duration;

use quarry_engine::{Finding, LostPlace, ScrubReport, ScrubTerms};
use quarry_env::Env;
use quarry_env_sim::{DiskId, FaultKind, Verb};
use quarry_types::{SnapshotId, VolumeId};
use quarry_volume::{ErrorKind, Volume, WriteFlags};

use crate::node::{BLOCK, Node, VOLUME, content};

const SIZE: usize = 4 << 20;
const BLOCKS: usize = 64;

fn scrub(node: &Node) -> ScrubReport {
    let engine = node.engine();
    let report = node.run(|_| async move { engine.scrub(None).await });
    assert!(report.ended_s.is_some() && report.chunks_done == report.chunks);
    report
}

/// Where a disk has these bytes.
fn find(node: &Node, disk: DiskId, wanted: &[u8]) -> u64 {
    let mut buffer = vec![0; 64 << 20];
    node.world.peek(disk, 0, &mut buffer);
    let found = (0..buffer.len()).step_by(512).find(|&at| buffer[at..].starts_with(wanted));
    found.expect("the disk has a copy") as u64
}

fn block(number: usize) -> Vec<u8> {
    content(1, 0, BLOCKS * BLOCK)[number * BLOCK..(number + 1) * BLOCK].to_vec()
}

#[test]
fn a_bad_copy_is_mended_and_a_lost_block_is_named() {
    let node = Node::new(1, 2, &[64, 64], SIZE as u64);
    node.write(0, content(1, 0, BLOCKS * BLOCK)).expect("write");
    node.verify();
    // Sealed segments only: what is being written is young.
    let engine = node.engine();
    let clean = scrub(&node);
    assert_eq!((clean.repaired, clean.unrepaired, clean.lost), (0, 0, 0));
    // Everything into segments that are sealed: the log is closed and opened again.
    let mut node = node;
    drop(engine);
    node.close();
    node.reopen();
    let clean = scrub(&node);
    assert!(clean.bytes >= 2 * (BLOCKS * BLOCK) as u64, "{clean:?}");
    assert_eq!((clean.repaired, clean.unrepaired, clean.lost), (0, 0, 0));

    let at = find(&node, node.disks[1], &block(7));
    node.world.rot(node.disks[1], at + 100, 3);
    let mended = scrub(&node);
    assert_eq!((mended.repaired, mended.unrepaired, mended.lost), (1, 0, 0));
    assert_eq!(find(&node, node.disks[1], &block(7)), at);
    assert_eq!(scrub(&node).repaired, 0);

    for disk in node.disks.clone() {
        let at = find(&node, disk, &block(9));
        node.world.rot(disk, at + 5, 1);
    }
    let lost = scrub(&node);
    assert_eq!((lost.repaired, lost.lost), (0, 1));
    let place = LostPlace { volume: VOLUME, name: "one".to_owned(), offset: 9 * BLOCK as u64 };
    assert_eq!(lost.lost_blocks[0].place, Some(place.clone()));
    let read = |offset: usize, length: usize| {
        node.with(move |_, volume| async move { volume.read(offset as u64, length as u32).await.map(|_| ()) })
    };
    assert_eq!(read(9 * BLOCK, BLOCK).expect_err("it is lost").kind, ErrorKind::Corrupt);
    assert_eq!(node.engine().damaged_blocks(), [place], "the scrub names it");
    assert!(read(0, 9 * BLOCK).is_ok() && read(10 * BLOCK, 20 * BLOCK).is_ok());
    // Written again it is well again.
    node.write(9 * BLOCK as u64, block(9)).expect("write");
    assert!(node.read(0, BLOCKS * BLOCK) == content(1, 0, BLOCKS * BLOCK));
    node.verify();
    assert_eq!(scrub(&node).lost, 0);
    assert_eq!(node.engine().damaged_blocks(), []);
}

#[test]
fn what_tells_of_a_chunk_is_mended_too() {
    let mut node = Node::new(5, 2, &[64, 64], SIZE as u64);
    node.write(0, content(1, 0, BLOCKS * BLOCK)).expect("write");
    node.close();
    node.reopen();
    assert_eq!(scrub(&node).repaired, 0);
    // The header of their batch is in front of the first of them, and that of their chunk is the granule before.
    let first = find(&node, node.disks[1], &block(0));
    for at in [first - BLOCK as u64, first - 2 * BLOCK as u64] {
        node.world.rot(node.disks[1], at + 20, 3);
        let mended = scrub(&node);
        assert_eq!((mended.repaired, mended.unrepaired, mended.lost), (1, 0, 0), "{at}");
        assert_eq!(scrub(&node).repaired, 0);
    }
    // So the other device may go.
    node.kill();
    node.world.pull_disk(node.disks[0]);
    node.reopen();
    assert!(node.read(0, BLOCKS * BLOCK) == content(1, 0, BLOCKS * BLOCK));
}

/// Of a chunk that does not tell any more what is in it the maps do.
#[test]
fn lost_blocks_are_named_also_where_nothing_tells_what_is_in_their_chunk() {
    let mut node = Node::new(4, 1, &[64], SIZE as u64);
    node.write(0, content(1, 0, BLOCKS * BLOCK)).expect("write");
    node.close();
    node.reopen();
    let clean = scrub(&node);
    assert_eq!(clean.lost, 0);
    // The header of their batch is in front of the first of them.
    let first = find(&node, node.disks[0], &block(0));
    node.world.rot(node.disks[0], first - BLOCK as u64 + 100, 3);
    for bad in [11, 30] {
        let at = find(&node, node.disks[0], &block(bad));
        node.world.rot(node.disks[0], at + 9, 2);
    }
    let found = scrub(&node);
    let mut offsets: Vec<u64> =
        found.lost_blocks.iter().filter_map(|lost| Some(lost.place.as_ref()?.offset)).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, [11 * BLOCK as u64, 30 * BLOCK as u64], "{found:?}");
    assert_eq!(found.lost, 3, "what told of the chunk is lost, too");
}

#[test]
fn a_lost_node_of_a_map_is_a_finding_and_the_rest_is_verified_and_scrubbed() {
    let mut node = Node::new(6, 1, &[64], SIZE as u64);
    let (engine, other) = (node.engine(), VolumeId::from_random(8));
    node.run(|env| async move {
        engine.create_volume(other, "other", SIZE as u64, Default::default(), None).await.expect("volume");
        let bytes = env.buffers.copy_of(&content(2, 0, BLOCKS * BLOCK));
        engine.volume(other).expect("volume").write(0, bytes, Default::default()).await.expect("write");
    });
    node.write(0, content(1, 0, BLOCKS * BLOCK)).expect("write");
    node.close();
    node.reopen();
    let at = find(&node, node.disks[0], &quarry_format::node::NODE_MAGIC.to_le_bytes());
    node.world.rot(node.disks[0], at + 100, 3);
    let at = find(&node, node.disks[0], &block(7));
    node.world.rot(node.disks[0], at + 100, 3);
    let engine = node.engine();
    let verified = node.run(|_| async move { engine.verify().await }).expect("the rest can be verified");
    assert!(matches!(verified.findings[..], [Finding::LostNode { .. }]), "{:?}", verified.findings);
    assert_eq!(scrub(&node).lost, 2);
}

#[test]
fn a_read_names_the_blocks_that_made_it_fail() {
    let mut node = Node::new(3, 1, &[64], SIZE as u64);
    node.write(0, content(1, 0, BLOCKS * BLOCK)).expect("write");
    node.close();
    node.reopen();
    for bad in [11, 30] {
        let at = find(&node, node.disks[0], &block(bad));
        node.world.rot(node.disks[0], at + 9, 2);
    }
    let read = |first: usize, blocks: usize| {
        let (offset, length) = ((first * BLOCK) as u64, (blocks * BLOCK) as u32);
        node.with(move |_, volume| async move { volume.read(offset, length).await.map(|_| ()) })
    };
    assert_eq!(read(0, BLOCKS).expect_err("two blocks are lost").kind, ErrorKind::Corrupt);
    assert_eq!(read(11, 1).expect_err("one of them").kind, ErrorKind::Corrupt);
    let offsets: Vec<u64> = node.engine().damaged_blocks().iter().map(|place| place.offset).collect();
    assert_eq!(offsets, [11 * BLOCK as u64, 30 * BLOCK as u64]);
    assert!(read(12, 18).is_ok());
    assert_eq!(scrub(&node).lost, 2);
    for bad in [11, 30] {
        node.write((bad * BLOCK) as u64, block(bad)).expect("write");
    }
    assert_eq!(scrub(&node).lost, 0, "they were written again");
    assert_eq!(node.engine().damaged_blocks(), []);
}

#[test]
fn a_lost_block_of_a_snapshot_is_the_snapshots() {
    let mut node = Node::new(2, 1, &[64], SIZE as u64);
    node.write(0, content(1, 0, BLOCKS * BLOCK)).expect("write");
    let id = SnapshotId::from_random(5);
    let new = quarry_engine::NewSnapshot { id, name: "s".to_owned(), locked_until_s: 0, set: None };
    let engine = node.engine();
    node.run(|_| async move { engine.create_snapshot(VOLUME, new).await }).expect("snapshot");
    node.write(0, content(2, 0, BLOCKS * BLOCK)).expect("write");
    node.close();
    node.reopen();
    let at = find(&node, node.disks[0], &block(3));
    node.world.rot(node.disks[0], at, 0);
    let lost = scrub(&node);
    assert_eq!(lost.lost_blocks.len(), 1);
    let place = LostPlace { volume: VolumeId(id.0), name: "one@s".to_owned(), offset: 3 * BLOCK as u64 };
    assert_eq!(lost.lost_blocks[0].place, Some(place));
    assert!(node.read(0, BLOCKS * BLOCK) == content(2, 0, BLOCKS * BLOCK));
}

#[test]
fn a_scrub_that_was_cut_off_goes_on_behind_what_it_has_read() {
    let mut node = Node::new(5, 2, &[64, 64], SIZE as u64);
    node.write(0, content(1, 0, BLOCKS * BLOCK)).expect("write");
    node.close();
    node.reopen();
    let whole = scrub(&node);
    let at = find(&node, node.disks[1], &block(7));
    node.world.rot(node.disks[1], at + 100, 3);
    let resume = |before: ScrubReport| {
        let engine = node.engine();
        node.run(|_| async move { engine.resume_scrub(before, ScrubTerms::default()).await })
    };
    // Everything was read: nothing is read again, and what was found before counts.
    let before = ScrubReport { ended_s: None, repaired: 5, ..whole.clone() };
    let rest = resume(before.clone());
    assert_eq!((rest.began_s, rest.chunks_done, rest.chunks), (whole.began_s, whole.chunks, whole.chunks));
    assert_eq!((rest.repaired, rest.bytes), (5, whole.bytes));
    assert!(rest.ended_s.is_some());
    // It was over: so it is.
    assert_eq!(resume(whole.clone()), ScrubReport { ..whole.clone() });
    // It has found something that has no good copy, which nobody has named: all is read again.
    let again = resume(ScrubReport { lost: 1, ..before });
    assert_eq!((again.repaired, again.lost, again.chunks_done), (1, 0, whole.chunks));
    assert!(again.bytes >= whole.bytes, "{again:?}");
}

/// Where the first disk has these bytes.
fn find_all(node: &Node, wanted: &[u8]) -> Vec<u64> {
    let mut disk = vec![0; 64 << 20];
    node.world.peek(node.disks[0], 0, &mut disk);
    let is_wanted = |at: &usize| disk[*at..].starts_with(wanted);
    (0..disk.len()).step_by(512).filter(is_wanted).map(|at| at as u64).collect()
}

/// Where nodes of maps lie.
fn nodes(node: &Node) -> Vec<u64> {
    find_all(node, &quarry_format::node::NODE_MAGIC.to_le_bytes())
}

fn is_bad(node: &Node, block: usize) -> bool {
    let at = (block * BLOCK) as u64;
    let read = node.with(move |_, volume| async move { volume.read(at, BLOCK as u32).await.map(|_| ()) });
    read.is_err_and(|error| error.kind == ErrorKind::Corrupt)
}

/// Blocks of a leaf.
const LEAF: usize = 128;

/// A pool with one copy, of whose map one node after the other is bad, leaves and what is above them.
#[test]
fn a_lost_part_of_a_map_that_is_written_to_stops_nobody() {
    let mut several = 0;
    for which in 0.. {
        let mut node = Node::new(6, 1, &[64], SIZE as u64);
        node.write(0, content(1, 0, SIZE)).expect("write");
        node.close();
        let Some(&lost) = nodes(&node).get(which) else { break };
        node.world.rot(node.disks[0], lost + 100, 5);
        node.reopen();
        let bad: Vec<usize> = (0..SIZE / BLOCK).step_by(LEAF).filter(|&block| is_bad(&node, block)).collect();
        let Some(&first) = bad.first() else { continue };
        several += usize::from(bad.len() > 1);
        node.write((first * BLOCK) as u64, block(0)).expect("it is taken");
        let settle = |node: &Node| {
            let engine = node.engine();
            node.run(|_| async move { engine.checkpoint().await }).expect("a checkpoint");
        };
        settle(&node);
        assert_eq!(node.engine().status().stopped, None);
        assert!(node.read((first * BLOCK) as u64, BLOCK) == block(0));
        assert!((1..LEAF).all(|block| is_bad(&node, first + block)), "nothing is made up");
        let named = node.engine().damaged_blocks();
        assert!(named.iter().any(|place| place.offset == ((first + 1) * BLOCK) as u64), "{named:?}");
        let report = scrub(&node);
        assert!(report.lost > 0 && report.lost_blocks.len() as u64 == report.lost, "{report:?}");
        let named: Vec<u64> = node.engine().damaged_blocks().iter().map(|place| place.offset).collect();
        assert!(named.contains(&(((first + 1) * BLOCK) as u64)), "a scrub does not forget it");
        assert!(!named.contains(&((first * BLOCK) as u64)), "that was written");
        let engine = node.engine();
        let verified = node.run(|_| async move { engine.verify().await }).expect("the rest can be verified");
        let [Finding::LostBlocks { volume: VOLUME, blocks }] = verified.findings[..] else {
            panic!("{:?}", verified.findings);
        };
        // Above leaves nobody knows how many each of them had.
        let expected = (bad.len() * LEAF - 1) as u64;
        assert!(blocks == expected || bad.len() > 1 && blocks.abs_diff(expected) < LEAF as u64, "{blocks}");
        // Also after a crash, and until somebody writes there or gives it up.
        node.kill();
        node.reopen();
        assert!(is_bad(&node, first + 1) && !is_bad(&node, first));
        let size = SIZE as u64;
        let given_up =
            node.with(move |_, volume| async move { volume.discard(0, size, WriteFlags::default()).await });
        given_up.expect("a discard");
        node.write(0, content(2, 0, SIZE)).expect("write");
        settle(&node);
        assert!(node.read(0, SIZE) == content(2, 0, SIZE));
        let engine = node.engine();
        node.run(|_| async move { engine.scrub(None).await });
        assert_eq!(node.engine().damaged_blocks(), []);
    }
    assert!(several > 0, "one of them was above leaves");
}

#[test]
fn a_volume_with_a_lost_part_of_its_map_goes_as_others_do() {
    let mut node = Node::new(6, 1, &[64], SIZE as u64);
    node.write(0, content(1, 0, SIZE)).expect("write");
    let new = |number| quarry_engine::NewSnapshot {
        id: SnapshotId::from_random(number),
        name: format!("s{number}"),
        locked_until_s: 0,
        set: None,
    };
    let engine = node.engine();
    node.run(|_| async move { engine.create_snapshot(VOLUME, new(5)).await }).expect("snapshot");
    node.write(0, content(2, 0, SIZE / 2)).expect("write");
    node.close();
    for lost in nodes(&node) {
        node.world.rot(node.disks[0], lost + 100, 5);
    }
    node.reopen();
    let freed = |node: &Node| {
        node.run(|env: Env| async move { env.clock.sleep(Duration::from_secs(60)).await });
        let freeing = node.engine().status().freeing;
        (freeing.snapshots, freeing.trees)
    };
    let engine = node.engine();
    node.run(|_| async move { engine.delete_snapshot(SnapshotId::from_random(5)).await }).expect("it goes");
    assert_eq!(freed(&node), (0, 0));
    let engine = node.engine();
    node.run(|_| async move { engine.delete_volume(VOLUME, true).await }).expect("it goes");
    assert_eq!(freed(&node), (0, 0));
}

/// What cannot be read *now* is not given up: it may be there again. That checkpoints fail meanwhile is said.
#[test]
fn a_part_of_a_map_that_cannot_be_read_now_is_waited_for() {
    let mut node = Node::new(6, 1, &[64], SIZE as u64);
    node.write(0, content(1, 0, SIZE)).expect("write");
    node.close();
    let mut all = nodes(&node).into_iter();
    node.reopen();
    let away = |node: &Node, at: u64| {
        (0..40).for_each(|_| {
            node.world.script_fault(node.disks[0], FaultKind::ReadError, Verb::Read, at..at + 512, 0);
        });
    };
    let bad = all.find_map(|at| {
        away(&node, at);
        (0..SIZE / BLOCK).step_by(LEAF).find(|block| {
            let at = (block * BLOCK) as u64;
            node.with(move |_, volume| async move { volume.read(at, BLOCK as u32).await.is_err() })
        })
    });
    let bad = bad.expect("a part of the map cannot be read");
    node.write((bad * BLOCK) as u64, block(0)).expect("it is taken");
    // Elsewhere writes go on until a checkpoint is due.
    let far = ((bad / LEAF + 1) * LEAF % (SIZE / BLOCK) * BLOCK) as u64;
    let refused = (0..4000).find_map(|_| node.write(far, block(1)).err());
    assert_eq!(refused.expect("no checkpoint can be written").kind, ErrorKind::Unavailable);
    let why = node.engine().status().stopped.expect("it is told");
    assert!(why.contains("keep failing") && why.contains("cannot be read now"), "{why}");
    node.run(|env: Env| async move { env.clock.sleep(Duration::from_secs(1000)).await });
    assert_eq!(node.engine().status().stopped, None);
    node.write(far, block(2)).expect("writes go on");
    assert_eq!(node.engine().damaged_blocks(), []);
    assert!(node.read(((bad + 1) * BLOCK) as u64, BLOCK) == content(1, ((bad + 1) * BLOCK) as u64, BLOCK));
}

/// Where the tail of a log is damaged, what follows is neither taken for what was never written nor served without it.
#[test]
fn a_batch_that_was_durable_and_is_bad_is_told() {
    let mut node = Node::new(6, 1, &[64], SIZE as u64);
    for number in 0..20 {
        node.write((number * BLOCK) as u64, block(number)).expect("write");
        node.flush().expect("flush");
    }
    let batches = find_all(&node, b"QRYBATCH");
    node.kill();
    let bad = batches[batches.len() - 10];
    node.world.rot(node.disks[0], bad + 40, 2);
    let refused = node.try_reopen().expect_err("ten writes that were flushed are missing");
    assert!(format!("{refused:?}").contains("Lost"), "{refused:?}");
    node.kill();
    // Bad data of such a batch is that block's alone.
    node.world.rot(node.disks[0], bad + 40, 2);
    let at = find(&node, node.disks[0], &block(12));
    node.world.rot(node.disks[0], at + 9, 2);
    node.reopen();
    for number in 0..20 {
        assert_eq!(is_bad(&node, number), number == 12, "block {number}");
    }
}

/// A copy of the tail whose data is bad must not come over the others when the log is opened.
#[test]
fn bad_data_of_a_durable_batch_is_mended_from_the_other_copy() {
    for bad in 0..2 {
        let mut node = Node::new(9, 2, &[64, 64], SIZE as u64);
        for number in 0..20 {
            node.write((number * BLOCK) as u64, block(number)).expect("write");
            node.flush().expect("flush");
        }
        node.kill();
        for number in [3, 12] {
            let at = find(&node, node.disks[bad], &block(number));
            node.world.rot(node.disks[bad], at + 9, 2);
        }
        node.reopen();
        assert!((0..20).all(|number| !is_bad(&node, number)));
    }
}
