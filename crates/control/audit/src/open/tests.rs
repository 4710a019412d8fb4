//! Logs that were damaged, cut, replaced and removed.

use quarry_api_types::{AuditQuery, AuditVerification, VerifyAudit};

use super::*;

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix_ms(1_795_167_000_000 + second * 1000)
}

fn open(directory: &Path) -> Opened {
    AuditLog::open(directory, Opening::default(), at(100)).unwrap()
}

fn append(log: &AuditLog, count: u64) {
    for second in 1..=count {
        log.append(at(second), NewEntry::of_node("work", "done")).unwrap();
    }
}

fn verify(log: &AuditLog) -> AuditVerification {
    log.verify(&VerifyAudit::default()).unwrap()
}

/// A directory with a log of so many entries.
fn with_entries(count: u64) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    append(&open(directory.path()).log, count);
    let path = directory.path().join(FILE_NAME);
    (directory, path)
}

/// A log took the place of one with five entries: it goes on behind them, says what is missing at its beginning, and is never whole.
fn assert_replaced(directory: &Path, opened: Opened, last: u64, aside: Option<&str>) {
    let Opened { log, replaced } = opened;
    let replaced = replaced.expect("that it was replaced is told");
    assert_eq!((replaced.last, replaced.aside.as_deref()), (last, aside));
    let entries = log.list(&AuditQuery::default()).unwrap().entries;
    assert_eq!((entries[0].number, &entries[0].operation[..]), (last + 1, "audit_replaced"));
    append(&log, 1);
    let found = verify(&log);
    assert_eq!((found.intact, found.first, found.last), (false, last + 1, last + 2));
    let problem = found.problem.unwrap();
    assert_eq!(problem, replaced.to_string(), "nothing else is wrong");
    assert!(problem.contains(&at(100).to_string()), "{problem}");
    drop(log);
    let Opened { log, replaced } = open(directory);
    assert_eq!(replaced, None, "it is told once");
    assert_eq!(verify(&log).problem, Some(problem), "and found at each look");
}

#[test]
fn a_damaged_log_is_moved_aside_and_missed() {
    let (directory, path) = with_entries(5);
    std::fs::write(&path, b"no database").unwrap();
    assert_replaced(directory.path(), open(directory.path()), 5, Some("audit.redb.damaged"));
    // What was moved aside before stays.
    std::fs::write(&path, b"no database either").unwrap();
    let opened = open(directory.path());
    assert_eq!(opened.replaced.unwrap().aside.as_deref(), Some("audit.redb.damaged-2"));
    assert_eq!(std::fs::read(directory.path().join("audit.redb.damaged")).unwrap(), b"no database");
}

#[test]
fn half_a_log_is_missed() {
    let (directory, path) = with_entries(5);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_replaced(directory.path(), open(directory.path()), 5, Some("audit.redb.damaged"));
}

#[test]
fn a_removed_log_is_missed() {
    let (directory, path) = with_entries(5);
    std::fs::remove_file(&path).unwrap();
    assert_replaced(directory.path(), open(directory.path()), 5, None);
    let (directory, path) = with_entries(5);
    std::fs::write(&path, b"").unwrap();
    assert_replaced(directory.path(), open(directory.path()), 5, None);
}

#[test]
fn a_log_that_was_moved_by_who_found_it_damaged_is_missed() {
    let (directory, _) = with_entries(5);
    let moved = set_aside(directory.path()).unwrap();
    let opening = Opening { moved: Some(moved), had_one: true };
    let opened = AuditLog::open(directory.path(), opening, at(100)).unwrap();
    assert_replaced(directory.path(), opened, 5, Some("audit.redb.damaged"));
}

#[test]
fn a_log_that_was_removed_with_its_mark_is_missed_by_a_node_that_had_one() {
    let (directory, path) = with_entries(5);
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(directory.path().join("audit.mark")).unwrap();
    let opening = Opening { had_one: true, ..Opening::default() };
    let opened = AuditLog::open(directory.path(), opening, at(100)).unwrap();
    assert_replaced(directory.path(), opened, 0, None);
}

#[test]
fn an_older_log_in_the_place_of_the_newer_is_missed() {
    let (directory, path) = with_entries(3);
    let older = std::fs::read(&path).unwrap();
    append(&open(directory.path()).log, 2);
    std::fs::write(&path, older).unwrap();
    assert_replaced(directory.path(), open(directory.path()), 5, Some("audit.redb.damaged"));
}

#[test]
fn another_log_of_the_same_length_is_missed() {
    let (directory, path) = with_entries(5);
    let other = tempfile::tempdir().unwrap();
    for second in 1..=7 {
        open(other.path()).log.append(at(second), NewEntry::of_node("work", "something else")).unwrap();
    }
    std::fs::copy(other.path().join(FILE_NAME), &path).unwrap();
    assert_replaced(directory.path(), open(directory.path()), 5, Some("audit.redb.damaged"));
}

/// What a power failure can leave: the mark is behind the log, never before it.
#[test]
fn a_mark_that_is_behind_is_no_trouble() {
    let (directory, _) = with_entries(3);
    let mark = directory.path().join("audit.mark");
    let behind = std::fs::read(&mark).unwrap();
    append(&open(directory.path()).log, 2);
    std::fs::write(&mark, behind).unwrap();
    let Opened { log, replaced } = open(directory.path());
    assert_eq!((replaced, verify(&log).intact, verify(&log).last), (None, true, 5));
}

#[test]
fn a_mark_that_is_lost_is_told_in_the_log() {
    for damage in [None, Some("no mark")] {
        let (directory, _) = with_entries(3);
        let mark = directory.path().join("audit.mark");
        match damage {
            None => std::fs::remove_file(&mark).unwrap(),
            Some(text) => std::fs::write(&mark, text).unwrap(),
        }
        let Opened { log, replaced } = open(directory.path());
        let entries = log.list(&AuditQuery::default()).unwrap().entries;
        assert_eq!((replaced, &entries[3].operation[..]), (None, "audit_mark_lost"));
        assert_eq!((verify(&log).intact, verify(&log).last), (true, 4), "{:?}", verify(&log));
    }
}

#[test]
fn a_mark_that_does_not_fit_is_found_while_the_log_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path()).log;
    append(&log, 3);
    let mark = directory.path().join("audit.mark");
    let right = std::fs::read_to_string(&mark).unwrap();
    for (wrong, told) in [
        (right.replace("00003 ", "00007 "), "entries 4 to 7 are missing"),
        (right.replace("00003 ", "00002 "), "names entry 2, which is not the last"),
        ("no mark".to_owned(), "cannot be read"),
    ] {
        std::fs::write(&mark, wrong).unwrap();
        let problem = verify(&log).problem.unwrap();
        assert!(problem.contains(told), "{problem}");
    }
    std::fs::remove_file(&mark).unwrap();
    assert!(verify(&log).problem.unwrap().contains("is missing"));
    append(&log, 1);
    assert!(verify(&log).intact);
}
