//! Encryption of what goes to a place in the log.
//!
//! A block is encrypted when its batch gets its place, because the place is the nonce: nothing else is ever encrypted for the same
//! one. A batch that has to go elsewhere, because a device failed, is encrypted anew from what was kept of it in clear.

use quarry_types::{KeyId, LogAddress, Tag};

/// Who has the keys.
pub trait Seal {
    /// Encrypts `bytes`, which go to `address`, in place.
    ///
    /// # Panics
    /// When there is no such key: volumes whose key is not there take no writes.
    fn seal(&self, key: KeyId, address: LogAddress, bytes: &mut [u8]) -> Tag;
}
