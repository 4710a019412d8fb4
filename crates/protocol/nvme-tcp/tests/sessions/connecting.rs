//! Opening and ending queues and controllers.

use std::time::Duration;

use quarry_nvme_wire::constants::{admin, fabrics, io};
use quarry_nvme_wire::{CommandBuilder, Status};
use quarry_target::{Audience, Host as Known};
use quarry_volume::Volume;

use crate::support::host::*;
use crate::support::initiator::Data;
use crate::support::world::World;

const MIB: u64 = 1 << 20;

fn world() -> World {
    let world = World::new(1 << 30);
    world.volume(1, 64 * MIB);
    world
}

#[test]
fn a_controller_is_connected_enabled_and_used() {
    let mut world = world();
    let mut host = Host::new(&mut world);
    assert_eq!(host.admin.property(&mut world, 0x08), 0x0002_0000, "version 2.0");
    assert_eq!(host.admin.property(&mut world, 0x1C), 1, "ready");
    assert_eq!(host.admin.property(&mut world, 0x00) & 0xFFFF, 255);
    let data = pattern(1, 4096);
    assert_eq!(host.io.write(&mut world, 1, 8, Data::Capsule(data.clone())).status, Status::SUCCESS);
    assert_eq!(host.io.read(&mut world, 1, 8, 8).data, data);
}

#[test]
fn who_sees_nothing_is_not_let_in() {
    let mut world = World::new(1 << 30);
    let volume = world.open("private", 1, MIB);
    world.map(&volume, 1, Audience::Hosts(vec!["friend".to_owned()]));
    let known = Known {
        name: "friend".to_owned(),
        initiators: vec!["nqn.friend".to_owned()],
        networks: Vec::new(),
        chap: None,
    };
    world.access.set_host(known).unwrap();
    let (_, answer) = Queue::open(&mut world, &Opening::default());
    assert_eq!(answer.status, Status::CONNECT_HOST);
    let (_, answer) = Queue::open(&mut world, &Opening { host: "nqn.friend", ..Opening::default() });
    assert_eq!(answer.status, Status::SUCCESS);
    assert_eq!(world.subsystem.controllers(), 1);
}

#[test]
fn what_is_wrong_with_a_connect_is_pointed_to() {
    let mut world = world();
    let host = Host::new(&mut world);
    let io = Opening { controller: host.controller, queue: 2, ..Opening::default() };
    let parameters = Status::CONNECT_PARAMETERS;
    let sequence = Status::COMMAND_SEQUENCE;
    let table = [
        (Opening { subsystem: "nqn.other", ..Opening::default() }, parameters, 1 << 16 | 256),
        (Opening { controller: 5, ..Opening::default() }, parameters, 1 << 16 | 16),
        (Opening { entries: 129, ..Opening::default() }, parameters, 44),
        (Opening { host: "", ..Opening::default() }, parameters, 1 << 16 | 512),
        (Opening { controller: 999, ..io.clone() }, parameters, 1 << 16 | 16),
        (Opening { host: "nqn.other", ..io.clone() }, parameters, 1 << 16 | 512),
        (Opening { host_id: [8; 16], ..io.clone() }, parameters, 1 << 16 | 512),
        (Opening { queue: 129, ..io.clone() }, parameters, 42),
        (Opening { entries: 257, ..io.clone() }, parameters, 44),
        (Opening { queue: 1, ..io.clone() }, sequence, 0),
        (Opening { subsystem: DISCOVERY, ..io.clone() }, parameters, 1 << 16 | 16),
    ];
    for (index, (opening, status, result)) in table.into_iter().enumerate() {
        let (mut queue, answer) = Queue::open(&mut world, &opening);
        assert_eq!((answer.status, answer.result), (status, result), "{index}");
        queue.turn(&mut world);
        assert!(queue.wire.is_closed(), "a refused connection ends: {index}");
    }
    assert_eq!(world.subsystem.controllers(), 1);
}

#[test]
fn nobody_takes_the_identifier_of_another_host() {
    let mut world = world();
    let host = Host::new(&mut world);
    let other = Opening { host: "nqn.other", ..Opening::default() };
    let (_, answer) = Queue::open(&mut world, &other);
    assert_eq!((answer.status, answer.result), (Status::CONNECT_PARAMETERS, 1 << 16), "it points to HOSTID");
    // It may have as many controllers as it likes; discovery shows a host only what is its own anyway.
    let mut again = Host::new(&mut world);
    assert_eq!(again.io.read(&mut world, 1, 0, 1).status, Status::SUCCESS);
    let (_, answer) = Queue::open(&mut world, &Opening { subsystem: DISCOVERY, ..other.clone() });
    assert_eq!(answer.status, Status::SUCCESS);
    let nobody = Opening { host_id: [0; 16], ..Opening::default() };
    let stranger = Opening { host_id: [0; 16], ..other.clone() };
    for opening in [&nobody, &stranger] {
        assert_eq!(Queue::open(&mut world, opening).1.status, Status::SUCCESS, "zero is nobody's");
    }
    again.admin.wire.close();
    host.admin.wire.close();
    world.run();
    assert_eq!(Queue::open(&mut world, &other).1.status, Status::SUCCESS, "it was given up");
}

#[test]
fn nothing_comes_before_connect_and_enable() {
    let mut world = world();
    let mut early = Queue::negotiated(&mut world, PLAIN);
    let answer = early.ask(&mut world, CommandBuilder::new(admin::IDENTIFY, 0).dword(10, 1), Data::In(4096));
    assert_eq!(answer.status, Status::COMMAND_SEQUENCE);
    let (mut queue, answer) = Queue::open(&mut world, &Opening::default());
    assert_eq!(queue.identify(&mut world, 1, 0).status, Status::COMMAND_SEQUENCE, "not enabled");
    let io = Opening { controller: answer.result as u16, queue: 1, ..Opening::default() };
    assert_eq!(Queue::open(&mut world, &io).1.status, Status::COMMAND_SEQUENCE);
    assert_eq!(queue.set_property(&mut world, 0x14, ENABLE), Status::SUCCESS);
    assert_eq!(queue.identify(&mut world, 1, 0).status, Status::SUCCESS);
    assert_eq!(Queue::open(&mut world, &io).1.status, Status::SUCCESS);
}

#[test]
fn fabrics_commands_out_of_place_are_refused() {
    let mut world = world();
    let mut host = Host::new(&mut world);
    let table = [
        (fabrics::CONNECT, Status::COMMAND_SEQUENCE, Status::COMMAND_SEQUENCE),
        (fabrics::AUTHENTICATION_SEND, Status::INVALID_OPCODE, Status::INVALID_OPCODE),
        (fabrics::AUTHENTICATION_RECEIVE, Status::INVALID_OPCODE, Status::INVALID_OPCODE),
        (fabrics::PROPERTY_GET, Status::INVALID_FIELD, Status::INVALID_OPCODE),
        (0x77, Status::INVALID_OPCODE, Status::INVALID_OPCODE),
    ];
    for (kind, on_admin, on_io) in table {
        assert_eq!(host.admin.status(&mut world, CommandBuilder::fabrics(kind, 0)), on_admin, "{kind:#x}");
        assert_eq!(host.io.status(&mut world, CommandBuilder::fabrics(kind, 0)), on_io, "{kind:#x}");
    }
    let disconnect = CommandBuilder::fabrics(fabrics::DISCONNECT, 0);
    assert_eq!(host.admin.status(&mut world, disconnect), Status::QUEUE_TYPE);
    assert_eq!(host.io.status(&mut world, disconnect), Status::SUCCESS);
    assert!(host.io.wire.is_closed() && !host.admin.wire.is_closed());
    // The number of the queue is free again.
    Host::open_io(&mut world, &Opening::default(), host.controller, 1);
}

#[test]
fn io_queues_end_with_their_admin_queue() {
    let mut world = world();
    let mut host = Host::new(&mut world);
    let second = Host::open_io(&mut world, &Opening::default(), host.controller, 2);
    let mut other = Host::new(&mut world);
    host.admin.wire.close();
    world.run();
    assert!(host.io.wire.is_closed() && second.wire.is_closed());
    assert_eq!(world.subsystem.controllers(), 1);
    assert_eq!(other.io.read(&mut world, 1, 0, 1).status, Status::SUCCESS, "a stranger's goes on");
    host.io.turn(&mut world);
}

#[test]
fn a_reset_is_over_when_no_write_is_under_way() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 64 * MIB);
    let mut host = Host::new(&mut world);
    volume.held.set(true);
    let write = ranged(io::WRITE, 1, 0, 1);
    host.io.submit(write, Data::Capsule(vec![9; 512]));
    host.io.turn(&mut world);
    assert_eq!(volume.waiting(), 1);
    assert_eq!(host.admin.set_property(&mut world, 0x14, 0), Status::SUCCESS);
    assert_eq!(host.admin.property(&mut world, 0x1C), 1, "still at it");
    // Not even the death of the connection, nor any time, makes it forget the write.
    host.io.wire.close();
    world.pass(Duration::from_secs(60));
    assert_eq!((host.admin.property(&mut world, 0x1C), volume.content(0, 1)), (1, vec![0]));
    volume.release_all();
    world.run();
    assert_eq!((host.admin.property(&mut world, 0x1C), volume.content(0, 1)), (0, vec![9]));
    assert!(host.io.wire.is_closed());
    assert_eq!(host.admin.set_property(&mut world, 0x14, ENABLE), Status::SUCCESS);
    let mut io = Host::open_io(&mut world, &Opening::default(), host.controller, 1);
    assert_eq!(io.read(&mut world, 1, 0, 1).data, vec![9; 512]);
}

#[test]
fn a_shutdown_flushes_and_says_so() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 64 * MIB);
    let mut host = Host::new(&mut world);
    volume.records.set(true);
    volume.held.set(true);
    host.io.submit(ranged(io::WRITE, 1, 0, 1), Data::Capsule(vec![9; 512]));
    host.io.turn(&mut world);
    let shutdown = CommandBuilder::fabrics(fabrics::PROPERTY_SET, 0).dword(11, 0x14);
    let shutdown = host.admin.submit(shutdown.dword(12, ENABLE | 1 << 14), Data::None);
    host.admin.turn(&mut world);
    assert_eq!(host.admin.property(&mut world, 0x1C), 1 | 1 << 2, "a write is under way");
    volume.release(0);
    host.admin.turn(&mut world);
    assert_eq!(host.admin.property(&mut world, 0x1C), 1 | 1 << 2, "it is not flushed");
    volume.release_all();
    host.admin.turn(&mut world);
    assert_eq!(host.admin.take_answer(shutdown).unwrap().status, Status::SUCCESS);
    assert_eq!(host.admin.property(&mut world, 0x1C), 1 | 2 << 2, "down");
    assert_eq!(volume.calls.borrow()[..], [("write", 0, 512, false), ("flush", 0, 0, false)]);
    assert!(host.io.wire.is_closed());
    assert_eq!(host.admin.identify(&mut world, 1, 0).status, Status::COMMAND_SEQUENCE);
}

#[test]
fn a_shutdown_fails_where_a_volume_cannot_be_flushed() {
    for number in [1, 2] {
        let mut world = World::new(1 << 30);
        let volumes = [world.volume(1, MIB), world.volume(2, MIB)];
        let mut host = Host::new(&mut world);
        let gone = volumes[number - 1].info().id;
        world.volumes.0.borrow_mut().remove(&gone);
        world.resize(&volumes[2 - number], 2 * MIB);
        host.admin.turn(&mut world);
        let status = host.admin.set_property(&mut world, 0x14, ENABLE | 1 << 14);
        assert_eq!(status, Status::NAMESPACE_NOT_READY, "volume {number}");
        assert_eq!(host.admin.property(&mut world, 0x1C), 1 | 1 << 1 | 1 << 2, "it has failed");
    }
}

#[test]
fn a_shutdown_flushes_what_was_opened_late() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, MIB);
    let kept = world.volumes.0.borrow_mut().remove(&volume.info().id).unwrap();
    let mut host = Host::new(&mut world);
    assert_eq!(host.admin.identify(&mut world, 8, 1).data[14], 0, "not ready");
    world.volumes.0.borrow_mut().insert(volume.info().id, kept);
    volume.records.set(true);
    assert_eq!(host.io.write(&mut world, 1, 0, Data::Capsule(vec![1; 512])).status, Status::SUCCESS);
    assert_eq!(host.admin.set_property(&mut world, 0x14, ENABLE | 1 << 14), Status::SUCCESS);
    assert_eq!(volume.calls.borrow()[..], [("write", 0, 512, false), ("flush", 0, 0, false)]);
    assert_eq!(host.admin.property(&mut world, 0x1C), 1 | 2 << 2, "down");
}

#[test]
fn a_shutdown_that_a_reset_overtakes_does_not_end_the_next_one() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 64 * MIB);
    let mut host = Host::new(&mut world);
    volume.held.set(true);
    let set = |value| CommandBuilder::fabrics(fabrics::PROPERTY_SET, 0).dword(11, 0x14).dword(12, value);
    host.admin.submit(set(ENABLE | 1 << 14), Data::None);
    host.admin.turn(&mut world);
    assert_eq!(volume.waiting(), 1, "it flushes");
    assert_eq!(host.admin.set_property(&mut world, 0x14, 0), Status::SUCCESS);
    assert_eq!(host.admin.set_property(&mut world, 0x14, ENABLE), Status::SUCCESS);
    let mut io = Host::open_io(&mut world, &Opening::default(), host.controller, 1);
    io.submit(ranged(io::WRITE, 1, 0, 1), Data::Capsule(vec![9; 512]));
    io.turn(&mut world);
    host.admin.submit(set(ENABLE | 1 << 14), Data::None);
    host.admin.turn(&mut world);
    volume.release(0);
    host.admin.turn(&mut world);
    assert_eq!(host.admin.property(&mut world, 0x1C), 1 | 1 << 2, "the write is still under way");
    volume.release_all();
    host.admin.turn(&mut world);
    assert_eq!(host.admin.property(&mut world, 0x1C), 1 | 2 << 2, "down");
    assert_eq!(volume.content(0, 1), vec![9]);
}

#[test]
fn a_silent_host_loses_its_controller() {
    let mut world = world();
    let mut host = Host::with(&mut world, &Opening { keep_alive_ms: 1000, ..Opening::default() });
    for _ in 0..5 {
        world.pass(Duration::from_millis(900));
        let alive = CommandBuilder::new(admin::KEEP_ALIVE, 0);
        assert_eq!(host.admin.status(&mut world, alive), Status::SUCCESS);
    }
    assert_eq!(host.admin.set_feature(&mut world, 0x0F, 2500).status, Status::SUCCESS);
    assert_eq!(host.admin.feature(&mut world, 0x0F, 0).result, 2500);
    world.pass(Duration::from_millis(2400));
    assert!(!host.admin.wire.is_closed());
    // At most an eighth of its time too late: deadlines of many hosts fall together.
    world.pass(Duration::from_millis(100 + 2500 / 8));
    assert!(host.admin.wire.is_closed() && host.io.wire.is_closed());
    assert_eq!(world.subsystem.controllers(), 0);
}

#[test]
fn a_shorter_keep_alive_counts_at_once() {
    let mut world = world();
    let mut host = Host::with(&mut world, &Opening { keep_alive_ms: 60_000, ..Opening::default() });
    world.pass(Duration::from_millis(100));
    assert_eq!(host.admin.set_feature(&mut world, 0x0F, 1000).status, Status::SUCCESS);
    world.pass(Duration::from_millis(900));
    assert!(!host.admin.wire.is_closed());
    world.pass(Duration::from_millis(200));
    assert!(host.admin.wire.is_closed() && host.io.wire.is_closed());
}

#[test]
fn without_keep_alive_only_discovery_ends_by_itself() {
    let mut world = world();
    let host = Host::new(&mut world);
    let (discovery, answer) =
        Queue::open(&mut world, &Opening { subsystem: DISCOVERY, ..Opening::default() });
    assert_eq!(answer.status, Status::SUCCESS);
    world.pass(Duration::from_secs(119));
    assert!(!discovery.wire.is_closed());
    world.pass(Duration::from_secs(1 + 120 / 8));
    assert!(discovery.wire.is_closed() && !host.admin.wire.is_closed());
}

#[test]
fn an_io_queue_goes_to_the_core_of_its_volume() {
    let mut world = World::new(1 << 30);
    let volume = world.open("far", 1, MIB);
    world.map_on(&volume, 1, Audience::Everyone, 3);
    let opening = Opening::default();
    let (mut admin, answer) = Queue::open(&mut world, &opening);
    admin.set_property(&mut world, 0x14, ENABLE);
    let controller = answer.result as u16;
    for (queue, cores) in [(1, vec![3]), (2, vec![3, 3])] {
        let mut io = Queue::negotiated(&mut world, PLAIN);
        let data = quarry_nvme_wire::connect_data(HOST_ID, controller, NQN, HOST);
        let connect = CommandBuilder::fabrics(fabrics::CONNECT, 0).dword(10, queue << 16).dword(11, 31);
        io.submit(connect, Data::Capsule(data));
        io.turn(&mut world);
        assert_eq!(*world.cores.0.borrow(), cores);
    }
}

#[test]
fn a_stop_ends_everything_in_order() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 64 * MIB);
    let mut host = Host::new(&mut world);
    volume.held.set(true);
    let id = host.io.submit(ranged(io::WRITE, 1, 0, 1), Data::Capsule(vec![9; 512]));
    host.io.turn(&mut world);
    world.exports.stop();
    world.run();
    assert!(!host.io.wire.is_closed(), "it finishes what it has begun");
    volume.release_all();
    host.io.turn(&mut world);
    assert_eq!(host.io.take_answer(id).unwrap().status, Status::SUCCESS);
    assert!(host.io.wire.is_closed() && host.admin.wire.is_closed());
    assert!(world.exports.sessions().is_empty());
}
