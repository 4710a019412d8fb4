//! What a session may hold, how it ends, and that nobody suffers from another's client.

use std::time::Duration;

use crate::support::client::*;
use crate::support::protocol::*;
use crate::support::world::World;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 64 * MIB;

#[test]
fn no_more_requests_are_taken_than_allowed() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", SIZE);
    let client = Client::open(&mut world, Style::Structured, "vol");
    volume.held.set(true);
    (0..600).for_each(|cookie| client.send(0, READ, READS + cookie, 0, 512));
    world.run();
    assert_eq!(volume.waiting(), 256);
    volume.release(0);
    world.run();
    assert_eq!((volume.waiting(), client.replies(512).len()), (256, 1));
    volume.release_all();
    world.run();
    assert_eq!(client.replies(512).len(), 599);
}

#[test]
fn errors_that_nobody_reads_are_bounded() {
    let mut world = World::new(1 << 30);
    world.volume("vol", SIZE);
    let client = Client::open(&mut world, Style::Structured, "vol");
    client.wire.room.set(0);
    (0..20_000).for_each(|cookie| client.send(0, 99, cookie, 0, 0));
    world.run();
    assert!(client.wire.unreceived() > 0, "the server stopped receiving");
    client.wire.room.set(usize::MAX);
    world.run();
    assert_eq!(client.replies(0).len(), 20_000);
}

#[test]
fn a_client_that_never_reads_holds_no_more_than_its_share() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", SIZE);
    let dead = Client::open(&mut world, Style::Simple, "vol");
    let live = Client::open(&mut world, Style::Extended, "vol");
    volume.records.set(true);
    dead.wire.room.set(0);
    (0..250).for_each(|cookie| dead.send(0, READ, READS + cookie, 0, MIB));
    world.run();
    assert_eq!(volume.calls.borrow().len(), 64, "64 MiB are in flight");
    assert_eq!(live.ask(&mut world, 0, READ, 0, 4096), Said::Data(0, vec![0; 4096]));
    assert_eq!(live.ask_write(&mut world, 0, 0, &vec![1; 1 << 20]), Said::Done);
    dead.wire.room.set(usize::MAX);
    world.run();
    assert_eq!(dead.replies(MIB as usize).len(), 250, "slow is not dead");
}

#[test]
fn dead_clients_are_cut_off_when_others_need_their_memory() {
    let mut world = World::new(64 * MIB);
    world.volume("vol", SIZE);
    let dead: Vec<Client> = (0..6).map(|_| Client::open(&mut world, Style::Simple, "vol")).collect();
    let live = Client::open(&mut world, Style::Structured, "vol");
    for client in &dead {
        client.wire.room.set(0);
        (0..100).for_each(|cookie| client.send(0, READ, READS + cookie, 0, MIB));
    }
    world.run();
    // A small request always passes; nobody is cut off while nobody needs anything.
    world.pass(Duration::from_secs(100));
    assert_eq!(live.ask(&mut world, 0, READ, 0, 65_536), Said::Data(0, vec![0; 65_536]));
    assert!(dead.iter().all(|client| !client.wire.is_closed()));
    live.send(0, READ, READS, 0, 32 * MIB);
    world.pass(Duration::from_secs(20));
    assert!(live.replies(0).is_empty());
    world.pass(Duration::from_secs(25));
    assert_eq!(live.replies(0), [(READS, Said::Data(0, vec![0; 32 << 20]))]);
    assert!(dead.iter().all(|client| client.wire.is_closed()));
    assert_eq!(world.exports.sessions().len(), 1);
}

#[test]
fn clients_that_do_not_send_what_they_have_announced_are_cut_off_when_others_need_their_memory() {
    let mut world = World::new(64 * MIB);
    world.volume("vol", SIZE);
    let dead: Vec<Client> = (0..12).map(|_| Client::open(&mut world, Style::Simple, "vol")).collect();
    let live = Client::open(&mut world, Style::Structured, "vol");
    let whole = write(Style::Simple, 0, 2, 0, &vec![7; 4 << 20]);
    dead.iter().for_each(|client| client.wire.write(&whole[..100]));
    world.pass(Duration::from_secs(100));
    assert!(dead.iter().all(|client| !client.wire.is_closed()), "nobody needs it");
    live.send(0, READ, READS, 0, 24 * MIB);
    world.run();
    world.pass(Duration::from_secs(20));
    assert!(live.replies(0).is_empty());
    // One goes on sending.
    dead[0].wire.write(&whole[100..200]);
    world.pass(Duration::from_secs(25));
    assert_eq!(live.replies(0).len(), 1);
    let closed: Vec<bool> = dead.iter().map(|client| client.wire.is_closed()).collect();
    assert!(!closed[0] && closed.iter().filter(|closed| **closed).count() >= 2, "{closed:?}");
}

#[test]
fn a_client_that_reads_slowly_is_not_cut_off() {
    let mut world = World::new(32 * MIB);
    world.volume("vol", SIZE);
    let slow = Client::open(&mut world, Style::Simple, "vol");
    let live = Client::open(&mut world, Style::Structured, "vol");
    slow.wire.room.set(0);
    (0..40).for_each(|cookie| slow.send(0, READ, READS + cookie, 0, MIB));
    world.run();
    live.send(0, READ, READS, 0, 32 * MIB);
    let mut taken = 0;
    for _ in 0..40 {
        slow.wire.room.set(2 * MIB as usize);
        world.pass(Duration::from_secs(5));
        taken += slow.wire.read().len();
    }
    world.run();
    assert!(!slow.wire.is_closed());
    assert_eq!(taken, 40 * (16 + MIB as usize));
    assert_eq!(live.replies(0).len(), 1);
}

#[test]
fn disc_waits_for_what_is_in_flight() {
    for style in STYLES {
        let mut world = World::new(1 << 30);
        let volume = world.volume("vol", SIZE);
        let client = Client::open(&mut world, style, "vol");
        volume.held.set(true);
        client.write(0, 1, 0, &[5; 4096]);
        client.send(0, DISC, 0, 0, 0);
        client.send(0, READ, READS, 0, 4096);
        world.run();
        assert!(!client.wire.is_closed());
        volume.release_all();
        world.run();
        assert_eq!(client.replies(4096), [(1, Said::Done)], "nothing counts that comes after DISC");
        assert!(client.wire.is_closed());
        assert_eq!(volume.content(0, 4096), [5; 4096]);
    }
}

#[test]
fn stop_lets_requests_finish_and_takes_no_more() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", SIZE);
    let client = Client::open(&mut world, Style::Structured, "vol");
    let idle = Client::open(&mut world, Style::Simple, "vol");
    let negotiating = world.connect();
    volume.held.set(true);
    (0..300).for_each(|cookie| client.send(0, READ, READS + cookie, 0, 512));
    world.run();
    world.exports.stop();
    world.run();
    assert!(idle.wire.is_closed() && negotiating.is_closed() && !client.wire.is_closed());
    volume.release_all();
    world.run();
    let replies = client.replies(512);
    let done = replies.iter().filter(|(_, said)| *said == Said::Data(0, vec![0; 512])).count();
    assert_eq!(done, 256, "what was begun is finished");
    assert!(client.wire.is_closed() && world.exports.sessions().is_empty());
    let late = world.connect();
    world.run();
    assert!(late.read().is_empty(), "nobody is greeted any more");
}

#[test]
fn what_has_arrived_when_the_server_stops_is_refused() {
    let mut world = World::new(32 * MIB);
    let volume = world.volume("vol", SIZE);
    let client = Client::open(&mut world, Style::Structured, "vol");
    volume.held.set(true);
    client.send(0, READ, READS, 0, 32 * MIB);
    // These wait for memory.
    client.send(0, READ, READS + 1, 0, 16 * MIB);
    client.write(0, 2, 0, &[1; 512]);
    world.run();
    assert_eq!(volume.waiting(), 1);
    world.exports.disconnect("vol");
    world.run();
    let refused = |cookie| (cookie, Said::Error(ESHUTDOWN, None));
    assert_eq!(client.replies(0), [refused(READS + 1), refused(2)]);
    volume.release_all();
    world.run();
    assert_eq!(client.replies(0).len(), 1);
    assert!(client.wire.is_closed());
}

#[test]
fn stop_does_not_wait_for_ever() {
    let mut world = World::new(1 << 30);
    let volume = world.volume("vol", SIZE);
    let stuck = Client::open(&mut world, Style::Structured, "vol");
    let deaf = Client::open(&mut world, Style::Structured, "vol");
    deaf.wire.room.set(0);
    deaf.send(0, READ, READS, 0, 4096);
    world.run();
    volume.held.set(true);
    stuck.send(0, READ, READS, 0, 4096);
    world.run();
    world.exports.stop();
    world.run();
    world.pass(Duration::from_secs(9));
    assert_eq!(world.exports.sessions().len(), 2);
    world.pass(Duration::from_secs(2));
    assert!(world.exports.sessions().is_empty() && stuck.wire.is_closed() && deaf.wire.is_closed());
}

#[test]
fn a_dead_client_leaves_nothing_behind() {
    for style in STYLES {
        let mut world = World::new(1 << 30);
        let volume = world.volume("vol", SIZE);
        volume.fill(0, &[1; 1 << 20]);
        let before = world.env.buffers.used_bytes();
        let client = Client::open(&mut world, style, "vol");
        volume.held.set(true);
        client.send(0, READ, READS, 0, MIB);
        client.write(0, 1, 0, &[2; 1 << 20]);
        client.write(0, 2, 0, &[3; 4096]);
        let half = write(style, 0, 3, 0, &[4; 1 << 20]);
        client.wire.write(&half[..half.len() / 2]);
        world.run();
        client.wire.close();
        world.run();
        assert_eq!(world.exports.sessions().len(), 1, "what was begun is finished first");
        volume.release_all();
        world.run();
        assert!(world.exports.sessions().is_empty());
        assert_eq!(volume.content(0, 8192), [[3; 4096], [2; 4096]].concat(), "{style:?}");
        assert_eq!(world.env.buffers.used_bytes(), before);
    }
}

#[test]
fn an_idle_session_holds_little() {
    let mut world = World::new(1 << 30);
    world.volume("vol", SIZE);
    let before = world.env.buffers.used_bytes();
    let client = Client::open(&mut world, Style::Structured, "vol");
    client.ask_write(&mut world, 0, 0, &vec![1; 4 << 20]);
    for cookie in 0..2000u64 {
        client.write(0, cookie, 0, &[1; 4096]);
    }
    world.run();
    assert_eq!(client.replies(0).len(), 2000);
    for _ in 0..10 {
        client.ask(&mut world, 0, FLUSH, 0, 0);
    }
    let data = 4 << 20;
    assert!(world.env.buffers.used_bytes() - before - data <= 8192);
}
