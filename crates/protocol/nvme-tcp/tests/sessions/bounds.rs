//! What a session may hold, and that nobody suffers from another's host.

use std::time::Duration;

use quarry_nvme_wire::constants::io;
use quarry_nvme_wire::{CommandBuilder, Status};

use crate::support::host::*;
use crate::support::initiator::Data;
use crate::support::world::World;

const MIB: u64 = 1 << 20;

#[test]
fn a_queue_takes_no_more_commands_than_it_has_entries() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, MIB);
    let mut host = Host::with(&mut world, &Opening { entries: 16, ..Opening::default() });
    volume.held.set(true);
    (0..16).for_each(|_| _ = host.io.submit(ranged(io::READ, 1, 0, 1), Data::In(512)));
    host.io.turn(&mut world);
    assert_eq!((volume.waiting(), host.io.termination), (16, None));
    host.io.submit(ranged(io::READ, 1, 0, 1), Data::In(512));
    host.io.turn(&mut world);
    assert_eq!(host.io.termination, Some((2, 0)), "a command too many is an error of sequence");
    volume.release_all();
    world.run();
    assert!(host.io.wire.is_closed() && !host.admin.wire.is_closed());
}

#[test]
fn a_host_that_never_reads_holds_no_more_than_its_share() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 64 * MIB);
    let opening = Opening { entries: 256, ..Opening::default() };
    let (mut admin, answer) = Queue::open(&mut world, &Opening::default());
    admin.set_property(&mut world, 0x14, ENABLE);
    let mut dead = Host::open_io(&mut world, &opening, answer.result as u16, 1);
    let mut live = Host::open_io(&mut world, &opening, answer.result as u16, 2);
    volume.records.set(true);
    dead.wire.room.set(0);
    (0..200).for_each(|_| _ = dead.submit(ranged(io::READ, 1, 0, 2048), Data::In(1 << 20)));
    let output = dead.take_output();
    dead.wire.write(&output);
    world.run();
    assert_eq!(volume.calls.borrow().len(), 32, "32 MiB are in flight");
    assert_eq!(live.write(&mut world, 1, 0, Data::Out(vec![1; 1 << 20])).status, Status::SUCCESS);
    assert_eq!(live.read(&mut world, 1, 0, 8).data, vec![1; 4096]);
    dead.wire.room.set(usize::MAX);
    dead.turn(&mut world);
    assert!(!dead.is_busy(), "slow is not dead");
}

#[test]
fn transfers_that_never_come_hold_up_nobody() {
    let mut world = World::new(64 * MIB);
    world.volume(1, 64 * MIB);
    let opening = Opening { entries: 128, ..Opening::default() };
    let mut host = Host::with(&mut world, &opening);
    // R2Ts for more than the session may hold are asked for, and only some of them are answered.
    let writes: Vec<u16> = (0..100)
        .map(|_| host.io.submit(ranged(io::WRITE, 1, 0, 2048), Data::Out(vec![3; 1 << 20])))
        .collect();
    let output = host.io.take_output();
    host.io.wire.write(&output);
    world.run();
    // Small commands behind them pass, because their data is there.
    let output = {
        host.io.submit(ranged(io::WRITE, 1, 0, 8), Data::Capsule(vec![4; 4096]));
        host.io.take_output()
    };
    host.io.wire.write(&output);
    world.run();
    let mut other = Host::new(&mut world);
    assert_eq!(other.io.read(&mut world, 1, 0, 8).data, vec![4; 4096]);
    // Then the host sends all that it was asked for, and everything ends.
    host.io.turn(&mut world);
    assert!(writes.into_iter().all(|id| host.io.take_answer(id).unwrap().status == Status::SUCCESS));
}

#[test]
fn dead_hosts_are_cut_off_when_others_need_their_memory() {
    let mut world = World::new(4 * MIB);
    world.volume(1, 64 * MIB);
    let mut hosts: Vec<Host> = (0..6).map(|_| Host::new(&mut world)).collect();
    let mut live = hosts.pop().unwrap();
    for host in &mut hosts {
        host.io.wire.room.set(0);
        (0..20).for_each(|_| _ = host.io.submit(ranged(io::READ, 1, 0, 2048), Data::In(1 << 20)));
        let output = host.io.take_output();
        host.io.wire.write(&output);
    }
    world.run();
    world.pass(Duration::from_secs(10));
    assert_eq!(live.io.read(&mut world, 1, 0, 8).status, Status::SUCCESS, "a little is always there");
    let id = live.io.submit(ranged(io::READ, 1, 0, 2048), Data::In(1 << 20));
    live.io.turn(&mut world);
    world.pass(Duration::from_secs(60));
    live.io.turn(&mut world);
    assert_eq!(live.io.take_answer(id).unwrap().status, Status::SUCCESS);
}

#[test]
fn a_host_that_does_not_send_what_it_was_asked_for_is_cut_off() {
    let mut world = World::new(1 << 30);
    world.volume(1, MIB);
    let mut host = Host::new(&mut world);
    host.io.submit(ranged(io::WRITE, 1, 0, 64), Data::Out(vec![1; 32768]));
    let output = host.io.take_output();
    host.io.wire.write(&output);
    world.run();
    // As long as anything comes it is only slow.
    for _ in 0..4 {
        world.pass(Duration::from_secs(20));
        host.io.submit(ranged(io::WRITE_ZEROES, 1, 0, 1), Data::None);
        let output = host.io.take_output();
        host.io.wire.write(&output);
        world.run();
    }
    assert!(!host.io.wire.is_closed());
    world.pass(Duration::from_secs(61));
    assert!(host.io.wire.is_closed() && !host.admin.wire.is_closed());
}

#[test]
fn hosts_that_only_seem_alive_keep_no_memory_from_others() {
    let mut world = World::new(4 * MIB);
    world.volume(1, 64 * MIB);
    let mut hosts: Vec<Host> = (0..5).map(|_| Host::new(&mut world)).collect();
    let mut live = hosts.pop().unwrap();
    let send = |world: &mut World, host: &mut Host, command, data| {
        host.io.submit(command, data);
        let output = host.io.take_output();
        host.io.wire.write(&output);
        world.run();
    };
    // Each of them holds memory for data that it does not send, but goes on asking for other things.
    for host in &mut hosts {
        send(&mut world, host, ranged(io::WRITE, 1, 0, 2048), Data::Out(vec![1; 1 << 20]));
    }
    let id = live.io.submit(ranged(io::READ, 1, 0, 2048), Data::In(1 << 20));
    live.io.turn(&mut world);
    assert_eq!(live.io.take_answer(id), None, "there is no memory left");
    for _ in 0..6 {
        world.pass(Duration::from_secs(10));
        for host in &mut hosts {
            send(&mut world, host, ranged(io::WRITE_ZEROES, 1, 0, 8), Data::None);
        }
    }
    live.io.turn(&mut world);
    assert_eq!(live.io.take_answer(id).expect("their memory was taken").status, Status::SUCCESS);
}

#[test]
fn slow_data_is_not_cut_off() {
    let mut world = World::new(4 * MIB);
    world.volume(1, 64 * MIB);
    let mut slow = Host::new(&mut world);
    let opening = Opening { entries: 16, ..Opening::default() };
    let mut other = Host::with(&mut world, &opening);
    slow.io.piece_bytes = 64 << 10;
    let write = slow.io.submit(ranged(io::WRITE, 1, 0, 2048), Data::Out(vec![1; 1 << 20]));
    let output = slow.io.take_output();
    slow.io.wire.write(&output);
    world.run();
    let bytes = slow.io.wire.read();
    slow.io.receive(&bytes);
    let data = slow.io.take_output();
    // The others want more than there is, all the time.
    (0..8).for_each(|_| _ = other.io.submit(ranged(io::WRITE, 1, 0, 2048), Data::Out(vec![1; 1 << 20])));
    let output = other.io.take_output();
    other.io.wire.write(&output);
    for piece in data.chunks(64 << 10) {
        slow.io.wire.write(piece);
        world.pass(Duration::from_secs(10));
    }
    slow.io.turn(&mut world);
    assert_eq!(slow.io.take_answer(write).unwrap().status, Status::SUCCESS);
}

#[test]
fn what_commands_read_for_themselves_counts() {
    let copy = || {
        let mut range = vec![0; 32];
        range[16..18].copy_from_slice(&2047u16.to_le_bytes());
        range
    };
    let to = CommandBuilder::new(io::COPY, 0).namespace(1).double_dword(10, 4096).dword(12, 0);
    let table = [
        (ranged(io::VERIFY, 1, 0, 4096), Data::None, 32),
        (ranged(io::COMPARE, 1, 0, 2048), Data::Out(vec![0; 1 << 20]), 16),
        (to, Data::Out(copy()), 15),
        (to, Data::Capsule(copy()), 15),
        (ranged(io::COMPARE, 1, 0, 8), Data::Capsule(vec![0; 4096]), 64),
    ];
    for (index, (command, data, at_once)) in table.into_iter().enumerate() {
        let mut world = World::new(1 << 30);
        let volume = world.volume(1, 64 * MIB);
        let mut host = Host::with(&mut world, &Opening { entries: 128, ..Opening::default() });
        volume.held.set(true);
        let ids: Vec<u16> = (0..64).map(|_| host.io.submit(command, data.clone())).collect();
        host.io.turn(&mut world);
        assert_eq!(volume.waiting(), at_once, "32 MiB are in flight: {index}");
        volume.release_all();
        host.io.turn(&mut world);
        assert!(ids.into_iter().all(|id| host.io.take_answer(id).unwrap().status == Status::SUCCESS));
    }
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    let mut world = World::new(1 << 30);
    world.volume(1, MIB);
    let mut host = Host::with(&mut world, &Opening { entries: 32, ..Opening::default() });
    host.io.wire.room.set(0);
    (0..10_000).for_each(|_| _ = host.io.submit(ranged(io::WRITE_ZEROES, 1, 0, 8), Data::None));
    let output = host.io.take_output();
    host.io.wire.write(&output);
    world.run();
    assert!(host.io.wire.unreceived() > 9000 * 72 - (256 << 10), "the server stopped receiving");
    host.io.wire.room.set(usize::MAX);
    host.io.turn(&mut world);
    assert!(!host.io.is_busy());
}

#[test]
fn all_memory_comes_back() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 8 * MIB);
    let before = world.env.buffers.used_bytes();
    for round in 0..20 {
        let mut host = Host::new(&mut world);
        volume.held.set(round % 2 == 1);
        host.io.submit(ranged(io::WRITE, 1, 0, 8), Data::Capsule(vec![0; 4096]));
        host.io.submit(ranged(io::WRITE, 1, 0, 2048), Data::Out(vec![0; 1 << 20]));
        host.io.submit(ranged(io::READ, 1, 0, 2048), Data::In(1 << 20));
        let output = host.io.take_output();
        host.io.wire.write(&output);
        world.run();
        host.io.wire.close();
        host.admin.wire.close();
        volume.release_all();
        world.run();
    }
    assert!(world.exports.sessions().is_empty());
    assert_eq!(world.subsystem.controllers(), 0);
    let grown = world.env.buffers.used_bytes() - before;
    assert!(grown <= 2 * MIB as usize, "only blocks of the volume are left: {grown}");
}
