//! What time does to a session, in a world where the test moves it.

use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use quarry_env::Executor;
use quarry_iscsi::{Connection, Server, Target};
use quarry_iscsi_wire::pdu::{HEADER_BYTES, Header, NO_TAG, flags, opcode, padding};
use quarry_target::{Access, Audience, Exports, Fabric, HandOver, Mapping, Reservations, Volumes};
use quarry_types::VolumeId;
use quarry_volume::{Volume, VolumeInfo};

use crate::support::client::{INITIATOR, TARGET, block_command};
use crate::support::volume::MemoryVolume;
use crate::support::world::{Once, Script, Time, env};

struct One(Rc<MemoryVolume>);

impl Volumes for One {
    fn volume(&self, _: VolumeId) -> Option<Rc<dyn Volume>> {
        Some(self.0.clone())
    }
}

struct Alone;

impl HandOver<Connection> for Alone {
    fn core(&self) -> usize {
        0
    }
    fn hand_over(&self, _: usize, _: Connection) {
        unreachable!("there is one core");
    }
}

struct World {
    executor: Executor,
    time: Rc<Time>,
    exports: Exports,
    target: Target,
    volume: Rc<MemoryVolume>,
    reservations: Reservations,
    listener: Rc<Once>,
    script: Rc<Script>,
}

impl World {
    /// An initiator that says `bytes` and is silent from then on.
    fn new(bytes: Vec<u8>) -> Self {
        Self::begin(bytes, false)
    }

    /// The same with a volume that keeps its requests waiting.
    fn holding(bytes: Vec<u8>) -> Self {
        Self::begin(bytes, true)
    }

    fn begin(bytes: Vec<u8>, holds: bool) -> Self {
        let executor = Executor::new(|| {}).with_live_tasks();
        let (time, exports, access) = (Rc::<Time>::default(), Exports::default(), Access::default());
        let env = env(&executor, time.clone());
        let volume = MemoryVolume::new(env.buffers.clone(), "disk", 7, 16 << 20);
        volume.held.set(holds);
        // Two units with one volume behind them.
        for number in 0..2 {
            let mapping = Mapping {
                export: format!("disk{number}"),
                fabric: Fabric::Iscsi,
                audience: Audience::Everyone,
                number,
                volume: VolumeInfo { id: VolumeId::from_random(u128::from(number)), ..volume.info() },
                core: 0,
                read_only: false,
            };
            access.map(mapping).expect("a free number");
        }
        let reservations = Reservations::default();
        let target = Target::new("test", vec![], exports.clone(), access, reservations.clone());
        let volumes = Rc::new(One(volume.clone()));
        let server = Server::new(env.clone(), target.clone(), volumes, Rc::new(Alone), 64 << 20);
        let script = Script::new(bytes, usize::MAX, true);
        let listener = Once::new(script.clone());
        env.spawner.spawn(server.serve(listener.clone())).detach();
        let mut world = Self { executor, time, exports, target, volume, reservations, listener, script };
        world.pass(0);
        world
    }

    /// Another initiator, which says `bytes` and is silent from then on; the one before.
    fn connect(&mut self, bytes: Vec<u8>) -> Rc<Script> {
        let script = Script::new(bytes, usize::MAX, true);
        self.listener.accept_another(script.clone());
        self.pass(0);
        std::mem::replace(&mut self.script, script)
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.time.pass(Duration::from_secs(1));
            self.executor.run(usize::MAX);
        }
        self.executor.run(usize::MAX);
    }

    /// The headers of what was answered since the last time.
    fn answers(&self) -> Vec<Header> {
        let (bytes, mut at, mut headers) = (self.script.answers.take(), 0, Vec::new());
        while at < bytes.len() {
            let header = Header::decode(&bytes[at..]);
            at += HEADER_BYTES + header.data_bytes() + padding(header.data_bytes());
            headers.push(header);
        }
        headers
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.executor.clear();
    }
}

fn login() -> Vec<u8> {
    login_with(&format!("InitiatorName={INITIATOR}\0TargetName={TARGET}\0"))
}

fn login_with(text: &str) -> Vec<u8> {
    let mut header = Header::new(opcode::LOGIN);
    header.0[1] = 0x87;
    header.set_data_bytes(text.len());
    let mut bytes = [&header.0[..], text.as_bytes()].concat();
    bytes.resize(bytes.len() + padding(text.len()), 0);
    bytes
}

fn command(number: u32, cdb: [u8; 16], flag: u8, expected: u32) -> Vec<u8> {
    let mut header = Header::new(opcode::SCSI_COMMAND);
    header.0[1] |= flag;
    header.set_u32(16, number);
    header.set_u32(20, expected);
    header.set_u32(24, number);
    header.0[32..48].copy_from_slice(&cdb);
    header.0.to_vec()
}

#[test]
fn who_does_not_log_in_is_cut_off() {
    let mut world = World::new(login()[..60].to_vec());
    world.pass(14);
    assert!(!world.script.closed.get());
    world.pass(2);
    assert!(world.script.closed.get() && world.exports.sessions().is_empty());
}

#[test]
fn a_silent_initiator_is_asked_and_then_given_up() {
    let mut world = World::new(login());
    assert_eq!(world.answers().len(), 1, "the login");
    world.pass(39);
    assert!(world.answers().is_empty(), "it may think for a while");
    world.pass(2);
    let asked = world.answers();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].opcode(), asked[0].task_tag()), (opcode::NOP_IN, NO_TAG));
    assert_ne!(asked[0].u32(20), NO_TAG, "it wants an answer");
    world.pass(37);
    assert!(!world.script.closed.get());
    world.pass(3);
    assert!(world.script.closed.get() && world.exports.sessions().is_empty());
}

#[test]
fn a_stop_waits_for_commands_but_not_for_ever() {
    let read = block_command(0x28, 0, 8);
    let bytes = [login(), command(0, [0; 16], 0, 0), command(1, read, flags::READ, 4096)].concat();
    for ends in [true, false] {
        let mut world = World::holding(bytes.clone());
        assert_eq!(world.volume.waiting(), 1);
        world.exports.stop();
        world.pass(5);
        assert!(!world.script.closed.get(), "the read is not done");
        if ends {
            world.volume.release_all();
            world.pass(0);
            let answers = world.answers();
            assert!(answers.iter().any(|header| header.opcode() == opcode::DATA_IN), "{answers:?}");
        } else {
            world.pass(6);
        }
        assert!(world.script.closed.get() && world.exports.sessions().is_empty());
    }
}

/// Task management.
fn manage(function: u8, lun: u8, referenced: u32, tag: u32, number: u32) -> Vec<u8> {
    let mut header = Header::new(opcode::TASK_MANAGEMENT);
    (header.0[0], header.0[1]) = (header.0[0] | 0x40, flags::FINAL | function);
    header.0[9] = lun;
    header.set_u32(16, tag);
    header.set_u32(20, referenced);
    header.set_u32(24, number);
    header.0.to_vec()
}

/// A command with all of its data behind it.
fn with_data(command: Vec<u8>, data: &[u8]) -> Vec<u8> {
    let mut header = Header::decode(&command);
    header.set_data_bytes(data.len());
    let mut bytes = [&header.0[..], data].concat();
    bytes.resize(bytes.len() + padding(data.len()), 0);
    bytes
}

/// The answers to task management among `answers`: task tags and responses.
fn managed(answers: &[Header]) -> Vec<(u32, u8)> {
    let functions = answers.iter().filter(|header| header.opcode() == opcode::TASK_MANAGEMENT_RESPONSE);
    functions.map(|header| (header.task_tag(), header.0[2])).collect()
}

#[test]
fn whoever_asks_again_for_an_abort_waits_for_the_end_as_well() {
    let write = with_data(command(1, block_command(0x2A, 0, 8), flags::WRITE, 4096), &[1; 4096]);
    let aborts = [manage(1, 0, 1, 100, 2), manage(2, 0, NO_TAG, 101, 2), manage(1, 0, 1, 102, 2)].concat();
    let mut world = World::holding([login(), command(0, [0; 16], 0, 0), write, aborts].concat());
    assert_eq!((world.volume.waiting(), managed(&world.answers())), (1, vec![]), "the write still runs");
    world.volume.release_all();
    world.pass(0);
    let mut answers = managed(&world.answers());
    answers.sort_unstable();
    assert_eq!(answers, [(100, 0), (101, 0), (102, 0)]);
}

#[test]
fn a_reset_of_what_a_copy_writes_to_waits_for_the_end_of_the_copy() {
    let mut list = vec![5, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0];
    for id in [0, 1] {
        list.extend_from_slice(&[0xE4, 0, 0, 0, 1, 3, 0, 16]);
        list.extend_from_slice(&quarry_scsi::naa(VolumeId::from_random(id)));
        list.extend_from_slice(&[0, 0, 0, 0, 0, 0, 2, 0]);
    }
    // 16 blocks from block 0 of unit 0 to block 64 of unit 1.
    list.extend_from_slice(&[
        2, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64,
    ]);
    let mut cdb = [0; 16];
    (cdb[0], cdb[13]) = (0x83, list.len() as u8);
    let copy = with_data(command(1, cdb, flags::WRITE, list.len() as u32), &list);
    let reset = manage(5, 1, NO_TAG, 100, 2);
    let mut world = World::holding([login(), command(0, [0; 16], 0, 0), copy, reset].concat());
    world.volume.records.set(true);
    assert_eq!((world.volume.waiting(), managed(&world.answers())), (1, vec![]), "the copy still reads");
    world.volume.release_all();
    world.pass(0);
    let answers = world.answers();
    assert_eq!(managed(&answers), [(100, 0)]);
    let response = answers.iter().find(|header| header.task_tag() == 1).expect("the copy is answered");
    assert_eq!((response.opcode(), response.0[3]), (opcode::SCSI_RESPONSE, 2));
    assert!(world.volume.calls.borrow().is_empty(), "nothing is written after the reset");
}

#[test]
fn a_reset_reaches_what_is_under_way_on_a_unit_that_is_not_seen_any_more() {
    let to_second = |mut command: Vec<u8>| {
        command[9] = 1;
        command
    };
    let read = to_second(command(1, block_command(0x28, 0, 1), flags::READ, 512));
    let mut world = World::holding([login(), to_second(command(0, [0; 16], 0, 0)), read].concat());
    assert_eq!(world.volume.waiting(), 1);
    let access = world.target.access.clone();
    let mapping = access.mapping("disk1").expect("it is mapped");
    access.unmap("disk1").expect("it is mapped");
    world.pass(0);
    let again = Mapping { export: "again".to_owned(), number: 3, ..Mapping::clone(&mapping) };
    access.map(again).expect("a free number");
    let mut other = login();
    other[13] = 1;
    world.connect([other, manage(5, 3, NO_TAG, 7, 0)].concat());
    assert_eq!(managed(&world.answers()), [], "a read is under way");
    world.volume.release_all();
    world.pass(0);
    assert_eq!(managed(&world.answers()), [(7, 0)]);
}

#[test]
fn what_is_under_way_on_a_unit_that_was_withdrawn_can_be_waited_for() {
    let write = with_data(command(1, block_command(0x2A, 0, 1), flags::WRITE, 512), &[7; 512]);
    let mut world = World::holding([login(), command(0, [0; 16], 0, 0), write].concat());
    assert_eq!(world.volume.waiting(), 1);
    world.target.access.unmap("disk0").expect("it is mapped");
    let settled = world.reservations.of(VolumeId::from_random(0)).settle();
    world.pass(1);
    assert!(settled.wait().now_or_never().is_none(), "a write is under way");
    world.volume.release_all();
    world.pass(0);
    assert!(settled.wait().now_or_never().is_some());
    let good = |header: &Header| (header.opcode(), header.0[3]) == (opcode::SCSI_RESPONSE, 0);
    assert!(world.answers().iter().any(good), "it has ended well");
}

#[test]
fn a_login_waits_for_what_the_session_before_has_under_way_and_is_refused_if_that_does_not_end() {
    let write = with_data(command(1, block_command(0x2A, 0, 8), flags::WRITE, 4096), &[1; 4096]);
    let mut world = World::holding([login(), command(0, [0; 16], 0, 0), write].concat());
    assert_eq!((world.volume.waiting(), world.target.sessions()), (1, 1));
    for ends in [false, false, true] {
        // In place of the first one.
        world.connect(login());
        world.pass(11);
        assert!(world.answers().is_empty() && !world.script.closed.get(), "the write is under way");
        if ends {
            world.volume.release_all();
        }
        world.pass(2);
        let status: Vec<[u8; 2]> =
            world.answers().iter().map(|header| [header.0[36], header.0[37]]).collect();
        assert_eq!(status, [if ends { [0, 0] } else { [3, 1] }]);
        assert_eq!(world.script.closed.get(), !ends);
    }
    assert_eq!(world.target.sessions(), 1);
}

/// SANITIZE with BLOCK ERASE.
const SANITIZE: [u8; 16] = [0x48, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn a_sanitize_waits_for_what_is_under_way_and_lets_it_end_well() {
    let write = with_data(command(1, block_command(0x2A, 0, 8), flags::WRITE, 4096), &[1; 4096]);
    let commands = [login(), command(0, [0; 16], 0, 0), write, command(2, SANITIZE, 0, 0)];
    let mut world = World::holding(commands.concat());
    world.volume.records.set(true);
    assert_eq!((world.volume.waiting(), world.answers().len()), (1, 2), "only the write is under way");
    world.volume.release_all();
    world.pass(0);
    let verbs: Vec<&str> = world.volume.calls.take().into_iter().map(|call| call.0).collect();
    assert_eq!(verbs, ["discard", "flush"]);
    let statuses: Vec<(u32, u8)> =
        world.answers().iter().map(|header| (header.task_tag(), header.0[3])).collect();
    assert_eq!(statuses, [(1, 0), (2, 0)]);
    assert_eq!(world.volume.content(0, 4096), [0; 4096]);
}

#[test]
fn a_sanitize_outlives_its_session_and_does_not_hold_up_the_next_one() {
    let commands = [login(), command(0, [0; 16], 0, 0), command(1, SANITIZE, 0, 0)];
    let mut world = World::holding(commands.concat());
    assert_eq!(world.volume.waiting(), 1, "the discard");
    // In place of the first one.
    world.connect([login(), command(0, [0; 16], 0, 0), command(1, [0; 16], 0, 0)].concat());
    world.pass(0);
    let told = |world: &World| -> Vec<[u8; 2]> {
        let bytes = world.script.answers.take();
        let checks = bytes.windows(HEADER_BYTES + 20).filter(|bytes| bytes[0] == 0x21 && bytes[3] == 2);
        // Behind the length of the sense data.
        checks.map(|bytes| [bytes[HEADER_BYTES + 14], bytes[HEADER_BYTES + 15]]).collect()
    };
    assert_eq!(told(&world), [[0x29, 0x00], [0x04, 0x1B]]);
    world.volume.release_all();
    world.pass(0);
    world.connect([login(), command(0, [0; 16], 0, 0), command(1, [0; 16], 0, 0)].concat());
    assert_eq!(told(&world), [[0x29, 0x00]], "it is ready again");
}

#[test]
fn what_commands_take_is_held_against_them_whatever_the_initiator_expects() {
    // Of 64 MiB, a session takes 8 MiB as long as as much as it then has is free, and 1 MiB likewise.
    for (cdb, most) in [(block_command(0x28, 0, 16_384), 4), (block_command(0x2F, 0, 16_384), 32)] {
        let commands: Vec<u8> = (1..=60).flat_map(|number| command(number, cdb, flags::READ, 0)).collect();
        let mut world = World::holding([login(), command(0, [0; 16], 0, 0), commands].concat());
        assert_eq!(world.volume.waiting(), most, "{cdb:x?}");
        world.volume.release_all();
        world.pass(1);
        let good = |header: &&Header| header.opcode() == opcode::SCSI_RESPONSE && header.0[3] == 0;
        assert_eq!(world.answers().iter().filter(good).count(), 60, "the others wait for their turn");
    }
}

#[test]
fn an_initiator_that_nobody_listens_to_is_not_silent() {
    let read = block_command(0x28, 0, 16_384);
    let too_much: Vec<u8> = (1..=8).flat_map(|number| command(number, read, flags::READ, 8 << 20)).collect();
    let mut at_once = command(1, block_command(0x28, 0, 1), flags::READ, 512);
    at_once[0] |= 0x40;
    let too_many: Vec<u8> = (1..=170)
        .flat_map(|tag: u32| [&at_once[..16], &tag.to_be_bytes(), &at_once[20..]].concat())
        .collect();
    for (commands, count) in [(too_much, 8), (too_many, 170)] {
        let mut world = World::holding([login(), command(0, [0; 16], 0, 0), commands].concat());
        world.pass(200);
        assert!(!world.script.closed.get() && world.volume.waiting() < count);
        world.answers();
        world.volume.release_all();
        world.pass(1);
        let ended = world
            .answers()
            .iter()
            .filter(|header| header.has(flags::STATUS) && header.opcode() == opcode::DATA_IN)
            .count();
        assert_eq!(ended, count);
    }
}

#[test]
fn memory_for_data_that_does_not_come_is_taken_back_when_others_need_it() {
    let write = block_command(0x2A, 0, 16_384);
    let writes: Vec<u8> = (1..=4).flat_map(|number| command(number, write, flags::WRITE, 8 << 20)).collect();
    let mut world = World::holding([login(), command(0, [0; 16], 0, 0), writes].concat());
    let r2ts = world.answers().iter().filter(|header| header.opcode() == opcode::R2T).count();
    assert_eq!(r2ts, 4, "half of all memory is held for data to come");
    let mut other = login();
    other[13] = 1;
    let read = block_command(0x28, 0, 16_384);
    let reads: Vec<u8> = (1..=3).flat_map(|number| command(number, read, flags::READ, 8 << 20)).collect();
    let first = world.connect([other, command(0, [0; 16], 0, 0), reads].concat());
    assert_eq!(world.volume.waiting(), 2, "there is no memory for the third");
    world.pass(34);
    assert!(!first.closed.get());
    world.pass(3);
    assert!(first.closed.get() && !world.script.closed.get());
    assert_eq!(world.volume.waiting(), 3);
}

#[test]
fn discovery_is_soon_over() {
    let mut world = World::new(login_with(&format!("InitiatorName={INITIATOR}\0SessionType=Discovery\0")));
    world.pass(59);
    assert!(!world.script.closed.get());
    world.pass(2);
    assert!(world.script.closed.get() && world.exports.sessions().is_empty());
}

#[test]
fn many_who_prove_nothing_do_not_keep_others_out() {
    let mut world = World::new(login());
    let session = world.script.clone();
    let (half, discovery) =
        (login()[..60].to_vec(), format!("InitiatorName={INITIATOR}\0SessionType=Discovery\0"));
    for oldest in [half.clone(), login_with(&discovery)] {
        world.connect(oldest);
        let oldest = world.script.clone();
        for _ in 1..quarry_target::limits::STRANGERS_MAX {
            world.connect(half.clone());
        }
        assert!(!oldest.closed.get());
        world.connect(half.clone());
        assert!(oldest.closed.get() && !world.script.closed.get());
        world.pass(20);
        assert!(world.script.closed.get() && !session.closed.get());
    }
}
