//! How data moves: in capsules, by R2T, with digests, without completions, in pieces of any size.

use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::io;
use quarry_nvme_wire::pdu::Link;

use crate::support::host::*;
use crate::support::initiator::Data;
use crate::support::world::World;

const SIZES: [usize; 8] = [512, 4096, 16384, 16896, 32256, 65536, 300 * 512, 1 << 20];

#[test]
fn data_arrives_whole_in_every_way() {
    let links =
        [PLAIN, DIGESTS, Link { data_digest: false, ..DIGESTS }, Link { host_alignment: 31, ..DIGESTS }];
    for link in links {
        for without_flow_control in [false, true] {
            for (piece_bytes, segment) in [(u32::MAX, usize::MAX), (8192, 1000), (700 * 4, 8192)] {
                let mut world = World::new(1 << 30);
                let volume = world.volume(1, 8 << 20);
                let opening = Opening { link, without_flow_control, ..Opening::default() };
                let mut host = Host::with(&mut world, &opening);
                host.io.piece_bytes = piece_bytes;
                host.io.wire.segment.set(segment);
                for (index, bytes) in SIZES.into_iter().enumerate() {
                    let data = pattern(index as u8, bytes);
                    let written = match bytes {
                        0..=16384 => Data::Capsule(data.clone()),
                        _ => Data::Out(data.clone()),
                    };
                    assert_eq!(host.io.write(&mut world, 1, 16, written).status, Status::SUCCESS);
                    assert_eq!(volume.content(8192, bytes), data);
                    let answer = host.io.read(&mut world, 1, 16, (bytes / 512) as u32);
                    assert_eq!((answer.status, answer.data), (Status::SUCCESS, data));
                    // Only a host that does without the head of its submission queue gets no completion.
                    assert_eq!(answer.submission_head.is_none(), without_flow_control);
                }
            }
        }
    }
}

#[test]
fn the_head_of_the_submission_queue_goes_round() {
    let mut world = World::new(1 << 30);
    world.volume(1, 1 << 20);
    let mut host = Host::with(&mut world, &Opening { entries: 4, ..Opening::default() });
    // Connect was the first entry.
    let heads: Vec<_> = (0..6).map(|_| host.io.read(&mut world, 1, 0, 1).submission_head.unwrap()).collect();
    assert_eq!(heads, [2, 3, 0, 1, 2, 3]);
}

#[test]
fn many_commands_share_few_sends() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 8 << 20);
    volume.fill(0, &pattern(5, 128 << 10));
    let mut host = Host::new(&mut world);
    let before = host.io.wire.sends.get();
    let ids: Vec<u16> =
        (0..32).map(|index| host.io.submit(ranged(io::READ, 1, index * 8, 8), Data::In(4096))).collect();
    host.io.turn(&mut world);
    for (index, id) in ids.into_iter().enumerate() {
        assert_eq!(host.io.take_answer(id).unwrap().data, pattern(5, 128 << 10)[index * 4096..][..4096]);
    }
    assert!(host.io.wire.sends.get() - before <= 3, "{} sends", host.io.wire.sends.get() - before);
}

#[test]
fn damaged_data_fails_its_command_alone() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 8 << 20);
    let mut host = Host::with(&mut world, &Opening { link: DIGESTS, ..Opening::default() });
    host.io.piece_bytes = 16384;
    for (bytes, out) in [(4096, false), (8192, true), (65536, true)] {
        host.io.damages = true;
        let data = if out { Data::Out(vec![9; bytes]) } else { Data::Capsule(vec![9; bytes]) };
        let answer = host.io.write(&mut world, 1, 0, data.clone());
        assert_eq!(answer.status, Status::TRANSIENT_TRANSPORT_ERROR, "{bytes}");
        assert_eq!(volume.content(0, bytes), vec![0; bytes], "nothing of it is written");
        assert_eq!(host.io.read(&mut world, 1, 0, 1).status, Status::SUCCESS, "the queue goes on");
    }
    assert_eq!(host.io.write(&mut world, 1, 0, Data::Out(vec![9; 65536])).status, Status::SUCCESS);
}

#[test]
fn commands_are_answered_in_the_order_in_which_they_are_done() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 8 << 20);
    let mut host = Host::new(&mut world);
    volume.held.set(true);
    let ids: Vec<u16> = (0..3).map(|_| host.io.submit(ranged(io::READ, 1, 0, 1), Data::In(512))).collect();
    host.io.turn(&mut world);
    volume.release(1);
    host.io.turn(&mut world);
    volume.release_all();
    host.io.turn(&mut world);
    let order = host.io.order[host.io.order.len() - 3..].to_vec();
    assert_eq!(order, [ids[1], ids[0], ids[2]]);
}
