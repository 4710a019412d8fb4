//! Reservations: who may do what, who is told, and what waits for what.

use quarry_nvme_wire::constants::{admin, feature, io, log};
use quarry_nvme_wire::{CommandBuilder, Status};
use quarry_target::{Audience, Host as Known};

use crate::support::host::*;
use crate::support::initiator::{Answer, Data};
use crate::support::world::World;

const MIB: u64 = 1 << 20;

fn opening(number: u8) -> Opening<'static> {
    Opening { host_id: [number; 16], ..Opening::default() }
}

fn keys(keys: &[u64]) -> Data {
    Data::Capsule(keys.iter().flat_map(|key| key.to_le_bytes()).collect())
}

fn command(opcode: u8, ten: u32) -> CommandBuilder {
    CommandBuilder::new(opcode, 0).namespace(1).dword(10, ten)
}

fn register(world: &mut World, host: &mut Host, key: u64) -> Status {
    host.io.ask(world, command(io::RESERVATION_REGISTER, 0), keys(&[0, key])).status
}

fn acquire(world: &mut World, host: &mut Host, action: u32, kind: u32, current: u64, victim: u64) -> Status {
    host.io.ask(world, command(io::RESERVATION_ACQUIRE, action | kind << 8), keys(&[current, victim])).status
}

fn release(world: &mut World, host: &mut Host, action: u32, kind: u32, key: u64) -> Status {
    host.io.ask(world, command(io::RESERVATION_RELEASE, action | kind << 8), keys(&[key])).status
}

fn report(world: &mut World, host: &mut Host) -> Answer {
    host.io.ask(world, command(io::RESERVATION_REPORT, 255).dword(11, 1), Data::In(1024))
}

fn read(world: &mut World, host: &mut Host) -> Status {
    host.io.read(world, 1, 0, 8).status
}

fn write(world: &mut World, host: &mut Host) -> Status {
    host.io.write(world, 1, 0, Data::Capsule(vec![1; 4096])).status
}

/// The holder, a registrant and somebody else.
fn hosts(world: &mut World) -> [Host; 3] {
    let mut hosts = [1, 2, 3].map(|number| Host::with(world, &opening(number)));
    assert_eq!(register(world, &mut hosts[0], 0x11), Status::SUCCESS);
    assert_eq!(register(world, &mut hosts[1], 0x22), Status::SUCCESS);
    hosts
}

#[test]
fn every_type_keeps_out_whom_it_says() {
    let (yes, no) = (Status::SUCCESS, Status::RESERVATION_CONFLICT);
    // Of the holder, a registrant and somebody else: reads and writes.
    let table = [
        (1, [yes, yes, yes], [yes, no, no]),
        (2, [yes, no, no], [yes, no, no]),
        (3, [yes, yes, yes], [yes, yes, no]),
        (4, [yes, yes, no], [yes, yes, no]),
        (5, [yes, yes, yes], [yes, yes, no]),
        (6, [yes, yes, no], [yes, yes, no]),
    ];
    for (kind, reads, writes) in table {
        let mut world = World::new(1 << 30);
        world.volume(1, 8 * MIB);
        let mut hosts = hosts(&mut world);
        assert_eq!(acquire(&mut world, &mut hosts[0], 0, kind, 0x11, 0), Status::SUCCESS);
        for (index, host) in hosts.iter_mut().enumerate() {
            assert_eq!(read(&mut world, host), reads[index], "type {kind}, host {index} reads");
            assert_eq!(write(&mut world, host), writes[index], "type {kind}, host {index} writes");
            let zeroes = ranged(io::WRITE_ZEROES, 1, 0, 8);
            assert_eq!(host.io.status(&mut world, zeroes), writes[index]);
            assert_eq!(host.io.status(&mut world, ranged(io::VERIFY, 1, 0, 8)), reads[index]);
        }
        assert_eq!(release(&mut world, &mut hosts[0], 0, kind, 0x11), Status::SUCCESS);
        assert_eq!(write(&mut world, &mut hosts[2]), Status::SUCCESS, "type {kind} is released");
    }
}

#[test]
fn registering_follows_its_keys() {
    let mut world = World::new(1 << 30);
    world.volume(1, 8 * MIB);
    let mut host = Host::with(&mut world, &opening(1));
    let conflict = Status::RESERVATION_CONFLICT;
    const IGNORE: u32 = 1 << 3;
    let table: [(u32, [u64; 2], Status); 16] = [
        (0, [0, 0], Status::INVALID_FIELD),
        (1, [5, 0], conflict),
        (2, [5, 6], conflict),
        (0, [0, 5], Status::SUCCESS),
        (0, [0, 5], Status::SUCCESS),
        (0, [0, 6], conflict),
        (2, [4, 6], conflict),
        (2, [5, 6], Status::SUCCESS),
        (2 | IGNORE, [99, 7], Status::SUCCESS),
        (1, [6, 0], conflict),
        (1, [7, 0], Status::SUCCESS),
        (1 | IGNORE, [7, 0], conflict),
        (2 | IGNORE, [99, 8], Status::SUCCESS),
        (IGNORE, [99, 9], Status::SUCCESS),
        (0, [0, 8], conflict),
        (1 | IGNORE, [99, 0], Status::SUCCESS),
    ];
    for (index, (ten, said, status)) in table.into_iter().enumerate() {
        let answer = host.io.ask(&mut world, command(io::RESERVATION_REGISTER, ten), keys(&said));
        assert_eq!(answer.status, status, "{index}");
    }
    let malformed = [
        (io::RESERVATION_REGISTER, 3, 16),
        (io::RESERVATION_REGISTER, 1 << 30, 16),
        (io::RESERVATION_ACQUIRE, 3, 16),
        (io::RESERVATION_ACQUIRE, 7 << 8, 16),
        (io::RESERVATION_ACQUIRE, 1 << 3 | 1 << 8, 16),
        (io::RESERVATION_RELEASE, 2 | 1 << 8, 8),
    ];
    for (opcode, ten, bytes) in malformed {
        let answer = host.io.ask(&mut world, command(opcode, ten), Data::Capsule(vec![0; bytes]));
        assert_eq!(answer.status, Status::INVALID_FIELD, "{opcode:#x} {ten:#x}");
    }
}

#[test]
fn a_reservation_is_held_by_its_registrant_alone() {
    let mut world = World::new(1 << 30);
    world.volume(1, 8 * MIB);
    let mut hosts = hosts(&mut world);
    let conflict = Status::RESERVATION_CONFLICT;
    assert_eq!(acquire(&mut world, &mut hosts[2], 0, 1, 0x33, 0), conflict, "not registered");
    assert_eq!(acquire(&mut world, &mut hosts[0], 0, 1, 0x99, 0), conflict, "another key");
    assert_eq!(acquire(&mut world, &mut hosts[0], 0, 1, 0x11, 0), Status::SUCCESS);
    assert_eq!(acquire(&mut world, &mut hosts[1], 0, 1, 0x22, 0), conflict);
    assert_eq!(release(&mut world, &mut hosts[0], 0, 2, 0x11), Status::INVALID_FIELD, "another type");
    assert_eq!(release(&mut world, &mut hosts[1], 0, 1, 0x22), Status::SUCCESS, "nothing to release");
    assert_eq!(write(&mut world, &mut hosts[1]), conflict);
    let page = report(&mut world, &mut hosts[2]).data;
    assert_eq!((page[4], page[5], page[9]), (1, 2, 0));
    assert_eq!((page[64 + 2], page[64 + 8], page[64 + 16]), (1, 0x11, 1));
    assert_eq!((page[128 + 2], page[128 + 8], page[128 + 16]), (0, 0x22, 2));
    let short = command(io::RESERVATION_REPORT, 15);
    assert_eq!(hosts[0].io.ask(&mut world, short, Data::In(64)).status, Status::HOST_ID_INCONSISTENT);
    assert_eq!(release(&mut world, &mut hosts[1], 1, 0, 0x22), Status::SUCCESS, "cleared");
    assert_eq!(write(&mut world, &mut hosts[2]), Status::SUCCESS);
    assert_eq!(report(&mut world, &mut hosts[2]).data[5], 0);
}

#[test]
fn those_who_are_preempted_are_told() {
    let mut world = World::new(1 << 30);
    world.volume(1, 8 * MIB);
    let mut hosts = hosts(&mut world);
    assert_eq!(acquire(&mut world, &mut hosts[0], 0, 1, 0x11, 0), Status::SUCCESS);
    let request = CommandBuilder::new(admin::ASYNC_EVENT_REQUEST, 0);
    let waiting = hosts[0].admin.submit(request, Data::None);
    hosts[0].admin.turn(&mut world);
    assert_eq!(acquire(&mut world, &mut hosts[1], 1, 2, 0x22, 0x11), Status::SUCCESS);
    hosts[0].admin.turn(&mut world);
    assert_eq!(hosts[0].admin.take_answer(waiting).unwrap().result, 0x80_00_06);
    let page = hosts[0].admin.log(&mut world, log::RESERVATIONS, 64, 0, false).data;
    assert_eq!((page[0], page[8], page[9], page[12]), (1, 1, 0, 1), "registration preempted, namespace 1");
    assert_eq!(hosts[0].admin.log(&mut world, log::RESERVATIONS, 64, 0, false).data, vec![0; 64]);
    assert_eq!(read(&mut world, &mut hosts[0]), Status::RESERVATION_CONFLICT);
    assert_eq!(write(&mut world, &mut hosts[1]), Status::SUCCESS);
    // What is masked is not told.
    assert_eq!(register(&mut world, &mut hosts[0], 0x11), Status::SUCCESS);
    let mask = CommandBuilder::new(admin::SET_FEATURES, 0)
        .namespace(1)
        .dword(10, feature::RESERVATION_MASK.into())
        .dword(11, 1 << 1 | 1 << 3);
    assert_eq!(hosts[0].admin.status(&mut world, mask), Status::SUCCESS);
    let get = CommandBuilder::new(admin::GET_FEATURES, 0).namespace(1);
    let get = get.dword(10, feature::RESERVATION_MASK.into());
    assert_eq!(hosts[0].admin.ask(&mut world, get, Data::None).result, 1 << 1 | 1 << 3);
    let waiting = hosts[0].admin.submit(request, Data::None);
    assert_eq!(acquire(&mut world, &mut hosts[1], 1, 2, 0x22, 0x11), Status::SUCCESS);
    hosts[0].admin.turn(&mut world);
    assert_eq!(hosts[0].admin.take_answer(waiting), None);
}

#[test]
fn preempt_and_abort_waits_for_what_is_under_way() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 8 * MIB);
    let mut hosts = hosts(&mut world);
    assert_eq!(acquire(&mut world, &mut hosts[0], 0, 3, 0x11, 0), Status::SUCCESS);
    volume.held.set(true);
    let begun = hosts[0].io.submit(ranged(io::WRITE, 1, 0, 1), Data::Capsule(vec![9; 512]));
    hosts[0].io.turn(&mut world);
    // Another write has been asked for its data, which is on its way for a long time.
    let late = hosts[0].io.submit(ranged(io::WRITE, 1, 8, 1), Data::Out(vec![9; 512]));
    let output = hosts[0].io.take_output();
    hosts[0].io.wire.write(&output);
    world.run();
    let preempt = command(io::RESERVATION_ACQUIRE, 2 | 3 << 8);
    let preempt = hosts[1].io.submit(preempt, keys(&[0x22, 0x11]));
    hosts[1].io.turn(&mut world);
    assert_eq!(hosts[1].io.take_answer(preempt), None, "a write of the other one is under way");
    volume.release_all();
    hosts[0].io.turn(&mut world);
    hosts[1].io.turn(&mut world);
    assert_eq!(hosts[1].io.take_answer(preempt).unwrap().status, Status::SUCCESS);
    assert_eq!(hosts[0].io.take_answer(begun).unwrap().status, Status::SUCCESS);
    assert_eq!(hosts[0].io.take_answer(late).unwrap().status, Status::RESERVATION_CONFLICT);
    assert_eq!((volume.content(0, 1), volume.content(4096, 1)), (vec![9], vec![0]));
}

#[test]
fn preempt_and_abort_waits_also_for_what_the_host_sees_no_more() {
    for renumbered in [false, true] {
        let mut world = World::new(1 << 30);
        let volume = world.volume(1, 8 * MIB);
        let mut hosts = hosts(&mut world);
        volume.held.set(true);
        let begun = hosts[0].io.submit(ranged(io::WRITE, 1, 0, 1), Data::Capsule(vec![9; 512]));
        hosts[0].io.turn(&mut world);
        // The preempting host keeps what it sees; a queue that is not asked for anything does not look again.
        let preempt = command(io::RESERVATION_ACQUIRE, 2 | 3 << 8);
        let number = if renumbered { 2 } else { 1 };
        world.access.unmap("volume-1").unwrap();
        if renumbered {
            world.map(&volume, number, Audience::Everyone);
        } else {
            let known = Known {
                name: "second".to_owned(),
                initiators: vec!["nqn.second".to_owned()],
                networks: Vec::new(),
                chap: None,
            };
            world.access.set_host(known).unwrap();
            world.map(&volume, number, Audience::Hosts(vec!["second".to_owned()]));
        }
        world.run();
        let opening = Opening { host: "nqn.second", host_id: [9; 16], ..Opening::default() };
        let mut other = Host::with(&mut world, &opening);
        let register = command(io::RESERVATION_REGISTER, 0).namespace(number);
        assert_eq!(other.io.ask(&mut world, register, keys(&[0, 0x99])).status, Status::SUCCESS);
        let preempt = other.io.submit(preempt.namespace(number), keys(&[0x99, 0x11]));
        other.io.turn(&mut world);
        assert_eq!(other.io.take_answer(preempt), None, "a write of the other one is under way");
        volume.release_all();
        world.run();
        hosts[0].io.turn(&mut world);
        other.io.turn(&mut world);
        assert_eq!(other.io.take_answer(preempt).unwrap().status, Status::SUCCESS);
        assert_eq!(hosts[0].io.take_answer(begun).unwrap().status, Status::SUCCESS);
    }
}

#[test]
fn who_has_no_identifier_reserves_nothing() {
    let mut world = World::new(1 << 30);
    world.volume(1, 8 * MIB);
    let mut host = Host::with(&mut world, &opening(0));
    assert_eq!(register(&mut world, &mut host, 0x11).code(), 0x27, "host identifier not initialized");
    assert_eq!(acquire(&mut world, &mut host, 0, 1, 0x11, 0).code(), 0x27);
    assert_eq!(release(&mut world, &mut host, 0, 1, 0x11).code(), 0x27);
    assert_eq!(report(&mut world, &mut host).status.code(), 0x27);
    assert_eq!(write(&mut world, &mut host), Status::SUCCESS);
}

#[test]
fn a_release_may_bring_more_than_its_key() {
    let mut world = World::new(1 << 30);
    world.volume(1, 8 * MIB);
    let mut hosts = hosts(&mut world);
    assert_eq!(acquire(&mut world, &mut hosts[0], 0, 1, 0x11, 0), Status::SUCCESS);
    let table = [(1, Status::SUCCESS), (2, Status::SUCCESS), (3, Status::SGL_LENGTH)];
    for (count, status) in table {
        let said = keys(&[0x11, 0, 0][..count]);
        let answer = hosts[0].io.ask(&mut world, command(io::RESERVATION_RELEASE, 1 << 8), said);
        assert_eq!(answer.status, status, "{count} keys");
    }
    assert_eq!(report(&mut world, &mut hosts[0]).data[4], 0, "released");
    assert_eq!(hosts[0].admin.identify(&mut world, 0, 1).data[31], 0xFE, "nothing is kept here");
    assert_eq!(hosts[0].admin.identify(&mut world, 8, 1).data[2], 0xFE);
}

#[test]
fn half_a_fused_pair_holds_up_nobody_and_keeps_no_right() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 8 * MIB);
    let mut hosts = hosts(&mut world);
    assert_eq!(acquire(&mut world, &mut hosts[0], 0, 3, 0x11, 0), Status::SUCCESS);
    let compare = ranged(io::COMPARE, 1, 0, 1).fuse(1);
    let compare = hosts[0].io.submit(compare, Data::Capsule(vec![0; 512]));
    hosts[0].io.turn(&mut world);
    // The second half was admitted, but its data has not come.
    let write = hosts[0].io.submit(ranged(io::WRITE, 1, 0, 1).fuse(2), Data::Out(vec![9; 512]));
    let output = hosts[0].io.take_output();
    hosts[0].io.wire.write(&output);
    world.run();
    assert_eq!(acquire(&mut world, &mut hosts[1], 2, 3, 0x22, 0x11), Status::SUCCESS, "it waits for nobody");
    hosts[0].io.turn(&mut world);
    let mut status = |id| hosts[0].io.take_answer(id).unwrap().status;
    assert_eq!(status(write), Status::RESERVATION_CONFLICT);
    assert_eq!(status(compare), Status::ABORTED_FAILED_FUSED);
    assert_eq!(volume.content(0, 1), vec![0]);
}

#[test]
fn preempt_and_abort_waits_for_an_exchange_that_has_begun() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 8 * MIB);
    let mut hosts = hosts(&mut world);
    volume.held.set(true);
    hosts[0].io.submit(ranged(io::COMPARE, 1, 0, 1).fuse(1), Data::Capsule(vec![0; 512]));
    hosts[0].io.submit(ranged(io::WRITE, 1, 0, 1).fuse(2), Data::Capsule(vec![9; 512]));
    hosts[0].io.turn(&mut world);
    let preempt = command(io::RESERVATION_ACQUIRE, 2 | 3 << 8);
    let preempt = hosts[1].io.submit(preempt, keys(&[0x22, 0x11]));
    hosts[1].io.turn(&mut world);
    assert_eq!(hosts[1].io.take_answer(preempt), None, "it has begun");
    volume.release_all();
    hosts[0].io.turn(&mut world);
    hosts[1].io.turn(&mut world);
    assert_eq!(hosts[1].io.take_answer(preempt).unwrap().status, Status::SUCCESS);
    assert_eq!(volume.content(0, 1), vec![9]);
}

#[test]
fn a_reservation_outlives_its_connection() {
    let mut world = World::new(1 << 30);
    world.volume(1, 8 * MIB);
    let [holder, _, mut other] = hosts(&mut world);
    let mut holder = holder;
    assert_eq!(acquire(&mut world, &mut holder, 0, 2, 0x11, 0), Status::SUCCESS);
    holder.admin.wire.close();
    world.run();
    assert_eq!(read(&mut world, &mut other), Status::RESERVATION_CONFLICT);
    let page = report(&mut world, &mut other).data;
    assert_eq!((page[64], page[65], page[64 + 2]), (0xFF, 0xFF, 1), "the holder has no controller");
    let mut again = Host::with(&mut world, &opening(1));
    assert_eq!(write(&mut world, &mut again), Status::SUCCESS);
}

#[test]
fn what_cannot_be_kept_over_power_loss_is_refused() {
    let mut world = World::new(1 << 30);
    world.volume(1, 8 * MIB);
    let mut host = Host::with(&mut world, &opening(1));
    let keep = command(io::RESERVATION_REGISTER, 3 << 30);
    assert_eq!(host.io.ask(&mut world, keep, keys(&[0, 5])).status, Status::INVALID_FIELD, "no store here");
    assert_eq!(report(&mut world, &mut host).data[5], 0);
    let feature = |opcode| {
        CommandBuilder::new(opcode, 0).namespace(1).dword(10, feature::RESERVATION_PERSISTENCE.into())
    };
    assert_eq!(host.admin.ask(&mut world, feature(admin::GET_FEATURES), Data::None).result, 0);
    assert_eq!(host.admin.status(&mut world, feature(admin::SET_FEATURES)), Status::NOT_CHANGEABLE);
}
