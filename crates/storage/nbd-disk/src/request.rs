//! Requests: what the disk is asked, and how it looks on the wire (proto.md, "Request message").

use std::io;
use std::ops::Range;
use std::time::Duration;

use quarry_env::{Buffer, Completer, View};
use quarry_nbd_wire::{REQUEST_MAGIC, commands};

/// Bytes of a request without its payload.
pub const HEADER_BYTES: usize = 28;

/// What is to be done, and who waits for it.
pub enum Work {
    /// Fill the buffer. It is out while a part of it is being received.
    Read { buffer: Option<Buffer>, received: u32, completer: Completer<(Buffer, io::Result<()>)> },
    /// Write.
    Write { data: Vec<View>, completer: Completer<io::Result<()>> },
    /// Write again what was answered over a connection that has ended and not flushed; nobody waits.
    Restore { data: Vec<View> },
    /// Make the first `covers` completed writes durable. Nobody waits for those that the client itself wants.
    Flush { covers: u64, completer: Option<Completer<io::Result<()>>> },
    /// Read the claim, whatever else is the case.
    ReadClaim { buffer: Option<Buffer>, received: u32, completer: Completer<(Buffer, io::Result<()>)> },
    /// Write the claim, whatever else is the case.
    WriteClaim { data: Vec<View>, completer: Completer<io::Result<()>> },
    /// Give a range back.
    Trim { completer: Completer<io::Result<()>> },
}

/// A request that was taken.
pub struct Request {
    pub work: Work,
    pub offset: u64,
    pub length: u32,
    /// When it was taken.
    pub begun: Duration,
    /// When it was sent last.
    pub sent: Duration,
    /// The error that the server has answered with so far; the first counts.
    pub error: Option<u32>,
}

impl Request {
    /// A request taken now.
    pub fn new(work: Work, offset: u64, length: u32, now: Duration) -> Self {
        Self { work, offset, length, begun: now, sent: now, error: None }
    }

    /// Its range.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.length)
    }

    /// Whether it changes what is in its range.
    pub fn changes_range(&self) -> bool {
        matches!(self.work, Work::Write { .. } | Work::Restore { .. } | Work::Trim { .. })
    }

    /// Whether it is for the claim, and goes before everything else.
    pub fn is_for_claim(&self) -> bool {
        matches!(self.work, Work::ReadClaim { .. } | Work::WriteClaim { .. })
    }

    /// Bytes that it moves over the connection.
    pub fn payload_bytes(&self) -> u64 {
        match self.work {
            Work::Flush { .. } | Work::Trim { .. } => 0,
            _ => self.length.into(),
        }
    }

    /// Where the answer of a read goes, and how much of it has come.
    pub fn buffer_of_read(&mut self) -> Option<(&mut Option<Buffer>, &mut u32)> {
        match &mut self.work {
            Work::Read { buffer, received, .. } | Work::ReadClaim { buffer, received, .. } => {
                Some((buffer, received))
            }
            _ => None,
        }
    }

    /// Its header, under a cookie.
    pub fn header(&self, cookie: u64) -> [u8; HEADER_BYTES] {
        let command = match self.work {
            Work::Read { .. } | Work::ReadClaim { .. } => commands::READ,
            Work::Write { .. } | Work::Restore { .. } | Work::WriteClaim { .. } => commands::WRITE,
            Work::Flush { .. } => commands::FLUSH,
            Work::Trim { .. } => commands::TRIM,
        };
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        header[6..8].copy_from_slice(&command.to_be_bytes());
        header[8..16].copy_from_slice(&cookie.to_be_bytes());
        header[16..24].copy_from_slice(&self.offset.to_be_bytes());
        header[24..].copy_from_slice(&self.length.to_be_bytes());
        header
    }

    /// What follows its header.
    pub fn payload(&self) -> &[View] {
        match &self.work {
            Work::Write { data, .. } | Work::Restore { data } | Work::WriteClaim { data, .. } => data,
            _ => &[],
        }
    }

    /// Forgets what a connection that has ended has answered in part.
    pub fn begin_again(&mut self) {
        self.error = None;
        if let Work::Read { received, .. } | Work::ReadClaim { received, .. } = &mut self.work {
            *received = 0;
        }
    }

    /// Tells whoever waits that it has failed.
    pub fn fail(self, error: io::Error) {
        match self.work {
            Work::Read { buffer, completer, .. } | Work::ReadClaim { buffer, completer, .. } => {
                completer.complete((buffer.expect("it is back before anybody is told"), Err(error)));
            }
            Work::Write { completer, .. } | Work::WriteClaim { completer, .. } | Work::Trim { completer } => {
                completer.complete(Err(error));
            }
            Work::Flush { completer, .. } => {
                if let Some(completer) = completer {
                    completer.complete(Err(error));
                }
            }
            Work::Restore { .. } => {}
        }
    }
}
