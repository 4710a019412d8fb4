//! An NBD client of our own, in raw bytes over a simulated socket: many requests in flight on one connection.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use quarry_env::{Completer, Env, Stream, completion};

use crate::node::address;
use crate::target::Failed;

const OPTION_MAGIC: u64 = 0x4948_4156_454F_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;
const EXTENDED_REPLY_MAGIC: u32 = 0x6e8a_278c;

const GO: u32 = 7;
const STRUCTURED_REPLY: u32 = 8;
const SET_META_CONTEXT: u32 = 10;
const EXTENDED_HEADERS: u32 = 11;
const PAYLOAD_LEN: u16 = 1 << 5;
const RECEIVE_BYTES: usize = 64 << 10;

/// Commands of the protocol.
pub mod commands {
    pub const READ: u16 = 0;
    pub const WRITE: u16 = 1;
    pub const FLUSH: u16 = 3;
    pub const TRIM: u16 = 4;
    pub const WRITE_ZEROES: u16 = 6;
    pub const BLOCK_STATUS: u16 = 7;
}

/// Flags of commands.
pub mod flags {
    pub const FUA: u16 = 1;
    pub const NO_HOLE: u16 = 2;
}

/// How requests and replies look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Simple,
    Structured,
    Extended,
}

/// What came back for one request.
pub enum Answer {
    Done,
    Data(Vec<u8>),
    /// Lengths, and whether each is a hole that reads as zeroes.
    Extents(Vec<(u64, bool)>),
}

type Reply = Result<Answer, Failed>;

struct Pending {
    read_bytes: usize,
    data: Option<Answer>,
    done: Completer<Reply>,
}

/// A connection in the transmission phase.
pub struct Client {
    style: Style,
    size_bytes: u64,
    stream: Rc<dyn Stream>,
    env: Env,
    pending: RefCell<BTreeMap<u64, Pending>>,
    next_cookie: Cell<u64>,
    closed: Cell<bool>,
    sending: futures::lock::Mutex<()>,
}

/// Bytes as they arrive.
struct Inbox {
    stream: Rc<dyn Stream>,
    env: Env,
    bytes: Vec<u8>,
    at: usize,
}

impl Inbox {
    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.bytes.len() - self.at < count {
            let buffer = self.env.buffers.allocate(RECEIVE_BYTES);
            let (buffer, received) = self.stream.receive(buffer, 0).await;
            let received = received.ok().filter(|&count| count > 0)?;
            self.bytes.drain(..self.at);
            self.at = 0;
            self.bytes.extend_from_slice(&buffer[..received]);
        }
        self.at += count;
        Some(self.bytes[self.at - count..self.at].to_vec())
    }

    async fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2).await?.try_into().ok()?))
    }

    async fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4).await?.try_into().ok()?))
    }

    async fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8).await?.try_into().ok()?))
    }
}

fn option(option: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = OPTION_MAGIC.to_be_bytes().to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn opening(style: Style, export: &str) -> Vec<u8> {
    let mut bytes = 3u32.to_be_bytes().to_vec();
    match style {
        Style::Simple => {}
        Style::Structured => bytes.extend(option(STRUCTURED_REPLY, &[])),
        Style::Extended => bytes.extend(option(EXTENDED_HEADERS, &[])),
    }
    if style != Style::Simple {
        let mut data = string(export);
        data.extend(1u32.to_be_bytes());
        data.extend(string("base:allocation"));
        bytes.extend(option(SET_META_CONTEXT, &data));
    }
    let mut data = string(export);
    data.extend(0u16.to_be_bytes());
    bytes.extend(option(GO, &data));
    bytes
}

impl Client {
    /// Connects and negotiates; `None` when the server is gone.
    pub async fn open(env: &Env, style: Style, export: &str) -> Option<Rc<Self>> {
        let stream = env.network.connect(&address()).await.ok()?;
        let mut inbox = Inbox { stream: stream.clone(), env: env.clone(), bytes: Vec::new(), at: 0 };
        inbox.take(18).await?;
        stream.send(vec![env.buffers.copy_of(&opening(style, export))]).await.ok()?;
        let mut size_bytes = 0;
        loop {
            let magic = inbox.u64().await?;
            assert_eq!(magic, OPTION_REPLY_MAGIC, "an option is answered");
            let (option, kind, length) = (inbox.u32().await?, inbox.u32().await?, inbox.u32().await?);
            let data = inbox.take(length as usize).await?;
            assert!(kind >> 31 == 0, "option {option} was refused: {kind:#x}");
            if option == GO && kind == 3 && data[..2] == [0, 0] {
                size_bytes = u64::from_be_bytes(data[2..10].try_into().ok()?);
            }
            if option == GO && kind == 1 {
                break;
            }
        }
        let client = Rc::new(Self {
            style,
            size_bytes,
            stream,
            env: env.clone(),
            pending: RefCell::default(),
            next_cookie: Cell::new(1),
            closed: Cell::new(false),
            sending: futures::lock::Mutex::new(()),
        });
        env.spawner.spawn(client.clone().receive(inbox)).detach();
        Some(client)
    }

    /// How the server's messages look.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Size of the export as it was when the connection began.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Asks for something and waits for the answer.
    pub async fn ask(&self, command: u16, flags: u16, offset: u64, length: u64, data: &[u8]) -> Reply {
        let cookie = self.next_cookie.get();
        self.next_cookie.set(cookie + 1);
        let (done, answer) = completion();
        let read_bytes = if command == commands::READ { length as usize } else { 0 };
        if self.closed.get() {
            return Err(Failed::Closed);
        }
        self.pending.borrow_mut().insert(cookie, Pending { read_bytes, data: None, done });
        let header = self.header(command, flags, cookie, offset, length);
        let mut views = vec![self.env.buffers.copy_of(&header)];
        if !data.is_empty() {
            views.push(self.env.buffers.copy_of(data));
        }
        let _sending = self.sending.lock().await;
        let sent = self.stream.send(views).await;
        drop(_sending);
        if sent.is_err() {
            self.close();
        }
        answer.await
    }

    fn header(&self, command: u16, flags: u16, cookie: u64, offset: u64, length: u64) -> Vec<u8> {
        let extended = self.style == Style::Extended;
        let magic = if extended { EXTENDED_REQUEST_MAGIC } else { REQUEST_MAGIC };
        let flags = if extended && command == commands::WRITE { flags | PAYLOAD_LEN } else { flags };
        let mut bytes = magic.to_be_bytes().to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(cookie.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        match extended {
            true => bytes.extend(length.to_be_bytes()),
            false => bytes.extend((length as u32).to_be_bytes()),
        }
        bytes
    }

    /// Ends the connection; who waits for an answer hears that it is closed.
    pub fn close(&self) {
        self.closed.set(true);
        self.stream.shutdown();
        for (_, pending) in std::mem::take(&mut *self.pending.borrow_mut()) {
            pending.done.complete(Err(Failed::Closed));
        }
    }

    async fn receive(self: Rc<Self>, mut inbox: Inbox) {
        while self.reply(&mut inbox).await.is_some() {}
        self.close();
    }

    async fn reply(&self, inbox: &mut Inbox) -> Option<()> {
        match inbox.u32().await? {
            SIMPLE_REPLY_MAGIC => {
                let (error, cookie) = (inbox.u32().await?, inbox.u64().await?);
                let read_bytes = self.pending.borrow().get(&cookie).map_or(0, |pending| pending.read_bytes);
                if error == 0 && read_bytes > 0 && self.style == Style::Simple {
                    let data = inbox.take(read_bytes).await?;
                    self.note(cookie, Answer::Data(data));
                }
                self.finish(cookie, error);
            }
            STRUCTURED_REPLY_MAGIC => self.chunk(inbox, false).await?,
            EXTENDED_REPLY_MAGIC => self.chunk(inbox, true).await?,
            magic => panic!("no reply begins with {magic:#x}"),
        }
        Some(())
    }

    async fn chunk(&self, inbox: &mut Inbox, extended: bool) -> Option<()> {
        let (flags, kind, cookie) = (inbox.u16().await?, inbox.u16().await?, inbox.u64().await?);
        let length = match extended {
            true => {
                inbox.u64().await?;
                inbox.u64().await?
            }
            false => u64::from(inbox.u32().await?),
        };
        let payload = inbox.take(length as usize).await?;
        let number = |at: usize, bytes: usize| {
            payload[at..at + bytes].iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        };
        let mut error = 0;
        match kind {
            0 => {}
            1 => self.note(cookie, Answer::Data(payload[8..].to_vec())),
            5 => {
                let extents = (4..payload.len()).step_by(8);
                let extents = extents.map(|at| (number(at, 4), number(at + 4, 4) == 3)).collect();
                self.note(cookie, Answer::Extents(extents));
            }
            6 => {
                let extents = (8..payload.len()).step_by(16);
                let extents = extents.map(|at| (number(at, 8), number(at + 8, 8) == 3)).collect();
                self.note(cookie, Answer::Extents(extents));
            }
            _ => error = number(0, 4) as u32,
        }
        if flags & 1 == 1 {
            self.finish(cookie, error);
        }
        Some(())
    }

    fn note(&self, cookie: u64, answer: Answer) {
        if let Some(pending) = self.pending.borrow_mut().get_mut(&cookie) {
            pending.data = Some(answer);
        }
    }

    fn finish(&self, cookie: u64, error: u32) {
        let Some(pending) = self.pending.borrow_mut().remove(&cookie) else { return };
        let reply = match error {
            0 => Ok(pending.data.unwrap_or(Answer::Done)),
            28 => Err(Failed::NoSpace),
            error => Err(Failed::Error(format!("NBD error {error}"))),
        };
        pending.done.complete(reply);
    }
}
