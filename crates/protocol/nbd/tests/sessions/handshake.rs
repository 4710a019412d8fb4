//! Fixed newstyle negotiation, message by message.

use std::time::Duration;

use quarry_target::Export;
use quarry_target::limits::STRANGERS_MAX;
use quarry_volume::Volume;

use crate::support::client::*;
use crate::support::protocol::*;
use crate::support::world::{Wire, World};

const SIZE: u64 = 1 << 20;
/// HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, MULTI_CONN, CACHE, FAST_ZERO.
const FLAGS: u16 = 1 | 4 | 8 | 32 | 64 | 256 | 1024 | 2048;
const FLAG_READ_ONLY: u16 = 2;
const FLAG_DF: u16 = 128;
const FLAG_STATUS_PAYLOAD: u16 = 4096;

fn world() -> World {
    let world = World::new(1 << 30);
    world.volume("vol", SIZE);
    world
}

/// Connects and answers the greeting with these flags.
fn greet(world: &mut World, flags: u32) -> std::rc::Rc<Wire> {
    let wire = world.connect();
    wire.write(&flags.to_be_bytes());
    world.run();
    let greeting = wire.read();
    assert_eq!(greeting, [&NBDMAGIC[..], IHAVEOPT, &[0, 3]].concat());
    wire
}

/// Sends an option and returns the replies.
fn ask(world: &mut World, wire: &Wire, number: u32, data: &[u8]) -> Vec<OptionReply> {
    wire.write(&option(number, data));
    world.run();
    option_replies(&wire.read())
}

/// The types of the replies.
fn kinds(replies: &[OptionReply]) -> Vec<u32> {
    replies.iter().map(|(_, kind, _)| *kind).collect()
}

/// The transmission flags in the replies to INFO or GO.
fn flags(replies: &[OptionReply]) -> u16 {
    let export = replies.iter().find(|(_, kind, data)| *kind == REP_INFO && data[..2] == [0, 0]);
    let (_, _, data) = export.expect("INFO_EXPORT is mandatory");
    assert_eq!((data.len(), u64::from_be_bytes(data[2..10].try_into().expect("8 bytes"))), (12, SIZE));
    u16::from_be_bytes([data[10], data[11]])
}

#[test]
fn export_name_has_padding_unless_both_sides_do_without() {
    for (client_flags, padding) in [(3, 0), (1, 124), (0, 124)] {
        let mut world = world();
        let wire = greet(&mut world, client_flags);
        wire.write(&option(OPT_EXPORT_NAME, b"vol"));
        wire.write(&request(Style::Simple, 0, READ, READS, 0, 512));
        world.run();
        let head = [&SIZE.to_be_bytes()[..], &FLAGS.to_be_bytes(), &vec![0; padding]].concat();
        let bytes = wire.read();
        assert_eq!(bytes[..head.len()], head);
        let said = replies(Style::Simple, &bytes[head.len()..], &|_| 512);
        assert_eq!(said, [(READS, Said::Data(0, vec![0; 512]))]);
        assert_eq!(world.exports.sessions_of("vol"), 1);
    }
}

#[test]
fn what_cannot_be_refused_closes_the_connection() {
    let long = vec![0; (1 << 20) + 1];
    let extended = [option(OPT_EXTENDED, &[]), option(OPT_EXPORT_NAME, b"vol")].concat();
    for (name, client_flags, bytes) in [
        ("unknown client flags", 7, vec![]),
        ("unknown client flags above 16 bits", 1 << 16 | 1, vec![]),
        ("not an option", 3, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("EXPORT_NAME of nothing", 3, option(OPT_EXPORT_NAME, b"nope")),
        ("EXPORT_NAME that is no text", 3, option(OPT_EXPORT_NAME, b"\xff\xfe")),
        ("EXPORT_NAME too long", 3, option(OPT_EXPORT_NAME, &long[..20_000])),
        ("EXPORT_NAME with extended headers", 3, extended),
        ("an option that is far too long", 3, option(99, &long)),
        ("an option that is not EXPORT_NAME without fixed newstyle", 2, option(OPT_LIST, &[])),
        ("too many options", 3, option(OPT_LIST, &[]).repeat(1025)),
    ] {
        let mut world = world();
        let wire = greet(&mut world, client_flags);
        wire.write(&bytes);
        world.run();
        assert!(wire.is_closed(), "{name}");
        assert!(world.exports.sessions().is_empty(), "{name}");
    }
}

#[test]
fn refused_options_do_not_end_the_negotiation() {
    let mut world = world();
    let wire = greet(&mut world, 3);
    let set = context_data("vol", &["base:allocation"]);
    for (name, number, data, expected) in [
        ("unknown", 99, vec![1, 2, 3], ERR_UNSUP),
        ("withdrawn", 4, vec![], ERR_UNSUP),
        ("no TLS", OPT_STARTTLS, vec![], ERR_POLICY),
        ("STARTTLS with data", OPT_STARTTLS, vec![0], ERR_INVALID),
        ("LIST with data", OPT_LIST, vec![0], ERR_INVALID),
        ("STRUCTURED_REPLY with data", OPT_STRUCTURED, vec![0], ERR_INVALID),
        ("EXTENDED_HEADERS with data", OPT_EXTENDED, vec![0], ERR_INVALID),
        ("too big", 99, vec![0; 20_000], ERR_TOO_BIG),
        ("GO of nothing", OPT_GO, info_data("nope", &[]), ERR_UNKNOWN),
        ("INFO of nothing", OPT_INFO, info_data("nope", &[]), ERR_UNKNOWN),
        ("GO without data", OPT_GO, vec![], ERR_INVALID),
        ("INFO with too much data", OPT_INFO, [info_data("vol", &[]), vec![0]].concat(), ERR_INVALID),
        ("contexts before structured replies", OPT_SET_META, set.clone(), ERR_INVALID),
        ("contexts before structured replies", OPT_LIST_META, set, ERR_INVALID),
    ] {
        let replies = ask(&mut world, &wire, number, &data);
        assert_eq!(replies.len(), 1, "{name}");
        assert_eq!((replies[0].0, replies[0].1), (number, expected), "{name}");
        assert_eq!(kinds(&ask(&mut world, &wire, OPT_LIST, &[])), [REP_SERVER, REP_ACK], "{name}");
    }
    assert_eq!(kinds(&ask(&mut world, &wire, OPT_GO, &info_data("vol", &[]))).pop(), Some(REP_ACK));
}

#[test]
fn list_names_every_export() {
    let mut world = world();
    world.volume("other", 4096);
    let wire = greet(&mut world, 3);
    let replies = ask(&mut world, &wire, OPT_LIST, &[]);
    assert_eq!(kinds(&replies), [REP_SERVER, REP_SERVER, REP_ACK]);
    assert_eq!(replies[0].2, b"\0\0\0\x05othervolume other of 4 KiB");
    assert_eq!(replies[1].2, b"\0\0\0\x03volvolume vol of 1 MiB");
}

#[test]
fn flags_follow_what_was_agreed_on() {
    for (name, options, context, expected) in [
        ("simple", &[][..], false, FLAGS),
        ("structured", &[OPT_STRUCTURED], true, FLAGS | FLAG_DF),
        ("extended", &[OPT_EXTENDED], false, FLAGS | FLAG_DF),
        ("both", &[OPT_STRUCTURED, OPT_EXTENDED], true, FLAGS | FLAG_DF | FLAG_STATUS_PAYLOAD),
    ] {
        let mut world = world();
        let wire = greet(&mut world, 3);
        for &number in options {
            assert_eq!(kinds(&ask(&mut world, &wire, number, &[])), [REP_ACK], "{name}");
        }
        if context {
            let data = context_data("vol", &["base:allocation"]);
            assert_eq!(kinds(&ask(&mut world, &wire, OPT_SET_META, &data)), [REP_META, REP_ACK], "{name}");
        }
        let info = ask(&mut world, &wire, OPT_INFO, &info_data("vol", &[]));
        let go = ask(&mut world, &wire, OPT_GO, &info_data("vol", &[]));
        assert_eq!((flags(&info), flags(&go)), (expected, expected), "{name}");
    }
}

#[test]
fn a_read_only_volume_says_so() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", SIZE);
    volume.set_info(|info| info.read_only = true);
    world.exports.remove("vol").expect("nobody uses it");
    let export = Export { name: "vol".to_owned(), volume: volume.info(), core: 0 };
    world.exports.insert(export).expect("the name is free");
    let wire = greet(&mut world, 3);
    let go = ask(&mut world, &wire, OPT_GO, &info_data("vol", &[]));
    assert_eq!(flags(&go), FLAGS | FLAG_READ_ONLY);
}

#[test]
fn structured_replies_do_not_replace_extended_headers() {
    let mut world = world();
    let wire = greet(&mut world, 3);
    assert_eq!(kinds(&ask(&mut world, &wire, OPT_EXTENDED, &[])), [REP_ACK]);
    assert_eq!(kinds(&ask(&mut world, &wire, OPT_STRUCTURED, &[])), [ERR_EXT_HEADER_REQD]);
    assert_eq!(kinds(&ask(&mut world, &wire, OPT_EXTENDED, &[])), [REP_ACK]);
}

#[test]
fn the_empty_name_is_the_only_export() {
    let mut world = world();
    let wire = greet(&mut world, 3);
    let replies = ask(&mut world, &wire, OPT_INFO, &info_data("", &[1]));
    assert!(replies.iter().any(|(_, _, data)| data == b"\0\x01vol"), "its canonical name is told");
    world.volume("other", 4096);
    assert_eq!(kinds(&ask(&mut world, &wire, OPT_INFO, &info_data("", &[]))), [ERR_UNKNOWN]);
}

#[test]
fn contexts_are_listed_and_selected() {
    let mut world = world();
    let wire = greet(&mut world, 3);
    ask(&mut world, &wire, OPT_STRUCTURED, &[]);
    let listed = |world: &mut World, queries: &[&str]| {
        kinds(&ask(world, &wire, OPT_LIST_META, &context_data("vol", queries)))
    };
    assert_eq!(listed(&mut world, &[]), [REP_META, REP_ACK]);
    assert_eq!(listed(&mut world, &["base:"]), [REP_META, REP_ACK]);
    assert_eq!(listed(&mut world, &["base:x", "qemu:"]), [REP_ACK]);
    let selected = |world: &mut World, queries: &[&str]| {
        kinds(&ask(world, &wire, OPT_SET_META, &context_data("vol", queries)))
    };
    assert_eq!(selected(&mut world, &[]), [REP_ACK]);
    assert_eq!(selected(&mut world, &["base:"]), [REP_ACK]);
    assert_eq!(selected(&mut world, &["base:", "base:allocation"]), [REP_META, REP_ACK]);
    let unknown = context_data("nope", &["base:allocation"]);
    assert_eq!(kinds(&ask(&mut world, &wire, OPT_SET_META, &unknown)), [ERR_UNKNOWN]);
}

#[test]
fn only_the_last_selection_for_the_same_export_counts() {
    let select = |export: &str| (OPT_SET_META, context_data(export, &["base:allocation"]));
    let none = (OPT_SET_META, context_data("vol", &[]));
    let broken = (OPT_SET_META, vec![0; 3]);
    let too_big = (OPT_SET_META, vec![0; 20_000]);
    for (name, selections, works) in [
        ("selected", vec![select("vol")], true),
        ("never", vec![], false),
        ("for another export", vec![select("vol"), select("other")], false),
        ("replaced by none", vec![select("vol"), none], false),
        ("replaced by a failure", vec![select("vol"), broken], false),
        ("replaced by what is too big", vec![select("vol"), too_big], false),
        ("selected again", vec![select("other"), select("vol")], true),
    ] {
        let mut world = world();
        world.volume("other", 4096);
        let wire = greet(&mut world, 3);
        ask(&mut world, &wire, OPT_STRUCTURED, &[]);
        for (number, data) in selections {
            ask(&mut world, &wire, number, &data);
        }
        ask(&mut world, &wire, OPT_GO, &info_data("vol", &[]));
        let client = Client { style: Style::Structured, wire };
        let said = client.ask(&mut world, 0, BLOCK_STATUS, 0, SIZE);
        let expected = if works { Said::Extents(vec![(SIZE, 3)]) } else { Said::Error(EINVAL, None) };
        assert_eq!(said, expected, "{name}");
    }
}

#[test]
fn abort_is_acknowledged() {
    let mut world = world();
    let wire = greet(&mut world, 3);
    assert_eq!(kinds(&ask(&mut world, &wire, OPT_ABORT, b"ignored")), [REP_ACK]);
    assert!(wire.is_closed() && world.exports.sessions().is_empty());
}

#[test]
fn a_negotiation_may_come_byte_by_byte_but_not_take_for_ever() {
    let mut world = world();
    let wire = world.connect();
    wire.segment.set(1);
    wire.write(&opening(Style::Extended, "vol"));
    world.run();
    assert_eq!(option_replies(&wire.read()[18..]).pop().map(|(_, kind, _)| kind), Some(REP_ACK));

    let slow = world.connect();
    for byte in opening(Style::Simple, "vol") {
        slow.write(&[byte]);
        world.pass(Duration::from_secs(1));
    }
    assert!(slow.is_closed(), "30 s are enough for anybody");
    assert!(!wire.is_closed(), "who has begun has all the time in the world");
    assert_eq!(world.exports.sessions().len(), 1);
}

#[test]
fn a_connection_goes_to_the_core_that_owns_the_volume() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", SIZE);
    let elsewhere = Export { name: "elsewhere".to_owned(), volume: volume.info(), core: 3 };
    world.exports.insert(elsewhere).expect("a new name");
    let wire = world.connect();
    wire.write(&opening(Style::Structured, "elsewhere"));
    world.run();
    assert_eq!(*world.cores.0.borrow(), [3]);
}

#[test]
fn an_export_whose_volume_is_not_open_is_not_served() {
    let mut world = World::new(1 << 30);
    let mut info = world.volume("vol", SIZE).info();
    info.id = quarry_types::VolumeId::from_random(99);
    world.exports.insert(Export { name: "gone".to_owned(), volume: info, core: 0 }).expect("a new name");
    let wire = world.connect();
    wire.write(&opening(Style::Simple, "gone"));
    world.run();
    assert!(wire.is_closed() && world.exports.sessions().is_empty());
}

#[test]
fn accepting_goes_on_after_errors() {
    let mut world = world();
    world.run();
    for _ in 0..3 {
        world.fail_accept(std::io::ErrorKind::Other);
    }
    let wire = world.connect();
    world.run();
    assert_eq!(wire.read(), [], "a pause follows an error");
    world.pass(Duration::from_secs(1));
    assert_eq!(wire.read().len(), 18);
}

#[test]
fn whoever_says_nothing_gives_way_to_those_who_come_after_him() {
    let mut world = world();
    let client = Client::open(&mut world, Style::Structured, "vol");
    let wires: Vec<_> = (0..STRANGERS_MAX).map(|_| world.connect()).collect();
    world.run();
    assert!(wires.iter().all(|wire| !wire.is_closed()));
    let next = world.connect();
    world.run();
    assert_eq!(next.read().len(), 18);
    assert!(wires[0].is_closed() && wires[1..].iter().all(|wire| !wire.is_closed()));
    assert_eq!(client.ask(&mut world, 0, READ, 0, 512), Said::Data(0, vec![0; 512]));
}
