//! Submission queue entries on a connected controller: whatever a host asks for, it gets one answer for each command, and the
//! controller goes on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarry_nvme_wire::{CommandBuilder, DataPointer, Status};

#[path = "../../crates/protocol/nvme-tcp/tests/support/mod.rs"]
mod support;

use support::host::{Host, Opening, Queue};
use support::initiator::Data;
use support::world::World;

const COMMAND_BYTES: usize = 64;
const CAPSULE_BYTES_MAX: usize = 8192;

/// Sends the command in `bytes`, with data that fits what it says of it.
fn send(world: &mut World, queue: &mut Queue, bytes: &[u8; COMMAND_BYTES]) {
    let mut command = CommandBuilder::new(bytes[0], 0);
    for (at, &byte) in bytes.iter().enumerate().skip(1) {
        command = command.byte(at, byte);
    }
    let length = match command.build().data_pointer() {
        Ok(DataPointer::Capsule { length } | DataPointer::Host { length }) => length as usize % CAPSULE_BYTES_MAX,
        Err(_) => 0,
    };
    let data = match (bytes[63] % 3, length) {
        (_, 0) => Data::None,
        (0, _) => Data::Capsule(vec![bytes[62]; length]),
        (1, _) => Data::Out(vec![bytes[62]; length]),
        _ => Data::Any(length),
    };
    queue.submit(command, data);
    queue.turn(world);
}

fuzz_target!(|data: &[u8]| {
    let mut world = World::new(64 << 20);
    world.volume(1, 1 << 20);
    world.volume(2, 8 << 20);
    let mut host = Host::with(&mut world, &Opening { entries: 128, ..Opening::default() });
    for bytes in data.chunks_exact(COMMAND_BYTES + 1).take(100) {
        let (first, bytes) = bytes.split_first_chunk::<1>().expect("65 bytes");
        let bytes = bytes.first_chunk().expect("64 bytes");
        let queue = if first[0] & 1 == 0 { &mut host.io } else { &mut host.admin };
        if queue.wire.is_closed() {
            return;
        }
        send(&mut world, queue, bytes);
    }
    let mut other = Host::new(&mut world);
    let status = other.io.read(&mut world, 1, 0, 8).status;
    assert!(matches!(status, Status::SUCCESS | Status::RESERVATION_CONFLICT), "{status:?}");
});
