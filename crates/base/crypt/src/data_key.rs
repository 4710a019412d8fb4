//! A volume's data key, and its wrapped form, which may lie on devices.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use quarry_types::Tag;
use zeroize::{Zeroize, ZeroizeOnDrop};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// Bytes of a wrapped key: nonce, encrypted key, tag.
pub const WRAPPED_BYTES: usize = NONCE_BYTES + KEY_BYTES + Tag::BYTES;

/// What a device holds of a key.
pub type WrappedKey = [u8; WRAPPED_BYTES];

/// 256 bits that encrypt blocks, or other keys.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; KEY_BYTES]);

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

/// A wrapped key does not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the key-encryption key is not the one under which the data key was wrapped, or the wrapped key is damaged"
)]
pub struct WrapError;

impl DataKey {
    /// The key of these bytes, which must come from a good source of chance.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    fn aead(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.0).expect("a key of 32 bytes"))
    }

    /// Wraps `key` under this one. `name` is bound to it: it opens under no other. `chance` must never come twice.
    pub fn wrap(&self, key: &DataKey, name: &str, chance: u128) -> WrappedKey {
        let mut wrapped = [0; WRAPPED_BYTES];
        let nonce: [u8; NONCE_BYTES] = chance.to_le_bytes()[..NONCE_BYTES].try_into().expect("twelve bytes");
        wrapped[..NONCE_BYTES].copy_from_slice(&nonce);
        let body = &mut wrapped[NONCE_BYTES..NONCE_BYTES + KEY_BYTES];
        body.copy_from_slice(&key.0);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.aead().seal_in_place_separate_tag(nonce, Aad::from(name.as_bytes()), body);
        wrapped[NONCE_BYTES + KEY_BYTES..].copy_from_slice(tag.expect("32 bytes can be encrypted").as_ref());
        wrapped
    }

    /// Opens what [`Self::wrap`] made with the same name.
    pub fn unwrap(&self, wrapped: &WrappedKey, name: &str) -> Result<DataKey, WrapError> {
        let (nonce, body) = wrapped.split_at(NONCE_BYTES);
        let nonce = Nonce::assume_unique_for_key(nonce.try_into().expect("twelve bytes"));
        let mut body = body.to_vec();
        let opened = self.aead().open_in_place(nonce, Aad::from(name.as_bytes()), &mut body);
        let key =
            opened.map_err(|_| WrapError).map(|key| DataKey(key.try_into().expect("32 bytes were wrapped")));
        body.zeroize();
        key
    }
}
