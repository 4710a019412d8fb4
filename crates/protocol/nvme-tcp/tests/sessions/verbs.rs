//! The commands of the NVM command set.

use quarry_nvme::status_of;
use quarry_nvme_wire::constants::{feature, io};
use quarry_nvme_wire::{CommandBuilder, Status};
use quarry_target::Audience;
use quarry_volume::{ErrorKind, Volume};

use crate::support::host::*;
use crate::support::initiator::Data;
use crate::support::world::World;

const MIB: u64 = 1 << 20;
const FUA: u32 = 1 << 30;
const DEALLOCATE: u32 = 1 << 25;

/// A world with volume 1 of 64 MiB.
fn stage() -> (World, std::rc::Rc<crate::support::volume::MemoryVolume>, Host) {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, 64 * MIB);
    let host = Host::new(&mut world);
    (world, volume, host)
}

/// Ranges of Dataset Management: blocks from a first one.
fn dataset(ranges: &[(u32, u64)]) -> (CommandBuilder, Data) {
    let mut list = Vec::new();
    for (blocks, first) in ranges {
        list.extend([0; 4]);
        list.extend(blocks.to_le_bytes());
        list.extend(first.to_le_bytes());
    }
    let command =
        CommandBuilder::new(io::DATASET_MANAGEMENT, 0).namespace(1).dword(10, ranges.len() as u32 - 1);
    (command.dword(11, 1 << 2), Data::Capsule(list))
}

/// A Copy of format 0.
fn copy(target: u64, ranges: &[(u64, u16)]) -> (CommandBuilder, Data) {
    let mut list = Vec::new();
    for (first, blocks) in ranges {
        let mut range = [0; 32];
        range[8..16].copy_from_slice(&first.to_le_bytes());
        range[16..18].copy_from_slice(&(blocks - 1).to_le_bytes());
        list.extend(range);
    }
    let command = CommandBuilder::new(io::COPY, 0).namespace(1).double_dword(10, target);
    (command.dword(12, ranges.len() as u32 - 1), Data::Capsule(list))
}

#[test]
fn compare_says_whether_it_is_the_same() {
    let (mut world, volume, mut host) = stage();
    volume.fill(0, &pattern(1, 16384));
    let compare = |bytes: Vec<u8>| (ranged(io::COMPARE, 1, 8, 8), Data::Capsule(bytes));
    let (command, data) = compare(pattern(1, 16384)[4096..8192].to_vec());
    assert_eq!(host.io.ask(&mut world, command, data).status, Status::SUCCESS);
    let (command, data) = compare(vec![0; 4096]);
    assert_eq!(host.io.ask(&mut world, command, data).status, Status::COMPARE_FAILURE);
}

#[test]
fn zeroes_are_written_with_and_without_their_space() {
    let (mut world, volume, mut host) = stage();
    volume.fill(0, &pattern(1, 65536));
    volume.records.set(true);
    assert_eq!(host.io.status(&mut world, ranged(io::WRITE_ZEROES, 1, 8, 8)), Status::SUCCESS);
    let deallocate = ranged(io::WRITE_ZEROES, 1, 16, 16).dword(12, 15 | DEALLOCATE);
    assert_eq!(host.io.status(&mut world, deallocate), Status::SUCCESS);
    let calls = [("write zeroes", 4096, 4096, true), ("write zeroes", 8192, 8192, false)];
    assert_eq!(volume.calls.borrow()[..], calls);
    assert_eq!(volume.content(4096, 12288), vec![0; 12288]);
    let longest = ranged(io::WRITE_ZEROES, 1, 0, 65536);
    assert_eq!(host.io.status(&mut world, longest), Status::SUCCESS, "32 MiB in one command");
}

#[test]
fn ranges_are_deallocated_all_or_none() {
    let (mut world, volume, mut host) = stage();
    volume.fill(0, &pattern(1, 65536));
    let (command, data) = dataset(&[(8, 8), (0, 3), (16, 32)]);
    assert_eq!(host.io.ask(&mut world, command, data).status, Status::SUCCESS);
    assert_eq!(volume.content(4096, 4096), vec![0; 4096]);
    assert_eq!(volume.content(16384, 8192), vec![0; 8192]);
    assert_eq!(volume.content(8192, 4096), pattern(1, 65536)[8192..12288]);
    volume.records.set(true);
    let (command, data) = dataset(&[(8, 0), (8, 64 * MIB / 512 - 7)]);
    assert_eq!(host.io.ask(&mut world, command, data).status, Status::LBA_OUT_OF_RANGE);
    assert!(volume.calls.borrow().is_empty());
    // Linux sends room for every range there might be, and a hint that is none of ours changes nothing.
    let (command, Data::Capsule(mut list)) = dataset(&[(8, 64)]) else { unreachable!() };
    list.resize(4096, 0xFF);
    assert_eq!(host.io.ask(&mut world, command, Data::Capsule(list.clone())).status, Status::SUCCESS);
    assert_eq!(host.io.ask(&mut world, command.dword(11, 1), Data::Capsule(list)).status, Status::SUCCESS);
    assert_eq!(volume.calls.borrow()[..], [("discard", 32768, 4096, false)]);
    let (command, _) = dataset(&[(8, 64), (8, 64)]);
    assert_eq!(host.io.ask(&mut world, command, Data::Capsule(vec![0; 16])).status, Status::SGL_LENGTH);
}

#[test]
fn ranges_are_copied_one_behind_the_other() {
    let (mut world, volume, mut host) = stage();
    volume.fill(0, &pattern(1, 4 << 20));
    let (command, data) = copy(100_000, &[(0, 1), (64, 16), (3, 5000)]);
    assert_eq!(host.io.ask(&mut world, command, data).status, Status::SUCCESS);
    let source = pattern(1, 4 << 20);
    let expected = [&source[..512], &source[32768..40960], &source[1536..1536 + 5000 * 512]].concat();
    assert_eq!(volume.content(100_000 * 512, expected.len()), expected);
    let limit = Status::COPY_LIMIT;
    let table = [
        (copy(0, &[(0, 32769)]), limit),
        (copy(0, &[(0, 32768), (0, 32768), (0, 1)]), limit),
        (copy(131_000, &[(0, 100)]), Status::LBA_OUT_OF_RANGE),
        (copy(u64::MAX / 512, &[(0, 100)]), Status::LBA_OUT_OF_RANGE),
        (copy(0, &[(131_000, 100)]), Status::LBA_OUT_OF_RANGE),
    ];
    volume.records.set(true);
    for (index, ((command, data), status)) in table.into_iter().enumerate() {
        assert_eq!(host.io.ask(&mut world, command, data).status, status, "{index}");
    }
    assert!(volume.calls.borrow().is_empty(), "nothing of a wrong copy is done");
    let (command, data) = copy(0, &[(0, 8)]);
    assert_eq!(host.io.ask(&mut world, command.dword(12, 1 << 8), data).status, Status::INVALID_FIELD);
}

#[test]
fn a_range_is_copied_whole_over_a_part_of_itself() {
    for (from, to) in [(0, 100), (100, 0)] {
        let (mut world, volume, mut host) = stage();
        let source = pattern(1, 4 << 20);
        volume.fill(0, &source);
        let (command, data) = copy(to as u64, &[(from as u64, 8000)]);
        assert_eq!(host.io.ask(&mut world, command, data).status, Status::SUCCESS);
        assert_eq!(volume.content(to as u64 * 512, 8000 * 512), source[from * 512..][..8000 * 512]);
    }
}

#[test]
fn a_pointer_of_a_reserved_kind_is_refused() {
    let (mut world, _volume, mut host) = stage();
    let command = ranged(io::READ, 1, 0, 1).byte(1, 3 << 6);
    assert_eq!(host.io.ask(&mut world, command, Data::In(512)).status, Status::INVALID_FIELD);
}

#[test]
fn verify_reads_and_flush_flushes() {
    let (mut world, volume, mut host) = stage();
    volume.records.set(true);
    assert_eq!(host.io.status(&mut world, ranged(io::VERIFY, 1, 0, 4096)), Status::SUCCESS);
    let flush = CommandBuilder::new(io::FLUSH, 0).namespace(1);
    assert_eq!(host.io.status(&mut world, flush), Status::SUCCESS);
    let calls = [("read", 0, MIB, false), ("read", MIB, MIB, false), ("flush", 0, 0, false)];
    assert_eq!(volume.calls.borrow()[..], calls);
    assert_eq!(host.io.status(&mut world, flush.namespace(u32::MAX)), Status::INVALID_NAMESPACE);
    volume.fail.set(Some(ErrorKind::Corrupt));
    assert_eq!(host.io.status(&mut world, ranged(io::VERIFY, 1, 0, 1)), Status::READ_ERROR);
}

#[test]
fn forced_unit_access_reaches_the_volume() {
    let (mut world, volume, mut host) = stage();
    volume.records.set(true);
    let write = ranged(io::WRITE, 1, 0, 1).dword(12, FUA);
    host.io.ask(&mut world, write, Data::Capsule(vec![1; 512]));
    let read = ranged(io::READ, 1, 0, 1).dword(12, FUA);
    assert_eq!(host.io.ask(&mut world, read, Data::In(512)).data, vec![1; 512]);
    let calls = [("write", 0, 512, true), ("flush", 0, 0, false), ("read", 0, 512, false)];
    assert_eq!(volume.calls.borrow()[..], calls);
}

#[test]
fn what_cannot_be_is_refused_before_data_moves() {
    let (mut world, volume, mut host) = stage();
    volume.records.set(true);
    let end = 64 * MIB / 512;
    let range = Status::LBA_OUT_OF_RANGE;
    let table = [
        (ranged(io::READ, 1, end, 1), Data::In(512), range),
        (ranged(io::READ, 1, end - 1, 2), Data::In(1024), range),
        (ranged(io::READ, 1, u64::MAX, 8), Data::In(4096), range),
        (ranged(io::WRITE, 1, u64::MAX / 512, 8), Data::Out(vec![0; 4096]), range),
        (ranged(io::READ, 1, 0, 2049), Data::In(2049 * 512), Status::INVALID_FIELD),
        (ranged(io::READ, 0, 0, 1), Data::In(512), Status::INVALID_NAMESPACE),
        (ranged(io::READ, 2, 0, 1), Data::In(512), Status::INVALID_NAMESPACE),
        (ranged(io::READ, u32::MAX, 0, 1), Data::In(512), Status::INVALID_NAMESPACE),
        (ranged(0x7E, 1, 0, 1), Data::None, Status::INVALID_OPCODE),
        (ranged(io::READ, 1, 0, 2), Data::In(512), Status::SGL_LENGTH),
        (ranged(io::WRITE, 1, 0, 2), Data::Capsule(vec![0; 512]), Status::SGL_LENGTH),
        (ranged(io::WRITE, 1, 0, 1), Data::Out(vec![0; 1024]), Status::SGL_LENGTH),
        (ranged(io::READ, 1, 0, 1), Data::Capsule(vec![0; 512]), Status::SGL_TYPE),
        (ranged(io::READ, 1, 0, 1).fuse(3), Data::In(512), Status::INVALID_FIELD),
    ];
    for (index, (command, data, status)) in table.into_iter().enumerate() {
        assert_eq!(host.io.ask(&mut world, command, data).status, status, "{index}");
    }
    assert!(volume.calls.borrow().is_empty());
    assert_eq!(host.io.read(&mut world, 1, end - 1, 1).status, Status::SUCCESS, "the queue goes on");
}

#[test]
fn a_volume_that_grows_is_used_at_once() {
    let (mut world, volume, mut host) = stage();
    volume.set_info(|info| info.size_bytes = 65 * MIB);
    assert_eq!(host.io.read(&mut world, 1, 64 * MIB / 512, 1).status, Status::SUCCESS);
}

#[test]
fn read_only_is_read_only_by_mapping_and_by_volume() {
    let mut world = World::new(1 << 30);
    let frozen = world.open("frozen", 1, MIB);
    frozen.set_info(|info| info.read_only = true);
    world.map(&frozen, 1, Audience::Everyone);
    let mut host = Host::new(&mut world);
    let (trim, list) = dataset(&[(8, 0)]);
    let (copy, ranges) = copy(0, &[(0, 8)]);
    let table = [
        (ranged(io::WRITE, 1, 0, 1), Data::Out(vec![0; 512])),
        (ranged(io::WRITE_ZEROES, 1, 0, 1), Data::None),
        (trim, list),
        (copy, ranges),
    ];
    for (command, data) in table {
        assert_eq!(host.io.ask(&mut world, command, data).status, Status::WRITE_PROTECTED);
    }
    assert_eq!(host.io.read(&mut world, 1, 0, 1).status, Status::SUCCESS);
    assert_eq!(host.admin.identify(&mut world, 0, 1).data[99], 1);
}

#[test]
fn failures_of_the_volume_have_their_status() {
    let (mut world, volume, mut host) = stage();
    for kind in ErrorKind::ALL {
        volume.fail.set(Some(kind));
        let answer = host.io.read(&mut world, 1, 0, 1);
        assert_eq!((answer.status, answer.data.len()), (status_of(kind), 0), "{kind:?}");
        assert_eq!(host.io.write(&mut world, 1, 0, Data::Out(vec![0; 512])).status, status_of(kind));
    }
    volume.fail.set(None);
    assert_eq!(host.io.read(&mut world, 1, 0, 1).status, Status::SUCCESS);
}

#[test]
fn a_volume_of_another_core_is_not_ready_until_it_is_there() {
    let mut world = World::new(1 << 30);
    let volume = world.volume(1, MIB);
    let id = volume.info().id;
    world.volumes.0.borrow_mut().remove(&id);
    let mut host = Host::new(&mut world);
    assert_eq!(host.io.read(&mut world, 1, 0, 1).status, Status::NAMESPACE_NOT_READY);
    assert_eq!(host.admin.identify(&mut world, 8, 1).data[14], 0);
    world.volumes.0.borrow_mut().insert(id, volume);
    assert_eq!(host.io.read(&mut world, 1, 0, 1).status, Status::SUCCESS);
    assert_eq!(host.admin.feature(&mut world, feature::QUEUES, 0).status, Status::SUCCESS);
}
