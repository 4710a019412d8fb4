//! The bounds of the server, and how they relate.

use std::time::Duration;

use quarry_target::limits::{RECEIVE, SESSION_BYTES_MAX};

/// Commands of one session between their arrival and their answer: the window that initiators are given.
pub const WINDOW: u32 = 128;
/// Immediate commands beside them.
pub const IMMEDIATE_MAX: usize = 32;
/// Commands of one session that are worked on at once.
pub const REQUESTS_MAX: usize = WINDOW as usize + IMMEDIATE_MAX;
/// Task management beside those.
pub const MANAGEMENT_MAX: usize = 16;
/// Longest data segment that is received.
pub const DATA_SEGMENT_BYTES_MAX: usize = 256 << 10;
/// Longest data segment of a login (RFC 7143 section 13.12: the default until it is negotiated).
pub const LOGIN_SEGMENT_BYTES_MAX: usize = 8192;
/// Shortest data segment that an initiator may declare.
pub const DATA_SEGMENT_BYTES_MIN: u32 = 512;
/// Most data that is sent without being asked for.
pub const FIRST_BURST_BYTES: u32 = 256 << 10;
/// Most data of one sequence.
pub const BURST_BYTES: u32 = 1 << 20;
/// A data segment from this size on, when it has not arrived with its header, is received to where it stays.
pub const SEGMENT_BYTES_DIRECT: usize = 32 << 10;
/// A send takes no more answers once it has this many bytes.
pub const SEND_BYTES_MAX: usize = 2 << 20;
/// Answers without data of the volume wait in memory up to this many bytes; then nothing is received.
pub const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Text of one login or text request, over all its parts.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// Keys of one text.
pub const KEYS_MAX: usize = 128;
/// Longest key (RFC 7143 section 6.1).
pub const KEY_BYTES_MAX: usize = 63;
/// Longest value.
pub const VALUE_BYTES_MAX: usize = 8192;
/// Longest iSCSI name (RFC 7143 section 4.2.7.2).
pub const NAME_BYTES_MAX: usize = 223;
/// Longest CHAP challenge and response that is looked at.
pub const CHAP_BYTES_MAX: usize = 1024;
/// Requests of one login.
pub const LOGIN_REQUESTS_MAX: usize = 64;

/// How long a discovery session lasts.
pub const DISCOVERY_TIME_MAX: Duration = Duration::from_secs(60);
/// Time for a whole login.
pub const LOGIN_TIME_MAX: Duration = Duration::from_secs(15);
/// How long a new session waits for the end of the one that it takes the place of: longer than [`STOP_TIME_MAX`].
pub const REINSTATEMENT_TIME_MAX: Duration = Duration::from_secs(12);
/// An initiator that has been silent for so long is asked whether it is there.
pub const SILENCE_TIME: Duration = Duration::from_secs(20);
/// Silent times after which it is given up.
pub const SILENCES_MAX: u32 = 3;
/// Time for what is in flight when a session is asked to stop.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// Time for a logout that the target has asked for.
pub const LOGOUT_TIME: Duration = Duration::from_secs(10);
/// Time that task management waits for the commands which it ends.
pub const ABORT_TIME_MAX: Duration = Duration::from_secs(30);

const _: () =
    assert!(SEGMENT_BYTES_DIRECT + 4096 <= RECEIVE.bytes_max, "an indirect segment fits into a receive");
const _: () = assert!(quarry_scsi::limits::TRANSFER_BYTES_MAX as u64 <= SESSION_BYTES_MAX);
const _: () = assert!(FIRST_BURST_BYTES <= BURST_BYTES && DATA_SEGMENT_BYTES_MAX < 1 << 24);
