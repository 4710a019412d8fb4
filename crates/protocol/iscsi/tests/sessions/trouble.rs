//! What no initiator should do: it costs that session, and nothing else.

use quarry_iscsi_wire::pdu::{HEADER_BYTES, Header, NO_TAG, flags, opcode};

use crate::support::client::{Client, INITIATOR, TARGET, block_command};
use crate::support::node::{Node, Served};

fn node() -> Node {
    Node::start(1, &[Served::new("disk", 0, 1 << 20)])
}

/// A session that is not concerned goes on.
fn assert_alive(client: &mut Client) {
    client.command([0; 16], 0, 0);
    assert_eq!(client.status(), (0, None));
}

#[test]
fn nonsense_in_place_of_a_login_closes_the_connection() {
    let node = node();
    let mut witness = Client::logged_in(node.portals[0], &[]);
    let mut long = Header::new(opcode::LOGIN);
    long.set_data_bytes(1 << 20);
    for bytes in [vec![0xFF; HEADER_BYTES], vec![0; HEADER_BYTES], long.0.to_vec()] {
        let mut client = Client::connect(node.portals[0]);
        client.raw(&bytes);
        assert!(client.is_closed());
    }
    assert_alive(&mut witness);
}

#[test]
fn units_that_make_no_sense_end_their_session() {
    let node = node();
    let mut witness = Client::connect(node.portals[0]);
    witness.isid = [0x80, 7, 7, 7, 7, 7];
    witness.log_in(&[]);
    witness.command([0; 16], 0, 0);
    witness.status();
    let long = |header: &mut Header| header.set_data_bytes(300 << 10);
    let again = |header: &mut Header| header.0[0] = 0x40 | opcode::LOGIN;
    let ahead = |header: &mut Header| header.set_u32(24, header.u32(24) + 3);
    let breaks: [&dyn Fn(&mut Header); 3] = [&long, &again, &ahead];
    for (number, change) in breaks.into_iter().enumerate() {
        let mut client = Client::logged_in(node.portals[0], &[]);
        let mut header = client.command_header([0; 16], 0, 0);
        change(&mut header);
        client.raw(&header.0);
        assert!(client.is_closed(), "{number}");
    }
    assert_alive(&mut witness);
}

#[test]
fn a_logout_for_a_recovery_is_refused_and_the_session_goes_on() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    client.immediate(opcode::LOGOUT, |header| header.0[1] = 0x82, &[]);
    let answer = client.receive();
    assert_eq!((answer.header.opcode(), answer.header.0[2]), (opcode::LOGOUT_RESPONSE, 2));
    assert_alive(&mut client);
    let other_connection = |header: &mut Header| {
        header.0[1] = 0x81;
        header.set_u16(20, 5);
    };
    client.immediate(opcode::LOGOUT, other_connection, &[]);
    let answer = client.receive();
    assert_eq!((answer.header.opcode(), answer.header.0[2]), (opcode::LOGOUT_RESPONSE, 1), "no such one");
    client.immediate(opcode::LOGOUT, |header| header.0[1] = 0x83, &[]);
    let answer = client.receive();
    assert_eq!((answer.header.opcode(), answer.header.0[2]), (opcode::REJECT, 9), "no such reason");
    assert_alive(&mut client);
    let only_connection = |header: &mut Header| {
        header.0[1] = 0x81;
        header.set_u16(20, 0);
    };
    client.immediate(opcode::LOGOUT, only_connection, &[]);
    assert_eq!(client.receive().header.0[2], 0);
}

#[test]
fn commands_without_a_tag_and_with_reserved_attributes_are_rejected() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    for (tag, attribute) in [(NO_TAG, 0), (77, 5), (78, 6), (79, 7)] {
        let mut header = client.command_header(block_command(0x2A, 0, 1), flags::WRITE, 512);
        header.set_u32(16, tag);
        header.0[1] |= attribute;
        client.send(&header, &[5; 512]);
        let unit = client.receive();
        assert_eq!((unit.header.opcode(), unit.header.0[2]), (opcode::REJECT, 9), "{tag} {attribute}");
        assert_eq!(unit.data[..4], [opcode::SCSI_COMMAND, header.0[1], 0, 0]);
    }
    client.command(block_command(0x28, 0, 1), flags::READ, 512);
    assert_eq!(client.receive().data, [0; 512], "nothing was written");
}

#[test]
fn a_task_tag_that_is_in_use_ends_the_session() {
    let node = node();
    let read = block_command(0x28, 0, 1);
    for again in [block_command(0x2A, 8, 128), read] {
        let mut client = Client::logged_in(node.portals[0], &[]);
        let mut first = client.command_header(block_command(0x2A, 0, 128), flags::WRITE, 65_536);
        first.set_data_bytes(40_000);
        let mut second = client.command_header(again, flags::WRITE, 65_536);
        second.set_u32(16, first.task_tag());
        // The first command waits for data that it asks for when the second one comes.
        client.raw(&first.0);
        client.raw(&vec![1; 40_000]);
        assert_eq!(client.receive().header.opcode(), opcode::R2T);
        second.set_data_bytes(0);
        client.raw(&second.0);
        assert!(client.is_closed());
    }
    let mut client = Client::logged_in(node.portals[0], &[]);
    client.command(read, flags::READ, 512);
    assert_eq!(client.receive().data, [0; 512], "nothing was written");
}

#[test]
fn a_segment_of_an_aborted_command_is_nobody_elses() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    let mut other = Client::connect(node.portals[1]);
    other.isid = [0x80, 7, 7, 7, 7, 7];
    other.log_in(&[]);
    let first = client.command_header(block_command(0x2A, 0, 128), flags::WRITE, 65_536);
    client.begin(&first, 65_536, &[1; 1000]);
    // A reset ends it in the middle of its segment; its tag is free for the next.
    let reset = |header: &mut Header| {
        header.0[1] = flags::FINAL | 5;
        header.set_u32(20, NO_TAG);
    };
    other.immediate(opcode::TASK_MANAGEMENT, reset, &[]);
    assert_eq!(other.receive().header.opcode(), opcode::TASK_MANAGEMENT_RESPONSE);
    client.raw(&vec![1; 64_536]);
    client.command([0; 16], 0, 0);
    assert_eq!(client.status(), (2, Some((0x29, 3))));
    let mut second = client.command_header(block_command(0x2A, 0, 128), flags::WRITE, 65_536);
    second.set_u32(16, first.task_tag());
    client.send(&second, &vec![2; 65_536]);
    assert_eq!(client.status(), (0, None));
    client.command(block_command(0x28, 0, 1), flags::READ, 512);
    assert_eq!(client.receive().data, [2; 512]);
}

#[test]
fn wrong_digests_end_their_session() {
    let node = node();
    for spoil in [HEADER_BYTES, HEADER_BYTES + 4 + 100] {
        let digests = [("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")];
        let mut client = Client::logged_in(node.portals[0], &digests);
        let mut header = client.command_header(block_command(0x2A, 0, 1), flags::WRITE, 512);
        header.set_data_bytes(512);
        let mut bytes = header.0.to_vec();
        bytes.extend_from_slice(&quarry_iscsi_wire::digest::digest(&header.0));
        bytes.extend_from_slice(&[5; 512]);
        bytes.extend_from_slice(&quarry_iscsi_wire::digest::digest(&[5; 512]));
        bytes[spoil] ^= 1;
        client.raw(&bytes);
        assert!(client.is_closed());
    }
    let mut client = Client::logged_in(node.portals[0], &[]);
    client.command(block_command(0x28, 0, 1), flags::READ, 512);
    assert_eq!(client.receive().data, [0; 512], "nothing was written");
}

#[test]
fn the_digest_of_data_that_came_late_counts() {
    let node = node();
    let digests = [("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")];
    let mut client = Client::logged_in(node.portals[0], &digests);
    // More than the command wants, which is taken once all of it is here.
    let header = client.command_header(block_command(0x2A, 0, 1), flags::WRITE, 65_536);
    client.begin(&header, 65_536, &[5; 1000]);
    client.raw(&vec![5; 64_536]);
    client.raw(&[1, 2, 3, 4]);
    assert!(client.is_closed());
    let mut client = Client::logged_in(node.portals[0], &[]);
    client.command(block_command(0x28, 0, 1), flags::READ, 512);
    assert_eq!(client.receive().data, [0; 512], "nothing was written");
}

#[test]
fn commands_outside_the_window_do_nothing() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    let right = client.command_number;
    for number in [right.wrapping_sub(1), right.wrapping_add(500)] {
        client.command_number = number;
        let header = client.command_header(block_command(0x2A, 0, 1), flags::WRITE, 512);
        client.send(&header, &[5; 512]);
    }
    client.command_number = right;
    client.command(block_command(0x28, 0, 1), flags::READ, 512);
    assert_eq!(client.receive().data, [0; 512]);
}

#[test]
fn what_is_not_supported_is_rejected() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    for (code, reason) in [(opcode::SNACK, 3), (0x1C, 5)] {
        client.immediate(code, |_| {}, &[]);
        let unit = client.receive();
        assert_eq!((unit.header.opcode(), unit.header.0[2], unit.data.len()), (opcode::REJECT, reason, 48));
    }
    assert_alive(&mut client);
}

#[test]
fn an_initiator_that_takes_nothing_holds_up_itself() {
    let node = node();
    let mut witness = Client::connect(node.portals[0]);
    witness.isid = [0x80, 7, 7, 7, 7, 7];
    witness.log_in(&[]);
    witness.command([0; 16], 0, 0);
    witness.status();
    let mut greedy = Client::logged_in(node.portals[0], &[]);
    // As many reads as the window allows, none of whose data is taken.
    for _ in 0..128 {
        greedy.command(block_command(0x28, 0, 2048), flags::READ, 1 << 20);
    }
    for _ in 0..10 {
        assert_alive(&mut witness);
    }
    let mut bytes = 0;
    while bytes < 128 << 20 {
        let unit = greedy.receive();
        assert_eq!((unit.header.opcode(), unit.header.0[3]), (opcode::DATA_IN, 0));
        bytes += unit.data.len();
    }
    assert_alive(&mut greedy);
}

#[test]
fn half_a_login_is_cut_off_with_the_node() {
    let node = node();
    let mut client = Client::connect(node.portals[0]);
    client.login(0x00, &[("InitiatorName", INITIATOR), ("TargetName", TARGET)]);
    client.raw(&[0; 10]);
    drop(node);
    assert!(client.is_closed());
}
