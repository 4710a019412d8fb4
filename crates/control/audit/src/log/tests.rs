//! What is found, and what is kept.

use quarry_api_types::{AuditKind, AuditVerification, Role, VerifyAudit};

use super::*;
use crate::chain::hash_of;
use crate::{Opened, Opening};

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix_ms(1_795_167_000_000 + second * 1000)
}

fn entry(object: &str) -> NewEntry {
    NewEntry {
        kind: AuditKind::Begun,
        user: Some("ann".parse().unwrap()),
        role: Some(Role::Operator),
        object: object.to_owned(),
        status: Some(201),
        reason: None,
        ..NewEntry::of_node("create_volume", "")
    }
}

fn log_of(count: u64) -> AuditLog {
    let log = AuditLog::in_memory().unwrap();
    for number in 1..=count {
        log.append(at(number), entry(&format!("v{number}"))).unwrap();
    }
    log
}

fn verify(log: &AuditLog) -> AuditVerification {
    log.verify(&VerifyAudit::default()).unwrap()
}

fn problem(log: &AuditLog) -> String {
    let found = verify(log);
    assert!(!found.intact);
    found.problem.unwrap()
}

/// Changes the table behind the log's back.
fn tamper(log: &AuditLog, change: impl Fn(&mut redb::Table<'_, u64, &'static [u8]>)) {
    log.write(|transaction| {
        change(&mut transaction.open_table(ENTRIES)?);
        Ok(())
    })
    .unwrap();
}

fn raw(log: &AuditLog, number: u64) -> Vec<u8> {
    log.read(|transaction| Ok(transaction.open_table(ENTRIES)?.get(number)?.unwrap().value().to_vec()))
        .unwrap()
}

fn open(directory: &Path) -> Opened {
    AuditLog::open(directory, Opening::default(), at(0)).unwrap()
}

#[test]
fn entries_are_numbered_found_again_and_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let Opened { log, replaced } = open(directory.path());
    assert_eq!((replaced, verify(&log).intact, verify(&log).last), (None, true, 0));
    let first = log.append(at(1), entry("a")).unwrap();
    let again = AuditLog::open(directory.path(), Opening::default(), at(1));
    assert!(matches!(again.err(), Some(AuditError::InUse { .. })));
    drop(log);
    let Opened { log, replaced } = open(directory.path());
    assert_eq!(replaced, None);
    let second = log.append(at(2), NewEntry::of_node("start", "started")).unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    assert_eq!(log.list(&AuditQuery::default()).unwrap().entries, [first, second.clone()]);
    let query = AuditQuery { kind: Some(AuditKind::Node), ..AuditQuery::default() };
    assert_eq!(log.list(&query).unwrap().entries, std::slice::from_ref(&second));
    assert_eq!(
        verify(&log),
        AuditVerification { intact: true, first: 1, last: 2, hash: second.hash, problem: None }
    );
}

#[test]
fn a_long_list_comes_in_parts() {
    let log = log_of(PART_MAX as u64 + 3);
    let part = log.list(&AuditQuery::default()).unwrap();
    assert_eq!((part.entries.len(), part.next), (PART_MAX, Some(PART_MAX as u64)));
    let rest = log.list(&AuditQuery { since: part.next.unwrap(), ..AuditQuery::default() }).unwrap();
    assert_eq!((rest.entries.len(), rest.next), (3, None));
}

#[test]
fn every_edit_of_every_entry_is_found() {
    const COUNT: u64 = 6;
    for number in 1..=COUNT {
        let log = log_of(COUNT);
        let whole = raw(&log, number);
        for at in 0..whole.len() {
            let mut edited = whole.clone();
            edited[at] ^= 1;
            tamper(&log, |table| _ = table.insert(number, &edited[..]).unwrap());
            let found = problem(&log);
            assert!(found.contains(&format!("entry {number} ")), "byte {at}: {found}");
        }
        let longer = [&whole[..whole.len() - 1], br#","x":1}"#].concat();
        tamper(&log, |table| _ = table.insert(number, &longer[..]).unwrap());
        problem(&log);
        tamper(&log, |table| _ = table.insert(number, &whole[..]).unwrap());
        assert!(verify(&log).intact);
    }
}

#[test]
fn an_entry_that_was_edited_and_hashed_anew_is_found_by_the_next_one() {
    let log = log_of(5);
    let before: AuditEntry = serde_json::from_slice(&raw(&log, 2)).unwrap();
    let mut edited: AuditEntry = serde_json::from_slice(&raw(&log, 3)).unwrap();
    edited.object = "another".to_owned();
    edited.hash = hash_of(&before.hash, &edited);
    tamper(&log, |table| _ = table.insert(3, &serde_json::to_vec(&edited).unwrap()[..]).unwrap());
    assert!(problem(&log).contains("entry 4 is not what was written behind entry 3"));
}

#[test]
fn every_dropped_entry_is_found_the_first_and_the_last_included() {
    const COUNT: u64 = 5;
    for number in 1..=COUNT {
        let log = log_of(COUNT);
        tamper(&log, |table| _ = table.remove(number).unwrap());
        let found = problem(&log);
        let expected = match number == COUNT {
            true => "entries 5 to 5 are missing".to_owned(),
            false => format!("behind entry {} comes entry {}", number - 1, number + 1),
        };
        assert_eq!(found, expected);
    }
    let log = log_of(COUNT);
    tamper(&log, |table| (1..=COUNT).for_each(|number| _ = table.remove(number).unwrap()));
    assert_eq!(problem(&log), "entries 1 to 5 are missing");
}

#[test]
fn any_two_entries_that_changed_places_are_found() {
    for (one, other) in [(1, 2), (2, 3), (1, 4), (3, 4)] {
        let log = log_of(4);
        let (first, second) = (raw(&log, one), raw(&log, other));
        tamper(&log, |table| {
            table.insert(one, &second[..]).unwrap();
            table.insert(other, &first[..]).unwrap();
        });
        assert!(problem(&log).contains(&format!("entry {one} ")));
    }
}

#[test]
fn a_log_written_anew_is_found_by_a_hash_that_was_kept_elsewhere() {
    let (log, forged) = (log_of(4), AuditLog::in_memory().unwrap());
    for number in 1..=4 {
        forged.append(at(number), entry("nothing to see")).unwrap();
    }
    let known = VerifyAudit {
        number: Some(3),
        hash: Some(log.list(&AuditQuery::default()).unwrap().entries[2].hash.clone()),
    };
    assert!(log.verify(&known).unwrap().intact);
    assert!(verify(&forged).intact);
    assert!(forged.verify(&known).unwrap().problem.unwrap().contains("entry 3 has another hash"));
    let cut = log_of(2);
    assert!(cut.verify(&known).unwrap().problem.unwrap().contains("ends with entry 2"));
}

const SMALL: Bounds = Bounds { entries: 6, part: 3, archives: 2 };

#[test]
fn a_log_that_nobody_keeps_is_bounded_and_its_chain_goes_on() {
    let log = AuditLog { bounds: SMALL, ..AuditLog::in_memory().unwrap() };
    for number in 1..=10 {
        log.append(at(number), entry("v")).unwrap();
        assert!(verify(&log).intact);
    }
    let found = verify(&log);
    assert_eq!((found.first, found.last), (7, 10));
    assert_eq!(log.list(&AuditQuery::default()).unwrap().entries.len(), 4);
    tamper(&log, |table| _ = table.remove(7).unwrap());
    assert_eq!(problem(&log), "behind entry 6 comes entry 8");
}

fn small_log(directory: &Path, count: u64) -> AuditLog {
    let log = AuditLog { bounds: SMALL, ..open(directory).log };
    for number in 1..=count {
        log.append(at(number), entry(&format!("v{number}"))).unwrap();
        assert!(verify(&log).intact, "{:?}", verify(&log));
    }
    log
}

fn names(directory: &Path) -> Vec<String> {
    let read = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = read.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn older_entries_go_to_files_and_the_oldest_of_them_is_dropped() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let log = small_log(directory, 9);
    assert_eq!(names(directory), ["audit-1-3.jsonl", "audit.mark", "audit.redb"]);
    assert_eq!((verify(&log).first, verify(&log).last), (1, 9));
    let path = directory.join("audit-1-3.jsonl");
    let lines = std::fs::read_to_string(&path).unwrap();
    let objects = lines.lines().map(|line| serde_json::from_str::<AuditEntry>(line).unwrap().object);
    assert_eq!(objects.collect::<Vec<_>>(), ["v1", "v2", "v3"]);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    drop(log);

    let log = small_log(directory, 7);
    assert_eq!(
        names(directory),
        ["audit-10-12.jsonl", "audit-7-9.jsonl", "audit.mark", "audit.redb"],
        "16 entries: 6 are in two files, and 6 are nowhere"
    );
    assert_eq!((verify(&log).first, verify(&log).last), (7, 16));
    let known = VerifyAudit { number: Some(8), hash: Some("another".to_owned()) };
    assert!(log.verify(&known).unwrap().problem.unwrap().contains("entry 8 has another hash"));
}

#[test]
fn whatever_is_done_to_files_of_older_entries_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let log = small_log(directory, 12);
    let (older, newer) = (directory.join("audit-1-3.jsonl"), directory.join("audit-4-6.jsonl"));
    assert_eq!(names(directory)[..2], ["audit-1-3.jsonl", "audit-4-6.jsonl"]);
    for path in [&older, &newer] {
        let whole = std::fs::read(path).unwrap();
        for at in 0..whole.len() {
            let mut edited = whole.clone();
            edited[at] ^= 1;
            std::fs::write(path, &edited).unwrap();
            assert!(!verify(&log).intact, "byte {at} of {}", path.display());
        }
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        for without in 0..lines.len() {
            let rest: Vec<_> =
                lines.iter().enumerate().filter(|(at, _)| *at != without).map(|(_, line)| *line).collect();
            std::fs::write(path, rest.concat()).unwrap();
            assert!(!verify(&log).intact, "line {without} of {}", path.display());
        }
        std::fs::remove_file(path).unwrap();
        assert!(problem(&log).contains(path.file_name().unwrap().to_str().unwrap()));
        std::fs::write(path, &whole).unwrap();
        assert!(verify(&log).intact);
    }
}

#[test]
fn who_is_killed_while_entries_are_moved_moves_them_again() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let log = small_log(directory, 6);
    // The file was written, and the entries are in the log still.
    std::fs::write(directory.join("audit-1-3.jsonl"), b"half of it").unwrap();
    std::fs::write(directory.join("audit-1-3.part"), b"half of it").unwrap();
    log.append(at(7), entry("v7")).unwrap();
    assert!(verify(&log).intact);
    assert_eq!((verify(&log).first, verify(&log).last), (1, 7));
    assert_eq!(names(directory), ["audit-1-3.jsonl", "audit.mark", "audit.redb"]);
}

#[test]
fn what_was_dropped_before_there_were_files_is_not_missed() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let log = small_log(directory, 6);
    // As it was: the first two were dropped one by one.
    let second: AuditEntry = serde_json::from_slice(&raw(&log, 2)).unwrap();
    tamper(&log, |table| (1..=2).for_each(|number| _ = table.remove(number).unwrap()));
    log.write(|transaction| AuditLog::set_meta(transaction, META_DROPPED, &Place::of(&second).text()))
        .unwrap();
    assert!(verify(&log).intact);
    for number in 7..=12 {
        log.append(at(number), entry("v")).unwrap();
        assert!(verify(&log).intact, "{:?}", verify(&log));
    }
    assert_eq!((verify(&log).first, names(directory)[0].as_str()), (3, "audit-3-5.jsonl"));
}
