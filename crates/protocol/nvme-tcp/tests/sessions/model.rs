//! Random commands against an array of bytes.

use proptest::prelude::*;
use quarry_nvme_wire::constants::io;
use quarry_nvme_wire::pdu::Link;
use quarry_nvme_wire::{CommandBuilder, Status};

use crate::support::host::*;
use crate::support::initiator::Data;
use crate::support::world::World;

const BLOCKS: usize = 512;

#[derive(Clone, Debug)]
enum Step {
    Read(usize, usize),
    Write(usize, usize, u8, bool),
    Zeroes(usize, usize, bool),
    Deallocate(usize, usize),
    Copy(usize, usize, usize),
    Exchange(usize, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = || (0..BLOCKS - 64, 1usize..64);
    let step = prop_oneof![
        range().prop_map(|(at, count)| Step::Read(at, count)),
        (range(), any::<u8>(), any::<bool>())
            .prop_map(|((at, count), seed, out)| Step::Write(at, count, seed, out)),
        (range(), any::<bool>()).prop_map(|((at, count), unmap)| Step::Zeroes(at, count, unmap)),
        range().prop_map(|(at, count)| Step::Deallocate(at, count)),
        (range(), 0..BLOCKS - 64).prop_map(|((at, count), to)| Step::Copy(at, count, to)),
        (0..BLOCKS - 8, any::<u8>()).prop_map(|(at, seed)| Step::Exchange(at, seed)),
    ];
    prop::collection::vec(step, 1..40)
}

struct Model {
    bytes: Vec<u8>,
}

impl Model {
    fn run(&mut self, world: &mut World, host: &mut Host, step: &Step) {
        let range = |at: usize, count: usize| at * 512..(at + count) * 512;
        let status = match *step {
            Step::Read(at, count) => {
                let answer = host.io.read(world, 1, at as u64, count as u32);
                assert_eq!(answer.data, self.bytes[range(at, count)], "{step:?}");
                answer.status
            }
            Step::Write(at, count, seed, out) => {
                let data = pattern(seed, count * 512);
                self.bytes[range(at, count)].copy_from_slice(&data);
                let data = if out || count > 32 { Data::Out(data) } else { Data::Capsule(data) };
                host.io.write(world, 1, at as u64, data).status
            }
            Step::Zeroes(at, count, unmap) => {
                self.bytes[range(at, count)].fill(0);
                let command = ranged(io::WRITE_ZEROES, 1, at as u64, count as u32);
                host.io.status(world, command.dword(12, (count as u32 - 1) | (u32::from(unmap) << 25)))
            }
            Step::Deallocate(at, count) => {
                // Whole blocks of 4 KiB become zeroes, parts of them stay.
                let (start, end) = (at.next_multiple_of(8), (at + count) / 8 * 8);
                self.bytes[range(start, end.saturating_sub(start))].fill(0);
                let mut list = [0; 16];
                list[4..8].copy_from_slice(&(count as u32).to_le_bytes());
                list[8..].copy_from_slice(&(at as u64).to_le_bytes());
                let command = CommandBuilder::new(io::DATASET_MANAGEMENT, 0).namespace(1).dword(11, 4);
                host.io.ask(world, command, Data::Capsule(list.to_vec())).status
            }
            Step::Copy(at, count, to) => {
                self.bytes.copy_within(range(at, count), to * 512);
                let mut list = [0; 32];
                list[8..16].copy_from_slice(&(at as u64).to_le_bytes());
                list[16..18].copy_from_slice(&(count as u16 - 1).to_le_bytes());
                let command = CommandBuilder::new(io::COPY, 0).namespace(1).double_dword(10, to as u64);
                host.io.ask(world, command, Data::Capsule(list.to_vec())).status
            }
            Step::Exchange(at, seed) => {
                let expected = self.bytes[range(at, 2)].to_vec();
                let data = pattern(seed, 1024);
                self.bytes[range(at, 2)].copy_from_slice(&data);
                let compare = ranged(io::COMPARE, 1, at as u64, 2).fuse(1);
                let first = host.io.submit(compare, Data::Capsule(expected));
                let second = host.io.ask(world, ranged(io::WRITE, 1, at as u64, 2).fuse(2), Data::Out(data));
                assert_eq!(host.io.take_answer(first).unwrap().status, Status::SUCCESS);
                second.status
            }
        };
        assert_eq!(status, Status::SUCCESS, "{step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_namespace_is_an_array_of_bytes(steps in steps(), digests in any::<bool>(), segment in 100usize..5000) {
        let mut world = World::new(1 << 30);
        let volume = world.volume(1, (BLOCKS * 512) as u64);
        let link = Link { header_digest: digests, data_digest: digests, host_alignment: 0 };
        let mut host = Host::with(&mut world, &Opening { link, ..Opening::default() });
        host.io.wire.segment.set(segment);
        host.io.piece_bytes = 8192;
        let mut model = Model { bytes: vec![0; BLOCKS * 512] };
        for step in &steps {
            model.run(&mut world, &mut host, step);
        }
        prop_assert_eq!(volume.content(0, BLOCKS * 512), model.bytes);
    }
}
