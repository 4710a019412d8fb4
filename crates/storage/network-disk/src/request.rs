//! Requests: what the disk is asked.

use std::io;
use std::ops::Range;
use std::time::Duration;

use quarry_env::{Buffer, Completer, View};

/// What a server is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Read,
    Write,
    Flush,
    Trim,
}

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
    pub error: Option<io::Error>,
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

    /// What it asks the server to do.
    pub fn verb(&self) -> Verb {
        match self.work {
            Work::Read { .. } | Work::ReadClaim { .. } => Verb::Read,
            Work::Write { .. } | Work::Restore { .. } | Work::WriteClaim { .. } => Verb::Write,
            Work::Flush { .. } => Verb::Flush,
            Work::Trim { .. } => Verb::Trim,
        }
    }

    /// What it writes.
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
