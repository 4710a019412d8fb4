use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake};

use quarry_types::{Durability, VolumeId};
use quarry_volume::VolumeInfo;

use super::limits::{EXPORT_NAME_BYTES_MAX, SESSIONS_MAX, STRANGERS_MAX};
use super::*;

fn export(name: &str, volume: u128) -> Export {
    let volume = VolumeInfo {
        id: VolumeId::from_random(volume),
        name: name.to_owned(),
        size_bytes: 1 << 20,
        preferred_bytes: 4096,
        request_bytes_max: 32 << 20,
        compare_bytes_max: 64 << 10,
        atomic_bytes_max: 256 << 10,
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
    let known = || exports.admit(String::new()).inspect(Session::become_known);
    let mut sessions: Vec<Session> = (0..SESSIONS_MAX).map(|_| known().expect("room")).collect();
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
fn the_oldest_stranger_gives_way_and_whoever_is_known_stays() {
    let exports = Exports::default();
    exports.insert(export("a", 1)).expect("a new name");
    let admit = || exports.admit(String::new()).expect("room");
    let (bound, logged_in) = (admit(), admit());
    bound.bind("a").expect("it exists");
    logged_in.log_in(Login { fabric: Fabric::Iscsi, initiator: "iqn.a".to_owned(), address: None });
    let strangers: Vec<Session> = (0..=STRANGERS_MAX).map(|_| admit()).collect();
    let given_way: Vec<bool> = strangers.iter().map(|stranger| stranger.stop().is_stopped()).collect();
    assert!(given_way[0] && given_way[1..].iter().all(|given_way| !given_way));
    assert!(!bound.stop().is_stopped() && !logged_in.stop().is_stopped());
    drop(strangers);
    let next: Vec<Session> = (0..STRANGERS_MAX).map(|_| admit()).collect();
    assert!(next.iter().all(|stranger| !stranger.stop().is_stopped()), "there is room again");
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

fn mapping(export: &str, number: u32, audience: Audience) -> Mapping {
    let Export { name, volume, core } = self::export(export, 1);
    Mapping { export: name, fabric: Fabric::Iscsi, audience, number, volume, core, read_only: false }
}

fn host(name: &str, initiators: &[&str], networks: &[(&str, u8)]) -> Host {
    let network = |&(address, prefix_bits): &(&str, u8)| Network {
        address: address.parse().expect("an address"),
        prefix_bits,
    };
    Host {
        name: name.to_owned(),
        initiators: initiators.iter().map(|&name| name.to_owned()).collect(),
        networks: networks.iter().map(network).collect(),
        chap: None,
    }
}

fn only(host: &str) -> Audience {
    Audience::Hosts(vec![host.to_owned()])
}

#[test]
fn a_host_sees_what_is_mapped_for_it_and_for_everyone() {
    let access = Access::default();
    access.set_host(host("a", &["iqn.a"], &[])).expect("room");
    access.set_host(host("b", &["iqn.b"], &[("10.1.0.0", 16)])).expect("room");
    access.map(mapping("ours", 1, only("a"))).expect("free");
    access.map(mapping("theirs", 1, only("b"))).expect("free for another host");
    access.map(mapping("public", 0, Audience::Everyone)).expect("free");
    let seen = |initiator: &str, address: &str| {
        let view = access.view(Fabric::Iscsi, initiator, address.parse().ok());
        view.units.iter().map(|unit| (unit.number, unit.export.clone())).collect::<Vec<_>>()
    };
    assert_eq!(seen("IQN.A", "10.9.0.1"), [(0, "public".to_owned()), (1, "ours".to_owned())]);
    assert_eq!(seen("iqn.b", "10.1.2.3"), [(0, "public".to_owned()), (1, "theirs".to_owned())]);
    assert_eq!(seen("iqn.b", "::ffff:10.1.2.3"), seen("iqn.b", "10.1.2.3"));
    assert_eq!(seen("iqn.b", "10.2.2.3"), [(0, "public".to_owned())], "not from there");
    assert!(access.view(Fabric::NvmeTcp, "iqn.a", None).units.is_empty(), "another protocol");
    access.remove_host("a").expect("it is there");
    assert_eq!(seen("iqn.a", "10.9.0.1"), [(0, "public".to_owned())]);
}

#[test]
fn who_is_known_by_name_is_nobody_else() {
    let access = Access::default();
    access.set_host(host("a-lab", &[], &[("10.0.0.0", 8)])).expect("room");
    access.set_host(host("b-rack", &[], &[("10.1.0.0", 16)])).expect("room");
    access.set_host(host("db", &["iqn.db"], &[])).expect("room");
    let is = |initiator: &str, address: &str| {
        let view = access.view(Fabric::Iscsi, initiator, address.parse().ok());
        view.host.map(|host| host.name.clone())
    };
    assert_eq!(is("iqn.db", "10.1.0.1").as_deref(), Some("db"));
    assert_eq!(is("iqn.x", "10.1.0.1").as_deref(), Some("b-rack"));
    assert_eq!(is("iqn.x", "10.2.0.1").as_deref(), Some("a-lab"));
    assert_eq!(is("iqn.x", "11.2.0.1"), None);
}

#[test]
fn nobody_sees_two_volumes_under_one_number() {
    let access = Access::default();
    access.map(mapping("ours", 0, only("a"))).expect("free");
    let taken = Err(AccessError::NumberTaken { number: 0, volume: "ours".to_owned() });
    assert_eq!(access.map(mapping("more", 0, only("a"))), taken);
    assert_eq!(access.map(mapping("public", 0, Audience::Everyone)), taken);
    assert_eq!(access.free_number(Fabric::Iscsi, &Audience::Everyone), Some(1));
    assert_eq!(access.free_number(Fabric::Iscsi, &only("b")), Some(0));
    assert_eq!(access.free_number(Fabric::NvmeTcp, &only("a")), Some(1));
    let zero = Mapping { fabric: Fabric::NvmeTcp, ..mapping("namespace", 0, Audience::Everyone) };
    assert_eq!(access.map(zero), Err(AccessError::BadNumber { number: 0, fabric: Fabric::NvmeTcp }));
    assert_eq!(access.unmap("more"), Err(AccessError::NoMapping { export: "more".to_owned() }));
    access.unmap("ours").expect("it is there");
    assert_eq!(access.free_number(Fabric::Iscsi, &only("a")), Some(0));
}

#[test]
fn whoever_waits_for_a_change_hears_of_it() {
    let access = Access::default();
    let waker = Arc::new(CountWakes::default()).into();
    let mut context = Context::from_waker(&waker);
    access.map(mapping("volume", 0, Audience::Everyone)).expect("free");
    let seen = access.view(Fabric::Iscsi, "iqn.a", None).generation;
    let mut waiting = pin!(access.changed_since(seen));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    access.update_size(VolumeId::from_random(1), 2 << 20);
    assert!(waiting.as_mut().poll(&mut context).is_ready());
    assert!(pin!(access.changed_since(seen)).poll(&mut context).is_ready(), "it was missed, not lost");
    let view = access.view(Fabric::Iscsi, "iqn.a", None);
    assert_eq!(view.units[0].volume.size_bytes, 2 << 20);
    assert!(pin!(access.changed_since(view.generation)).poll(&mut context).is_pending());
}

#[test]
fn a_host_that_names_an_initiator_comes_before_one_that_is_a_network() {
    let access = Access::default();
    access.set_host(host("anybody", &[], &[("10.0.0.0", 8)])).expect("room");
    access.set_host(host("web", &["iqn.web", "nqn.Web"], &[])).expect("room");
    access.map(mapping("lab", 0, only("anybody"))).expect("free");
    access.map(mapping("site", 0, only("web"))).expect("free for another host");
    let seen = |initiator: &str| {
        let view = access.view(Fabric::Iscsi, initiator, "10.0.0.1".parse().ok());
        (view.host.map(|host| host.name.clone()), view.units[0].export.clone())
    };
    assert_eq!(seen("iqn.web"), (Some("web".to_owned()), "site".to_owned()));
    assert_eq!(seen("iqn.other"), (Some("anybody".to_owned()), "lab".to_owned()));
    assert_eq!(seen("nqn.Web").0.as_deref(), Some("web"));
    for other in ["nqn.web", "NQN.Web", "NQN.WEB"] {
        assert_eq!(seen(other).0.as_deref(), Some("anybody"), "the bytes of an NQN count: {other}");
    }
    assert_eq!(seen("IQN.Web").0.as_deref(), Some("web"), "those of an IQN do not");
    let login = |initiator: &str, fabric| Login {
        fabric,
        initiator: initiator.to_owned(),
        address: "10.0.0.1".parse().ok(),
    };
    let logins =
        [login("iqn.web", Fabric::Iscsi), login("iqn.a", Fabric::Iscsi), login("nqn.a", Fabric::NvmeTcp)];
    let counts =
        |counted: &[(&str, usize)]| counted.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
    let clients = access.clients(&logins);
    assert_eq!(clients.by_host, counts(&[("anybody", 2), ("web", 1)]));
    assert_eq!(clients.by_export, counts(&[("lab", 1), ("site", 1)]));
    let exports = Exports::default();
    let session = exports.admit("peer".to_owned()).expect("room");
    assert_eq!(exports.sessions()[0].login, None);
    session.log_in(login("iqn.web", Fabric::Iscsi));
    assert_eq!(exports.sessions()[0].login, Some(login("iqn.web", Fabric::Iscsi)));
}

#[test]
fn audiences_change_together_or_not_at_all() {
    let access = Access::default();
    for (export, number, name) in [("one", 0, "a"), ("two", 1, "a"), ("three", 1, "b")] {
        access.map(mapping(export, number, only(name))).expect("free");
    }
    let again = Err(AccessError::Mapped { export: "one".to_owned() });
    assert_eq!(access.map(mapping("one", 7, only("c"))), again);
    let both = || Audience::Hosts(vec!["a".to_owned(), "b".to_owned()]);
    let (before, generation) = (access.mappings(), access.generation());
    let taken = access.set_audiences(vec![("one".to_owned(), both()), ("two".to_owned(), both())]);
    assert!(matches!(taken, Err(AccessError::NumberTaken { number: 1, .. })), "{taken:?}");
    let missing = access.set_audiences(vec![("one".to_owned(), both()), ("none".to_owned(), both())]);
    assert_eq!(missing, Err(AccessError::NoMapping { export: "none".to_owned() }));
    assert_eq!((access.mappings(), access.generation()), (before, generation));
    // They may change places.
    access
        .set_audiences(vec![("two".to_owned(), only("b")), ("three".to_owned(), only("a"))])
        .expect("nobody sees two volumes under one number afterwards");
    access.set_audiences(vec![("one".to_owned(), both())]).expect("free");
    assert_eq!(access.mapping("one").expect("it is there").audience, both());
    assert_eq!(access.mapping_of(VolumeId::from_random(1)).expect("it is there").export, "one");
    assert!(access.mapping_of(VolumeId::from_random(9)).is_none());
}
