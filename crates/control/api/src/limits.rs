//! The bounds of the API server.

use std::time::Duration;

/// Most bytes in the body of a request. The largest honest one, a pool over 64 long paths, has some 270 KiB.
pub const REQUEST_BYTES_MAX: usize = 512 << 10;
/// Most connections at once; others wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 256;
/// How long a connection may take to send the head of its next request: a silent one is closed.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take to send the body of a request.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long running requests may go on once the server has been told to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of a request's id that a client may choose.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// Most items in a page of a list.
pub const PAGE_ITEMS_MAX: usize = 1000;
/// Most bytes of a key by which a change is known when it is sent again.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Most changes whose answers are remembered for when they are sent again.
pub const REPEATS_MAX: usize = 1024;
/// Most bytes of these answers.
pub const REPEATS_BYTES_MAX: usize = 8 << 20;
/// Most clients that watch at the same time.
pub const WATCHES_MAX: usize = 32;
/// Most of these of one user, by whatever tokens.
pub const WATCHES_OF_USER_MAX: usize = 8;
/// Most of these of one tenant's users.
pub const WATCHES_OF_TENANT_MAX: usize = WATCHES_MAX / 2;
/// Most of these of all tenants' users; the others are for those whose node it is.
pub const WATCHES_OF_TENANTS_MAX: usize = WATCHES_MAX - WATCHES_OF_USER_MAX;
