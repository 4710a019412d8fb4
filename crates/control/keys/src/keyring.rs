//! Key-encryption keys in a file, each wrapped under a key that comes from a passphrase.
//!
//! The file is JSON, because it must outlive every version: how the passphrase becomes a key (Argon2id, RFC 9106), and the keys by
//! name, each `nonce 12, ciphertext 32, tag 16` of AES-256-GCM with the name as associated data. The entry `check` is wrapped in the
//! same way and tells a wrong passphrase from a damaged key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use quarry_crypt::{DataKey, WrappedKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{KeyStore, KeyStoreError, file, random_key};

const VERSION: u32 = 1;
const CHECK: &str = "check";
/// The second recommendation of RFC 9106, section 4: 64 MiB, three passes.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// A file cannot make us use more than this.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 64;

#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    derivation: Derivation,
    check: String,
    keys: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Derivation {
    name: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

impl Derivation {
    fn new() -> Self {
        let (memory_kib, passes, lanes) = (MEMORY_KIB, PASSES, LANES);
        Self { name: "argon2id".to_owned(), memory_kib, passes, lanes, salt: hex::encode(chance()) }
    }

    fn derive(&self, passphrase: &[u8]) -> Result<DataKey, String> {
        if self.name != "argon2id" || self.memory_kib > MEMORY_KIB_MAX || self.passes > PASSES_MAX {
            return Err("its key derivation is not one that this version uses".to_owned());
        }
        let salt = hex::decode(&self.salt).map_err(|error| format!("its salt: {error}"))?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let params = params.map_err(|error| format!("its key derivation: {error}"))?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase, &salt, &mut *key)
            .map_err(|error| format!("its key derivation: {error}"))?;
        Ok(DataKey::new(*key))
    }
}

struct Inner {
    path: PathBuf,
    master: DataKey,
    content: Mutex<Content>,
}

/// See the module.
#[derive(Clone)]
pub struct LocalKeyring(Arc<Inner>);

fn chance() -> [u8; 16] {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

fn nonce() -> u128 {
    u128::from_le_bytes(chance())
}

fn parse_wrapped(text: &str) -> Option<WrappedKey> {
    hex::decode(text).ok()?.try_into().ok()
}

impl LocalKeyring {
    /// Opens the keyring at `path`, or makes one there, with the passphrase that the file at `passphrase` holds; a line end behind it
    /// is not part of it. Takes a moment, on purpose: not for a thread that serves others.
    pub fn open(path: &Path, passphrase: &Path) -> Result<Self, KeyStoreError> {
        let missing = || KeyStoreError::NoPassphrase { path: passphrase.to_owned() };
        let secret = Zeroizing::new(file::read(passphrase)?.ok_or_else(missing)?);
        let trimmed = secret.trim_ascii_end();
        if trimmed.is_empty() {
            return Err(KeyStoreError::Empty { path: passphrase.to_owned() });
        }
        let damaged = |reason: String| KeyStoreError::Damaged { path: path.to_owned(), reason };
        let (content, master) = match file::read(path)? {
            Some(bytes) => {
                let content: Content =
                    serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
                if content.version != VERSION {
                    return Err(damaged(format!("it has version {}", content.version)));
                }
                let master = content.derivation.derive(trimmed).map_err(damaged)?;
                let check = parse_wrapped(&content.check)
                    .ok_or_else(|| damaged("its entry 'check' is no wrapped key".to_owned()))?;
                if master.unwrap(&check, CHECK).is_err() {
                    return Err(KeyStoreError::Passphrase { path: path.to_owned() });
                }
                (content, master)
            }
            None => {
                let derivation = Derivation::new();
                let master = derivation.derive(trimmed).map_err(damaged)?;
                let check = hex::encode(master.wrap(&random_key(), CHECK, nonce()));
                let content = Content { version: VERSION, derivation, check, keys: BTreeMap::new() };
                let keyring = Inner { path: path.to_owned(), master, content: Mutex::new(content.clone()) };
                keyring.write(&content)?;
                return Ok(Self(Arc::new(keyring)));
            }
        };
        Ok(Self(Arc::new(Inner { path: path.to_owned(), master, content: Mutex::new(content) })))
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

impl Inner {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("nobody panics with this lock: a panic ends the process")
    }

    fn write(&self, content: &Content) -> Result<(), KeyStoreError> {
        let mut bytes = serde_json::to_vec_pretty(content).expect("strings and numbers can be written");
        bytes.push(b'\n');
        file::replace(&self.path, &bytes)
    }

    /// Changes the keys, in the file first.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) -> Result<(), KeyStoreError> {
        let mut content = self.content();
        let mut changed = content.clone();
        change(&mut changed.keys);
        self.write(&changed)?;
        *content = changed;
        Ok(())
    }

    fn key(&self, name: &str) -> Result<DataKey, KeyStoreError> {
        let wrapped = self.content().keys.get(name).cloned();
        let wrapped = wrapped.ok_or_else(|| KeyStoreError::NotFound { name: name.to_owned() })?;
        let opened = parse_wrapped(&wrapped).and_then(|wrapped| self.master.unwrap(&wrapped, name).ok());
        opened.ok_or_else(|| KeyStoreError::Damaged {
            path: self.path.clone(),
            reason: format!("key '{name}' does not open"),
        })
    }
}

#[async_trait]
impl KeyStore for LocalKeyring {
    async fn create(&self) -> Result<String, KeyStoreError> {
        let name = format!("local/{}", uuid::Builder::from_random_bytes(chance()).into_uuid());
        let made = name.clone();
        self.run(move |keyring| {
            let wrapped = hex::encode(keyring.master.wrap(&random_key(), &made, nonce()));
            keyring.change(|keys| _ = keys.insert(made, wrapped))
        })
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
            keyring.change(|keys| _ = keys.remove(&name))
        })
        .await
    }
}
