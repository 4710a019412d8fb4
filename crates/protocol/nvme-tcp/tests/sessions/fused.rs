//! Compare and Write as one.

use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::io;

use crate::support::host::*;
use crate::support::initiator::Data;
use crate::support::world::World;

const FIRST: u8 = 1;
const SECOND: u8 = 2;

/// Sends both halves; how they end.
fn exchange(
    world: &mut World,
    host: &mut Host,
    (expected, data): (Data, Data),
    (block, second_block): (u64, u64),
) -> (Status, Status) {
    let blocks = |data: &Data| match data {
        Data::Capsule(bytes) | Data::Out(bytes) => (bytes.len() / 512) as u32,
        _ => panic!("both halves bring data"),
    };
    let (first, second) = (blocks(&expected), blocks(&data));
    let compare = host.io.submit(ranged(io::COMPARE, 1, block, first).fuse(FIRST), expected);
    let write = host.io.submit(ranged(io::WRITE, 1, second_block, second).fuse(SECOND), data);
    host.io.turn(world);
    statuses(host, compare, write)
}

fn statuses(host: &mut Host, compare: u16, write: u16) -> (Status, Status) {
    let mut status = |id| host.io.take_answer(id).expect("an answer").status;
    (status(compare), status(write))
}

#[test]
fn what_is_as_expected_is_replaced() {
    for by_transfer in [false, true] {
        let mut world = World::new(1 << 30);
        let volume = world.volume(1, 1 << 20);
        let mut host = Host::new(&mut world);
        let data = |byte| match by_transfer {
            false => Data::Capsule(vec![byte; 1024]),
            true => Data::Out(vec![byte; 1024]),
        };
        let done = exchange(&mut world, &mut host, (data(0), data(1)), (4, 4));
        assert_eq!(done, (Status::SUCCESS, Status::SUCCESS));
        let order = &host.io.order[host.io.order.len() - 2..];
        assert!(order[0] < order[1], "the first is answered first");
        assert_eq!(volume.content(2048, 1024), vec![1; 1024]);
        let done = exchange(&mut world, &mut host, (data(0), data(2)), (4, 4));
        assert_eq!(done, (Status::COMPARE_FAILURE, Status::ABORTED_FAILED_FUSED));
        assert_eq!(volume.content(2048, 1024), vec![1; 1024], "nothing is written");
    }
}

#[test]
fn halves_that_do_not_fit_do_nothing() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 1 << 20);
    let mut host = Host::new(&mut world);
    let capsule = |bytes| Data::Capsule(vec![0; bytes]);
    volume.records.set(true);
    // Other blocks, another length.
    let other = exchange(&mut world, &mut host, (capsule(512), capsule(512)), (0, 1));
    assert_eq!(other, (Status::INVALID_FIELD, Status::INVALID_FIELD));
    let order = &host.io.order[host.io.order.len() - 2..];
    assert!(order[0] < order[1], "the first is answered first");
    let longer = exchange(&mut world, &mut host, (capsule(512), capsule(1024)), (0, 0));
    assert_eq!(longer, (Status::INVALID_FIELD, Status::INVALID_FIELD));
    // A first half that is wrong by itself.
    let beyond = exchange(&mut world, &mut host, (capsule(512), capsule(512)), (1 << 30, 1 << 30));
    assert_eq!(beyond, (Status::LBA_OUT_OF_RANGE, Status::ABORTED_FAILED_FUSED));
    let large = || Data::Out(vec![0; 128 << 10]);
    let too_large = exchange(&mut world, &mut host, (large(), large()), (0, 0));
    assert_eq!(too_large, (Status::ATOMIC_UNIT_EXCEEDED, Status::ABORTED_FAILED_FUSED));
    assert!(volume.calls.borrow().is_empty());
}

#[test]
fn a_half_alone_is_aborted() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 1 << 20);
    let mut host = Host::new(&mut world);
    let write = ranged(io::WRITE, 1, 0, 1).fuse(SECOND);
    let answer = host.io.ask(&mut world, write, Data::Capsule(vec![1; 512]));
    assert_eq!(answer.status, Status::ABORTED_MISSING_FUSED);
    let compare = host.io.submit(ranged(io::COMPARE, 1, 0, 1).fuse(FIRST), Data::Capsule(vec![0; 512]));
    host.io.turn(&mut world);
    assert!(host.io.is_busy(), "it waits for its neighbour");
    assert_eq!(host.io.read(&mut world, 1, 0, 1).status, Status::SUCCESS);
    assert_eq!(host.io.take_answer(compare).unwrap().status, Status::ABORTED_MISSING_FUSED);
    // Nor does one that waits hold its queue.
    host.io.submit(ranged(io::COMPARE, 1, 0, 1).fuse(FIRST), Data::Capsule(vec![0; 512]));
    host.io.turn(&mut world);
    host.io.wire.close();
    world.run();
    assert!(host.io.wire.is_closed());
    assert_eq!(volume.content(0, 512), vec![0; 512]);
}

#[test]
fn a_damaged_half_fails_both() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 1 << 20);
    let mut host = Host::with(&mut world, &Opening { link: DIGESTS, ..Opening::default() });
    let compare = host.io.submit(ranged(io::COMPARE, 1, 0, 1).fuse(FIRST), Data::Capsule(vec![0; 512]));
    host.io.damages = true;
    let write = host.io.submit(ranged(io::WRITE, 1, 0, 1).fuse(SECOND), Data::Capsule(vec![1; 512]));
    host.io.turn(&mut world);
    assert_eq!(
        statuses(&mut host, compare, write),
        (Status::ABORTED_FAILED_FUSED, Status::TRANSIENT_TRANSPORT_ERROR)
    );
    assert_eq!(volume.content(0, 512), vec![0; 512]);
}
