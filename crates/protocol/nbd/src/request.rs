//! What a client may ask for: the rules of proto.md "Request types", "Command flags" and "Size constraints", without I/O.

use crate::constants::{command_flags as flag, commands};
use crate::limits::BLOCK_BYTES_MIN;
use crate::status::Errno;
use crate::wire::{RequestHeader, Style, u32_at, u64_at};

/// The id of `base:allocation`, the only metadata context.
pub const CONTEXT_ID: u32 = 1;
/// Bytes of a valid payload of `BLOCK_STATUS`: the effect length and the one context.
pub const STATUS_PAYLOAD_BYTES: u64 = 12;

/// What was agreed with a client, and the facts of its volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Form of requests and replies.
    pub style: Style,
    /// Size of the volume in bytes.
    pub size_bytes: u64,
    /// Largest payload in either direction, in bytes.
    pub payload_bytes_max: u32,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether the client selected `base:allocation`.
    pub block_status: bool,
}

/// Why a request is not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The error value.
    pub error: Errno,
    /// A text for people.
    pub message: &'static str,
    /// Where the range leaves the volume, if that is what is wrong: only then may a grown volume change the verdict.
    pub beyond: Option<u64>,
}

impl Refusal {
    /// A refusal that no growth of the volume changes.
    pub const fn new(error: Errno, message: &'static str) -> Self {
        Self { error, message, beyond: None }
    }

    const fn invalid(message: &'static str) -> Self {
        Self::new(Errno::Invalid, message)
    }
}

/// What requests get that a reservation of another host forbids.
pub const RESERVED: Refusal = Refusal::new(Errno::NotPermitted, "another host has reserved the volume");

/// What requests get that arrive after the server was told to stop.
pub const STOPPING: Refusal = Refusal::new(Errno::Shutdown, "the server is stopping");

impl RequestHeader {
    /// Bytes of payload that follow the header.
    ///
    /// A write has its payload also without `PAYLOAD_LEN`, which extended headers demand: the client of QEMU (10.0 at
    /// least) forgets the flag and sends the data, and QEMU's server lets that pass.
    pub fn payload_bytes(&self, style: Style) -> u64 {
        let flagged = style == Style::Extended && self.has(flag::PAYLOAD_LEN);
        if flagged || self.command == commands::WRITE { self.length } else { 0 }
    }

    /// Whether a command flag is set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Whether the client filters the contexts of a `BLOCK_STATUS`, so that the range is known only with the payload.
    pub fn is_filtered_status(&self) -> bool {
        self.command == commands::BLOCK_STATUS && self.has(flag::PAYLOAD_LEN)
    }

    /// The request that a `BLOCK_STATUS` with this payload means: its effect length lies in the payload.
    pub fn with_status_payload(mut self, payload: &[u8]) -> Result<Self, Refusal> {
        if payload.len() as u64 != STATUS_PAYLOAD_BYTES || u32_at(payload, 8) != CONTEXT_ID {
            return Err(Refusal::invalid("unknown metadata context id"));
        }
        self.flags &= !flag::PAYLOAD_LEN;
        self.length = u64_at(payload, 0);
        Ok(self)
    }
}

impl Terms {
    /// The flags that a command may carry, or nothing if there is no such command.
    fn flags_of(&self, command: u16) -> Option<u16> {
        let when = |condition: bool, flag: u16| if condition { flag } else { 0 };
        let extended = self.style == Style::Extended;
        let own = match command {
            commands::READ => when(self.style.has_chunks(), flag::DF),
            commands::WRITE => when(extended, flag::PAYLOAD_LEN),
            commands::FLUSH | commands::TRIM | commands::CACHE => 0,
            commands::WRITE_ZEROES => flag::NO_HOLE | flag::FAST_ZERO,
            commands::BLOCK_STATUS => flag::REQ_ONE | when(extended && self.block_status, flag::PAYLOAD_LEN),
            _ => return None,
        };
        Some(own | flag::FUA)
    }

    /// Whether the request may be carried out.
    pub fn check(&self, request: &RequestHeader) -> Result<(), Refusal> {
        let allowed = self.flags_of(request.command).ok_or(Refusal::invalid("unknown command"))?;
        if request.flags & !allowed != 0 {
            return Err(Refusal::invalid("a flag that this command does not have"));
        }
        match request.command {
            commands::READ => {
                self.check_range(request, Errno::Invalid).and_then(|()| self.check_read(request))
            }
            commands::WRITE | commands::WRITE_ZEROES => self.check_change(request, Errno::NoSpace),
            commands::TRIM => self.check_change(request, Errno::Invalid),
            commands::FLUSH if request.offset != 0 || request.length != 0 => {
                Err(Refusal::invalid("a flush has neither offset nor length"))
            }
            commands::BLOCK_STATUS => self.check_status(request),
            commands::CACHE => self.check_range(request, Errno::Invalid),
            _ => Ok(()),
        }
    }

    fn check_change(&self, request: &RequestHeader, beyond: Errno) -> Result<(), Refusal> {
        if self.read_only {
            return Err(Refusal::new(Errno::NotPermitted, "the export is read-only"));
        }
        self.check_range(request, beyond)?;
        if request.has(flag::FAST_ZERO) && request.has(flag::NO_HOLE) {
            return Err(Refusal::new(Errno::NotSupported, "allocated zeroes are as slow as a write"));
        }
        Ok(())
    }

    fn check_read(&self, request: &RequestHeader) -> Result<(), Refusal> {
        match request.length > u64::from(self.payload_bytes_max) {
            false => Ok(()),
            true if self.style.has_chunks() => {
                Err(Refusal::new(Errno::Overflow, "longer than the largest payload"))
            }
            true => Err(Refusal::invalid("longer than the largest payload")),
        }
    }

    fn check_status(&self, request: &RequestHeader) -> Result<(), Refusal> {
        if !self.block_status {
            return Err(Refusal::invalid("no metadata context was selected"));
        }
        if request.has(flag::PAYLOAD_LEN) {
            return match request.length {
                STATUS_PAYLOAD_BYTES => Ok(()),
                _ => Err(Refusal::invalid("a malformed list of metadata contexts")),
            };
        }
        if request.length == 0 {
            return Err(Refusal::invalid("the status of nothing"));
        }
        self.check_range(request, Errno::Invalid)
    }

    fn check_range(&self, request: &RequestHeader, beyond: Errno) -> Result<(), Refusal> {
        if !(request.offset | request.length).is_multiple_of(u64::from(BLOCK_BYTES_MIN)) {
            return Err(Refusal::invalid("not aligned to the minimum block size"));
        }
        match request.offset.checked_add(request.length) {
            Some(end) if end <= self.size_bytes => Ok(()),
            _ => Err(Refusal {
                error: beyond,
                message: "behind the end of the volume",
                beyond: Some(request.offset.max(self.size_bytes)),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
