//! Key-encryption keys in a file, each wrapped under a key that comes from a passphrase.
//!
//! The file is JSON, because it must outlive every version: how the passphrase becomes a key (Argon2id, RFC 9106), and the keys by
//! name, each `nonce 12, ciphertext 32, tag 16` of AES-256-GCM with the name as associated data. The entry `check` is wrapped in the
//! same way and tells a wrong passphrase from a damaged key.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use quarry_crypt::{DataKey, WrappedKey};
use zeroize::Zeroize;

use crate::content::{Content, Refusal, chance, nonce};
use crate::{KeyStore, KeyStoreError, Passphrase, file, random_key};

struct Inner {
    path: PathBuf,
    master: DataKey,
    content: Mutex<Content>,
}

/// See the module.
#[derive(Clone)]
pub struct LocalKeyring(Arc<Inner>);

fn refused(path: &Path) -> impl Fn(Refusal) -> KeyStoreError {
    let path = path.to_owned();
    move |refusal| match refusal {
        Refusal::Damaged(reason) => KeyStoreError::Damaged { path: path.clone(), reason },
        Refusal::Passphrase => KeyStoreError::Passphrase { path: path.clone() },
    }
}

/// The keyring at `path`, and the key that the passphrase gives for it. `None` when there is none.
fn load(path: &Path, passphrase: &Passphrase) -> Result<Option<(Content, DataKey)>, KeyStoreError> {
    let Some(bytes) = file::read(path)? else { return Ok(None) };
    let content = Content::parse(&bytes).map_err(refused(path))?;
    let master = content.open(passphrase).map_err(refused(path))?;
    Ok(Some((content, master)))
}

impl LocalKeyring {
    /// Opens the keyring at `path`. Takes a moment, on purpose: not for a thread that serves others.
    pub fn open(path: &Path, passphrase: &Passphrase) -> Result<Self, KeyStoreError> {
        let missing = || KeyStoreError::NoKeyring { path: path.to_owned() };
        let (content, master) = load(path, passphrase)?.ok_or_else(missing)?;
        Ok(Self(Arc::new(Inner { path: path.to_owned(), master, content: Mutex::new(content) })))
    }

    /// The same, and makes the keyring when there is none.
    pub fn open_or_create(path: &Path, passphrase: &Passphrase) -> Result<Self, KeyStoreError> {
        match Self::open(path, passphrase) {
            Err(KeyStoreError::NoKeyring { .. }) => {
                let (content, master) = Content::new(passphrase).map_err(refused(path))?;
                file::replace(path, &content.to_bytes())?;
                Ok(Self(Arc::new(Inner { path: path.to_owned(), master, content: Mutex::new(content) })))
            }
            opened => opened,
        }
    }

    /// Whether there is a keyring at `path`, whoever can open it.
    pub fn exists(path: &Path) -> Result<bool, KeyStoreError> {
        Ok(file::read(path)?.is_some())
    }

    /// Puts the keyring at `path`, which nobody has open, under another passphrase: its keys stay what they are. Whenever this is
    /// cut off, one of the two passphrases opens the file and everything in it. Says how many keys are in it.
    ///
    /// # Errors
    /// Those of [`Self::open`]; [`KeyStoreError::Damaged`] when a key does not open, too. Then nothing is changed.
    pub fn change_passphrase(
        path: &Path,
        old: &Passphrase,
        new: &Passphrase,
    ) -> Result<usize, KeyStoreError> {
        let missing = || KeyStoreError::NoKeyring { path: path.to_owned() };
        let (content, master) = load(path, old)?.ok_or_else(missing)?;
        let (mut changed, new_master) = Content::new(new).map_err(refused(path))?;
        for name in content.keys.keys() {
            let key = content.key(name, &master).ok_or_else(|| damaged_key(path, name))?;
            changed.put(name.clone(), &key, &new_master);
        }
        let bytes = changed.to_bytes();
        // What takes the place of the only copy is tried before.
        let written = Content::parse(&bytes).map_err(refused(path))?;
        let opened = written.open(new).map_err(refused(path))?;
        for name in content.keys.keys() {
            let (old, new) = (content.key(name, &master), written.key(name, &opened));
            let is_same = old.zip(new).is_some_and(|(old, new)| old.bytes() == new.bytes());
            is_same.then_some(()).ok_or_else(|| damaged_key(path, name))?;
        }
        file::replace(path, &bytes)?;
        Ok(changed.keys.len())
    }

    /// Runs what may block on a thread for that.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, KeyStoreError> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || work(&inner)).await.unwrap_or(Err(KeyStoreError::Stopping))
    }
}

fn damaged_key(path: &Path, name: &str) -> KeyStoreError {
    KeyStoreError::Damaged { path: path.to_owned(), reason: format!("key '{name}' does not open") }
}

impl Inner {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("nobody panics with this lock: a panic ends the process")
    }

    /// Changes the keys, in the file first.
    fn change(&self, change: impl FnOnce(&mut Content)) -> Result<(), KeyStoreError> {
        let mut content = self.content();
        let mut changed = content.clone();
        change(&mut changed);
        file::replace(&self.path, &changed.to_bytes())?;
        *content = changed;
        Ok(())
    }

    fn key(&self, name: &str) -> Result<DataKey, KeyStoreError> {
        let content = self.content();
        if !content.keys.contains_key(name) {
            return Err(KeyStoreError::NotFound { name: name.to_owned() });
        }
        content.key(name, &self.master).ok_or_else(|| damaged_key(&self.path, name))
    }
}

#[async_trait]
impl KeyStore for LocalKeyring {
    async fn create(&self) -> Result<String, KeyStoreError> {
        let name = format!("local/{}", uuid::Builder::from_random_bytes(chance()).into_uuid());
        let made = name.clone();
        self.run(move |keyring| keyring.change(|content| content.put(made, &random_key(), &keyring.master)))
            .await?;
        Ok(name)
    }

    async fn wrap(&self, name: &str, key: &DataKey) -> Result<Vec<u8>, KeyStoreError> {
        Ok(self.0.key(name)?.wrap(key, name, nonce()).to_vec())
    }

    async fn unwrap(&self, name: &str, wrapped: &[u8]) -> Result<DataKey, KeyStoreError> {
        let refused = || KeyStoreError::Refused { name: name.to_owned() };
        let key = self.0.key(name)?;
        let mut wrapped: WrappedKey = wrapped.try_into().map_err(|_| refused())?;
        let opened = key.unwrap(&wrapped, name).map_err(|_| refused());
        wrapped.zeroize();
        opened
    }

    async fn destroy(&self, name: &str) -> Result<(), KeyStoreError> {
        let name = name.to_owned();
        self.run(move |keyring| {
            if !keyring.content().keys.contains_key(&name) {
                return Ok(());
            }
            keyring.change(|content| _ = content.keys.remove(&name))
        })
        .await
    }
}
