//! Raw bytes over real sockets: what libnbd of this machine does not speak, and what no library would send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::fixture::{Fixture, SIZE};
use crate::support::client::{READS, Said, Style, opening, replies, request, write};
use crate::support::protocol::*;

/// A socket of either kind.
trait Socket: Read + Write {}
impl Socket for UnixStream {}
impl Socket for TcpStream {}

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

fn unix(fixture: &Fixture) -> Box<dyn Socket> {
    let stream = UnixStream::connect(&fixture.node.socket).expect("the server listens");
    stream.set_read_timeout(PATIENCE).expect("a timeout");
    Box::new(stream)
}

fn tcp(fixture: &Fixture) -> Box<dyn Socket> {
    let stream = TcpStream::connect(fixture.node.tcp).expect("the server listens");
    stream.set_read_timeout(PATIENCE).expect("a timeout");
    Box::new(stream)
}

/// Everything until the server closes.
fn read_all(socket: &mut dyn Socket) -> Vec<u8> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).expect("the server closes");
    bytes
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The transmission phase in what was received: behind the ACK of GO.
fn after_negotiation(bytes: &[u8]) -> &[u8] {
    let ack = [&OPTION_REPLY.to_be_bytes()[..], &OPT_GO.to_be_bytes(), &[0, 0, 0, 1], &[0; 4]].concat();
    let at = bytes.windows(ack.len()).position(|window| window == ack).expect("the negotiation succeeds");
    &bytes[at + ack.len()..]
}

fn assert_no_sessions(fixture: &Fixture) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !fixture.node.exports.sessions().is_empty() {
        assert!(Instant::now() < deadline, "sessions stay: {:?}", fixture.node.exports.sessions());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn extended_headers_over_real_sockets() {
    let fixture = Fixture::new();
    for (export, mut socket) in [("disk", unix(&fixture)), ("far", tcp(&fixture))] {
        let style = Style::Extended;
        let mut bytes = opening(style, export);
        bytes.extend(write(style, FUA, 1, 4096, &[9; 40_000 / 512 * 512]));
        socket.write_all(&bytes).expect("it is read");
        // Requests that are sent together may be done in any order: wait for the reply to the write.
        let mut early = Vec::new();
        while early.len() < 18 || !early.ends_with(&[0; 8]) || !contains(&early, &EXTENDED.to_be_bytes()) {
            let mut part = vec![0; 1000];
            let count = socket.read(&mut part).expect("an answer");
            early.extend(&part[..count]);
        }
        let mut rest = request(style, 0, READ, READS, 4096, 512);
        rest.extend(request(style, 0, BLOCK_STATUS, 2, 0, SIZE));
        rest.extend(request(style, PAYLOAD_LEN, BLOCK_STATUS, 3, 0, 12));
        rest.extend(SIZE.to_be_bytes());
        rest.extend(1u32.to_be_bytes());
        rest.extend(request(style, 0, WRITE_ZEROES, 4, 0, 1 << 40));
        rest.extend(request(style, 0, DISC, 0, 0, 0));
        socket.write_all(&rest).expect("it is read");
        let all = [early, read_all(&mut *socket)].concat();
        let mut said = replies(style, after_negotiation(&all), &|_| 0);
        said.sort_by_key(|(cookie, _)| *cookie);
        let extents = Said::Extents(vec![(4096, 3), (40_960, 0), (SIZE - 45_056, 3)]);
        let expected = [
            (1, Said::Done),
            (2, extents.clone()),
            (3, extents),
            (4, Said::Error(ENOSPC, Some(SIZE))),
            (READS, Said::Data(4096, vec![9; 512])),
        ];
        assert_eq!(said, expected, "{export}");
    }
    assert_no_sessions(&fixture);
}

#[test]
fn clients_that_vanish_leave_no_session() {
    let fixture = Fixture::new();
    for style in [Style::Simple, Style::Structured, Style::Extended] {
        let mut bytes = opening(style, "far");
        bytes.extend(write(style, 0, 1, 0, &[1; 100 << 10]));
        bytes.extend(request(style, 0, READ, 2, 0, 8 << 20));
        for length in (0..bytes.len()).step_by(997).chain(0..200) {
            let mut socket = unix(&fixture);
            socket.write_all(&bytes[..length]).expect("it is read or buffered");
        }
    }
    assert_no_sessions(&fixture);
}

#[test]
fn garbage_disturbs_nobody() {
    let fixture = Fixture::new();
    let mut witness = unix(&fixture);
    witness.write_all(&opening(Style::Simple, "disk")).expect("it is read");
    std::thread::sleep(Duration::from_millis(100));
    // A generator with a fixed seed: a failure comes back.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..300 {
        let style = [Style::Simple, Style::Structured, Style::Extended][round % 3];
        let mut bytes = opening(style, ["disk", "far"][round % 2]);
        (0..random() % 10).for_each(|_| {
            bytes.extend(request(
                style,
                random() as u16 & 63,
                (random() % 9) as u16,
                1,
                random() >> 40 << 9,
                512,
            ));
        });
        for _ in 0..random() % 4 {
            let at = random() as usize % bytes.len();
            bytes[at] ^= random() as u8;
        }
        let mut socket = if round % 5 == 0 { tcp(&fixture) } else { unix(&fixture) };
        // The server may close in the middle of it.
        let _ = socket.write_all(&bytes);
    }
    witness.write_all(&request(Style::Simple, 0, READ, READS, 0, 512)).expect("it is read");
    witness.write_all(&request(Style::Simple, 0, DISC, 0, 0, 0)).expect("it is read");
    let all = read_all(&mut *witness);
    let said = replies(Style::Simple, after_negotiation(&all), &|_| 512);
    assert!(matches!(&said[..], [(READS, Said::Data(0, data))] if data.len() == 512));
    assert_no_sessions(&fixture);
}

#[test]
fn a_stopped_server_closes_its_connections() {
    let fixture = Fixture::new();
    let mut socket = tcp(&fixture);
    socket.write_all(&opening(Style::Structured, "far")).expect("it is read");
    std::thread::sleep(Duration::from_millis(50));
    fixture.node.exports.stop();
    read_all(&mut *socket);
    assert_no_sessions(&fixture);
}
