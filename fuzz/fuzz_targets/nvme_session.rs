//! Bytes on connections in every state: nobody else notices, nothing is left behind.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::io;

#[path = "../../crates/protocol/nvme-tcp/tests/support/mod.rs"]
mod support;

use support::host::{DIGESTS, Host, Opening, PLAIN, ranged};
use support::initiator::Data;
use support::world::World;

/// One after the other: where the bytes go, how many, what they are, and in which pieces they arrive.
fn steps(mut data: &[u8]) -> impl Iterator<Item = (u8, usize, &[u8])> {
    std::iter::from_fn(move || {
        let ([place, count, segment], rest) = data.split_first_chunk::<3>()?;
        let (bytes, rest) = rest.split_at(usize::from(*count).min(rest.len()));
        data = rest;
        Some((*place, usize::from(*segment) + 1, bytes))
    })
}

fuzz_target!(|data: &[u8]| {
    let mut world = World::new(64 << 20);
    let volume = world.volume(1, 1 << 20);
    let link = if data.first().is_some_and(|first| first & 1 != 0) { DIGESTS } else { PLAIN };
    let mut host = Host::with(&mut world, &Opening { link, ..Opening::default() });
    let raw = world.connect();
    for (place, segment, bytes) in steps(data).take(200) {
        let wire = match place % 4 {
            0 => &raw,
            1 => &host.admin.wire,
            _ => &host.io.wire,
        }
        .clone();
        wire.segment.set(segment);
        match place >> 2 & 7 {
            // A good command among the bad ones, complete or not; its data may never come.
            0 => _ = host.io.submit(ranged(io::WRITE, 1, 0, 4), Data::Out(vec![place; 2048])),
            1 => _ = host.io.submit(ranged(io::READ, 1, 0, 64), Data::In(32768)),
            2 => volume.held.set(place & 32 != 0),
            3 => volume.release_all(),
            4 => wire.close(),
            _ => wire.write(bytes),
        }
        let output = host.io.take_output();
        host.io.wire.write(&output);
        world.run();
    }
    volume.release_all();
    let mut other = Host::new(&mut world);
    assert_eq!(other.io.read(&mut world, 1, 0, 8).status, Status::SUCCESS);
    for wire in [&raw, &host.admin.wire, &host.io.wire, &other.admin.wire, &other.io.wire] {
        wire.close();
        wire.room.set(usize::MAX);
    }
    world.pass(Duration::from_secs(30));
    assert!(world.exports.sessions().is_empty(), "every session has ended");
    assert_eq!(world.subsystem.controllers(), 0);
});
