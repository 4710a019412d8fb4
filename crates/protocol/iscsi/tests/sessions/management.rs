//! Task management, logouts, pings, and news for the initiator.

use quarry_iscsi_wire::pdu::{NO_TAG, flags, opcode};
use quarry_target::{Audience, Fabric};

use crate::support::client::{Client, block_command};
use crate::support::node::{Node, Served};

const WRITE: u8 = 0x2A;

fn node() -> Node {
    Node::start(1, &[Served::new("disk", 0, 1 << 20), Served::new("more", 5, 1 << 20)])
}

fn manage(client: &mut Client, function: u8, lun: u8, referenced: u32) -> u8 {
    let change = |header: &mut quarry_iscsi_wire::pdu::Header| {
        header.0[1] = flags::FINAL | function;
        header.0[9] = lun;
        header.set_u32(20, referenced);
    };
    client.immediate(opcode::TASK_MANAGEMENT, change, &[]);
    let unit = client.receive();
    assert_eq!(unit.header.opcode(), opcode::TASK_MANAGEMENT_RESPONSE, "{unit:?}");
    unit.header.0[2]
}

#[test]
fn a_write_that_waits_for_data_is_aborted() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    client.command(block_command(WRITE, 0, 8), flags::WRITE, 4096);
    let tag = client.receive().header.u32(20);
    let command = client.task_tag;
    assert_eq!(manage(&mut client, 1, 0, command), 0);
    assert_eq!(manage(&mut client, 1, 0, command), 1, "there is none any more");
    client.task_tag = command;
    client.data_out(tag, 0, 0, &[1; 4096], true);
    client.command([0; 16], 0, 0);
    assert_eq!(client.status(), (0, None), "the data was dropped, and nothing answered");
}

#[test]
fn functions_are_answered_by_what_there_is() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    assert_eq!(manage(&mut client, 2, 0, NO_TAG), 0, "ABORT TASK SET");
    assert_eq!(manage(&mut client, 2, 9, NO_TAG), 2, "no such unit");
    assert_eq!(manage(&mut client, 3, 0, NO_TAG), 5, "CLEAR ACA");
    assert_eq!(manage(&mut client, 8, 0, NO_TAG), 4, "TASK REASSIGN");
    assert_eq!(manage(&mut client, 5, 9, NO_TAG), 2, "no such unit");
    assert_eq!(manage(&mut client, 5, 0, NO_TAG), 0, "LUN RESET");
    client.command([0; 16], 0, 0);
    assert_eq!(client.status(), (2, Some((0x29, 3))));
    assert_eq!(manage(&mut client, 7, 0, NO_TAG), 0, "TARGET COLD RESET");
    assert!(client.is_closed());
}

/// RFC 7144, which both must have agreed on.
#[test]
fn what_is_under_way_is_asked_for_and_a_nexus_is_reset() {
    let node = node();
    let mut old = Client::logged_in(node.portals[0], &[]);
    assert_eq!(manage(&mut old, 9, 0, 1), 5, "QUERY TASK has no meaning to RFC 7143");
    drop(old);
    let mut client = Client::connect(node.portals[0]);
    client.log_in(&[("iSCSIProtocolLevel", "2")]);
    let query = |client: &mut Client, lun| {
        let change = |header: &mut quarry_iscsi_wire::pdu::Header| {
            (header.0[1], header.0[9]) = (flags::FINAL | 12, lun);
        };
        client.immediate(opcode::TASK_MANAGEMENT, change, &[]);
        let answer = client.receive().header.0;
        (answer[2], [answer[8], answer[9], answer[10]])
    };
    assert_eq!(query(&mut client, 0), (7, [0x16, 0x29, 0]), "one attention: power on");
    assert_eq!(query(&mut client, 9), (2, [0; 3]), "no such unit");
    client.command([0; 16], 0, 0);
    assert_eq!(client.status(), (2, Some((0x29, 0))));
    assert_eq!(query(&mut client, 0), (0, [0; 3]), "it was told");
    assert_eq!(manage(&mut client, 10, 0, NO_TAG), 0, "nothing is under way");
    client.command(block_command(WRITE, 0, 8), flags::WRITE, 4096);
    client.receive();
    let command = client.task_tag;
    assert_eq!(manage(&mut client, 9, 0, command), 7, "QUERY TASK");
    assert_eq!(manage(&mut client, 9, 0, command + 100), 0, "another one");
    assert_eq!(manage(&mut client, 9, 5, command), 0, "it is of another unit");
    assert_eq!(manage(&mut client, 10, 0, NO_TAG), 7, "QUERY TASK SET");
    assert_eq!(manage(&mut client, 10, 5, NO_TAG), 0);
    assert_eq!(manage(&mut client, 10, 9, NO_TAG), 2, "no such unit");
    assert_eq!(manage(&mut client, 11, 0, NO_TAG), 0, "I_T NEXUS RESET");
    assert_eq!(manage(&mut client, 9, 0, command), 0, "it is gone");
    assert_eq!(query(&mut client, 0), (7, [0x16, 0x29, 7]));
    client.command([0; 16], 0, 0);
    assert_eq!(client.status(), (2, Some((0x29, 7))), "I_T NEXUS LOSS OCCURRED");
    client.command([0; 16], 0, 0);
    assert_eq!(client.status(), (0, None), "once");
}

#[test]
fn a_nexus_that_is_reset_gives_up_what_it_reserved_and_others_hear_nothing() {
    let node = node();
    let mut client = Client::connect(node.portals[0]);
    client.log_in(&[("iSCSIProtocolLevel", "2")]);
    client.command([0; 16], 0, 0);
    assert_eq!(client.status(), (2, Some((0x29, 0))));
    let mut other = Client::connect(node.portals[1]);
    other.isid = [0x80, 7, 7, 7, 7, 7];
    other.log_in(&[]);
    other.command([0; 16], 0, 0);
    assert_eq!(other.status(), (2, Some((0x29, 0))));
    let mut reserve = [0; 16];
    reserve[0] = 0x16;
    client.command(reserve, 0, 0);
    assert_eq!(client.status(), (0, None), "RESERVE(6)");
    other.command([0; 16], 0, 0);
    assert_eq!(other.status(), (0x18, None), "RESERVATION CONFLICT");
    assert_eq!(manage(&mut client, 11, 0, NO_TAG), 0);
    other.command([0; 16], 0, 0);
    assert_eq!(other.status(), (0, None), "it is free, and the reset was none of its business");
}

#[test]
fn a_reset_ends_what_others_have_begun_and_tells_them() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    let mut other = Client::connect(node.portals[1]);
    other.isid = [0x80, 7, 7, 7, 7, 7];
    other.log_in(&[]);
    other.command([0; 16], 0, 0);
    assert_eq!(other.status(), (2, Some((0x29, 0))));
    other.command(block_command(WRITE, 0, 8), flags::WRITE, 4096);
    let tag = other.receive().header.u32(20);
    assert_eq!(manage(&mut client, 5, 0, NO_TAG), 0);
    other.data_out(tag, 0, 0, &[1; 4096], true);
    other.command([0; 16], 0, 0);
    assert_eq!(other.status(), (2, Some((0x29, 3))), "the write is gone without a word");
}

#[test]
fn a_reset_ends_a_command_that_was_accepted_and_waits() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    let mut other = Client::connect(node.portals[1]);
    other.isid = [0x80, 7, 7, 7, 7, 7];
    other.log_in(&[]);
    // More data than the command wants, of which most is still to come.
    let header = client.command_header(block_command(WRITE, 0, 1), flags::WRITE, 65_536);
    client.begin(&header, 65_536, &[1; 1000]);
    assert_eq!(manage(&mut other, 5, 0, NO_TAG), 0);
    client.raw(&vec![1; 64_536]);
    client.command([0; 16], 0, 0);
    assert_eq!(client.status(), (2, Some((0x29, 3))), "the write is gone without a word");
    client.command(block_command(0x28, 0, 1), flags::READ, 512);
    assert_eq!(client.receive().data, [0; 512], "what was reset is not written afterwards");
}

#[test]
fn a_command_that_waited_is_looked_at_again() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    let mut other = Client::connect(node.portals[1]);
    other.isid = [0x80, 7, 7, 7, 7, 7];
    other.log_in(&[]);
    other.command([0; 16], 0, 0);
    assert_eq!(other.status(), (2, Some((0x29, 0))));
    let header = client.command_header(block_command(WRITE, 0, 1), flags::WRITE, 65_536);
    client.begin(&header, 65_536, &[1; 1000]);
    // REGISTER with a key, then RESERVE for all that writes: nothing is aborted.
    for (action, kind, key_at) in [(0, 0, 8), (1, 1, 0)] {
        let (mut cdb, mut list) = ([0; 16], [0; 24]);
        (cdb[0], cdb[1], cdb[2], cdb[8]) = (0x5F, action, kind, 24);
        list[key_at + 7] = 0xB;
        let header = other.command_header(cdb, flags::WRITE, 24);
        other.send(&header, &list);
        assert_eq!(other.status(), (0, None));
    }
    client.raw(&vec![1; 64_536]);
    assert_eq!(client.status(), (0x18, None), "the other has reserved the unit meanwhile");
    other.command(block_command(0x28, 0, 1), flags::READ, 512);
    assert_eq!(other.receive().data, [0; 512]);
}

#[test]
fn pings_come_back_with_their_data() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    client.immediate(opcode::NOP_OUT, |_| {}, b"hello");
    let unit = client.receive();
    assert_eq!(
        (unit.header.opcode(), unit.header.u32(20), &unit.data[..]),
        (opcode::NOP_IN, NO_TAG, &b"hello"[..])
    );
    client.immediate(opcode::NOP_OUT, |header| header.set_u32(16, NO_TAG), b"");
    client.immediate(opcode::NOP_OUT, |_| {}, b"");
    assert_eq!(client.receive().header.task_tag(), client.task_tag, "an answer is not answered");
}

#[test]
fn a_logout_is_answered_last() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    client.command(block_command(0x28, 0, 8), flags::READ, 4096);
    client.immediate(opcode::LOGOUT, |_| {}, &[]);
    assert_eq!(client.receive().header.opcode(), opcode::DATA_IN);
    let unit = client.receive();
    assert_eq!((unit.header.opcode(), unit.header.0[2]), (opcode::LOGOUT_RESPONSE, 0));
    assert!(client.is_closed());
}

#[test]
fn units_come_and_go_and_the_initiator_hears_of_it() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    node.access.unmap("more").expect("it is there");
    let news = client.receive();
    assert_eq!((news.header.opcode(), news.header.0[36]), (opcode::ASYNC_MESSAGE, 0));
    assert_eq!(news.data[14..16], [0x3F, 0x0E]);
    client.command([0; 16], 0, 0);
    assert_eq!(client.status(), (2, Some((0x3F, 0x0E))));
    let mut luns = [0; 16];
    (luns[0], luns[9]) = (0xA0, 64);
    client.command(luns, flags::READ, 64);
    assert_eq!(client.receive().data, [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let view = node.access.view(Fabric::Iscsi, "any", None);
    node.access.update_size(view.units[0].volume.id, 2 << 20);
    client.command([0; 16], 0, 0);
    assert_eq!(client.status(), (0, None), "the volume itself has not grown");
    node.access.unmap("disk").expect("it is there");
    let news = client.receive();
    assert_eq!((news.header.opcode(), news.header.0[36]), (opcode::ASYNC_MESSAGE, 1), "log out, please");
    assert_eq!(node.access.free_number(Fabric::Iscsi, &Audience::Everyone), Some(0));
}

#[test]
fn a_node_that_stops_says_so() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    node.target.exports.stop();
    let farewell = client.receive();
    assert_eq!((farewell.header.opcode(), farewell.header.0[36]), (opcode::ASYNC_MESSAGE, 2));
    assert!(client.is_closed());
}
