//! The bounds of the server, and how they relate.

use std::time::Duration;

pub use quarry_target::limits::{RECEIVE, SESSION_BYTES_MAX, SHARE, STALL_CHECK_TIME};
use quarry_types::SECTOR_BYTES;
use quarry_types::limits::REQUEST_BYTES_MAX;

/// Smallest unit of an offset or length ("Size constraints").
pub const BLOCK_BYTES_MIN: u32 = SECTOR_BYTES as u32;
/// Largest payload of a request or reply. Proto.md wants at least 2^25 to be accepted.
pub const PAYLOAD_BYTES_MAX: u32 = 32 << 20;

/// Requests of one session between their arrival and the end of the sending of their reply.
pub const REQUESTS_MAX: usize = 256;
/// A send takes no more replies once it has this many bytes.
pub const SEND_BYTES_MAX: usize = 2 << 20;

/// A payload from this size on, when it has not arrived with its header, is received into memory of its own.
pub const PAYLOAD_BYTES_DIRECT: usize = 32 << 10;

/// Longest string of the protocol ("Conventions").
pub const STRING_BYTES_MAX: usize = 4096;
/// Longest option that is looked at.
pub const OPTION_BYTES_MAX: u32 = 16 << 10;
/// Longest option that is skipped and refused; a longer one ends the connection.
pub const OPTION_BYTES_SKIPPED_MAX: u32 = 1 << 20;
/// Most options that one connection may send.
pub const OPTIONS_MAX: usize = 1024;
/// Extents in one reply. Proto.md allows 2^20; clients ask again where a reply ends.
pub const EXTENTS_MAX: usize = 4096;
/// Bytes of an error's message.
pub const MESSAGE_BYTES_MAX: usize = 512;
/// How much a `CACHE` request reads at most; the rest of its range is left alone.
pub const CACHE_BYTES_MAX: u64 = 32 << 20;
/// How much of it is read at once.
pub const CACHE_BYTES_AT_ONCE: u32 = 1 << 20;

/// Time for the whole negotiation.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(30);
/// Time for what is in flight when a session is asked to stop.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(PAYLOAD_BYTES_MAX as usize <= REQUEST_BYTES_MAX);
const _: () = assert!(SESSION_BYTES_MAX >= PAYLOAD_BYTES_MAX as u64);
const _: () =
    assert!(PAYLOAD_BYTES_DIRECT + 4096 <= RECEIVE.bytes_max, "an indirect payload fits into a receive");
