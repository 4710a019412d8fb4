//! Passwords, kept as hashes.

use std::sync::LazyLock;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret_token::chance;

/// What OWASP's cheat sheet on password storage recommends for Argon2id: 19 MiB, two passes.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;

/// A hash of a password with what is needed to make it again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PasswordHash {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    hash: String,
}

impl PasswordHash {
    pub(crate) fn new(password: &str) -> Self {
        let salt = hex::encode(chance::<16>());
        let mut made =
            Self { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt, hash: String::new() };
        let hash = made.derive(password).expect("these parameters can be used");
        made.hash = hex::encode(*hash);
        made
    }

    /// Whether it is the hash of this password.
    pub(crate) fn is_of(&self, password: &str) -> bool {
        let (Some(hash), Ok(kept)) = (self.derive(password), hex::decode(&self.hash)) else { return false };
        verify_slices_are_equal(&*hash, &kept).is_ok()
    }

    /// `None` when the parameters cannot be used, or would use more than ours ever did.
    fn derive(&self, password: &str) -> Option<Zeroizing<[u8; HASH_BYTES]>> {
        if self.memory_kib > 16 * MEMORY_KIB || self.passes > 16 * PASSES {
            return None;
        }
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(HASH_BYTES)).ok()?;
        let salt = hex::decode(&self.salt).ok()?;
        let mut hash = Zeroizing::new([0; HASH_BYTES]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(password.as_bytes(), &salt, &mut *hash).ok()?;
        Some(hash)
    }
}

/// As long a look as at a real hash, so that the time of an answer does not tell whether there is such a user.
pub(crate) fn pretend(password: &str) -> bool {
    static NOBODY: LazyLock<PasswordHash> = LazyLock::new(|| PasswordHash::new("nobody has this password"));
    let _ = NOBODY.is_of(password);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_and_nothing_else() {
        let hash = PasswordHash::new("horse-battery");
        assert!(hash.is_of("horse-battery"));
        assert!(!hash.is_of("horse-batterz"));
        assert!(!hash.is_of(""));
        assert!(PasswordHash::new("horse-battery") != hash, "salted");
        assert!(!serde_json::to_string(&hash).unwrap().contains("horse"));
        let greedy = PasswordHash { memory_kib: u32::MAX, ..hash };
        assert!(!greedy.is_of("horse-battery"));
    }
}
