//! Commands on blocks.

use futures::FutureExt;
use quarry_scsi::{Code, Key, Status};
use quarry_volume::ErrorKind;

use crate::support::{BLOCKS, World, copy_command, long};

const READ: u8 = 0x88;
const WRITE: u8 = 0x8A;
const FUA: u8 = 0x08;

#[test]
fn reads_and_writes_of_every_length_reach_the_same_blocks() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    let writes: [&[u8]; 4] = [
        &[0x0A, 0, 0, 10, 2, 0],
        &[0x2A, 0, 0, 0, 0, 20, 0, 0, 2, 0],
        &[0xAA, 0, 0, 0, 0, 30, 0, 0, 0, 2, 0, 0],
        &long(WRITE, 0, 40, 2),
    ];
    for (index, command) in writes.into_iter().enumerate() {
        let data = vec![index as u8 + 1; 1024];
        assert_eq!(client.status(command, &data), Status::Good);
        let lba = 10 * (index as u64 + 1);
        assert_eq!(world.volume.content(lba * 512, 1024), data);
        let mut read = command.to_vec();
        read[0] = [0x08, 0x28, 0xA8, READ][index];
        assert_eq!(client.data(&read), data);
    }
    assert_eq!(client.data(&[0x08, 0, 0, 0, 0, 0]).len(), 256 * 512, "no number means 256");
    assert_eq!(client.data(&long(READ, 0, 0, 0)), [0; 0]);
}

#[test]
fn ranges_protection_and_lengths_are_checked() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    for (lba, blocks, expected) in [
        (BLOCKS, 1, Code::OUT_OF_RANGE),
        (BLOCKS - 1, 2, Code::OUT_OF_RANGE),
        (u64::MAX, 1, Code::OUT_OF_RANGE),
        (BLOCKS + 1, 0, Code::OUT_OF_RANGE),
        (0, u32::MAX, Code::OUT_OF_RANGE),
    ] {
        for opcode in [READ, WRITE, 0x8B, 0x8E, 0x8F, 0x90, 0x91, 0x93] {
            let found = client.code(&long(opcode, 0, lba, blocks), &[]);
            assert_eq!(found, Some(expected), "{opcode:#x} {lba} {blocks}");
        }
    }
    for opcode in [READ, WRITE, 0x89, 0x8B, 0x8E, 0x8F, 0x93] {
        assert_eq!(
            client.code(&long(opcode, 0x20, 0, 1), &[]),
            Some(Code::INVALID_FIELD_IN_CDB),
            "{opcode:#x}"
        );
    }
    world.volume.set_info(|info| info.size_bytes = 1 << 30);
    let too_long = long(READ, 0, 0, (quarry_scsi::limits::TRANSFER_BYTES_MAX / 512) + 1);
    assert_eq!(client.code(&too_long, &[]), Some(Code::INVALID_FIELD_IN_CDB));
}

#[test]
fn forced_access_reaches_the_volume() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    world.volume.records.set(true);
    client.send(&long(WRITE, FUA, 0, 1), &[1; 512]);
    client.send(&long(WRITE, 0, 0, 1), &[1; 512]);
    client.send(&long(READ, FUA, 0, 1), &[]);
    client.send(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]);
    let calls = world.volume.calls.take();
    let expected = [
        ("write", 0, 512, true),
        ("write", 0, 512, false),
        ("flush", 0, 0, false),
        ("read", 0, 512, false),
        ("flush", 0, 0, false),
    ];
    assert_eq!(calls, expected);
}

#[test]
fn whole_blocks_of_short_data_are_written() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    assert_eq!(client.status(&long(WRITE, 0, 0, 4), &[7; 1200]), Status::Good);
    assert_eq!(world.volume.content(0, 2048), [vec![7; 1024], vec![0; 1024]].concat());
    assert_eq!(client.status(&long(WRITE, 0, 0, 4), &[]), Status::Good);
}

#[test]
fn failures_of_the_volume_are_told_apart() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    for (kind, key, code) in [
        (ErrorKind::NoSpace, Key::DataProtect, Code::SPACE_ALLOCATION_FAILED),
        (ErrorKind::Corrupt, Key::MediumError, Code::UNRECOVERED_READ_ERROR),
        (ErrorKind::Unavailable, Key::NotReady, Code::BECOMING_READY),
    ] {
        world.volume.fail.set(Some(kind));
        let sense = client.send(&long(WRITE, 0, 5, 1), &[1; 512]).sense.expect("it fails");
        assert_eq!((sense.key, sense.code), (key, code));
        assert_eq!(sense.information, (kind == ErrorKind::Corrupt).then_some(5));
    }
    world.volume.fail.set(None);
    assert_eq!(client.status(&long(WRITE, 0, 5, 1), &[1; 512]), Status::Good, "it is found again");
}

#[test]
fn compare_and_write_depends_on_what_is_there() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    let mut command = long(0x89, 0, 3, 0);
    command[13] = 1;
    let data = [[0; 512], [5; 512]].concat();
    assert_eq!(client.status(&command, &data), Status::Good);
    let sense = client.send(&command, &data).sense.expect("it is another one now");
    assert_eq!((sense.key, sense.information), (Key::Miscompare, Some(0)));
    let mut almost = [[5; 512], [6; 512]].concat();
    almost[300] = 0;
    assert_eq!(client.send(&command, &almost).sense.and_then(|sense| sense.information), Some(300));
    assert_eq!(world.volume.content(3 * 512, 512), [5; 512]);
    assert_eq!(client.code(&command, &data[..512]), Some(Code::INVALID_FIELD_IN_CDB), "half of the data");
    command[13] = 129;
    assert_eq!(client.code(&command, &[0; 129 * 1024]), Some(Code::INVALID_FIELD_IN_CDB), "too much");
}

#[test]
fn atomic_writes_are_whole_physical_blocks_and_bounded() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    let atomic = |lba: u64, boundary: u16, blocks: u16| {
        let mut cdb = long(0x9C, FUA, lba, 0);
        cdb[10..12].copy_from_slice(&boundary.to_be_bytes());
        cdb[12..14].copy_from_slice(&blocks.to_be_bytes());
        cdb
    };
    let limits = client.data(&[0x12, 1, 0xB0, 0, 64, 0]);
    let field = |at: usize| u32::from_be_bytes(limits[at..at + 4].try_into().expect("four bytes"));
    assert_eq!([field(44), field(48), field(52), field(56), field(60)], [512, 8, 8, 0, 0]);
    world.volume.records.set(true);
    assert_eq!(client.status(&atomic(8, 0, 512), &[7; 512 * 512]), Status::Good);
    assert_eq!(world.volume.calls.take(), [("atomic write", 8 * 512, 512 * 512, true)]);
    assert_eq!(client.status(&atomic(8, 0, 0), &[]), Status::Good);
    let wrong = Some(Code::INVALID_FIELD_IN_CDB);
    for (lba, boundary, blocks) in [(1, 0, 8), (8, 0, 7), (8, 0, 520), (8, 8, 8)] {
        assert_eq!(
            client.code(&atomic(lba, boundary, blocks), &[1; 4096]),
            wrong,
            "{lba} {boundary} {blocks}"
        );
    }
    assert_eq!(client.code(&atomic(BLOCKS, 0, 8), &[1; 4096]), Some(Code::OUT_OF_RANGE));
    let short = client.code(&atomic(8, 0, 16), &[1; 4096]);
    assert_eq!(short, Some(Code::INVALID_FIELD_IN_COMMAND_UNIT), "half of it is not written");
    assert_eq!(world.volume.calls.take(), []);
}

#[test]
fn orwrite_sets_bits_over_more_than_is_compared_at_once() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    world.volume.fill(0, &[0x0F; 300 * 512]);
    assert_eq!(client.status(&long(0x8B, 0, 1, 298), &[0xF1; 298 * 512]), Status::Good);
    let expected = [vec![0x0F; 512], vec![0xFF; 298 * 512], vec![0x0F; 512]].concat();
    assert_eq!(world.volume.content(0, 300 * 512), expected);
}

#[test]
fn verify_reads_or_compares() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    world.volume.fill(0, &[3; 4096]);
    assert_eq!(client.status(&long(0x8F, 0, 0, 8), &[]), Status::Good, "only read");
    assert_eq!(client.status(&long(0x8F, 2, 0, 8), &[3; 4096]), Status::Good);
    assert_eq!(client.status(&long(0x8F, 6, 0, 8), &[3; 512]), Status::Good, "one block for all");
    let mut other = [3; 4096];
    other[1000] = 4;
    let sense = client.send(&long(0x8F, 2, 0, 8), &other).sense.expect("it differs");
    assert_eq!((sense.key, sense.information), (Key::Miscompare, Some(1000)));
    assert_eq!(client.code(&long(0x8F, 4, 0, 8), &[]), Some(Code::INVALID_FIELD_IN_CDB), "reserved");
    world.volume.set_info(|info| info.size_bytes = 16 << 20);
    assert_eq!(client.status(&long(0x8F, 0, 0, 16_384), &[]), Status::Good);
    assert_eq!(client.code(&[0; 6], &[]), Some(Code::CAPACITY_CHANGED));
    assert_eq!(
        client.code(&long(0x8F, 0, 0, 16_385), &[]),
        Some(Code::INVALID_FIELD_IN_CDB),
        "more than is told"
    );
    assert_eq!(client.status(&long(0x8E, 2, 0, 8), &other), Status::Good, "write and verify");
    assert_eq!(world.volume.content(0, 4096), other);
}

#[test]
fn unmap_and_write_same_leave_zeroes_or_the_pattern() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    world.volume.fill(0, &[9; 64 * 512]);
    let mut list = vec![0, 38, 0, 32, 0, 0, 0, 0];
    for (lba, blocks) in [(4u64, 20u32), (40, 8)] {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    let unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, list.len() as u8, 0];
    assert_eq!(client.status(&unmap, &list), Status::Good);
    let bytes = |count: usize, byte: u8| vec![byte; count * 512];
    let expected = [bytes(4, 9), bytes(20, 0), bytes(16, 9), bytes(8, 0), bytes(16, 9)].concat();
    assert_eq!(world.volume.content(0, 64 * 512), expected);
    assert_eq!(
        client.code(&[0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0], &list),
        Some(Code::INVALID_FIELD_IN_CDB),
        "anchor"
    );
    assert_eq!(client.status(&long(0x93, 0, 2, 3), &[6; 512]), Status::Good);
    assert_eq!(world.volume.content(1024, 1536), bytes(3, 6));
    assert_eq!(client.status(&long(0x93, 0x09, 0, 64), &[]), Status::Good, "unmap, without a buffer");
    assert_eq!(world.volume.content(0, 64 * 512), bytes(64, 0));
    assert_eq!(
        client.status(&long(0x93, 0x08, 0, 3), &[6; 512]),
        Status::Good,
        "unmapped blocks would read as zeroes"
    );
    assert_eq!(world.volume.content(0, 4 * 512), [bytes(3, 6), bytes(1, 0)].concat());
    assert_eq!(client.status(&long(0x93, 0x08, 0, 3), &[0; 512]), Status::Good);
    assert_eq!(world.volume.content(0, 4 * 512), bytes(4, 0));
    assert_eq!(client.code(&long(0x93, 0, 0, 1), &[6; 256]), Some(Code::INVALID_FIELD_IN_COMMAND_UNIT));
}

#[test]
fn the_state_of_blocks_is_told() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    world.volume.fill(16 * 512, &[1; 8 * 512]);
    let mut command = long(0x9E, 0x12, 4, 56);
    let data = client.data(&command);
    assert_eq!(data[..8], [0, 0, 0, 52, 0, 0, 0, 0]);
    let descriptor = |at: usize| (data[8 + at * 16 + 7], data[8 + at * 16 + 11], data[8 + at * 16 + 12]);
    assert_eq!([descriptor(0), descriptor(1)], [(4, 12, 1), (16, 8, 0)]);
    assert_eq!(descriptor(2).0, 24);
    command[2..10].copy_from_slice(&BLOCKS.to_be_bytes());
    assert_eq!(client.code(&command, &[]), Some(Code::OUT_OF_RANGE));
}

#[test]
fn copies_stay_inside_the_target() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    world.volume.fill(0, &[8; 4096]);
    let id = quarry_volume::Volume::info(&*world.volume).id;
    let (command, list) = copy_command(id, 100, 8);
    assert_eq!(client.status(&command, &list), Status::Good);
    assert_eq!(world.volume.content(100 * 512, 4096), [8; 4096]);
    let results = |command: &mut [u8; 16]| {
        (command[0], command[1], command[2], command[13]) = (0x84, 0, 5, 64);
        client.data(&command[..])
    };
    assert_eq!(results(&mut [0; 16])[4..8], [1, 0, 1, 1], "done, one segment, in KiB");
    let (command, list) = copy_command(id, BLOCKS - 1, 8);
    let sense = client.send(&command, &list).sense.expect("behind the end");
    assert_eq!(sense.key, Key::CopyAborted);
    assert_eq!(results(&mut [0; 16])[4], 2, "failed");
}

#[test]
fn commands_of_many_steps_are_stopped_between_two() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    let (copy, list) = copy_command(quarry_volume::Volume::info(&*world.volume).id, 0, 4096);
    world.volume.records.set(true);
    for (command, data, key) in [
        (copy, &list[..], Key::CopyAborted),
        (long(0x8F, 0, 0, 4096), &[], Key::AbortedCommand),
        (long(0x93, 0, 0, 4096), &[6; 512], Key::AbortedCommand),
        (long(0x8B, 0, 0, 4096), &[6; 4096 * 512], Key::AbortedCommand),
    ] {
        world.volume.held.set(true);
        let (course, mut work) = client.begin(&command, data);
        assert!((&mut work).now_or_never().is_none(), "the volume waits");
        course.stop();
        world.volume.calls.borrow_mut().clear();
        world.volume.release_all();
        let reply = work.now_or_never().expect("the volume does not wait any more");
        assert_eq!(reply.sense.map(|sense| sense.key), Some(key), "{command:x?}");
        // ORWRITE ends what it has begun: it writes what it has read.
        let most = usize::from(command[0] == 0x8B);
        assert!(world.volume.calls.borrow().len() <= most, "{command:x?}: {:?}", world.volume.calls.borrow());
    }
}

#[test]
fn a_copy_over_a_part_of_its_source_is_whole() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    let source: Vec<u8> = (0..3000u32 * 512).map(|at| (at / 512) as u8 ^ (at / 131_072) as u8).collect();
    world.volume.fill(0, &source);
    let (copy, list) = copy_command(quarry_volume::Volume::info(&*world.volume).id, 100, 3000);
    assert_eq!(client.status(&copy, &list), Status::Good);
    assert_eq!(world.volume.content(100 * 512, source.len()), source);
}
