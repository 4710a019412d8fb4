use tempfile::TempDir;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserConfigFlags;

use super::support::driver::{ALL, FLUSH, Machine, Style, VERSION_1, kind};
use super::support::node::{Node, id};

const SIZE: u64 = 64 << 20;

fn sectors(config: &[u8]) -> u64 {
    u64::from_le_bytes(config[..8].try_into().expect("eight bytes"))
}

#[test]
fn a_driver_learns_what_the_device_is() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    assert_eq!(disk.front.get_queue_num().expect("a number"), 64);
    assert_eq!(disk.front.get_max_mem_slots().expect("a number"), 32);
    let config = disk.config();
    assert_eq!((sectors(&config), config[32]), (SIZE / 512, 1));
    let (status, serial) = disk.ask(0, Style::Direct, kind::GET_ID, 0, &[], 20);
    let expected = id().to_string().replace('-', "");
    assert_eq!((status, &serial[..]), (0, &expected.as_bytes()[..20]));
    for (offset, bytes) in [(0, 8), (32, 2), (0, 4), (33, 1)] {
        let written = vec![3; bytes];
        let set = disk.front.set_config(offset, VhostUserConfigFlags::empty(), &written);
        assert!(set.is_err(), "{bytes} bytes at {offset} cannot be written");
    }
    assert!(disk.front.set_features(1 << 40).is_err(), "it was not offered");
}

#[test]
fn a_machine_is_told_of_a_new_size() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, ALL);
    let behind = SIZE / 512;
    assert_eq!(disk.ask(0, Style::Direct, kind::READ, behind, &[], 512).0, 1, "there is nothing yet");
    node.with(|volume| volume.set_info(|info| info.size_bytes = 2 * SIZE));
    node.exports.update_size(id(), 2 * SIZE);
    assert_eq!(disk.next_notice(), [2, 1, 0]);
    assert_eq!(sectors(&disk.config()), 2 * SIZE / 512);
    assert_eq!(disk.ask(0, Style::Direct, kind::READ, behind, &[], 512), (0, vec![0; 512]));
}

/// Virtio 1.2, 5.2.6.2: a driver that does not flush, or has turned write-back off, finds every write safe.
#[test]
fn writes_are_safe_at_once_for_those_who_do_not_flush() {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let data = [7; 512];
    let mut disk = Machine::new().connect(&node.socket, VERSION_1 | FLUSH | 1 << 30 | 1 << 11);
    disk.write(0, &data);
    let set_writeback = |disk: &mut super::support::driver::Disk, on: u8| {
        disk.front.set_config(32, VhostUserConfigFlags::empty(), &[on]).expect("it may be written");
        assert_eq!(disk.config()[32], on);
    };
    set_writeback(&mut disk, 0);
    disk.write(0, &data);
    set_writeback(&mut disk, 1);
    disk.write(0, &data);
    drop(disk.disconnect());
    let mut disk = Machine::new().connect(&node.socket, VERSION_1 | 1 << 30);
    disk.write(0, &data);
    let fua: Vec<bool> = node.calls().into_iter().map(|(_, _, _, fua)| fua).collect();
    assert_eq!(fua, [false, true, false, true]);
}
