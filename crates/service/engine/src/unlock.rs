//! Data keys: added, opened, wrapped anew, and forgotten when nothing uses them.

use std::collections::BTreeSet;

use quarry_crypt::DataKey;
use quarry_format::record::{KeyRecord, Record, WRAPPED_KEY_BYTES_MAX};
use quarry_types::KeyId;

use crate::{Engine, EngineError, NewKey};

fn check_wrapped(wrapped: &[u8]) -> Result<(), EngineError> {
    match wrapped.len() {
        ..=WRAPPED_KEY_BYTES_MAX => Ok(()),
        bytes => Err(EngineError::WrappedKey { bytes }),
    }
}

impl Engine {
    /// Adds a key for a volume that is about to be created, whose record must follow before `adding_key` is cleared.
    pub(crate) async fn add_key(&self, new: NewKey) -> Result<KeyId, EngineError> {
        let keys = &self.volumes.keys;
        let key = keys.free_number().ok_or(EngineError::TooManyKeys)?;
        check_wrapped(&new.wrapped)?;
        self.adding_key.set(Some(key));
        let record = KeyRecord { key, name: new.name, wrapped: new.wrapped, previous: String::new() };
        self.log.room().await;
        self.log.append_record(Record::KeyWrap(record)).await?;
        keys.open(self.store.log, key, new.key);
        Ok(key)
    }

    /// The data keys of the log in their wrapped form, and whether each is open.
    pub fn keys(&self) -> Vec<(KeyRecord, bool)> {
        let keys = &self.volumes.keys;
        keys.wrapped().into_iter().map(|record| (record.clone(), keys.is_open(record.key))).collect()
    }

    /// Opens a key: the volumes that use it can be read and written from now on.
    pub fn open_key(&self, id: KeyId, key: DataKey) {
        if !self.volumes.keys.is_open(id) {
            self.volumes.keys.open(self.store.log, id, key);
        }
    }

    /// The open key, to be wrapped anew.
    pub fn data_key(&self, id: KeyId) -> Option<DataKey> {
        self.volumes.keys.get(id).map(|ciphers| ciphers.key().clone())
    }

    /// Replaces the wrapped form of a key by that under another key-encryption key; durable on return. No data is written anew.
    pub async fn rewrap_key(&self, record: KeyRecord) -> Result<(), EngineError> {
        check_wrapped(&record.wrapped)?;
        let _managing = self.managing.lock().await;
        if self.volumes.keys.name(record.key).is_none() {
            return Err(EngineError::NoKey { key: record.key });
        }
        self.append_and_flush(Record::KeyWrap(record)).await
    }

    /// The keys that no volume and no snapshot uses, hidden ones included, and never will again, whatever happens: that they are gone
    /// is durable. So their key-encryption keys may be destroyed, and then they may be forgotten.
    pub async fn unused_keys(&self) -> Result<Vec<KeyRecord>, EngineError> {
        let _managing = self.managing.lock().await;
        let unused = self.unused_keys_now();
        if !unused.is_empty() {
            self.log.flush().await?;
        }
        Ok(unused)
    }

    fn unused_keys_now(&self) -> Vec<KeyRecord> {
        let volumes = self.volumes.all().into_iter().map(|volume| volume.head.borrow().key);
        let snapshots = self.volumes.snapshots().into_iter().map(|snapshot| snapshot.head.borrow().key);
        let used: BTreeSet<KeyId> = volumes.chain(snapshots).chain(self.adding_key.get()).collect();
        let keys = self.volumes.keys.wrapped().into_iter();
        keys.filter(|record| !used.contains(&record.key)).collect()
    }

    /// Forgets a key that nothing uses; durable on return.
    pub async fn forget_key(&self, key: KeyId) -> Result<(), EngineError> {
        let _managing = self.managing.lock().await;
        if self.unused_keys_now().iter().any(|record| record.key == key) {
            self.append_and_flush(Record::KeyForget { key }).await?;
        }
        Ok(())
    }
}
