use quarry_target::{Registration, Reservation, ReservationKey};

use super::*;
use quarry_nvme_wire::bytes::{u16_at, u32_at, u64_at};

#[test]
fn every_kind_has_its_number() {
    let numbers = ReservationKind::ALL.map(number_of);
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers.map(kind_of), ReservationKind::ALL.map(Some));
    assert_eq!((kind_of(0), kind_of(7)), (None, None));
}

#[test]
fn a_report_names_controllers_hosts_and_keys() {
    let (ours, theirs) = (initiator([0xA7; 16]), Initiator("iqn.other,i,0x1".into()));
    assert_eq!(&*ours.0, "a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7");
    let state = ReservationState {
        generation: 9,
        persists: true,
        registrations: vec![
            Registration { initiator: ours.clone(), key: ReservationKey(0x11) },
            Registration { initiator: theirs, key: ReservationKey(0x22) },
        ],
        reservation: Some(Reservation { kind: ReservationKind::ExclusiveAccess, holder: ours }),
    };
    let page = report(&state, |host| if host == [0xA7; 16] { vec![3, 5] } else { Vec::new() });
    assert_eq!((u32_at(&page, 0), page[4], u16_at(&page, 5), page[9]), (9, 2, 3, 1));
    let entry = |index: usize| &page[64 * index..][..64];
    assert_eq!((u16_at(entry(1), 0), entry(1)[2], u64_at(entry(1), 8)), (3, 1, 0x11));
    assert_eq!((u16_at(entry(2), 0), &entry(2)[16..32]), (5, &[0xA7; 16][..]));
    assert_eq!((u16_at(entry(3), 0), entry(3)[2], u64_at(entry(3), 8)), (0xFFFF, 0, 0x22));
}

#[test]
fn notifications_are_read_one_by_one_and_bounded() {
    let mut notifications = Notifications::default();
    assert!(notifications.push(Notification::RegistrationPreempted, 4));
    assert!(notifications.push(Notification::ReservationReleased, 5));
    let first = notifications.page(true);
    assert_eq!((u64_at(&first, 0), first[8], first[9], u32_at(&first, 12)), (1, 1, 1, 4));
    assert_eq!(notifications.page(false), first);
    assert_eq!(notifications.page(false)[8], 2);
    assert_eq!(notifications.page(false), vec![0; 64]);
    notifications.set_mask(4, [4, 5].into_iter(), 1 << 1);
    assert!(!notifications.push(Notification::RegistrationPreempted, 4));
    assert!(notifications.push(Notification::RegistrationPreempted, 5));
    notifications.set_mask(EVERY_NAMESPACE, [4, 5].into_iter(), 1 << 3);
    assert_eq!((notifications.mask(4), notifications.mask(5)), (8, 8));
    (0..1000).for_each(|_| _ = notifications.push(Notification::ReservationReleased, 4));
    assert_eq!(notifications.waiting.len(), RESERVATION_NOTICES_MAX);
}

#[test]
fn who_waits_for_commands_waits_for_those_that_were_first() {
    let activity = Activity::default();
    let (one, other) = (activity.begin(), activity.begin());
    let before = activity.so_far();
    let later = activity.begin();
    drop(one);
    assert!(before.upgrade().is_some());
    drop(other);
    assert!(before.upgrade().is_none());
    drop(later);
}
