//! Sealing and opening the blocks of one log under one data key.

use std::cell::RefCell;
use std::rc::Rc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use quarry_types::{LogAddress, LogId, Tag};
use rustc_hash::FxHashMap;

use crate::DataKey;

/// What is drawn anew at each opening of a log.
pub type Salt = [u8; 16];

/// Derived keys that are kept: an opening of the log each. More are derived again when they are needed.
const DERIVED_MAX: usize = 256;

/// The stored bytes are not what was sealed for their address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the authentication tag of an encrypted block does not match")]
pub struct Forged;

/// The ciphers of one data key in one log, by the salt of the opening.
pub struct Ciphers {
    key: DataKey,
    log: LogId,
    derived: RefCell<FxHashMap<Salt, Rc<LessSafeKey>>>,
}

impl Ciphers {
    /// The ciphers of `key` in `log`.
    pub fn new(key: DataKey, log: LogId) -> Self {
        Self { key, log, derived: RefCell::default() }
    }

    /// The data key.
    pub fn key(&self) -> &DataKey {
        &self.key
    }

    fn derive(&self, salt: &Salt) -> Rc<LessSafeKey> {
        let mut derived = self.derived.borrow_mut();
        if let Some(key) = derived.get(salt) {
            return key.clone();
        }
        if derived.len() >= DERIVED_MAX {
            derived.clear();
        }
        let pseudo_random = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.key.bytes());
        let log = self.log.0.to_le_bytes();
        let info = [b"quarry block".as_slice(), &log];
        let output = pseudo_random.expand(&info, &AES_256_GCM).expect("a key is short enough to be derived");
        let key = Rc::new(LessSafeKey::new(UnboundKey::from(output)));
        derived.insert(*salt, key.clone());
        key
    }

    /// Encrypts what goes to `address`, in place.
    pub fn seal(&self, salt: &Salt, address: LogAddress, bytes: &mut [u8]) -> Tag {
        let tag = self.derive(salt).seal_in_place_separate_tag(nonce(address), Aad::empty(), bytes);
        Tag(tag.expect("a block can be encrypted").as_ref().try_into().expect("a tag of 16 bytes"))
    }

    /// Decrypts what lies at `address` into `clear`, which is as long.
    pub fn open(
        &self,
        salt: &Salt,
        address: LogAddress,
        (sealed, tag): (&[u8], &Tag),
        clear: &mut [u8],
    ) -> Result<(), Forged> {
        self.derive(salt)
            .open_separate_gather(nonce(address), Aad::empty(), sealed, &tag.0, clear)
            .map_err(|_| Forged)
    }
}

fn nonce(address: LogAddress) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&address.segment().0.to_le_bytes());
    bytes[8..].copy_from_slice(&address.sector().to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
