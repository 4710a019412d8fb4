//! Several initiators: reservations, resets, and what they tell each other.

use futures::FutureExt;
use quarry_scsi::{Accepted, Cdb, Code, Key, Lun, Status, Task};
use quarry_target::{Chap, Host};

use crate::support::{Client, World, copy_command};

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const WRITE: [u8; 10] = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// PERSISTENT RESERVE OUT.
fn out(client: &Client, action: u8, kind: u8, key: u64, other: u64) -> Status {
    let mut list = [0; 24];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&other.to_be_bytes());
    client.status(&[0x5F, action, kind, 0, 0, 0, 0, 0, 24, 0], &list)
}

fn rights(client: &Client) -> (bool, bool) {
    let may = |status| status != Status::ReservationConflict;
    (may(client.status(&READ, &[])), may(client.status(&WRITE, &[1; 512])))
}

#[test]
fn persistent_reservations_keep_others_out() {
    let world = World::new();
    let (a, b, c) = (world.initiator("iqn.a"), world.initiator("iqn.b"), world.initiator("iqn.c"));
    assert_eq!(out(&a, 1, 1, 0, 0), Status::ReservationConflict, "it has not registered");
    assert_eq!(out(&a, 0, 0, 0, 0xA), Status::Good);
    assert_eq!(out(&b, 6, 0, 0, 0xB), Status::Good);
    for (kind, second, third) in [
        (1, (true, false), (true, false)),
        (3, (false, false), (false, false)),
        (5, (true, true), (true, false)),
        (6, (true, true), (false, false)),
        (7, (true, true), (true, false)),
        (8, (true, true), (false, false)),
    ] {
        assert_eq!(out(&a, 1, kind, 0xA, 0), Status::Good, "{kind}");
        assert_eq!((rights(&a), rights(&b), rights(&c)), ((true, true), second, third), "{kind}");
        let held = a.data(&[0x5E, 1, 0, 0, 0, 0, 0, 0, 64, 0]);
        let key = if kind >= 7 { 0 } else { 0xA };
        assert_eq!((held[7], held[15], held[21]), (16, key, kind));
        assert_eq!(out(&a, 2, kind, 0xA, 0), Status::Good);
        if kind >= 5 {
            assert_eq!(b.code(&[0; 6], &[]), Some(Code::RESERVATIONS_RELEASED));
        }
    }
    assert_eq!(a.data(&[0x5E, 0, 0, 0, 0, 0, 0, 0, 64, 0]).len(), 24, "two keys");
    let full = a.data(&[0x5E, 3, 0, 0, 0, 0, 0, 4, 0, 0]);
    assert!(full.windows(21).any(|part| part == b"iqn.a,i,0x00000000000"));
}

#[test]
fn a_reservation_is_moved_to_another_port() {
    let world = World::new();
    let (a, b) = (world.initiator("iqn.a"), world.initiator("iqn.b"));
    let send = |client: &Client, key: u64, new_key: u64, to: &str| {
        let name = [to.as_bytes(), &[0; 4][..4 - to.len() % 4]].concat();
        let mut list =
            [key.to_be_bytes(), new_key.to_be_bytes(), [0, 2, 0, 1, 0, 0, 0, name.len() as u8 + 4]].concat();
        list.extend_from_slice(&[0x45, 0, 0, name.len() as u8]);
        list.extend_from_slice(&name);
        client.send(&[0x5F, 7, 0, 0, 0, 0, 0, 0, list.len() as u8, 0], &list)
    };
    const TO_B: &str = "iqn.b,i,0x000000000001";
    out(&a, 0, 0, 0, 0xA);
    let code = |reply: quarry_scsi::Reply| reply.sense.map(|sense| sense.code);
    assert_eq!(code(send(&a, 0xA, 0xB, TO_B)), Some(Code::INVALID_FIELD_IN_CDB), "nothing is reserved");
    assert_eq!(out(&a, 1, 3, 0xA, 0), Status::Good);
    let wrong = Some(Code::INVALID_FIELD_IN_PARAMETERS);
    assert_eq!(code(send(&a, 0xA, 0, TO_B)), wrong, "the key 0");
    assert_eq!(code(send(&a, 0xA, 0xB, "iqn.b")), wrong, "no port");
    assert_eq!(code(send(&a, 0xA, 0xB, "iqn.a,i,0x000000000001")), wrong, "it has it already");
    assert_eq!(
        send(&b, 0xA, 0xB, "iqn.c,i,0x000000000001").status,
        Status::ReservationConflict,
        "it is not its own"
    );
    assert_eq!((rights(&a), rights(&b)), ((true, true), (false, false)));
    assert_eq!(send(&a, 0xA, 0xB, TO_B).status, Status::Good);
    assert_eq!((rights(&a), rights(&b)), ((false, false), (true, true)));
    let keys = b.data(&[0x5E, 0, 0, 0, 0, 0, 0, 0, 64, 0]);
    assert_eq!((keys.len(), keys[15]), (16, 0xB), "the former holder has left");
}

#[test]
fn preempting_takes_a_reservation_over() {
    let world = World::new();
    let (a, b) = (world.initiator("iqn.a"), world.initiator("iqn.b"));
    out(&a, 0, 0, 0, 0xA);
    out(&b, 0, 0, 0, 0xB);
    assert_eq!(out(&a, 1, 3, 0xA, 0), Status::Good);
    assert_eq!(out(&b, 4, 3, 0xB, 0xA), Status::Good);
    assert_eq!(a.code(&[0; 6], &[]), Some(Code::REGISTRATIONS_PREEMPTED));
    assert_eq!((rights(&a), rights(&b)), ((false, false), (true, true)));
    assert_eq!(out(&a, 3, 0, 0xA, 0), Status::ReservationConflict);
    assert_eq!(out(&b, 3, 0, 0xB, 0), Status::Good);
    assert_eq!(rights(&a), (true, true));
}

#[test]
fn what_is_wrong_with_a_reservation_is_told() {
    let world = World::new();
    let a = world.initiator("iqn.a");
    let command = |action, kind, length| [0x5F, action, kind, 0, 0, 0, 0, 0, length, 0];
    assert_eq!(a.code(&command(0, 0, 23), &[0; 23]), Some(Code::PARAMETER_LIST_LENGTH));
    assert_eq!(a.code(&command(1, 2, 24), &[0; 24]), Some(Code::INVALID_FIELD_IN_CDB), "no such type");
    assert_eq!(a.code(&command(1, 0x11, 24), &[0; 24]), Some(Code::INVALID_FIELD_IN_CDB), "no such scope");
    assert_eq!(a.code(&command(8, 0, 24), &[0; 24]), Some(Code::INVALID_FIELD_IN_CDB), "no such action");
    out(&a, 0, 0, 0, 0xA);
    out(&a, 1, 5, 0xA, 0);
    let mut list = [0; 24];
    list[7] = 0xA;
    assert_eq!(a.code(&command(2, 1, 24), &list), Some(Code::INVALID_RELEASE));
    list[20] = 8;
    assert_eq!(a.code(&command(0, 0, 24), &list), Some(Code::INVALID_FIELD_IN_PARAMETERS), "SPEC_I_PT");
}

#[test]
fn a_plain_reserve_lasts_as_long_as_its_nexus() {
    let world = World::new();
    let (a, b) = (world.initiator("iqn.a"), world.initiator("iqn.b"));
    let (reserve, release) = ([0x16, 0, 0, 0, 0, 0], [0x17, 0, 0, 0, 0, 0]);
    assert_eq!(a.status(&reserve, &[]), Status::Good);
    assert_eq!(b.status(&reserve, &[]), Status::ReservationConflict);
    let persistent = [0x5E, 0, 0, 0, 0, 0, 0, 0, 8, 0];
    assert_eq!(a.status(&persistent, &[]), Status::ReservationConflict, "one way to reserve or the other");
    assert_eq!(b.status(&[0; 6], &[]), Status::ReservationConflict, "not even TEST UNIT READY");
    assert_eq!(b.status(&[0x12, 0, 0, 0, 36, 0], &[]), Status::Good, "but INQUIRY");
    assert_eq!(b.status(&release, &[]), Status::Good);
    assert_eq!(rights(&b), (false, false), "it was not its own");
    drop(a);
    assert_eq!(b.status(&reserve, &[]), Status::Good);
    let c = world.newcomer("iqn.c");
    assert_eq!(c.code(&[0; 6], &[]), Some(Code::POWER_ON));
    assert_eq!(rights(&c), (false, false));
    assert!(c.nexus.reset_unit(quarry_scsi::Lun::of(0)).is_some());
    assert_eq!(c.code(&[0; 6], &[]), Some(Code::RESET));
    assert_eq!(rights(&c), (true, true), "a reset ends it");
}

#[test]
fn growth_is_told_once() {
    let world = World::new();
    let a = world.initiator("iqn.a");
    world.volume.set_info(|info| info.size_bytes *= 2);
    let info = quarry_volume::Volume::info(&*world.volume);
    world.access.update_size(info.id, info.size_bytes);
    assert_eq!(a.code(&[0; 6], &[]), Some(Code::CAPACITY_CHANGED));
    assert_eq!(a.code(&[0; 6], &[]), None);
    let sense = a.data(&[0x03, 0, 0, 0, 18, 0]);
    assert_eq!((sense[2], sense[12]), (0, 0), "nothing is left to tell");
}

#[test]
fn growth_that_a_command_has_seen_first_is_told_all_the_same() {
    let world = World::new();
    let a = world.initiator("iqn.a");
    let behind_the_end =
        u32::try_from(quarry_volume::Volume::info(&*world.volume).size_bytes / 512).expect("small");
    world.volume.set_info(|info| info.size_bytes *= 2);
    let mut read = READ;
    read[2..6].copy_from_slice(&behind_the_end.to_be_bytes());
    assert_eq!(a.code(&read, &[]), None, "it is there already");
    let info = quarry_volume::Volume::info(&*world.volume);
    world.access.update_size(info.id, info.size_bytes);
    assert_eq!(a.code(&[0; 6], &[]), Some(Code::CAPACITY_CHANGED));
    assert_eq!(a.code(&[0; 6], &[]), None);
}

#[test]
fn that_there_are_other_units_is_told_by_one_of_them() {
    const REPORT_LUNS: [u8; 12] = [0xA0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    const SENSE: [u8; 6] = [0x03, 0, 0, 0, 18, 0];
    let world = World::new();
    world.map(1);
    let client = world.initiator("iqn.a");
    let told = |unit: u32| client.send_to(unit, &[0; 6], &[]).sense.map(|sense| sense.code);
    assert_eq!(told(1), Some(Code::POWER_ON));
    world.map(2);
    assert_eq!(told(1), Some(Code::LUNS_CHANGED));
    assert_eq!((told(0), told(1)), (None, None));
    assert_eq!(told(2), Some(Code::POWER_ON));
    assert_eq!(told(2), None);
    world.map(3);
    assert_eq!(client.data(&REPORT_LUNS).len(), 8 + 4 * 8);
    assert_eq!((told(0), told(1), told(2)), (None, None, None), "it has looked");
    world.map(4);
    let sense = client.data(&SENSE);
    assert_eq!((sense[12], sense[13]), (0x3F, 0x0E));
    assert_eq!((told(0), told(2)), (None, None));
}

#[test]
fn a_copy_stops_where_its_initiator_is_kept_out() {
    let world = World::new();
    let (a, b) = (world.initiator("iqn.a"), world.initiator("iqn.b"));
    assert_eq!(out(&b, 0, 0, 0, 0xB), Status::Good);
    let (command, list) = copy_command(quarry_volume::Volume::info(&*world.volume).id, 0, 4096);
    world.volume.held.set(true);
    world.volume.records.set(true);
    let (_, mut copy) = a.begin(&command, &list);
    assert!((&mut copy).now_or_never().is_none());
    world.volume.release(0);
    assert!((&mut copy).now_or_never().is_none(), "it has read, and writes");
    assert_eq!(out(&b, 1, 1, 0xB, 0), Status::Good);
    world.volume.release_all();
    let reply = copy.now_or_never().expect("it ends");
    assert_eq!(reply.sense.map(|sense| sense.key), Some(Key::CopyAborted));
    let calls = world.volume.calls.borrow();
    assert_eq!(calls.iter().filter(|(verb, ..)| *verb == "write").count(), 1, "none after the reservation");
}

#[test]
fn a_copy_stops_where_its_unit_was_withdrawn() {
    let world = World::new();
    let a = world.initiator("iqn.a");
    let (command, list) = copy_command(quarry_volume::Volume::info(&*world.volume).id, 0, 4096);
    world.volume.held.set(true);
    world.volume.records.set(true);
    let (_, mut copy) = a.begin(&command, &list);
    assert!((&mut copy).now_or_never().is_none());
    world.volume.release(0);
    assert!((&mut copy).now_or_never().is_none(), "it has read, and writes");
    world.access.unmap("disk-0").expect("it is mapped");
    world.volume.release_all();
    let reply = copy.now_or_never().expect("it ends");
    assert_eq!(reply.sense.map(|sense| sense.key), Some(Key::CopyAborted));
    let calls = world.volume.calls.borrow();
    assert_eq!(calls.iter().filter(|(verb, ..)| *verb == "write").count(), 1, "none after that");
}

#[test]
fn what_forbids_a_write_that_waited_for_its_data_is_found() {
    let world = World::new();
    let (a, b) = (world.initiator("iqn.a"), world.initiator("iqn.b"));
    let mut cdb = Cdb::default();
    cdb.0[..10].copy_from_slice(&WRITE);
    let begin = || match a.nexus.accept(Lun::of(0), &cdb, 512) {
        Accepted::Task(task) => task,
        Accepted::Answered(reply) => panic!("{reply:?}"),
    };
    let code =
        |task: &Task| task.objection().map(|reply| (reply.status, reply.sense.map(|sense| sense.code)));
    let task = begin();
    b.nexus.reset_unit(Lun::of(0));
    assert_eq!(code(&task), None, "an attention is the next command's");
    assert_eq!(a.code(&[0; 6], &[]), Some(Code::RESET));
    b.code(&[0; 6], &[]);
    assert_eq!(out(&b, 0, 0, 0, 0xB), Status::Good);
    assert_eq!(out(&b, 1, 1, 0xB, 0), Status::Good);
    assert_eq!(code(&task), Some((Status::ReservationConflict, None)));
    assert_eq!(out(&b, 2, 1, 0xB, 0), Status::Good);
    assert_eq!(code(&task), None);
    world.access.unmap("disk-0").expect("it is mapped");
    let gone = Some((Status::CheckCondition, Some(Code::UNIT_NOT_SUPPORTED)));
    assert_eq!(code(&task), gone);
    world.map(0);
    assert_eq!(code(&task), gone, "what it is now is another unit");
}

#[test]
fn whoever_becomes_a_host_with_a_secret_sees_nothing_before_it_logs_in_again() {
    let world = World::new();
    let a = world.initiator("iqn.a");
    let host = |secret: Option<&str>| {
        let chap = |secret: &str| Chap { user: "a".to_owned(), secret: secret.to_owned(), mutual: None };
        let initiators = vec!["iqn.a".to_owned()];
        Host { name: "host".to_owned(), initiators, networks: vec![], chap: secret.map(chap) }
    };
    world.access.set_host(host(None)).expect("room");
    a.nexus.refresh();
    assert_eq!(a.nexus.numbers(), [0], "there is nothing to prove");
    world.access.set_host(host(Some("a long enough secret"))).expect("room");
    assert_eq!(a.status(&WRITE, &[1; 512]), Status::CheckCondition);
    assert_eq!((a.nexus.numbers(), a.nexus.take_changed()), (vec![], true));
    let again = world.proven("iqn.a", host(Some("a long enough secret")));
    assert_eq!(again.nexus.numbers(), [0]);
    world.access.set_host(host(Some("another long secret"))).expect("room");
    again.nexus.refresh();
    assert_eq!(again.nexus.numbers(), [], "it has another secret by now");
}

#[test]
fn every_initiator_hears_once_that_the_pool_is_filling() {
    let world = World::new();
    let (a, b) = (world.initiator("iqn.a"), world.initiator("iqn.b"));
    let page = |client: &Client| client.data(&[0x1A, 0x08, 0x1C, 0x02, 255, 0])[4..].to_vec();
    assert_eq!(page(&a)[16..], [0; 8], "nothing is known yet");
    assert_eq!(a.data(&[0x12, 1, 0xB2, 0, 64, 0])[4], 15, "16 MiB a set");
    world.note_threshold(160 << 20, false);
    assert_eq!(page(&a)[..4], [0x5C, 2, 0, 20]);
    assert_eq!(page(&a)[16..], [0x81, 2, 0, 0, 0, 0, 0, 10], "soft, increasing, of what is used");
    assert_eq!(a.status(&[0; 6], &[]), Status::Good);
    for _ in 0..2 {
        world.note_threshold(160 << 20, true);
    }
    for client in [&a, &b] {
        assert_eq!(client.code(&[0; 6], &[]), Some(Code::SOFT_THRESHOLD_REACHED));
        assert_eq!(client.status(&[0; 6], &[]), Status::Good, "once");
    }
    let late = world.initiator("iqn.c");
    assert_eq!(late.code(&[0; 6], &[]), Some(Code::SOFT_THRESHOLD_REACHED), "who comes while it is so");
    world.note_threshold(160 << 20, false);
    assert_eq!(a.status(&[0; 6], &[]), Status::Good);
    world.note_threshold(160 << 20, true);
    assert_eq!(a.code(&[0; 6], &[]), Some(Code::SOFT_THRESHOLD_REACHED), "again");
    // All pages with all subpages, and the new one as it is.
    let all = a.data(&[0x1A, 0x08, 0x3F, 0xFF, 255, 0]);
    assert_eq!(all.len(), 4 + 20 + 12 + 12 + 24);
    let list = [&[0; 4], &page(&a)[..]].concat();
    assert_eq!(a.status(&[0x15, 0x10, 0, 0, list.len() as u8, 0], &list), Status::Good, "nothing is changed");
    let mut other = list.clone();
    other[4 + 23] ^= 1;
    let refused = a.code(&[0x15, 0x10, 0, 0, list.len() as u8, 0], &other);
    assert_eq!(refused, Some(Code::INVALID_FIELD_IN_PARAMETERS), "the node sets it");
}
