//! Transmission (proto.md, "Transmission"): requests and replies as two halves, so that one thread can keep sending
//! while another receives.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::Shutdown;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::handshake::{ExportInfo, negotiate, read_u16, read_u32, read_u64};
use super::wire::*;

/// A server that says nothing for so long counts as dead.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const RECEIVE_BUFFER_BYTES: usize = 256 << 10;

/// A connection to one export.
pub struct Client {
    /// What the server said about the export.
    pub info: ExportInfo,
    requests: Requests,
    replies: Replies,
}

impl Client {
    /// Connects and negotiates `export`, with structured replies or simple ones.
    pub fn connect(socket: &Path, export: &str, structured: bool) -> Result<Self> {
        let mut stream =
            UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        let info = negotiate(&mut stream, export, structured)?;
        let replies = Replies {
            stream: BufReader::with_capacity(RECEIVE_BUFFER_BYTES, stream.try_clone()?),
            structured,
            partial: BTreeMap::new(),
        };
        Ok(Self { info, requests: Requests { stream }, replies })
    }

    /// The two halves.
    pub fn split(self) -> (Requests, Replies) {
        (self.requests, self.replies)
    }

    /// Reads a range and waits for it.
    pub fn read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>> {
        self.requests.send(0, Command::Read, 0, offset, length, &[])?;
        let reply = self.replies.receive(|_| Some(offset..offset + u64::from(length)))?;
        ensure!(reply.error == 0, "a read failed with NBD error {}", reply.error);
        Ok(reply.data)
    }

    /// Runs a command without data in its reply and waits for it; returns the NBD error, 0 for none.
    pub fn call(
        &mut self,
        command: Command,
        flags: u16,
        offset: u64,
        length: u32,
        data: &[u8],
    ) -> Result<u32> {
        self.requests.send(0, command, flags, offset, length, data)?;
        Ok(self.replies.receive(|_| Some(0..0))?.error)
    }
}

/// The sending half.
pub struct Requests {
    stream: UnixStream,
}

impl Requests {
    /// Sends one request. `data` is empty for all but writes.
    pub fn send(
        &mut self,
        cookie: u64,
        command: Command,
        flags: u16,
        offset: u64,
        length: u32,
        data: &[u8],
    ) -> std::io::Result<()> {
        let mut header = [0; 28];
        header[0..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        header[4..6].copy_from_slice(&flags.to_be_bytes());
        header[6..8].copy_from_slice(&(command as u16).to_be_bytes());
        header[8..16].copy_from_slice(&cookie.to_be_bytes());
        header[16..24].copy_from_slice(&offset.to_be_bytes());
        header[24..28].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&header)?;
        self.stream.write_all(data)
    }

    /// Says good-bye and closes; the other half sees the end of the stream.
    pub fn disconnect(mut self) {
        // The server may be gone already, and then there is nobody to take leave of.
        let _ = self.send(0, Command::Disconnect, 0, 0, 0, &[]);
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// The answer to one request.
#[derive(Debug)]
pub struct Reply {
    /// As the request had it.
    pub cookie: u64,
    /// NBD error, 0 for none.
    pub error: u32,
    /// Data of a read that succeeded.
    pub data: Vec<u8>,
}

/// A structured reply of which some chunks are still to come.
struct Partial {
    offset: u64,
    data: Vec<u8>,
    received: u64,
    error: u32,
}

/// The receiving half.
pub struct Replies {
    stream: BufReader<UnixStream>,
    structured: bool,
    partial: BTreeMap<u64, Partial>,
}

impl Replies {
    /// Waits for the next complete reply. `expected` tells which bytes of the export the request with a cookie
    /// reads (none for all but reads), and `None` for a cookie that is not in flight.
    pub fn receive(&mut self, expected: impl Fn(u64) -> Option<Range<u64>>) -> Result<Reply> {
        loop {
            match read_u32(&mut self.stream)? {
                SIMPLE_REPLY_MAGIC => return self.simple(&expected),
                STRUCTURED_REPLY_MAGIC if self.structured => {
                    if let Some(reply) = self.chunk(&expected)? {
                        return Ok(reply);
                    }
                }
                magic => bail!("a reply begins with {magic:#x}"),
            }
        }
    }

    /// Shuts the connection down, which also ends a thread that is sending.
    pub fn close(&self) {
        // It may be closed already.
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
    }

    fn simple(&mut self, expected: &impl Fn(u64) -> Option<Range<u64>>) -> Result<Reply> {
        let error = read_u32(&mut self.stream)?;
        let cookie = read_u64(&mut self.stream)?;
        let range = expected(cookie).with_context(|| format!("a reply to unknown request {cookie}"))?;
        let length = range.end - range.start;
        ensure!(
            !self.structured || length == 0,
            "a simple reply to a read although structured ones were agreed"
        );
        let mut data = vec![0; if error == 0 { length as usize } else { 0 }];
        self.stream.read_exact(&mut data)?;
        Ok(Reply { cookie, error, data })
    }

    /// Takes one chunk; returns the reply when it was the last one.
    fn chunk(&mut self, expected: &impl Fn(u64) -> Option<Range<u64>>) -> Result<Option<Reply>> {
        let flags = read_u16(&mut self.stream)?;
        let kind = read_u16(&mut self.stream)?;
        let cookie = read_u64(&mut self.stream)?;
        let length = read_u32(&mut self.stream)?;
        let wanted = expected(cookie).with_context(|| format!("a chunk for unknown request {cookie}"))?;
        let mut partial = self.partial.remove(&cookie).unwrap_or_else(|| Partial {
            offset: wanted.start,
            data: vec![0; (wanted.end - wanted.start) as usize],
            received: 0,
            error: 0,
        });
        self.take_chunk(kind, length, &mut partial)?;
        if flags & CHUNK_FLAG_DONE == 0 {
            self.partial.insert(cookie, partial);
            return Ok(None);
        }
        let Partial { mut data, received, error, .. } = partial;
        if error != 0 {
            data.clear();
        } else {
            ensure!(
                received == data.len() as u64,
                "a read of {} bytes was answered with {received}",
                data.len()
            );
        }
        Ok(Some(Reply { cookie, error, data }))
    }

    fn take_chunk(&mut self, kind: u16, length: u32, partial: &mut Partial) -> Result<()> {
        match kind {
            CHUNK_NONE => ensure!(length == 0, "a NONE chunk with {length} bytes"),
            CHUNK_OFFSET_DATA => {
                ensure!(length > 8, "a data chunk of {length} bytes");
                let offset = read_u64(&mut self.stream)?;
                let range = range_in(partial, offset, length - 8)?;
                self.stream.read_exact(&mut partial.data[range])?;
                partial.received += u64::from(length - 8);
            }
            CHUNK_OFFSET_HOLE => {
                ensure!(length == 12, "a hole chunk of {length} bytes");
                let offset = read_u64(&mut self.stream)?;
                let hole = read_u32(&mut self.stream)?;
                let range = range_in(partial, offset, hole)?;
                partial.data[range].fill(0);
                partial.received += u64::from(hole);
            }
            _ if kind & CHUNK_ERROR_BIT != 0 => {
                ensure!((6..=MESSAGE_BYTES_MAX as u32).contains(&length), "an error chunk of {length} bytes");
                let mut payload = vec![0; length as usize];
                self.stream.read_exact(&mut payload)?;
                partial.error = u32::from_be_bytes(payload[..4].try_into().expect("four bytes"));
                ensure!(partial.error != 0, "an error chunk without an error");
            }
            _ => bail!("a chunk of unknown type {kind}"),
        }
        Ok(())
    }
}

/// Where in the answer the `length` bytes at `offset` of the export belong.
fn range_in(partial: &Partial, offset: u64, length: u32) -> Result<Range<usize>> {
    let start =
        offset.checked_sub(partial.offset).context("a chunk begins before the range that was read")?;
    let end = start + u64::from(length);
    ensure!(end <= partial.data.len() as u64, "a chunk ends behind the range that was read");
    Ok(start as usize..end as usize)
}
