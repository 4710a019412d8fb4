//! Every bound, by name, and how they relate.

use std::time::Duration;

/// Requests of one connection that the server has not answered.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// Bytes that they read and write; a larger one goes alone.
pub const IN_FLIGHT_BYTES_MAX: u64 = 16 << 20;
/// Bytes of writes that no flush has covered yet. They are kept, to be written again to a server that has restarted.
pub const UNFLUSHED_BYTES_MAX: u64 = 32 << 20;
/// Largest payload that a server must take when it says nothing (NBD: proto.md, "Block size constraints").
pub const PAYLOAD_BYTES_MAX: u32 = 32 << 20;
/// Largest range of one request without a payload.
pub const TRIM_BYTES_MAX: u32 = 1 << 30;

/// How long connecting and negotiating may take.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// A server that owes replies and sends nothing for so long is taken for dead.
pub const RESPONSE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long one may be away, counted from the end of the last connection that answered anything.
pub const OUTAGE_TIME_MAX: Duration = Duration::from_secs(15);
/// How long one request may go without an answer while others get theirs.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(25);
/// Pause between attempts to connect.
pub const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long after the end of its connection a request may still be carried out by the server. See the crate's invariants.
pub const LATE_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a process may use a disk after the beginning of the last renewal of its claim.
pub const LEASE_TIME: Duration = Duration::from_secs(10);
/// How often a claim is renewed.
pub const RENEW_PAUSE: Duration = Duration::from_secs(3);
/// How long a new claim must stand before it counts.
pub const SETTLE_TIME: Duration = Duration::from_millis(500);
/// How often somebody looks whether another core's write of the same range has ended.
pub const CONFLICT_PAUSE: Duration = Duration::from_millis(1);

/// Hosts give a command 30 s before they reset what they use; a pool has to have turned to another copy by then.
const HOST_TIME: Duration = Duration::from_secs(30);
const _: () = assert!(RESPONSE_TIME_MAX.as_millis() + OUTAGE_TIME_MAX.as_millis() < HOST_TIME.as_millis());
const _: () = assert!(LATE_TIME_MAX.as_millis() < HOST_TIME.as_millis(), "a commit may have to wait for it");
const _: () = assert!(CONNECT_TIME_MAX.as_millis() < OUTAGE_TIME_MAX.as_millis());
const _: () = assert!(2 * RENEW_PAUSE.as_millis() < LEASE_TIME.as_millis(), "one renewal may fail");
const _: () = assert!(LATE_TIME_MAX.as_millis() > OUTAGE_TIME_MAX.as_millis());
const _: () =
    assert!(UNFLUSHED_BYTES_MAX >= 2 * IN_FLIGHT_BYTES_MAX, "what is in flight may all be unflushed");
