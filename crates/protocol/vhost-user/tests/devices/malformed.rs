use tempfile::TempDir;
use virtio_queue::desc::split::Descriptor;

use super::support::driver::{ALL, Disk, Machine, NEXT, QUEUE_SIZE, Style, TABLE, WRITE, kind, slot_at};
use super::support::node::Node;

const SIZE: u64 = 8 << 20;

/// Puts something into queue 1 of a disk; returns the descriptor that is made available.
type Mischief = fn(&mut Disk) -> u16;

fn at(offset: u64) -> u64 {
    slot_at(1, 0) + offset
}

fn put(disk: &Disk, index: u16, address: u64, bytes: u32, flags: u16, next: u16) {
    disk.set_descriptor(1, index, Descriptor::new(address, bytes, flags, next));
}

const CHAINS: [(&str, Mischief); 13] = [
    ("a head that is not there", |_| QUEUE_SIZE),
    ("a loop", |disk| {
        put(disk, 0, at(0), 16, NEXT, 1);
        put(disk, 1, at(0), 16, NEXT, 0);
        0
    }),
    ("a descriptor that names itself", |disk| {
        put(disk, 0, at(0), 0, NEXT, 0);
        0
    }),
    ("a next one that is not there", |disk| {
        put(disk, 0, at(0), 16, NEXT, QUEUE_SIZE);
        0
    }),
    ("no status", |disk| {
        put(disk, 0, at(0), 16, 0, 0);
        0
    }),
    ("no header", |disk| {
        put(disk, 0, at(0), 1, WRITE, 0);
        0
    }),
    ("a short header", |disk| {
        put(disk, 0, at(0), 15, NEXT, 1);
        put(disk, 1, at(512), 1, WRITE, 0);
        0
    }),
    ("a header outside of memory", |disk| {
        put(disk, 0, 1 << 50, 16, NEXT, 1);
        put(disk, 1, at(512), 1, WRITE, 0);
        0
    }),
    ("a status outside of memory", |disk| {
        put(disk, 0, at(0), 16, NEXT, 1);
        put(disk, 1, u64::MAX, 1, WRITE, 0);
        0
    }),
    ("parts in the wrong order", |disk| {
        put(disk, 0, at(0), 16, NEXT, 1);
        put(disk, 1, at(512), 1, WRITE | NEXT, 2);
        put(disk, 2, at(0), 16, 0, 0);
        0
    }),
    ("a table in a table", |disk| {
        put(disk, 0, at(1024), 32, TABLE, 0);
        disk.put_descriptor(at(1024), Descriptor::new(at(1024), 32, TABLE, 0));
        0
    }),
    ("a table of no length", |disk| {
        put(disk, 0, at(1024), 17, TABLE, 0);
        0
    }),
    ("a table outside of memory", |disk| {
        put(disk, 0, u64::MAX - 8, !15, TABLE, 0);
        0
    }),
];

/// Each ends its queue, says so, and leaves the others alone; the queue can be set up anew.
#[test]
fn a_malformed_chain_ends_its_queue_alone() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    for (what, mischief) in CHAINS {
        let mut disk = Machine::new().connect(&node.socket, ALL);
        let other = disk.submit(0, Style::Direct, kind::WRITE, 0, &[1; 512], 0);
        let head = mischief(&mut disk);
        disk.make_available(1, head);
        disk.kick(1);
        disk.wait_for_error(1);
        assert_eq!(disk.wait(0, other).0, 0, "{what}");
        assert_eq!(disk.read(0, 512), [1; 512], "{what}");
        assert!(disk.nothing_used(1), "{what}");
    }
}

/// Data outside of memory is an error of the request, not of the queue; nothing of it is written.
#[test]
fn data_outside_of_memory_fails_its_request() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    // The second one begins in memory and ends outside of it; the third is longer than any request may be.
    for (address, bytes) in
        [(1 << 50, 512), ((32 << 20) - 512, 1024), (at(0), 1 << 30), (u64::MAX - 100, 512)]
    {
        for is_read in [false, true] {
            // As the driver lays out a request; then the data is put somewhere else.
            let (kind, flags) = if is_read { (kind::READ, WRITE | NEXT) } else { (kind::WRITE, NEXT) };
            let (data, room) = if is_read { (vec![], 512) } else { (vec![1; 512], 0) };
            let head = disk.prepare(2, Style::Direct, (kind, 0), &data, room);
            disk.set_descriptor(2, head + 1, Descriptor::new(address, bytes, flags, head + 2));
            disk.publish(2, head);
            assert_eq!(disk.wait(2, head).0, 1, "{bytes} bytes at {address:#x}");
        }
    }
    assert!(node.calls().iter().all(|(verb, ..)| *verb != "write"));
    disk.write(0, &[1; 512]);
}

#[test]
fn more_in_the_ring_than_fits_ends_the_queue() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    (0..=QUEUE_SIZE).for_each(|_| disk.make_available(3, 0));
    disk.kick(3);
    disk.wait_for_error(3);
    disk.write(0, &[1; 512]);
}
