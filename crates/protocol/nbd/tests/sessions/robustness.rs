//! Clients that die at any byte, and clients that send anything.

use proptest::prelude::*;

use crate::support::client::*;
use crate::support::protocol::*;
use crate::support::world::World;

const SIZE: u64 = 1 << 20;

/// A session that uses every command.
fn session(style: Style) -> Vec<u8> {
    let mut bytes = opening(style, "vol");
    bytes.extend(write(style, FUA, 1, 4096, &[1; 512]));
    bytes.extend(request(style, 0, READ, 2, 0, 4096));
    bytes.extend(request(style, NO_HOLE, WRITE_ZEROES, 3, 512, 1024));
    bytes.extend(request(style, 0, BLOCK_STATUS, 4, 0, SIZE));
    bytes.extend(write(style, 0, 5, 1, &[1; 100]));
    bytes.extend(request(style, 0, TRIM, 6, 0, 8192));
    bytes.extend(request(style, 0, CACHE, 7, 0, 8192));
    bytes.extend(request(style, 0, FLUSH, 8, 0, 0));
    bytes.extend(request(style, 0, 200, 9, 0, 0));
    bytes.extend(request(style, 0, DISC, 0, 0, 0));
    bytes
}

/// Somebody else's session, which must not notice anything.
fn assert_alive(world: &mut World, client: &Client) {
    assert_eq!(client.ask(world, 0, READ, SIZE - 4096, 512), Said::Data(SIZE - 4096, vec![7; 512]));
}

fn world() -> (World, Client) {
    let mut world = World::new(64 << 20);
    world.volume("vol", SIZE).fill(SIZE - 4096, &[7; 4096]);
    let witness = Client::open(&mut world, Style::Structured, "vol");
    (world, witness)
}

#[test]
fn a_client_may_die_at_any_byte() {
    for style in STYLES {
        let (mut world, witness) = world();
        let whole = session(style);
        for length in 0..whole.len() {
            let wire = world.connect();
            wire.write(&whole[..length]);
            world.run();
            wire.close();
            world.run();
            assert_eq!(world.exports.sessions().len(), 1, "{style:?}: dead after {length} bytes");
        }
        assert_alive(&mut world, &witness);
    }
}

/// One change of a valid session.
#[derive(Clone, Debug)]
enum Change {
    Flip { at: usize, bits: u8 },
    Number { at: usize, value: u32 },
    Remove { at: usize, count: usize },
    Insert { at: usize, bytes: Vec<u8> },
    Repeat { at: usize, count: usize },
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: usize| at % bytes.len().max(1);
        let end = |at: usize, count: usize| (place(at) + count).min(bytes.len());
        match *self {
            Change::Flip { at, bits } => {
                let at = place(at);
                bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= bits);
            }
            Change::Number { at, value } => {
                let at = place(at);
                bytes[at..].iter_mut().zip(value.to_be_bytes()).for_each(|(to, from)| *to = from);
            }
            Change::Remove { at, count } => drop(bytes.drain(place(at)..end(at, count))),
            Change::Insert { at, bytes: ref more } => drop(bytes.splice(place(at)..place(at), more.clone())),
            Change::Repeat { at, count } => {
                let (from, to) = (place(at), end(at, count));
                let copy = bytes[from..to].to_vec();
                bytes.splice(from..from, copy);
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0usize..2000;
    let number =
        prop_oneof![any::<u32>(), 0u32..64, Just(u32::MAX), (0u32..64).prop_map(|shift| 1 << (shift % 32))];
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, bits)| Change::Flip { at, bits }),
        (at.clone(), number).prop_map(|(at, value)| Change::Number { at, value }),
        (at.clone(), 1usize..40).prop_map(|(at, count)| Change::Remove { at, count }),
        (at.clone(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, bytes)| Change::Insert { at, bytes }),
        (at, 1usize..200).prop_map(|(at, count)| Change::Repeat { at, count }),
    ]
}

fn style() -> impl Strategy<Value = Style> {
    prop_oneof![Just(Style::Simple), Just(Style::Structured), Just(Style::Extended)]
}

/// Serves each of `sessions` in a world of its own kind, then looks whether all is well.
fn serve(sessions: &[(Vec<u8>, usize)]) {
    let (mut world, witness) = world();
    let before = world.env.buffers.used_bytes();
    for (bytes, segment) in sessions {
        let wire = world.connect();
        wire.segment.set(*segment);
        wire.write(bytes);
        world.run();
        wire.close();
        world.run();
    }
    // Not all of what the witness's volume holds: writes may have allocated blocks of it.
    assert!(world.env.buffers.used_bytes() <= before + SIZE as usize + 8192);
    assert_eq!(world.exports.sessions().len(), 1);
    witness.send(0, READ, READS, 0, 512);
    world.run();
    assert_eq!(witness.replies(0).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_sessions_hurt_nobody(
        sessions in prop::collection::vec(
            (style(), prop::collection::vec(change(), 1..6), 1usize..400),
            1..4,
        ),
    ) {
        let changed = |(style, changes, segment): &(Style, Vec<Change>, usize)| {
            let mut bytes = session(*style);
            changes.iter().for_each(|change| change.apply(&mut bytes));
            (bytes, *segment)
        };
        serve(&sessions.iter().map(changed).collect::<Vec<_>>());
    }

    #[test]
    fn requests_of_any_kind_hurt_nobody(
        style in style(),
        requests in prop::collection::vec(
            (0u16..128, 0u16..10, prop_oneof![any::<u64>(), (0u64..3000).prop_map(|n| n * 512)],
             prop_oneof![any::<u64>(), (0u64..3000).prop_map(|n| n * 512)], 0usize..9000),
            1..40,
        ),
        segment in 1usize..100_000,
    ) {
        let mut bytes = opening(style, "vol");
        for (flags, command, offset, length, payload) in requests {
            bytes.extend(request(style, flags, command, 1, offset, length));
            // Sometimes the payload that belongs there, sometimes too much or too little.
            let fits = if command == WRITE { (length as usize).min(1 << 21) } else { 0 };
            bytes.extend(vec![3; if payload % 4 == 0 { payload } else { fits }]);
        }
        serve(&[(bytes, segment)]);
    }

    #[test]
    fn garbage_hurts_nobody(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        opened in prop::option::of(style()),
        segment in 1usize..2000,
    ) {
        let mut whole = opened.map(|style| opening(style, "vol")).unwrap_or_default();
        whole.extend(bytes);
        serve(&[(whole, segment)]);
    }
}
