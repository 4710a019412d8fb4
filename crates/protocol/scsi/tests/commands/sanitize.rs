//! SANITIZE: what was there cannot be read any more, and nothing comes between.

use futures::FutureExt;
use quarry_scsi::{Code, Key, Sense, Status};
use quarry_volume::ErrorKind;

use crate::support::{BLOCKS, Client, World, long};

const BLOCK_ERASE: [u8; 10] = [0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0];
const EXIT_FAILURE_MODE: [u8; 10] = [0x48, 0x1F, 0, 0, 0, 0, 0, 0, 0, 0];
const IMMED: u8 = 0x80;
const AUSE: u8 = 0x20;
const TEST_UNIT_READY: [u8; 6] = [0; 6];
const BYTES: usize = BLOCKS as usize * 512;

/// OVERWRITE with one pass of `pattern`.
fn overwrite(flags: u8, pattern: &[u8]) -> ([u8; 10], Vec<u8>) {
    let list = [&[1, 0, 0, pattern.len() as u8], pattern].concat();
    ([0x48, 0x01 | flags, 0, 0, 0, 0, 0, 0, list.len() as u8, 0], list)
}

fn sense(client: &Client, command: &[u8], data: &[u8]) -> Option<(Key, Code)> {
    client.send(command, data).sense.map(|Sense { key, code, .. }| (key, code))
}

const IN_PROGRESS: Option<(Key, Code)> = Some((Key::NotReady, Code::SANITIZE_IN_PROGRESS));
const FAILED: Option<(Key, Code)> = Some((Key::MediumError, Code::SANITIZE_FAILED));

#[test]
fn erasing_leaves_holes_and_overwriting_the_pattern() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    world.volume.fill(0, &[9; BYTES]);
    world.volume.records.set(true);
    assert_eq!(client.status(&BLOCK_ERASE, &[]), Status::Good);
    assert_eq!(world.volume.calls.take(), [("discard", 0, BYTES as u64, true), ("flush", 0, 0, false)]);
    assert_eq!(world.volume.content(0, BYTES), [0; BYTES]);

    world.volume.fill(0, &[9; BYTES]);
    let (command, list) = overwrite(0, &[1, 2, 3]);
    assert_eq!(client.status(&command, &list), Status::Good);
    let calls = world.volume.calls.take();
    assert_eq!((calls[0].0, calls[1].0, calls[calls.len() - 1].0), ("discard", "flush", "flush"));
    let block: Vec<u8> = [1, 2, 3].into_iter().cycle().take(512).collect();
    assert!(world.volume.content(0, BYTES).chunks(512).all(|found| found == block));

    let (command, list) = overwrite(0, &[0; 4]);
    assert_eq!(client.status(&command, &list), Status::Good);
    assert_eq!(world.volume.content(0, BYTES), [0; BYTES]);
    let names: Vec<&str> = world.volume.calls.take().into_iter().map(|call| call.0).collect();
    assert_eq!(names, ["discard", "flush", "flush"][..names.len()], "zeroes are not written");
}

#[test]
fn what_is_wrong_changes_nothing() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    world.volume.fill(0, &[9; 512]);
    world.volume.records.set(true);
    let with = |place: usize, byte: u8| {
        let mut command = BLOCK_ERASE;
        command[place] |= byte;
        command
    };
    let wrong = Some(Code::INVALID_FIELD_IN_CDB);
    for command in [with(1, 0x40), with(2, 1), with(6, 1), with(8, 8)] {
        assert_eq!(client.code(&command, &[0; 8]), wrong, "{command:x?}");
    }
    for action in [0, 3, 4, 0x1E] {
        assert_eq!(client.code(&[0x48, action, 0, 0, 0, 0, 0, 0, 0, 0], &[]), wrong, "{action:#x}");
    }
    let (mut command, list) = overwrite(0, &[1; 4]);
    command[8] = 4;
    assert_eq!(client.code(&command, &list), wrong, "no pattern");
    (command[7], command[8]) = (2, 5);
    assert_eq!(client.code(&command, &[1; 517]), wrong, "more than a block");
    let (command, mut list) = overwrite(0, &[1; 4]);
    list[0] = 0;
    assert_eq!(client.code(&command, &list), Some(Code::INVALID_FIELD_IN_PARAMETERS), "no pass");
    assert_eq!(world.volume.calls.take(), []);
    assert_eq!(client.status(&TEST_UNIT_READY, &[]), Status::Good);
}

#[test]
fn nothing_reaches_the_medium_meanwhile() {
    let world = World::new();
    let (client, other) = (world.initiator("iqn.a"), world.initiator("iqn.b"));
    world.volume.fill(0, &[9; BYTES]);
    world.volume.held.set(true);
    let (command, list) = overwrite(0, &[7]);
    let (_course, mut work) = client.begin(&command, &list);
    assert!((&mut work).now_or_never().is_none());
    world.sessions.turn();
    for (client, who) in [(&client, "who began it"), (&other, "another one")] {
        for command in [&TEST_UNIT_READY[..], &long(0x88, 0, 0, 1), &long(0x8A, 0, 0, 1), &BLOCK_ERASE] {
            assert_eq!(sense(client, command, &[1; 512]), IN_PROGRESS, "{who}: {command:x?}");
        }
        assert_eq!(client.status(&[0x12, 0, 0, 0, 96, 0], &[]), Status::Good, "{who}: INQUIRY");
        let told = client.data(&[0x03, 0, 0, 0, 18, 0]);
        assert_eq!((told[2], told[12], told[13], told[15]), (2, 0x04, 0x1B, 0x80), "{who}: REQUEST SENSE");
    }
    // The discard and the first flush end: the pattern is being written.
    for _ in 0..3 {
        world.volume.release(0);
        world.sessions.turn();
    }
    let told = other.data(&[0x03, 0, 0, 0, 18, 0]);
    assert!(u16::from_be_bytes([told[16], told[17]]) > 0, "it has progressed: {told:x?}");
    world.volume.release_all();
    assert_eq!(client.end(work).status, Status::Good);
    assert_eq!(other.data(&long(0x88, 0, BLOCKS - 1, 1)), [7; 512]);
}

/// A write that another initiator has under way is not to land behind the erasure.
#[test]
fn it_begins_when_what_was_under_way_has_ended() {
    let world = World::new();
    let (client, other) = (world.initiator("iqn.a"), world.initiator("iqn.b"));
    world.volume.records.set(true);
    let (_course, mut work) = client.begin(&BLOCK_ERASE, &[]);
    assert!((&mut work).now_or_never().is_none());
    client.nexus.units().iter().for_each(|unit| drop(unit.take_settles()));
    let under_way: Vec<_> = other.nexus.units().iter().flat_map(|unit| unit.take_settles()).collect();
    assert_eq!(under_way.len(), 1, "the other session is asked");
    world.sessions.run();
    assert_eq!(world.volume.calls.take(), [], "it waits for the other session");
    drop(under_way);
    world.sessions.run();
    assert_eq!(world.volume.calls.borrow()[0].0, "discard");
    assert_eq!(client.end(work).status, Status::Good);
}

#[test]
fn an_immediate_one_is_answered_when_nothing_can_be_read_any_more() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    world.volume.fill(0, &[9; BYTES]);
    world.volume.held.set(true);
    let (command, list) = overwrite(IMMED, &[7]);
    let (_course, mut work) = client.begin(&command, &list);
    assert!((&mut work).now_or_never().is_none());
    world.sessions.turn();
    assert!((&mut work).now_or_never().is_none(), "the discard is not done");
    for _ in 0..2 {
        world.volume.release(0);
        world.sessions.turn();
    }
    assert_eq!(work.now_or_never().expect("it is durable").status, Status::Good);
    assert_eq!(world.volume.content(0, BYTES), [0; BYTES]);
    assert_eq!(sense(&client, &TEST_UNIT_READY, &[]), IN_PROGRESS);
    world.volume.release_all();
    world.sessions.turn();
    assert_eq!(client.status(&TEST_UNIT_READY, &[]), Status::Good);
    assert_eq!(world.volume.content(0, BYTES), [7; BYTES]);
}

/// Neither a reset nor the end of the session ends it.
#[test]
fn it_goes_on_without_whoever_began_it() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    world.volume.fill(0, &[9; BYTES]);
    world.volume.held.set(true);
    let (course, mut work) = client.begin(&BLOCK_ERASE, &[]);
    assert!((&mut work).now_or_never().is_none());
    course.stop();
    let sense_of_command = work.now_or_never().expect("it does not wait any more").sense;
    assert_eq!(sense_of_command.map(|sense| sense.key), Some(Key::AbortedCommand));
    drop(client);
    world.sessions.turn();
    let other = world.newcomer("iqn.b");
    assert_eq!(other.code(&TEST_UNIT_READY, &[]), Some(Code::POWER_ON));
    assert_eq!(sense(&other, &TEST_UNIT_READY, &[]), IN_PROGRESS);
    world.volume.release_all();
    world.sessions.turn();
    assert_eq!(other.status(&TEST_UNIT_READY, &[]), Status::Good);
    assert_eq!(world.volume.content(0, BYTES), [0; BYTES]);
}

#[test]
fn a_failure_is_remembered_until_it_is_left() {
    for (flags, may_exit) in [(0, false), (AUSE, true)] {
        let world = World::new();
        let client = world.initiator("iqn.a");
        world.volume.fail.set(Some(ErrorKind::Internal));
        let mut command = BLOCK_ERASE;
        command[1] |= flags;
        assert_eq!(sense(&client, &command, &[]), FAILED);
        world.volume.fail.set(None);
        drop(client);
        let client = world.initiator("iqn.b");
        assert_eq!(sense(&client, &long(0x88, 0, 0, 1), &[]), FAILED, "whoever comes later");
        let left = sense(&client, &EXIT_FAILURE_MODE, &[]);
        assert_eq!(left, if may_exit { None } else { FAILED });
        assert_eq!(sense(&client, &TEST_UNIT_READY, &[]), left);
        assert_eq!(client.status(&BLOCK_ERASE, &[]), Status::Good, "another one may be tried");
        assert_eq!(client.status(&TEST_UNIT_READY, &[]), Status::Good);
    }
}
