//! The bounds of what a node exports and whom it serves.

use std::time::Duration;

use crate::{ReceiveSizes, ShareBounds};

/// Most connections to one node, of all protocols, those that still negotiate among them.
pub const SESSIONS_MAX: usize = 4096;
/// Those among them of which nothing is known: handshakes and logins under way, and discovery. The oldest gives way.
pub const STRANGERS_MAX: usize = SESSIONS_MAX / 4;
/// Most exports of one node.
pub const EXPORTS_MAX: usize = quarry_types::limits::VOLUMES_MAX;
/// Most hosts of one node.
pub const HOSTS_MAX: usize = 4096;
/// Highest LUN or namespace id: what single-level LUNs of SAM-5 can say.
pub const UNIT_NUMBER_MAX: u32 = 16383;
/// Most initiators that are registered for reservations of one volume.
pub const REGISTRATIONS_MAX: usize = 256;
/// Longest name of an export, in bytes.
pub const EXPORT_NAME_BYTES_MAX: usize = 255;

/// What the requests of one session may hold of memory, in bytes.
pub const SESSION_BYTES_MAX: u64 = 64 << 20;
/// What a session may hold even when its core has no memory left.
pub const SESSION_BYTES_GUARANTEED: u64 = 256 << 10;
/// A client that takes nothing for this long is cut off when others wait for the memory that it holds.
pub const STALL_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a session that waits for memory looks for such clients.
pub const STALL_CHECK_TIME: Duration = Duration::from_secs(5);

/// Pause after an error of accept, for example when file descriptors have run out; doubled up to the second figure.
pub const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What a session may hold of its core's memory.
pub const SHARE: ShareBounds = ShareBounds {
    bytes_max: SESSION_BYTES_MAX,
    bytes_guaranteed: SESSION_BYTES_GUARANTEED,
    stall_time_max: STALL_TIME_MAX,
};
/// How much is received at once: an idle session holds 4 KiB, up to 256 KiB are parsed for requests.
pub const RECEIVE: ReceiveSizes =
    ReceiveSizes { bytes_min: 4 << 10, bytes_start: 16 << 10, bytes_max: 256 << 10 };

const _: () = assert!(RECEIVE.bytes_min <= RECEIVE.bytes_start && RECEIVE.bytes_start <= RECEIVE.bytes_max);
const _: () = assert!(EXPORT_NAME_BYTES_MAX >= quarry_types::limits::NAME_BYTES_MAX);
