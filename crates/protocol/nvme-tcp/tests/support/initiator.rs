//! The initiator's side of one queue: bytes in, bytes out, commands and answers. It does no I/O of its own, so that it runs
//! over whatever carries bytes.

use std::collections::BTreeMap;

use quarry_nvme_wire::digest::digest;
use quarry_nvme_wire::pdu::{
    COMMON_BYTES, Common, DataHeader, HEADER_BYTES, INITIALIZE_BYTES, InitializeRequest, InitializeResponse,
    Link, check_header_digest, flag, kind, put_command, put_h2c_data,
};
use quarry_nvme_wire::{Command, CommandBuilder, CompletionEntry, DataPointer, Status};

/// Longest header that is put in front of data.
const HEADER_BYTES_MAX: usize = 128;

/// What a command sends or expects.
#[derive(Clone, Debug)]
pub enum Data {
    /// Neither.
    None,
    /// This much from the controller.
    In(usize),
    /// At most this much from the controller.
    Any(usize),
    /// These bytes, in the capsule.
    Capsule(Vec<u8>),
    /// These bytes, when the controller asks for them.
    Out(Vec<u8>),
}

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: Status,
    pub result: u64,
    pub data: Vec<u8>,
    /// How far the controller says that it has read the submission queue; `None` where it says nothing.
    pub submission_head: Option<u16>,
}

struct Pending {
    data: Data,
    received: Vec<u8>,
}

/// A queue as its initiator sees it.
pub struct Initiator {
    wanted: Link,
    /// What the controller has agreed to, once it has.
    pub link: Option<Link>,
    data_bytes_max: u32,
    /// Most data that this side puts into one H2CData.
    pub piece_bytes: u32,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    next_id: u16,
    pending: BTreeMap<u16, Pending>,
    answers: BTreeMap<u16, Answer>,
    /// The order in which commands were answered.
    pub order: Vec<u16>,
    /// Why the controller has ended the connection: status and information.
    pub termination: Option<(u16, u32)>,
    /// The next data that is sent has a wrong digest.
    pub damages: bool,
}

impl Initiator {
    /// A queue that wants `link`.
    pub fn new(link: Link) -> Self {
        let request = InitializeRequest { link, ready_to_transfer_max: 0 };
        Self {
            wanted: link,
            link: None,
            data_bytes_max: 0,
            piece_bytes: u32::MAX,
            inbox: Vec::new(),
            outbox: request.encode().to_vec(),
            next_id: 1,
            pending: BTreeMap::new(),
            answers: BTreeMap::new(),
            order: Vec::new(),
            termination: None,
            damages: false,
        }
    }

    /// What is to be sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outbox)
    }

    /// Whether commands wait for their answers.
    pub fn is_busy(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Sends a command; its id.
    pub fn submit(&mut self, command: CommandBuilder, data: Data) -> u16 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let link = self.link.unwrap_or(self.wanted);
        let (pointer, payload): (DataPointer, &[u8]) = match &data {
            Data::None => (DataPointer::Host { length: 0 }, &[]),
            Data::In(length) | Data::Any(length) => (DataPointer::Host { length: *length as u32 }, &[]),
            Data::Capsule(bytes) => (DataPointer::Capsule { length: bytes.len() as u32 }, bytes),
            Data::Out(bytes) => (DataPointer::Host { length: bytes.len() as u32 }, &[]),
        };
        let mut bytes = *command.data(pointer).build().bytes();
        bytes[2..4].copy_from_slice(&id.to_le_bytes());
        let mut header = [0; HEADER_BYTES_MAX];
        let length = put_command(&mut header, &Command::new(bytes), payload.len(), &link);
        self.outbox.extend_from_slice(&header[..length]);
        let damages = !payload.is_empty() && std::mem::take(&mut self.damages);
        put_payload(&mut self.outbox, payload, &link, damages);
        self.pending.insert(id, Pending { data, received: Vec::new() });
        id
    }

    /// The answer to a command, once it is there.
    pub fn take_answer(&mut self, id: u16) -> Option<Answer> {
        self.answers.remove(&id)
    }

    /// Takes in what has come.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        while self.receive_one() {}
    }

    fn receive_one(&mut self) -> bool {
        let Some(link) = self.link else { return self.receive_initialization() };
        if self.inbox.len() < COMMON_BYTES {
            return false;
        }
        let common = Common::decode(&self.inbox);
        let layout = common.check_from_controller(&link, u32::MAX).expect("a valid PDU");
        if self.inbox.len() < layout.bytes {
            return false;
        }
        let pdu: Vec<u8> = self.inbox.drain(..layout.bytes).collect();
        check_header_digest(&pdu, &layout, &link).expect("the header's digest");
        match common.kind {
            kind::RESPONSE => self.complete(&CompletionEntry::decode(&pdu[COMMON_BYTES..HEADER_BYTES]), true),
            kind::READY_TO_TRANSFER => self.send_data(&DataHeader::decode(&pdu)),
            kind::CONTROLLER_DATA => {
                let data = &pdu[layout.data.clone()];
                if layout.has_data_digest {
                    let found = u32::from_le_bytes(pdu[layout.data.end..].try_into().expect("four bytes"));
                    assert_eq!(found, digest(data), "the data's digest");
                }
                self.receive_data(&DataHeader::decode(&pdu), data, common.flags);
            }
            _ => {
                let information = u32::from_le_bytes(pdu[10..14].try_into().expect("four bytes"));
                self.termination = Some((u16::from_le_bytes([pdu[8], pdu[9]]), information));
            }
        }
        true
    }

    fn receive_initialization(&mut self) -> bool {
        let Some(first) = self.inbox.first() else { return false };
        if *first == kind::CONTROLLER_TERMINATION {
            self.link = Some(Link::default());
            return true;
        }
        let Some(bytes) = self.inbox.first_chunk::<INITIALIZE_BYTES>() else { return false };
        let response = InitializeResponse::decode(bytes).expect("ICResp");
        let agreed = |link: Link| (link.header_digest, link.data_digest);
        assert_eq!(agreed(response.link), agreed(self.wanted), "what was asked for is granted");
        assert!(response.data_bytes_max >= 4096 && response.data_bytes_max.is_multiple_of(4));
        self.link = Some(self.wanted);
        self.data_bytes_max = response.data_bytes_max;
        self.inbox.drain(..INITIALIZE_BYTES);
        true
    }

    fn receive_data(&mut self, header: &DataHeader, data: &[u8], flags: u8) {
        let pending = self.pending.get_mut(&header.command).expect("a command that waits");
        let (Data::In(expected) | Data::Any(expected)) = pending.data else {
            panic!("data that nobody asked for")
        };
        assert_eq!((header.offset as usize, header.length as usize), (pending.received.len(), data.len()));
        pending.received.extend_from_slice(data);
        assert!(pending.received.len() <= expected, "no more than was asked for");
        if flags & flag::SUCCESS != 0 {
            assert!(flags & flag::LAST != 0);
            let entry = CompletionEntry {
                result: 0,
                submission_head: 0xFFFF,
                queue: 0,
                command: header.command,
                status: Status::SUCCESS,
            };
            self.complete(&entry, false);
        }
    }

    /// Sends what an R2T asks for.
    fn send_data(&mut self, header: &DataHeader) {
        let link = self.link.expect("connected");
        let pending = &self.pending[&header.command];
        let Data::Out(bytes) = &pending.data else { panic!("an R2T for a command without data to send") };
        let (mut at, end) = (header.offset, header.offset + header.length);
        assert!(header.length > 0 && end as usize <= bytes.len());
        let piece = self.piece_bytes.min(self.data_bytes_max);
        while at < end {
            let length = piece.min(end - at);
            let data = &bytes[at as usize..(at + length) as usize];
            let mut out = [0; HEADER_BYTES_MAX];
            let fields = DataHeader { offset: at, length, ..*header };
            let count = put_h2c_data(&mut out, &fields, at + length == end, &link);
            self.outbox.extend_from_slice(&out[..count]);
            put_payload(&mut self.outbox, data, &link, std::mem::take(&mut self.damages));
            at += length;
        }
    }

    fn complete(&mut self, entry: &CompletionEntry, has_entry: bool) {
        let pending = self.pending.remove(&entry.command).expect("a command that waits");
        if let (Data::In(expected), true) = (&pending.data, entry.status == Status::SUCCESS) {
            assert_eq!(pending.received.len(), *expected, "a command that succeeds brings all of its data");
        }
        self.order.push(entry.command);
        let answer = Answer {
            status: entry.status,
            result: entry.result,
            data: pending.received,
            submission_head: has_entry.then_some(entry.submission_head),
        };
        self.answers.insert(entry.command, answer);
    }
}

fn put_payload(out: &mut Vec<u8>, payload: &[u8], link: &Link, damages: bool) {
    if payload.is_empty() {
        return;
    }
    out.extend_from_slice(payload);
    if link.data_digest {
        out.extend_from_slice(&(digest(payload) ^ u32::from(damages)).to_le_bytes());
    }
}
