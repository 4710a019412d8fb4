//! What the fuzz targets share.
//!
//! Structures on devices have a checksum, which a fuzzer does not guess. So a target puts the right one in: what it tries is a
//! faulty or hostile writer, not a bad disk.

pub mod peer;
pub mod unit;
#[path = "../../crates/protocol/nbd/tests/support/volume.rs"]
pub mod volume;
#[path = "../../crates/protocol/iscsi/tests/support/world.rs"]
pub mod world;

use quarry_format::crc32c;

/// Bytes of magic, version, zero and checksum.
const PREFIX_BYTES: usize = 16;

/// A structure with the magic and version of `sample`, this body, and the checksum that belongs to it.
pub fn sealed(sample: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = sample[..12].to_vec();
    bytes.extend_from_slice(&crc32c(body).to_le_bytes());
    bytes.extend_from_slice(body);
    debug_assert!(bytes.len() >= PREFIX_BYTES);
    bytes
}
