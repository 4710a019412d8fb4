//! The file under what was written, and how a look's end is understood.

use super::*;

/// Against an array of bytes, with lengths and offsets that are no multiples of a block.
#[test]
fn what_was_written_is_read_and_the_file_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let mut model: Vec<u8> = (0..3 * BLOCK + 77).map(|at| (at % 251) as u8).collect();
    std::fs::write(&path, &model).unwrap();
    let before = model.clone();
    let state = Mutex::new(State { length: model.len() as u64, written: BTreeMap::new() });
    let overlay = Overlay { file: File::open(&path).unwrap(), state };
    for (offset, length) in [(0, 1), (4095, 2), (100, 9000), (12_360, 5), (12_365, 5000), (20_000, 1)] {
        let data = vec![length as u8 ^ 0xa5; length];
        overlay.write(offset as u64, &data).unwrap();
        model.resize(model.len().max(offset + length), 0);
        model[offset..offset + length].copy_from_slice(&data);
    }
    for length in [20_001, 30_000, 5000, 12_400, 1, 9000] {
        overlay.set_len(length as u64).unwrap();
        model.resize(length, 0);
        assert_eq!(overlay.len().unwrap(), length as u64);
        for (offset, count) in [(0, length), (length / 2, length - length / 2), (length - 1, 1)] {
            let mut out = vec![0xff; count];
            overlay.read(offset as u64, &mut out).unwrap();
            assert!(out == model[offset..offset + count], "{count} bytes at {offset} of {length}");
        }
        assert!(overlay.read(length as u64, &mut [0]).is_err());
    }
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn a_look_that_was_killed_says_nothing_of_the_file() {
    let ended = |status: i32| finding(ExitStatus::from_raw(status), "said".to_owned());
    assert_eq!(ended(0), Finding::Whole);
    assert_eq!(ended(i32::from(DAMAGED) << 8), Finding::Damaged("said".to_owned()));
    assert_eq!(ended(i32::from(MENDABLE) << 8), Finding::Mendable("said".to_owned()));
    for signal in [4, 6, 7, 8, 11] {
        assert!(matches!(ended(signal), Finding::Damaged(_)), "{signal}");
    }
    for status in [9, 15, 1 << 8, i32::from(IN_USE) << 8] {
        assert!(matches!(ended(status), Finding::Unknown(_)), "{status}");
    }
}

#[test]
fn a_look_that_does_not_end_is_ended() {
    let mut sleep = Command::new("sleep");
    let child = sleep.arg("600").stderr(Stdio::piped()).spawn();
    let look = Look { child, until: Instant::now() + Duration::from_millis(20) };
    assert_eq!(look.end(), Finding::Damaged("looking at it does not end".to_owned()));
}
