//! Every bound, by name, and how they relate.

use std::time::Duration;

/// Bytes of an object behind the header of a device.
pub const OBJECT_BYTES: u64 = 1 << 20;
/// Bytes of an object in the header: labels and anchors are small and written one by one.
pub const HEADER_OBJECT_BYTES: u64 = 64 << 10;
/// Requests to one bucket that have not been answered.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 32;
/// Objects that are kept in memory because a part of them was written lately: the next part needs no reading.
pub const KEPT_OBJECTS_MAX: usize = 16;

/// How long connecting may take.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long one request may take.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a request for a claim may take: one that is not answered does not cost the lease.
pub const CLAIM_TIME_MAX: Duration = Duration::from_millis(2_500);
/// How long a request is sent again and again before it fails. Who has another copy does not wait so long (`quarry-pool`); who has none would
/// rather wait than hear of an error.
pub const OUTAGE_TIME_MAX: Duration = Duration::from_secs(120);
/// The first pause before a request is sent again; each is twice as long as the one before, up to [`RETRY_PAUSE_MAX`].
pub const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// See [`RETRY_PAUSE`].
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long after a request that was not answered, or answered with an error, it may still be carried out.
pub const LATE_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a process may write after the beginning of the last renewal of its claim.
pub const LEASE_TIME: Duration = Duration::from_secs(10);
/// How often a claim is renewed.
pub const RENEW_PAUSE: Duration = Duration::from_secs(3);
/// How long a new claim must stand before it counts, and how long writing one may take.
pub const SETTLE_TIME: Duration = Duration::from_secs(1);

const _: () = assert!(LATE_TIME_MAX.as_millis() > REQUEST_TIME_MAX.as_millis());
const _: () = assert!(
    RENEW_PAUSE.as_millis()
        + CLAIM_TIME_MAX.as_millis()
        + SETTLE_TIME.as_millis()
        + CLAIM_TIME_MAX.as_millis()
        < LEASE_TIME.as_millis(),
    "one request for a renewal may get lost"
);
const _: () = assert!(
    LATE_TIME_MAX.as_millis() + 2 * REQUEST_TIME_MAX.as_millis()
        <= quarry_types::limits::OBJECT_PATIENCE_EXTRA.as_millis(),
    "what waits for a request in doubt is no sign of a dead device"
);
const _: () = assert!(quarry_types::limits::DEVICE_HEADER_BYTES.is_multiple_of(HEADER_OBJECT_BYTES));
