use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use redb::StorageBackend;

use super::*;
use crate::point::Sample;

/// 2026-11-22T00:00:00Z.
const START_S: u64 = 1_795_305_600;

fn key(object: u128, series: Series) -> SeriesKey {
    SeriesKey { kind: ObjectKind::Volume, object: Uuid::from_u128(object), series }
}

fn samples(minute: u64) -> Vec<(SeriesKey, Sample)> {
    let used = (key(1, Series::Used), Sample::of(minute as f64));
    let latency = (key(2, Series::ReadLatency), Sample { value: 250.0, count: minute % 7 });
    vec![used, latency]
}

/// All that a history holds.
fn content(history: &History) -> Vec<(SeriesKey, Resolution, u64, f64, u64, f64, f64)> {
    let keys = [key(1, Series::Used), key(2, Series::ReadLatency)];
    let mut all = Vec::new();
    for key in keys {
        for &resolution in Resolution::ALL {
            all.extend(history.points(&key, resolution, 0).map(|(begin, point)| {
                (key, resolution, begin, point.mean(), point.count(), point.min(), point.max())
            }));
        }
    }
    all
}

#[test]
fn a_process_that_ends_without_a_word_loses_nothing_that_was_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Vec::new();
    for run in 0..4 {
        let Opened { mut history, file, damaged, unreadable } = HistoryFile::open(directory.path()).unwrap();
        assert_eq!((damaged, unreadable), (None, 0));
        assert_eq!(content(&history), kept, "run {run}");
        for minute in run * 700..run * 700 + 650 {
            let (_, changes) = history.record(START_S + minute * 60, &samples(minute));
            file.keep(&changes).unwrap();
        }
        kept = content(&history);
        assert!(kept.len() > 480);
    }
    let another = HistoryFile::open(directory.path()).unwrap();
    let error = HistoryFile::open(directory.path()).map(|_| ()).unwrap_err();
    assert!(matches!(error, HistoryError::InUse { .. }), "{error}");
    drop(another);
}

#[test]
fn a_damaged_file_is_moved_aside_and_a_damaged_row_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    {
        let Opened { mut history, file, .. } = HistoryFile::open(directory.path()).unwrap();
        for minute in 0..20 {
            file.keep(&history.record(START_S + minute * 60, &samples(minute)).1).unwrap();
        }
        let spoil = file.write(|transaction| {
            let mut rows = transaction.open_table(ROWS)?;
            rows.insert((0, (START_S / 60) as u32 + 3), &[1u8, 2, 3][..])?;
            transaction.open_table(SERIES)?.insert(99, "volume what? used")?;
            Ok(())
        });
        spoil.unwrap();
    }
    {
        let Opened { mut history, file, unreadable, .. } = HistoryFile::open(directory.path()).unwrap();
        assert_eq!(unreadable, 2);
        let minutes = history.points(&key(1, Series::Used), Resolution::Minute, 0).count();
        assert_eq!(minutes, 19);
        file.keep(&history.record(START_S + 20 * 60, &samples(20)).1).unwrap();
    }
    assert_eq!(HistoryFile::open(directory.path()).unwrap().unreadable, 1, "the row is gone from the file");
    std::fs::write(&path, b"this is no history at all, whatever its name may say").unwrap();
    let Opened { history, damaged, .. } = HistoryFile::open(directory.path()).unwrap();
    assert_eq!(damaged, Some(directory.path().join(DAMAGED_NAME)));
    assert_eq!(content(&history), vec![]);
    assert!(damaged.unwrap().exists());
}

#[test]
fn a_newer_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    {
        let file = HistoryFile::open(directory.path()).unwrap().file;
        let newer = file.write(|transaction| {
            transaction.open_table(META)?.insert(META_VERSION, VERSION + 1)?;
            Ok(())
        });
        newer.unwrap();
    }
    let error = HistoryFile::open(directory.path()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("start the newer quarryd again"), "{error}");
}

#[test]
fn the_file_does_not_grow_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let Opened { mut history, file, .. } = HistoryFile::open(directory.path()).unwrap();
    let mut bytes = Vec::new();
    for day in 0..2 {
        for step in 0..700u64 {
            let minute = day * 700 + step;
            file.keep(&history.record(START_S + minute * 60, &samples(minute)).1).unwrap();
        }
        bytes.push(std::fs::metadata(directory.path().join(FILE_NAME)).unwrap().len());
    }
    assert!(bytes[1] <= bytes[0] * 2, "{bytes:?}");
}

/// A file in memory. After so many writes nothing arrives any more, as when the process is killed there: what was written before is
/// what the next process finds.
#[derive(Clone, Debug)]
struct Mortal {
    bytes: Arc<Mutex<Vec<u8>>>,
    left: Arc<Mutex<u64>>,
}

impl Mortal {
    fn live(&self) -> io::Result<()> {
        let mut left = self.left.lock().unwrap();
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other("killed"))?;
        Ok(())
    }
}

impl StorageBackend for Mortal {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let offset = offset as usize;
        out.copy_from_slice(bytes.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.live()?;
        self.bytes.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.live()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.live()?;
        let mut bytes = self.bytes.lock().unwrap();
        let (offset, end) = (offset as usize, offset as usize + data.len());
        let length = bytes.len().max(end);
        bytes.resize(length, 0);
        bytes[offset..end].copy_from_slice(data);
        Ok(())
    }
}

fn open(bytes: Vec<u8>, left: u64) -> (Result<Opened>, Mortal) {
    let backend = Mortal { bytes: Arc::new(Mutex::new(bytes)), left: Arc::new(Mutex::new(left)) };
    let made = Database::builder().create_with_backend(backend.clone());
    let path = PathBuf::from("memory");
    let opened =
        made.map_err(|error| failed("open", &path, error)).and_then(|made| HistoryFile::prepare(made, path));
    (opened, backend)
}

#[test]
fn a_kill_at_any_write_leaves_what_was_kept_before_it_or_one_minute_more() {
    // With enough behind it that minutes, a quarter and an hour are made and dropped in what follows.
    let (opened, backend) = open(Vec::new(), u64::MAX);
    let Opened { mut history, file, .. } = opened.unwrap();
    for minute in 0..290 {
        file.keep(&history.record(START_S + minute * 60, &samples(minute)).1).unwrap();
    }
    let begin = backend.bytes.lock().unwrap().clone();
    drop(file);
    let (mut cut, mut kills) = (0, 0);
    loop {
        let (opened, backend) = open(begin.clone(), u64::MAX);
        let Opened { mut history, file, .. } = opened.unwrap();
        *backend.left.lock().unwrap() = cut;
        let mut states = vec![content(&history)];
        let mut is_whole = true;
        for minute in 290..303 {
            let (_, changes) = history.record(START_S + minute * 60, &samples(minute));
            is_whole = file.keep(&changes).is_ok();
            states.push(content(&history));
            if !is_whole {
                break;
            }
        }
        let left = backend.bytes.lock().unwrap().clone();
        drop(file);
        if is_whole {
            break;
        }
        let Opened { history, unreadable, .. } = open(left, u64::MAX).0.unwrap();
        let found = content(&history);
        assert!(states[states.len() - 2..].contains(&found), "killed at write {cut}");
        assert_eq!(unreadable, 0);
        kills += 1;
        cut += 1;
    }
    assert!(kills > 50, "{kills}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_found_again_is_what_was_there(
        steps in prop::collection::vec((0..70u64, -40..400i64), 1..12),
    ) {
        let (opened, backend) = open(Vec::new(), u64::MAX);
        let Opened { mut history, file, .. } = opened.unwrap();
        let mut time_s = START_S;
        for (length, leap) in steps {
            time_s = time_s.saturating_add_signed(leap * 60);
            for _ in 0..length {
                time_s += 60;
                file.keep(&history.record(time_s, &samples(time_s / 60)).1).unwrap();
            }
            let bytes = backend.bytes.lock().unwrap().clone();
            let again = open(bytes, u64::MAX).0.unwrap();
            prop_assert_eq!(again.unreadable, 0);
            prop_assert_eq!(content(&again.history), content(&history));
        }
    }
}
