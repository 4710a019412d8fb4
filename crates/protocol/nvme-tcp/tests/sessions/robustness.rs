//! What hosts must not send: the connection says why and ends, and nobody else notices.

use std::time::Duration;

use proptest::prelude::*;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::io;
use quarry_nvme_wire::pdu::{DataHeader, Link, kind, put_h2c_data};

use crate::support::host::*;
use crate::support::initiator::Data;
use crate::support::world::World;

fn stage(link: Link) -> (World, Host) {
    let mut world = World::new(1 << 30);
    world.volume(1, 8 << 20);
    let host = Host::with(&mut world, &Opening { link, ..Opening::default() });
    (world, host)
}

/// Sends bytes on the I/O queue; why the controller ends it.
fn end_of(link: Link, change: impl FnOnce(&mut Vec<u8>)) -> Option<(u16, u32)> {
    let (mut world, mut host) = stage(link);
    host.io.submit(ranged(io::WRITE, 1, 0, 1), Data::Capsule(vec![1; 512]));
    let mut bytes = host.io.take_output();
    change(&mut bytes);
    host.io.wire.write(&bytes);
    host.io.turn(&mut world);
    if host.io.termination.is_some() {
        assert!(host.io.wire.is_closed() && !host.admin.wire.is_closed());
        let mut other = Host::new(&mut world);
        assert_eq!(other.io.read(&mut world, 1, 0, 1).status, Status::SUCCESS);
    }
    host.io.termination
}

#[test]
fn malformed_pdus_are_answered_by_a_termination() {
    let set = |at: usize, value: u8| move |bytes: &mut Vec<u8>| bytes[at] = value;
    assert_eq!(end_of(PLAIN, |_| {}), None);
    assert_eq!(end_of(PLAIN, set(0, 0x0A)), Some((1, 0)), "no such PDU");
    assert_eq!(end_of(PLAIN, set(0, kind::RESPONSE)), Some((1, 0)), "not from a host");
    assert_eq!(end_of(PLAIN, set(0, 0)), Some((2, 0)), "initialized once");
    assert_eq!(end_of(PLAIN, set(1, 1)), Some((1, 1)), "a digest that was not agreed on");
    assert_eq!(end_of(DIGESTS, set(1, 2)), Some((1, 1)), "no digest where one was agreed on");
    assert_eq!(end_of(PLAIN, set(2, 73)), Some((1, 2)));
    assert_eq!(end_of(PLAIN, set(3, 74)), Some((1, 3)), "data that is not aligned");
    assert_eq!(end_of(PLAIN, set(3, 4)), Some((1, 3)), "data inside the header");
    assert_eq!(end_of(PLAIN, set(6, 0xFF)), Some((5, 4)), "16 MiB in a capsule");
    assert_eq!(end_of(PLAIN, set(7, 0xFF)), Some((5, 4)), "4 GiB in a capsule");
    let (status, _) = end_of(DIGESTS, set(20, 0xEE)).unwrap();
    assert_eq!(status, 3, "the header's digest");
}

#[test]
fn nothing_follows_a_termination() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 8 << 20);
    let mut host = Host::new(&mut world);
    volume.held.set(true);
    let read = host.io.submit(ranged(io::READ, 1, 0, 8), Data::In(4096));
    let write = host.io.submit(ranged(io::WRITE, 1, 0, 1), Data::Capsule(vec![1; 512]));
    host.io.turn(&mut world);
    host.io.wire.write(&[0xAA; 8]);
    host.io.turn(&mut world);
    assert!(host.io.termination.is_some() && !host.io.wire.is_closed(), "commands are under way");
    volume.release_all();
    host.io.turn(&mut world);
    assert_eq!((host.io.take_answer(read), host.io.take_answer(write)), (None, None));
    assert!(host.io.wire.is_closed());
    assert_eq!(volume.content(0, 1), vec![1], "what was begun is finished");
}

#[test]
fn data_that_was_not_asked_for_ends_the_connection() {
    let header = |tag, offset, length| DataHeader { command: 0, tag, offset, length };
    let table = [
        (header(9, 0, 512), true, (1, 10)),
        (header(0, 512, 512), true, (4, 0)),
        (header(0, 0, 2048), true, (4, 0)),
        (header(0, u32::MAX, 512), true, (4, 0)),
        (header(0, 0, 512), true, (1, 1)),
        (header(0, 0, 1024), false, (1, 1)),
    ];
    for (index, (header, last, end)) in table.into_iter().enumerate() {
        let (mut world, mut host) = stage(PLAIN);
        let id = host.io.submit(ranged(io::WRITE, 1, 0, 2), Data::Out(vec![1; 1024]));
        let output = host.io.take_output();
        host.io.wire.write(&output);
        world.run();
        let mut bytes = vec![0; 24];
        put_h2c_data(&mut bytes, &DataHeader { command: id, ..header }, last, &PLAIN);
        bytes.resize(24 + header.length as usize, 7);
        host.io.wire.read();
        host.io.wire.write(&bytes);
        host.io.turn(&mut world);
        assert_eq!(host.io.termination, Some(end), "{index}");
        assert!(host.io.wire.is_closed());
    }
    let (mut world, mut host) = stage(PLAIN);
    let id = host.io.submit(ranged(io::WRITE, 1, 0, 2), Data::Out(vec![1; 1024]));
    let output = host.io.take_output();
    host.io.wire.write(&output);
    world.run();
    host.io.wire.read();
    let mut bytes = vec![0; 24];
    put_h2c_data(&mut bytes, &DataHeader { command: id + 1, ..header(0, 0, 1024) }, true, &PLAIN);
    bytes.resize(24 + 1024, 7);
    host.io.wire.write(&bytes);
    host.io.turn(&mut world);
    assert_eq!(host.io.termination, Some((1, 8)), "of another command");
}

#[test]
fn a_host_may_end_the_connection_itself() {
    let (mut world, mut host) = stage(DIGESTS);
    let mut bytes = vec![0; 24];
    bytes[..5].copy_from_slice(&[kind::HOST_TERMINATION, 0, 24, 0, 24]);
    host.io.wire.write(&bytes);
    host.io.turn(&mut world);
    assert!(host.io.wire.is_closed());
    assert_eq!(host.io.termination, None);
}

#[test]
fn connections_that_do_not_become_queues_end_in_time() {
    let mut world = World::new(1 << 30);
    world.volume(1, 1 << 20);
    let silent = world.connect();
    let slow = world.connect();
    slow.write(&[0, 0, 128, 0, 128]);
    let wrong = world.connect();
    wrong.write(b"GET / HTTP/1.1\r\n\r\n");
    let negotiated = Queue::negotiated(&mut world, PLAIN);
    world.run();
    assert_eq!(wrong.read()[..10], [3, 0, 24, 0, 42, 0, 0, 0, 2, 0], "a termination: sequence");
    assert!(wrong.is_closed() && !silent.is_closed());
    world.pass(Duration::from_secs(11));
    assert!(silent.is_closed() && slow.is_closed() && negotiated.wire.is_closed());
    assert!(world.exports.sessions().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_harm_anybody_else(
        junk in prop::collection::vec(any::<u8>(), 1..600),
        at in 0usize..600,
        kind in 0u8..12,
        negotiated in any::<bool>(),
    ) {
        let mut world = World::new(1 << 30);
        world.volume(1, 1 << 20);
        let mut other = Host::new(&mut world);
        if negotiated {
            let mut host = Host::new(&mut world);
            host.io.submit(ranged(io::WRITE, 1, 0, 1), Data::Capsule(vec![1; 512]));
            let mut bytes = host.io.take_output();
            let at = at.min(bytes.len() - 1);
            let end = (at + junk.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&junk[..end - at]);
            bytes[0] = kind;
            host.io.wire.write(&bytes);
            host.io.wire.write(&junk);
        } else {
            world.connect().write(&junk);
        }
        world.run();
        prop_assert_eq!(other.io.read(&mut world, 1, 0, 8).status, Status::SUCCESS);
    }
}
