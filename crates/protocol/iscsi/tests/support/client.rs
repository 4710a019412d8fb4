//! An initiator that says exactly what the test wants it to say.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use quarry_iscsi_wire::digest::digest;
use quarry_iscsi_wire::pdu::{HEADER_BYTES, Header, NO_TAG, flags, opcode, padding};

pub const INITIATOR: &str = "iqn.2026-11.test:initiator";
pub const TARGET: &str = "iqn.2026-11.io.quarry:test";

/// A unit that came from the target.
#[derive(Debug)]
pub struct Unit {
    pub header: Header,
    pub data: Vec<u8>,
}

pub struct Client {
    pub stream: TcpStream,
    pub command_number: u32,
    pub task_tag: u32,
    pub isid: [u8; 6],
    pub digests: bool,
}

fn text(pairs: &[(&str, &str)]) -> Vec<u8> {
    pairs.iter().flat_map(|(key, value)| format!("{key}={value}\0").into_bytes()).collect()
}

/// A descriptor block of READ(10) or WRITE(10).
pub fn block_command(opcode: u8, lba: u32, blocks: u16) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

impl Client {
    pub fn connect(portal: SocketAddr) -> Self {
        let stream = TcpStream::connect(portal).expect("the target listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, command_number: 7, task_tag: 1, isid: [0x80, 1, 2, 3, 4, 5], digests: false }
    }

    /// Connected and logged in, with these keys beside the necessary ones, past the attention that the nexus is new.
    pub fn logged_in(portal: SocketAddr, pairs: &[(&str, &str)]) -> Self {
        let mut client = Self::connect(portal);
        client.log_in(pairs);
        client.digests = pairs.iter().any(|(_, value)| *value == "CRC32C");
        client.command([0; 16], 0, 0);
        let response = client.receive();
        assert_eq!((response.header.0[3], response.data[14]), (2, 0x29), "power on: {response:?}");
        client
    }

    pub fn log_in(&mut self, pairs: &[(&str, &str)]) {
        let names = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("SessionType", "Normal")];
        let response = self.login(0x87, &[&names, pairs].concat());
        assert_eq!((response.header.0[36], response.header.0[37]), (0, 0), "{response:?}");
        assert_eq!(response.header.0[1], 0x87);
        assert_ne!(response.header.u16(14), 0, "a handle");
    }

    /// One login request with these flags; its answer.
    pub fn login(&mut self, flag: u8, pairs: &[(&str, &str)]) -> Unit {
        let mut header = Header::new(opcode::LOGIN);
        header.0[0] |= 0x40;
        header.0[1] = flag;
        header.0[8..14].copy_from_slice(&self.isid);
        header.set_u32(16, self.task_tag);
        header.set_u32(24, self.command_number);
        self.send(&header, &text(pairs));
        self.receive()
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the target takes it");
    }

    pub fn send(&mut self, header: &Header, data: &[u8]) {
        let mut header = *header;
        header.set_data_bytes(data.len());
        let mut bytes = header.0.to_vec();
        if self.digests {
            bytes.extend_from_slice(&digest(&header.0));
        }
        let mut padded = data.to_vec();
        padded.resize(data.len() + padding(data.len()), 0);
        bytes.extend_from_slice(&padded);
        if self.digests && !data.is_empty() {
            bytes.extend_from_slice(&digest(&padded));
        }
        self.raw(&bytes);
    }

    /// A unit of `length` bytes of data, of which only `data` comes for now; the target has it when this returns.
    pub fn begin(&mut self, header: &Header, length: usize, data: &[u8]) {
        let mut ping = Header::new(opcode::NOP_OUT);
        ping.0[0] |= 0x40;
        ping.set_u32(16, 0x7FFF_FFFF);
        ping.set_u32(20, NO_TAG);
        let mut header = *header;
        header.set_data_bytes(length);
        let mut bytes = Vec::new();
        for header in [ping, header] {
            bytes.extend_from_slice(&header.0);
            if self.digests {
                bytes.extend_from_slice(&digest(&header.0));
            }
        }
        // In one piece: what answers the ping has the rest as well.
        self.raw(&[&bytes, data].concat());
        assert_eq!(self.receive().header.opcode(), opcode::NOP_IN);
    }

    /// The header of a SCSI command.
    pub fn command_header(&mut self, cdb: [u8; 16], flag: u8, expected: u32) -> Header {
        let mut header = Header::new(opcode::SCSI_COMMAND);
        header.0[1] |= flag;
        self.task_tag += 1;
        header.set_u32(16, self.task_tag);
        header.set_u32(20, expected);
        header.set_u32(24, self.command_number);
        self.command_number = self.command_number.wrapping_add(1);
        header.0[32..48].copy_from_slice(&cdb);
        header
    }

    /// A SCSI command to unit 0 without data of ours.
    pub fn command(&mut self, cdb: [u8; 16], flag: u8, expected: u32) {
        let header = self.command_header(cdb, flag, expected);
        self.send(&header, &[]);
    }

    /// Data for the present command.
    pub fn data_out(&mut self, tag: u32, number: u32, offset: u32, data: &[u8], last: bool) {
        let mut header = Header::new(opcode::DATA_OUT);
        header.0[1] = if last { flags::FINAL } else { 0 };
        header.set_u32(16, self.task_tag);
        header.set_u32(20, tag);
        header.set_u32(36, number);
        header.set_u32(40, offset);
        self.send(&header, data);
    }

    /// An immediate unit.
    pub fn immediate(&mut self, code: u8, change: impl FnOnce(&mut Header), data: &[u8]) {
        let mut header = Header::new(code);
        header.0[0] |= 0x40;
        self.task_tag += 1;
        header.set_u32(16, self.task_tag);
        header.set_u32(20, NO_TAG);
        header.set_u32(24, self.command_number);
        change(&mut header);
        self.send(&header, data);
    }

    fn take(&mut self, bytes: usize) -> Vec<u8> {
        let mut taken = vec![0; bytes];
        self.stream.read_exact(&mut taken).expect("the target answers");
        taken
    }

    pub fn receive(&mut self) -> Unit {
        let header = Header::decode(&self.take(HEADER_BYTES));
        if self.digests {
            assert_eq!(self.take(4), digest(&header.0), "the digest of the header");
        }
        let length = header.data_bytes();
        let mut data = self.take(length + padding(length));
        if self.digests && length > 0 {
            assert_eq!(self.take(4), digest(&data), "the digest of the data");
        }
        data.truncate(length);
        Unit { header, data }
    }

    /// The next unit, which must be a SCSI response: its status and sense code.
    pub fn status(&mut self) -> (u8, Option<(u8, u8)>) {
        let unit = self.receive();
        assert_eq!(unit.header.opcode(), opcode::SCSI_RESPONSE, "{unit:?}");
        let code = (unit.data.len() >= 16).then(|| (unit.data[14], unit.data[15]));
        (unit.header.0[3], code)
    }

    /// Whether the target has closed, without a further word.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0) | Err(_))
    }
}
