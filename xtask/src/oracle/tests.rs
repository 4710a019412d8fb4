//! The oracle must notice, so every kind of damage is shown to it once; and it must not cry wolf.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::content::fill;
use super::model::{Effect, Model};
use super::{Access, Load, LoadOptions, Mix, Oracle, verify, write_all};
use crate::peer::Peer;
use crate::scratch::Scratch;

const SEED: u64 = 5;
const BLOCK: u64 = 4096;

fn oracle() -> Oracle {
    Oracle::new(SEED, 0..16 * BLOCK)
}

/// Block 1 as if each sector had been written by the version named, 0 for zeroes.
fn block_of(versions: [u32; 8]) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    for (index, version) in versions.into_iter().enumerate().filter(|(_, version)| *version != 0) {
        fill(&mut bytes[index * 512..(index + 1) * 512], SEED, 8 + index as u64, version);
    }
    bytes
}

/// Sectors of block 1.
fn sectors(range: Range<u64>) -> Range<u64> {
    BLOCK + range.start * 512..BLOCK + range.end * 512
}

fn write(model: &mut Model, range: Range<u64>) -> u32 {
    let version = model.sent(&range, Effect::Data).expect("room");
    model.acknowledged(&range, version);
    version
}

fn accepts_after_crash(prepare: impl Fn(&mut Model), versions: [u32; 8]) -> bool {
    let oracle = oracle();
    let mut model = oracle.model();
    prepare(&mut model);
    model.disconnected();
    model.recovered(1, &block_of(versions), "test");
    model.violations().1 == 0
}

#[test]
fn an_acknowledged_write_must_be_there_and_one_in_flight_may() {
    let prepare = |model: &mut Model| {
        write(model, sectors(0..8));
        write(model, sectors(0..8));
        model.sent(&sectors(0..8), Effect::Data);
    };
    assert!(accepts_after_crash(prepare, [2; 8]));
    assert!(accepts_after_crash(prepare, [3; 8]));
    assert!(!accepts_after_crash(prepare, [1; 8]), "an older version");
    assert!(!accepts_after_crash(prepare, [0; 8]), "zeroes");
    assert!(!accepts_after_crash(prepare, [4; 8]), "a version never sent");
    assert!(!accepts_after_crash(prepare, [3, 3, 3, 3, 2, 2, 2, 2]), "torn");
}

#[test]
fn a_write_of_part_of_a_block_may_be_there_in_part_until_acknowledged() {
    let in_flight = |model: &mut Model| {
        write(model, sectors(0..8));
        model.sent(&sectors(2..5), Effect::Data);
    };
    assert!(accepts_after_crash(in_flight, [1, 1, 2, 2, 2, 1, 1, 1]));
    assert!(accepts_after_crash(in_flight, [1, 1, 2, 1, 2, 1, 1, 1]));
    assert!(!accepts_after_crash(in_flight, [1, 2, 2, 2, 2, 1, 1, 1]), "outside its range");
    let acknowledged = |model: &mut Model| {
        write(model, sectors(0..8));
        write(model, sectors(2..5));
    };
    assert!(!accepts_after_crash(acknowledged, [1, 1, 2, 1, 2, 1, 1, 1]));
}

#[test]
fn a_whole_block_in_flight_takes_earlier_parts_with_it() {
    let prepare = |model: &mut Model| {
        write(model, sectors(0..2));
        model.sent(&sectors(0..8), Effect::Data);
        model.sent(&sectors(6..8), Effect::Data);
    };
    assert!(accepts_after_crash(prepare, [1, 1, 0, 0, 0, 0, 0, 0]));
    assert!(accepts_after_crash(prepare, [2; 8]));
    assert!(accepts_after_crash(prepare, [2, 2, 2, 2, 2, 2, 3, 3]));
    assert!(accepts_after_crash(prepare, [1, 1, 0, 0, 0, 0, 3, 3]));
    assert!(
        !accepts_after_crash(prepare, [1, 1, 2, 2, 2, 2, 2, 2]),
        "an acknowledged part over a later whole"
    );
}

#[test]
fn writes_that_overlap_in_time_may_end_in_either_order() {
    let prepare = |model: &mut Model| {
        let range = sectors(0..8);
        let first = model.sent(&range, Effect::Data).unwrap();
        let second = model.sent(&range, Effect::Data).unwrap();
        model.acknowledged(&range, second);
        model.acknowledged(&range, first);
    };
    assert!(accepts_after_crash(prepare, [1; 8]));
    assert!(accepts_after_crash(prepare, [2; 8]));
    assert!(!accepts_after_crash(prepare, [0; 8]), "both were acknowledged");
    let then_a_third = |model: &mut Model| {
        prepare(model);
        write(model, sectors(0..8));
    };
    assert!(!accepts_after_crash(then_a_third, [1; 8]), "the third came after both");
}

#[test]
fn zeroes_and_trims_are_writes_of_nothing() {
    let zeroed = |model: &mut Model| {
        write(model, sectors(0..8));
        let version = model.sent(&sectors(0..4), Effect::Zero).unwrap();
        model.acknowledged(&sectors(0..4), version);
    };
    assert!(accepts_after_crash(zeroed, [0, 0, 0, 0, 1, 1, 1, 1]));
    assert!(!accepts_after_crash(zeroed, [1; 8]));
    let trimmed = |range: Range<u64>| {
        move |model: &mut Model| {
            write(model, sectors(0..8));
            let version = model.sent(&sectors(range.clone()), Effect::Trim).unwrap();
            model.acknowledged(&sectors(range.clone()), version);
        }
    };
    assert!(!accepts_after_crash(trimmed(0..8), [1; 8]), "a whole block must be gone");
    assert!(accepts_after_crash(trimmed(0..4), [1; 8]), "a part may stay");
    assert!(accepts_after_crash(trimmed(0..4), [0, 0, 0, 0, 1, 1, 1, 1]));
}

#[test]
fn what_was_seen_after_a_restart_stays() {
    let oracle = oracle();
    let mut model = oracle.model();
    write(&mut model, sectors(0..8));
    model.sent(&sectors(0..8), Effect::Data);
    model.disconnected();
    model.recovered(1, &block_of([2; 8]), "first");
    assert_eq!(model.violations().1, 0);
    model.recovered(1, &block_of([1; 8]), "second");
    assert_eq!(model.violations().1, 1);
    assert_eq!(model.open_blocks(), 0);
}

#[test]
fn a_read_under_load_sees_what_may_be_there_while_it_runs() {
    let oracle = oracle();
    let mut model = oracle.model();
    let range = sectors(0..8);
    write(&mut model, range.clone());
    let early = model.read_sent(&range);
    write(&mut model, range.clone());
    let late = model.read_sent(&range);
    model.read_done(&range, late, &block_of([2; 8]), "late");
    model.read_done(&range, early, &block_of([1; 8]), "early");
    assert_eq!(model.violations().1, 0, "the early read may show either");
    let stale = model.read_sent(&range);
    model.read_done(&range, stale, &block_of([1; 8]), "stale");
    assert_eq!(model.violations().1, 1);
}

fn load_options(peer: &Peer, seed: u64, mix: Mix) -> LoadOptions {
    LoadOptions { access: Access::nbd(peer.socket.clone(), ""), connections: 3, depth: 16, seed, mix }
}

#[test]
fn a_correct_server_passes() {
    let scratch = Scratch::new("oracle-test").unwrap();
    // Its requests exclude each other, so reads under load can be judged too.
    let peer = Peer::nbdkit("correct", scratch.path(), &["memory", "8M"]).unwrap();
    let oracle = Oracle::new(SEED, 0..8 << 20);
    let load = Load::start(&oracle, &load_options(&peer, 1, Mix::default())).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    let report = load.finish().unwrap();
    assert!(report.acknowledged > 50 && report.reads > 10, "{report:?}");
    assert_eq!((report.failed, report.broken, report.in_flight), (0, 0, 0), "{report:?}");
    assert_eq!(verify(&oracle, &peer.socket, "", "after load").unwrap().violations, 0);
}

#[test]
fn damage_behind_the_servers_back_shows() {
    let scratch = Scratch::new("oracle-test").unwrap();
    let image = scratch.device("image", 8 << 20).unwrap();
    let oracle = Oracle::new(SEED, 0..8 << 20);
    let peer = Peer::stand_in(scratch.path(), &image).unwrap();
    write_all(&oracle, &peer.socket, "").unwrap();
    assert_eq!(verify(&oracle, &peer.socket, "", "after writing").unwrap().violations, 0);
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 100 * BLOCK + 77).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 100 * BLOCK + 77).unwrap();
    assert_eq!(verify(&oracle, &peer.socket, "", "one bit flipped").unwrap().violations, 1);
    let mut block = [0; BLOCK as usize];
    file.read_exact_at(&mut block, 200 * BLOCK).unwrap();
    file.write_all_at(&block, 300 * BLOCK).unwrap();
    assert_eq!(verify(&oracle, &peer.socket, "", "a misdirected write").unwrap().violations, 2);
}

#[test]
fn a_killed_server_leaves_open_writes_which_verification_fixes() {
    let scratch = Scratch::new("oracle-test").unwrap();
    let image = scratch.device("image", 8 << 20).unwrap();
    let oracle = Oracle::new(SEED, 0..8 << 20);
    let mix = Mix { read: 0, ..Mix::default() };
    for round in 0..3 {
        let mut peer = Peer::stand_in(scratch.path(), &image).unwrap();
        let load = Load::start(&oracle, &load_options(&peer, round, mix)).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        peer.server.kill().unwrap();
        let report = load.finish().unwrap();
        assert!(report.broken > 0 && report.in_flight > 0, "{report:?}");
        // qemu-nbd writes in place, so a write of many blocks may be there in part; whole in each block it is.
        let peer = Peer::stand_in(scratch.path(), &image).unwrap();
        assert_eq!(verify(&oracle, &peer.socket, "", "after the kill").unwrap().violations, 0);
        assert_eq!(oracle.model().open_blocks(), 0);
    }
}

#[test]
fn failed_requests_are_counted() {
    let scratch = Scratch::new("oracle-test").unwrap();
    let args = ["--filter=error", "memory", "8M", "error=EIO", "error-pwrite-rate=10%"];
    let peer = Peer::nbdkit("faulty", scratch.path(), &args).unwrap();
    let oracle = Oracle::new(SEED, 0..8 << 20);
    let load = Load::start(&oracle, &load_options(&peer, 1, Mix::default())).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let report = load.finish().unwrap();
    assert!(report.failed > 0 && report.broken == 0, "{report:?}");
}
