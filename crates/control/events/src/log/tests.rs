use tempfile::TempDir;

use super::*;

fn event(object: &str, severity: EventSeverity) -> NewEvent {
    NewEvent {
        severity,
        kind: EventKind::PoolFull,
        object_kind: ObjectKind::Pool,
        object: object.to_owned(),
        message: format!("pool '{object}' is full"),
        cause: None,
        next_step: Some("Delete something.".to_owned()),
    }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

fn change(key: &str, state: Option<&str>) -> ConditionChange {
    ConditionChange { key: key.to_owned(), state: state.map(str::to_owned) }
}

fn ids(log: &EventLog, query: &EventsQuery) -> Vec<u64> {
    log.list(query).unwrap().events.iter().map(|event| event.id).collect()
}

#[test]
fn events_and_conditions_survive_a_restart() {
    let directory = TempDir::new().unwrap();
    let (log, damaged) = EventLog::open(directory.path()).unwrap();
    assert_eq!(damaged, None);
    assert_eq!(log.last().unwrap(), None);
    let warnings = vec![event("a", EventSeverity::Warning), event("b", EventSeverity::Critical)];
    let recorded =
        log.record(at(5), warnings, &[change("x", Some("bad")), change("y", Some("odd"))]).unwrap();
    assert_eq!(recorded.iter().map(|event| event.id).collect::<Vec<_>>(), [1, 2]);
    log.record(at(6), Vec::new(), &[change("y", None), change("never", None)]).unwrap();
    assert!(matches!(EventLog::open(directory.path()), Err(EventLogError::InUse { .. })));
    drop(log);
    let (log, _) = EventLog::open(directory.path()).unwrap();
    assert_eq!(log.list(&EventsQuery::default()).unwrap().events, recorded);
    assert_eq!(log.conditions().unwrap(), BTreeMap::from([("x".to_owned(), "bad".to_owned())]));
    assert_eq!(log.record(at(7), vec![event("a", EventSeverity::Info)], &[]).unwrap()[0].id, 3);
    assert_eq!(log.last().unwrap().unwrap().time, at(7));
}

#[test]
fn a_query_selects_by_severity_object_and_place() {
    let log = EventLog::in_memory().unwrap();
    for severity in EventSeverity::ALL {
        log.record(at(1), vec![event("a", *severity), event("b", *severity)], &[]).unwrap();
    }
    let query = |since, severity, object: Option<&str>| EventsQuery {
        since,
        severity,
        object: object.map(str::to_owned),
        limit: None,
    };
    assert_eq!(ids(&log, &query(0, None, None)), [1, 2, 3, 4, 5, 6]);
    assert_eq!(ids(&log, &query(2, Some(EventSeverity::Warning), Some("b"))), [4, 6]);
    assert_eq!(ids(&log, &query(4, None, Some("a"))), [5]);
    assert!(ids(&log, &query(u64::MAX, None, None)).is_empty());
}

#[test]
fn a_long_log_comes_in_parts_and_drops_its_oldest_events() {
    let log = EventLog::in_memory().unwrap();
    let many = |count: u64| (0..count).map(|_| event("a", EventSeverity::Info)).collect();
    log.record(at(1), many(EVENTS_MAX), &[]).unwrap();
    log.record(at(2), many(7), &[]).unwrap();
    let (mut query, mut all) = (EventsQuery::default(), Vec::new());
    loop {
        let part = log.list(&query).unwrap();
        assert!(part.events.len() <= PART_MAX);
        all.extend(part.events.iter().map(|event| event.id));
        match part.next {
            Some(next) => query.since = next,
            None => break,
        }
    }
    assert!(all.iter().copied().eq(8..=EVENTS_MAX + 7), "{} events", all.len());
}

#[test]
fn a_damaged_log_is_moved_aside_and_a_newer_one_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join(FILE_NAME);
    std::fs::write(&path, b"this is no database").unwrap();
    let (log, aside) = EventLog::open(directory.path()).unwrap();
    let aside = aside.expect("it was damaged");
    assert_eq!(std::fs::read(aside).unwrap(), b"this is no database");
    log.write(|transaction| {
        transaction.open_table(META)?.insert(META_VERSION, VERSION + 1)?;
        Ok(())
    })
    .unwrap();
    drop(log);
    assert!(matches!(EventLog::open(directory.path()), Err(EventLogError::Newer { found: 2, .. })));
    assert!(path.exists(), "it is left alone");
}

#[test]
fn a_record_that_is_none_is_damage() {
    let directory = TempDir::new().unwrap();
    let (log, _) = EventLog::open(directory.path()).unwrap();
    log.write(|transaction| {
        transaction.open_table(EVENTS)?.insert(1, &b"{}"[..])?;
        Ok(())
    })
    .unwrap();
    drop(log);
    assert!(EventLog::open(directory.path()).unwrap().1.is_some());
}
