//! Header and data digests: CRC-32C (NVMe/TCP 1.0, 3.3.1).

use crc_fast::crc32_iscsi;

/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 4;

/// The digest of `bytes`.
pub fn digest(bytes: &[u8]) -> u32 {
    crc32_iscsi(bytes)
}
