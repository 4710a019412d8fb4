//! The fields of each PDU.

use super::{
    COMMAND_HEADER_BYTES, COMMON_BYTES, Fatal, FatalStatus, HEADER_BYTES, INITIALIZE_BYTES, Link,
    TERMINATION_DATA_BYTES_MAX, flag, kind,
};
use crate::command::{COMMAND_BYTES, Command, CompletionEntry};
use crate::digest::digest;

/// Most bytes in front of the data of a PDU to the host: the header, its digest, and padding.
pub const C2H_HEADER_BYTES_MAX: usize = 256;

const _: () = assert!(C2H_HEADER_BYTES_MAX >= (HEADER_BYTES + 4).next_multiple_of(128));

fn put_common(out: &mut [u8], kind: u8, flags: u8, header: usize, offset: usize, bytes: usize) {
    out[..4].copy_from_slice(&[kind, flags, header as u8, offset as u8]);
    out[4..COMMON_BYTES].copy_from_slice(&(bytes as u32).to_le_bytes());
}

fn put_u16(out: &mut [u8], at: usize, value: u16) {
    out[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn put_u32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

/// Puts the digest behind a header of `header` bytes, if there is to be one; how long both are.
fn seal(out: &mut [u8], header: usize, link: &Link) -> usize {
    if link.header_digest {
        let digest = digest(&out[..header]);
        put_u32(out, header, digest);
    }
    header + link.header_digest_bytes()
}

fn header_flag(link: &Link) -> u8 {
    if link.header_digest { flag::HEADER_DIGEST } else { 0 }
}

fn data_flag(link: &Link) -> u8 {
    if link.data_digest { flag::DATA_DIGEST } else { 0 }
}

/// ICReq: what a host asks for (3.6.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InitializeRequest {
    /// What the host wants.
    pub link: Link,
    /// How many R2Ts of one command may be open, less one. One is enough for us.
    pub ready_to_transfer_max: u32,
}

impl InitializeRequest {
    /// Decodes [`INITIALIZE_BYTES`].
    pub fn decode(bytes: &[u8; INITIALIZE_BYTES]) -> Result<Self, Fatal> {
        const WRONG: [u8; 2] = [kind::INITIALIZE_REQUEST, INITIALIZE_BYTES as u8];
        if bytes[0] != WRONG[0] {
            return Err(Fatal::because(FatalStatus::Sequence));
        }
        if bytes[2] != WRONG[1] {
            return Err(Fatal::field(2));
        }
        if u32_at(bytes, 4) as usize != INITIALIZE_BYTES {
            return Err(Fatal::field(4));
        }
        if u16_at(bytes, 8) != 0 {
            return Err(Fatal { status: FatalStatus::Unsupported, information: 8 });
        }
        if bytes[10] > 31 {
            return Err(Fatal::field(10));
        }
        let digests = bytes[11];
        let link = Link {
            header_digest: digests & 1 != 0,
            data_digest: digests & 2 != 0,
            host_alignment: bytes[10],
        };
        Ok(Self { link, ready_to_transfer_max: u32_at(bytes, 12) })
    }

    /// Its bytes, for initiators.
    pub fn encode(&self) -> [u8; INITIALIZE_BYTES] {
        let mut out = [0; INITIALIZE_BYTES];
        put_common(&mut out, kind::INITIALIZE_REQUEST, 0, INITIALIZE_BYTES, 0, INITIALIZE_BYTES);
        out[10] = self.link.host_alignment;
        out[11] = u8::from(self.link.header_digest) | u8::from(self.link.data_digest) << 1;
        put_u32(&mut out, 12, self.ready_to_transfer_max);
        out
    }
}

/// ICResp: what the controller grants (3.6.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InitializeResponse {
    /// The digests.
    pub link: Link,
    /// Most data of one H2CData.
    pub data_bytes_max: u32,
}

impl InitializeResponse {
    /// Decodes [`INITIALIZE_BYTES`], for initiators.
    pub fn decode(bytes: &[u8; INITIALIZE_BYTES]) -> Result<Self, Fatal> {
        if bytes[0] != kind::INITIALIZE_RESPONSE || u32_at(bytes, 4) as usize != INITIALIZE_BYTES {
            return Err(Fatal::because(FatalStatus::Sequence));
        }
        let link =
            Link { header_digest: bytes[11] & 1 != 0, data_digest: bytes[11] & 2 != 0, host_alignment: 0 };
        Ok(Self { link, data_bytes_max: u32_at(bytes, 12) })
    }

    /// Its bytes. The controller needs no alignment of data (CPDA is 0).
    pub fn encode(&self) -> [u8; INITIALIZE_BYTES] {
        let mut out = [0; INITIALIZE_BYTES];
        put_common(&mut out, kind::INITIALIZE_RESPONSE, 0, INITIALIZE_BYTES, 0, INITIALIZE_BYTES);
        out[11] = u8::from(self.link.header_digest) | u8::from(self.link.data_digest) << 1;
        put_u32(&mut out, 12, self.data_bytes_max);
        out
    }
}

/// The fields of H2CData, C2HData and R2T behind the common ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataHeader {
    /// The command.
    pub command: u16,
    /// The number by which the controller knows the transfer; 0 in C2HData.
    pub tag: u16,
    /// Where in the command's data.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

impl DataHeader {
    /// Decodes a header of [`HEADER_BYTES`], which must be there.
    pub fn decode(bytes: &[u8]) -> Self {
        Self {
            command: u16_at(bytes, 8),
            tag: u16_at(bytes, 10),
            offset: u32_at(bytes, 12),
            length: u32_at(bytes, 16),
        }
    }

    fn put(&self, out: &mut [u8]) {
        put_u16(out, 8, self.command);
        put_u16(out, 10, self.tag);
        put_u32(out, 12, self.offset);
        put_u32(out, 16, self.length);
        put_u32(out, 20, 0);
    }
}

/// Puts what comes in front of the data of a C2HData; how long it is. `success` says that no completion follows.
pub fn put_c2h_data(out: &mut [u8], header: &DataHeader, success: bool, link: &Link) -> usize {
    let start = link.c2h_data_offset();
    let bytes = start + header.length as usize + link.data_digest_bytes();
    let success = if success { flag::SUCCESS } else { 0 };
    let flags = header_flag(link) | data_flag(link) | flag::LAST | success;
    put_common(out, kind::CONTROLLER_DATA, flags, HEADER_BYTES, start, bytes);
    header.put(out);
    let sealed = seal(out, HEADER_BYTES, link);
    out[sealed..start].fill(0);
    start
}

/// Puts what comes in front of the data of an H2CData, for initiators; how long it is.
pub fn put_h2c_data(out: &mut [u8], header: &DataHeader, last: bool, link: &Link) -> usize {
    let start = HEADER_BYTES + link.header_digest_bytes();
    let bytes = start + header.length as usize + link.data_digest_bytes();
    let last = if last { flag::LAST } else { 0 };
    let flags = header_flag(link) | data_flag(link) | last;
    put_common(out, kind::HOST_DATA, flags, HEADER_BYTES, start, bytes);
    header.put(out);
    seal(out, HEADER_BYTES, link)
}

/// Puts an R2T; how long it is.
pub fn put_r2t(out: &mut [u8], header: &DataHeader, link: &Link) -> usize {
    let bytes = HEADER_BYTES + link.header_digest_bytes();
    put_common(out, kind::READY_TO_TRANSFER, header_flag(link), HEADER_BYTES, 0, bytes);
    header.put(out);
    seal(out, HEADER_BYTES, link)
}

/// Puts a completion; how long it is.
pub fn put_response(out: &mut [u8], entry: &CompletionEntry, link: &Link) -> usize {
    let bytes = HEADER_BYTES + link.header_digest_bytes();
    put_common(out, kind::RESPONSE, header_flag(link), HEADER_BYTES, 0, bytes);
    out[COMMON_BYTES..HEADER_BYTES].copy_from_slice(&entry.encode());
    seal(out, HEADER_BYTES, link)
}

/// Puts what comes in front of the data of a command capsule, for initiators; how long it is.
pub fn put_command(out: &mut [u8], command: &Command, data_bytes: usize, link: &Link) -> usize {
    let start = COMMAND_HEADER_BYTES + link.header_digest_bytes();
    let (offset, data_flag, bytes) = match data_bytes {
        0 => (0, 0, start),
        _ => (start, data_flag(link), start + data_bytes + link.data_digest_bytes()),
    };
    put_common(out, kind::COMMAND, header_flag(link) | data_flag, COMMAND_HEADER_BYTES, offset, bytes);
    out[COMMON_BYTES..COMMON_BYTES + COMMAND_BYTES].copy_from_slice(command.bytes());
    seal(out, COMMAND_HEADER_BYTES, link)
}

/// Puts a termination request of kind `which` with the beginning of the header that was wrong; how long it is.
pub fn put_termination(out: &mut [u8], which: u8, fatal: &Fatal, header: &[u8]) -> usize {
    let header = &header[..header.len().min(TERMINATION_DATA_BYTES_MAX)];
    let bytes = HEADER_BYTES + header.len();
    put_common(out, which, 0, HEADER_BYTES, 0, bytes);
    out[COMMON_BYTES..HEADER_BYTES].fill(0);
    put_u16(out, 8, fatal.status as u16);
    put_u32(out, 10, fatal.information);
    out[HEADER_BYTES..bytes].copy_from_slice(header);
    bytes
}
