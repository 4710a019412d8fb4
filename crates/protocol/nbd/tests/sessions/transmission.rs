//! Requests and their replies in every style.

use quarry_target::Export;
use quarry_volume::{ErrorKind, VolumeInfo};

use crate::support::client::*;
use crate::support::protocol::*;
use crate::support::world::World;

const SIZE: u64 = 1 << 20;

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(at.wrapping_shr(8) as u8) ^ seed).collect()
}

/// What a reply to a read says: simple replies do not name the offset.
fn data(style: Style, offset: u64, bytes: Vec<u8>) -> Said {
    Said::Data(if style == Style::Simple { 0 } else { offset }, bytes)
}

#[test]
fn every_command_works_in_every_style() {
    for style in STYLES {
        let mut world = World::new(1 << 30);
        let volume = world.volume("vol", SIZE);
        let client = Client::open(&mut world, style, "vol");
        let w = &mut world;
        let bytes = pattern(8192, 1);
        assert_eq!(client.ask_write(w, FUA, 4096, &bytes), Said::Done);
        assert_eq!(client.ask(w, 0, READ, 4096, 8192), data(style, 4096, bytes.clone()));
        assert_eq!(client.ask(w, FUA, READ, 4608, 512), data(style, 4608, bytes[512..1024].to_vec()));
        assert_eq!(client.ask(w, 0, FLUSH, 0, 0), Said::Done);
        assert_eq!(client.ask(w, 0, CACHE, 0, SIZE), Said::Done);
        assert_eq!(client.ask(w, FUA, WRITE_ZEROES, 4096, 512), Said::Done);
        assert_eq!(volume.content(4096, 1024), [&[0; 512][..], &bytes[512..1024]].concat());
        assert_eq!(client.ask(w, 0, TRIM, 8192, 4096), Said::Done);
        assert_eq!(volume.content(8192, 4096), [0; 4096]);
        let status = client.ask(w, 0, BLOCK_STATUS, 0, SIZE);
        let extents = Said::Extents(vec![(4096, 3), (4096, 0), (SIZE - 8192, 3)]);
        assert_eq!(status, if style == Style::Simple { Said::Error(EINVAL, None) } else { extents });
        client.send(0, DISC, 0, 0, 0);
        w.run();
        assert!(client.wire.is_closed() && w.exports.sessions().is_empty());
    }
}

#[test]
fn flags_reach_the_volume() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", SIZE);
    let client = Client::open(&mut world, Style::Structured, "vol");
    volume.records.set(true);
    let w = &mut world;
    client.ask_write(w, 0, 0, &[1; 512]);
    client.ask_write(w, FUA, 0, &[1; 512]);
    client.ask(w, FUA, TRIM, 0, 4096);
    assert_eq!(client.ask(w, NO_HOLE, WRITE_ZEROES, 0, 4096), Said::Done);
    assert_eq!(client.ask(w, FAST_ZERO, WRITE_ZEROES, 0, 8192), Said::Done);
    assert_eq!(client.ask(w, FAST_ZERO | NO_HOLE, WRITE_ZEROES, 0, 8192), Said::Error(ENOTSUP, None));
    assert_eq!(client.ask(w, DF, READ, 0, 65_536), Said::Data(0, vec![0; 65_536]));
    let expected = [
        ("write", 0, 512, false),
        ("write", 0, 512, true),
        ("discard", 0, 4096, true),
        ("write zeroes", 0, 4096, true),
        ("write zeroes", 0, 8192, false),
        ("read", 0, 65_536, false),
    ];
    assert_eq!(*volume.calls.borrow(), expected);
}

#[test]
fn refusals_leave_the_connection_in_step() {
    for style in STYLES {
        let mut world = World::new(1 << 30);
        let volume = world.volume("vol", SIZE);
        let client = Client::open(&mut world, style, "vol");
        let w = &mut world;
        let at = |offset: u64| (style != Style::Simple).then_some(offset);
        for (flags, command, offset, length, error, place) in [
            (0, READ, SIZE, 512, EINVAL, at(SIZE)),
            (0, READ, SIZE - 512, 1024, EINVAL, at(SIZE)),
            (0, READ, u64::MAX - 511, 512, EINVAL, at(u64::MAX - 511)),
            (0, READ, 100, 512, EINVAL, None),
            (0, READ, 0, 100, EINVAL, None),
            (NO_HOLE, READ, 0, 512, EINVAL, None),
            (0, TRIM, SIZE, 512, EINVAL, at(SIZE)),
            (0, WRITE_ZEROES, SIZE, 512, ENOSPC, at(SIZE)),
            (0, FLUSH, 0, 512, EINVAL, None),
            (0, 77, 0, 0, EINVAL, None),
            (1 << 14, FLUSH, 0, 0, EINVAL, None),
        ] {
            let said = client.ask(w, flags, command, offset, length);
            assert_eq!(said, Said::Error(error, place), "{style:?} {command} {offset} {length}");
        }
        // The payload of a refused write is thrown away, whatever its size, before the reply.
        for length in [512, 30_000 / 512 * 512, 512 << 10, 1 << 20] {
            let said = client.ask_write(w, 0, SIZE - 256 * 512, &pattern(length, 1));
            match length <= 256 * 512 {
                true => assert_eq!(said, Said::Done),
                false => assert_eq!(said, Said::Error(ENOSPC, at(SIZE)), "{style:?} {length}"),
            }
            assert_eq!(client.ask_write(w, 0, 7, &vec![1; length]), Said::Error(EINVAL, None));
            assert_eq!(client.ask_write(w, DF, 0, &vec![1; length]), Said::Error(EINVAL, None));
        }
        assert_eq!(volume.content(0, 512), [0; 512]);
        assert_eq!(client.ask(w, 0, READ, 0, 512), data(style, 0, vec![0; 512]));
        assert_eq!(w.exports.sessions()[0].traffic.errors, 21);
    }
}

#[test]
fn what_breaks_the_step_closes() {
    for style in STYLES {
        let too_long = match style {
            Style::Extended => request(style, PAYLOAD_LEN, WRITE, 1, 0, (32 << 20) + 1),
            _ => request(style, 0, WRITE, 1, 0, (32 << 20) + 1),
        };
        let unknown_too_long = request(style, PAYLOAD_LEN, 99, 1, 0, 1 << 30);
        let other = if style == Style::Extended { Style::Simple } else { Style::Extended };
        for (bytes, closes) in [
            (too_long, true),
            (unknown_too_long, style == Style::Extended),
            ([request(other, 0, READ, 1, 0, 512), vec![0; 4]].concat(), true),
            (vec![0; 64], true),
        ] {
            let mut world = World::new(1 << 30);
            world.volume("vol", SIZE);
            let client = Client::open(&mut world, style, "vol");
            // What came before it is still answered.
            client.send(0, READ, READS, 0, 512);
            client.wire.write(&bytes);
            world.run();
            assert_eq!(client.replies(512)[0], (READS, data(style, 0, vec![0; 512])));
            assert_eq!(client.wire.is_closed(), closes, "{style:?} {bytes:?}");
        }
    }
}

#[test]
fn reads_beyond_the_largest_payload_overflow() {
    let mut world = World::new(1 << 30);
    world.volume("vol", 64 << 20);
    for style in STYLES {
        let client = Client::open(&mut world, style, "vol");
        let error = if style == Style::Simple { EINVAL } else { EOVERFLOW };
        let length = (32 << 20) + 512;
        assert_eq!(client.ask(&mut world, 0, READ, 0, length), Said::Error(error, None));
        assert_eq!(client.ask(&mut world, 0, WRITE_ZEROES, 0, length), Said::Done);
        let whole = client.ask(&mut world, DF, READ, 0, 32 << 20);
        match style {
            Style::Simple => assert_eq!(whole, Said::Error(EINVAL, None), "DF was not offered"),
            _ => assert_eq!(whole, Said::Data(0, vec![0; 32 << 20])),
        }
    }
}

#[test]
fn empty_requests_succeed_and_reach_no_volume() {
    for style in STYLES {
        let mut world = World::new(1 << 30);
        let volume = world.volume("vol", SIZE);
        let client = Client::open(&mut world, style, "vol");
        volume.records.set(true);
        for command in [READ, TRIM, CACHE, WRITE_ZEROES] {
            assert_eq!(client.ask(&mut world, 0, command, SIZE, 0), Said::Done, "{style:?} {command}");
        }
        // With extended headers a payload has at least one byte, so an empty write has none.
        let empty = client.ask_write(&mut world, 0, 0, &[]);
        assert_eq!(empty, Said::Done);
        assert!(volume.calls.borrow().is_empty());
    }
}

#[test]
fn errors_of_the_volume_reach_the_client() {
    for (kind, expected, fast) in [
        (ErrorKind::Invalid, EINVAL, EINVAL),
        (ErrorKind::ReadOnly, EPERM, EPERM),
        (ErrorKind::NoSpace, ENOSPC, ENOSPC),
        (ErrorKind::Corrupt, EIO, EIO),
        (ErrorKind::Unavailable, EIO, EIO),
        (ErrorKind::Fenced, ESHUTDOWN, ESHUTDOWN),
        (ErrorKind::Unsupported, EINVAL, ENOTSUP),
        (ErrorKind::Internal, EIO, EIO),
    ] {
        for style in STYLES {
            let mut world = World::new(1 << 30);
            let volume = world.volume("vol", SIZE);
            let client = Client::open(&mut world, style, "vol");
            volume.fail.set(Some(kind));
            let w = &mut world;
            assert_eq!(client.ask(w, 0, READ, 0, 512), Said::Error(expected, None));
            assert_eq!(client.ask_write(w, 0, 0, &[1; 512]), Said::Error(expected, None));
            assert_eq!(client.ask(w, 0, FLUSH, 0, 0), Said::Error(expected, None));
            assert_eq!(client.ask(w, FAST_ZERO, WRITE_ZEROES, 0, 512), Said::Error(fast, None));
            volume.fail.set(None);
            assert_eq!(client.ask(w, 0, READ, 0, 512), data(style, 0, vec![0; 512]));
        }
    }
}

#[test]
fn a_read_only_volume_refuses_changes() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", SIZE);
    volume.set_info(|info| info.read_only = true);
    let client = Client::open(&mut world, Style::Structured, "vol");
    let w = &mut world;
    assert_eq!(client.ask_write(w, 0, 0, &[1; 4096]), Said::Error(EPERM, None));
    assert_eq!(client.ask(w, 0, TRIM, 0, 4096), Said::Error(EPERM, None));
    assert_eq!(client.ask(w, 0, WRITE_ZEROES, 0, 4096), Said::Error(EPERM, None));
    assert_eq!(client.ask(w, 0, FLUSH, 0, 0), Said::Done);
}

#[test]
fn a_read_only_export_of_a_writable_volume_refuses_changes() {
    let mut world = World::new(1 << 30);
    world.volume("vol", SIZE);
    let export = world.exports.remove("vol").expect("nobody uses it");
    let volume = VolumeInfo { read_only: true, ..export.volume };
    world.exports.insert(Export { volume, ..export }).expect("the name is free");
    let client = Client::open(&mut world, Style::Structured, "vol");
    let w = &mut world;
    assert_eq!(client.ask_write(w, 0, 0, &[1; 4096]), Said::Error(EPERM, None));
    assert_eq!(client.ask(w, 0, WRITE_ZEROES, 0, 4096), Said::Error(EPERM, None));
    assert_eq!(client.ask(w, 0, READ, 0, 512), data(Style::Structured, 0, vec![0; 512]));
}

#[test]
fn replies_come_in_the_order_in_which_the_volume_is_done() {
    for style in STYLES {
        let mut world = World::new(1 << 30);
        let volume = world.volume("vol", SIZE);
        let client = Client::open(&mut world, style, "vol");
        volume.held.set(true);
        for cookie in 0..4 {
            client.send(0, READ, READS + cookie, cookie * 4096, 512);
        }
        client.write(0, 4, 0, &[1; 512]);
        world.run();
        assert_eq!(volume.waiting(), 5);
        for (index, cookie) in [(4, 4), (1, READS + 1), (2, READS + 3), (0, READS), (0, READS + 2)] {
            volume.release(index);
            world.run();
            let cookies: Vec<u64> = client.replies(512).iter().map(|(cookie, _)| *cookie).collect();
            assert_eq!(cookies, [cookie], "{style:?}");
        }
    }
}

#[test]
fn what_is_done_together_is_sent_together() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", SIZE);
    let client = Client::open(&mut world, Style::Structured, "vol");
    let before = client.wire.sends.get();
    (0..64).for_each(|cookie| client.send(0, READ, READS + cookie, 0, 4096));
    world.run();
    assert_eq!((client.replies(4096).len(), client.wire.sends.get() - before), (64, 1));
    volume.held.set(true);
    (0..200).for_each(|cookie| client.send(0, FLUSH, cookie, 0, 0));
    world.run();
    volume.release_all();
    world.run();
    assert_eq!((client.replies(0).len(), client.wire.sends.get() - before), (200, 2));
}

#[test]
fn a_grown_volume_takes_requests_at_once() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", SIZE);
    let client = Client::open(&mut world, Style::Structured, "vol");
    assert_eq!(client.ask(&mut world, 0, READ, SIZE, 512), Said::Error(EINVAL, Some(SIZE)));
    volume.set_info(|info| info.size_bytes = 2 * SIZE);
    assert_eq!(client.ask(&mut world, 0, READ, SIZE, 512), Said::Data(SIZE, vec![0; 512]));
    assert_eq!(client.ask_write(&mut world, 0, 2 * SIZE - 4096, &[1; 4096]), Said::Done);
    assert_eq!(client.ask_write(&mut world, 0, 2 * SIZE, &[1; 512]), Said::Error(ENOSPC, Some(2 * SIZE)));
}

#[test]
fn one_extent_where_one_is_asked_for() {
    for style in [Style::Structured, Style::Extended] {
        let mut world = World::new(1 << 30);
        let volume = world.volume("vol", SIZE);
        volume.fill(4096, &[1; 4096]);
        let client = Client::open(&mut world, style, "vol");
        let w = &mut world;
        assert_eq!(client.ask(w, REQ_ONE, BLOCK_STATUS, 0, SIZE), Said::Extents(vec![(4096, 3)]));
        assert_eq!(client.ask(w, REQ_ONE, BLOCK_STATUS, 512, 512), Said::Extents(vec![(512, 3)]));
        assert_eq!(client.ask(w, REQ_ONE, BLOCK_STATUS, 4608, 8192), Said::Extents(vec![(3584, 0)]));
    }
}

#[test]
fn long_lists_of_extents_are_cut() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", 64 << 20);
    (0..8192).for_each(|block| volume.fill(block * 8192, &[1; 4096]));
    for style in [Style::Structured, Style::Extended] {
        let client = Client::open(&mut world, style, "vol");
        let Said::Extents(extents) = client.ask(&mut world, 0, BLOCK_STATUS, 0, 64 << 20) else {
            panic!("no extents")
        };
        assert_eq!(extents.len(), 4096);
        assert_eq!(extents[..3], [(4096, 0), (4096, 3), (4096, 0)]);
    }
}

#[test]
fn extended_headers_carry_long_ranges() {
    let mut world = World::new(1 << 30);
    let size = 5 << 30;
    let volume = world.volume("vol", size);
    volume.fill(size - 4096, &[1; 4096]);
    let client = Client::open(&mut world, Style::Extended, "vol");
    let w = &mut world;
    let status = client.ask(w, 0, BLOCK_STATUS, 0, size);
    assert_eq!(status, Said::Extents(vec![(size - 4096, 3), (4096, 0)]));
    assert_eq!(client.ask(w, 0, WRITE_ZEROES, 0, size), Said::Done);
    assert_eq!(client.ask(w, 0, BLOCK_STATUS, 0, size), Said::Extents(vec![(size, 3)]));
    assert_eq!(client.ask(w, 0, TRIM, 0, size + 512), Said::Error(EINVAL, Some(size)));
    assert_eq!(client.ask(w, 0, READ, 0, size), Said::Error(EOVERFLOW, None));
}

#[test]
fn block_status_can_be_filtered_by_context() {
    let mut world = World::new(1 << 30);
    world.volume("vol", SIZE);
    let client = Client::open(&mut world, Style::Extended, "vol");
    for (payload, expected) in [
        ([&SIZE.to_be_bytes()[..], &[0, 0, 0, 1]].concat(), Said::Extents(vec![(SIZE, 3)])),
        ([&SIZE.to_be_bytes()[..], &[0, 0, 0, 2]].concat(), Said::Error(EINVAL, None)),
        ([&SIZE.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0, 0, 1]].concat(), Said::Error(EINVAL, None)),
        (SIZE.to_be_bytes().to_vec(), Said::Error(EINVAL, None)),
        ([&(2 * SIZE).to_be_bytes()[..], &[0, 0, 0, 1]].concat(), Said::Error(EINVAL, Some(SIZE))),
        ([&0u64.to_be_bytes()[..], &[0, 0, 0, 1]].concat(), Said::Error(EINVAL, None)),
        (vec![1; 50_000], Said::Error(EINVAL, None)),
    ] {
        let length = payload.len() as u64;
        client.wire.write(&request(Style::Extended, PAYLOAD_LEN, BLOCK_STATUS, 9, 0, length));
        client.wire.write(&payload);
        world.run();
        assert_eq!(client.replies(0), [(9, expected)], "{payload:?}");
    }
}

#[test]
fn extended_writes_have_a_payload_and_others_lose_it() {
    let mut world = World::new(1 << 30);
    world.volume("vol", SIZE);
    let client = Client::open(&mut world, Style::Extended, "vol");
    // As QEMU's client does it, against proto.md: without PAYLOAD_LEN.
    client.wire.write(&request(Style::Extended, 0, WRITE, 8, 512, 512));
    client.wire.write(&[7; 512]);
    world.run();
    assert_eq!(client.replies(0), [(8, Said::Done)]);
    assert_eq!(client.ask(&mut world, 0, READ, 512, 512), Said::Data(512, vec![7; 512]));
    for command in [READ, FLUSH, TRIM, CACHE, WRITE_ZEROES, 50] {
        client.send(PAYLOAD_LEN, command, 8, 0, 512);
        client.wire.write(&[7; 512]);
        world.run();
        assert_eq!(client.replies(0), [(8, Said::Error(EINVAL, None))], "{command}");
    }
    assert_eq!(client.ask(&mut world, 0, READ, 0, 512), Said::Data(0, vec![0; 512]));
}
