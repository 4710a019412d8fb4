//! Data in both directions, in all the ways that it may take.

use quarry_iscsi_wire::pdu::{Header, NO_TAG, flags, opcode};
use quarry_target::{Audience, Chap, Host, Mapping};

use crate::support::client::{Client, INITIATOR, block_command};
use crate::support::node::{Node, Served};

const READ: u8 = 0x28;
const WRITE: u8 = 0x2A;
const TO_TARGET: u8 = flags::WRITE;
const FROM_TARGET: u8 = flags::READ;

fn node() -> Node {
    Node::start(1, &[Served::new("disk", 0, 16 << 20)])
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 512) as u8 ^ at as u8).collect()
}

/// Reads by as many units as come; the data, and how many there were.
fn read(client: &mut Client, lba: u32, blocks: u16) -> (Vec<u8>, usize) {
    client.command(block_command(READ, lba, blocks), FROM_TARGET, u32::from(blocks) * 512);
    let mut data = Vec::new();
    for count in 1.. {
        let unit = client.receive();
        assert_eq!(unit.header.opcode(), opcode::DATA_IN, "{:?}", unit.header);
        assert_eq!((unit.header.u32(36) as usize, unit.header.u32(40) as usize), (count - 1, data.len()));
        data.extend_from_slice(&unit.data);
        if unit.header.has(flags::STATUS) {
            assert!(unit.header.has(flags::FINAL) && !unit.header.has(flags::OVERFLOW | flags::UNDERFLOW));
            return (data, count);
        }
    }
    unreachable!("it returns");
}

#[test]
fn data_comes_with_the_command() {
    let node = node();
    for digests in [false, true] {
        let digest = if digests { "CRC32C" } else { "None" };
        let terms = [("HeaderDigest", digest), ("DataDigest", digest), ("FirstBurstLength", "262144")];
        let mut client = Client::logged_in(node.portals[0], &terms);
        for blocks in [1u16, 8, 200] {
            let data = pattern(usize::from(blocks) * 512);
            let header = client.command_header(block_command(WRITE, 3, blocks), TO_TARGET, data.len() as u32);
            client.send(&header, &data);
            assert_eq!(client.status(), (0, None), "{blocks}");
            assert_eq!(read(&mut client, 3, blocks).0, data);
        }
    }
}

#[test]
fn data_comes_unasked_and_asked_for() {
    let node = node();
    for digest in ["None", "CRC32C"] {
        let terms = [
            ("InitialR2T", "No"),
            ("FirstBurstLength", "65536"),
            ("MaxBurstLength", "131072"),
            ("HeaderDigest", digest),
            ("DataDigest", digest),
        ];
        let mut client = Client::logged_in(node.portals[0], &terms);
        let data = pattern(512 << 10);
        let mut header = client.command_header(block_command(WRITE, 0, 1024), TO_TARGET, data.len() as u32);
        header.0[1] &= !flags::FINAL;
        client.send(&header, &data[..1000]);
        client.data_out(NO_TAG, 0, 1000, &data[1000..50_000], false);
        client.data_out(NO_TAG, 1, 50_000, &data[50_000..65_536], true);
        let mut at = 65_536;
        while at < data.len() {
            let r2t = client.receive().header;
            assert_eq!((r2t.opcode(), r2t.u32(40) as usize), (opcode::R2T, at));
            let end = at + r2t.u32(44) as usize;
            assert_eq!(end - at, (data.len() - at).min(131_072));
            let middle = at + 70_000.min(end - at);
            client.data_out(r2t.u32(20), 0, at as u32, &data[at..middle], middle == end);
            if middle < end {
                client.data_out(r2t.u32(20), 1, middle as u32, &data[middle..end], true);
            }
            at = end;
        }
        assert_eq!(client.status(), (0, None));
        assert_eq!(read(&mut client, 0, 1024).0, data);
    }
}

#[test]
fn nothing_comes_unasked_where_that_was_agreed() {
    let node = node();
    let terms = [("InitialR2T", "Yes"), ("ImmediateData", "No")];
    let mut client = Client::logged_in(node.portals[0], &terms);
    let data = pattern(4096);
    client.command(block_command(WRITE, 8, 8), TO_TARGET, 4096);
    let r2t = client.receive().header;
    assert_eq!((r2t.opcode(), r2t.u32(40), r2t.u32(44)), (opcode::R2T, 0, 4096));
    client.data_out(r2t.u32(20), 0, 0, &data, true);
    assert_eq!(client.status(), (0, None));
    assert_eq!(read(&mut client, 8, 8), (data, 1));
    let header = client.command_header(block_command(WRITE, 0, 1), TO_TARGET, 512);
    client.send(&header, &[0; 512]);
    assert!(client.is_closed(), "immediate data was not agreed on");
}

#[test]
fn long_reads_come_in_units_that_the_initiator_takes() {
    let node = node();
    let terms = [("MaxRecvDataSegmentLength", "10000"), ("MaxBurstLength", "25000")];
    let mut client = Client::logged_in(node.portals[0], &terms);
    let data = pattern(65_536);
    for (at, part) in data.chunks(16_384).enumerate() {
        let lba = at as u32 * 32;
        let header = client.command_header(block_command(WRITE, lba, 32), TO_TARGET, 16_384);
        client.send(&header, part);
        assert_eq!(client.status(), (0, None));
    }
    // Bursts of 10,000 + 10,000 + 5,000 bytes.
    assert_eq!(read(&mut client, 0, 128), (data, 8));
}

#[test]
fn data_that_breaks_the_rules_ends_its_command_only() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[("ImmediateData", "No")]);
    let begin = |client: &mut Client| {
        client.command(block_command(WRITE, 0, 8), TO_TARGET, 4096);
        client.receive().header.u32(20)
    };
    for (number, offset, bytes, last) in
        [(1, 0, 4096, true), (0, 512, 512, false), (0, 0, 4608, true), (0, 0, 512, true)]
    {
        let tag = begin(&mut client);
        client.data_out(tag, number, offset, &vec![1; bytes], last);
        assert_eq!(client.status(), (2, Some((0x4B, 0))), "{number} {offset} {bytes}");
        // What else belongs to it is dropped.
        client.data_out(tag, 1, 512, &[1; 512], true);
    }
    let tag = begin(&mut client);
    client.data_out(tag, 0, 0, &[7; 4096], true);
    assert_eq!(client.status(), (0, None));
    assert_eq!(read(&mut client, 0, 8).0, vec![7; 4096]);
}

#[test]
fn residuals_tell_how_much_was_not_moved() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[]);
    client.command(block_command(READ, 0, 2), FROM_TARGET, 512);
    let unit = client.receive();
    assert_eq!((unit.data.len(), unit.header.u32(44)), (512, 512));
    assert!(unit.header.has(flags::OVERFLOW));
    client.command(block_command(READ, 0, 1), FROM_TARGET, 1024);
    let unit = client.receive();
    assert_eq!((unit.data.len(), unit.header.u32(44)), (512, 512));
    assert!(unit.header.has(flags::UNDERFLOW));
    let header = client.command_header(block_command(WRITE, 0, 1), TO_TARGET, 1024);
    client.send(&header, &[9; 1024]);
    let unit = client.receive();
    assert_eq!((unit.header.0[3], unit.header.u32(44)), (0, 512));
    assert!(unit.header.has(flags::UNDERFLOW));
    client.command(block_command(WRITE, 0, 1), 0, 0);
    let unit = client.receive();
    assert_eq!(
        (unit.header.0[3], unit.header.u32(44)),
        (0, 512),
        "nothing was to be sent, nothing is written"
    );
    assert!(unit.header.has(flags::OVERFLOW));
    client.command(block_command(WRITE, 0, 1), FROM_TARGET, 512);
    assert_eq!(client.status(), (2, Some((0x0E, 0x03))), "a write is no read");
    let (found, _) = read(&mut client, 0, 2);
    assert_eq!((&found[..512], &found[512..]), (&[9; 512][..], &[0; 512][..]));
}

/// How a write ends whose data comes late: after `meanwhile`, of which the session need not have heard.
fn late_write(client: &mut Client, meanwhile: impl FnOnce()) -> (u8, Option<(u8, u8)>) {
    client.command(block_command(WRITE, 0, 8), TO_TARGET, 4096);
    let r2t = client.receive().header;
    assert_eq!(r2t.opcode(), opcode::R2T);
    meanwhile();
    client.data_out(r2t.u32(20), 0, 0, &[7; 4096], true);
    loop {
        let unit = client.receive();
        if unit.header.opcode() == opcode::SCSI_RESPONSE {
            return (unit.header.0[3], (unit.data.len() >= 16).then(|| (unit.data[14], unit.data[15])));
        }
        assert_eq!(unit.header.opcode(), opcode::ASYNC_MESSAGE, "{unit:?}");
    }
}

#[test]
fn data_that_comes_after_its_unit_was_withdrawn_is_not_written() {
    let node = node();
    let remap = |change: &dyn Fn(&mut Mapping)| {
        let mut mapping = (*node.access.mapping("disk").expect("it is mapped")).clone();
        node.access.unmap("disk").expect("it is mapped");
        change(&mut mapping);
        node.access.map(mapping).expect("a free number");
    };
    let gone = (2, Some((0x25, 0)));
    let withdrawn = || node.access.unmap("disk").expect("it is mapped");
    let read_only = || remap(&|mapping| mapping.read_only = true);
    let for_another = || remap(&|mapping| mapping.audience = Audience::Hosts(vec!["another".to_owned()]));
    let meanwhile: [&dyn Fn(); 3] = [&withdrawn, &read_only, &for_another];
    let original = (*node.access.mapping("disk").expect("it is mapped")).clone();
    for (number, meanwhile) in meanwhile.into_iter().enumerate() {
        let mut client = Client::logged_in(node.portals[0], &[("ImmediateData", "No")]);
        assert_eq!(late_write(&mut client, meanwhile), gone, "{number}");
        _ = node.access.unmap("disk");
        node.access.map(original.clone()).expect("a free number");
    }
    let mut client = Client::logged_in(node.portals[0], &[]);
    assert_eq!(read(&mut client, 0, 8).0, vec![0; 4096], "nothing was written");
}

#[test]
fn a_write_that_waits_for_data_is_answered_when_its_unit_goes() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[("ImmediateData", "No")]);
    client.command(block_command(WRITE, 0, 8), TO_TARGET, 4096);
    assert_eq!(client.receive().header.opcode(), opcode::R2T);
    node.access.unmap("disk").expect("it is mapped");
    assert_eq!(client.status(), (2, Some((0x25, 0))), "before any data");
}

#[test]
fn data_that_comes_after_a_reservation_or_a_new_secret_is_not_written() {
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[("ImmediateData", "No")]);
    let mut other = Client::connect(node.portals[0]);
    other.isid = [0x80, 7, 7, 7, 7, 7];
    other.log_in(&[]);
    other.command([0; 16], 0, 0);
    other.status();
    let mut reserve = |action: u8, kind: u8, key: u8, new_key: u8| {
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[2], cdb[8]) = (0x5F, action, kind, 24);
        let mut list = [0; 24];
        (list[7], list[15]) = (key, new_key);
        let header = other.command_header(cdb, TO_TARGET, 24);
        other.send(&header, &list);
        assert_eq!(other.status(), (0, None));
    };
    reserve(0, 0, 0, 9);
    assert_eq!(late_write(&mut client, || reserve(1, 1, 9, 0)), (0x18, None), "reservation conflict");
    reserve(2, 1, 9, 0);
    let secret = || {
        let chap = Chap { user: "a".to_owned(), secret: "a long enough secret".to_owned(), mutual: None };
        let host = Host {
            name: "host".to_owned(),
            initiators: vec![INITIATOR.to_owned()],
            networks: Vec::new(),
            chap: Some(chap),
        };
        node.access.set_host(host).expect("room");
    };
    assert_eq!(late_write(&mut client, secret), (2, Some((0x25, 0))));
    node.access.remove_host("host").expect("it is there");
    let mut client = Client::logged_in(node.portals[0], &[]);
    assert_eq!(read(&mut client, 0, 8).0, vec![0; 4096], "nothing was written");
}

/// 128 commands of the window and 32 beside it is the most.
#[test]
fn data_that_was_asked_for_is_taken_however_much_is_under_way() {
    const WINDOW: u32 = 128;
    let node = node();
    let mut client = Client::logged_in(node.portals[0], &[("ImmediateData", "No"), ("InitialR2T", "Yes")]);
    for number in 0..WINDOW + 33 {
        let mut header = client.command_header(block_command(WRITE, 8 * number, 8), TO_TARGET, 4096);
        if number >= WINDOW {
            header.0[0] |= 0x40;
            client.command_number -= 1;
        }
        client.send(&header, &[]);
    }
    let units: Vec<Header> = (0..WINDOW + 33).map(|_| client.receive().header).collect();
    let answers = units.iter().filter(|unit| unit.opcode() == opcode::SCSI_RESPONSE);
    let statuses: Vec<u8> = answers.map(|unit| unit.0[3]).collect();
    assert_eq!(statuses, [0x28], "one immediate command too many: the task set is full");
    let asked = units.iter().filter(|unit| unit.opcode() == opcode::R2T);
    for r2t in asked.clone() {
        client.task_tag = r2t.task_tag();
        client.data_out(r2t.u32(20), 0, 0, &[7; 4096], true);
    }
    let answers: Vec<(u8, u8)> =
        asked.map(|_| client.receive().header).map(|header| (header.opcode(), header.0[3])).collect();
    assert_eq!(answers, [(opcode::SCSI_RESPONSE, 0); 160]);
}
