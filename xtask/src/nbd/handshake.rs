//! Fixed newstyle negotiation (proto.md, "Newstyle negotiation").

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Result, bail, ensure};

use super::wire::*;

/// What the server says about an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExportInfo {
    /// Size in bytes.
    pub size_bytes: u64,
    /// Transmission flags.
    pub flags: u16,
    /// Smallest request.
    pub block_bytes_min: u32,
    /// Largest request with data.
    pub request_bytes_max: u32,
}

impl ExportInfo {
    /// Whether several connections see each other's completed writes and flush for each other.
    pub fn can_multi_conn(&self) -> bool {
        self.flags & TRANSMISSION_CAN_MULTI_CONN != 0
    }

    /// Fails unless the export takes all that the oracle does.
    pub fn require_all_commands(&self) -> Result<()> {
        for (flag, name) in [
            (TRANSMISSION_SEND_FLUSH, "FLUSH"),
            (TRANSMISSION_SEND_FUA, "FUA"),
            (TRANSMISSION_SEND_TRIM, "TRIM"),
            (TRANSMISSION_SEND_WRITE_ZEROES, "WRITE_ZEROES"),
        ] {
            ensure!(self.flags & flag != 0, "the export does not offer {name}");
        }
        ensure!(self.flags & TRANSMISSION_READ_ONLY == 0, "the export is read only");
        Ok(())
    }
}

/// Negotiates `export` on a fresh connection.
pub fn negotiate(stream: &mut UnixStream, export: &str, structured: bool) -> Result<ExportInfo> {
    ensure!(read_u64(stream)? == INIT_MAGIC, "this is no NBD server");
    ensure!(read_u64(stream)? == OPTION_MAGIC, "the server speaks oldstyle only");
    let server_flags = read_u16(stream)?;
    ensure!(server_flags & HANDSHAKE_FIXED_NEWSTYLE != 0, "the server does not speak fixed newstyle");
    let client_flags = HANDSHAKE_FIXED_NEWSTYLE | server_flags & HANDSHAKE_NO_ZEROES;
    stream.write_all(&u32::from(client_flags).to_be_bytes())?;
    if structured {
        send_option(stream, OPTION_STRUCTURED_REPLY, &[])?;
        let (kind, _) = read_option_reply(stream, OPTION_STRUCTURED_REPLY)?;
        ensure!(kind == REPLY_ACK, "the server refuses structured replies");
    }
    go(stream, export)
}

fn go(stream: &mut UnixStream, export: &str) -> Result<ExportInfo> {
    let mut payload = u32::try_from(export.len())?.to_be_bytes().to_vec();
    payload.extend_from_slice(export.as_bytes());
    payload.extend_from_slice(&1u16.to_be_bytes());
    payload.extend_from_slice(&INFO_BLOCK_SIZE.to_be_bytes());
    send_option(stream, OPTION_GO, &payload)?;
    // What holds when the server says nothing (proto.md, "Block size constraints").
    let mut info = ExportInfo { size_bytes: 0, flags: 0, block_bytes_min: 512, request_bytes_max: 32 << 20 };
    loop {
        let (kind, payload) = read_option_reply(stream, OPTION_GO)?;
        match kind {
            REPLY_ACK => break,
            REPLY_INFO => read_info(&payload, &mut info)?,
            _ => bail!("option reply {kind:#x} to GO"),
        }
    }
    ensure!(info.size_bytes > 0, "the server did not say how large export '{export}' is");
    Ok(info)
}

fn read_info(payload: &[u8], info: &mut ExportInfo) -> Result<()> {
    let at = |range: std::ops::Range<usize>| {
        payload.get(range).map(|bytes| bytes.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte)))
    };
    match at(0..2) {
        Some(kind) if kind == u64::from(INFO_EXPORT) => {
            let (Some(size), Some(flags)) = (at(2..10), at(10..12)) else {
                bail!("INFO_EXPORT is too short")
            };
            (info.size_bytes, info.flags) = (size, flags as u16);
        }
        Some(kind) if kind == u64::from(INFO_BLOCK_SIZE) => {
            let (Some(min), Some(max)) = (at(2..6), at(10..14)) else {
                bail!("INFO_BLOCK_SIZE is too short")
            };
            (info.block_bytes_min, info.request_bytes_max) = (min as u32, max as u32);
        }
        // Information that nobody asked for may be ignored.
        Some(_) => {}
        None => bail!("an INFO reply without a type"),
    }
    Ok(())
}

fn send_option(stream: &mut UnixStream, option: u32, payload: &[u8]) -> Result<()> {
    let mut message = OPTION_MAGIC.to_be_bytes().to_vec();
    message.extend_from_slice(&option.to_be_bytes());
    message.extend_from_slice(&u32::try_from(payload.len())?.to_be_bytes());
    message.extend_from_slice(payload);
    Ok(stream.write_all(&message)?)
}

fn read_option_reply(stream: &mut UnixStream, option: u32) -> Result<(u32, Vec<u8>)> {
    ensure!(read_u64(stream)? == OPTION_REPLY_MAGIC, "wrong magic in an option reply");
    ensure!(read_u32(stream)? == option, "an option reply to another option");
    let kind = read_u32(stream)?;
    let length = read_u32(stream)? as usize;
    ensure!(length <= MESSAGE_BYTES_MAX, "an option reply of {length} bytes");
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    if kind & REPLY_ERROR_BIT != 0 {
        bail!("the server refuses option {option} with {kind:#x}: {}", String::from_utf8_lossy(&payload));
    }
    Ok((kind, payload))
}

pub fn read_u16(stream: &mut impl Read) -> std::io::Result<u16> {
    let mut bytes = [0; 2];
    stream.read_exact(&mut bytes)?;
    Ok(u16::from_be_bytes(bytes))
}

pub fn read_u32(stream: &mut impl Read) -> std::io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

pub fn read_u64(stream: &mut impl Read) -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}
