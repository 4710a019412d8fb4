//! The bounds of the transport, and how they relate.

use std::time::Duration;

use quarry_nvme::limits::{IO_ENTRIES_MAX, TRANSFER_BYTES_MAX, WORKING_BYTES_MAX};
use quarry_nvme_wire::CONNECT_DATA_BYTES;
use quarry_target::{ReceiveSizes, ShareBounds};

/// Most data in the capsule of a command on an admin queue: the transport specification says so.
pub const ADMIN_CAPSULE_BYTES_MAX: u32 = 8 << 10;
/// Most data in the capsule of a command on an I/O queue; Identify tells hosts (IOCCSZ).
pub const IO_CAPSULE_BYTES_MAX: u32 = 16 << 10;
/// Most data of one H2CData (MAXH2CDATA): one of them brings whatever a command may bring.
pub const DATA_BYTES_MAX: u32 = TRANSFER_BYTES_MAX;

/// Commands of one queue that are worked on.
pub const COMMANDS_MAX: usize = IO_ENTRIES_MAX as usize;
/// What a session may hold of its core's memory, in bytes.
pub const SESSION_BYTES_MAX: u64 = 32 << 20;
/// What a session may hold even when its core has no memory left.
pub const SESSION_BYTES_GUARANTEED: u64 = 256 << 10;
/// A send takes no more answers once it has this many bytes.
pub const SEND_BYTES_MAX: usize = 2 << 20;

/// Smallest receive: an idle session holds no more.
pub const RECEIVE_BYTES_MIN: usize = 4 << 10;
/// First receive of a session.
pub const RECEIVE_BYTES_START: usize = 16 << 10;
/// Largest receive that is parsed for PDUs.
pub const RECEIVE_BYTES_MAX: usize = 256 << 10;
/// Data from this size on is received into memory of its own.
pub const DATA_BYTES_DIRECT: usize = 32 << 10;

/// Time from the first byte to a connected queue.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Time for what is in flight when a session is asked to stop.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// Data that a host was asked for, and of which nothing comes for this long, ends the connection: it holds memory.
pub const TRANSFER_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a session that waits for memory looks for clients that hold it for nothing.
pub const STALL_CHECK_TIME: Duration = Duration::from_secs(5);

/// What a session may hold of its core's memory.
pub const SHARE: ShareBounds = ShareBounds {
    bytes_max: SESSION_BYTES_MAX,
    bytes_guaranteed: SESSION_BYTES_GUARANTEED,
    stall_time_max: Duration::from_secs(30),
};
/// How much is received at once.
pub const RECEIVE: ReceiveSizes = ReceiveSizes {
    bytes_min: RECEIVE_BYTES_MIN,
    bytes_start: RECEIVE_BYTES_START,
    bytes_max: RECEIVE_BYTES_MAX,
};

const _: () = assert!(SESSION_BYTES_MAX >= TRANSFER_BYTES_MAX as u64 + WORKING_BYTES_MAX);
const _: () = assert!(CONNECT_DATA_BYTES <= ADMIN_CAPSULE_BYTES_MAX as usize);
const _: () = assert!(COMMANDS_MAX.is_multiple_of(64), "the set of woken commands is made of 64-bit words");
const _: () = assert!(
    IO_CAPSULE_BYTES_MAX as usize + 512 <= RECEIVE_BYTES_MAX && DATA_BYTES_DIRECT + 512 <= RECEIVE_BYTES_MAX,
    "what is taken as a view fits into a receive with its headers"
);
