//! What a block is recognised by.

use quarry_types::KeyId;
use quarry_types::limits::BLOCK_BYTES;

/// A hash of a block and of the key under which it is stored: what differs in either does not match, but by a chance of one in
/// 2^128 for each pair.
pub type Fingerprint = u128;

/// Makes fingerprints with a secret of its own, so that nobody can prepare two blocks that have the same one.
pub struct Fingerprints {
    key: [u8; blake3::KEY_LEN],
}

impl Fingerprints {
    /// With a secret that was drawn by chance and that nobody keeps.
    pub fn new(secret: [u8; blake3::KEY_LEN]) -> Self {
        Self { key: secret }
    }

    /// The fingerprint of a block that is stored under `key`.
    pub fn of(&self, key: KeyId, block: &[u8]) -> Fingerprint {
        assert_eq!(block.len(), BLOCK_BYTES, "blocks are recognised one by one");
        let hash = match key.0 {
            0 => blake3::keyed_hash(&self.key, block),
            key => blake3::Hasher::new_keyed(&self.key).update(block).update(&key.to_le_bytes()).finalize(),
        };
        u128::from_le_bytes(hash.as_bytes()[..16].try_into().expect("a hash has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keys_and_secrets_make_a_difference() {
        let (one, other) = (Fingerprints::new([1; 32]), Fingerprints::new([2; 32]));
        let (block, mut next) = (vec![7; BLOCK_BYTES], vec![7; BLOCK_BYTES]);
        assert_eq!(one.of(KeyId(0), &block), one.of(KeyId(0), &next));
        next[BLOCK_BYTES - 1] = 8;
        let all = [
            one.of(KeyId(0), &block),
            one.of(KeyId(0), &next),
            one.of(KeyId(1), &block),
            one.of(KeyId(2), &block),
            other.of(KeyId(0), &block),
        ];
        for (index, fingerprint) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(fingerprint), "{index}");
        }
    }
}
