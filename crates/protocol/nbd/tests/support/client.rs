//! A client that speaks raw bytes: it builds messages, right or wrong, and takes replies apart.

use std::rc::Rc;

use super::protocol::*;
use super::world::{Wire, World};

/// How requests and replies look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Simple,
    Structured,
    Extended,
}

pub const STYLES: [Style; 3] = [Style::Simple, Style::Structured, Style::Extended];

/// An option as the client sends it.
pub fn option(option: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = IHAVEOPT.to_vec();
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

/// Data of INFO and GO.
pub fn info_data(export: &str, infos: &[u16]) -> Vec<u8> {
    let mut bytes = string(export);
    bytes.extend((infos.len() as u16).to_be_bytes());
    infos.iter().for_each(|info| bytes.extend(info.to_be_bytes()));
    bytes
}

/// Data of LIST_META_CONTEXT and SET_META_CONTEXT.
pub fn context_data(export: &str, queries: &[&str]) -> Vec<u8> {
    let mut bytes = string(export);
    bytes.extend((queries.len() as u32).to_be_bytes());
    queries.iter().for_each(|query| bytes.extend(string(query)));
    bytes
}

/// A request, with its payload behind it.
pub fn request(style: Style, flags: u16, command: u16, cookie: u64, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = match style {
        Style::Extended => EXTENDED_REQUEST,
        _ => REQUEST,
    }
    .to_be_bytes()
    .to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    match style {
        Style::Extended => bytes.extend(length.to_be_bytes()),
        _ => bytes.extend((length as u32).to_be_bytes()),
    }
    bytes
}

/// A write with its data.
pub fn write(style: Style, flags: u16, cookie: u64, offset: u64, data: &[u8]) -> Vec<u8> {
    let flags = if style == Style::Extended { flags | PAYLOAD_LEN } else { flags };
    let mut bytes = request(style, flags, WRITE, cookie, offset, data.len() as u64);
    bytes.extend(data);
    bytes
}

/// The negotiation up to the transmission phase in one go: greeting, style, `base:allocation` if possible, GO.
pub fn opening(style: Style, export: &str) -> Vec<u8> {
    let mut bytes = 3u32.to_be_bytes().to_vec();
    match style {
        Style::Simple => {}
        Style::Structured => bytes.extend(option(OPT_STRUCTURED, &[])),
        Style::Extended => bytes.extend(option(OPT_EXTENDED, &[])),
    }
    if style != Style::Simple {
        bytes.extend(option(OPT_SET_META, &context_data(export, &["base:allocation"])));
    }
    bytes.extend(option(OPT_GO, &info_data(export, &[3])));
    bytes
}

/// Takes numbers off the front of bytes.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(count);
        self.0 = rest;
        front
    }
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("2 bytes"))
    }
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("4 bytes"))
    }
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().expect("8 bytes"))
    }
}

/// A reply to an option: option, type, data.
pub type OptionReply = (u32, u32, Vec<u8>);

/// Takes option replies apart; all bytes must be such.
pub fn option_replies(bytes: &[u8]) -> Vec<OptionReply> {
    let mut bytes = Bytes(bytes);
    let mut replies = Vec::new();
    while !bytes.0.is_empty() {
        assert_eq!(bytes.u64(), OPTION_REPLY);
        let (option, kind, length) = (bytes.u32(), bytes.u32(), bytes.u32());
        replies.push((option, kind, bytes.take(length as usize).to_vec()));
    }
    replies
}

/// What a reply says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    Done,
    Data(u64, Vec<u8>),
    Extents(Vec<(u64, u64)>),
    /// An error, and the offset if the server named it.
    Error(u32, Option<u64>),
}

/// Reads the replies that have arrived in full. `reads` tells the length of a read by its cookie, which simple replies
/// need.
pub fn replies(style: Style, bytes: &[u8], reads: &dyn Fn(u64) -> usize) -> Vec<(u64, Said)> {
    let mut bytes = Bytes(bytes);
    let mut replies = Vec::new();
    while !bytes.0.is_empty() {
        let magic = bytes.u32();
        replies.push(match magic {
            SIMPLE => simple(style, &mut bytes, reads),
            STRUCTURED => {
                assert_eq!(style, Style::Structured);
                chunk(&mut bytes, None)
            }
            EXTENDED => {
                assert_eq!(style, Style::Extended);
                chunk(&mut bytes, Some(()))
            }
            _ => panic!("magic {magic:#x}"),
        });
    }
    replies
}

fn simple(style: Style, bytes: &mut Bytes<'_>, reads: &dyn Fn(u64) -> usize) -> (u64, Said) {
    assert_ne!(style, Style::Extended, "no simple replies with extended headers");
    let (error, cookie) = (bytes.u32(), bytes.u64());
    let length = reads(cookie);
    let said = match error {
        0 if length > 0 && style == Style::Simple => Said::Data(0, bytes.take(length).to_vec()),
        0 => Said::Done,
        _ => Said::Error(error, None),
    };
    (cookie, said)
}

fn chunk(bytes: &mut Bytes<'_>, extended: Option<()>) -> (u64, Said) {
    let (flags, kind, cookie) = (bytes.u16(), bytes.u16(), bytes.u64());
    assert_eq!(flags, 1, "every reply is one chunk");
    let length = match extended {
        Some(()) => {
            bytes.u64();
            bytes.u64() as usize
        }
        None => bytes.u32() as usize,
    };
    let mut payload = Bytes(bytes.take(length));
    let said = match kind {
        CHUNK_NONE => Said::Done,
        CHUNK_DATA => Said::Data(payload.u64(), payload.take(length - 8).to_vec()),
        CHUNK_STATUS => {
            assert_eq!((extended, payload.u32()), (None, 1));
            Said::Extents(pairs(&mut payload, |bytes| u64::from(bytes.u32())))
        }
        CHUNK_STATUS_EXT => {
            assert_eq!((extended, payload.u32()), (Some(()), 1));
            let count = payload.u32() as usize;
            let extents = pairs(&mut payload, |bytes| bytes.u64());
            assert_eq!(extents.len(), count);
            Said::Extents(extents)
        }
        CHUNK_ERROR | CHUNK_ERROR_OFFSET => {
            let (error, message) = (payload.u32(), payload.u16());
            std::str::from_utf8(payload.take(message as usize)).expect("a text");
            Said::Error(error, (kind == CHUNK_ERROR_OFFSET).then(|| payload.u64()))
        }
        _ => panic!("chunk {kind}"),
    };
    assert!(payload.0.is_empty());
    (cookie, said)
}

fn pairs(bytes: &mut Bytes<'_>, number: impl Fn(&mut Bytes<'_>) -> u64) -> Vec<(u64, u64)> {
    let mut pairs = Vec::new();
    while !bytes.0.is_empty() {
        pairs.push((number(bytes), number(bytes)));
    }
    pairs
}

/// A connection in the transmission phase.
pub struct Client {
    pub style: Style,
    pub wire: Rc<Wire>,
}

impl Client {
    /// Connects and negotiates.
    pub fn open(world: &mut World, style: Style, export: &str) -> Self {
        let wire = world.connect();
        wire.write(&opening(style, export));
        world.run();
        let bytes = wire.read();
        let (_, kind, _) = option_replies(&bytes[18..]).pop().expect("a reply");
        assert_eq!(kind, REP_ACK, "the negotiation succeeds");
        Self { style, wire }
    }

    /// Sends a request without payload.
    pub fn send(&self, flags: u16, command: u16, cookie: u64, offset: u64, length: u64) {
        self.wire.write(&request(self.style, flags, command, cookie, offset, length));
    }

    /// Sends a write.
    pub fn write(&self, flags: u16, cookie: u64, offset: u64, data: &[u8]) {
        self.wire.write(&write(self.style, flags, cookie, offset, data));
    }

    /// Takes the replies that have arrived, in order; all reads were of `read_bytes`.
    pub fn replies(&self, read_bytes: usize) -> Vec<(u64, Said)> {
        replies(self.style, &self.wire.read(), &|cookie| if cookie >= READS { read_bytes } else { 0 })
    }

    /// Sends a request and returns what the reply says.
    pub fn ask(&self, world: &mut World, flags: u16, command: u16, offset: u64, length: u64) -> Said {
        let cookie = if command == READ { READS } else { 1 };
        self.send(flags, command, cookie, offset, length);
        world.run();
        let mut replies = self.replies(length as usize);
        assert_eq!(replies.len(), 1, "one request, one reply");
        let (found, said) = replies.remove(0);
        assert_eq!(found, cookie);
        said
    }

    /// Writes and returns what the reply says.
    pub fn ask_write(&self, world: &mut World, flags: u16, offset: u64, data: &[u8]) -> Said {
        self.write(flags, 2, offset, data);
        world.run();
        let mut replies = self.replies(0);
        assert_eq!(replies.len(), 1, "one request, one reply");
        let (found, said) = replies.remove(0);
        assert_eq!(found, 2);
        said
    }
}

/// Cookies from here on are those of reads.
pub const READS: u64 = 1 << 32;
