//! The bounds of the server, and how they relate.

use std::time::Duration;

pub use quarry_target::limits::SHARE;
use quarry_types::SECTOR_BYTES;
use quarry_types::limits::REQUEST_BYTES_MAX;

/// Most queues of a device: as many as a guest may have processors for which it wants one each.
pub const QUEUES_MAX: usize = 64;
/// Most descriptors of a queue.
pub const QUEUE_SIZE_MAX: u16 = 1024;
/// Most pieces of memory of a front end.
pub const REGIONS_MAX: usize = 32;
/// Longest payload of a message on the control socket.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// Most bytes of the configuration space in one message (`VHOST_USER_MAX_CONFIG_SIZE`).
pub const CONFIG_BYTES_MAX: usize = 256;

/// Most descriptors of one request, the tables that they refer to included.
pub const DESCRIPTORS_MAX: usize = 1024;
/// Segments of data that a driver is told to use at most: with header and status they fit into a queue of 128.
pub const SEGMENTS_MAX: u32 = 126;
/// Bytes of one segment that a driver is told to use at most.
pub const SEGMENT_BYTES_MAX: u32 = 256 << 10;
/// Most ranges of one discard or one write zeroes.
pub const RANGES_MAX: u32 = 32;
/// Most sectors of one such range: 1 GiB.
pub const RANGE_SECTORS_MAX: u32 = (1 << 30) / SECTOR_BYTES as u32;
/// Most data of one request.
pub const DATA_BYTES_MAX: u32 = REQUEST_BYTES_MAX as u32;

/// Requests that a queue begins before others have their turn.
pub const TURN_REQUESTS_MAX: usize = 256;
/// How often it looks for more before that, as long as some have come.
pub const TURN_ROUNDS_MAX: usize = 8;
/// How long a new front end waits for the one before it to leave.
pub const TURN_TIME_MAX: Duration = Duration::from_secs(2);

const _: () = assert!(SEGMENTS_MAX * SEGMENT_BYTES_MAX <= DATA_BYTES_MAX);
const _: () = assert!(SEGMENTS_MAX as usize + 2 <= DESCRIPTORS_MAX);
