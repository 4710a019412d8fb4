//! Loads a server with random 4 KiB reads or writes on one I/O queue, and says what they cost it:
//!
//! ```text
//! cargo run --release -p quarry-nvme-tcp --example load -- 127.0.0.1:4420 NQN PID read 32 1000000
//! ```
//!
//! PID is the server's process; the others are what is done, how many at once, and how many in all.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program of its own, not the data plane"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use quarry_nvme::ANY_CONTROLLER;
use quarry_nvme_wire::constants::{admin, fabrics, io};
use quarry_nvme_wire::pdu::{COMMON_BYTES, Common, HEADER_BYTES, InitializeRequest, Link, kind, put_command};
use quarry_nvme_wire::{CommandBuilder, CompletionEntry, DataPointer, Status, connect_data};

const BLOCKS: u32 = 8;
const BYTES: u32 = BLOCKS * 512;
/// CC as Linux sets it.
const ENABLE: u32 = 1 | 6 << 16 | 4 << 20;

struct Queue {
    stream: TcpStream,
    out: Vec<u8>,
    inbox: Vec<u8>,
}

impl Queue {
    fn open(address: &str, nqn: &str, controller: u16, number: u16, entries: u16) -> (Self, u16) {
        let stream = TcpStream::connect(address).expect("a server");
        stream.set_nodelay(true).expect("a socket");
        let mut queue = Self { stream, out: Vec::new(), inbox: Vec::new() };
        let request = InitializeRequest { link: Link::default(), ready_to_transfer_max: 0 };
        queue.stream.write_all(&request.encode()).expect("sent");
        let mut response = [0; 128];
        queue.stream.read_exact(&mut response).expect("ICResp");
        let connect = CommandBuilder::fabrics(fabrics::CONNECT, 0)
            .dword(10, u32::from(number) << 16)
            .dword(11, u32::from(entries - 1));
        let data = connect_data([5; 16], controller, nqn, "nqn.2026-11.test:load");
        let entry = queue.ask(connect, &data);
        (queue, entry.result as u16)
    }

    fn put(&mut self, command: CommandBuilder, data: &[u8]) {
        let length = data.len() as u32;
        let pointer = if data.is_empty() {
            DataPointer::Host { length: BYTES }
        } else {
            DataPointer::Capsule { length }
        };
        let mut header = [0; 128];
        let count = put_command(&mut header, &command.data(pointer).build(), data.len(), &Link::default());
        self.out.extend_from_slice(&header[..count]);
        self.out.extend_from_slice(data);
    }

    fn send(&mut self) {
        self.stream.write_all(&self.out).expect("sent");
        self.out.clear();
    }

    fn ask(&mut self, command: CommandBuilder, data: &[u8]) -> CompletionEntry {
        self.put(command, data);
        self.send();
        loop {
            if let Some(entry) = self.receive().pop() {
                assert_eq!(entry.status, Status::SUCCESS);
                return entry;
            }
        }
    }

    /// What is done, after one receive.
    fn receive(&mut self) -> Vec<CompletionEntry> {
        let (have, mut done) = (self.inbox.len(), Vec::new());
        self.inbox.resize(have + (256 << 10), 0);
        let count = self.stream.read(&mut self.inbox[have..]).expect("received");
        assert!(count > 0, "the server has closed");
        self.inbox.truncate(have + count);
        let mut at = 0;
        while self.inbox.len() - at >= COMMON_BYTES {
            let common = Common::decode(&self.inbox[at..]);
            if self.inbox.len() - at < common.bytes as usize {
                break;
            }
            if common.kind == kind::RESPONSE {
                done.push(CompletionEntry::decode(&self.inbox[at + COMMON_BYTES..at + HEADER_BYTES]));
            }
            at += common.bytes as usize;
        }
        self.inbox.drain(..at);
        done
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, nqn, process, verb, depth, count] = &arguments[..] else {
        panic!("address, NQN, process, read or write, depth, count")
    };
    let (depth, count): (u64, u64) = (depth.parse().expect("a number"), count.parse().expect("a number"));
    let (mut control, controller) = Queue::open(address, nqn, ANY_CONTROLLER, 0, 32);
    control.ask(CommandBuilder::fabrics(fabrics::PROPERTY_SET, 1).dword(11, 0x14).dword(12, ENABLE), &[]);
    control.ask(CommandBuilder::new(admin::KEEP_ALIVE, 2), &[]);
    let (mut queue, _) = Queue::open(address, nqn, controller, 1, 256);
    let (opcode, data) =
        if verb == "write" { (io::WRITE, vec![7; BYTES as usize]) } else { (io::READ, Vec::new()) };
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |queue: &mut Queue, id: u16| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let block = seed % (16 << 10) * u64::from(BLOCKS);
        let command =
            CommandBuilder::new(opcode, id).namespace(1).double_dword(10, block).dword(12, BLOCKS - 1);
        queue.put(command, &data);
    };
    (0..depth).for_each(|id| next(&mut queue, id as u16));
    queue.send();
    let (before, began, mut answered, mut sent) = (cpu_seconds(process), Instant::now(), 0, depth);
    while answered < count {
        for entry in queue.receive() {
            assert_eq!(entry.status, Status::SUCCESS);
            answered += 1;
            if sent < count {
                next(&mut queue, entry.command);
                sent += 1;
            }
        }
        queue.send();
    }
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds(process) - before);
    let million = count as f64 / 1e6;
    println!(
        "{verb} QD{depth}: {:.0} IOPS, server CPU {:.2} s per million",
        count as f64 / elapsed,
        cpu / million
    );
}

/// CPU time of a process and all of its threads, user and system, in seconds.
fn cpu_seconds(process: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    let fields: Vec<&str> = text.rsplit(')').next().expect("its name ends").split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}
