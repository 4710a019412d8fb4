//! Identify, log pages, features, events.

use quarry_nvme::{eui64, nguid};
use quarry_nvme_wire::constants::{admin, feature, io, log};
use quarry_nvme_wire::{CommandBuilder, Status};
use quarry_target::{Audience, Host as Known};
use quarry_volume::Volume;

use crate::support::host::*;
use crate::support::initiator::Data;
use crate::support::world::World;

const MIB: u64 = 1 << 20;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn event(host: &mut Host, world: &mut World) -> u16 {
    let id = host.admin.submit(CommandBuilder::new(admin::ASYNC_EVENT_REQUEST, 0), Data::None);
    host.admin.turn(world);
    id
}

#[test]
fn everybody_says_who_they_are() {
    let mut world = World::new(1 << 30);
    let (first, _second) = (world.volume(1, 64 * MIB), world.volume(5, 32 * MIB));
    first.fill(4096, &[1; 8192]);
    let mut host = Host::new(&mut world);
    let controller = host.admin.identify(&mut world, 1, 0).data;
    assert_eq!(u16::from_le_bytes([controller[78], controller[79]]), host.controller);
    assert!(controller[768..].starts_with(NQN.as_bytes()));
    assert_eq!(word(&host.admin.identify(&mut world, 6, 0).data, 0) >> 8 & 0xFF, 13, "WZSL");
    let list = host.admin.identify(&mut world, 2, 0).data;
    assert_eq!((word(&list, 0), word(&list, 4), word(&list, 8)), (1, 5, 0));
    assert_eq!(word(&host.admin.identify(&mut world, 2, 1).data, 0), 5);
    let namespace = host.admin.identify(&mut world, 0, 1).data;
    assert_eq!((long(&namespace, 0), long(&namespace, 16)), (64 * MIB / 512, 16), "size and use");
    assert_eq!(namespace[104..120], nguid(first.info().id));
    assert_eq!(namespace[120..128], eui64(first.info().id));
    assert_eq!(host.admin.identify(&mut world, 8, 5).data[14], 1, "ready");
    assert_eq!(host.admin.identify(&mut world, 3, 1).data[4..12], eui64(first.info().id));
    assert_eq!(host.admin.identify(&mut world, 5, 1).data, vec![0; 4096]);
}

#[test]
fn bits_mean_what_the_standard_says() {
    let mut world = World::new(1 << 30);
    world.volume(1, MIB);
    let mut host = Host::new(&mut world);
    let independent = host.admin.identify(&mut world, 8, 1).data;
    assert_eq!(independent[0], 1 << 3, "identifiers are not used again; bit 4 would be a disk that rotates");
    let controller = host.admin.identify(&mut world, 1, 0).data;
    let sgls = word(&controller, 536);
    assert_eq!(sgls & (1 << 18), 0, "no buffer longer than its data, which is refused");
    let effects = host.admin.log(&mut world, log::FEATURE_EFFECTS, 1024, 0, false).data;
    let scope = |feature: u8| word(&effects, usize::from(feature) * 4) >> 20;
    assert_eq!((scope(feature::QUEUES), scope(feature::EVENTS)), (0b10, 0b10), "of the controller");
    assert_eq!(scope(feature::RESERVATION_MASK), 0b01, "of a namespace");
}

#[test]
fn identify_of_what_is_not_there() {
    let mut world = World::new(1 << 30);
    world.volume(1, MIB);
    let mut host = Host::new(&mut world);
    assert_eq!(host.admin.identify(&mut world, 0, 2).data, vec![0; 4096], "possible but not in use");
    let invalid = Status::INVALID_NAMESPACE;
    let table = [(0, 0, invalid), (0, u32::MAX, invalid), (0, 16384, invalid), (3, 2, invalid)];
    let more = [(2, 0xFFFF_FFFE, invalid), (0x55, 0, Status::INVALID_FIELD)];
    for (what, namespace, status) in table.into_iter().chain(more) {
        let answer = host.admin.identify(&mut world, what, namespace);
        assert_eq!((answer.status, answer.data.len()), (status, 0), "{what:#x} of {namespace}");
    }
    let zoned = CommandBuilder::new(admin::IDENTIFY, 0).dword(10, 6).dword(11, 2 << 24);
    assert_eq!(host.admin.ask(&mut world, zoned, Data::In(4096)).status, Status::INVALID_FIELD);
    let short = CommandBuilder::new(admin::IDENTIFY, 0).dword(10, 1);
    assert_eq!(host.admin.ask(&mut world, short, Data::In(512)).status, Status::SGL_LENGTH);
    assert_eq!(host.admin.status(&mut world, CommandBuilder::new(0x80, 0)), Status::INVALID_OPCODE);
}

#[test]
fn features_are_set_and_read() {
    let mut world = World::new(1 << 30);
    world.volume(1, MIB);
    let (mut admin, _) = Queue::open(&mut world, &Opening::default());
    admin.set_property(&mut world, 0x14, ENABLE);
    assert_eq!(admin.set_feature(&mut world, feature::QUEUES, 7 | 3 << 16).result, 3 | 3 << 16);
    assert_eq!(admin.feature(&mut world, feature::QUEUES, 0).result, 3 | 3 << 16);
    assert_eq!(admin.set_feature(&mut world, feature::QUEUES, 0xFFFF).status, Status::INVALID_FIELD);
    assert_eq!(admin.feature(&mut world, feature::WRITE_CACHE, 0).result, 1);
    assert_eq!(admin.set_feature(&mut world, feature::ARBITRATION, 3).status, Status::SUCCESS);
    assert_eq!(admin.feature(&mut world, feature::ARBITRATION, 0).result, 3);
    assert_eq!(admin.set_feature(&mut world, feature::EVENTS, 0xFFFF_FFFF).status, Status::SUCCESS);
    assert_eq!(admin.feature(&mut world, feature::EVENTS, 0).result, 0x9FF, "what is offered");
    let save = CommandBuilder::new(admin::SET_FEATURES, 0).dword(10, 1 << 31 | 1);
    assert_eq!(admin.status(&mut world, save), Status::NOT_SAVEABLE);
    assert_eq!(admin.feature(&mut world, 0x42, 0).status, Status::INVALID_FIELD);
    let behavior = CommandBuilder::new(admin::SET_FEATURES, 0).dword(10, 0x16);
    let bytes = pattern(3, 512);
    assert_eq!(admin.ask(&mut world, behavior, Data::Capsule(bytes.clone())).status, Status::SUCCESS);
    let behavior = CommandBuilder::new(admin::GET_FEATURES, 0).dword(10, 0x16);
    assert_eq!(admin.ask(&mut world, behavior, Data::In(512)).data, bytes);
    let host_id = CommandBuilder::new(admin::GET_FEATURES, 0).dword(10, 0x81);
    assert_eq!(admin.ask(&mut world, host_id.dword(11, 1), Data::In(16)).data, HOST_ID);
    assert_eq!(admin.ask(&mut world, host_id, Data::In(8)).status, Status::HOST_ID_INCONSISTENT);
}

#[test]
fn without_write_cache_every_write_is_durable() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, MIB);
    let mut host = Host::new(&mut world);
    volume.records.set(true);
    host.io.write(&mut world, 1, 0, Data::Capsule(vec![1; 512]));
    assert_eq!(host.admin.set_feature(&mut world, feature::WRITE_CACHE, 0).status, Status::SUCCESS);
    host.io.write(&mut world, 1, 0, Data::Capsule(vec![1; 512]));
    host.io.read(&mut world, 1, 0, 1);
    let calls = volume.calls.borrow();
    assert_eq!(calls[..], [("write", 0, 512, false), ("write", 0, 512, true), ("read", 0, 512, false)]);
}

#[test]
fn logs_say_what_has_happened() {
    let mut world = World::new(1 << 30);
    world.volume(1, MIB);
    world.volume(2, MIB);
    let mut host = Host::new(&mut world);
    host.io.read(&mut world, 1, 0, 8);
    host.io.write(&mut world, 1, 0, Data::Capsule(vec![1; 512]));
    assert_eq!(host.io.read(&mut world, 1, 1 << 40, 8).status, Status::LBA_OUT_OF_RANGE);
    let health = host.admin.log(&mut world, log::HEALTH, 512, 0, false).data;
    assert_eq!((long(&health, 64), long(&health, 80), long(&health, 176)), (1, 1, 1));
    let errors = host.admin.log(&mut world, log::ERRORS, 128, 0, false).data;
    assert_eq!((long(&errors, 0), errors[8], long(&errors, 16), word(&errors, 24)), (1, 1, 1 << 40, 1));
    assert_eq!(long(&errors, 64), 0, "no second one");
    assert_eq!(host.admin.log(&mut world, log::FIRMWARE, 512, 0, false).data[8..13], *b"0.1.0");
    let ana = host.admin.log(&mut world, log::ANA, 64, 0, false).data;
    assert_eq!((ana[8], word(&ana, 16), word(&ana, 20), ana[32], word(&ana, 52)), (1, 1, 2, 1, 2));
    let supported = host.admin.log(&mut world, log::SUPPORTED, 1024, 0, false).data;
    assert_eq!((word(&supported, 4 * 0x0C), word(&supported, 4 * 0x70)), (1, 0));
    assert_eq!(word(&host.admin.log(&mut world, log::COMMAND_EFFECTS, 4096, 0, false).data, 1028), 3);
    assert_eq!(word(&host.admin.log(&mut world, log::FEATURE_EFFECTS, 1024, 0, false).data, 28), 1 | 1 << 21);
    assert_eq!(host.admin.log(&mut world, log::DISCOVERY, 1024, 0, false).status, Status::INVALID_LOG_PAGE);
    assert_eq!(host.admin.log(&mut world, log::HEALTH, 512, 516, false).status, Status::INVALID_FIELD);
    let of = |namespace: u32| {
        let command = CommandBuilder::new(admin::GET_LOG_PAGE, 0).namespace(namespace);
        command.dword(10, u32::from(log::HEALTH) | 127 << 16)
    };
    assert_eq!(host.admin.ask(&mut world, of(0), Data::In(512)).status, Status::SUCCESS);
    assert_eq!(host.admin.ask(&mut world, of(1), Data::In(512)).status, Status::INVALID_FIELD);
}

#[test]
fn a_host_hears_of_every_change() {
    let mut world = World::new(1 << 30);
    let (first, second) = (world.volume(1, MIB), world.volume(2, MIB));
    let mut host = Host::new(&mut world);
    host.admin.set_feature(&mut world, feature::EVENTS, 1 << 8 | 1 << 11);
    let waiting = event(&mut host, &mut world);
    assert!(host.admin.is_busy());
    world.resize(&first, 2 * MIB);
    host.admin.turn(&mut world);
    assert_eq!(host.admin.take_answer(waiting).unwrap().result, 0x04_00_02);
    assert_eq!(host.io.read(&mut world, 1, 4095, 1).status, Status::SUCCESS, "as large as it is now");
    // Until the list was read nothing more of the kind is said, and nothing is forgotten.
    let waiting = event(&mut host, &mut world);
    world.access.unmap("volume-2").unwrap();
    world.volume(9, MIB);
    host.admin.turn(&mut world);
    assert!(host.admin.is_busy());
    let list = |data: Vec<u8>| [word(&data, 0), word(&data, 4), word(&data, 8), word(&data, 12)];
    let changed = host.admin.log(&mut world, log::CHANGED_NAMESPACES, 4096, 0, true).data;
    assert_eq!(list(changed), [1, 2, 9, 0]);
    let changed = host.admin.log(&mut world, log::CHANGED_NAMESPACES, 4096, 0, false).data;
    assert_eq!(list(changed), [1, 2, 9, 0], "retained");
    let changed = host.admin.log(&mut world, log::CHANGED_NAMESPACES, 4096, 0, false).data;
    assert_eq!(list(changed), [0; 4]);
    assert_eq!(host.io.read(&mut world, 2, 0, 1).status, Status::INVALID_NAMESPACE);
    assert_eq!(host.io.read(&mut world, 9, 0, 1).status, Status::SUCCESS);
    world.map_on(&second, 2, Audience::Everyone, 0);
    host.admin.turn(&mut world);
    assert_eq!(host.admin.take_answer(waiting).unwrap().result, 0x04_00_02);
}

#[test]
fn a_namespace_id_never_changes_its_volume_behind_the_hosts_back() {
    // By its descriptors, or by Identify Namespace; seen by the queue that was there, or by one that comes later.
    for what in [3, 0] {
        let mut world = World::new(1 << 30);
        let first = world.volume(1, MIB);
        let mut host = Host::new(&mut world);
        assert_eq!(host.io.write(&mut world, 1, 0, Data::Capsule(vec![1; 512])).status, Status::SUCCESS);
        world.access.unmap("volume-1").unwrap();
        let second = world.open("second", 2, MIB);
        world.map(&second, 1, Audience::Everyone);
        host.admin.turn(&mut world);
        let mut later = Host::open_io(&mut world, &Opening::default(), host.controller, 2);
        // Nothing but the identity says what the namespace is now.
        assert_eq!(host.admin.identify(&mut world, 8, 1).data[14], 1, "ready");
        for queue in [&mut host.io, &mut later] {
            let written = queue.write(&mut world, 1, 0, Data::Capsule(vec![2; 512])).status;
            assert_eq!((written, written.may_retry()), (Status::NAMESPACE_REPLACED, true));
            assert_eq!(queue.read(&mut world, 1, 0, 1).status, Status::NAMESPACE_REPLACED);
        }
        assert_eq!((first.content(0, 1), second.content(0, 1)), (vec![1], vec![0]));
        assert_eq!(host.admin.identify(&mut world, what, 1).status, Status::SUCCESS);
        for queue in [&mut host.io, &mut later] {
            assert_eq!(queue.write(&mut world, 1, 0, Data::Capsule(vec![3; 512])).status, Status::SUCCESS);
        }
        assert_eq!((first.content(0, 1), second.content(0, 1)), (vec![1], vec![3]));
        // Back again, it is the host that has not heard of it.
        world.access.unmap("second").unwrap();
        world.map(&first, 1, Audience::Everyone);
        host.admin.turn(&mut world);
        assert_eq!(host.io.read(&mut world, 1, 0, 1).status, Status::NAMESPACE_REPLACED);
        let mut stranger = Host::new(&mut world);
        assert_eq!(stranger.io.read(&mut world, 1, 0, 1).data[0], 1, "a new controller begins anew");
    }
}

#[test]
fn a_namespace_that_moves_to_another_core_changes_its_group() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, MIB);
    world.volume(2, MIB);
    let mut host = Host::new(&mut world);
    host.admin.set_feature(&mut world, feature::EVENTS, 1 << 11);
    let waiting = event(&mut host, &mut world);
    world.access.unmap("volume-1").unwrap();
    world.map_on(&volume, 1, Audience::Everyone, 4);
    host.admin.turn(&mut world);
    assert_eq!(host.admin.take_answer(waiting).unwrap().result, 0x0C_03_02);
    let ana = host.admin.log(&mut world, log::ANA, 96, 0, false).data;
    assert_eq!((ana[8], word(&ana, 16), word(&ana, 52)), (2, 1, 5), "groups 1 and 5");
}

#[test]
fn requests_for_events_are_bounded_and_aborted() {
    let mut world = World::new(1 << 30);
    world.volume(1, MIB);
    let mut host = Host::new(&mut world);
    let requests: Vec<u16> = (0..5).map(|_| event(&mut host, &mut world)).collect();
    assert_eq!(host.admin.take_answer(requests[4]).unwrap().status, Status::EVENT_LIMIT);
    let abort = |id: u16| CommandBuilder::new(admin::ABORT, 0).dword(10, u32::from(id) << 16);
    assert_eq!(host.admin.ask(&mut world, abort(requests[1]), Data::None).result, 0);
    assert_eq!(host.admin.take_answer(requests[1]).unwrap().status, Status::ABORT_REQUESTED);
    assert_eq!(host.admin.ask(&mut world, abort(requests[1]), Data::None).result, 1, "not aborted");
    host.admin.wire.close();
    world.run();
    assert_eq!(world.subsystem.controllers(), 0, "what waits for events does not hold it");
}

#[test]
fn discovery_shows_what_a_host_sees_and_tells_when_it_changes() {
    let mut world = World::new(1 << 30);
    let volume = world.open("private", 1, MIB);
    world.map(&volume, 1, Audience::Hosts(vec!["friend".to_owned()]));
    let opening = Opening { subsystem: DISCOVERY, keep_alive_ms: 0, ..Opening::default() };
    let (mut queue, answer) = Queue::open(&mut world, &opening);
    assert_eq!(answer.status, Status::SUCCESS);
    queue.set_property(&mut world, 0x14, ENABLE);
    let controller = queue.identify(&mut world, 1, 0).data;
    assert!(controller[111] == 2 && controller[768..].starts_with(DISCOVERY.as_bytes()));
    let before = queue.log(&mut world, log::DISCOVERY, 2048, 0, false).data;
    assert_eq!((long(&before, 8), before[1024 + 2]), (1, 3), "nothing but discovery itself");
    assert_eq!(queue.set_feature(&mut world, feature::EVENTS, 1 << 31).status, Status::SUCCESS);
    let waiting = queue.submit(CommandBuilder::new(admin::ASYNC_EVENT_REQUEST, 0), Data::None);
    queue.turn(&mut world);
    let known = Known {
        name: "friend".to_owned(),
        initiators: vec![HOST.to_owned()],
        networks: Vec::new(),
        chap: None,
    };
    world.access.set_host(known).unwrap();
    queue.turn(&mut world);
    assert_eq!(queue.take_answer(waiting).unwrap().result, 0x70_F0_02);
    let after = queue.log(&mut world, log::DISCOVERY, 3072, 0, false).data;
    assert_eq!(long(&after, 8), 2);
    assert!(long(&after, 0) > long(&before, 0), "a newer generation");
    let entry = &after[2048..];
    assert_eq!((entry[0], entry[1], entry[2]), (3, 1, 2));
    assert!(entry[32..].starts_with(b"4420\0") && entry[256..].starts_with(NQN.as_bytes()));
    assert!(entry[512..].starts_with(b"192.0.2.7\0"));
    assert_eq!(queue.identify(&mut world, 0, 1).status, Status::INVALID_FIELD);
    assert_eq!(queue.status(&mut world, ranged(io::COPY, 1, 0, 1)), Status::INVALID_OPCODE);
}
