use std::time::Duration;

use tempfile::TempDir;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

use super::support::driver::{ALL, Machine, Style, kind, send_raw};
use super::support::node::Node;

const SIZE: u64 = 8 << 20;

/// The daemon dies with requests under way: the next one does them again, each is answered once, and the queue goes on.
#[test]
fn what_was_under_way_is_done_again_after_a_restart() {
    let directory = TempDir::new().expect("a directory");
    let mut content = vec![0; SIZE as usize];
    let mut machine = Some(Machine::new());
    for round in 0..5u8 {
        let node = Node::start(directory.path(), SIZE, content, false);
        let mut disk = machine.take().expect("it is given back").connect(&node.socket, ALL);
        // Answered, out of order, before the end: not to be done again.
        node.with(|volume| volume.held.set(true));
        let heads: Vec<u16> = (0..10u64)
            .map(|number| disk.submit(1, Style::Odd, kind::WRITE, number * 8, &[round + 1; 4096], 0))
            .collect();
        node.until("all have begun", |volume| volume.waiting() == 10);
        for index in [7, 3, 0] {
            node.with(move |volume| volume.release(index));
        }
        for head in [heads[7], heads[3], heads[0]] {
            assert_eq!(disk.wait(1, head).0, 0);
        }
        let mut rest: Vec<u16> = heads;
        rest.retain(|head| !disk.is_free(1, *head));
        assert_eq!(rest.len(), 7);
        // These are in the ring, and nobody has looked at them.
        let behind = disk.prepare(1, Style::Direct, (kind::WRITE, 800), &[round + 1; 512], 0);
        content = node.kill();
        disk.make_available(1, behind);
        let untouched = content[8 * 512..][..4096].to_vec();
        assert_eq!(untouched, [round; 4096], "it was under way");

        let node = Node::start(directory.path(), SIZE, content, false);
        let mut disk = disk.disconnect().connect(&node.socket, ALL);
        for head in rest.into_iter().chain([behind]) {
            assert_eq!(disk.wait(1, head).0, 0, "round {round}");
        }
        let again = node.calls().into_iter().map(|(_, offset, ..)| offset / 4096).collect::<Vec<_>>();
        assert_eq!(again, [1, 2, 4, 5, 6, 8, 9, 100], "those that were not answered, in their order");
        assert!(node.content(0, 10 * 4096).iter().all(|&byte| byte == round + 1));
        disk.write(900, &[1; 512]);
        content = node.content(0, SIZE as usize);
        machine = Some(disk.disconnect());
    }
}

/// The connection breaks with requests under way: the next one waits until these are done, and does only what is left.
#[test]
fn a_new_connection_waits_for_what_the_old_one_has_begun() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    node.with(|volume| volume.held.set(true));
    let head = disk.submit(0, Style::Direct, kind::WRITE, 0, &[1; 512], 0);
    node.until("it has begun", |volume| volume.waiting() == 1);
    let machine = disk.disconnect();
    let socket = node.socket.clone();
    let connecting = std::thread::spawn(move || machine.connect(&socket, ALL));
    std::thread::sleep(Duration::from_millis(200));
    assert!(!connecting.is_finished(), "the old connection still does something");
    node.with(|volume| volume.release_all());
    let mut disk = connecting.join().expect("it connects");
    assert_eq!(disk.wait(0, head).0, 0, "it was answered by the old connection");
    assert_eq!(node.calls().len(), 1);
    disk.write(1, &[2; 512]);
}

#[test]
fn a_device_has_one_machine_at_a_time() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    let mut second = send_raw(&node.socket, &[]);
    let closed = std::io::Read::read(&mut second, &mut [0]);
    assert_eq!(closed.expect("it is told by the end"), 0);
    disk.write(0, &[1; 512]);
    drop(disk.disconnect());
    Machine::new().connect(&node.socket, ALL).write(0, &[2; 512]);
}

/// A queue is stopped when what it has begun is done, and goes on where it was.
#[test]
fn a_queue_stops_when_its_requests_are_done() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    for round in 1..4u16 {
        node.with(|volume| volume.held.set(true));
        let head = disk.submit(2, Style::Direct, kind::WRITE, 0, &[1; 512], 0);
        node.until("it has begun", |volume| volume.waiting() == 1);
        let releasing = std::thread::scope(|scope| {
            let release = scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(100));
                node.with(|volume| volume.release_all());
            });
            let base = disk.front.get_vring_base(2).expect("the index");
            release.join().expect("released");
            base
        });
        assert_eq!(releasing, u32::from(round));
        assert!(disk.is_answered(2, head));
        assert_eq!(disk.wait(2, head).0, 0);
        disk.start(2, round);
    }
    disk.front.set_vring_enable(2, false).expect("disabled");
    let head = disk.submit(2, Style::Direct, kind::WRITE, 0, &[1; 512], 0);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!disk.is_answered(2, head), "a queue that is not enabled does nothing");
    disk.front.set_vring_enable(2, true).expect("enabled");
    assert_eq!(disk.wait(2, head).0, 0);
}

#[test]
fn a_stop_of_the_node_ends_connections_when_requests_are_done() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    node.with(|volume| volume.held.set(true));
    let head = disk.submit(0, Style::Direct, kind::WRITE, 0, &[1; 512], 0);
    node.until("it has begun", |volume| volume.waiting() == 1);
    node.exports.stop();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(node.exports.sessions().len(), 1, "it is not done");
    node.with(|volume| volume.release_all());
    assert_eq!(disk.wait(0, head).0, 0);
    assert!(disk.front.get_features().is_err(), "the connection has ended");
    drop(node);
    assert!(!directory.path().join("vm-17.sock").exists());
}
