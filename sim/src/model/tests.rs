//! The judge is judged: what must be refused is refused.

use std::collections::BTreeMap;

use super::*;
use crate::content;

const SEED: u64 = 9;

/// A model of one volume of two blocks.
fn model() -> Model {
    let mut model = Model::new(SEED);
    model.add_volume(0, 8192, std::slice::from_ref(&(0..16)));
    model
}

/// Two blocks of which each sector has the version of `versions`.
fn bytes(versions: [u64; 16]) -> Vec<u8> {
    let mut bytes = vec![0; 16 * SECTOR_BYTES];
    for (sector, version) in versions.into_iter().enumerate().filter(|(_, version)| *version != ZEROES) {
        let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
        content::fill(&mut bytes[range], SEED, 0, sector as u64, version);
    }
    bytes
}

fn blocks(first: u64, second: u64) -> [u64; 16] {
    std::array::from_fn(|sector| if sector < 8 { first } else { second })
}

fn after(model: &mut Model, crash: Crash, versions: [u64; 16]) -> Result<(), Finding> {
    let observed: Observed = bytes(versions).chunks(4096).map(|block| Some(block.to_vec())).collect();
    model.recovered(&BTreeMap::from([((0, 0), observed)]), crash)
}

#[test]
fn a_read_sees_what_is_over_and_may_see_what_is_not() {
    let mut model = model();
    let first = model.begin_write(0, 0..8);
    let since = model.begin_read();
    for version in [ZEROES, first.number()] {
        assert!(model.check_read(0, 0, &bytes(blocks(version, 0)), since).is_ok());
    }
    model.acknowledge(first, false);
    let since = model.begin_read();
    assert!(model.check_read(0, 0, &bytes(blocks(1, 0)), since).is_ok());
    assert!(model.check_read(0, 0, &bytes(blocks(0, 0)), since).is_err(), "stale");
    assert!(model.check_read(0, 0, &bytes(blocks(1, 1)), since).is_err(), "never written there");
    assert!(model.check_read(0, 0, &bytes(blocks(7, 0)), since).is_err(), "never written at all");
}

#[test]
fn death_loses_nothing_that_was_acknowledged() {
    for (versions, right) in [((1, 2), true), ((1, 0), true), ((0, 2), false), ((0, 0), false)] {
        let mut model = model();
        let first = model.begin_write(0, 0..8);
        model.acknowledge(first, false);
        model.begin_write(0, 8..16);
        let result = after(&mut model, Crash::Death, blocks(versions.0, versions.1));
        assert_eq!(result.is_ok(), right, "{versions:?}");
    }
}

#[test]
fn power_loss_leaves_a_prefix() {
    for (versions, right) in [((1, 2), true), ((1, 0), true), ((0, 0), true), ((0, 2), false)] {
        let mut model = model();
        for sectors in [0..8, 8..16] {
            let op = model.begin_write(0, sectors);
            model.acknowledge(op, false);
        }
        let result = after(&mut model, Crash::PowerLoss, blocks(versions.0, versions.1));
        assert_eq!(result.is_ok(), right, "{versions:?}");
    }
}

#[test]
fn a_flush_is_a_promise_and_so_is_what_came_before_it() {
    let mut flushed = model();
    let first = flushed.begin_write(0, 0..8);
    flushed.acknowledge(first, false);
    let since = flushed.begin_flush();
    flushed.end_flush(0, since);
    assert!(after(&mut flushed, Crash::PowerLoss, blocks(0, 0)).is_err());

    let mut forced = model();
    let first = forced.begin_write(0, 0..8);
    forced.acknowledge(first, false);
    let second = forced.begin_write(0, 8..16);
    forced.acknowledge(second, true);
    assert!(after(&mut forced, Crash::PowerLoss, blocks(0, 2)).is_err());
    assert!(after(&mut forced, Crash::PowerLoss, blocks(1, 2)).is_ok());
}

#[test]
fn a_block_comes_back_whole() {
    let mut torn = blocks(1, 0);
    torn[3] = 0;
    let mut model = model();
    model.begin_write(0, 0..8);
    assert!(after(&mut model, Crash::PowerLoss, torn).is_err());
    assert!(after(&mut model, Crash::PowerLoss, blocks(1, 0)).is_ok());
}

#[test]
fn what_was_seen_after_a_crash_stays() {
    let mut model = model();
    model.begin_write(0, 0..8);
    assert!(after(&mut model, Crash::PowerLoss, blocks(1, 0)).is_ok());
    assert!(after(&mut model, Crash::PowerLoss, blocks(0, 0)).is_err());
}

#[test]
fn a_discard_leaves_parts_of_blocks_alone() {
    let mut model = Model::new(SEED);
    model.add_volume(0, 20 * SECTOR_BYTES as u64, std::slice::from_ref(&(0..24)));
    assert_eq!(model.discarded(0, 1..17), 8..16);
    assert_eq!(model.discarded(0, 9..20), 16..20);
    assert_eq!(model.discarded(0, 1..7), 8..8);
}

#[test]
fn of_an_atomic_write_all_is_seen_or_nothing() {
    for (versions, right) in [((0, 0), true), ((1, 1), true), ((1, 0), false), ((0, 1), false)] {
        for whole in [false, true] {
            let mut model = model();
            let op = model.begin_write(0, 0..16);
            model.set_whole(op, whole);
            let since = model.begin_read();
            let seen = bytes(blocks(versions.0, versions.1));
            let (right, what) = (right || !whole, format!("{versions:?}, {whole}"));
            assert_eq!(model.check_read(0, 0, &seen, since).is_ok(), right, "read: {what}");
            let recovered = after(&mut model, Crash::PowerLoss, blocks(versions.0, versions.1));
            assert_eq!(recovered.is_ok(), right, "recovered: {what}");
        }
    }
}

#[test]
fn quiet_is_where_nobody_else_writes() {
    let mut model = model();
    let other = model.begin_write(0, 4..12);
    let op = model.begin_write(0, 0..16);
    let since = model.begin_read();
    assert!(!model.is_quiet_but_for(op, 0, 0..16, since), "the other one is under way");
    assert!(model.is_quiet_but_for(op, 0, 0..4, since), "but not here");
    model.acknowledge(other, false);
    assert!(!model.is_quiet_but_for(op, 0, 0..16, since), "it was over later");
    let since = model.begin_read();
    assert!(model.is_quiet_but_for(op, 0, 0..16, since));
}
