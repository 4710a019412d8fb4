//! Pools of disks and buckets: of which what is left is enough, whatever the rest was.

use quarry_device::DeviceClass;
use quarry_types::Protection;

use crate::node::Node;
use crate::tested::{SIZE, Tested};

fn tested(seed: u64, copies: u8, disks: &[u64], buckets: usize) -> Tested {
    let node = Node::with_buckets(seed, Protection::Copies(copies), (disks, buckets), SIZE as u64);
    let mut tested = Tested { node, model: vec![0; SIZE], version: seed };
    tested.fill();
    tested.scribble(40);
    tested.node.flush().expect("flush");
    // Checkpoints, moves and their commits.
    tested.settle();
    tested
}

fn lose(tested: &mut Tested, lost: usize) {
    tested.node.kill();
    tested.node.world.pull_disk(tested.node.disks[lost]);
    tested.node.reopen();
}

#[test]
fn a_bucket_alone_has_everything_that_was_on_a_disk_and_in_it() {
    for lost in [0, 1] {
        let mut tested = tested(70, 2, &[96, 96], 1);
        let classes = tested.node.engine().pool().shared.devices();
        assert_eq!(classes[1].class, DeviceClass::Object, "{classes:?}");
        lose(&mut tested, lost);
        tested.check();
        tested.scribble(20);
        tested.crash_and_check();
    }
}

#[test]
fn buckets_are_left_with_everything_when_all_disks_have_gone() {
    let mut tested = tested(71, 2, &[48, 48, 96, 96], 2);
    assert_eq!(tested.node.engine().pool().shared.tiers().len(), 2);
    for device in [0, 1] {
        tested.leave(device).expect("the others have room");
        tested.settle();
        tested.remove(device).expect("nothing lies on it");
        tested.node.kill();
        tested.node.reopen();
        tested.check();
    }
    tested.scribble(20);
    tested.crash_and_check();
    lose(&mut tested, 2);
    tested.check();
}

#[test]
fn a_disk_that_is_missing_is_named_by_the_bucket_that_is_left() {
    let mut tested = tested(72, 1, &[96, 96], 1);
    tested.node.kill();
    tested.node.world.pull_disk(tested.node.disks[0]);
    let refused = tested.node.try_reopen().expect_err("chunks lie on it alone").to_string();
    assert!(refused.contains("/dev/0"), "{refused}");
}
