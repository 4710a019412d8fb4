//! What becomes of commands whose namespace was taken away while they waited for their data.

use futures::FutureExt;
use quarry_nvme_wire::constants::io;
use quarry_nvme_wire::{CommandBuilder, Status};
use quarry_target::{Audience, Mapping};
use quarry_volume::Volume;

use crate::support::host::*;
use crate::support::initiator::Data;
use crate::support::volume::MemoryVolume;
use crate::support::world::World;

const MIB: u64 = 1 << 20;

/// Sends what is to be sent, and takes in no answer: the host is slow to send the data that it is asked for.
fn send_without_data(world: &mut World, host: &mut Host) {
    let output = host.io.take_output();
    host.io.wire.write(&output);
    world.run();
}

fn remap(world: &World, change: impl FnOnce(&mut Mapping)) {
    let mut mapping = (*world.access.mapping("volume-1").expect("it is mapped")).clone();
    world.access.unmap("volume-1").expect("it is mapped");
    change(&mut mapping);
    world.access.map(mapping).expect("a free number");
}

type Meanwhile = fn(&mut World, &MemoryVolume);

const WITHDRAWALS: [(Meanwhile, Status); 4] = [
    (|world, _| world.access.unmap("volume-1").unwrap(), Status::INVALID_NAMESPACE),
    (|world, _| remap(world, |mapping| mapping.read_only = true), Status::WRITE_PROTECTED),
    (
        |world, _| remap(world, |mapping| mapping.audience = Audience::Hosts(vec!["other".to_owned()])),
        Status::INVALID_NAMESPACE,
    ),
    (
        |world, volume| {
            world.access.unmap("volume-1").unwrap();
            world.run();
            world.map(volume, 1, Audience::Everyone);
        },
        Status::INVALID_NAMESPACE,
    ),
];

#[test]
fn data_that_comes_after_its_namespace_was_withdrawn_is_not_written() {
    for (index, (meanwhile, status)) in WITHDRAWALS.into_iter().enumerate() {
        let mut world = World::new(1 << 30);
        let volume = world.volume(1, 8 * MIB);
        let mut host = Host::new(&mut world);
        let write = host.io.submit(ranged(io::WRITE, 1, 0, 8), Data::Out(vec![9; 4096]));
        send_without_data(&mut world, &mut host);
        meanwhile(&mut world, &volume);
        host.io.turn(&mut world);
        assert_eq!(host.io.take_answer(write).unwrap().status, status, "{index}");
        assert_eq!(volume.content(0, 4096), vec![0; 4096], "{index}");
    }
}

#[test]
fn a_fused_pair_that_waited_for_data_finds_that_its_namespace_was_withdrawn() {
    for (index, (meanwhile, status)) in WITHDRAWALS.into_iter().enumerate() {
        // The data of either half may be the late one.
        for late in [1, 2] {
            let mut world = World::new(1 << 30);
            let volume = world.volume(1, 8 * MIB);
            let mut host = Host::new(&mut world);
            let data = |half, byte| match half == late {
                true => Data::Out(vec![byte; 512]),
                false => Data::Capsule(vec![byte; 512]),
            };
            let compare = host.io.submit(ranged(io::COMPARE, 1, 0, 1).fuse(1), data(1, 0));
            let write = host.io.submit(ranged(io::WRITE, 1, 0, 1).fuse(2), data(2, 9));
            send_without_data(&mut world, &mut host);
            meanwhile(&mut world, &volume);
            host.io.turn(&mut world);
            let mut ended = [compare, write].map(|id| host.io.take_answer(id).unwrap().status);
            ended.sort_by_key(|status| *status != Status::ABORTED_FAILED_FUSED);
            assert_eq!(ended, [Status::ABORTED_FAILED_FUSED, status], "{index}, {late}");
            assert_eq!(volume.content(0, 512), vec![0; 512], "{index}, {late}");
        }
    }
}

#[test]
fn a_copy_ends_before_its_next_step_when_its_namespace_is_withdrawn() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 64 * MIB);
    let mut host = Host::new(&mut world);
    let blocks = (4 * MIB / 512) as u16;
    let mut range = vec![0; 32];
    range[16..18].copy_from_slice(&(blocks - 1).to_le_bytes());
    volume.held.set(true);
    volume.records.set(true);
    let command = CommandBuilder::new(io::COPY, 0).namespace(1).double_dword(10, 32 * MIB / 512);
    let copy = host.io.submit(command, Data::Capsule(range));
    host.io.turn(&mut world);
    volume.release(0);
    world.run();
    assert_eq!(volume.waiting(), 1, "it has read, and writes");
    world.access.unmap("volume-1").unwrap();
    volume.release_all();
    host.io.turn(&mut world);
    assert_eq!(host.io.take_answer(copy).unwrap().status, Status::INVALID_NAMESPACE);
    assert_eq!(volume.calls.borrow().iter().filter(|(verb, ..)| *verb == "write").count(), 1);
}

#[test]
fn what_is_under_way_on_a_namespace_that_was_withdrawn_can_be_waited_for() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 8 * MIB);
    let mut host = Host::new(&mut world);
    volume.held.set(true);
    let write = host.io.submit(ranged(io::WRITE, 1, 0, 1), Data::Capsule(vec![9; 512]));
    host.io.turn(&mut world);
    world.access.unmap("volume-1").unwrap();
    let settled = world.reservations.of(volume.info().id).settle();
    world.run();
    assert!(settled.wait().now_or_never().is_none(), "a write is under way");
    volume.release_all();
    host.io.turn(&mut world);
    assert!(settled.wait().now_or_never().is_some());
    assert_eq!(host.io.take_answer(write).unwrap().status, Status::SUCCESS);
}
