//! Closing, dying, losing power, losing a device: what is there afterwards.

use quarry_volume::Volume;

use crate::node::{Chance, Node, VOLUME, content};

const SIZE: usize = 8 << 20;

/// Writes at random places; returns what the volume then holds.
fn scribble(node: &Node, seed: u64, writes: u64, model: &mut [u8]) {
    let chance = Chance::new(seed);
    for version in 0..writes {
        let offset = chance.below(SIZE as u64 / 512) as usize * 512;
        let length = ((1 + chance.below(200) as usize) * 512).min(SIZE - offset);
        let bytes = content(seed * 1000 + version, offset as u64, length);
        model[offset..offset + length].copy_from_slice(&bytes);
        node.write(offset as u64, bytes).expect("write");
    }
}

fn check(node: &Node, model: &[u8]) {
    assert_eq!(node.volume().info().size_bytes, model.len() as u64);
    assert!(node.read(0, model.len()) == model);
}

#[test]
fn a_closed_pool_opens_without_replay() {
    for (copies, disks) in [(1, &[64][..]), (2, &[64, 64, 40]), (3, &[64, 64, 64])] {
        let mut node = Node::new(u64::from(copies), copies, disks, SIZE as u64);
        let mut model = vec![0; SIZE];
        for round in 0..3 {
            scribble(&node, round + 1, 40, &mut model);
            node.close();
            node.reopen();
            // The nodes that the last checkpoint wrote lie behind its position.
            assert!(node.engine().status().replayed_batches <= 3);
            check(&node, &model);
        }
    }
}

#[test]
fn a_killed_process_loses_nothing() {
    for copies in [1, 2] {
        let mut node = Node::new(u64::from(copies), copies, &[64, 64], SIZE as u64);
        let mut model = vec![0; SIZE];
        for round in 0..4 {
            scribble(&node, round + 1, 40, &mut model);
            node.kill();
            node.reopen();
            check(&node, &model);
        }
    }
}

#[test]
fn what_was_flushed_survives_power_loss() {
    for copies in [1, 2] {
        let mut node = Node::new(u64::from(copies) + 10, copies, &[64, 64], SIZE as u64);
        let mut model = vec![0; SIZE];
        for round in 0..4 {
            scribble(&node, round + 1, 40, &mut model);
            node.flush().expect("flush");
            node.power_fail();
            node.reopen();
            check(&node, &model);
        }
    }
}

#[test]
fn a_pool_with_two_copies_opens_without_a_device() {
    let mut node = Node::new(20, 2, &[64, 64, 64], SIZE as u64);
    let mut model = vec![0; SIZE];
    scribble(&node, 1, 60, &mut model);
    node.kill();
    node.world.pull_disk(node.disks[1]);
    node.reopen();
    check(&node, &model);
    scribble(&node, 2, 60, &mut model);
    check(&node, &model);
    node.kill();
    node.world.restore_disk(node.disks[1], true);
    node.reopen();
    check(&node, &model);
}

#[test]
fn a_pool_with_one_copy_refuses_to_open_without_a_device() {
    let mut node = Node::new(21, 1, &[64, 64], SIZE as u64);
    let mut model = vec![0; SIZE];
    scribble(&node, 1, 60, &mut model);
    node.kill();
    for index in [0, 1] {
        node.world.pull_disk(node.disks[index]);
        assert!(node.try_reopen().is_err(), "without disk {index}");
        node.kill();
        node.world.restore_disk(node.disks[index], false);
    }
    node.reopen();
    check(&node, &model);
}

#[test]
fn a_device_that_fails_under_load_is_not_noticed_by_the_host() {
    let node = Node::new(22, 2, &[64, 64], SIZE as u64);
    let mut model = vec![0; SIZE];
    scribble(&node, 1, 30, &mut model);
    node.world.fail_disk(node.disks[0]);
    check(&node, &model);
    scribble(&node, 2, 30, &mut model);
    node.flush().expect("flush");
    check(&node, &model);
}

#[test]
fn deleted_volumes_stay_deleted() {
    let mut node = Node::new(23, 1, &[64], SIZE as u64);
    let mut model = vec![0; SIZE];
    scribble(&node, 1, 60, &mut model);
    let engine = node.engine();
    let before = engine.status().live_bytes;
    node.run(|_| async move { engine.delete_volume(VOLUME, false).await }).expect("delete");
    node.power_fail();
    node.reopen();
    assert!(node.engine().volumes().is_empty());
    let engine = node.engine();
    node.run(|_| async move { engine.settle_space(std::time::Duration::from_secs(9)).await })
        .expect("settle");
    assert!(before > 0);
    assert_eq!(node.engine().status().live_bytes, 0);
}
