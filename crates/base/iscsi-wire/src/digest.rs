//! Header and data digests (RFC 7143 section 13.1): CRC-32C.

use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};

/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 4;

/// The digest of `bytes`, as it travels.
pub fn digest(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    crc32_iscsi(bytes).to_le_bytes()
}

/// The digest of several pieces, one behind the other.
pub fn digest_of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> [u8; DIGEST_BYTES] {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    pieces.for_each(|piece| digest.update(piece));
    (digest.finalize() as u32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7143_appendix_a_are_met() {
        // "0xaa36918a" and so on there: the bytes in the order of the wire.
        assert_eq!(digest(&[0; 32]), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(digest(&[0xff; 32]), [0x43, 0xab, 0xa8, 0x62]);
        let up: Vec<u8> = (0..32).collect();
        assert_eq!(digest(&up), [0x4e, 0x79, 0xdd, 0x46]);
        assert_eq!(digest_of([&up[..5], &up[5..]].into_iter()), digest(&up));
    }
}
