//! Logins that go well, and those that do not.

use quarry_iscsi_wire::pdu::opcode;
use quarry_target::{Audience, Chap, Host};

use crate::support::client::{Client, INITIATOR, TARGET, block_command};
use crate::support::node::{Node, Served};

const NAMES: [(&str, &str); 3] =
    [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("SessionType", "Normal")];

fn node() -> Node {
    Node::start(1, &[Served::new("disk", 0, 1 << 20)])
}

fn status(node: &Node, flag: u8, pairs: &[(&str, &str)]) -> (u8, u8) {
    let response = Client::connect(node.portals[0]).login(flag, pairs);
    assert_eq!(response.header.opcode(), opcode::LOGIN_RESPONSE);
    (response.header.0[36], response.header.0[37])
}

#[test]
fn stages_are_passed_one_by_one_or_at_once() {
    let node = node();
    let mut client = Client::connect(node.portals[0]);
    let response = client.login(0x81, &[&NAMES[..], &[("AuthMethod", "CHAP,None")]].concat());
    assert_eq!((response.header.0[1], response.header.0[36]), (0x81, 0));
    assert_eq!(response.data, b"TargetPortalGroupTag=1\0AuthMethod=None\0");
    let response = client.login(0x04, &[("HeaderDigest", "None"), ("MaxBurstLength", "65536")]);
    assert_eq!(response.header.0[1], 0x04, "it may go on");
    assert_eq!(response.data, b"HeaderDigest=None\0MaxBurstLength=65536\0MaxRecvDataSegmentLength=262144\0");
    let response = client.login(0x87, &[("FirstBurstLength", "65536"), ("X-what", "1")]);
    assert_eq!((response.header.0[1], response.header.0[36]), (0x87, 0));
    assert_eq!(response.data, b"FirstBurstLength=65536\0X-what=NotUnderstood\0");
    client.command(block_command(0x28, 0, 1), 0x40, 512);
    assert_eq!(client.status(), (2, Some((0x29, 0))), "the nexus is new");
}

#[test]
fn logins_are_refused_for_a_reason() {
    let node = node();
    let with = |pairs: &[(&str, &str)]| status(&node, 0x87, pairs);
    assert_eq!(with(&[]), (2, 7), "a name is missing");
    assert_eq!(with(&NAMES[..1]), (2, 7), "the target is missing");
    assert_eq!(with(&[NAMES[0], ("TargetName", "iqn.other")]), (2, 3));
    assert_eq!(with(&[NAMES[0], NAMES[1], ("SessionType", "Odd")]), (2, 9));
    assert_eq!(with(&[&NAMES[..], &[("MaxBurstLength", "1")]].concat()), (2, 0));
    assert_eq!(with(&[&NAMES[..], &[("InitialR2T", "No"), ("InitialR2T", "Yes")]].concat()), (2, 0));
    assert_eq!(status(&node, 0x8B, &NAMES), (2, 0), "there is no stage 2");
    assert_eq!(status(&node, 0x84, &NAMES), (2, 11), "back to security");
    assert_eq!(status(&node, 0x81, &[&NAMES[..], &[("AuthMethod", "CHAP")]].concat()), (2, 1));
}

#[test]
fn who_sees_nothing_is_kept_out_and_finds_nothing() {
    let audience = Audience::Hosts(vec!["other".to_owned()]);
    let node = Node::start(1, &[Served { audience, ..Served::new("disk", 0, 1 << 20) }]);
    assert_eq!(status(&node, 0x87, &NAMES), (2, 2));
    let mut client = Client::connect(node.portals[0]);
    let response = client.login(0x87, &[NAMES[0], ("SessionType", "Discovery")]);
    assert_eq!(response.header.0[36], 0);
    client.immediate(opcode::TEXT, |_| {}, b"SendTargets=All\0");
    assert_eq!(client.receive().data, b"");
}

#[test]
fn discovery_tells_the_portal_that_was_asked_and_serves_no_commands() {
    let node = node();
    let mut client = Client::connect(node.portals[1]);
    client.login(0x87, &[NAMES[0], ("SessionType", "Discovery")]);
    client.immediate(opcode::TEXT, |_| {}, b"SendTargets=All\0");
    let expected = format!("TargetName={TARGET}\0TargetAddress={},1\0", node.portals[1]);
    assert_eq!(client.receive().data, expected.as_bytes());
    let header = client.command_header(block_command(0x2A, 0, 1), 0x20, 512);
    client.send(&header, &[1; 512]);
    client.immediate(opcode::NOP_OUT, |_| {}, b"");
    client.immediate(opcode::TASK_MANAGEMENT, |_| {}, b"");
    for what in ["a command", "a ping", "task management"] {
        let unit = client.receive();
        assert_eq!((unit.header.opcode(), unit.header.0[2]), (opcode::REJECT, 5), "{what}");
    }
    client.immediate(opcode::TEXT, |_| {}, b"SendTargets=All\0");
    assert_eq!(client.receive().data, expected.as_bytes(), "it goes on");
    client.immediate(opcode::LOGOUT, |_| {}, b"");
    assert_eq!(client.receive().header.opcode(), opcode::LOGOUT_RESPONSE);
}

#[test]
fn a_host_with_a_secret_must_prove_that_it_knows_it() {
    let node = node();
    let chap = Chap { user: "user".to_owned(), secret: "a long enough secret".to_owned(), mutual: None };
    let host = Host {
        name: "host".to_owned(),
        initiators: vec![INITIATOR.to_owned()],
        networks: vec![],
        chap: Some(chap),
    };
    node.access.set_host(host).expect("room");
    assert_eq!(status(&node, 0x87, &NAMES), (2, 1), "not without the security stage");
    assert_eq!(status(&node, 0x81, &[&NAMES[..], &[("AuthMethod", "None")]].concat()), (2, 1));
    let mut client = Client::connect(node.portals[0]);
    let response = client.login(0x81, &[&NAMES[..], &[("AuthMethod", "None,CHAP")]].concat());
    assert_eq!((response.header.0[1], response.header.0[36]), (0, 0), "it stays in its stage");
    let response = client.login(0x00, &[("CHAP_A", "7,5")]);
    assert!(response.data.starts_with(b"CHAP_A=7\0CHAP_I="), "{response:?}");
    let response = client.login(0x81, &[("CHAP_N", "user"), ("CHAP_R", "0x00")]);
    assert_eq!((response.header.0[36], response.header.0[37]), (2, 1));
    assert!(client.is_closed());
}

#[test]
fn a_second_login_takes_the_place_of_the_first() {
    let node = node();
    let mut first = Client::logged_in(node.portals[0], &[]);
    let mut other = Client::connect(node.portals[0]);
    other.isid = [0x80, 9, 9, 9, 9, 9];
    other.log_in(&[]);
    assert_eq!(node.target.sessions(), 2);
    let _second = Client::logged_in(node.portals[0], &[]);
    let farewell = first.receive();
    assert_eq!((farewell.header.opcode(), farewell.header.0[36]), (opcode::ASYNC_MESSAGE, 2));
    assert!(first.is_closed());
    assert_eq!(node.target.sessions(), 2);
}

#[test]
fn a_session_that_has_proven_too_little_by_now_is_asked_to_log_out() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    let chap = Chap { user: "user".to_owned(), secret: "a long enough secret".to_owned(), mutual: None };
    let initiators = vec![INITIATOR.to_owned()];
    let host = Host { name: "host".to_owned(), initiators, networks: vec![], chap: Some(chap) };
    node.access.set_host(host).expect("room");
    let news = client.receive();
    assert_eq!((news.header.opcode(), news.header.0[36]), (opcode::ASYNC_MESSAGE, 1));
    client.command(block_command(0x28, 0, 1), 0x40, 512);
    assert_eq!(client.status(), (2, Some((0x25, 0))), "there is no unit");
}

#[test]
fn a_session_moves_to_the_core_of_its_first_volume() {
    let node = Node::start(2, &[Served { core: 1, ..Served::new("far", 0, 1 << 20) }]);
    let mut client = Client::logged_in(node.portals[0], &[]);
    client.command(block_command(0x28, 0, 1), 0x40, 512);
    let read = client.receive();
    assert_eq!((read.header.opcode(), read.header.0[3], read.data), (opcode::DATA_IN, 0, vec![0; 512]));
}
