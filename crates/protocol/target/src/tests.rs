use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake};

use quarry_types::{Durability, VolumeId};
use quarry_volume::VolumeInfo;

use super::limits::{EXPORT_NAME_BYTES_MAX, SESSIONS_MAX};
use super::*;

fn export(name: &str, volume: u128) -> Export {
    let volume = VolumeInfo {
        id: VolumeId::from_random(volume),
        name: name.to_owned(),
        size_bytes: 1 << 20,
        preferred_bytes: 4096,
        request_bytes_max: 32 << 20,
        read_only: false,
        durability: Durability::Flush,
    };
    Export { name: name.to_owned(), volume, core: 0 }
}

#[test]
fn an_export_in_use_is_not_removed() {
    let exports = Exports::default();
    exports.insert(export("a", 1)).expect("a new name");
    let session = exports.admit("peer".to_owned()).expect("room");
    assert_eq!(session.bind("b"), Err(ExportError::NotFound { name: "b".to_owned() }));
    session.bind("a").expect("it exists");
    assert_eq!(exports.remove("a"), Err(ExportError::InUse { name: "a".to_owned(), sessions: 1 }));
    assert_eq!(exports.sessions_of("a"), 1);
    drop(session);
    assert_eq!(exports.remove("a").map(|export| export.name), Ok("a".to_owned()));
    assert_eq!(exports.remove("a"), Err(ExportError::NotFound { name: "a".to_owned() }));
}

#[test]
fn names_are_unique_and_bounded() {
    let exports = Exports::default();
    exports.insert(export("a", 1)).expect("a new name");
    assert_eq!(exports.insert(export("a", 2)), Err(ExportError::Exists { name: "a".to_owned() }));
    assert_eq!(exports.insert(export("", 2)), Err(ExportError::BadName { bytes: 0 }));
    let long = "x".repeat(EXPORT_NAME_BYTES_MAX + 1);
    assert_eq!(exports.insert(export(&long, 2)), Err(ExportError::BadName { bytes: long.len() }));
    exports.insert(export(&long[1..], 2)).expect("just short enough");
}

#[test]
fn the_only_export_is_the_default() {
    let exports = Exports::default();
    assert_eq!(exports.only(), None);
    exports.insert(export("a", 1)).expect("a new name");
    assert_eq!(exports.only().map(|export| export.name), Some("a".to_owned()));
    exports.insert(export("b", 2)).expect("a new name");
    assert_eq!(exports.only(), None);
}

#[test]
fn a_new_size_reaches_every_export_of_the_volume() {
    let exports = Exports::default();
    for (name, volume) in [("a", 1), ("b", 1), ("c", 2)] {
        exports.insert(export(name, volume)).expect("a new name");
    }
    assert_eq!(exports.update_size(VolumeId::from_random(1), 2 << 20), 2);
    let sizes: Vec<u64> = exports.list().iter().map(|export| export.volume.size_bytes).collect();
    assert_eq!(sizes, [2 << 20, 2 << 20, 1 << 20]);
}

#[test]
fn sessions_are_bounded_and_counted() {
    let exports = Exports::default();
    let mut sessions: Vec<Session> =
        (0..SESSIONS_MAX).map(|_| exports.admit(String::new()).expect("room")).collect();
    assert_eq!(exports.admit(String::new()).err(), Some(AdmitError::TooMany));
    sessions.pop();
    let session = exports.admit("10.0.0.1:5".to_owned()).expect("room again");
    session.counters().read(4096);
    session.counters().write(512);
    session.counters().error();
    let last = exports.sessions().pop().expect("many");
    assert_eq!((last.id, last.peer.as_str(), last.export), (session.id(), "10.0.0.1:5", None));
    let expected = Traffic { reads: 1, read_bytes: 4096, writes: 1, write_bytes: 512, others: 0, errors: 1 };
    assert_eq!(last.traffic, expected);
}

#[test]
fn stopping_reaches_every_session_and_admits_no_other() {
    let exports = Exports::default();
    exports.insert(export("a", 1)).expect("a new name");
    let (bound, unbound) =
        (exports.admit(String::new()).expect("room"), exports.admit(String::new()).expect("room"));
    bound.bind("a").expect("it exists");
    assert_eq!(exports.disconnect("a"), 1);
    assert!(bound.stop().is_stopped() && !unbound.stop().is_stopped());
    exports.stop();
    assert!(unbound.stop().is_stopped() && exports.stop_signal().is_stopped());
    assert_eq!(exports.admit(String::new()).err(), Some(AdmitError::Stopping));
}

#[derive(Default)]
struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_stop_wakes_everyone_who_still_waits() {
    let count = Arc::new(CountWakes::default());
    let waker = count.clone().into();
    let mut context = Context::from_waker(&waker);
    let stop = Stop::default();
    let mut waiting = pin!(stop.stopped());
    let mut gone = Box::pin(stop.stopped());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert!(gone.as_mut().poll(&mut context).is_pending());
    drop(gone);
    stop.stop();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(waiting.as_mut().poll(&mut context).is_ready());
    assert!(pin!(stop.stopped()).poll(&mut context).is_ready());
}
