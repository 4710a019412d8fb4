//! Text requests in full feature phase, in one piece and in many.

use quarry_iscsi_wire::pdu::{Header, NO_TAG, flags, opcode, reject};

use crate::support::client::{Client, INITIATOR, TARGET, Unit, block_command};
use crate::support::node::{Node, Served};

fn node() -> Node {
    Node::start(1, &[Served::new("disk", 0, 1 << 20)])
}

/// A discovery session that takes data segments of so many bytes.
fn discovery(node: &Node, segment_bytes: &str) -> Client {
    let mut client = Client::connect(node.portals[0]);
    let names = [("InitiatorName", INITIATOR), ("SessionType", "Discovery")];
    let terms = [("MaxRecvDataSegmentLength", segment_bytes)];
    let response = client.login(0x87, &[&names[..], &terms].concat());
    assert_eq!(response.header.0[36], 0);
    client.task_tag = 50;
    client
}

/// A text request with these flags, which goes on with the exchange of `transfer_tag`; its answer.
fn text(client: &mut Client, flag: u8, transfer_tag: u32, text: &[u8]) -> Unit {
    let change = |header: &mut Header| {
        header.0[1] = flag;
        header.set_u32(16, 50);
        header.set_u32(20, transfer_tag);
    };
    client.immediate(opcode::TEXT, change, text);
    client.receive()
}

fn rejected(unit: &Unit) -> Option<u8> {
    (unit.header.opcode() == opcode::REJECT).then_some(unit.header.0[2])
}

#[test]
fn an_answer_comes_in_as_many_units_as_the_initiator_needs() {
    let node = node();
    let mut client = discovery(&node, "512");
    // Keys that are not understood are what makes an answer long.
    let keys: String = (0..100).map(|key| format!("X-{key}=1\0")).collect();
    let expected: String = (0..100).map(|key| format!("X-{key}=NotUnderstood\0")).collect();
    let mut told = Vec::new();
    let mut unit = text(&mut client, flags::FINAL, NO_TAG, keys.as_bytes());
    while unit.header.has(flags::CONTINUE) {
        assert!(!unit.header.has(flags::FINAL) && unit.data.len() == 512);
        told.extend_from_slice(&unit.data);
        let tag = unit.header.u32(20);
        assert_ne!(tag, NO_TAG);
        unit = text(&mut client, flags::FINAL, tag, &[]);
    }
    assert!(unit.header.has(flags::FINAL) && unit.header.u32(20) == NO_TAG);
    told.extend_from_slice(&unit.data);
    assert_eq!(String::from_utf8(told).expect("text"), expected);
}

#[test]
fn a_request_may_come_in_pieces() {
    let node = node();
    let mut client = discovery(&node, "8192");
    let first = text(&mut client, flags::CONTINUE, NO_TAG, b"SendTar");
    assert_eq!((first.header.opcode(), first.header.0[1], first.data.len()), (opcode::TEXT_RESPONSE, 0, 0));
    let whole = text(&mut client, flags::FINAL, first.header.u32(20), b"gets=All\0");
    assert!(whole.data.starts_with(format!("TargetName={TARGET}\0").as_bytes()), "{whole:?}");
    // Without F the initiator has more to ask, and the target must leave it the word.
    let open = text(&mut client, 0, NO_TAG, b"X-a=1\0");
    assert_eq!((open.header.0[1], &open.data[..]), (0, &b"X-a=NotUnderstood\0"[..]));
    let closed = text(&mut client, flags::FINAL, open.header.u32(20), b"");
    assert_eq!((closed.header.0[1], closed.header.u32(20), closed.data.len()), (flags::FINAL, NO_TAG, 0));
}

#[test]
fn what_is_no_text_is_rejected_and_the_session_goes_on() {
    let node = node();
    let mut client = discovery(&node, "8192");
    let many = "X-a=1\0".repeat(129);
    for (flag, tag, bytes, reason) in [
        (flags::FINAL, NO_TAG, &b"nonsense"[..], reject::PROTOCOL_ERROR),
        (flags::FINAL, NO_TAG, many.as_bytes(), reject::PROTOCOL_ERROR),
        (flags::FINAL | flags::CONTINUE, NO_TAG, b"a=1\0", reject::PROTOCOL_ERROR),
        (flags::FINAL, 77, b"a=1\0", reject::INVALID_FIELD),
    ] {
        assert_eq!(rejected(&text(&mut client, flag, tag, bytes)), Some(reason));
    }
    // A request of many pieces has a bound, too.
    let mut unit = text(&mut client, flags::CONTINUE, NO_TAG, &[b'a'; 8192]);
    for _ in 1..8 {
        assert_eq!(rejected(&unit), None);
        let tag = unit.header.u32(20);
        unit = text(&mut client, flags::CONTINUE, tag, &[b'a'; 8192]);
    }
    let tag = unit.header.u32(20);
    let unit = text(&mut client, flags::CONTINUE, tag, b"a");
    assert_eq!(rejected(&unit), Some(reject::PROTOCOL_ERROR));
    assert_eq!(rejected(&text(&mut client, flags::FINAL, NO_TAG, b"SendTargets=All\0")), None);
}

#[test]
fn a_session_that_uses_the_target_asks_for_no_others() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    let refused = text(&mut client, flags::FINAL, NO_TAG, b"SendTargets=All\0");
    assert_eq!(refused.data, b"SendTargets=Reject\0");
    let own = text(&mut client, flags::FINAL, NO_TAG, b"SendTargets=\0");
    assert!(own.data.starts_with(b"TargetName="));
}

#[test]
fn a_segment_length_that_is_declared_later_counts() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[("MaxRecvDataSegmentLength", "8192")]);
    let segments = |client: &mut Client| {
        client.command(block_command(0x28, 0, 32), flags::READ, 16_384);
        let mut lengths = Vec::new();
        loop {
            let unit = client.receive();
            lengths.push(unit.data.len());
            if unit.header.has(flags::STATUS) {
                return lengths;
            }
        }
    };
    assert_eq!(segments(&mut client), [8192; 2]);
    let declared = text(&mut client, flags::FINAL, NO_TAG, b"MaxRecvDataSegmentLength=4096\0");
    assert_eq!((declared.header.opcode(), declared.data.len()), (opcode::TEXT_RESPONSE, 0));
    assert_eq!(segments(&mut client), [4096; 4]);
}
