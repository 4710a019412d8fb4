use quarry_target::{Action, Initiator, ReservationKey, ReservationKind};
use quarry_volume::ErrorKind;
use tempfile::TempDir;

use super::support::driver::{ALL, EVENT_INDEX, INDIRECT, Machine, QUEUES, Style, kind};
use super::support::node::{Node, id};

const SIZE: u64 = 64 << 20;
const OK: u8 = 0;
const FAILED: u8 = 1;
const UNSUPPORTED: u8 = 2;

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at / 512) as u8 ^ (at % 251) as u8 ^ seed).collect()
}

/// Sector, sectors, flags of a discard or write zeroes.
fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
}

#[test]
fn data_arrives_however_it_is_cut_and_whatever_was_agreed_on() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut seed = 0;
    for without in [0, INDIRECT, EVENT_INDEX, INDIRECT | EVENT_INDEX] {
        let mut disk = Machine::new().connect(&node.socket, ALL & !without);
        for queue in 0..QUEUES {
            for style in [Style::Direct, Style::Indirect, Style::Odd] {
                for length in [512, 4096, 5 * 512, 100 << 10] {
                    seed += 1;
                    let (data, sector) = (pattern(length, seed), u64::from(seed) * 256);
                    let wrote = disk.ask(queue, style, kind::WRITE, sector, &data, 0);
                    assert_eq!(wrote, (OK, vec![]), "{queue} {style:?} {length}");
                    assert_eq!(node.content(sector * 512, length), data);
                    let read = disk.ask(queue, style, kind::READ, sector, &[], length);
                    assert!(read == (OK, data), "{queue} {style:?} {length}");
                }
            }
        }
    }
}

#[test]
fn ranges_are_discarded_zeroed_and_flushed() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![9; 1 << 20], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    let two = [range(0, 8, 0), range(64, 16, 0)].concat();
    assert_eq!(disk.ask(1, Style::Direct, kind::DISCARD, 0, &two, 0).0, OK);
    let kept = [range(128, 9, 0), range(300, 0, 0), range(256, 8, 1)].concat();
    assert_eq!(disk.ask(1, Style::Odd, kind::WRITE_ZEROES, 0, &kept, 0).0, OK);
    assert_eq!(disk.ask(1, Style::Direct, kind::FLUSH, 0, &[], 0).0, OK);
    let expected = [
        ("discard", 0, 4096, false),
        ("discard", 32 << 10, 8192, false),
        ("write zeroes", 64 << 10, 9 * 512, true),
        ("write zeroes", 128 << 10, 4096, false),
        ("flush", 0, 0, false),
    ];
    assert_eq!(node.calls(), expected);
    assert!(node.content(0, 4096).iter().all(|&byte| byte == 0));
    assert!(node.content(64 << 10, 9 * 512).iter().all(|&byte| byte == 0));
    assert!(node.content((64 << 10) + 9 * 512, 512).iter().all(|&byte| byte == 9));
}

#[test]
fn what_cannot_be_is_refused_and_the_next_request_is_served() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    let end = SIZE / 512;
    let many = vec![0; 33 * 16];
    for (what, kind, sector, data, room, expected) in [
        ("a read behind the end", kind::READ, end, &[][..], 512, FAILED),
        ("a read across the end", kind::READ, end - 1, &[], 1024, FAILED),
        ("a sector that no number of bytes has", kind::READ, u64::MAX, &[], 512, FAILED),
        ("a part of a sector", kind::READ, 0, &[], 100, FAILED),
        ("a write behind the end", kind::WRITE, end, &[1; 512], 0, FAILED),
        ("a write of a part", kind::WRITE, 0, &[1; 513], 0, FAILED),
        ("a discard behind the end", kind::DISCARD, 0, &range(end, 8, 0), 0, FAILED),
        ("a discard that overflows", kind::DISCARD, 0, &range(u64::MAX / 512, 8, 0), 0, FAILED),
        ("a discard of too much", kind::DISCARD, 0, &range(0, u32::MAX, 0), 0, FAILED),
        ("a discard with a flag", kind::DISCARD, 0, &range(0, 8, 1), 0, UNSUPPORTED),
        ("zeroes with an unknown flag", kind::WRITE_ZEROES, 0, &range(0, 8, 2), 0, UNSUPPORTED),
        ("half a range", kind::DISCARD, 0, &[0; 8], 0, FAILED),
        ("no range", kind::DISCARD, 0, &[], 0, FAILED),
        ("too many ranges", kind::DISCARD, 0, &many, 0, FAILED),
        ("an unknown request", 99, 0, &[], 0, UNSUPPORTED),
        ("the request for a lifetime", 10, 0, &[], 24, UNSUPPORTED),
        ("a read of nothing", kind::READ, 0, &[], 0, OK),
        ("a write of nothing", kind::WRITE, 0, &[], 0, OK),
    ] {
        let (status, _) = disk.ask(0, Style::Indirect, kind, sector, data, room);
        assert_eq!(status, expected, "{what}");
    }
    disk.write(8, &pattern(4096, 1));
    assert_eq!(disk.read(8, 4096), pattern(4096, 1));
}

#[test]
fn a_failure_of_the_volume_is_an_error_for_the_driver() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    for error in ErrorKind::ALL {
        node.with(move |volume| volume.fail.set(Some(error)));
        for (kind, data, room) in
            [(kind::READ, &[][..], 512), (kind::WRITE, &[1; 512], 0), (kind::FLUSH, &[], 0)]
        {
            assert_eq!(disk.ask(0, Style::Direct, kind, 0, data, room).0, FAILED, "{error:?}");
        }
    }
    node.with(|volume| volume.fail.set(None));
    disk.write(0, &[1; 512]);
}

#[test]
fn a_read_only_export_is_read() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, pattern(4096, 5), true);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    assert_ne!(disk.features & 1 << 5, 0, "the driver is told");
    assert_eq!(disk.features & (1 << 13 | 1 << 14), 0, "nothing can be discarded");
    assert_eq!(disk.read(0, 4096), pattern(4096, 5));
    assert_eq!(disk.ask(0, Style::Direct, kind::FLUSH, 0, &[], 0).0, OK);
    let (data, range) = ([1; 512], range(0, 8, 0));
    for (kind, data) in [(kind::WRITE, &data[..]), (kind::DISCARD, &range), (kind::WRITE_ZEROES, &range)] {
        assert_eq!(disk.ask(0, Style::Direct, kind, 0, data, 0).0, FAILED, "{kind}");
    }
    assert_eq!(node.content(0, 4096), pattern(4096, 5));
}

/// A machine is a host without a key: reservations of others keep it out.
#[test]
fn reservations_of_others_keep_a_machine_out() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    let mut statuses = |what: &str, read: u8, write: u8| {
        assert_eq!(disk.ask(0, Style::Direct, kind::READ, 0, &[], 512).0, read, "{what}");
        assert_eq!(disk.ask(0, Style::Direct, kind::WRITE, 0, &[1; 512], 0).0, write, "{what}");
        assert_eq!(disk.ask(0, Style::Direct, kind::DISCARD, 0, &range(0, 8, 0), 0).0, write, "{what}");
        assert_eq!(disk.ask(0, Style::Direct, kind::FLUSH, 0, &[], 0).0, write, "{what}");
        assert_eq!(disk.ask(0, Style::Direct, kind::GET_ID, 0, &[], 20).0, OK, "{what}");
    };
    let (of, host, key) = (node.reservations.of(id()), Initiator("iqn.a,i,0x01".into()), ReservationKey(7));
    let act = |action| {
        futures::executor::block_on(of.perform(&host, key, action)).map(drop).expect("it may");
    };
    statuses("nobody has reserved it", OK, OK);
    let register = Action::Register { new_key: key, ignore_existing: true, persists: None };
    futures::executor::block_on(of.perform(&host, ReservationKey(0), register)).expect("it may");
    statuses("a registration keeps nobody out", OK, OK);
    act(Action::Reserve { kind: ReservationKind::WriteExclusive });
    statuses("for writing", OK, FAILED);
    act(Action::Release { kind: ReservationKind::WriteExclusive });
    act(Action::Reserve { kind: ReservationKind::ExclusiveAccessRegistrants });
    statuses("for all access", FAILED, FAILED);
    act(Action::Clear);
    statuses("it was given back", OK, OK);
}
