//! The bytes of the transmission phase and of option headers: encode and decode, nothing else. All big-endian.

use crate::constants::{
    EXTENDED_REPLY_MAGIC, EXTENDED_REQUEST_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC, REQUEST_MAGIC,
    SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, chunks,
};

/// Bytes of the header of an option.
pub const OPTION_HEADER_BYTES: usize = 16;
/// Bytes of a compact request header.
pub const REQUEST_BYTES: usize = 28;
/// Bytes of an extended request header.
pub const EXTENDED_REQUEST_BYTES: usize = 32;
/// Bytes of a simple reply header.
pub const SIMPLE_REPLY_BYTES: usize = 16;
/// Bytes of the longest header that is put in front of the data of a read: extended, with the offset of the data.
pub const READ_HEADER_BYTES_MAX: usize = 40;

/// What the two sides agreed on for requests and replies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Style {
    /// Compact requests, simple replies.
    #[default]
    Simple,
    /// Compact requests, structured replies.
    Structured,
    /// Extended requests and replies.
    Extended,
}

impl Style {
    /// Bytes of a request header.
    pub fn request_bytes(self) -> usize {
        if self == Style::Extended { EXTENDED_REQUEST_BYTES } else { REQUEST_BYTES }
    }

    /// Whether replies come as chunks.
    pub fn has_chunks(self) -> bool {
        self != Style::Simple
    }
}

/// A request header ("Request message").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// Command flags.
    pub flags: u16,
    /// Request type.
    pub command: u16,
    /// What the reply repeats.
    pub cookie: u64,
    /// First byte of the range.
    pub offset: u64,
    /// Bytes of the range, or of the payload.
    pub length: u64,
}

/// The header of an option ("Newstyle negotiation").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OptionHeader {
    /// Option type.
    pub option: u32,
    /// Bytes of data that follow.
    pub length: u32,
}

/// A number whose first word is not the one that must be there: the two sides do not understand each other any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the magic number is {found:#x}")]
pub struct BadMagic {
    /// What was there.
    pub found: u64,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has the length of the array")
}

/// 16 bits at `at`, which must lie inside.
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

/// 32 bits at `at`, which must lie inside.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

/// 64 bits at `at`, which must lie inside.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}

impl RequestHeader {
    /// Decodes the first [`Style::request_bytes`] bytes, which must be there.
    pub fn decode(style: Style, bytes: &[u8]) -> Result<Self, BadMagic> {
        let (magic, length) = match style {
            Style::Extended => (EXTENDED_REQUEST_MAGIC, u64_at(bytes, 24)),
            Style::Simple | Style::Structured => (REQUEST_MAGIC, u64::from(u32_at(bytes, 24))),
        };
        let found = u32_at(bytes, 0);
        if found != magic {
            return Err(BadMagic { found: u64::from(found) });
        }
        Ok(Self {
            flags: u16_at(bytes, 4),
            command: u16_at(bytes, 6),
            cookie: u64_at(bytes, 8),
            offset: u64_at(bytes, 16),
            length,
        })
    }
}

impl OptionHeader {
    /// Decodes the header of an option.
    pub fn decode(bytes: &[u8; OPTION_HEADER_BYTES]) -> Result<Self, BadMagic> {
        let found = u64_at(bytes, 0);
        if found != OPTION_MAGIC {
            return Err(BadMagic { found });
        }
        Ok(Self { option: u32_at(bytes, 8), length: u32_at(bytes, 12) })
    }
}

/// Appends the header of an option reply and its data ("Fixed newstyle negotiation").
pub fn put_option_reply(out: &mut Vec<u8>, option: u32, reply: u32, data: &[&[u8]]) {
    let length: usize = data.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&OPTION_REPLY_MAGIC.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&reply.to_be_bytes());
    out.extend_from_slice(&(length as u32).to_be_bytes());
    data.iter().for_each(|part| out.extend_from_slice(part));
}

/// Writes fields one behind the other into memory that is long enough.
pub struct Put<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Put<'a> {
    /// Begins at the start of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes written so far.
    pub fn written(&self) -> usize {
        self.at
    }

    /// Copies `bytes`.
    pub fn slice(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    /// 16 bits.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.slice(&value.to_be_bytes())
    }

    /// 32 bits.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.slice(&value.to_be_bytes())
    }

    /// 64 bits.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.slice(&value.to_be_bytes())
    }

    /// A simple reply ("Simple reply message").
    pub fn simple_reply(&mut self, error: u32, cookie: u64) -> &mut Self {
        self.u32(SIMPLE_REPLY_MAGIC).u32(error).u64(cookie)
    }

    /// The header of the last chunk of a reply with `length` bytes of payload ("Structured reply chunk message",
    /// "Extended reply chunk message").
    pub fn last_chunk(
        &mut self,
        style: Style,
        kind: u16,
        request: &RequestHeader,
        length: usize,
    ) -> &mut Self {
        if style == Style::Extended {
            self.u32(EXTENDED_REPLY_MAGIC).u16(chunks::FLAG_DONE).u16(kind).u64(request.cookie);
            self.u64(request.offset).u64(length as u64)
        } else {
            self.u32(STRUCTURED_REPLY_MAGIC).u16(chunks::FLAG_DONE).u16(kind).u64(request.cookie);
            self.u32(length as u32)
        }
    }
}

/// Bytes of a chunk header.
pub fn chunk_header_bytes(style: Style) -> usize {
    if style == Style::Extended { 32 } else { 20 }
}
