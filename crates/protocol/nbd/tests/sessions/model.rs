//! The server against an array of bytes: whatever sizes requests have and however the bytes are cut on their way.

use proptest::prelude::*;

use crate::support::client::*;
use crate::support::protocol::*;
use crate::support::world::World;

const SECTORS: u64 = 2048;
const SIZE: u64 = SECTORS * 512;

#[derive(Clone, Debug)]
enum Step {
    Write {
        sector: u64,
        sectors: u64,
        seed: u8,
    },
    Read {
        sector: u64,
        sectors: u64,
    },
    Zero {
        sector: u64,
        sectors: u64,
    },
    /// A write that is refused in the middle of others.
    Misfit {
        length: usize,
    },
    Run,
}

fn range() -> impl Strategy<Value = (u64, u64)> {
    let sectors = prop_oneof![6 => 1u64..16, 3 => 16u64..200, 1 => 200u64..1024];
    (0..SECTORS, sectors).prop_map(|(sector, sectors)| (sector, sectors.min(SECTORS - sector)))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (range(), any::<u8>()).prop_map(|((sector, sectors), seed)| Step::Write { sector, sectors, seed }),
        4 => range().prop_map(|(sector, sectors)| Step::Read { sector, sectors }),
        1 => range().prop_map(|(sector, sectors)| Step::Zero { sector, sectors }),
        1 => (1usize..100_000).prop_map(|length| Step::Misfit { length }),
        3 => Just(Step::Run),
    ]
}

fn bytes(sectors: u64, seed: u8) -> Vec<u8> {
    (0..sectors as usize * 512).map(|at| (at / 512) as u8 ^ (at as u8) ^ seed).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// The volume answers at once, so requests take effect in the order in which they were sent, and every read must
    /// show exactly what was written before it.
    #[test]
    fn reads_show_what_was_written(
        style in prop_oneof![Just(Style::Simple), Just(Style::Structured), Just(Style::Extended)],
        steps in prop::collection::vec(step(), 1..40),
        segment in prop_oneof![1 => 16usize..512, 3 => 512usize..200_000, 1 => Just(usize::MAX)],
        room in prop_oneof![1 => 100usize..5000, 3 => Just(usize::MAX)],
    ) {
        let mut world = World::new(1 << 30);
        let volume = world.volume("vol", SIZE);
        let client = Client::open(&mut world, style, "vol");
        client.wire.segment.set(segment);
        let mut model = vec![0u8; SIZE as usize];
        let mut expected = Vec::new();
        let mut received = Vec::new();
        for (cookie, step) in steps.into_iter().enumerate() {
            let cookie = cookie as u64;
            match step {
                Step::Write { sector, sectors, seed } => {
                    let data = bytes(sectors, seed);
                    client.write(0, cookie, sector * 512, &data);
                    model[(sector * 512) as usize..][..data.len()].copy_from_slice(&data);
                    expected.push((cookie, Said::Done));
                }
                Step::Read { sector, sectors } => {
                    client.send(0, READ, READS + cookie, sector * 512, sectors * 512);
                    let data = model[(sector * 512) as usize..][..(sectors * 512) as usize].to_vec();
                    let offset = if style == Style::Simple { 0 } else { sector * 512 };
                    expected.push((READS + cookie, Said::Data(offset, data)));
                }
                Step::Zero { sector, sectors } => {
                    client.send(0, WRITE_ZEROES, cookie, sector * 512, sectors * 512);
                    model[(sector * 512) as usize..][..(sectors * 512) as usize].fill(0);
                    expected.push((cookie, Said::Done));
                }
                Step::Misfit { length } => {
                    client.write(0, cookie, 1, &vec![9; length]);
                    expected.push((cookie, Said::Error(EINVAL, None)));
                }
                Step::Run => {
                    client.wire.room.set(room);
                    world.run();
                    received.extend(client.wire.read());
                }
            }
        }
        client.wire.room.set(usize::MAX);
        world.run();
        received.extend(client.wire.read());
        let lengths = |cookie: u64| {
            let said = expected.iter().find(|(found, _)| *found == cookie).map(|(_, said)| said);
            if let Some(Said::Data(_, data)) = said { data.len() } else { 0 }
        };
        prop_assert_eq!(replies(style, &received, &lengths), expected);
        prop_assert_eq!(volume.content(0, SIZE as usize), model);
    }
}
