//! The data keys of a log's encrypted volumes: their wrapped form, which the log holds, and the ciphers of those that are open.
//!
//! Invariants:
//! - A wrapped key is in the log before the first volume that uses it, and stays until nothing in the log uses it.
//! - A key that is open stays open as long as the log is: whoever holds the key-encryption keys may go away.
//! - The salt of an opening is durable before its first append. It is kept as long as the image names a segment that this opening
//!   began.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use quarry_crypt::{Ciphers, DataKey, Salt};
use quarry_format::image::ImageSalt;
use quarry_format::record::KeyRecord;
use quarry_log::Seal;
use quarry_types::{KeyId, LogAddress, LogId, SegmentId, Tag};
use rustc_hash::FxHashMap;

/// A data key that is to be used by a new volume.
pub struct NewKey {
    /// Under which key-encryption key it is wrapped, as the key store calls that.
    pub name: String,
    /// The key in clear.
    pub key: DataKey,
    /// The key as it may lie on devices.
    pub wrapped: Vec<u8>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Keys {
    wrapped: RefCell<BTreeMap<KeyId, KeyRecord>>,
    open: RefCell<FxHashMap<KeyId, Rc<Ciphers>>>,
    /// By the first segment of each opening, in order.
    salts: RefCell<Vec<ImageSalt>>,
}

impl Keys {
    /// The wrapped keys, in order.
    pub(crate) fn wrapped(&self) -> Vec<KeyRecord> {
        self.wrapped.borrow().values().cloned().collect()
    }

    /// A record of a key counts.
    pub(crate) fn wrap(&self, record: &KeyRecord) {
        self.wrapped.borrow_mut().insert(record.key, record.clone());
    }

    /// A key is gone.
    pub(crate) fn forget(&self, key: KeyId) {
        self.wrapped.borrow_mut().remove(&key);
        self.open.borrow_mut().remove(&key);
    }

    /// A number that no key has.
    pub(crate) fn free_number(&self) -> Option<KeyId> {
        let (wrapped, open) = (self.wrapped.borrow(), self.open.borrow());
        (1..=u16::MAX).map(KeyId).find(|key| !wrapped.contains_key(key) && !open.contains_key(key))
    }

    /// Opens a key.
    pub(crate) fn open(&self, log: LogId, id: KeyId, key: DataKey) {
        self.open.borrow_mut().insert(id, Rc::new(Ciphers::new(key, log)));
    }

    /// The ciphers of a key, if it is open.
    pub(crate) fn get(&self, key: KeyId) -> Option<Rc<Ciphers>> {
        self.open.borrow().get(&key).cloned()
    }

    /// Whether blocks under this key can be read and written: clear ones always.
    pub(crate) fn is_open(&self, key: KeyId) -> bool {
        key.0 == 0 || self.open.borrow().contains_key(&key)
    }

    /// What the key-encryption key of a key is called.
    pub(crate) fn name(&self, key: KeyId) -> Option<String> {
        self.wrapped.borrow().get(&key).map(|record| record.name.clone())
    }

    /// The salts, in order.
    pub(crate) fn salts(&self) -> Vec<ImageSalt> {
        self.salts.borrow().clone()
    }

    /// Takes the salts of an image.
    pub(crate) fn set_salts(&self, salts: Vec<ImageSalt>) {
        *self.salts.borrow_mut() = salts;
    }

    /// An opening begins, the first segment of which will be `first`. One before it that began no segment that counts never wrote
    /// anything that counts.
    pub(crate) fn add_salt(&self, first: SegmentId, salt: Salt) {
        let mut salts = self.salts.borrow_mut();
        salts.retain(|known| known.first < first);
        salts.push(ImageSalt { first, salt });
    }

    /// The salt under which a segment was written.
    pub(crate) fn salt(&self, segment: SegmentId) -> Option<Salt> {
        let salts = self.salts.borrow();
        let index = salts.partition_point(|salt| salt.first <= segment).checked_sub(1)?;
        Some(salts[index].salt)
    }
}

impl Seal for Keys {
    fn seal(&self, key: KeyId, address: LogAddress, bytes: &mut [u8]) -> Tag {
        let salt = self.salt(address.segment()).expect("an opening has its salt before it appends");
        let ciphers = self.get(key).expect("a volume whose key is not open takes no writes");
        ciphers.seal(&salt, address, bytes)
    }
}
