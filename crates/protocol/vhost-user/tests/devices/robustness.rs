use std::io::Read;
use std::os::fd::AsRawFd;

use tempfile::TempDir;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

use super::support::driver::{ALL, Disk, Machine, QUEUE_SIZE, Style, kind, send_raw};
use super::support::node::Node;

const SIZE: u64 = 8 << 20;

fn message(request: u32, flags: u32, payload_bytes: u32, payload: &[u8]) -> Vec<u8> {
    [&request.to_le_bytes()[..], &flags.to_le_bytes(), &payload_bytes.to_le_bytes(), payload].concat()
}

/// Each ends its connection, and the next one is served.
#[test]
fn messages_that_are_none_end_their_connection() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    for (what, bytes) in [
        ("another version", message(1, 2, 0, &[])),
        ("a reply", message(1, 5, 0, &[])),
        ("a giant", message(5, 1, u32::MAX, &[])),
        ("an unknown one", message(99, 1, 0, &[])),
        ("a log of changed memory", message(6, 1, 16, &[0; 16])),
        ("features of no length", message(2, 1, 4, &[0; 4])),
        ("features that were not offered", message(2, 1, 8, &[0xff; 8])),
        ("a table of memory that is longer than it says", message(5, 1, 8, &[9, 0, 0, 0, 0, 0, 0, 0])),
        ("memory without files", message(5, 1, 40, &[1; 40])),
        ("a size of no queue", message(8, 1, 8, &[200, 0, 0, 0, 16, 0, 0, 0])),
        ("a size that is no power of two", message(8, 1, 8, &[0, 0, 0, 0, 3, 0, 0, 0])),
        ("a kick without a file", message(12, 1, 8, &[0; 8])),
        ("a kick that is none", message(12, 1, 8, &[0, 1, 0, 0, 0, 0, 0, 0])),
        ("the index of no queue", message(11, 1, 8, &[0xff; 8])),
        ("configuration behind its end", message(24, 1, 12, &[0xff; 12])),
        ("requests in flight of too many queues", message(31, 1, 24, &[0xff; 24])),
    ] {
        let mut stream = send_raw(&node.socket, &bytes);
        assert_eq!(stream.read(&mut [0]).expect("it is told by the end"), 0, "{what}");
    }
    // A half message holds nobody up for longer than its sender is there.
    drop(send_raw(&node.socket, &message(5, 1, 4096, &[0; 100])));
    Machine::new().connect(&node.socket, ALL).write(0, &[1; 512]);
}

fn expect_refusal(what: &str, result: vhost::Result<()>) {
    assert!(result.is_err(), "{what}");
}

/// With an answer for each message, what cannot be is refused, and the connection goes on.
#[test]
fn what_cannot_be_is_refused_while_the_disk_works() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    let event = vmm_sys_util::eventfd::EventFd::new(0).expect("an eventfd");
    expect_refusal("the size of a running queue", disk.front.set_vring_num(0, QUEUE_SIZE / 2));
    expect_refusal("the index of a running queue", disk.front.set_vring_base(0, 3));
    expect_refusal("a queue without rings", disk.front.set_vring_kick(17, &event));
    let twice = disk.machine.regions()[0];
    assert!(disk.front.add_mem_region(&twice).is_err(), "memory that is there already");
    let mut beyond = disk.machine.regions()[1];
    (beyond.guest_phys_addr, beyond.memory_size) = (4 << 30, 1 << 40);
    assert!(disk.front.add_mem_region(&beyond).is_err(), "more than the file has");
    let unknown = vhost::VhostUserMemoryRegionInfo { guest_phys_addr: 12345, ..twice };
    assert!(disk.front.remove_mem_region(&unknown).is_err(), "memory that is not there");
    let on_disk = tempfile::tempfile_in("/var/tmp").expect("a file");
    on_disk.set_len(1 << 20).expect("room");
    (beyond.memory_size, beyond.mmap_handle) = (1 << 20, on_disk.as_raw_fd());
    assert!(disk.front.add_mem_region(&beyond).is_err(), "a file that is no memory");
    disk.write(0, &[1; 512]);
}

/// What the queues of a device hold of memory is bounded; a queue that waits for what another one holds goes on by itself.
#[test]
fn queues_wait_for_the_memory_that_others_hold() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), 64 << 20, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    node.with(|volume| volume.held.set(true));
    let mut heads: Vec<(usize, u16)> = Vec::new();
    for queue in [0, 0, 1, 3] {
        let head = disk.prepare_large_read(queue, 60);
        disk.publish(queue, head);
        heads.push((queue, head));
    }
    node.until("two have begun", |volume| volume.waiting() == 2);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(node.with(|volume| volume.waiting()), 2, "64 MiB for a device");
    node.with(|volume| volume.release_all());
    for (queue, head) in heads {
        assert_eq!(disk.wait(queue, head).0, 0);
    }
}

fn add_and_remove(disk: &mut Disk) {
    let mut more = disk.machine.regions()[0];
    (more.guest_phys_addr, more.userspace_addr) = (8 << 30, 1 << 40);
    disk.front.add_mem_region(&more).expect("memory is added");
    disk.write(100, &[1; 512]);
    disk.front.remove_mem_region(&more).expect("memory is taken away");
}

#[test]
fn memory_comes_and_goes_while_requests_are_under_way() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![5; 4096], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    node.with(|volume| volume.held.set(true));
    let head = disk.submit(1, Style::Direct, kind::READ, 0, &[], 4096);
    node.until("it has begun", |volume| volume.waiting() == 1);
    node.with(|volume| volume.held.set(false));
    add_and_remove(&mut disk);
    let regions = disk.machine.regions();
    disk.front.set_mem_table(&regions).expect("the same memory again");
    node.with(|volume| volume.release_all());
    assert_eq!(disk.wait(1, head), (0, vec![5; 4096]));
    disk.write(0, &[1; 512]);
}

/// A machine that takes its memory away is on its own; the node and what others have stored are not concerned.
#[test]
fn a_machine_that_takes_its_memory_away_ends_its_queues() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![5; 4096], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    node.with(|volume| volume.held.set(true));
    let read = disk.submit(1, Style::Direct, kind::READ, 0, &[], 4096);
    // Data of this queue is in the second region, its rings are in the first.
    node.until("one has begun", |volume| volume.waiting() == 1);
    disk.machine.files[1].set_len(0).expect("shorter");
    node.with(|volume| volume.release_all());
    disk.wait_for_error(1);
    assert!(disk.nothing_used(1), "request {read} is not answered");
    drop(disk);
    Machine::new().connect(&node.socket, ALL).write(0, &[1; 512]);
}

/// The same where the memory is gone before the request is looked at.
#[test]
fn a_write_from_memory_that_is_gone_is_not_done() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![5; 4096], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    let write = disk.prepare(1, Style::Direct, (kind::WRITE, 0), &[9; 4096], 0);
    disk.lose_data(1, write);
    disk.publish(1, write);
    disk.wait_for_error(1);
    assert_eq!(node.calls(), []);
    assert_eq!(node.content(0, 4096), [5; 4096]);
}
